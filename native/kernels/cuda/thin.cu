// Products with one thin side.
#include "thin.cuh"

namespace pipe::cuda {

namespace {

// Ranks that a thread sums at once, in registers.
constexpr int tile = 8;
constexpr int threads = 128;
constexpr int warps = threads / warp;

// ---- u = scale x a ----------------------------------------------------------------------------------------------

constexpr int rows_per_block = 4;

// A block takes four rows and cuts K among its threads: each reads four neighbours of each row and of `tile` columns of
// a, all of it independent, before it multiplies; a, which every block reads, stays in L1 and L2. `vectors`: sizes,
// strides and addresses allow 16-byte reads.
template <bool vectors>
__global__ void __launch_bounds__(threads) thin_hidden_forward(float* u, const float* x, const float* a, ThinHidden s) {
  __shared__ float of_warp[warps][rows_per_block][tile];
  const int64_t first_row = int64_t{blockIdx.x} * rows_per_block;
  const int64_t first = int64_t{blockIdx.y} * tile;
  float total[rows_per_block][tile] = {};
  for (int64_t k = threadIdx.x * 4; k < s.K; k += threads * 4) {
    float of_x[rows_per_block][4], of_a[tile][4];
#pragma unroll
    for (int n = 0; n < rows_per_block; ++n) {
      const float* row = x + (first_row + n) * s.x_stride + k;
      const bool real = first_row + n < s.N;
      if constexpr (vectors) {
        *reinterpret_cast<float4*>(of_x[n]) = real ? *reinterpret_cast<const float4*>(row) : float4{};
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) of_x[n][i] = real && k + i < s.K ? row[i] : 0.0f;
      }
    }
    if (vectors && s.r_stride == 1 && s.rank % 4 == 0) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int r = 0; r < tile; r += 4) {
          const float* ranks = a + (k + i) * s.k_stride + first + r;
          const float4 four = first + r < s.rank ? *reinterpret_cast<const float4*>(ranks) : float4{};
          of_a[r][i] = four.x, of_a[r + 1][i] = four.y, of_a[r + 2][i] = four.z, of_a[r + 3][i] = four.w;
        }
    } else
#pragma unroll
      for (int r = 0; r < tile; ++r) {
        const float* column = a + k * s.k_stride + (first + r) * s.r_stride;
        const bool real = first + r < s.rank;
        if (vectors && s.k_stride == 1) {
          *reinterpret_cast<float4*>(of_a[r]) = real ? *reinterpret_cast<const float4*>(column) : float4{};
        } else {
#pragma unroll
          for (int i = 0; i < 4; ++i) of_a[r][i] = real && k + i < s.K ? column[i * s.k_stride] : 0.0f;
        }
      }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int n = 0; n < rows_per_block; ++n)
#pragma unroll
        for (int r = 0; r < tile; ++r) total[n][r] += of_x[n][i] * of_a[r][i];
  }
#pragma unroll
  for (int n = 0; n < rows_per_block; ++n)
#pragma unroll
    for (int r = 0; r < tile; ++r) {
      const float sum = warp_sum(total[n][r]);
      if (threadIdx.x % warp == 0) of_warp[threadIdx.x / warp][n][r] = sum;
    }
  __syncthreads();
  if (threadIdx.x >= rows_per_block * tile) return;
  const int n = threadIdx.x / tile, r = threadIdx.x % tile;
  if (first_row + n >= s.N || first + r >= s.rank) return;
  float sum = 0;
  for (int w = 0; w < warps; ++w) sum += of_warp[w][n][r];
  u[(first_row + n) * s.rank + first + r] = s.scale * sum;
}

// ---- g = x^T u --------------------------------------------------------------------------------------------------

constexpr int64_t rows_per_part = 64;

// parts[part, rank, columns]: a thread a column, over the rows of a part, eight at a time so that their reads overlap;
// u is in shared memory, where a whole warp reads one element.
__global__ void __launch_bounds__(threads)
    thin_gradient_parts(float* parts, const float* x, const float* u, ThinGradient s) {
  __shared__ float of_u[rows_per_part][tile];
  const int64_t j = int64_t{blockIdx.x} * threads + threadIdx.x;
  const int64_t first = int64_t{blockIdx.z} * tile;
  const int64_t begin = blockIdx.y * rows_per_part;
  for (int i = threadIdx.x; i < rows_per_part * tile; i += threads) {
    const int64_t n = begin + i / tile, r = first + i % tile;
    of_u[i / tile][i % tile] = n < s.N && r < s.rank ? u[n * s.rank + r] : 0.0f;
  }
  __syncthreads();
  if (j >= s.columns) return;
  float total[tile] = {};
  for (int n = 0; n < rows_per_part; n += 8) {
    float of_x[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) of_x[i] = begin + n + i < s.N ? x[(begin + n + i) * s.x_stride + j] : 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int r = 0; r < tile; ++r) total[r] += of_x[i] * of_u[n + i][r];
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
#pragma unroll 8
  for (int64_t part = 0; part < count; ++part) total += parts[part * size + i];
  g[i % s.columns * s.j_stride + i / s.columns * s.r_stride] = total;
}

bool aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

}  // namespace

void thin_hidden(Context& context, float* u, const float* x, const float* a, const ThinHidden& s) {
  const bool vectors =
      s.K % 4 == 0 && s.x_stride % 4 == 0 && aligned(x) && aligned(a) && (s.k_stride != 1 || s.r_stride % 4 == 0);
  launch(context, vectors ? thin_hidden_forward<true> : thin_hidden_forward<false>,
         blocks(ceil_div(s.N, rows_per_block), ceil_div(s.rank, tile)), threads, 0, u, x, a, s);
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
