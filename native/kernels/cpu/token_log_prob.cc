// The log-probability of each row's target.
#include <algorithm>

#include "loss.h"

namespace pipe {

void token_log_prob(Context& context, float* y, const Loss& loss) {
  const LossWorkspace workspace(context, loss);
  const int64_t counted = count_targets(loss, workspace.index);
  std::fill(y, y + loss.N, 0.0f);
  for_chunks(context, loss, workspace, counted, [&](const LossChunk& chunk) {
    log_probs(context, loss, chunk, workspace.of_row);
    for (int64_t r = 0; r < chunk.rows; ++r) y[chunk.index[r]] = workspace.of_row[r];
  });
}

}  // namespace pipe
