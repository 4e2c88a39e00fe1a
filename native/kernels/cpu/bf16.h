// bf16: the upper half of a float32, rounded to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

namespace pipe {

inline float float_of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

inline uint32_t bits_of_float(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Nearest, ties to even; NaN stays NaN (its quiet bit is set, so that dropping the lower half cannot make an infinity).
inline uint16_t bf16_of_float(float x) {
  const uint32_t bits = bits_of_float(x);
  if (x != x) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float float_of_bf16(uint16_t half) { return float_of_bits(static_cast<uint32_t>(half) << 16); }

// x rounded to bf16, as a float32.
inline float round_to_bf16(float x) { return float_of_bf16(bf16_of_float(x)); }

}  // namespace pipe
