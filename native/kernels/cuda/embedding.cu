// Rows of a table by id, and the sum of gradients by id.
#include "elements.cuh"

namespace pipe::cuda {

namespace {

void require_ids(Context& context, const int32_t* ids, int64_t N, int64_t V) {
  context.require(ids, N, {"ids", "the table has rows", V, false});
}

// y[N, C] = table[ids]: a block a row.
__global__ void embedding_forward_kernel(Former former, Out y, In table, const int32_t* ids, int64_t C) {
  former.wait();
  const int64_t row = ids[blockIdx.x];
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x) store(y, blockIdx.x * C + c, load(table, row * C + c));
}

// dtable[V, C], zeroed before. The block of an id's first occurrence adds up all its rows, in order, so that no two
// blocks write one row and no atomic is needed. Ids are few and read from L2: N of them by each of N blocks.
__global__ void embedding_backward_kernel(Former former, float* dtable, const float* dy, const int32_t* ids, int64_t N,
                                          int64_t C) {
  former.wait();
  const int64_t first = blockIdx.x;
  const int32_t id = ids[first];
  bool earlier = false;
  for (int64_t n = threadIdx.x; n < first; n += blockDim.x) earlier = earlier || ids[n] == id;
  if (__syncthreads_or(earlier)) return;
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
    float total = 0;
    for (int64_t n = first; n < N; ++n)
      if (ids[n] == id) total += dy[n * C + c];
    dtable[id * C + c] = total;
  }
}

}  // namespace

void embedding_forward(Context& context, Out y, Weights table, const int32_t* ids, int64_t N, int64_t V, int64_t C) {
  require_ids(context, ids, N, V);
  launch(context, embedding_forward_kernel, blocks(N), 256, 0, y, In(table), ids, C);
}

void embedding_backward(Context& context, float* dtable, const float* dy, const int32_t* ids, int64_t N, int64_t V,
                        int64_t C) {
  require_ids(context, ids, N, V);
  zero_bytes(context, dtable, static_cast<size_t>(V * C) * sizeof(float));
  launch(context, embedding_backward_kernel, blocks(N), 256, 0, dtable, dy, ids, N, C);
}

}  // namespace pipe::cuda
