// NF4 on the device: elements of a stored matrix, to the bit as DESIGN.md defines them.
#pragma once

#include "launch.cuh"

namespace pipe::cuda {

// One element: the product is rounded to float32, then once to bf16.
__device__ inline __nv_bfloat16 nf4_value(float code_value, float absmax) {
  return __float2bfloat16_rn(__fmul_rn(code_value, absmax));
}

// The scale of block i, to the bit.
__device__ inline float nf4_scale(const Nf4& w, int64_t i) {
  if (w.nested.codes == nullptr) return w.absmax[i];
  const NestedScales& s = w.nested;
  return __fadd_rn(__fmul_rn(s.codebook[s.codes[i]], s.absmax[i / s.block]), *s.offset);
}

// Element e's code; the even element of a byte is in the high nibble.
__device__ inline int nf4_code(const uint8_t* codes, int64_t e) {
  return e % 2 == 0 ? codes[e / 2] >> 4 : codes[e / 2] & 15;
}

// out[n]: the whole matrix.
void dequantize(Context&, __nv_bfloat16* out, const Nf4& stored, int64_t n);
void dequantize(Context&, float* out, const Nf4& stored, int64_t n);

}  // namespace pipe::cuda
