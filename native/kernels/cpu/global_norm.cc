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

void global_norm(Context& context, float* norm, const Gradient* gradients, size_t count) {
  double* parts = reinterpret_cast<double*>(context.shared);
  double* end = parts;
  for (const Gradient* g = gradients; g < gradients + count; ++g) {
    const int64_t chunks = (g->size + global_norm_chunk - 1) / global_norm_chunk;
    context.pool.split(chunks, 8, [&](int, int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t begin = i * global_norm_chunk;
        end[i] = sum_of_squares(g->data + begin, std::min(global_norm_chunk, g->size - begin));
      }
    });
    end += chunks;
  }
  double total = 0;
  for (const double* part = parts; part < end; ++part) total += *part;
  *norm = static_cast<float>(std::sqrt(total));
}

}  // namespace pipe
