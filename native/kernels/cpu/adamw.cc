// AdamW: running mean and variance of the clipped gradient, and the update of the parameters.
#include <algorithm>
#include <cmath>

#include "../kernels.h"
#include "elements.h"
#include "math.h"

namespace pipe {

namespace {

// What the gradient is multiplied by, so that its global norm is at most max_norm; 0 means no limit.
float clip(float norm, float max_norm) { return max_norm == 0 ? 1.0f : std::min(1.0f, max_norm / (norm + 1e-6f)); }

}  // namespace

void adamw_mean(Context& context, float* out, const float* m, const float* g, const float* norm, float beta1,
                float max_norm, int64_t n) {
  const float share = (1 - beta1) * clip(*norm, max_norm);
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    map(begin, end, out, [=](Floats mean, Floats gradient) { return beta1 * mean + share * gradient; }, m, g);
  });
}

void adamw_variance(Context& context, float* out, const float* v, const float* g, const float* norm, float beta2,
                    float max_norm, int64_t n) {
  const float c = clip(*norm, max_norm);
  const float share = 1 - beta2;
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    const auto update = [=](Floats variance, Floats gradient) {
      const Floats clipped = c * gradient;
      return beta2 * variance + share * (clipped * clipped);
    };
    map(begin, end, out, update, v, g);
  });
}

void adamw_update(Context& context, float* out, const float* p, const float* m, const float* v, const float* hyper,
                  const AdamW& a, int64_t n) {
  const float rate = hyper[0];
  const double t = hyper[1];
  const float mean_scale = static_cast<float>(1 / (1 - std::pow(a.beta1, t)));
  const float variance_scale = static_cast<float>(1 / (1 - std::pow(a.beta2, t)));
  const float epsilon = static_cast<float>(a.epsilon);
  const float decay = static_cast<float>(a.weight_decay);
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    const auto update = [=](Floats parameter, Floats mean, Floats variance) {
      const Floats step = mean * mean_scale / (sqrt(variance * variance_scale) + epsilon);
      return parameter - rate * (step + decay * parameter);
    };
    map(begin, end, out, update, p, m, v);
  });
}

}  // namespace pipe
