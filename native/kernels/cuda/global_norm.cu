// The norm of all gradients together, for clipping: sums of squares in float64, in an order that the sizes alone
// decide.
#include "launch.cuh"

namespace pipe::cuda {

namespace {

// As many gradients as one launch takes: their addresses travel as a parameter.
constexpr int most_gradients = 128;

struct Gradients {
  int count;
  const float* data[most_gradients];
  int64_t size[most_gradients];
  int64_t first_part[most_gradients];  // where the parts of each begin
};

// parts[part] = the sum of squares of global_norm_chunk elements of one gradient: a block a part.
__global__ void squares_forward(Former former, double* parts, Gradients g) {
  former.wait();
  int which = 0;
  while (which + 1 < g.count && g.first_part[which + 1] <= blockIdx.x) ++which;
  const int64_t begin = (blockIdx.x - g.first_part[which]) * global_norm_chunk;
  const int64_t end = min(g.size[which], begin + global_norm_chunk);
  double total = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    const double v = g.data[which][i];
    total += v * v;
  }
  total = block_sum(total);
  if (threadIdx.x == 0) parts[blockIdx.x] = total;
}

// norm[1] = sqrt of the sum of the parts: one block.
__global__ void norm_forward(Former former, float* norm, const double* parts, int64_t count) {
  former.wait();
  double total = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) total += parts[i];
  total = block_sum(total);
  if (threadIdx.x == 0) *norm = static_cast<float>(sqrt(total));
}

}  // namespace

void global_norm(Context& context, float* norm, const Gradient* gradients, size_t count) {
  int64_t count_of_parts = 0;
  for (size_t i = 0; i < count; ++i) count_of_parts += ceil_div(gradients[i].size, global_norm_chunk);
  double* parts = context.take<double>(count_of_parts);
  double* next = parts;
  for (size_t begin = 0; begin < count; begin += most_gradients) {
    Gradients g{};
    int64_t parts_of_launch = 0;
    for (size_t i = begin; i < count && g.count < most_gradients; ++i, ++g.count) {
      g.data[g.count] = gradients[i].data;
      g.size[g.count] = gradients[i].size;
      g.first_part[g.count] = parts_of_launch;
      parts_of_launch += ceil_div(gradients[i].size, global_norm_chunk);
    }
    launch(context, squares_forward, blocks(parts_of_launch), 256, 0, next, g);
    next += parts_of_launch;
  }
  launch(context, norm_forward, blocks(1), 1024, 0, norm, parts, count_of_parts);
}

}  // namespace pipe::cuda
