// Causal self-attention on tensor cores (Dao 2023, FlashAttention-2), in tiles of 128 rows by 64: operands are bf16; scores, softmax and sums are float32 in registers, so that no T x T matrix exists. While a tile is multiplied, the next
// is on its way to shared memory.
#include <cuda_pipeline_primitives.h>

#include "causal_attention.cuh"
#include "softmax.cuh"
#include "tensor_cores.cuh"

namespace pipe::cuda {

namespace {

using Half = __nv_bfloat16;

constexpr int tile = attention_tile;  // of what a block goes over: keys, or queries
constexpr int warps = 4;
constexpr int threads = warps * warp;
// Each warp has 32 rows of a block's, in two pieces of 16: what it reads of a tile serves both.
constexpr int pieces = 2;
constexpr int warp_rows = 16 * pieces;
constexpr int block_rows = warps * warp_rows;
// Where two products of a tile are held at once, as in the backward pass, they are made of half a tile at a time.
constexpr int half_tile = tile / 2;

// Rows are 16 bytes longer than they need be, so that the eight rows of an ldmatrix lie in different banks.
template <int rows, int D>
using Tile = Half[rows][D + 8];

// 16 columns of a warp's rows of a left operand, as the tensor cores take them.
using Left = uint32_t[pieces][4];

// A warp's rows of a product, in pieces of 8 columns.
template <int columns>
using Rows = float[pieces][columns / 8][4];

// Columns k .. k + 16 of the warp's rows of a tile.
template <int D>
__device__ void load_left(Left& to, const Tile<block_rows, D>& a, int k) {
  const int lane = threadIdx.x % warp;
  const int first = threadIdx.x / warp * warp_rows;
#pragma unroll
  for (int m = 0; m < pieces; ++m) load_matrices(to[m], &a[first + m * 16 + lane % 16][k + lane / 16 * 8]);
}

// s = a b^T for the warp's rows of a and `columns` rows of b from `first` on.
template <int D, int columns>
__device__ void multiply_transposed(Rows<columns>& s, const Tile<block_rows, D>& a, const Tile<tile, D>& b, int first) {
  const int lane = threadIdx.x % warp;
#pragma unroll
  for (int m = 0; m < pieces; ++m)
#pragma unroll
    for (int n = 0; n < columns / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    Left left;
    load_left<D>(left, a, k);
#pragma unroll
    for (int n = 0; n < columns; n += 16) {
      uint32_t right[4];
      load_matrices(right, &b[first + n + lane % 8 + lane / 16 * 8][k + lane / 8 % 2 * 8]);
#pragma unroll
      for (int m = 0; m < pieces; ++m) {
        multiply_add(s[m][n / 8], left[m], right[0], right[1]);
        multiply_add(s[m][n / 8 + 1], left[m], right[2], right[3]);
      }
    }
  }
}

// out += p b for the warp's rows p, rounded to bf16, and `columns` rows of b, [.., D], from `first` on.
template <int D, int columns>
__device__ void accumulate(Rows<D>& out, const Rows<columns>& p, const Tile<tile, D>& b, int first) {
  const int lane = threadIdx.x % warp;
#pragma unroll
  for (int k = 0; k < columns; k += 16) {
    Left left;
#pragma unroll
    for (int m = 0; m < pieces; ++m) {
      // The registers of two pieces of a product are, in this order, those of a left operand.
      const float(&low)[4] = p[m][k / 8];
      const float(&high)[4] = p[m][k / 8 + 1];
      left[m][0] = bf16_pair(low[0], low[1]);
      left[m][1] = bf16_pair(low[2], low[3]);
      left[m][2] = bf16_pair(high[0], high[1]);
      left[m][3] = bf16_pair(high[2], high[3]);
    }
#pragma unroll
    for (int n = 0; n < D; n += 16) {
      uint32_t right[4];
      load_matrices_trans(right, &b[first + k + lane % 8 + lane / 8 % 2 * 8][n + lane / 16 * 8]);
#pragma unroll
      for (int m = 0; m < pieces; ++m) {
        multiply_add(out[m][n / 8], left[m], right[0], right[1]);
        multiply_add(out[m][n / 8 + 1], left[m], right[2], right[3]);
      }
    }
  }
}

// Begins to load rows [first, first + rows) of a matrix of which T are real, `width` columns of D; zeros elsewhere. Done
// when its __pipeline_commit has been waited for and the block has met.
template <int rows, int D>
__device__ void load_tile(Tile<rows, D>& to, const Half* from, int64_t first, int64_t T, int64_t stride, int width) {
  constexpr int per_row = D / 8;
  constexpr int step = threads / per_row;  // rows that the block loads at once
  const int column = threadIdx.x % per_row * 8;
  int row = threadIdx.x / per_row;
  const Half* x = from + (first + row) * stride + column;
  const int real = column < width ? static_cast<int>(min(int64_t{rows}, T - first)) : 0;
  if (width % 8 == 0 && stride % 8 == 0) {
#pragma unroll
    for (int i = 0; i < rows / step; ++i, row += step, x += step * stride)
      __pipeline_memcpy_async(&to[row][column], row < real ? x : from, 16, row < real ? 0 : 16);
  } else {
    for (; row < rows; row += step, x += step * stride)
      for (int c = 0; c < 8; ++c)
        to[row][column + c] = row < real && column + c < width ? x[c] : __float2bfloat16_rn(0.0f);
  }
}

// The row (0 .. 31 of the warp's) and column that a lane's register i of a piece holds.
__device__ int row_of(int m, int i) { return m * 16 + threadIdx.x % warp / 4 + i / 2 * 8; }
__device__ int column_of(int n, int i) { return n * 8 + threadIdx.x % 4 * 2 + i % 2; }
__device__ int first_of_warp() { return threadIdx.x / warp * warp_rows; }

// Calls body(m, n, i) for each register of the warp's rows of a product.
template <int columns, class Body>
__device__ void for_registers(const Body& body) {
#pragma unroll
  for (int m = 0; m < pieces; ++m)
#pragma unroll
    for (int n = 0; n < columns / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) body(m, n, i);
}

// Writes the warp's rows, those that are real, times `scale`.
template <int D>
__device__ void store_rows(Half* to, const Rows<D>& rows, float scale, int64_t first, int64_t T, int64_t stride,
                           int width) {
  const bool pairs = width % 2 == 0 && stride % 2 == 0;
#pragma unroll
  for (int m = 0; m < pieces; ++m)
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t row = first + row_of(m, 2 * half);
        const int column = column_of(n, 0);
        if (row >= T || column >= width) continue;
        Half* place = to + row * stride + column;
        const float low = scale * rows[m][n][2 * half], high = scale * rows[m][n][2 * half + 1];
        if (pairs) {
          *reinterpret_cast<uint32_t*>(place) = bf16_pair(low, high);
        } else {
          place[0] = __float2bfloat16_rn(low);
          if (column + 1 < width) place[1] = __float2bfloat16_rn(high);
        }
      }
}

// Two tiles of each of two matrices: one is multiplied while the other is loaded.
template <int D>
struct Pairs {
  Tile<tile, D> a[2], b[2];
};

// Calls load(stage, first) for each tile from `begin` to `end`, one ahead of body(stage, first).
template <class Load, class Body>
__device__ void pipelined(int64_t begin, int64_t end, const Load& load, const Body& body) {
  load(0, begin);
  __pipeline_commit();
  int stage = 0;
  for (int64_t first = begin; first < end; first += tile, stage ^= 1) {
    if (first + tile < end) load(stage ^ 1, first + tile);
    __pipeline_commit();
    __pipeline_wait_prior(1);
    __syncthreads();
    body(stage, first);
    __syncthreads();
  }
}

// A block's rows of a head: the longest come first, over all heads, so that the short ones fill in at the end.
__device__ int64_t rows_of_block() { return int64_t{gridDim.y - 1 - blockIdx.y} * block_rows; }

dim3 grid_of(const AttentionShape& s) { return blocks(s.B * s.heads, ceil_div(s.T, block_rows)); }

template <int D>
struct ForwardTiles {
  Tile<block_rows, D> q;
  Pairs<D> kv;
};

// As attention_forward of causal_attention_float32.cu.
template <int D>
__global__ void __launch_bounds__(threads) attention_forward(Half* y, float* lse, const Half* qkv, Heads h) {
  extern __shared__ __align__(16) char memory[];
  ForwardTiles<D>& t = *reinterpret_cast<ForwardTiles<D>*>(memory);
  const int64_t head = blockIdx.x;
  const int64_t block_first = rows_of_block();
  const int64_t first = block_first + first_of_warp();
  const Half* q = qkv + h.in_qkv(head);
  const float scale = h.scale * log2_e;
  Rows<D> out = {};
  float largest[pieces][2], total[pieces][2] = {};
#pragma unroll
  for (int m = 0; m < pieces; ++m) largest[m][0] = largest[m][1] = -INFINITY;
  load_tile<block_rows, D>(t.q, q, block_first, h.T, 3 * h.C, h.width);
  const auto load = [&](int stage, int64_t key) {
    load_tile<tile, D>(t.kv.a[stage], q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<tile, D>(t.kv.b[stage], q + 2 * h.C, key, h.T, 3 * h.C, h.width);
  };
  pipelined(0, min(block_first + block_rows, h.T), load, [&](int stage, int64_t key) {
    if (key >= first + warp_rows) return;  // no row of the warp sees these keys
    Rows<tile> s;
    multiply_transposed<D, tile>(s, t.q, t.kv.a[stage], 0);
    if (key + tile > first) {
      const int ahead = static_cast<int>(first - key);
      for_registers<tile>([&](int m, int n, int i) {
        if (column_of(n, i) - row_of(m, i) > ahead) s[m][n][i] = -INFINITY;
      });
    }
    float most[pieces][2], kept[pieces][2];
#pragma unroll
    for (int m = 0; m < pieces; ++m) most[m][0] = largest[m][0], most[m][1] = largest[m][1];
    for_registers<tile>([&](int m, int n, int i) { most[m][i / 2] = fmaxf(most[m][i / 2], s[m][n][i]); });
#pragma unroll
    for (int m = 0; m < pieces; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        most[m][half] = row_max(most[m][half]);
        // The first tile holds key 0: `most` is finite.
        kept[m][half] = power_of_2((largest[m][half] - most[m][half]) * scale);
        largest[m][half] = most[m][half];
        most[m][half] *= scale;
        total[m][half] *= kept[m][half];
      }
    for_registers<tile>([&](int m, int n, int i) {
      s[m][n][i] = power_of_2(s[m][n][i] * scale - most[m][i / 2]);
      total[m][i / 2] += s[m][n][i];
    });
    for_registers<D>([&](int m, int n, int i) { out[m][n][i] *= kept[m][i / 2]; });
    accumulate<D, tile>(out, s, t.kv.b[stage], 0);
  });
#pragma unroll
  for (int m = 0; m < pieces; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = row_sum(total[m][half]);
#pragma unroll
      for (int n = 0; n < D / 8; ++n) out[m][n][2 * half] /= sum, out[m][n][2 * half + 1] /= sum;
      const int64_t row = first + row_of(m, 2 * half);
      if (lse != nullptr && threadIdx.x % 4 == 0 && row < h.T)
        lse[head * h.T + row] = (largest[m][half] * scale + log2f(sum)) * ln_2;
    }
  store_rows<D>(y + h.in_out(head), out, 1.0f, first, h.T, h.C, h.width);
}

// Scores s become p = softmax(scores), and dp their gradient but for the factor 1 / sqrt(width), which comes last. `seen`
// tells which are not masked; lse, of base 2, and delta are those of each register's query.
template <class Seen, class OfQuery>
__device__ void softmax_backward(Rows<half_tile>& s, Rows<half_tile>& dp, float scale, const Seen& seen,
                                 const OfQuery& lse, const OfQuery& delta) {
  for_registers<half_tile>([&](int m, int n, int i) {
    const float p = power_of_2(s[m][n][i] * scale - lse(m, n, i));
    s[m][n][i] = seen(m, n, i) ? p : 0.0f;
    dp[m][n][i] = s[m][n][i] * (dp[m][n][i] - delta(m, n, i));
  });
}

// What a register's query has, by row.
struct ByRow {
  float of[pieces][2];
  __device__ float operator()(int m, int, int i) const { return of[m][i / 2]; }
};
// By column: [query of the half tile], in shared memory.
struct ByColumn {
  const float* of;
  __device__ float operator()(int, int n, int i) const { return of[column_of(n, i)]; }
};

template <int D>
struct QueriesTiles {
  Tile<block_rows, D> q, d;  // d: rows of dy
  Pairs<D> kv;
};

// The queries' part of dqkv: a block takes some queries and goes over the keys that they see.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_queries(Half* dqkv, const Half* dy, const Half* qkv,
                                                                      const float* lse, const float* delta, Heads h) {
  extern __shared__ __align__(16) char memory[];
  QueriesTiles<D>& t = *reinterpret_cast<QueriesTiles<D>*>(memory);
  const int64_t head = blockIdx.x;
  const int64_t block_first = rows_of_block();
  const int64_t first = block_first + first_of_warp();
  const Half* q = qkv + h.in_qkv(head);
  ByRow of_lse, of_delta;
#pragma unroll
  for (int m = 0; m < pieces; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first + row_of(m, 2 * half);
      of_lse.of[m][half] = row < h.T ? lse[head * h.T + row] * log2_e : 0.0f;
      of_delta.of[m][half] = row < h.T ? delta[head * h.T + row] : 0.0f;
    }
  Rows<D> dq = {};
  load_tile<block_rows, D>(t.q, q, block_first, h.T, 3 * h.C, h.width);
  load_tile<block_rows, D>(t.d, dy + h.in_out(head), block_first, h.T, h.C, h.width);
  const auto load = [&](int stage, int64_t key) {
    load_tile<tile, D>(t.kv.a[stage], q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<tile, D>(t.kv.b[stage], q + 2 * h.C, key, h.T, 3 * h.C, h.width);
  };
  pipelined(0, min(block_first + block_rows, h.T), load, [&](int stage, int64_t tile_key) {
#pragma unroll 1
    for (int part = 0; part < tile; part += half_tile) {
      const int64_t key = tile_key + part;
      if (key >= first + warp_rows) return;  // no row of the warp sees these keys
      Rows<half_tile> s, dp;
      multiply_transposed<D, half_tile>(s, t.q, t.kv.a[stage], part);
      multiply_transposed<D, half_tile>(dp, t.d, t.kv.b[stage], part);
      const int ahead = static_cast<int>(min(first - key, int64_t{half_tile}));  // of keys that every row sees
      softmax_backward(
          s, dp, h.scale * log2_e, [&](int m, int n, int i) { return column_of(n, i) - row_of(m, i) <= ahead; }, of_lse,
          of_delta);
      accumulate<D, half_tile>(dq, dp, t.kv.a[stage], part);
    }
  });
  store_rows<D>(dqkv + h.in_qkv(head), dq, h.scale, first, h.T, 3 * h.C, h.width);
}

template <int D>
struct KeysTiles {
  Tile<block_rows, D> k, v;
  Pairs<D> qd;
  float lse[2][tile], delta[2][tile];
};

// The keys' and values' parts of dqkv: a block takes some keys and goes over the queries that see them. Scores are computed
// transposed, a warp having 32 keys, so that each sum has one owner and an order.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_keys(Half* dqkv, const Half* dy, const Half* qkv,
                                                                   const float* lse, const float* delta, Heads h) {
  extern __shared__ __align__(16) char memory[];
  KeysTiles<D>& t = *reinterpret_cast<KeysTiles<D>*>(memory);
  const int64_t head = blockIdx.x;
  const int64_t block_first = int64_t{blockIdx.y} * block_rows;
  const int64_t first = block_first + first_of_warp();
  const Half* q = qkv + h.in_qkv(head);
  Rows<D> dk = {}, dv = {};
  load_tile<block_rows, D>(t.k, q + h.C, block_first, h.T, 3 * h.C, h.width);
  load_tile<block_rows, D>(t.v, q + 2 * h.C, block_first, h.T, 3 * h.C, h.width);
  const auto load = [&](int stage, int64_t query) {
    load_tile<tile, D>(t.qd.a[stage], q, query, h.T, 3 * h.C, h.width);
    load_tile<tile, D>(t.qd.b[stage], dy + h.in_out(head), query, h.T, h.C, h.width);
    const int64_t row = query + threadIdx.x;
    if (threadIdx.x >= tile) return;
    // 2^(s - infinity) = 0: rows that are not there add nothing.
    t.lse[stage][threadIdx.x] = row < h.T ? lse[head * h.T + row] * log2_e : INFINITY;
    t.delta[stage][threadIdx.x] = row < h.T ? delta[head * h.T + row] : 0.0f;
  };
  pipelined(block_first, h.T, load, [&](int stage, int64_t tile_query) {
#pragma unroll 1
    for (int part = 0; part < tile; part += half_tile) {
      const int64_t query = tile_query + part;
      if (query + half_tile <= first) continue;  // none of these queries sees a key of the warp
      Rows<half_tile> s, dp;
      multiply_transposed<D, half_tile>(s, t.k, t.qd.a[stage], part);
      multiply_transposed<D, half_tile>(dp, t.v, t.qd.b[stage], part);
      const int ahead = static_cast<int>(min(query - first, int64_t{warp_rows}));  // of queries that see every row
      softmax_backward(
          s, dp, h.scale * log2_e, [&](int m, int n, int i) { return row_of(m, i) - column_of(n, i) <= ahead; },
          ByColumn{t.lse[stage] + part}, ByColumn{t.delta[stage] + part});
      accumulate<D, half_tile>(dv, s, t.qd.b[stage], part);
      accumulate<D, half_tile>(dk, dp, t.qd.a[stage], part);
    }
  });
  Half* to = dqkv + h.in_qkv(head);
  store_rows<D>(to + h.C, dk, h.scale, first, h.T, 3 * h.C, h.width);
  store_rows<D>(to + 2 * h.C, dv, 1.0f, first, h.T, 3 * h.C, h.width);
}

}  // namespace

void attend(Context& context, Half* y, float* lse, const Half* qkv, const AttentionShape& s) {
  if (!context.planning() && has_warpgroup_attention(s)) return attend_by_warpgroups(context, y, lse, qkv, s);
  with_head_width(s, [&](auto D) {
    launch(context, attention_forward<D>, grid_of(s), threads, sizeof(ForwardTiles<D>), y, lse, qkv, heads_of(s));
  });
}

void attend_backward(Context& context, Half* dqkv, const Half* dy, const Half* qkv, const float* lse,
                     const float* delta, const AttentionShape& s) {
  if (!context.planning() && has_warpgroup_attention(s))
    return attend_backward_by_warpgroups(context, dqkv, dy, qkv, lse, delta, s);
  with_head_width(s, [&](auto D) {
    launch(context, attention_backward_queries<D>, grid_of(s), threads, sizeof(QueriesTiles<D>), dqkv, dy, qkv, lse,
           delta, heads_of(s));
    launch(context, attention_backward_keys<D>, grid_of(s), threads, sizeof(KeysTiles<D>), dqkv, dy, qkv, lse, delta,
           heads_of(s));
  });
}

}  // namespace pipe::cuda
