// Linear maps whose weights are stored as NF4: dequantized into workspace, which for one matrix stays in L2, then
// multiplied; where rows are few, dequantized as they are read.
#include "factors.cuh"
#include "few_rows.cuh"

namespace pipe::cuda {

void nf4_matmul_forward(Context& context, float* y, const float* x, const Nf4& w, Weights bias, int64_t N, int64_t M,
                        int64_t K) {
  if (N <= most_few_rows) return few_rows(context, y, x, Nf4Rows{w, K}, bias, N, M, K);
  Product product{
      N, M, K, {as_factor(context, x, N * K), K, false}, {as_factor(context, w, M * K), K, true}, context.precision,
      y, M};
  product.bias = as_bias(context, bias, M);
  multiply(context, product);
}

void nf4_matmul_backward_input(Context& context, float* dx, const float* dy, const Nf4& w, int64_t N, int64_t M,
                               int64_t K) {
  multiply(context, {N,
                     K,
                     M,
                     {as_factor(context, dy, N * M), M, false},
                     {as_factor(context, w, M * K), K, false},
                     context.precision,
                     dx,
                     K});
}

}  // namespace pipe::cuda
