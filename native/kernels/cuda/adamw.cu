// AdamW: running mean and variance of the clipped gradient, and the update of the parameters. Memory-bound: one pass
// each.
#include "map.cuh"

namespace pipe::cuda {

namespace {

// What the gradient is multiplied by, so that its global norm is at most max_norm; 0 means no limit.
__device__ double clip(double norm, double max_norm) {
  return max_norm == 0 ? 1.0 : fmin(1.0, max_norm / (norm + 1e-6));
}

// As many parameters as one launch takes: their addresses travel as an argument.
constexpr int most_parameters = 64;
constexpr int update_threads = 256;
constexpr int at_once = 4;  // elements of a thread: one access of 16 bytes
constexpr int64_t elements_per_block = update_threads * at_once;

struct Parameters {
  int count;
  Parameter of[most_parameters];
  int64_t first_block[most_parameters];
};

struct Rates {
  double beta1, beta2, max_norm;
  float epsilon, weight_decay;
};

// What all elements of a block share.
struct Factors {
  float clipping, mean_scale, variance_scale, rate;
};

__device__ void update(float& p, float& m, float& v, float g, const Factors& factors, const Rates& rates) {
  const float gradient = factors.clipping * g;
  m = static_cast<float>(rates.beta1) * m + static_cast<float>(1 - rates.beta1) * gradient;
  v = static_cast<float>(rates.beta2) * v + static_cast<float>(1 - rates.beta2) * (gradient * gradient);
  const float step = m * factors.mean_scale / (sqrtf(v * factors.variance_scale) + rates.epsilon);
  p = p - factors.rate * (step + rates.weight_decay * p);
}

__device__ float4 four(const float* x) { return *reinterpret_cast<const float4*>(x); }
__device__ float4& four(float* x) { return *reinterpret_cast<float4*>(x); }

// Mean, variance and update of each parameter, in one pass over each: a block takes elements of one parameter. Moments may
// lie on the host: accesses of 16 bytes, side by side, fill the packets of its bus. What all elements share is computed
// once a block, in float64: in float32, 1 - beta^t would keep few digits.
__global__ void __launch_bounds__(update_threads)
    update_all(Former former, Parameters parameters, const float* norm, const float* hyper, Rates rates) {
  former.wait();
  int which = 0;
  while (which + 1 < parameters.count && parameters.first_block[which + 1] <= blockIdx.x) ++which;
  const Parameter& of = parameters.of[which];
  const int64_t first = (blockIdx.x - parameters.first_block[which]) * elements_per_block + threadIdx.x * at_once;
  const bool whole = first + at_once <= of.size;
  float4 p, m, v, g;
  if (whole) p = four(of.p + first), m = four(of.m + first), v = four(of.v + first), g = four(of.g + first);
  __shared__ Factors factors;
  if (threadIdx.x == 0)
    factors = {static_cast<float>(clip(*norm, rates.max_norm)),
               static_cast<float>(1 / (1 - pow(rates.beta1, static_cast<double>(hyper[1])))),
               static_cast<float>(1 / (1 - pow(rates.beta2, static_cast<double>(hyper[1])))), hyper[0]};
  __syncthreads();
  if (whole) {
    update(p.x, m.x, v.x, g.x, factors, rates);
    update(p.y, m.y, v.y, g.y, factors, rates);
    update(p.z, m.z, v.z, g.z, factors, rates);
    update(p.w, m.w, v.w, g.w, factors, rates);
    four(of.p + first) = p, four(of.m + first) = m, four(of.v + first) = v;
  } else {
    for (int64_t i = first; i < of.size; ++i) update(of.p[i], of.m[i], of.v[i], of.g[i], factors, rates);
  }
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

void adamw_all(Context& context, const Parameter* parameters, size_t count, const float* norm, const float* hyper,
               const AdamW& a, double max_norm) {
  const Rates rates{a.beta1, a.beta2, max_norm, static_cast<float>(a.epsilon), static_cast<float>(a.weight_decay)};
  for (size_t begin = 0; begin < count; begin += most_parameters) {
    Parameters some{};
    int64_t of_launch = 0;
    for (size_t i = begin; i < count && some.count < most_parameters; ++i, ++some.count) {
      some.of[some.count] = parameters[i];
      some.first_block[some.count] = of_launch;
      of_launch += ceil_div(parameters[i].size, elements_per_block);
    }
    launch(context, update_all, blocks(of_launch), update_threads, 0, some, norm, hyper, rates);
  }
}

}  // namespace pipe::cuda
