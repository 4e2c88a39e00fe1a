// The two largest numbers of a row, found by a block.
#pragma once

#include "launch.cuh"

namespace pipe::cuda {

// The two largest of some numbers, and the place of the first: of equals, the first in the row.
struct Top {
  static constexpr int nowhere = 0x7fffffff;
  float largest, second;
  int place;  // nowhere, if none is above -infinity

  __device__ void take(float value, int at) {
    if (value > largest) {
      second = largest;
      largest = value;
      place = at;
    } else {
      second = fmaxf(second, value);
    }
  }

  // Those of both; the order of the two does not matter.
  __device__ Top with(Top other) const {
    const bool first = largest > other.largest || (largest == other.largest && place < other.place);
    return first ? Top{largest, fmaxf(second, other.largest), place}
                 : Top{other.largest, fmaxf(other.second, largest), other.place};
  }
};

// Of a row of n, in every thread of a block of whole warps, at most 1024 threads: lanes first, then warps. A row is read by
// one block alone, so that what it waits for is latency: eight loads of each thread are in flight.
__device__ inline Top top_of(const float* row, int n) {
  __shared__ Top of_warp[warp];
  const int threads = static_cast<int>(blockDim.x);
  Top top = {-INFINITY, -INFINITY, Top::nowhere};
#pragma unroll 8
  for (int i = threadIdx.x; i < n; i += threads) top.take(row[i], i);
  for (int step = warp / 2; step > 0; step /= 2) {
    const Top other = {__shfl_xor_sync(whole_warp, top.largest, step), __shfl_xor_sync(whole_warp, top.second, step),
                       __shfl_xor_sync(whole_warp, top.place, step)};
    top = top.with(other);
  }
  __syncthreads();  // an earlier use of of_warp may still be read
  if (threadIdx.x % warp == 0) of_warp[threadIdx.x / warp] = top;
  __syncthreads();
  top = of_warp[0];
  for (int w = 1; w < threads / warp; ++w) top = top.with(of_warp[w]);
  return top;
}

}  // namespace pipe::cuda
