// Linear maps whose weights are stored as NF4: dequantized while they are packed, so that no copy of them exists.
#include "../kernels.h"
#include "gemm.h"
#include "weights.h"

namespace pipe {

void nf4_matmul_forward(Context& context, float* y, const float* x, const Nf4& w, Weights bias, int64_t N, int64_t M,
                        int64_t K) {
  Product product{N, M, K, {x, K, false}, Right::of(w, K, true), y, M};
  product.bias = read_weights(bias, 0, M, context.shared);
  gemm(context, product);
}

void nf4_matmul_backward_input(Context& context, float* dx, const float* dy, const Nf4& w, int64_t N, int64_t M,
                               int64_t K) {
  gemm(context, {N, K, M, {dy, M, false}, Right::of(w, K, false), dx, K});
}

}  // namespace pipe
