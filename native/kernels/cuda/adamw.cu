// AdamW: running mean and variance of the clipped gradient, and the update of the parameters. Memory-bound: one pass
// each.
#include "map.cuh"

namespace pipe::cuda {

namespace {

// What the gradient is multiplied by, so that its global norm is at most max_norm; 0 means no limit.
__device__ double clip(double norm, double max_norm) {
  return max_norm == 0 ? 1.0 : fmin(1.0, max_norm / (norm + 1e-6));
}

}  // namespace

// Constants that depend on data on the device (norm, hyper) are computed in float64 by each thread: in float32, 1 -
// beta^t would keep few digits.
void adamw_mean(Context& context, float* out, const float* m, const float* g, const float* norm, double beta1,
                double max_norm, int64_t n) {
  const float kept = static_cast<float>(beta1);
  const auto update = [=] __device__(int64_t, float mean, float gradient) {
    const float share = static_cast<float>((1 - beta1) * clip(*norm, max_norm));
    return kept * mean + share * gradient;
  };
  map(context, n, out, update, m, g);
}

void adamw_variance(Context& context, float* out, const float* v, const float* g, const float* norm, double beta2,
                    double max_norm, int64_t n) {
  const float kept = static_cast<float>(beta2);
  const float share = static_cast<float>(1 - beta2);
  const auto update = [=] __device__(int64_t, float variance, float gradient) {
    const float clipped = static_cast<float>(clip(*norm, max_norm)) * gradient;
    return kept * variance + share * (clipped * clipped);
  };
  map(context, n, out, update, v, g);
}

void adamw_update(Context& context, float* out, const float* p, const float* m, const float* v, const float* hyper,
                  const AdamW& a, int64_t n) {
  // scales[2]: 1 / (1 - beta1^t) and 1 / (1 - beta2^t), once, since pow in float64 is slow.
  float* scales = context.take<float>(2);
  const float epsilon = static_cast<float>(a.epsilon);
  const float decay = static_cast<float>(a.weight_decay);
  const auto correction = [=, beta1 = a.beta1, beta2 = a.beta2] __device__(int64_t i) {
    return static_cast<float>(1 / (1 - pow(i == 0 ? beta1 : beta2, static_cast<double>(hyper[1]))));
  };
  map(context, 2, scales, correction);
  const auto update = [=] __device__(int64_t, float parameter, float mean, float variance) {
    const float step = mean * scales[0] / (sqrtf(variance * scales[1]) + epsilon);
    return parameter - hyper[0] * (step + decay * parameter);
  };
  map(context, n, out, update, p, m, v);
}

}  // namespace pipe::cuda
