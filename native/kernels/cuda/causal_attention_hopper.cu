// Causal self-attention with Hopper's warpgroup products, for heads of width 64: the algorithm of causal_attention_bf16.cu,
// a warpgroup a block and 64 rows a warpgroup, so that four blocks share a multiprocessor and one's softmax runs under
// another's products.
#include "causal_attention.cuh"
#include "softmax.cuh"
#include "warpgroup.cuh"

namespace pipe::cuda {

namespace {

using Half = __nv_bfloat16;

constexpr int tile = square;

// Tiles in shared memory of what a block goes over: one is multiplied while the others are loaded.
constexpr int stages = 3;

// The row of a square that a lane's register i holds, and its column in piece n.
__device__ int row_of(int i) { return threadIdx.x / warp * 16 + threadIdx.x % warp / 4 + i / 2 * 8; }
__device__ int column_of(int n, int i) { return n * 8 + threadIdx.x % 4 * 2 + i % 2; }

// Calls body(n, i) for each register of a square.
template <class Body>
__device__ void for_registers(const Body& body) {
#pragma unroll
  for (int n = 0; n < square / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) body(n, i);
}

// Calls load(stage, i) for tiles 0 to n - 1, `stages` - 1 ahead of body(stage, i). One barrier a tile is enough: a stage is
// loaded again only after the barrier that follows the waits for the products that read it.
template <class Load, class Body>
__device__ void pipelined(int n, const Load& load, const Body& body) {
#pragma unroll
  for (int i = 0; i < stages - 1; ++i) {
    if (i < n) load(i, i);
    __pipeline_commit();
  }
#pragma unroll 1
  for (int i = 0; i < n; ++i) {
    __pipeline_wait_prior(stages - 2);
    products_see_shared();
    __syncthreads();
    const int ahead = i + stages - 1;
    if (ahead < n) load(ahead % stages, ahead);
    __pipeline_commit();
    body(i % stages, i);
  }
}

// Writes the rows that are real of those from `first` on, times `scale`.
__device__ void store_square(Half* to, const Sums& rows, float scale, int first, int T, int64_t stride) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + row_of(2 * half);
    if (row >= T) continue;
    Half* place = to + row * stride + column_of(0, 0);
#pragma unroll
    for (int n = 0; n < square / 8; ++n)
      *reinterpret_cast<uint32_t*>(place + n * 8) =
          bf16_pair(scale * rows[n][2 * half], scale * rows[n][2 * half + 1]);
  }
}

struct ForwardSquares {
  Square q, k[stages], v[stages];
};

// As attention_forward of causal_attention_float32.cu; blocks of long rows come first, over all heads.
__global__ void __launch_bounds__(warpgroup, 4) attention_forward(Former former, Half* y, float* lse, const Half* qkv,
                                                                   Heads h) {
  former.wait();
  extern __shared__ __align__(1024) char memory[];
  ForwardSquares& t = *reinterpret_cast<ForwardSquares*>(memory);
  const int T = static_cast<int>(h.T);
  const int64_t head = blockIdx.x, stride = 3 * h.C;
  const int own = gridDim.y - 1 - blockIdx.y;
  const Half* q = qkv + h.in_qkv(head);
  const float scale = h.scale * log2_e;
  Sums out = {};
  float largest[2] = {-INFINITY, -INFINITY}, total[2] = {};
  load_square(t.q, q, own * tile, T, stride);
  const auto load = [&](int stage, int i) {
    load_square(t.k[stage], q + h.C, i * tile, T, stride);
    load_square(t.v[stage], q + 2 * h.C, i * tile, T, stride);
  };
  pipelined(own + 1, load, [&](int stage, int i) {
    Sums s;
    begin_products();
    multiply_transposed(s, t.q, t.k[stage]);
    end_products();
    wait_products<0>();
    keep(s);
    if (i == own)
      for_registers([&](int n, int r) {
        if (column_of(n, r) > row_of(r)) s[n][r] = -INFINITY;
      });
    float most[2] = {largest[0], largest[1]};
    for_registers([&](int n, int r) { most[r / 2] = fmaxf(most[r / 2], s[n][r]); });
    float kept[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      most[half] = row_max(most[half]);
      // The first tile holds key 0: `most` is finite.
      kept[half] = power_of_2((largest[half] - most[half]) * scale);
      largest[half] = most[half];
      most[half] *= scale;
      total[half] *= kept[half];
    }
    for_registers([&](int n, int r) {
      s[n][r] = power_of_2(s[n][r] * scale - most[r / 2]);
      total[r / 2] += s[n][r];
    });
    for_registers([&](int n, int r) { out[n][r] *= kept[r / 2]; });
    LeftSquare p;
    round_square(p, s);
    keep(p);
    keep(out);
    begin_products();
    multiply_add(out, p, t.v[stage]);
    end_products();
    wait_products<0>();
    keep(out);
    keep(p);
  });
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float sum = row_sum(total[half]);
#pragma unroll
    for (int n = 0; n < square / 8; ++n) out[n][2 * half] /= sum, out[n][2 * half + 1] /= sum;
    const int row = own * tile + row_of(2 * half);
    if (lse != nullptr && threadIdx.x % 4 == 0 && row < T)
      lse[head * T + row] = (largest[half] * scale + log2f(sum)) * ln_2;
  }
  store_square(y + h.in_out(head), out, 1.0f, own * tile, T, h.C);
}

