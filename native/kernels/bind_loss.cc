// Binders of the loss and its gradients.
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

}  // namespace

const std::vector<NamedBind>& loss_binders() {
  static const std::vector<NamedBind> table = {
      {"CrossEntropy", cross_entropy},
      {"CrossEntropyBackwardHidden", cross_entropy_backward_hidden},
      {"CrossEntropyWithGradient", cross_entropy_with_gradient},
      {"CrossEntropyBackwardTable", cross_entropy_backward_table},
      {"TokenLogProb", token_log_prob},
  };
  return table;
}

}  // namespace PIPE_DEVICE
