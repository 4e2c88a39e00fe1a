// Layer normalization (Ba et al. 2016, section 3) by row, and its gradients. Memory-bound: a warp a row, which stays in
// L1 between the passes.
#include "column_sums.cuh"
#include "elements.cuh"

namespace pipe::cuda {

namespace {

constexpr int rows_per_block = 4;
constexpr int threads = rows_per_block * warp;

__device__ int64_t row_of_warp() { return int64_t{blockIdx.x} * rows_per_block + threadIdx.x / warp; }

struct Moments {
  float mean;
  float scale;  // 1 / sqrt(variance + epsilon)
};

// Calls body(column) for each group of `width` neighbouring columns that a lane has of a row.
template <int width, class Body>
__device__ void for_columns(int64_t C, const Body& body) {
  for (int64_t c = threadIdx.x % warp * width; c < C; c += warp * width) body(c);
}

// Of the C elements that begin at `first`, in every lane. Two passes: a mean of squares less a squared mean would lose
// digits.
template <int width>
__device__ Moments moments(const In& x, int64_t first, float epsilon, int64_t C) {
  float total = 0;
  for_columns<width>(C, [&](int64_t c) {
    float v[width];
    load<width>(v, x, first + c);
#pragma unroll
    for (int i = 0; i < width; ++i) total += v[i];
  });
  const float mean = warp_sum(total) / static_cast<float>(C);
  float squares = 0;
  for_columns<width>(C, [&](int64_t c) {
    float v[width];
    load<width>(v, x, first + c);
#pragma unroll
    for (int i = 0; i < width; ++i) squares += (v[i] - mean) * (v[i] - mean);
  });
  return {mean, 1 / sqrtf(warp_sum(squares) / static_cast<float>(C) + epsilon)};
}

// y[N, C], given x[N, C], gain[C], bias[C]. y may be x: a lane writes what it alone still reads.
template <int width>
__global__ void __launch_bounds__(threads)
    layer_norm_forward_kernel(Out y, In x, In gain, In bias, float epsilon, int64_t N, int64_t C) {
  const int64_t row = row_of_warp();
  if (row >= N) return;
  const Moments m = moments<width>(x, row * C, epsilon, C);
  for_columns<width>(C, [&](int64_t c) {
    float v[width], g[width], b[width];
    load<width>(v, x, row * C + c);
    load<width>(g, gain, c);
    load<width>(b, bias, c);
#pragma unroll
    for (int i = 0; i < width; ++i) v[i] = (v[i] - m.mean) * m.scale * g[i] + b[i];
    store<width>(y, row * C + c, v);
  });
}

// With z = (x - mean) * scale and g = dy * gain: dx = scale * (g - mean(g) - z * mean(g * z)) + added. dx may be dy or
// added.
template <int width>
__global__ void __launch_bounds__(threads) layer_norm_backward_input_kernel(Out dx, In dy, In x, In gain, In added,
                                                                            float epsilon, int64_t N, int64_t C) {
  const int64_t row = row_of_warp();
  if (row >= N) return;
  const int64_t first = row * C;
  const Moments m = moments<width>(x, first, epsilon, C);
  float total_g = 0;
  float total_gz = 0;
  // What a lane has of g and z at column c.
  const auto terms = [&](float(&g)[width], float(&z)[width], int64_t c) {
    float gains[width];
    load<width>(gains, gain, c);
    load<width>(g, dy, first + c);
    load<width>(z, x, first + c);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      g[i] *= gains[i];
      z[i] = (z[i] - m.mean) * m.scale;
    }
  };
  for_columns<width>(C, [&](int64_t c) {
    float g[width], z[width];
    terms(g, z, c);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      total_g += g[i];
      total_gz += g[i] * z[i];
    }
  });
  const float mean_g = warp_sum(total_g) / static_cast<float>(C);
  const float mean_gz = warp_sum(total_gz) / static_cast<float>(C);
  for_columns<width>(C, [&](int64_t c) {
    float g[width], z[width], sum[width] = {};
    terms(g, z, c);
    if (added.data != nullptr) load<width>(sum, added, first + c);
#pragma unroll
    for (int i = 0; i < width; ++i) sum[i] += m.scale * (g[i] - mean_g - z[i] * mean_gz);
    store<width>(dx, first + c, sum);
  });
}

// of_row[N]: the moments that the gain's gradient needs of each row.
template <int width>
__global__ void __launch_bounds__(threads)
    moments_forward(Moments* of_row, In x, float epsilon, int64_t N, int64_t C) {
  const int64_t row = row_of_warp();
  if (row >= N) return;
  const Moments m = moments<width>(x, row * C, epsilon, C);
  if (threadIdx.x % warp == 0) of_row[row] = m;
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

// Launches the kernel for eight columns at a time where rows are multiples of that, or for one.
template <class... Parameters, class... Arguments>
void launch_rows(Context& context, void (*eight)(Parameters...), void (*one)(Parameters...), int64_t N, int64_t C,
                 Arguments... arguments) {
  launch(context, C % 8 == 0 ? eight : one, blocks(ceil_div(N, rows_per_block)), threads, 0, arguments..., N, C);
}

}  // namespace

void layer_norm_forward(Context& context, Out y, In x, Weights gain, Weights bias, float epsilon, int64_t N,
                        int64_t C) {
  launch_rows(context, layer_norm_forward_kernel<8>, layer_norm_forward_kernel<1>, N, C, y, x, In(gain), In(bias),
              epsilon);
}

void layer_norm_backward_input(Context& context, Out dx, In dy, In x, Weights gain, In added, float epsilon, int64_t N,
                               int64_t C) {
  launch_rows(context, layer_norm_backward_input_kernel<8>, layer_norm_backward_input_kernel<1>, N, C, dx, dy, x,
              In(gain), added, epsilon);
}

void layer_norm_backward_gain(Context& context, float* dgain, const float* dy, const float* x, float epsilon, int64_t N,
                              int64_t C) {
  Moments* of_row = context.take<Moments>(N);
  launch_rows(context, moments_forward<8>, moments_forward<1>, N, C, of_row, In(x), epsilon);
  sum_columns(context, dgain, GainTerm{dy, x, of_row, C}, N, C);
}

}  // namespace pipe::cuda
