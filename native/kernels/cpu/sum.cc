// Sums over neighbouring axes.
#include "../kernels.h"
#include "column_sum.h"
#include "simd.h"

namespace pipe {

void sum(Context& context, float* out, const float* x, int64_t outer, int64_t summed, int64_t inner) {
  if (inner > 1) {
    for (int64_t i = 0; i < outer; ++i, x += summed * inner, out += inner)
      sum_columns(context, out, summed, inner,
                  [&](int64_t row, int64_t column, int64_t n) { return load(x + row * inner + column, n); });
    return;
  }
  context.pool.split(outer, 1 + 32768 / summed, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      out[i] = sum_terms(summed, [&](int64_t j, int64_t n) { return load(x + i * summed + j, n); });
  });
}

}  // namespace pipe
