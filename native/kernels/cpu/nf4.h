// NF4: weights as 4-bit codes of normal quantiles, scaled by block (Dettmers et al. 2023, QLoRA, section 3).
#pragma once

#include <cstdint>

namespace pipe {

// Block scales that are themselves stored in 8 bits (double quantization: Dettmers et al. 2023, section 3): that of block i
// is codebook[codes[i]] * absmax[i / block] + offset[0], product and sum each rounded to float32.
struct NestedScales {
  const uint8_t* codes = nullptr;
  const float* absmax = nullptr;
  const float* codebook = nullptr;  // 256 values
  const float* offset = nullptr;
  int64_t block = 0;
};

// A stored matrix. Its scales are `absmax`, or `nested` where that has codes. Element e, counted row by row, is codebook[code e] * absmax[e / block], rounded once to bf16.
// Two codes a byte: the even element's in the high nibble.
struct Nf4 {
  const uint8_t* codes = nullptr;
  const float* absmax = nullptr;
  const float* codebook = nullptr;  // 16 values
  int64_t block = 0;                // a multiple of 2
  NestedScales nested = {};
};

// Writes elements [begin, begin + count) to out as float32.
void nf4_dequantize(const Nf4& stored, int64_t begin, int64_t count, float* out);

}  // namespace pipe
