// How far two models say the same, from the logits of both: agreement, margin, divergence.
#include "top.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 512;

// compared[5] of a row, a block each. Sums are float64, because the divergence is a small difference of large ones.
__global__ void compare_kernel(Former former, float* compared, const float* logits, const float* reference,
                               const int32_t* targets, int V) {
  former.wait();
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
