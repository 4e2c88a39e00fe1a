// Linear maps whose weights are stored as NF4: dequantized while they are packed, so that no copy of them exists.
#include "../kernels.h"
#include "added.h"
#include "weights.h"

namespace pipe {

namespace {

// The matrix with its scales as floats: as they are, or put in `space`, which has nf4_shared(w, n) floats.
Nf4 with_absmax(Context& context, const Nf4& w, int64_t n, float* space) {
  if (w.nested.codes == nullptr) return w;
  const NestedScales& s = w.nested;
  dequantize_absmax(context, space, s.codes, s.absmax, s.codebook, s.offset, n / w.block, s.block);
  return {w.codes, space, w.codebook, w.block};
}

}  // namespace

size_t nf4_shared(const Nf4& w, int64_t n) {
  return w.nested.codes == nullptr ? 0 : static_cast<size_t>(n / w.block);
}

void nf4_matmul_forward(Context& context, float* y, const float* x, const Nf4& w, Weights bias, const float* added,
                        int64_t N, int64_t M, int64_t K) {
  const Nf4 scaled = with_absmax(context, w, M * K, context.shared + M);
  multiply_and_add(context, {N, M, K, {x, K, false}, Right::of(scaled, K, true), y, M},
                   read_weights(bias, 0, M, context.shared), added);
}

void nf4_matmul_backward_input(Context& context, float* dx, const float* dy, const Nf4& w, const float* added, int64_t N,
                               int64_t M, int64_t K) {
  const Nf4 scaled = with_absmax(context, w, M * K, context.shared);
  multiply_and_add(context, {N, K, M, {dy, M, false}, Right::of(scaled, K, false), dx, K}, nullptr, added);
}

}  // namespace pipe
