// Binders of the optimizer.
#include "kernels.h"
#include "registry.h"

namespace PIPE_DEVICE {

namespace {

Step global_norm(Operands& o) {
  o.require(o.count() > 0, "has no operands");
  std::vector<Gradient> gradients;
  size_t parts = 0;
  for (size_t i = 0; i < o.count(); ++i) {
    const Tensor gradient = o.tensor(i, "gradient");
    gradients.push_back({gradient.f32(), gradient.size()});
    parts += static_cast<size_t>((gradient.size() + global_norm_chunk - 1) / global_norm_chunk);
  }
  const Tensor norm = o.output(1);
  return {[=](Context& c) { PIPE_DEVICE::global_norm(c, norm.f32(), gradients.data(), gradients.size()); }, 2 * parts,
          0};
}

// Operands and output of the two running averages.
struct Average {
  Tensor out, average, gradient, norm;
};

Average average_operands(Operands& o, const char* what) {
  const Tensor average = o.tensor(0, what);
  const Tensor gradient = o.vector(1, "g", average.size());
  const Tensor norm = o.vector(2, "norm", 1);
  o.in_place(0);
  return {o.output(average.size()), average, gradient, norm};
}

Step adamw_mean(Operands& o) {
  const Average a = average_operands(o, "m");
  const double beta1 = o.number("beta1");
  const double max_norm = o.number("maxNorm");
  return {[=](Context& c) {
            PIPE_DEVICE::adamw_mean(c, a.out.f32(), a.average.f32(), a.gradient.f32(), a.norm.f32(), beta1, max_norm,
                                    a.out.size());
          },
          0, 0};
}

Step adamw_variance(Operands& o) {
  const Average a = average_operands(o, "v");
  const double beta2 = o.number("beta2");
  const double max_norm = o.number("maxNorm");
  return {[=](Context& c) {
            PIPE_DEVICE::adamw_variance(c, a.out.f32(), a.average.f32(), a.gradient.f32(), a.norm.f32(), beta2,
                                        max_norm, a.out.size());
          },
          0, 0};
}

Step adamw_update(Operands& o) {
  const Tensor p = o.tensor(0, "p");
  const Tensor m = o.vector(1, "m", p.size());
  const Tensor v = o.vector(2, "v", p.size());
  const Tensor hyper = o.vector(3, "hyper", 2);
  const AdamW a{o.number("beta1"), o.number("beta2"), o.number("epsilon"), o.number("weightDecay")};
  const Tensor out = o.output(p.size());
  o.in_place(0);
  return {[=](Context& c) {
            PIPE_DEVICE::adamw_update(c, out.f32(), p.f32(), m.f32(), v.f32(), hyper.f32(), a, out.size());
          },
          0, 0};
}

}  // namespace

const std::vector<NamedBind>& optimizer_binders() {
  static const std::vector<NamedBind> table = {
      {"GlobalNorm", global_norm},
      {"AdamWMean", adamw_mean},
      {"AdamWVariance", adamw_variance},
      {"AdamWUpdate", adamw_update},
  };
  return table;
}

}  // namespace PIPE_DEVICE
