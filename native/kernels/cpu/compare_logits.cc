// How far two models say the same, from the logits of both: agreement, margin, divergence. A row is read some four times
// while it is in the caches; sums are made of runs in float32, added up in float64, because the divergence is a small
// difference of large sums.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "../../errors.h"
#include "../kernels.h"
#include "largest.h"

namespace pipe {

namespace {

// The largest of all but one.
float second_of(const float* x, int64_t n, int64_t largest) {
  float second = -std::numeric_limits<float>::infinity();
  if (largest > 0) second = row_max(x, largest);
  if (largest + 1 < n) second = std::max(second, row_max(x + largest + 1, n - largest - 1));
  return second;
}

// The sum over [0, n) of term(i, count), as sum_terms.
template <class Term>
double sum_in_double(int64_t n, const Term& term) {
  constexpr int64_t run = 64 * lanes;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += run)
    total += sum_terms(std::min(run, n - begin), [&](int64_t i, int64_t count) { return term(begin + i, count); });
  return total;
}

// compared[5] of one row.
void compare(float* compared, const float* logits, const float* reference, int32_t target, int64_t V) {
  const Largest mine = largest_of(logits, V);
  const Largest theirs = largest_of(reference, V);
  const double total = sum_in_double(V, [&](int64_t i, int64_t n) { return exp(load(logits + i, n) - mine.value); });
  // Of the reference: the sum of e = exp(logit - largest), and that of e times how far the shifted logits differ.
  const double reference_total =
      sum_in_double(V, [&](int64_t i, int64_t n) { return exp(load(reference + i, n) - theirs.value); });
  const double difference = sum_in_double(V, [&](int64_t i, int64_t n) {
    const Floats shifted = load(reference + i, n) - theirs.value;
    return exp(shifted) * (shifted - (load(logits + i, n) - mine.value));
  });
  compared[0] = static_cast<float>(double{logits[target]} - mine.value - std::log(total));
  compared[1] = static_cast<float>(mine.place);
  compared[2] = static_cast<float>(theirs.place);
  compared[3] = theirs.value - second_of(reference, V, theirs.place);
  compared[4] = static_cast<float>(difference / reference_total - (std::log(reference_total) - std::log(total)));
}

}  // namespace

void compare_logits(Context& context, float* compared, const float* logits, const float* reference,
                    const int32_t* targets, int64_t N, int64_t V) {
  for (int64_t row = 0; row < N; ++row)
    if (targets[row] >= V)
      throw DataError("targets[" + std::to_string(row) + "] is " + std::to_string(targets[row]) +
                      ", but there are logits 0 to " + std::to_string(V - 1));
  context.pool.split(N, 1 + 4096 / V, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* of_row = compared + row * compared_columns;
      if (targets[row] < 0) std::fill(of_row, of_row + compared_columns, 0.0f);
      else compare(of_row, logits + row * V, reference + row * V, targets[row], V);
    }
  });
}

}  // namespace pipe
