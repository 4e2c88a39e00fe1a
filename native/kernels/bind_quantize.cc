// Binders of quantization.
#include "kernels.h"
#include "registry.h"

namespace PIPE_DEVICE {

namespace {

struct Weight {
  const float* w;
  int64_t n, block;
};

Weight weight(Operands& o) {
  const Tensor w = o.tensor(0, "w");
  const int64_t n = w.size(), block = o.natural("block");
  o.require(block >= 2 && block % 2 == 0 && n % block == 0,
            "has blocks of " + std::to_string(block) + " for " + std::to_string(n) +
                " elements; a block must be even and divide them");
  return {w.f32(), n, block};
}

Step absmax(Operands& o) {
  const Weight x = weight(o);
  const Tensor scales = o.output(x.n / x.block);
  return {[=](Context& c) { nf4_absmax(c, scales.f32(), x.w, x.n, x.block); }, 0, 0};
}

Step codes(Operands& o) {
  const Weight x = weight(o);
  const Tensor scales = o.vector(1, "absmax", x.n / x.block);
  const Tensor thresholds = o.vector(2, "thresholds", nf4_thresholds);
  const Tensor codes = o.output(x.n / 2, byte_only);
  return {[=](Context& c) { nf4_codes(c, codes.u8(), x.w, scales.f32(), thresholds.f32(), x.n, x.block); }, 0, 0};
}

Step quantize(Operands& o) {
  const Weight x = weight(o);
  const Tensor thresholds = o.vector(1, "thresholds", nf4_thresholds);
  const Tensor scales = o.output(x.n / x.block);
  const Tensor codes = o.output(x.n / 2, byte_only);
  return {[=](Context& c) { nf4_quantize(c, scales.f32(), codes.u8(), x.w, thresholds.f32(), x.n, x.block); }, 0, 0};
}

}  // namespace

const std::vector<NamedBind>& quantize_binders() {
  static const std::vector<NamedBind> table = {
      {"Nf4Absmax", absmax},
      {"Nf4Codes", codes},
      {"Nf4Quantize", quantize},
  };
  return table;
}

}  // namespace PIPE_DEVICE
