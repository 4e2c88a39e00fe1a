// Linear maps whose weights are stored as NF4: dequantized while they are packed, so that no copy of them exists.
#include "../kernels.h"
#include "added.h"
#include "weights.h"

namespace pipe {

void nf4_matmul_forward(Context& context, float* y, const float* x, const Nf4& w, Weights bias, const float* added,
                        int64_t N, int64_t M, int64_t K) {
  multiply_and_add(context, {N, M, K, {x, K, false}, Right::of(w, K, true), y, M},
                   read_weights(bias, 0, M, context.shared), added);
}

void nf4_matmul_backward_input(Context& context, float* dx, const float* dy, const Nf4& w, const float* added, int64_t N,
                               int64_t M, int64_t K) {
  multiply_and_add(context, {N, K, M, {dy, M, false}, Right::of(w, K, false), dx, K}, nullptr, added);
}

}  // namespace pipe
