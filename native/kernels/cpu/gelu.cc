// GPT-2's activation, the tanh form of GELU, and its derivative.
#include "../kernels.h"
#include "elements.h"
#include "math.h"

namespace pipe {

namespace {

constexpr float cubic = 0.044715f;
constexpr float two_sqrt_2_over_pi = 1.5957691216f;  // 2 sqrt(2 / pi)

// With u = sqrt(2 / pi) (x + 0.044715 x^3): 0.5 (1 + tanh u) = 1 / (1 + e^-2u), which keeps its relative accuracy where
// tanh u nears -1. The exponent is held to 87, so that e^-2u stays finite and its product with the result is no NaN.
struct Sigmoid {
  Floats value;
  Floats complement;  // 1 - value
};

Sigmoid sigmoid_2u(Floats x) {
  const Floats negative_2u = -two_sqrt_2_over_pi * (x + cubic * x * x * x);
  const Floats e = exp(negative_2u > 87.0f ? broadcast(87.0f) : negative_2u);
  const Floats value = 1.0f / (1.0f + e);
  return {value, e * value};
}

}  // namespace

void gelu_forward(Context& context, float* y, const float* x, int64_t n) {
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    map(
        begin, end, y, [](Floats v) { return v * sigmoid_2u(v).value; }, x);
  });
}

// d/dx (x s) = s + x s (1 - s) 2u'
void gelu_backward(Context& context, float* dx, const float* dy, const float* x, int64_t n) {
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    const auto gradient = [](Floats d, Floats v) {
      const Sigmoid s = sigmoid_2u(v);
      const Floats slope_2u = two_sqrt_2_over_pi * (1.0f + 3 * cubic * v * v);
      return d * (s.value + v * s.value * s.complement * slope_2u);
    };
    map(begin, end, dx, gradient, dy, x);
  });
}

}  // namespace pipe
