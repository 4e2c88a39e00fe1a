// The place of the largest number of each row: a block a row.
#include "top.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 1024;

__global__ void __launch_bounds__(threads) arg_max_kernel(Former former, int32_t* place, const float* x, int M) {
  former.wait();
  const Top top = top_of(x + int64_t{blockIdx.x} * M, M);
  if (threadIdx.x == 0) place[blockIdx.x] = top.place == Top::nowhere ? 0 : top.place;
}

}  // namespace

void arg_max(Context& context, int32_t* place, const float* x, int64_t N, int64_t M) {
  launch(context, arg_max_kernel, blocks(N), threads, 0, place, x, M);
}

}  // namespace pipe::cuda
