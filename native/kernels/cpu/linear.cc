// Linear maps with weights in float32 or bf16: forward and both gradients.
#include "../kernels.h"
#include "added.h"
#include "weights.h"

namespace pipe {

void linear_forward(Context& context, float* y, const float* x, Weights w, Weights bias, const float* added, int64_t N,
                    int64_t M, int64_t K) {
  multiply_and_add(context, {N, M, K, {x, K, false}, Right::of(w, K, true), y, M},
                   read_weights(bias, 0, M, context.shared), added);
}

void linear_backward_input(Context& context, float* dx, const float* dy, Weights w, const float* added, int64_t N,
                           int64_t M, int64_t K) {
  multiply_and_add(context, {N, K, M, {dy, M, false}, Right::of(w, K, false), dx, K}, nullptr, added);
}

void linear_backward_weight(Context& context, float* dw, const float* dy, const float* x, int64_t N, int64_t M,
                            int64_t K) {
  gemm(context, {M, K, N, {dy, M, true}, Right::of(x, K, false), dw, K});
}

}  // namespace pipe
