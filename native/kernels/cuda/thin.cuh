// Products with one thin side, as low-rank updates have: memory-bound, so plain float32 arithmetic, one pass over the
// wide side.
#pragma once

#include "launch.cuh"

namespace pipe::cuda {

// u[N, rank] = scale x a, where x is [N, K], rows x_stride apart, and a[k, r] lies at a + k * k_stride + r * r_stride.
struct ThinHidden {
  int64_t N, K, x_stride, rank, k_stride, r_stride;
  float scale;
};
void thin_hidden(Context&, float* u, const float* x, const float* a, const ThinHidden&);

// g[j, r] = the sum over N rows of x[n, j] u[n, r], where x is [N, columns], rows x_stride apart, u is [N, rank], and
// g[j, r] is written to g + j * j_stride + r * r_stride. Takes workspace for partial sums.
struct ThinGradient {
  int64_t N, columns, x_stride, rank, j_stride, r_stride;
};
void thin_gradient(Context&, float* g, const float* x, const float* u, const ThinGradient&);

}  // namespace pipe::cuda
