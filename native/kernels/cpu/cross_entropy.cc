// The mean cross-entropy of a tied output layer, and its gradients, without ever holding all logits.
#include <algorithm>

#include "loss.h"
#include "softmax.h"

namespace pipe {

namespace {

// A chunk's logits become the loss's gradient with respect to them: (softmax - 1 at the target) * factor.
void logits_gradient(Context& context, const Loss& loss, const LossChunk& chunk, float factor) {
  context.pool.split(chunk.rows, logits_grain(loss), [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      float* logits = loss.logits + r * loss.V;
      softmax(logits, loss.V, 1.0f);
      logits[loss.targets[chunk.index[r]]] -= 1.0f;
      map(
          0, loss.V, logits, [factor](Floats x) { return x * factor; }, logits);
    }
  });
}

}  // namespace

void cross_entropy_forward(Context& context, float* mean, const Loss& loss) {
  const LossWorkspace workspace(context, loss);
  const int64_t counted = count_targets(loss, workspace.index);
  double total = 0;
  for_chunks(context, loss, workspace, counted, [&](const LossChunk& chunk) {
    log_probs(context, loss, chunk, workspace.of_row);
    for (int64_t r = 0; r < chunk.rows; ++r) total -= workspace.of_row[r];
  });
  *mean = counted == 0 ? 0.0f : static_cast<float>(total / static_cast<double>(counted));
}

void cross_entropy_backward_hidden(Context& context, float* dhidden, const float* dloss, const Loss& loss) {
  const LossWorkspace workspace(context, loss);
  const int64_t counted = count_targets(loss, workspace.index);
  std::fill(dhidden, dhidden + loss.N * loss.C, 0.0f);
  for_chunks(context, loss, workspace, counted, [&](const LossChunk& chunk) {
    logits_gradient(context, loss, chunk, *dloss / static_cast<float>(counted));
    gemm(context, {chunk.rows,
                   loss.C,
                   loss.V,
                   {loss.logits, loss.V, false},
                   Right::of(loss.table, loss.C, false),
                   workspace.result,
                   loss.C});
    for (int64_t r = 0; r < chunk.rows; ++r)
      std::memcpy(dhidden + chunk.index[r] * loss.C, workspace.result + r * loss.C,
                  static_cast<size_t>(loss.C) * sizeof(float));
  });
}

void cross_entropy_with_gradient(Context& context, float* mean, float* dhidden, const float* dloss, const Loss& loss) {
  cross_entropy_forward(context, mean, loss);
  cross_entropy_backward_hidden(context, dhidden, dloss, loss);
}

void cross_entropy_backward_table(Context& context, float* dtable, const float* dloss, const Loss& loss) {
  const LossWorkspace workspace(context, loss);
  const int64_t counted = count_targets(loss, workspace.index);
  if (counted == 0) std::fill(dtable, dtable + loss.V * loss.C, 0.0f);
  for_chunks(context, loss, workspace, counted, [&](const LossChunk& chunk) {
    logits_gradient(context, loss, chunk, *dloss / static_cast<float>(counted));
    gemm(context, {loss.V,
                   loss.C,
                   chunk.rows,
                   {loss.logits, loss.V, true},
                   Right::of(chunk.hidden, loss.C, false),
                   dtable,
                   loss.C,
                   nullptr,
                   chunk.done > 0});
  });
}

}  // namespace pipe
