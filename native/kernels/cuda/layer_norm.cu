// Layer normalization (Ba et al. 2016, section 3) by row, and its gradients. Memory-bound: a block a row, which stays
// in L1 between the passes; a single row, as in decoding, takes no longer than its sums.
#include "column_sums.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 256;

struct Moments {
  float mean;
  float scale;  // 1 / sqrt(variance + epsilon)
};

// Of a row of C elements, in every thread of its block. Two passes: a mean of squares less a squared mean would lose
// digits.
__device__ Moments moments(const float* x, float epsilon, int64_t C) {
  float total = 0;
  for (int64_t c = threadIdx.x; c < C; c += threads) total += x[c];
  const float mean = block_sum(total) / static_cast<float>(C);
  float squares = 0;
  for (int64_t c = threadIdx.x; c < C; c += threads) squares += (x[c] - mean) * (x[c] - mean);
  return {mean, 1 / sqrtf(block_sum(squares) / static_cast<float>(C) + epsilon)};
}

// y[N, C], given x[N, C], gain[C], bias[C]. y may be x: a thread writes what it alone still reads.
__global__ void layer_norm_forward_kernel(float* y, const float* x, Weights gain, Weights bias, float epsilon,
                                          int64_t C) {
  const int64_t row = blockIdx.x;
  const float* in = x + row * C;
  const Moments m = moments(in, epsilon, C);
  for (int64_t c = threadIdx.x; c < C; c += threads)
    y[row * C + c] = (in[c] - m.mean) * m.scale * weight_at(gain, c) + weight_at(bias, c);
}

// With z = (x - mean) * scale and g = dy * gain: dx = scale * (g - mean(g) - z * mean(g * z)). dx may be dy.
__global__ void layer_norm_backward_input_kernel(float* dx, const float* dy, const float* x, Weights gain,
                                                 float epsilon, int64_t C) {
  const int64_t row = blockIdx.x;
  const float* in = x + row * C;
  const float* d = dy + row * C;
  const Moments m = moments(in, epsilon, C);
  float total_g = 0;
  float total_gz = 0;
  for (int64_t c = threadIdx.x; c < C; c += threads) {
    const float g = d[c] * weight_at(gain, c);
    total_g += g;
    total_gz += g * ((in[c] - m.mean) * m.scale);
  }
  const float mean_g = block_sum(total_g) / static_cast<float>(C);
  const float mean_gz = block_sum(total_gz) / static_cast<float>(C);
  for (int64_t c = threadIdx.x; c < C; c += threads) {
    const float z = (in[c] - m.mean) * m.scale;
    dx[row * C + c] = m.scale * (d[c] * weight_at(gain, c) - mean_g - z * mean_gz);
  }
}

// of_row[N]: the moments that the gain's gradient needs of each row.
__global__ void moments_forward(Moments* of_row, const float* x, float epsilon, int64_t C) {
  const int64_t row = blockIdx.x;
  const Moments m = moments(x + row * C, epsilon, C);
  if (threadIdx.x == 0) of_row[row] = m;
}

// dy * z, whose sums down columns are the gain's gradient.
struct GainTerm {
  const float* dy;
  const float* x;
  const Moments* of_row;
  int64_t C;
  __device__ float operator()(int64_t row, int64_t column) const {
    const int64_t i = row * C + column;
    return dy[i] * ((x[i] - of_row[row].mean) * of_row[row].scale);
  }
};

}  // namespace

void layer_norm_forward(Context& context, float* y, const float* x, Weights gain, Weights bias, float epsilon,
                        int64_t N, int64_t C) {
  launch(context, layer_norm_forward_kernel, blocks(N), threads, 0, y, x, gain, bias, epsilon, C);
}

void layer_norm_backward_input(Context& context, float* dx, const float* dy, const float* x, Weights gain,
                               float epsilon, int64_t N, int64_t C) {
  launch(context, layer_norm_backward_input_kernel, blocks(N), threads, 0, dx, dy, x, gain, epsilon, C);
}

void layer_norm_backward_gain(Context& context, float* dgain, const float* dy, const float* x, float epsilon, int64_t N,
                              int64_t C) {
  Moments* of_row = context.take<Moments>(N);
  launch(context, moments_forward, blocks(N), threads, 0, of_row, x, epsilon, C);
  sum_columns(context, dgain, GainTerm{dy, x, of_row, C}, N, C);
}

}  // namespace pipe::cuda
