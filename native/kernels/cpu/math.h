// Elementary functions on vectors of floats.
#pragma once

#include <cmath>

#include "simd.h"

namespace pipe {

// e^x. Where the result is normal, at most 1 ulp from the true value with fused multiply-add and 1.3 without (compared
// with float64 on every third float32); below that, within the smallest denormal; infinity above 89; NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, so that r is exact: Cody and Waite), and e^r by its Taylor
// polynomial of degree 7, whose remainder is below 2^-27 there.
inline Floats exp(Floats x) {
  x = x < -104.0f ? broadcast(-104.0f) : x;
  x = x > 89.0f ? broadcast(89.0f) : x;
  const Floats round = broadcast(12582912.0f);  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const Floats shifted = x * 1.44269504f + round;
  const Floats n = shifted - round;
  Floats r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  Floats e = broadcast(1.0f / 5040);
  e = e * r + 1.0f / 720;
  e = e * r + 1.0f / 120;
  e = e * r + 1.0f / 24;
  e = e * r + 1.0f / 6;
  e = e * r + 0.5f;
  e = e * r + 1.0f;
  e = e * r + 1.0f;
  // 2^n in two factors, since n goes from -150 to 128 and one exponent holds -126 to 127.
  const Ints power = __builtin_convertvector(n == n ? n : Floats{}, Ints);
  const Ints half = power >> 1;
  const Ints low = (half + 127) << 23;
  const Ints high = (power - half + 127) << 23;
  return e * reinterpret_cast<Floats>(low) * reinterpret_cast<Floats>(high);
}

// The square root, correctly rounded: the compiler makes the loop one instruction.
inline Floats sqrt(Floats x) {
  for (int i = 0; i < lanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
}

}  // namespace pipe
