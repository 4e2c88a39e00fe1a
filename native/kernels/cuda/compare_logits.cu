// How far two models say the same, from the logits of both: agreement, margin, divergence.
#include "launch.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 512;

// The two largest of some logits, and the place of the first: of equals, the first in the row.
struct Top {
  float largest, second;
  int place;

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
  __device__ Top with(const Top& other) const {
    const bool first = largest > other.largest || (largest == other.largest && place < other.place);
    const Top& above = first ? *this : other;
    const Top& below = first ? other : *this;
    return {above.largest, fmaxf(above.second, below.largest), above.place};
  }
};

// Of a row of n >= 2, in every thread of the block: lanes first, then warps.
__device__ Top top_of(const float* row, int n) {
  __shared__ Top of_warp[threads / warp];
  Top top = {-INFINITY, -INFINITY, 0x7fffffff};
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

// compared[5] of a row, a block each. Sums are float64, because the divergence is a small difference of large ones.
__global__ void compare_kernel(float* compared, const float* logits, const float* reference, const int32_t* targets,
                               int V) {
  const int64_t row = blockIdx.x;
  float* of_row = compared + row * compared_columns;
  const int32_t target = targets[row];
  if (target < 0) {
    if (threadIdx.x < compared_columns) of_row[threadIdx.x] = 0;
    return;
  }
  const float* mine = logits + row * V;
  const float* theirs = reference + row * V;
  const Top top = top_of(mine, V);
  const Top reference_top = top_of(theirs, V);
  // Of e^(logit - largest), and of the reference's times how far the shifted logits differ.
  double total = 0, reference_total = 0, difference = 0;
  for (int i = threadIdx.x; i < V; i += threads) {
    const float shifted = mine[i] - top.largest;
    const float reference_shifted = theirs[i] - reference_top.largest;
    const float e = expf(reference_shifted);
    total += expf(shifted);
    reference_total += e;
    difference += static_cast<double>(e) * (static_cast<double>(reference_shifted) - shifted);
  }
  total = block_sum(total);
  reference_total = block_sum(reference_total);
  difference = block_sum(difference);
  if (threadIdx.x != 0) return;
  of_row[0] = static_cast<float>(static_cast<double>(mine[target]) - top.largest - log(total));
  of_row[1] = static_cast<float>(top.place);
  of_row[2] = static_cast<float>(reference_top.place);
  of_row[3] = reference_top.largest - reference_top.second;
  of_row[4] = static_cast<float>(difference / reference_total - (log(reference_total) - log(total)));
}

}  // namespace

void compare_logits(Context& context, float* compared, const float* logits, const float* reference,
                    const int32_t* targets, int64_t N, int64_t V) {
  context.require(targets, N, {"targets", "there are logits", V, true});
  launch(context, compare_kernel, blocks(N), threads, 0, compared, logits, reference, targets, V);
}

}  // namespace pipe::cuda
