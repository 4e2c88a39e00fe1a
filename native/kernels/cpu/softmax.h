// The pieces of a softmax over one row.
#pragma once

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

// The sum of e^(scale (x - shift)).
inline float sum_exp(const float* x, int64_t n, float shift, float scale) {
  Floats total{};
  for_vectors(0, n, [&](int64_t i, int64_t count) {
    total += first_lanes(exp((load(x + i, count) - shift) * scale), count);
  });
  return sum(total);
}

// x = softmax(scale x) in place, scale > 0.
inline void softmax(float* x, int64_t n, float scale) {
  const float shift = row_max(x, n);
  Floats total{};
  for_vectors(0, n, [&](int64_t i, int64_t count) {
    const Floats e = exp((load(x + i, count) - shift) * scale);
    store(x + i, e, count);
    total += first_lanes(e, count);
  });
  const float inverse = 1 / sum(total);
  map(0, n, x, [inverse](Floats v) { return v * inverse; }, x);
}

}  // namespace pipe
