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

// u[N, rank] = scale x a^T
void hidden(Context& context, float* u, const float* x, const float* a, const LoraShape& s) {
  gemm(context, {s.N, s.rank, s.K, {x, s.K, false}, Right::of(a, s.K, true), u, s.rank});
  multiply_by(context, u, s.scale, s.N * s.rank);
}

}  // namespace

void lora_matmul_forward(Context& context, float* out, const float* y, const float* x, const float* a, const float* b,
                         const LoraShape& s) {
  if (out != y) std::memcpy(out, y, static_cast<size_t>(s.N * s.M) * sizeof(float));
  float* u = context.shared;
  hidden(context, u, x, a, s);
  Product update{s.N, s.width, s.rank, {u, s.rank, false}, Right::of(b, s.rank, true), out + s.offset, s.M};
  update.accumulate = true;
  gemm(context, update);
}

void lora_backward_hidden(Context& context, float* du, const float* dy, const float* b, const LoraShape& s) {
  gemm(context, {s.N, s.rank, s.width, {dy + s.offset, s.M, false}, Right::of(b, s.rank, false), du, s.rank});
  multiply_by(context, du, s.scale, s.N * s.rank);
}

void lora_backward_b(Context& context, float* db, const float* dy, const float* x, const float* a, const LoraShape& s) {
  float* u = context.shared;
  hidden(context, u, x, a, s);
  gemm(context, {s.width, s.rank, s.N, {dy + s.offset, s.M, true}, Right::of(u, s.rank, false), db, s.rank});
}

}  // namespace pipe
