// Linear maps and their gradients: cuBLASLt in the context's precision, or a pass over the weights where rows are few.
#include "factors.cuh"
#include "few_rows.cuh"

namespace pipe::cuda {

void linear_forward(Context& context, float* y, const float* x, Weights w, Weights bias, int64_t N, int64_t M,
                    int64_t K) {
  if (N <= most_few_rows) return few_rows(context, y, x, DenseRows{w, K}, bias, N, M, K);
  Product product{
      N, M, K, {as_factor(context, x, N * K), K, false}, {as_factor(context, w, M * K), K, true}, context.precision,
      y, M};
  product.bias = as_bias(context, bias, M);
  multiply(context, product);
}

void linear_backward_input(Context& context, float* dx, const float* dy, Weights w, int64_t N, int64_t M, int64_t K) {
  multiply(context, {N,
                     K,
                     M,
                     {as_factor(context, dy, N * M), M, false},
                     {as_factor(context, w, M * K), K, false},
                     context.precision,
                     dx,
                     K});
}

void linear_backward_weight(Context& context, float* dw, const float* dy, const float* x, int64_t N, int64_t M,
                            int64_t K) {
  multiply(context, {M,
                     K,
                     N,
                     {as_factor(context, dy, N * M), M, true},
                     {as_factor(context, x, N * K), K, false},
                     context.precision,
                     dw,
                     K});
}

}  // namespace pipe::cuda
