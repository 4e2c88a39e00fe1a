// AdamW: running mean and variance of the clipped gradient, and the update of the parameters.
#include <algorithm>
#include <cmath>

#include "../kernels.h"
#include "elements.h"
#include "math.h"

namespace pipe {

namespace {

// What the gradient is multiplied by, so that its global norm is at most max_norm; 0 means no limit.
double clip(double norm, double max_norm) { return max_norm == 0 ? 1.0 : std::min(1.0, max_norm / (norm + 1e-6)); }

}  // namespace

void adamw_mean(Context& context, float* out, const float* m, const float* g, const float* norm, double beta1,
                double max_norm, int64_t n) {
  // 1 - beta in float64: in float32 the difference from 1 keeps few of beta's digits.
  const float kept = static_cast<float>(beta1);
  const float share = static_cast<float>((1 - beta1) * clip(*norm, max_norm));
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    map(
        begin, end, out, [=](Floats mean, Floats gradient) { return kept * mean + share * gradient; }, m, g);
  });
}

void adamw_variance(Context& context, float* out, const float* v, const float* g, const float* norm, double beta2,
                    double max_norm, int64_t n) {
  const float kept = static_cast<float>(beta2);
  const float c = static_cast<float>(clip(*norm, max_norm));
  const float share = static_cast<float>(1 - beta2);
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    const auto update = [=](Floats variance, Floats gradient) {
      const Floats clipped = c * gradient;
      return kept * variance + share * (clipped * clipped);
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

void adamw_all(Context& context, const Parameter* parameters, size_t count, const float* norm, const float* hyper,
               const AdamW& a, double max_norm) {
  for (size_t i = 0; i < count; ++i) {
    const Parameter& each = parameters[i];
    adamw_mean(context, each.m, each.m, each.g, norm, a.beta1, max_norm, each.size);
    adamw_variance(context, each.v, each.v, each.g, norm, a.beta2, max_norm, each.size);
    adamw_update(context, each.p, each.p, each.m, each.v, hyper, a, each.size);
  }
}

}  // namespace pipe
