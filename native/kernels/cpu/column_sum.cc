// The sum of a matrix over its rows: a bias's gradient.
#include "column_sum.h"

#include "../kernels.h"

namespace pipe {

void column_sum(Context& context, float* sums, const float* x, int64_t N, int64_t M) {
  sum_columns(context, sums, N, M,
              [&](int64_t row, int64_t column, int64_t n) { return load(x + row * M + column, n); });
}

}  // namespace pipe
