// Which rows count in a loss, and the log-probabilities of their targets.
#include "loss.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "../../errors.h"
#include "softmax.h"

namespace pipe {

size_t loss_shared(const Loss& loss) { return static_cast<size_t>(2 * loss.chunk * loss.C + loss.N + loss.chunk); }

int64_t count_targets(const Loss& loss, int32_t* index) {
  int64_t counted = 0;
  for (int64_t i = 0; i < loss.N; ++i) {
    if (loss.targets[i] >= loss.V)
      throw DataError("targets[" + std::to_string(i) + "] is " + std::to_string(loss.targets[i]) +
                      ", but the table has rows 0 to " + std::to_string(loss.V - 1));
    if (loss.targets[i] >= 0) index[counted++] = static_cast<int32_t>(i);
  }
  return counted;
}

void log_probs(Context& context, const Loss& loss, const LossChunk& chunk, float* of_row) {
  context.pool.split(chunk.rows, logits_grain(loss), [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* logits = loss.logits + r * loss.V;
      const float largest = row_max(logits, loss.V);
      const float normalizer = std::log(sum_exp(logits, loss.V, largest));
      of_row[r] = logits[loss.targets[chunk.index[r]]] - largest - normalizer;
    }
  });
}

}  // namespace pipe
