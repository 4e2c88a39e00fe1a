// Sums over neighbouring axes.
#include "column_sums.cuh"

namespace pipe::cuda {

namespace {

// out[row] = the sum of x[row, summed]: a block a row.
__global__ void sum_rows_forward(Former former, float* out, const float* x, int64_t summed) {
  former.wait();
  float total = 0;
  for (int64_t i = threadIdx.x; i < summed; i += blockDim.x) total += x[blockIdx.x * summed + i];
  total = block_sum(total);
  if (threadIdx.x == 0) out[blockIdx.x] = total;
}

// x[row, column] of a dense matrix.
struct Element {
  const float* x;
  int64_t columns;
  __device__ float operator()(int64_t row, int64_t column) const { return x[row * columns + column]; }
};

}  // namespace

void sum(Context& context, float* out, const float* x, int64_t outer, int64_t summed, int64_t inner) {
  if (inner == 1) return launch(context, sum_rows_forward, blocks(outer), 256, 0, out, x, summed);
  for (int64_t i = 0; i < outer; ++i)
    sum_columns(context, out + i * inner, Element{x + i * summed * inner, inner}, summed, inner);
}

void column_sum(Context& context, float* sums, const float* x, int64_t N, int64_t M) {
  sum_columns(context, sums, Element{x, M}, N, M);
}

}  // namespace pipe::cuda
