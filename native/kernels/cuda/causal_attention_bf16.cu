// Causal self-attention on tensor cores (Dao 2023, FlashAttention-2), in tiles of 64 queries by 64 keys: operands are
// rounded to bf16 as they enter shared memory; scores, softmax and sums are float32 in registers, so that no T x T
// matrix exists.
#include "causal_attention.cuh"

namespace pipe::cuda {

namespace {

constexpr int tile = attention_tile;
constexpr int warps = tile / 16;  // each has 16 rows of the tile
constexpr int threads = warps * warp;
constexpr float log2_e = 1.4426950408889634f;

// Rows are 16 bytes longer than they need be, so that the eight rows of an ldmatrix lie in different banks.
template <int D>
using Tile = __nv_bfloat16[tile][D + 8];

// Four 8 x 8 matrices, a row of one at each lane's address; transposed on the way for `trans`.
__device__ void load_matrices(uint32_t (&r)[4], const __nv_bfloat16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ void load_matrices_trans(uint32_t (&r)[4], const __nv_bfloat16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

// c[16, 8] += a[16, 16] b[16, 8]. A lane holds of c: rows lane / 4 and lane / 4 + 8, columns lane % 4 * 2 and the next.
__device__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// A warp's 16 rows of a product, in pieces of 8 columns.
template <int columns>
using Rows = float[columns / 8][4];

// s = a b^T for the warp's rows of a: [16, 64], from tiles whose rows are D long.
template <int D>
__device__ void multiply_transposed(Rows<tile>& s, const Tile<D>& a, const Tile<D>& b) {
  const int lane = threadIdx.x % warp;
  const int first = threadIdx.x / warp * 16;
#pragma unroll
  for (int n = 0; n < tile / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = 0;
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    uint32_t left[4];
    load_matrices(left, &a[first + lane % 16][k + lane / 16 * 8]);
#pragma unroll
    for (int n = 0; n < tile; n += 16) {
      uint32_t right[4];
      load_matrices(right, &b[n + lane % 8 + lane / 16 * 8][k + lane / 8 % 2 * 8]);
      multiply_add(s[n / 8], left, right[0], right[1]);
      multiply_add(s[n / 8 + 1], left, right[2], right[3]);
    }
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
    const uint32_t left[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]),
                              pack(high[2], high[3])};
#pragma unroll
    for (int n = 0; n < D; n += 16) {
      uint32_t right[4];
      load_matrices_trans(right, &b[k + lane % 8 + lane / 8 % 2 * 8][n + lane / 16 * 8]);
      multiply_add(out[n / 8], left, right[0], right[1]);
      multiply_add(out[n / 8 + 1], left, right[2], right[3]);
    }
  }
}

// Rows [first, first + 64) of a float32 matrix of which T are real, `width` columns of D, rounded to bf16; zeros
// elsewhere.
template <int D>
__device__ void load_tile(Tile<D>& to, const float* from, int64_t first, int64_t T, int64_t stride, int width) {
  const bool vectors = width % 4 == 0 && stride % 4 == 0;
  for (int i = threadIdx.x; i < tile * D / 4; i += threads) {
    const int row = i / (D / 4);
    const int column = i % (D / 4) * 4;
    const float* x = from + (first + row) * stride + column;
    float v[4] = {};
    if (first + row < T) {
      if (vectors) {
        if (column < width) *reinterpret_cast<float4*>(v) = *reinterpret_cast<const float4*>(x);
      } else {
        for (int c = 0; c < 4; ++c) v[c] = column + c < width ? x[c] : 0.0f;
      }
    }
    uint32_t* pairs = reinterpret_cast<uint32_t*>(&to[row][column]);
    pairs[0] = pack(v[0], v[1]);
    pairs[1] = pack(v[2], v[3]);
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
__device__ void store_rows(float* to, const Rows<D>& rows, int64_t first, int64_t T, int64_t stride, int width) {
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = first + row_of(i);
      const int column = column_of(n, i);
      if (row < T && column < width) to[row * stride + column] = rows[n][i];
    }
}

template <int D>
struct ForwardTiles {
  Tile<D> q, k, v;
};

// As attention_forward of causal_attention.cu: y, or lse and delta for the backward pass, which is computed with the
// same rounding as y was.
template <int D>
__global__ void __launch_bounds__(threads)
    attention_forward(float* y, float* lse, float* delta, const float* dy, const float* qkv, Heads h) {
  extern __shared__ __align__(16) char memory[];
  ForwardTiles<D>& t = *reinterpret_cast<ForwardTiles<D>*>(memory);
  const int64_t head = blockIdx.y;
  const int64_t tile_first = int64_t{gridDim.x - 1 - blockIdx.x} * tile;
  const int64_t first = tile_first + threadIdx.x / warp * 16;
  const float* q = qkv + h.in_qkv(head);
  const float scale = h.scale * log2_e;
  load_tile<D>(t.q, q, tile_first, h.T, 3 * h.C, h.width);
  Rows<D> out = {};
  float largest[2] = {-INFINITY, -INFINITY};
  float total[2] = {};
  for (int64_t key = 0; key <= tile_first; key += tile) {
    __syncthreads();
    load_tile<D>(t.k, q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<D>(t.v, q + 2 * h.C, key, h.T, 3 * h.C, h.width);
    __syncthreads();
    Rows<tile> s;
    multiply_transposed<D>(s, t.q, t.k);
    float most[2] = {largest[0], largest[1]};
#pragma unroll
    for (int n = 0; n < tile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[n][i] = key + column_of(n, i) <= first + row_of(i) ? s[n][i] * scale : -INFINITY;
        most[i / 2] = fmaxf(most[i / 2], s[n][i]);
      }
    float kept[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = row_max(most[half]);
      kept[half] = exp2f(largest[half] - most[half]);  // the first tile holds key 0, so that `most` is finite
      largest[half] = most[half];
      total[half] *= kept[half];
    }
#pragma unroll
    for (int n = 0; n < tile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        s[n][i] = exp2f(s[n][i] - most[i / 2]);
        total[i / 2] += s[n][i];
      }
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[n][i] *= kept[i / 2];
    accumulate<D>(out, s, t.v);
  }
  total[0] = row_sum(total[0]);
  total[1] = row_sum(total[1]);
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) out[n][i] /= total[i / 2];
  if (y != nullptr) return store_rows<D>(y + h.in_out(head), out, first, h.T, h.C, h.width);
  float weighted[2] = {};
#pragma unroll
  for (int n = 0; n < D / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = first + row_of(i);
      const int column = column_of(n, i);
      if (row < h.T && column < h.width) weighted[i / 2] += out[n][i] * dy[h.in_out(head) + row * h.C + column];
    }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t row = first + row_of(2 * half);
    const float sum = row_sum(weighted[half]);
    if (threadIdx.x % 4 != 0 || row >= h.T) continue;
    lse[head * h.T + row] = largest[half] + log2f(total[half]);  // of base 2
    delta[head * h.T + row] = sum;
  }
}

template <int D>
struct BackwardTiles {
  Tile<D> q, k, v, d;  // d: a tile of dy
  float lse[tile], delta[tile];
};

template <int D>
__device__ void load_queries(BackwardTiles<D>& t, const float* q, const float* d, const float* lse, const float* delta,
                             int64_t first, const Heads& h) {
  load_tile<D>(t.q, q, first, h.T, 3 * h.C, h.width);
  load_tile<D>(t.d, d, first, h.T, h.C, h.width);
  if (threadIdx.x < tile) {
    const bool real = first + threadIdx.x < h.T;
    t.lse[threadIdx.x] = real ? lse[first + threadIdx.x] : INFINITY;  // exp2(s - infinity) = 0: rows that are not there
    t.delta[threadIdx.x] = real ? delta[first + threadIdx.x] : 0.0f;
  }
}

// s becomes p = softmax(scores), and dp the gradient of the scores; query and key give each register's place.
template <class Query, class Key>
__device__ void softmax_backward(Rows<tile>& s, Rows<tile>& dp, const float* lse, const float* delta, float scale,
                                 int64_t queries, int64_t keys, const Query& query, const Key& key) {
#pragma unroll
  for (int n = 0; n < tile / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int q = query(n, i);
      const bool seen = keys + key(n, i) <= queries + q;
      s[n][i] = seen ? exp2f(s[n][i] * (scale * log2_e) - lse[q]) : 0.0f;
      dp[n][i] = s[n][i] * (dp[n][i] - delta[q]) * scale;
    }
}

// The queries' part of dqkv: a block takes a tile of queries and goes over the keys that they see.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_queries(float* dqkv, const float* dy, const float* qkv,
                                                                      const float* lse, const float* delta, Heads h) {
  extern __shared__ __align__(16) char memory[];
  BackwardTiles<D>& t = *reinterpret_cast<BackwardTiles<D>*>(memory);
  const int64_t head = blockIdx.y;
  const int64_t first = int64_t{gridDim.x - 1 - blockIdx.x} * tile;
  const int warp_first = threadIdx.x / warp * 16;
  const float* q = qkv + h.in_qkv(head);
  load_queries<D>(t, q, dy + h.in_out(head), lse + head * h.T, delta + head * h.T, first, h);
  Rows<D> dq = {};
  for (int64_t key = 0; key <= first; key += tile) {
    __syncthreads();
    load_tile<D>(t.k, q + h.C, key, h.T, 3 * h.C, h.width);
    load_tile<D>(t.v, q + 2 * h.C, key, h.T, 3 * h.C, h.width);
    __syncthreads();
    Rows<tile> s, dp;
    multiply_transposed<D>(s, t.q, t.k);
    multiply_transposed<D>(dp, t.d, t.v);
    softmax_backward(
        s, dp, t.lse, t.delta, h.scale, first, key, [=](int, int i) { return warp_first + row_of(i); },
        [](int n, int i) { return column_of(n, i); });
    accumulate<D>(dq, dp, t.k);
  }
  store_rows<D>(dqkv + h.in_qkv(head), dq, first + warp_first, h.T, 3 * h.C, h.width);
}

// The keys' and values' parts of dqkv: a block takes a tile of keys and goes over the queries that see them. Scores are
// computed transposed, a warp having 16 keys, so that each sum has one owner and an order.
template <int D>
__global__ void __launch_bounds__(threads) attention_backward_keys(float* dqkv, const float* dy, const float* qkv,
                                                                   const float* lse, const float* delta, Heads h) {
  extern __shared__ __align__(16) char memory[];
  BackwardTiles<D>& t = *reinterpret_cast<BackwardTiles<D>*>(memory);
  const int64_t head = blockIdx.y;
  const int64_t key = int64_t{blockIdx.x} * tile;
  const int warp_first = threadIdx.x / warp * 16;
  const float* q = qkv + h.in_qkv(head);
  load_tile<D>(t.k, q + h.C, key, h.T, 3 * h.C, h.width);
  load_tile<D>(t.v, q + 2 * h.C, key, h.T, 3 * h.C, h.width);
  Rows<D> dk = {}, dv = {};
  for (int64_t first = key; first < h.T; first += tile) {
    __syncthreads();
    load_queries<D>(t, q, dy + h.in_out(head), lse + head * h.T, delta + head * h.T, first, h);
    __syncthreads();
    Rows<tile> s, dp;
    multiply_transposed<D>(s, t.k, t.q);
    multiply_transposed<D>(dp, t.v, t.d);
    softmax_backward(
        s, dp, t.lse, t.delta, h.scale, first, key, [](int n, int i) { return column_of(n, i); },
        [=](int, int i) { return warp_first + row_of(i); });
    accumulate<D>(dv, s, t.d);
    accumulate<D>(dk, dp, t.q);
  }
  float* to = dqkv + h.in_qkv(head);
  store_rows<D>(to + h.C, dk, key + warp_first, h.T, 3 * h.C, h.width);
  store_rows<D>(to + 2 * h.C, dv, key + warp_first, h.T, 3 * h.C, h.width);
}

}  // namespace

void causal_attention_forward_bf16(Context& context, float* y, const float* qkv, const AttentionShape& s) {
  with_head_width(s, [&](auto D) {
    launch(context, attention_forward<D>, attention_grid(s), threads, sizeof(ForwardTiles<D>), y, nullptr, nullptr,
           nullptr, qkv, heads_of(s));
  });
}

void causal_attention_backward_bf16(Context& context, float* dqkv, const float* dy, const float* qkv,
                                    const AttentionShape& s) {
  float* lse = context.take<float>(s.B * s.heads * s.T);
  float* delta = context.take<float>(s.B * s.heads * s.T);
  with_head_width(s, [&](auto D) {
    launch(context, attention_forward<D>, attention_grid(s), threads, sizeof(ForwardTiles<D>), nullptr, lse, delta, dy,
           qkv, heads_of(s));
    launch(context, attention_backward_queries<D>, attention_grid(s), threads, sizeof(BackwardTiles<D>), dqkv, dy, qkv,
           lse, delta, heads_of(s));
    launch(context, attention_backward_keys<D>, attention_grid(s), threads, sizeof(BackwardTiles<D>), dqkv, dy, qkv,
           lse, delta, heads_of(s));
  });
}

}  // namespace pipe::cuda
