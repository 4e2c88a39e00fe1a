// Linear maps and their gradients: cuBLASLt in the context's precision, or a pass over the weights where rows are few.
#include "added.cuh"
#include "few_rows.cuh"

namespace pipe::cuda {

void linear_forward(Context& context, Out y, In x, Weights w, Weights bias, In added, int64_t N, int64_t M, int64_t K) {
  if (N <= most_few_rows) return few_rows(context, y, x, DenseRows{In(w), K}, In(bias), added, N, M, K);
  const Factor left{as_factor(context, x, N * K), K, false};
  const Factor right{as_factor(context, In(w), M * K), K, true};
  multiply_and_add(context, {N, M, K, left, right, context.precision, y, M}, In(bias), added);
}

void linear_backward_input(Context& context, Out dx, In dy, Weights w, In added, int64_t N, int64_t M, int64_t K) {
  const Factor left{as_factor(context, dy, N * M), M, false};
  const Factor right{as_factor(context, In(w), M * K), K, false};
  multiply_and_add(context, {N, K, M, left, right, context.precision, dx, K}, {}, added);
}

void linear_backward_weight(Context& context, float* dw, In dy, In x, int64_t N, int64_t M, int64_t K) {
  const Factor left{as_factor(context, dy, N * M), M, true};
  const Factor right{as_factor(context, x, N * K), K, false};
  multiply(context, {M, K, N, left, right, context.precision, dw, K});
}

}  // namespace pipe::cuda
