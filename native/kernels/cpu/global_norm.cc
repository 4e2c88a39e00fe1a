// The norm of all gradients together, for clipping.
#include <algorithm>
#include <cmath>

#include "../kernels.h"
#include "simd.h"

namespace pipe {

namespace {

using Doubles = double __attribute__((vector_size(lanes * sizeof(double))));

double sum_of_squares(const float* x, int64_t n) {
  Doubles total{};
  for_vectors(0, n, [&](int64_t i, int64_t count) {
    const Doubles v = __builtin_convertvector(load(x + i, count), Doubles);
    total += v * v;
  });
  double result = 0;
  for (int i = 0; i < lanes; ++i) result += total[i];
  return result;
}

}  // namespace

void global_norm(Context& context, float* norm, const std::vector<Tensor>& gradients) {
  double* parts = reinterpret_cast<double*>(context.shared);
  int64_t count = 0;
  for (const Tensor& gradient : gradients) {
    const int64_t n = gradient.size();
    const int64_t chunks = (n + global_norm_chunk - 1) / global_norm_chunk;
    context.pool.split(chunks, 8, [&](int, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        parts[count + i] = sum_of_squares(gradient.f32() + i * global_norm_chunk,
                                          std::min(global_norm_chunk, n - i * global_norm_chunk));
    });
    count += chunks;
  }
  double total = 0;
  for (int64_t i = 0; i < count; ++i) total += parts[i];
  *norm = static_cast<float>(std::sqrt(total));
}

}  // namespace pipe
