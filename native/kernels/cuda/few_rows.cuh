// Linear maps of few rows, as when one token is decoded: each weight is read once, and that is all the time it takes.
#pragma once

#include "elements.cuh"
#include "nf4.cuh"

namespace pipe::cuda {

// Up to this many rows, reading weights costs more than multiplying them.
constexpr int64_t most_few_rows = 8;

// Rows of a matrix as floats, eight elements at a time; those past the row's end are 0. Stored as float32 or bf16:
struct DenseRows {
  In w;
  int64_t K;

  __device__ void fetch_row(int64_t row) const {
    const int64_t bytes = K * (w.storage == Storage::bf16 ? 2 : 4);
    fetch_ahead(static_cast<const char*>(w.data) + row * bytes, bytes);
  }
  __device__ void load(int64_t row, int64_t k, float (&out)[8]) const {
    const int64_t first = row * K + k;
    if (K % 8 == 0) return pipe::cuda::load<8>(out, w, first);
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = k + i < K ? pipe::cuda::load(w, first + i) : 0.0f;
  }
};

// Stored as NF4. The codebook is in shared memory.
struct Nf4Rows {
  Nf4 w;
  int64_t K;

  __device__ void fetch_row(int64_t row) const {
    fetch_ahead(w.codes + row * K / 2, K / 2);
    const int64_t first = nf4_block_of(row * K, w.block), last = nf4_block_of(row * K + K - 1, w.block);
    const int64_t scales = last - first + 1;
    if (w.nested.codes == nullptr)
      fetch_ahead(w.absmax + first, scales * int64_t{sizeof(float)});
    else
      fetch_ahead(w.nested.codes + first, scales);
  }
  __device__ void load(int64_t row, int64_t k, float (&out)[8], const float* codebook) const {
    const int64_t first = row * K + k;
    if (K % 8 == 0 && w.block % 8 == 0) {
      const uint32_t word = *reinterpret_cast<const uint32_t*>(w.codes + first / 2);
      const float absmax = nf4_scale_at(w, first);
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int code = (word >> (i / 2 * 8 + (i % 2 == 0 ? 4 : 0))) & 15;
        out[i] = __bfloat162float(nf4_value(codebook[code], absmax));
      }
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int64_t e = first + i;
        out[i] = k + i < K ? __bfloat162float(nf4_value(codebook[nf4_code(w.codes, e)], nf4_scale_at(w, e))) : 0.0f;
      }
    }
  }
};

// The output column, and row of W, that a warp takes.
__device__ inline int64_t column_of_warp() { return int64_t{blockIdx.x} * (blockDim.x / warp) + threadIdx.x / warp; }

// Weights do not wait for activations: a warp's row is on its way from memory while the kernel before this one still
// runs.
template <class Rows>
__device__ void fetch_row(const Rows& rows, int64_t M) {
  if (column_of_warp() < M) rows.fetch_row(column_of_warp());
}

// y[N, M] = x[N, K] W^T + bias + added: a warp an output column, which reads its row of W once, 256 elements at a time.
// y may be added.
template <class Rows, int N>
__global__ void few_rows_forward(Former former, Out y, In x, Rows rows, In bias, In added, int64_t M, int64_t K) {
  fetch_row(rows, M);
  former.wait();
  __shared__ float codebook[16];
  if constexpr (std::is_same_v<Rows, Nf4Rows>) {
    if (threadIdx.x < 16) codebook[threadIdx.x] = rows.w.codebook[threadIdx.x];
    __syncthreads();
  }
  const DenseRows of_x{x, K};
  const int64_t m = column_of_warp();
  if (m >= M) return;
  float total[N] = {};
  for (int64_t k = threadIdx.x % warp * 8; k < K; k += warp * 8) {
    float w[8];
    if constexpr (std::is_same_v<Rows, Nf4Rows>)
      rows.load(m, k, w, codebook);
    else
      rows.load(m, k, w);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      float v[8];
      of_x.load(n, k, v);
#pragma unroll
      for (int i = 0; i < 8; ++i) total[n] += v[i] * w[i];
    }
  }
#pragma unroll
  for (int n = 0; n < N; ++n) {
    float sum = warp_sum(total[n]);
    if (threadIdx.x % warp != 0) continue;
    if (bias.data != nullptr) sum += load(bias, m);
    if (added.data != nullptr) sum += load(added, n * M + m);
    store(y, n * M + m, sum);
  }
}

template <class Rows>
void few_rows(Context& context, Out y, In x, const Rows& rows, In bias, In added, int64_t N, int64_t M, int64_t K) {
  constexpr int threads = 128;
  using Kernel = void (*)(Former, Out, In, Rows, In, In, int64_t, int64_t);
  static const Kernel kernels[] = {few_rows_forward<Rows, 1>, few_rows_forward<Rows, 2>, few_rows_forward<Rows, 3>,
                                   few_rows_forward<Rows, 4>, few_rows_forward<Rows, 5>, few_rows_forward<Rows, 6>,
                                   few_rows_forward<Rows, 7>, few_rows_forward<Rows, 8>};
  launch(context, kernels[N - 1], blocks(ceil_div(M, threads / warp)), threads, 0, y, x, rows, bias, added, M, K);
}

}  // namespace pipe::cuda
