// Products of matrices, or of a batch of them.
#include "../kernels.h"
#include "gemm.h"

namespace pipe {

void batch_matmul(Context& context, float* c, const float* a, const float* b, const BatchShape& s) {
  const auto product = [&](int64_t i) {
    return Product{s.m,
                   s.n,
                   s.k,
                   {a + i * s.m * s.k, s.transpose_a ? s.m : s.k, s.transpose_a},
                   Right::of(b + i * s.k * s.n, s.transpose_b ? s.k : s.n, s.transpose_b),
                   c + i * s.m * s.n,
                   s.n};
  };
  if (s.batch == 1) return gemm(context, product(0));
  context.pool.split(s.batch, 1, [&](int thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) gemm(product(i), context.packing_of(thread));
  });
}

}  // namespace pipe
