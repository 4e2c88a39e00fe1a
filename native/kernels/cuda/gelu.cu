// GPT-2's activation, the tanh form of GELU, and its derivative. Memory-bound: one pass each.
#include "map.cuh"

namespace pipe::cuda {

namespace {

constexpr float cubic = 0.044715f;
constexpr float two_sqrt_2_over_pi = 1.5957691216f;  // 2 sqrt(2 / pi)

// With u = sqrt(2 / pi) (x + 0.044715 x^3): 0.5 (1 + tanh u) = 1 / (1 + e^-2u), which keeps its relative accuracy where
// tanh u nears -1. The exponent is held to 87, so that e^-2u stays finite and its product with the result is no NaN.
struct Sigmoid {
  float value;
  float complement;  // 1 - value

  __device__ explicit Sigmoid(float x) {
    const float e = __expf(fminf(-two_sqrt_2_over_pi * (x + cubic * x * x * x), 87.0f));
    value = __fdividef(1.0f, 1 + e);
    complement = e * value;
  }
};

}  // namespace

void gelu_forward(Context& context, Out y, In x, int64_t n) {
  map(
      context, n, y, [] __device__(int64_t, float v) { return v * Sigmoid(v).value; }, x);
}

// d/dx (x s) = s + x s (1 - s) 2u'
void gelu_backward(Context& context, Out dx, In dy, In x, int64_t n) {
  const auto gradient = [] __device__(int64_t, float d, float v) {
    const Sigmoid s(v);
    const float slope_2u = two_sqrt_2_over_pi * (1 + 3 * cubic * v * v);
    return d * (s.value + v * s.value * s.complement * slope_2u);
  };
  map(context, n, dx, gradient, dy, x);
}

}  // namespace pipe::cuda
