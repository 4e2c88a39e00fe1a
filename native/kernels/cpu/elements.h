// The cut of a flat array into parts for threads.
#pragma once

#include <algorithm>

#include "../../context.h"

namespace pipe {

// Calls body(begin, end) for parts of [0, n) that begin at multiples of 1024, so that every cut falls between vectors.
template <class Body>
void for_elements(Context& context, int64_t n, const Body& body) {
  constexpr int64_t unit = 1024;
  context.pool.split((n + unit - 1) / unit, 32,
                     [&](int, int64_t begin, int64_t end) { body(begin * unit, std::min(n, end * unit)); });
}

}  // namespace pipe
