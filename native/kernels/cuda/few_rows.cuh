// Linear maps of few rows, as when one token is decoded: each weight is read once, and that is all the time it takes.
#pragma once

#include "nf4.cuh"

namespace pipe::cuda {

// Up to this many rows, reading weights costs more than multiplying them.
constexpr int64_t most_few_rows = 8;

// Rows of a matrix as floats, eight elements at a time; those past the row's end are 0. Stored as float32 or bf16:
struct DenseRows {
  Weights w;
  int64_t K;

  __device__ void load(int64_t row, int64_t k, float (&out)[8]) const {
    const int64_t first = row * K + k;
    if (w.storage == Storage::bf16 && K % 8 == 0) {
      const uint4 bits = *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(w.data) + first);
      const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&bits);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = __bfloat1622float2(pairs[i]);
        out[2 * i] = pair.x;
        out[2 * i + 1] = pair.y;
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) out[i] = k + i < K ? weight_at(w, first + i) : 0.0f;
    }
  }
};

// Stored as NF4. The codebook is in shared memory.
struct Nf4Rows {
  Nf4 w;
  int64_t K;

  __device__ void load(int64_t row, int64_t k, float (&out)[8], const float* codebook) const {
    const int64_t first = row * K + k;
    if (K % 8 == 0 && w.block % 8 == 0) {
      const uint32_t word = *reinterpret_cast<const uint32_t*>(w.codes + first / 2);
      const float absmax = w.absmax[first / w.block];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int code = (word >> (i / 2 * 8 + (i % 2 == 0 ? 4 : 0))) & 15;
        out[i] = __bfloat162float(nf4_value(codebook[code], absmax));
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int64_t e = first + i;
        out[i] = k + i < K ? __bfloat162float(nf4_value(codebook[nf4_code(w.codes, e)], w.absmax[e / w.block])) : 0.0f;
      }
    }
  }
};

// y[N, M] = x[N, K] W^T + bias: a warp an output column, which reads its row of W once, 256 elements at a time.
template <class Rows, int N>
__global__ void few_rows_forward(float* y, const float* x, Rows rows, Weights bias, int64_t M, int64_t K) {
  __shared__ float codebook[16];
  if constexpr (std::is_same_v<Rows, Nf4Rows>) {
    if (threadIdx.x < 16) codebook[threadIdx.x] = rows.w.codebook[threadIdx.x];
    __syncthreads();
  }
  const int64_t m = int64_t{blockIdx.x} * (blockDim.x / warp) + threadIdx.x / warp;
  if (m >= M) return;
  float total[N] = {};
  for (int64_t k = threadIdx.x % warp * 8; k < K; k += warp * 8) {
    float w[8];
    if constexpr (std::is_same_v<Rows, Nf4Rows>)
      rows.load(m, k, w, codebook);
    else
      rows.load(m, k, w);
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if (k + i < K) total[n] += x[n * K + k + i] * w[i];
  }
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const float sum = warp_sum(total[n]);
    if (threadIdx.x % warp == 0) y[n * M + m] = sum + (bias.data != nullptr ? weight_at(bias, m) : 0.0f);
  }
}

template <class Rows>
void few_rows(Context& context, float* y, const float* x, const Rows& rows, Weights bias, int64_t N, int64_t M,
              int64_t K) {
  constexpr int threads = 128;
  using Kernel = void (*)(float*, const float*, Rows, Weights, int64_t, int64_t);
  static const Kernel kernels[] = {few_rows_forward<Rows, 1>, few_rows_forward<Rows, 2>, few_rows_forward<Rows, 3>,
                                   few_rows_forward<Rows, 4>, few_rows_forward<Rows, 5>, few_rows_forward<Rows, 6>,
                                   few_rows_forward<Rows, 7>, few_rows_forward<Rows, 8>};
  launch(context, kernels[N - 1], blocks(ceil_div(M, threads / warp)), threads, 0, y, x, rows, bias, M, K);
}

}  // namespace pipe::cuda
