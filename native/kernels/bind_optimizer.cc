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

// Operands norm, hyper, then p, m, v, g of each parameter; outputs p, m, v of each, in place.
Step adamw_all(Operands& o) {
  const Tensor norm = o.vector(0, "norm", 1);
  const Tensor hyper = o.vector(1, "hyper", 2);
  o.require(o.count() > 2 && o.count() % 4 == 2, "has " + std::to_string(o.count()) +
                                                     " operands; it takes norm, hyper, and four for each parameter");
  std::vector<Parameter> parameters;
  for (size_t i = 2; i < o.count(); i += 4) {
    const Tensor p = o.tensor(i, "p");
    const Tensor m = o.vector(i + 1, "m", p.size());
    const Tensor v = o.vector(i + 2, "v", p.size());
    const Tensor g = o.vector(i + 3, "g", p.size());
    parameters.push_back({p.f32(), m.f32(), v.f32(), g.f32(), p.size()});
    for (size_t in_place = i; in_place < i + 3; ++in_place) {
      const Tensor updated = o.output(p.size());
      o.in_place(in_place);
      o.require(updated.data == (in_place == i ? p : in_place == i + 1 ? m : v).data,
                "writes parameters and moments in place; output \"" + updated.buffer->name + "\" lies elsewhere");
    }
  }
  const AdamW a{o.number("beta1"), o.number("beta2"), o.number("epsilon"), o.number("weightDecay")};
  const double max_norm = o.number("maxNorm");
  return {[=](Context& c) {
            PIPE_DEVICE::adamw_all(c, parameters.data(), parameters.size(), norm.f32(), hyper.f32(), a, max_norm);
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
      {"AdamW", adamw_all},
  };
  return table;
}

}  // namespace PIPE_DEVICE
