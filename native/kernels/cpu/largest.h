// The largest number of a row, and where it is.
#pragma once

#include <algorithm>

#include "softmax.h"

namespace pipe {

struct Largest {
  int64_t place;  // the first of equals
  float value;
};

inline Largest largest_of(const float* x, int64_t n) {
  const float value = row_max(x, n);
  const float* found = std::find(x, x + n, value);
  return {found == x + n ? 0 : found - x, value};  // NaN equals nothing
}

}  // namespace pipe
