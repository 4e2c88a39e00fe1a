// Layer normalization (Ba et al. 2016, section 3) by row, and its gradients. Memory-bound: a warp a row, which stays in
// registers between the passes.
#include <type_traits>

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

// What a lane has of a row of C elements: `pieces` groups of `width` neighbours, zeros past the row's end. All are read
// before any is used, so that the reads overlap.
template <int width, int pieces>
struct Row {
  float v[pieces][width];

  __device__ Row(const In& x, int64_t first, int64_t C) {
#pragma unroll
    for (int k = 0; k < pieces; ++k) {
#pragma unroll
      for (int i = 0; i < width; ++i) v[k][i] = 0;
      if (column(k) < C) load<width>(v[k], x, first + column(k));
    }
  }
  __device__ static int64_t column(int k) { return (k * warp + threadIdx.x % warp) * width; }

  // Calls body(k, i, element) for each element that is real.
  template <class Body>
  __device__ void each(int64_t C, const Body& body) {
#pragma unroll
    for (int k = 0; k < pieces; ++k)
      if (column(k) < C) {
#pragma unroll
        for (int i = 0; i < width; ++i) body(k, i, v[k][i]);
      }
  }
  __device__ void store_to(const Out& y, int64_t first, int64_t C) const {
#pragma unroll
    for (int k = 0; k < pieces; ++k)
      if (column(k) < C) store<width>(y, first + column(k), v[k]);
  }
  // Two passes: a mean of squares less a squared mean would lose digits.
  __device__ Moments moments(float epsilon, int64_t C) {
    float total = 0;
    each(C, [&](int, int, float x) { total += x; });
    const float mean = warp_sum(total) / static_cast<float>(C);
    float squares = 0;
    each(C, [&](int, int, float x) { squares += (x - mean) * (x - mean); });
    return {mean, 1 / sqrtf(warp_sum(squares) / static_cast<float>(C) + epsilon)};
  }
};

// y[N, C], given x[N, C], gain[C], bias[C]. y may be x.
template <int width, int pieces>
__global__ void __launch_bounds__(threads)
    layer_norm_forward_kernel(Former former, Out y, In x, In gain, In bias, float epsilon, int64_t N, int64_t C) {
  former.wait();
  using Part = Row<width, pieces>;
  const int64_t row = row_of_warp();
  if (row >= N) return;
  Part of_x(x, row * C, C);
  const Part gains(gain, 0, C), biases(bias, 0, C);
  const Moments m = of_x.moments(epsilon, C);
  of_x.each(C, [&](int k, int i, float& v) { v = (v - m.mean) * m.scale * gains.v[k][i] + biases.v[k][i]; });
  of_x.store_to(y, row * C, C);
}

// With z = (x - mean) * scale and g = dy * gain: dx = scale * (g - mean(g) - z * mean(g * z)) + added. dx may be dy or
// added.
template <int width, int pieces>
__global__ void __launch_bounds__(threads)
    layer_norm_backward_input_kernel(Former former, Out dx, In dy, In x, In gain, In added, float epsilon, int64_t N,
                                     int64_t C) {
  former.wait();
  using Part = Row<width, pieces>;
  const int64_t row = row_of_warp();
  if (row >= N) return;
  const int64_t first = row * C;
  Part z(x, first, C), g(dy, first, C);
  const Part gains(gain, 0, C);
  const Moments m = z.moments(epsilon, C);
  float total_g = 0;
  float total_gz = 0;
  z.each(C, [&](int k, int i, float& v) {
    v = (v - m.mean) * m.scale;
    g.v[k][i] *= gains.v[k][i];
    total_g += g.v[k][i];
    total_gz += g.v[k][i] * v;
  });
  const float mean_g = warp_sum(total_g) / static_cast<float>(C);
  const float mean_gz = warp_sum(total_gz) / static_cast<float>(C);
  g.each(C, [&](int k, int i, float& v) { v = m.scale * (v - mean_g - z.v[k][i] * mean_gz); });
  if (added.data != nullptr) {
    const Part sum(added, first, C);
    g.each(C, [&](int k, int i, float& v) { v += sum.v[k][i]; });
  }
  g.store_to(dx, first, C);
}

// of_row[N]: the moments that the gain's gradient needs of each row.
template <int width, int pieces>
__global__ void __launch_bounds__(threads)
    moments_forward(Former former, Moments* of_row, In x, float epsilon, int64_t N, int64_t C) {
  former.wait();
  const int64_t row = row_of_warp();
  if (row >= N) return;
  Row<width, pieces> of_x(x, row * C, C);
  const Moments m = of_x.moments(epsilon, C);
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

// Calls body(width, pieces), integral constants, with the fewest pieces that hold a row of C: of eight columns where rows
// are multiples of that, or of one.
template <class Body>
void with_row(int64_t C, const Body& body) {
  using std::integral_constant;
  if (C % 8 != 0) {
    if (C <= warp * 4) return body(integral_constant<int, 1>{}, integral_constant<int, 4>{});
    if (C <= warp * 64) return body(integral_constant<int, 1>{}, integral_constant<int, 64>{});
  } else {
    if (C <= warp * 8) return body(integral_constant<int, 8>{}, integral_constant<int, 1>{});
    if (C <= warp * 8 * 2) return body(integral_constant<int, 8>{}, integral_constant<int, 2>{});
    if (C <= warp * 8 * 4) return body(integral_constant<int, 8>{}, integral_constant<int, 4>{});
    if (C <= warp * 8 * 8) return body(integral_constant<int, 8>{}, integral_constant<int, 8>{});
    if (C <= warp * 8 * 32) return body(integral_constant<int, 8>{}, integral_constant<int, 32>{});
  }
  throw ProgramError("has rows of " + std::to_string(C) +
                     "; on a GPU layer norm takes 8192 columns, or 2048 if they are no multiple of 8");
}

dim3 grid_of(int64_t N) { return blocks(ceil_div(N, rows_per_block)); }

}  // namespace

void layer_norm_forward(Context& context, Out y, In x, Weights gain, Weights bias, float epsilon, int64_t N,
                        int64_t C) {
  with_row(C, [&](auto width, auto pieces) {
    launch(context, layer_norm_forward_kernel<width, pieces>, grid_of(N), threads, 0, y, x, In(gain), In(bias), epsilon,
           N, C);
  });
}

void layer_norm_backward_input(Context& context, Out dx, In dy, In x, Weights gain, In added, float epsilon, int64_t N,
                               int64_t C) {
  with_row(C, [&](auto width, auto pieces) {
    launch(context, layer_norm_backward_input_kernel<width, pieces>, grid_of(N), threads, 0, dx, dy, x, In(gain), added,
           epsilon, N, C);
  });
}

void layer_norm_backward_gain(Context& context, float* dgain, const float* dy, const float* x, float epsilon, int64_t N,
                              int64_t C) {
  Moments* of_row = context.take<Moments>(N);
  with_row(C, [&](auto width, auto pieces) {
    launch(context, moments_forward<width, pieces>, grid_of(N), threads, 0, of_row, In(x), epsilon, N, C);
  });
  sum_columns(context, dgain, GainTerm{dy, x, of_row, C}, N, C);
}

}  // namespace pipe::cuda
