// Sums over rows, a vector of columns at a time.
#pragma once

#include <algorithm>

#include "../../context.h"
#include "simd.h"

namespace pipe {

// sums[c] = the sum over rows of term(row, c), a vector of n columns at a time: term(row, column, n).
// Threads take columns, and the rows of a column are added in order: in runs of 64, so that the error grows with the
// number of runs and not of rows.
template <class Term>
void sum_columns(Context& context, float* sums, int64_t rows, int64_t columns, const Term& term) {
  constexpr int64_t run = 64;
  const int64_t vectors = (columns + lanes - 1) / lanes;
  context.pool.split(vectors, 1 + 65536 / (rows * lanes), [&](int, int64_t first, int64_t last) {
    for_vectors(first * lanes, std::min(columns, last * lanes), [&](int64_t column, int64_t n) {
      Floats total{};
      for (int64_t begin = 0; begin < rows; begin += run) {
        Floats part{};
        for (int64_t row = begin; row < std::min(rows, begin + run); ++row) part += term(row, column, n);
        total += part;
      }
      store(sums + column, total, n);
    });
  });
}

}  // namespace pipe
