// Low-rank updates of some columns of a linear map (Hu et al. 2021, section 4.1), and their gradients.
#include <cstring>

#include "../kernels.h"
#include "elements.h"
#include "gemm.h"
#include "simd.h"

namespace pipe {

namespace {

void multiply_by(Context& context, float* x, float factor, int64_t n) {
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    map(
        begin, end, x, [factor](Floats v) { return v * factor; }, x);
  });
}

// Calls body(columns of M, column of u, row of b) for each family.
template <class Body>
void for_parts(const LoraShape& s, const Body& body) {
  for (int64_t i = 0; i < s.parts; ++i) body(s.offsets[i], i * s.rank(), i * s.width);
}

}  // namespace

void lora_hidden(Context& context, float* u, const float* x, const float* a, float scale, int64_t N, int64_t R,
                 int64_t K) {
  gemm(context, {N, R, K, {x, K, false}, Right::of(a, K, true), u, R});
  multiply_by(context, u, scale, N * R);
}

void lora_update(Context& context, float* out, const float* y, const float* u, const float* b, const LoraShape& s) {
  if (out != y) std::memcpy(out, y, static_cast<size_t>(s.N * s.M) * sizeof(float));
  for_parts(s, [&](int64_t column, int64_t first, int64_t row) {
    const float* rows = b + row * s.rank();
    Product update{s.N, s.width, s.rank(), {u + first, s.R, false}, Right::of(rows, s.rank(), true), out + column, s.M};
    update.accumulate = true;
    gemm(context, update);
  });
}

void lora_backward_hidden(Context& context, float* du, const float* dy, const float* b, const LoraShape& s) {
  for_parts(s, [&](int64_t column, int64_t first, int64_t row) {
    const float* rows = b + row * s.rank();
    gemm(context,
         {s.N, s.rank(), s.width, {dy + column, s.M, false}, Right::of(rows, s.rank(), false), du + first, s.R});
  });
}

void lora_backward_b(Context& context, float* db, const float* dy, const float* u, const LoraShape& s) {
  for_parts(s, [&](int64_t column, int64_t first, int64_t row) {
    gemm(context, {s.width, s.rank(), s.N, {dy + column, s.M, true}, Right::of(u + first, s.R, false),
                   db + row * s.rank(), s.rank()});
  });
}

void lora_backward_a(Context& context, float* da, const float* du, const float* x, float scale, int64_t N, int64_t R,
                     int64_t K) {
  gemm(context, {R, K, N, {du, R, true}, Right::of(x, K, false), da, K});
  multiply_by(context, da, scale, R * K);
}

void lora_backward_input(Context& context, float* dx, const float* du, const float* a, float scale, int64_t N,
                         int64_t R, int64_t K) {
  gemm(context, {N, K, R, {du, R, false}, Right::of(a, K, false), dx, K});
  multiply_by(context, dx, scale, N * K);
}

}  // namespace pipe
