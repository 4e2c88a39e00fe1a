// The pieces of a softmax over one row.
#pragma once

#include <cmath>
#include <limits>

#include "math.h"

namespace pipe {

inline float row_max(const float* x, int64_t n) {
  Floats largest = broadcast(-std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) largest = max(largest, load(x + i));
  float result = max(largest);
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

// The sum of e^(x - shift).
inline float sum_exp(const float* x, int64_t n, float shift) {
  return sum_terms(n, [&](int64_t i, int64_t count) { return exp(load(x + i, count) - shift); });
}

// x = softmax(scale x) in place, scale > 0. Returns the logarithm of the sum of e^(scale x).
inline float softmax(float* x, int64_t n, float scale) {
  const float shift = row_max(x, n);
  const float total = sum_terms(n, [&](int64_t i, int64_t count) {
    const Floats e = exp((load(x + i, count) - shift) * scale);
    store(x + i, e, count);
    return e;
  });
  const float inverse = 1 / total;
  map(
      0, n, x, [inverse](Floats v) { return v * inverse; }, x);
  return scale * shift + std::log(total);
}

}  // namespace pipe
