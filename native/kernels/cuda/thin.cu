// Products with one thin side.
#include "thin.cuh"

namespace pipe::cuda {

namespace {

// Ranks that a thread sums at once, in registers.
constexpr int tile = 8;
constexpr int64_t rows_per_part = 64;
constexpr int threads = 128;

// A warp a row of x, read once for every `tile` ranks; a is small and stays in L1.
__global__ void thin_hidden_forward(float* u, const float* x, const float* a, ThinHidden s) {
  const int64_t n = int64_t{blockIdx.x} * (threads / warp) + threadIdx.x / warp;
  if (n >= s.N) return;
  const int lane = threadIdx.x % warp;
  const float* row = x + n * s.x_stride;
  for (int64_t first = 0; first < s.rank; first += tile) {
    float total[tile] = {};
    for (int64_t k = lane; k < s.K; k += warp) {
      const float v = row[k];
      const float* column = a + k * s.k_stride + first * s.r_stride;
#pragma unroll
      for (int r = 0; r < tile; ++r)
        if (first + r < s.rank) total[r] += v * column[r * s.r_stride];
    }
#pragma unroll
    for (int r = 0; r < tile; ++r) {
      const float sum = warp_sum(total[r]);
      if (lane == 0 && first + r < s.rank) u[n * s.rank + first + r] = s.scale * sum;
    }
  }
}

// parts[part, rank, columns]: a thread a column, over the rows of a part; u is the same for a whole warp.
__global__ void thin_gradient_parts(float* parts, const float* x, const float* u, ThinGradient s) {
  const int64_t j = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (j >= s.columns) return;
  const int64_t first = int64_t{blockIdx.z} * tile;
  const int64_t begin = blockIdx.y * rows_per_part;
  const int64_t end = min(s.N, begin + rows_per_part);
  float total[tile] = {};
  for (int64_t n = begin; n < end; ++n) {
    const float v = x[n * s.x_stride + j];
#pragma unroll
    for (int r = 0; r < tile; ++r)
      if (first + r < s.rank) total[r] += v * u[n * s.rank + first + r];
  }
#pragma unroll
  for (int r = 0; r < tile; ++r)
    if (first + r < s.rank) parts[(blockIdx.y * s.rank + first + r) * s.columns + j] = total[r];
}

// g = the parts, in order.
__global__ void thin_gradient_forward(float* g, const float* parts, int64_t count, ThinGradient s) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  const int64_t size = s.rank * s.columns;
  if (i >= size) return;
  float total = 0;
  for (int64_t part = 0; part < count; ++part) total += parts[part * size + i];
  g[i % s.columns * s.j_stride + i / s.columns * s.r_stride] = total;
}

}  // namespace

void thin_hidden(Context& context, float* u, const float* x, const float* a, const ThinHidden& s) {
  launch(context, thin_hidden_forward, blocks(ceil_div(s.N, threads / warp)), threads, 0, u, x, a, s);
}

void thin_gradient(Context& context, float* g, const float* x, const float* u, const ThinGradient& s) {
  const int64_t count = ceil_div(s.N, rows_per_part);
  const int64_t size = s.rank * s.columns;
  float* parts = context.take<float>(count * size);
  launch(context, thin_gradient_parts, blocks(ceil_div(s.columns, threads), count, ceil_div(s.rank, tile)), threads, 0,
         parts, x, u, s);
  launch(context, thin_gradient_forward, blocks(ceil_div(size, threads)), threads, 0, g, parts, count, s);
}

}  // namespace pipe::cuda