// Operands of the gradient: gradients dqkv and dy, and what the forward pass left.
struct Backward {
  Half* dqkv;
  const Half *dy, *qkv;
  const float *lse, *delta;
  Heads h;
};

// A block's own rows of two matrices, and tiles of the two others.
struct BackwardSquares {
  Square own_a, own_b, a[stages], b[stages];
  float lse[stages][tile], delta[stages][tile];
};

// The queries' part of dqkv: rows dq of tile `own`, over the keys that they see. a: keys, b: values.
__device__ void backward_queries(BackwardSquares& t, const Backward& o, int64_t head, int own) {
  const Heads& h = o.h;
  const int T = static_cast<int>(h.T);
  const int64_t stride = 3 * h.C;
  const Half* q = o.qkv + h.in_qkv(head);
  const float scale = h.scale * log2_e;
  load_square(t.own_a, q, own * tile, T, stride);
  load_square(t.own_b, o.dy + h.in_out(head), own * tile, T, h.C);
  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = own * tile + row_of(2 * half);
    lse[half] = row < T ? o.lse[head * T + row] * log2_e : 0.0f;
    delta[half] = row < T ? o.delta[head * T + row] : 0.0f;
  }
  Sums dq = {};
  const auto load = [&](int stage, int i) {
    load_square(t.a[stage], q + h.C, i * tile, T, stride);
    load_square(t.b[stage], q + 2 * h.C, i * tile, T, stride);
  };
  pipelined(own + 1, load, [&](int stage, int i) {
    Sums s, ds;
    begin_products();
    multiply_transposed(s, t.own_a, t.a[stage]);
    end_products();
    multiply_transposed(ds, t.own_b, t.b[stage]);
    end_products();
    wait_products<1>();
    keep(s);
    if (i == own)
      for_registers([&](int n, int r) {
        if (column_of(n, r) > row_of(r)) s[n][r] = -INFINITY;
      });
    for_registers([&](int n, int r) { s[n][r] = power_of_2(s[n][r] * scale - lse[r / 2]); });
    keep(s);  // exponentials are to be made while ds still is
    wait_products<0>();
    keep(ds);
    for_registers([&](int n, int r) { s[n][r] *= ds[n][r] - delta[r / 2]; });
    LeftSquare left;
    round_square(left, s);
    keep(left);
    keep(dq);
    begin_products();
    multiply_add(dq, left, t.a[stage]);
    end_products();
    wait_products<0>();
    keep(dq);
    keep(left);
  });
  store_square(o.dqkv + h.in_qkv(head), dq, h.scale, own * tile, T, stride);
}

