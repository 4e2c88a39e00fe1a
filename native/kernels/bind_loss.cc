// Binders of the loss and its gradients, and of the comparison of logits.
#include <algorithm>

#include "kernels.h"
#include "registry.h"

namespace PIPE_DEVICE {

namespace {

// Operands `first` to `first` + 2: hidden, table, targets. The scratch buffer holds as many rows of logits as it has
// room for.
Loss loss_operands(Operands& o, size_t first) {
  const Tensor hidden = o.matrix(first, "hidden", any, any, activation);
  const Tensor table = o.matrix(first + 1, "table", any, hidden.columns(), float_or_bf16);
  const int64_t N = hidden.rows(), V = table.rows(), C = table.columns();
  const Tensor targets = o.vector(first + 2, "targets", N, int_only);
  const Tensor logits = o.scratch(V);
  return {in(hidden), weights(table), targets.i32(), logits.f32(), N, V, C, std::min(N, logits.size() / V)};
}

Step cross_entropy(Operands& o) {
  const Loss loss = loss_operands(o, 0);
  const Tensor mean = o.output(1);
  return {[=](Context& c) { cross_entropy_forward(c, mean.f32(), loss); }, loss_shared(loss), 0};
}

Step cross_entropy_backward_hidden(Operands& o) {
  const Tensor dloss = o.vector(0, "dloss", 1);
  const Loss loss = loss_operands(o, 1);
  const Tensor dhidden = o.output(loss.N * loss.C, activation);
  return {[=](Context& c) { PIPE_DEVICE::cross_entropy_backward_hidden(c, out(dhidden), dloss.f32(), loss); },
          loss_shared(loss), 0};
}

Step cross_entropy_with_gradient(Operands& o) {
  const Tensor dloss = o.vector(0, "dloss", 1);
  const Loss loss = loss_operands(o, 1);
  const Tensor mean = o.output(1);
  const Tensor dhidden = o.output(loss.N * loss.C, activation);
  return {[=](Context& c) {
            PIPE_DEVICE::cross_entropy_with_gradient(c, mean.f32(), out(dhidden), dloss.f32(), loss);
          },
          loss_shared(loss), 0};
}

Step cross_entropy_backward_table(Operands& o) {
  const Tensor dloss = o.vector(0, "dloss", 1);
  const Loss loss = loss_operands(o, 1);
  const Tensor dtable = o.output(loss.V * loss.C);
  return {[=](Context& c) { PIPE_DEVICE::cross_entropy_backward_table(c, dtable.f32(), dloss.f32(), loss); },
          loss_shared(loss), 0};
}

Step token_log_prob(Operands& o) {
  const Loss loss = loss_operands(o, 0);
  const Tensor y = o.output(loss.N);
  return {[=](Context& c) { PIPE_DEVICE::token_log_prob(c, y.f32(), loss); }, loss_shared(loss), 0};
}

Step compare_logits(Operands& o) {
  const Tensor logits = o.matrix(0, "logits", any, any);
  const int64_t N = logits.rows(), V = logits.columns();
  const Tensor reference = o.matrix(1, "reference", N, V);
  const Tensor targets = o.vector(2, "targets", N, int_only);
  o.require(V >= 2, "takes rows of two logits and more");
  const Tensor compared = o.output(N * compared_columns);
  return {[=](Context& c) {
            PIPE_DEVICE::compare_logits(c, compared.f32(), logits.f32(), reference.f32(), targets.i32(), N, V);
          },
          0, 0};
}

}  // namespace

const std::vector<NamedBind>& loss_binders() {
  static const std::vector<NamedBind> table = {
      {"CrossEntropy", cross_entropy},
      {"CrossEntropyBackwardHidden", cross_entropy_backward_hidden},
      {"CrossEntropyWithGradient", cross_entropy_with_gradient},
      {"CrossEntropyBackwardTable", cross_entropy_backward_table},
      {"TokenLogProb", token_log_prob},
      {"CompareLogits", compare_logits},
  };
  return table;
}

}  // namespace PIPE_DEVICE
