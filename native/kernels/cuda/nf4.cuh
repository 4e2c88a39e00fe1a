// NF4 on the device: elements of a stored matrix, to the bit as DESIGN.md defines them.
#pragma once

#include "launch.cuh"

namespace pipe::cuda {

// One element: the product is rounded to float32, then once to bf16.
__device__ inline __nv_bfloat16 nf4_value(float code_value, float absmax) {
  return __float2bfloat16_rn(__fmul_rn(code_value, absmax));
}

// i / block, i not negative. Blocks are powers of two but in tests, and a division of 64 bits costs as much as
// dequantizing eight elements.
__device__ inline int64_t nf4_block_of(int64_t i, int64_t block) {
  return (block & (block - 1)) == 0 ? i >> (__ffsll(block) - 1) : i / block;
}

// The scale of block i, to the bit.
__device__ inline float nf4_scale(const Nf4& w, int64_t i) {
  if (w.nested.codes == nullptr) return w.absmax[i];
  const NestedScales& s = w.nested;
  return __fadd_rn(__fmul_rn(s.codebook[s.codes[i]], s.absmax[nf4_block_of(i, s.block)]), *s.offset);
}

// The scale of element e.
__device__ inline float nf4_scale_at(const Nf4& w, int64_t e) { return nf4_scale(w, nf4_block_of(e, w.block)); }

// Element e's code; the even element of a byte is in the high nibble.
__device__ inline int nf4_code(const uint8_t* codes, int64_t e) {
  return e % 2 == 0 ? codes[e / 2] >> 4 : codes[e / 2] & 15;
}

}  // namespace pipe::cuda