// The keys' and values' parts of dqkv: rows dk and dv of tile `own`, over the queries that see them. Scores are computed
// transposed, so that each sum has one owner and an order. a: queries, b: rows of dy.
__device__ void backward_keys(BackwardSquares& t, const Backward& o, int64_t head, int own, int tiles) {
  const Heads& h = o.h;
  const int T = static_cast<int>(h.T);
  const int64_t stride = 3 * h.C;
  const Half* q = o.qkv + h.in_qkv(head);
  const float scale = h.scale * log2_e;
  load_square(t.own_a, q + h.C, own * tile, T, stride);
  load_square(t.own_b, q + 2 * h.C, own * tile, T, stride);
  Sums dk = {}, dv = {};
  const auto load = [&](int stage, int i) {
    const int first = (own + i) * tile;
    load_square(t.a[stage], q, first, T, stride);
    load_square(t.b[stage], o.dy + h.in_out(head), first, T, h.C);
    // Rows that are not there have p = 1 and add it to dv times a row of zeros, and to dk times 0 - 0.
    const int at = threadIdx.x % tile, row = first + at;
    const float* from = (threadIdx.x < tile ? o.lse : o.delta) + head * T;
    float* to = threadIdx.x < tile ? t.lse[stage] : t.delta[stage];
    __pipeline_memcpy_async(to + at, row < T ? from + row : from, 4, row < T ? 0 : 4);
  };
  pipelined(tiles - own, load, [&](int stage, int i) {
    Sums s, ds;
    begin_products();
    multiply_transposed(s, t.own_a, t.a[stage]);
    end_products();
    multiply_transposed(ds, t.own_b, t.b[stage]);
    end_products();
    wait_products<1>();
    keep(s);
    if (i == 0)
      for_registers([&](int n, int r) {
        if (row_of(r) > column_of(n, r)) s[n][r] = -INFINITY;
      });
    for_registers([&](int n, int r) {
      s[n][r] = power_of_2(s[n][r] * scale - t.lse[stage][column_of(n, r)] * log2_e);
    });
    LeftSquare left;
    round_square(left, s);
    keep(left);
    keep(dv);
    begin_products();
    multiply_add(dv, left, t.b[stage]);
    end_products();
    wait_products<1>();
    keep(ds);
    for_registers([&](int n, int r) { s[n][r] *= ds[n][r] - t.delta[stage][column_of(n, r)]; });
    LeftSquare ds_left;
    round_square(ds_left, s);
    keep(ds_left);
    keep(dk);
    begin_products();
    multiply_add(dk, ds_left, t.a[stage]);
    end_products();
    wait_products<0>();
    keep(dk);
    keep(dv);
    keep(left);
    keep(ds_left);
  });
  Half* to = o.dqkv + h.in_qkv(head);
  store_square(to + h.C, dk, h.scale, own * tile, T, stride);
  store_square(to + 2 * h.C, dv, 1.0f, own * tile, T, stride);
}

// All of dqkv in one launch, the longest rows first: a tile of keys, and then the tile of queries that takes as long.
__global__ void __launch_bounds__(warpgroup, 3) attention_backward(Former former, Backward o) {
  former.wait();
  extern __shared__ __align__(1024) char memory[];
  BackwardSquares& t = *reinterpret_cast<BackwardSquares*>(memory);
  const int tiles = gridDim.y / 2, own = blockIdx.y / 2;
  if (blockIdx.y % 2 == 0)
    backward_keys(t, o, blockIdx.x, own, tiles);
  else
    backward_queries(t, o, blockIdx.x, tiles - 1 - own);
}

}  // namespace

bool has_warpgroup_attention(const AttentionShape& s) {
  int device, major, minor;
  check(cudaGetDevice(&device), "the GPU in use");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "its compute capability");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "its compute capability");
  return major == 9 && minor == 0 && s.C == 64 * s.heads;
}

void attend_by_warpgroups(Context& context, Half* y, float* lse, const Half* qkv, const AttentionShape& s) {
  launch(context, attention_forward, blocks(s.B * s.heads, ceil_div(s.T, tile)), warpgroup, sizeof(ForwardSquares), y,
         lse, qkv, heads_of(s));
}

void attend_backward_by_warpgroups(Context& context, Half* dqkv, const Half* dy, const Half* qkv, const float* lse,
                                   const float* delta, const AttentionShape& s) {
  launch(context, attention_backward, blocks(s.B * s.heads, 2 * ceil_div(s.T, tile)), warpgroup,
         sizeof(BackwardSquares), Backward{dqkv, dy, qkv, lse, delta, heads_of(s)});
}

}  // namespace pipe::cuda
