// Linear maps whose weights are stored as NF4: dequantized into workspace, which for one matrix stays in L2, then
// multiplied; where rows are few, dequantized as they are read.
#include "../../cuda/prefetch.h"
#include "added.cuh"
#include "few_rows.cuh"

namespace pipe::cuda {

void nf4_matmul_forward(Context& context, Out y, In x, const Nf4& w, Weights bias, In added, int64_t N, int64_t M,
                        int64_t K) {
  if (N <= most_few_rows) return few_rows(context, y, x, Nf4Rows{w, K}, In(bias), added, N, M, K);
  const Factor left{as_factor(context, x, N * K), K, false};
  const Factor right{as_factor(context, w, M * K), K, true};
  multiply_and_add(context, {N, M, K, left, right, context.precision, y, M}, In(bias), added);
  context.prefetch.queued_product(context);
}

void nf4_matmul_backward_input(Context& context, Out dx, In dy, const Nf4& w, In added, int64_t N, int64_t M,
                               int64_t K) {
  const Factor left{as_factor(context, dy, N * M), M, false};
  const Factor right{as_factor(context, w, M * K), K, false};
  multiply_and_add(context, {N, K, M, left, right, context.precision, dx, K}, {}, added);
  context.prefetch.queued_product(context);
}

size_t nf4_shared(const Nf4&, int64_t) { return 0; }

}  // namespace pipe::cuda
