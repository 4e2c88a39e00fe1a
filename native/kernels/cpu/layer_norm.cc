// Layer normalization (Ba et al. 2016, section 3) by row, and its gradients.
#include <cmath>

#include "../kernels.h"
#include "column_sum.h"
#include "simd.h"
#include "weights.h"

namespace pipe {

namespace {

struct Moments {
  float mean;
  float scale;  // 1 / sqrt(variance + epsilon)
};

// Two passes: the variance as a mean of squares less a squared mean would lose digits.
Moments moments(const float* x, float epsilon, int64_t C) {
  const float mean = sum_terms(C, [&](int64_t i, int64_t n) { return load(x + i, n); }) / static_cast<float>(C);
  const float squares = sum_terms(C, [&](int64_t i, int64_t n) {
    const Floats d = load(x + i, n) - mean;
    return d * d;
  });
  return {mean, 1 / std::sqrt(squares / static_cast<float>(C) + epsilon)};
}

// Rows are short: a thread must get about 16k elements to be worth waking.
int64_t rows_grain(int64_t C) { return 1 + 16384 / C; }

}  // namespace

void layer_norm_forward(Context& context, float* y, const float* x, Weights gain, Weights bias, float epsilon,
                        int64_t N, int64_t C) {
  const float* gains = read_weights(gain, 0, C, context.shared);
  const float* biases = read_weights(bias, 0, C, context.shared + C);
  context.pool.split(N, rows_grain(C), [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * C;
      const Moments m = moments(in, epsilon, C);
      const auto normalize = [m](Floats v, Floats g, Floats b) { return (v - m.mean) * m.scale * g + b; };
      map(0, C, y + row * C, normalize, in, gains, biases);
    }
  });
}

// With z = (x - mean) * scale and g = dy * gain: dx = scale * (g - mean(g) - z * mean(g * z)) + added.
void layer_norm_backward_input(Context& context, float* dx, const float* dy, const float* x, Weights gain,
                               const float* added, float epsilon, int64_t N, int64_t C) {
  const float* gains = read_weights(gain, 0, C, context.shared);
  context.pool.split(N, rows_grain(C), [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * C;
      const float* d = dy + row * C;
      const Moments m = moments(in, epsilon, C);
      const auto g = [&](int64_t i, int64_t n) { return load(d + i, n) * load(gains + i, n); };
      const auto z = [&](int64_t i, int64_t n) { return (load(in + i, n) - m.mean) * m.scale; };
      const float mean_g = sum_terms(C, g) / static_cast<float>(C);
      const float mean_gz =
          sum_terms(C, [&](int64_t i, int64_t n) { return g(i, n) * z(i, n); }) / static_cast<float>(C);
      for_vectors(0, C, [&](int64_t i, int64_t n) {
        const Floats d_in = m.scale * (g(i, n) - mean_g - z(i, n) * mean_gz);
        store(dx + row * C + i, added == nullptr ? d_in : d_in + load(added + row * C + i, n), n);
      });
    }
  });
}

void layer_norm_backward_gain(Context& context, float* dgain, const float* dy, const float* x, float epsilon, int64_t N,
                              int64_t C) {
  Moments* of_row = reinterpret_cast<Moments*>(context.shared);
  context.pool.split(N, rows_grain(C), [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) of_row[row] = moments(x + row * C, epsilon, C);
  });
  sum_columns(context, dgain, N, C, [&](int64_t row, int64_t column, int64_t n) {
    const Moments m = of_row[row];
    return load(dy + row * C + column, n) * ((load(x + row * C + column, n) - m.mean) * m.scale);
  });
}

}  // namespace pipe
