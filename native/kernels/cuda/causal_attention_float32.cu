// Causal self-attention in float32, in tiles of 64 queries by 64 keys that live in
// shared memory (Dao et al. 2022, FlashAttention: running maxima and sums, the softmax computed again in the backward
// pass), so that no T x T matrix exists.
#include "causal_attention.cuh"

namespace pipe::cuda {

namespace {

constexpr int tile = attention_tile;
constexpr int side = 16;  // threads are a square: thread (ty, tx) holds rows ty + 16 i and columns tx + 16 j of a tile
constexpr int threads = side * side;
constexpr int per_side = tile / side;

// A tile of rows, `D` columns of which `width` are real, one float longer a row than it need be: then neither rows nor
// columns of it collide in the 32 banks.
template <int D>
using Tile = float[tile][D + 1];

template <int D>
__device__ void load_tile(Tile<D>& to, const float* from, int64_t first, int64_t T, int64_t stride, int width) {
  for (int i = threadIdx.x; i < tile * D; i += threads) {
    const int row = i / D;
    const int column = i % D;
    to[row][column] = first + row < T && column < width ? from[(first + row) * stride + column] : 0.0f;
  }
}

using Scores = float[per_side][per_side];

// s = a b^T, for tiles a and b.
template <int D>
__device__ void multiply_transposed(Scores& s, const Tile<D>& a, const Tile<D>& b, int ty, int tx) {
#pragma unroll
  for (int i = 0; i < per_side; ++i)
#pragma unroll
    for (int j = 0; j < per_side; ++j) s[i][j] = 0;
#pragma unroll 8
  for (int d = 0; d < D; ++d) {
    float left[per_side], right[per_side];
#pragma unroll
    for (int i = 0; i < per_side; ++i) left[i] = a[ty + side * i][d];
#pragma unroll
    for (int j = 0; j < per_side; ++j) right[j] = b[tx + side * j][d];
#pragma unroll
    for (int i = 0; i < per_side; ++i)
#pragma unroll
      for (int j = 0; j < per_side; ++j) s[i][j] += left[i] * right[j];
  }
}

template <int D>
using Rows = float[per_side][D / side];

// out += p b, or p^T b, for a tile of scores p and a tile of rows b.
template <int D, bool transposed>
__device__ void accumulate(Rows<D>& out, const Tile<tile>& p, const Tile<D>& b, int ty, int tx) {
#pragma unroll 8
  for (int k = 0; k < tile; ++k) {
    float left[per_side], right[D / side];
#pragma unroll
    for (int i = 0; i < per_side; ++i) left[i] = transposed ? p[k][ty + side * i] : p[ty + side * i][k];
#pragma unroll
    for (int j = 0; j < D / side; ++j) right[j] = b[k][tx + side * j];
#pragma unroll
    for (int i = 0; i < per_side; ++i)
#pragma unroll
      for (int j = 0; j < D / side; ++j) out[i][j] += left[i] * right[j];
  }
}

// Over the 16 threads that hold one row.
__device__ float row_sum(float x) {
  for (int step = side / 2; step > 0; step /= 2) x += __shfl_xor_sync(whole_warp, x, step);
  return x;
}
__device__ float row_max(float x) {
  for (int step = side / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(whole_warp, x, step));
  return x;
}

template <int D>
struct ForwardTiles {
  Tile<D> q, k, v;
  Tile<tile> p;
};

// y[B, T, C] and, where it is given, lse[B * heads, T] from qkv[B, T, 3C]. A block takes a tile of queries, the longest
// first.
template <int D>
__global__ void __launch_bounds__(threads)
    attention_forward(float* y, float* lse, const float* qkv, Heads h) {
  extern __shared__ char memory[];
  ForwardTiles<D>& t = *reinterpret_cast<ForwardTiles<D>*>(memory);
  const int ty = threadIdx.x / side, tx = threadIdx.x % side;
  const int64_t head = blockIdx.y;
  const int64_t first = int64_t{gridDim.x - 1 - blockIdx.x} * tile;
  const float* q = qkv + h.in_qkv(head);
  load_tile<D>(t.q, q, first, h.T, 3 * h.C, h.width);
  Rows<D> out = {};
  float largest[per_side], total[per_side];
#pragma unroll
  for (int i = 0; i < per_side; ++i) largest[i] = -INFINITY, total[i] = 0;
  for (int64_t key = 0; key <= first; key += tile) {
    __syncthreads();
    load_tile<D>(t.k, q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<D>(t.v, q + 2 * h.C, key, h.T, 3 * h.C, h.width);
    __syncthreads();
    Scores s;
    multiply_transposed<D>(s, t.q, t.k, ty, tx);
#pragma unroll
    for (int i = 0; i < per_side; ++i) {
      const int64_t row = first + ty + side * i;
      float most = largest[i];
#pragma unroll
      for (int j = 0; j < per_side; ++j) {
        s[i][j] = key + tx + side * j <= row ? s[i][j] * h.scale : -INFINITY;
        most = fmaxf(most, s[i][j]);
      }
      most = row_max(most);
      const float kept = expf(largest[i] - most);  // the first tile holds key 0, so that `most` is finite
      float added = 0;
#pragma unroll
      for (int j = 0; j < per_side; ++j) {
        const float p = expf(s[i][j] - most);
        t.p[ty + side * i][tx + side * j] = p;
        added += p;
      }
      total[i] = total[i] * kept + row_sum(added);
      largest[i] = most;
#pragma unroll
      for (int j = 0; j < D / side; ++j) out[i][j] *= kept;
    }
    __syncthreads();
    accumulate<D, false>(out, t.p, t.v, ty, tx);
  }
#pragma unroll
  for (int i = 0; i < per_side; ++i) {
    const int64_t row = first + ty + side * i;
    if (row >= h.T) continue;
#pragma unroll
    for (int j = 0; j < D / side; ++j) {
      const int column = tx + side * j;
      if (column < h.width) y[h.in_out(head) + row * h.C + column] = out[i][j] / total[i];
    }
    if (tx == 0 && lse != nullptr) lse[head * h.T + row] = largest[i] + logf(total[i]);
  }
}

template <int D>
struct BackwardTiles {
  Tile<D> q, k, v, d;  // d: a tile of dy
  Tile<tile> p, ds;
  float lse[tile], delta[tile];
};

// With the tiles of q, k, v and d in place: p = softmax(scores) and ds, the gradient of the scores before they are
// scaled.
template <int D>
__device__ void softmax_backward(BackwardTiles<D>& t, int64_t query, int64_t key, const Heads& h, int ty, int tx) {
  Scores s, dp;
  multiply_transposed<D>(s, t.q, t.k, ty, tx);
  multiply_transposed<D>(dp, t.d, t.v, ty, tx);
#pragma unroll
  for (int i = 0; i < per_side; ++i)
#pragma unroll
    for (int j = 0; j < per_side; ++j) {
      const int row = ty + side * i, column = tx + side * j;
      const bool seen = query + row < h.T && key + column <= query + row;
      const float p = seen ? expf(s[i][j] * h.scale - t.lse[row]) : 0.0f;
      t.p[row][column] = p;
      t.ds[row][column] = p * (dp[i][j] - t.delta[row]) * h.scale;
    }
}

template <int D>
__device__ void load_queries(BackwardTiles<D>& t, const float* q, const float* d, const float* lse, const float* delta,
                             int64_t first, const Heads& h) {
  load_tile<D>(t.q, q, first, h.T, 3 * h.C, h.width);
  load_tile<D>(t.d, d, first, h.T, h.C, h.width);
  if (threadIdx.x < tile) {
    // Rows that are not there are multiplied like the others: by zeros, which must not meet a NaN.
    const bool real = first + threadIdx.x < h.T;
    t.lse[threadIdx.x] = real ? lse[first + threadIdx.x] : 0.0f;
    t.delta[threadIdx.x] = real ? delta[first + threadIdx.x] : 0.0f;
  }
}

template <int D>
__device__ void store_rows(float* to, const Rows<D>& rows, int64_t first, const Heads& h, int ty, int tx) {
#pragma unroll
  for (int i = 0; i < per_side; ++i)
#pragma unroll
    for (int j = 0; j < D / side; ++j) {
      const int64_t row = first + ty + side * i;
      const int column = tx + side * j;
      if (row < h.T && column < h.width) to[row * 3 * h.C + column] = rows[i][j];
    }
}

// The queries' part of dqkv: a block takes a tile of queries and goes over the keys that they see.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_queries(float* dqkv, const float* dy, const float* qkv,
                                                                      const float* lse, const float* delta, Heads h) {
  extern __shared__ char memory[];
  BackwardTiles<D>& t = *reinterpret_cast<BackwardTiles<D>*>(memory);
  const int ty = threadIdx.x / side, tx = threadIdx.x % side;
  const int64_t head = blockIdx.y;
  const int64_t first = int64_t{gridDim.x - 1 - blockIdx.x} * tile;
  const float* q = qkv + h.in_qkv(head);
  load_queries<D>(t, q, dy + h.in_out(head), lse + head * h.T, delta + head * h.T, first, h);
  Rows<D> dq = {};
  for (int64_t key = 0; key <= first; key += tile) {
    __syncthreads();
    load_tile<D>(t.k, q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<D>(t.v, q + 2 * h.C, key, h.T, 3 * h.C, h.width);
    __syncthreads();
    softmax_backward<D>(t, first, key, h, ty, tx);
    __syncthreads();
    accumulate<D, false>(dq, t.ds, t.k, ty, tx);
  }
  store_rows<D>(dqkv + h.in_qkv(head), dq, first, h, ty, tx);
}

// The keys' and values' parts of dqkv: a block takes a tile of keys and goes over the queries that see them, so that
// each sum has one owner and an order.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_keys(float* dqkv, const float* dy, const float* qkv,
                                                                   const float* lse, const float* delta, Heads h) {
  extern __shared__ char memory[];
  BackwardTiles<D>& t = *reinterpret_cast<BackwardTiles<D>*>(memory);
  const int ty = threadIdx.x / side, tx = threadIdx.x % side;
  const int64_t head = blockIdx.y;
  const int64_t key = int64_t{blockIdx.x} * tile;
  const float* q = qkv + h.in_qkv(head);
  load_tile<D>(t.k, q + h.C, key, h.T, 3 * h.C, h.width);
  load_tile<D>(t.v, q + 2 * h.C, key, h.T, 3 * h.C, h.width);
  Rows<D> dk = {}, dv = {};
  for (int64_t first = key; first < h.T; first += tile) {
    __syncthreads();
    load_queries<D>(t, q, dy + h.in_out(head), lse + head * h.T, delta + head * h.T, first, h);
    __syncthreads();
    softmax_backward<D>(t, first, key, h, ty, tx);
    __syncthreads();
    accumulate<D, true>(dk, t.ds, t.q, ty, tx);
    accumulate<D, true>(dv, t.p, t.d, ty, tx);
  }
  store_rows<D>(dqkv + h.in_qkv(head) + h.C, dk, key, h, ty, tx);
  store_rows<D>(dqkv + h.in_qkv(head) + 2 * h.C, dv, key, h, ty, tx);
}

}  // namespace

void attend(Context& context, float* y, float* lse, const float* qkv, const AttentionShape& s) {
  with_head_width(s, [&](auto D) {
    launch(context, attention_forward<D>, attention_grid(s), threads, sizeof(ForwardTiles<D>), y, lse, qkv,
           heads_of(s));
  });
}

void attend_backward(Context& context, float* dqkv, const float* dy, const float* qkv, const float* lse,
                     const float* delta, const AttentionShape& s) {
  with_head_width(s, [&](auto D) {
    launch(context, attention_backward_queries<D>, attention_grid(s), threads, sizeof(BackwardTiles<D>), dqkv, dy, qkv,
           lse, delta, heads_of(s));
    launch(context, attention_backward_keys<D>, attention_grid(s), threads, sizeof(BackwardTiles<D>), dqkv, dy, qkv,
           lse, delta, heads_of(s));
  });
}

}  // namespace pipe::cuda
