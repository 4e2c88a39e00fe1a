// Dequantization of whole matrices, and of doubly quantized block scales.
#include "../kernels.h"
#include "elements.h"

namespace pipe {

void nf4_dequantize_forward(Context& context, float* w, const Nf4& stored, int64_t n) {
  for_elements(context, n, [&](int64_t begin, int64_t end) { nf4_dequantize(stored, begin, end - begin, w + begin); });
}

void dequantize_absmax(Context& context, float* absmax, const uint8_t* codes, const float* nested,
                       const float* codebook, const float* offset, int64_t n, int64_t block) {
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) absmax[i] = codebook[codes[i]] * nested[i / block];
    // The sum in a loop of its own, so that product and sum are each rounded and not fused: the definition's bits.
    for (int64_t i = begin; i < end; ++i) absmax[i] += *offset;
  });
}

}  // namespace pipe
