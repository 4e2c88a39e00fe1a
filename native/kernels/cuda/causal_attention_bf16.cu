// Causal self-attention on tensor cores (Dao 2023, FlashAttention-2), in tiles of 64 queries by 64 keys: operands are bf16;
// scores, softmax and sums are float32 in registers, so that no T x T matrix exists. While a tile is multiplied, the next
// is on its way to shared memory.
#include <cuda_pipeline_primitives.h>

#include "causal_attention.cuh"
#include "tensor_cores.cuh"

namespace pipe::cuda {

namespace {

using Half = __nv_bfloat16;

constexpr int tile = attention_tile;
constexpr int warps = tile / 16;  // each has 16 rows of the tile
constexpr int threads = warps * warp;
constexpr float log2_e = 1.4426950408889634f;
constexpr float ln_2 = 0.6931471805599453f;

// Rows are 16 bytes longer than they need be, so that the eight rows of an ldmatrix lie in different banks.
template <int D>
using Tile = Half[tile][D + 8];

// A warp's 16 rows of a left operand, in pieces of 16 columns, as the tensor cores take them.
template <int D>
using Left = uint32_t[D / 16][4];

// A warp's 16 rows of a product, in pieces of 8 columns.
template <int columns>
using Rows = float[columns / 8][4];

template <int D>
__device__ void load_left(Left<D>& to, const Tile<D>& a) {
  const int lane = threadIdx.x % warp;
  const int first = threadIdx.x / warp * 16;
#pragma unroll
  for (int k = 0; k < D; k += 16) load_matrices(to[k / 16], &a[first + lane % 16][k + lane / 16 * 8]);
}

// s = a b^T for the warp's rows of a: [16, 64].
template <int D>
__device__ void multiply_transposed(Rows<tile>& s, const Left<D>& a, const Tile<D>& b) {
  const int lane = threadIdx.x % warp;
#pragma unroll
  for (int n = 0; n < tile / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = 0;
#pragma unroll
  for (int k = 0; k < D; k += 16)
#pragma unroll
    for (int n = 0; n < tile; n += 16) {
      uint32_t right[4];
      load_matrices(right, &b[n + lane % 8 + lane / 16 * 8][k + lane / 8 % 2 * 8]);
      multiply_add(s[n / 8], a[k / 16], right[0], right[1]);
      multiply_add(s[n / 8 + 1], a[k / 16], right[2], right[3]);
    }
}

// out += p b for the warp's rows p [16, 64], rounded to bf16, and a tile b [64, D].
template <int D>
__device__ void accumulate(Rows<D>& out, const Rows<tile>& p, const Tile<D>& b) {
  const int lane = threadIdx.x % warp;
#pragma unroll
  for (int k = 0; k < tile; k += 16) {
    // The registers of two pieces of a product are, in this order, those of a left operand.
    const float(&low)[4] = p[k / 8];
    const float(&high)[4] = p[k / 8 + 1];
    const uint32_t left[4] = {bf16_pair(low[0], low[1]), bf16_pair(low[2], low[3]), bf16_pair(high[0], high[1]),
                              bf16_pair(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < D; n += 16) {
      uint32_t right[4];
      load_matrices_trans(right, &b[k + lane % 8 + lane / 8 % 2 * 8][n + lane / 16 * 8]);
      multiply_add(out[n / 8], left, right[0], right[1]);
      multiply_add(out[n / 8 + 1], left, right[2], right[3]);
    }
  }
}

// Begins to load rows [first, first + 64) of a matrix of which T are real, `width` columns of D; zeros elsewhere. Done
// when its __pipeline_commit has been waited for and the block has met.
template <int D>
__device__ void load_tile(Tile<D>& to, const Half* from, int64_t first, int64_t T, int64_t stride, int width) {
  const bool vectors = width % 8 == 0 && stride % 8 == 0;
  for (int i = threadIdx.x; i < tile * D / 8; i += threads) {
    const int row = i / (D / 8);
    const int column = i % (D / 8) * 8;
    const Half* x = from + (first + row) * stride + column;
    Half* place = &to[row][column];
    const bool real = first + row < T && column < width;
    if (vectors) {
      __pipeline_memcpy_async(place, real ? x : from, 16, real ? 0 : 16);
    } else {
      for (int c = 0; c < 8; ++c) place[c] = real && column + c < width ? x[c] : __float2bfloat16_rn(0.0f);
    }
  }
}

// Over the four lanes that hold one row.
__device__ float row_sum(float x) {
  x += __shfl_xor_sync(whole_warp, x, 1);
  return x + __shfl_xor_sync(whole_warp, x, 2);
}
__device__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(whole_warp, x, 1));
  return fmaxf(x, __shfl_xor_sync(whole_warp, x, 2));
}

// The row (0 .. 15 of the warp's) and column that a lane's register i of piece n holds.
__device__ int row_of(int i) { return threadIdx.x % warp / 4 + i / 2 * 8; }
__device__ int column_of(int n, int i) { return n * 8 + threadIdx.x % 4 * 2 + i % 2; }

// Writes the warp's rows, those that are real.
template <int D>
__device__ void store_rows(Half* to, const Rows<D>& rows, int64_t first, int64_t T, int64_t stride, int width) {
  const bool pairs = width % 2 == 0 && stride % 2 == 0;
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = first + row_of(2 * half);
      const int column = column_of(n, 0);
      if (row >= T || column >= width) continue;
      Half* place = to + row * stride + column;
      const float low = rows[n][2 * half], high = rows[n][2 * half + 1];
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
  Tile<D> a[2], b[2];
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

template <int D>
struct ForwardTiles {
  Tile<D> q;
  Pairs<D> kv;
};

// As attention_forward of causal_attention_float32.cu.
template <int D>
__global__ void __launch_bounds__(threads) attention_forward(Half* y, float* lse, const Half* qkv, Heads h) {
  extern __shared__ __align__(16) char memory[];
  ForwardTiles<D>& t = *reinterpret_cast<ForwardTiles<D>*>(memory);
  const int64_t head = blockIdx.y;
  const int64_t tile_first = int64_t{gridDim.x - 1 - blockIdx.x} * tile;
  const int64_t first = tile_first + threadIdx.x / warp * 16;
  const Half* q = qkv + h.in_qkv(head);
  const float scale = h.scale * log2_e;
  Left<D> queries;
  Rows<D> out = {};
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
  load_tile<D>(t.q, q, tile_first, h.T, 3 * h.C, h.width);
  const auto load = [&](int stage, int64_t key) {
    load_tile<D>(t.kv.a[stage], q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<D>(t.kv.b[stage], q + 2 * h.C, key, h.T, 3 * h.C, h.width);
  };
  pipelined(0, tile_first + tile, load, [&](int stage, int64_t key) {
    if (key == 0) load_left<D>(queries, t.q);
    Rows<tile> s;
    multiply_transposed<D>(s, queries, t.kv.a[stage]);
    if (key == tile_first) {
#pragma unroll
      for (int n = 0; n < tile / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i)
          if (key + column_of(n, i) > first + row_of(i)) s[n][i] = -INFINITY;
    }
    float most[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < tile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) most[i / 2] = fmaxf(most[i / 2], s[n][i]);
    float kept[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = row_max(most[half]);
      kept[half] = exp2f((largest[half] - most[half]) * scale);  // the first tile holds key 0: `most` is finite
      largest[half] = most[half];
      total[half] *= kept[half];
    }
#pragma unroll
    for (int n = 0; n < tile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[n][i] = exp2f((s[n][i] - most[i / 2]) * scale);
        total[i / 2] += s[n][i];
      }
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] *= kept[i / 2];
    accumulate<D>(out, s, t.kv.b[stage]);
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = row_sum(total[half]);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) out[n][2 * half] /= sum, out[n][2 * half + 1] /= sum;
    const int64_t row = first + row_of(2 * half);
    if (lse != nullptr && threadIdx.x % 4 == 0 && row < h.T)
      lse[head * h.T + row] = (largest[half] * scale + log2f(sum)) * ln_2;
  }
  store_rows<D>(y + h.in_out(head), out, first, h.T, h.C, h.width);
}

// Scores s become p = softmax(scores), and dp their gradient. `seen` tells which are not masked; lse, of base 2, and delta
// are those of each register's query.
template <class Seen, class OfQuery>
__device__ void softmax_backward(Rows<tile>& s, Rows<tile>& dp, float scale, const Seen& seen, const OfQuery& lse,
                                 const OfQuery& delta) {
#pragma unroll
  for (int n = 0; n < tile / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float p = exp2f(s[n][i] * (scale * log2_e) - lse(n, i));
      s[n][i] = seen(n, i) ? p : 0.0f;
      dp[n][i] = s[n][i] * (dp[n][i] - delta(n, i)) * scale;
    }
}

// What a register's query has, by row: [half].
struct ByRow {
  float of[2];
  __device__ float operator()(int, int i) const { return of[i / 2]; }
};
// By column: [query of the tile], in shared memory.
struct ByColumn {
  const float* of;
  __device__ float operator()(int n, int i) const { return of[column_of(n, i)]; }
};

template <int D>
struct QueriesTiles {
  Tile<D> q, d;  // d: a tile of dy
  Pairs<D> kv;
};

// The queries' part of dqkv: a block takes a tile of queries and goes over the keys that they see.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_queries(Half* dqkv, const Half* dy, const Half* qkv,
                                                                      const float* lse, const float* delta, Heads h) {
  extern __shared__ __align__(16) char memory[];
  QueriesTiles<D>& t = *reinterpret_cast<QueriesTiles<D>*>(memory);
  const int64_t head = blockIdx.y;
  const int64_t tile_first = int64_t{gridDim.x - 1 - blockIdx.x} * tile;
  const int64_t first = tile_first + threadIdx.x / warp * 16;
  const Half* q = qkv + h.in_qkv(head);
  ByRow of_lse, of_delta;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + row_of(2 * half);
    of_lse.of[half] = row < h.T ? lse[head * h.T + row] * log2_e : 0.0f;
    of_delta.of[half] = row < h.T ? delta[head * h.T + row] : 0.0f;
  }
  Left<D> queries, gradients;
  Rows<D> dq = {};
  load_tile<D>(t.q, q, tile_first, h.T, 3 * h.C, h.width);
  load_tile<D>(t.d, dy + h.in_out(head), tile_first, h.T, h.C, h.width);
  const auto load = [&](int stage, int64_t key) {
    load_tile<D>(t.kv.a[stage], q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<D>(t.kv.b[stage], q + 2 * h.C, key, h.T, 3 * h.C, h.width);
  };
  pipelined(0, tile_first + tile, load, [&](int stage, int64_t key) {
    if (key == 0) {
      load_left<D>(queries, t.q);
      load_left<D>(gradients, t.d);
    }
    Rows<tile> s, dp;
    multiply_transposed<D>(s, queries, t.kv.a[stage]);
    multiply_transposed<D>(dp, gradients, t.kv.b[stage]);
    const bool diagonal = key == tile_first;
    softmax_backward(
        s, dp, h.scale,
        [&](int n, int i) { return !diagonal || key + column_of(n, i) <= first + row_of(i); }, of_lse, of_delta);
    accumulate<D>(dq, dp, t.kv.a[stage]);
  });
  store_rows<D>(dqkv + h.in_qkv(head), dq, first, h.T, 3 * h.C, h.width);
}

template <int D>
struct KeysTiles {
  Tile<D> k, v;
  Pairs<D> qd;
  float lse[2][tile], delta[2][tile];
};

// The keys' and values' parts of dqkv: a block takes a tile of keys and goes over the queries that see them. Scores are
// computed transposed, a warp having 16 keys, so that each sum has one owner and an order.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_keys(Half* dqkv, const Half* dy, const Half* qkv,
                                                                   const float* lse, const float* delta, Heads h) {
  extern __shared__ __align__(16) char memory[];
  KeysTiles<D>& t = *reinterpret_cast<KeysTiles<D>*>(memory);
  const int64_t head = blockIdx.y;
  const int64_t tile_first = int64_t{blockIdx.x} * tile;
  const int64_t first = tile_first + threadIdx.x / warp * 16;
  const Half* q = qkv + h.in_qkv(head);
  Rows<D> dk = {}, dv = {};
  load_tile<D>(t.k, q + h.C, tile_first, h.T, 3 * h.C, h.width);
  load_tile<D>(t.v, q + 2 * h.C, tile_first, h.T, 3 * h.C, h.width);
  const auto load = [&](int stage, int64_t query) {
    load_tile<D>(t.qd.a[stage], q, query, h.T, 3 * h.C, h.width);
    load_tile<D>(t.qd.b[stage], dy + h.in_out(head), query, h.T, h.C, h.width);
    const int64_t row = query + threadIdx.x;
    if (threadIdx.x >= tile) return;
    // exp2(s - infinity) = 0: rows that are not there add nothing.
    t.lse[stage][threadIdx.x] = row < h.T ? lse[head * h.T + row] * log2_e : INFINITY;
    t.delta[stage][threadIdx.x] = row < h.T ? delta[head * h.T + row] : 0.0f;
  };
  pipelined(tile_first, h.T, load, [&](int stage, int64_t query) {
    Rows<tile> s, dp;
    {
      Left<D> keys;
      load_left<D>(keys, t.k);
      multiply_transposed<D>(s, keys, t.qd.a[stage]);
    }
    {
      Left<D> values;
      load_left<D>(values, t.v);
      multiply_transposed<D>(dp, values, t.qd.b[stage]);
    }
    const bool diagonal = query == tile_first;
    softmax_backward(
        s, dp, h.scale,
        [&](int n, int i) { return !diagonal || first + row_of(i) <= query + column_of(n, i); },
        ByColumn{t.lse[stage]}, ByColumn{t.delta[stage]});
    accumulate<D>(dv, s, t.qd.b[stage]);
    accumulate<D>(dk, dp, t.qd.a[stage]);
  });
  Half* to = dqkv + h.in_qkv(head);
  store_rows<D>(to + h.C, dk, first, h.T, 3 * h.C, h.width);
  store_rows<D>(to + 2 * h.C, dv, first, h.T, 3 * h.C, h.width);
}

}  // namespace

void attend(Context& context, Half* y, float* lse, const Half* qkv, const AttentionShape& s) {
  with_head_width(s, [&](auto D) {
    launch(context, attention_forward<D>, attention_grid(s), threads, sizeof(ForwardTiles<D>), y, lse, qkv,
           heads_of(s));
  });
}

void attend_backward(Context& context, Half* dqkv, const Half* dy, const Half* qkv, const float* lse,
                     const float* delta, const AttentionShape& s) {
  with_head_width(s, [&](auto D) {
    launch(context, attention_backward_queries<D>, attention_grid(s), threads, sizeof(QueriesTiles<D>), dqkv, dy, qkv,
           lse, delta, heads_of(s));
    launch(context, attention_backward_keys<D>, attention_grid(s), threads, sizeof(KeysTiles<D>), dqkv, dy, qkv, lse,
           delta, heads_of(s));
  });
}

}  // namespace pipe::cuda
