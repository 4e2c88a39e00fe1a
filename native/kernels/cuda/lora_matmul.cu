// Low-rank updates of some columns of a linear map (Hu et al. 2021, section 4.1), and their gradients. Nothing larger
// than [N, rank] is kept between the two thin products, and all of it is float32, as adapters are.
#include "thin.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 128;
constexpr int rows_per_block = 16;
constexpr int tile = 8;

// out[n, offset + j] = y[n, offset + j] + the sum over r of u[n, r] b[j, r]: a thread a column of `rows_per_block`
// rows, b's row in registers, u in shared memory. out may be y.
__global__ void lora_update_forward(float* out, const float* y, const float* u, const float* b, LoraShape s) {
  extern __shared__ float hidden[];  // [rows_per_block, rank]
  const int64_t first_row = int64_t{blockIdx.y} * rows_per_block;
  const int rows = static_cast<int>(min(int64_t{rows_per_block}, s.N - first_row));
  const int64_t held = rows_per_block * s.rank;
  for (int64_t i = threadIdx.x; i < held; i += threads)
    hidden[i] = i < rows * s.rank ? u[first_row * s.rank + i] : 0.0f;
  __syncthreads();
  const int64_t j = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (j >= s.width) return;
  const int64_t place = first_row * s.M + s.offset + j;
  float total[rows_per_block];
#pragma unroll
  for (int n = 0; n < rows_per_block; ++n) total[n] = n < rows ? y[place + n * s.M] : 0.0f;
  for (int64_t first = 0; first < s.rank; first += tile) {
    float of_b[tile];
#pragma unroll
    for (int r = 0; r < tile; ++r) of_b[r] = first + r < s.rank ? b[j * s.rank + first + r] : 0.0f;
#pragma unroll
    for (int n = 0; n < rows_per_block; ++n)
#pragma unroll
      for (int r = 0; r < tile; ++r)
        if (first + r < s.rank) total[n] += hidden[n * s.rank + first + r] * of_b[r];
  }
#pragma unroll
  for (int n = 0; n < rows_per_block; ++n)
    if (n < rows) out[place + n * s.M] = total[n];
}

// u[N, rank] = scale x a^T
float* hidden_of(Context& context, const float* x, const float* a, const LoraShape& s) {
  float* u = context.take<float>(s.N * s.rank);
  thin_hidden(context, u, x, a, {s.N, s.K, s.K, s.rank, 1, s.K, s.scale});
  return u;
}

}  // namespace

void lora_matmul_forward(Context& context, float* out, const float* y, const float* x, const float* a, const float* b,
                         const LoraShape& s) {
  if (out != y) copy_bytes(context, out, y, static_cast<size_t>(s.N * s.M) * sizeof(float));
  const float* u = hidden_of(context, x, a, s);
  launch(context, lora_update_forward, blocks(ceil_div(s.width, threads), ceil_div(s.N, rows_per_block)), threads,
         static_cast<size_t>(rows_per_block * s.rank) * sizeof(float), out, y, u, b, s);
}

void lora_backward_hidden(Context& context, float* du, const float* dy, const float* b, const LoraShape& s) {
  thin_hidden(context, du, dy + s.offset, b, {s.N, s.width, s.M, s.rank, s.rank, 1, s.scale});
}

void lora_backward_b(Context& context, float* db, const float* dy, const float* x, const float* a, const LoraShape& s) {
  const float* u = hidden_of(context, x, a, s);
  thin_gradient(context, db, dy + s.offset, u, {s.N, s.width, s.M, s.rank, s.rank, 1});
}

}  // namespace pipe::cuda
