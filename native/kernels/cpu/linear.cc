// Linear maps with weights in float32 or bf16: forward and both gradients.
#include "../kernels.h"
#include "gemm.h"
#include "weights.h"

namespace pipe {

void linear_forward(Context& context, float* y, const float* x, Weights w, Weights bias, int64_t N, int64_t M,
                    int64_t K) {
  Product product{N, M, K, {x, K, false}, Right::of(w, K, true), y, M};
  product.bias = read_weights(bias, 0, M, context.shared);
  gemm(context, product);
}

void linear_backward_input(Context& context, float* dx, const float* dy, Weights w, int64_t N, int64_t M, int64_t K) {
  gemm(context, {N, K, M, {dy, M, false}, Right::of(w, K, false), dx, K});
}

void linear_backward_weight(Context& context, float* dw, const float* dy, const float* x, int64_t N, int64_t M,
                            int64_t K) {
  gemm(context, {M, K, N, {dy, M, true}, Right::of(x, K, false), dw, K});
}

}  // namespace pipe
