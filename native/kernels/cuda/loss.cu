// The loss of a tied output layer, its gradients, and log-probabilities: logits exist for a chunk of rows at a time,
// and only for rows that have a target.
#include "elements.cuh"
#include "factors.cuh"

namespace pipe::cuda {

namespace {

// Bytes of a column of the logits that exist at once: 512 rows of halves, or 256 of floats. The program's scratch of 64
// rows suits a CPU's caches; here a product of 64 rows would be over before the table, which is read for every chunk, has
// arrived.
constexpr int64_t chunk_bytes = 1024;
constexpr int row_threads = 512;

// Workspace: which rows count, and a chunk's rows and logits. The stride of logits is a multiple of 8, so that rows of
// floats and of halves begin where the tensor cores' loads can.
struct LossSpace {
  int64_t chunk, stride, chunks, padded;
  int32_t* index;    // [padded = a multiple of chunk]: row in hidden, -1 past the last counted
  int32_t* counted;  // [1]
  Out hidden;        // [chunk, C], in the context's precision
  const void* table;
  Out logits;  // [chunk, stride]
};

// index[padded] = the positions of targets that are not negative, in order, then -1; counted[1] = how many. One block,
// which takes 1024 targets at a time: a warp counts by ballot, the warps' counts are added in order.
__global__ void find_targets(Former former, int32_t* index, int32_t* counted, const int32_t* targets, int64_t N,
                             int64_t padded) {
  former.wait();
  __shared__ int of_warp[warp];
  __shared__ int done;
  if (threadIdx.x == 0) done = 0;
  __syncthreads();
  const int lane = threadIdx.x % warp;
  const int which = threadIdx.x / warp;
  for (int64_t first = 0; first < N; first += row_threads) {
    const int64_t i = first + threadIdx.x;
    const bool has = i < N && targets[i] >= 0;
    const unsigned ballot = __ballot_sync(whole_warp, has);
    if (lane == 0) of_warp[which] = __popc(ballot);
    __syncthreads();
    int place = done + __popc(ballot & ((1u << lane) - 1));
    for (int w = 0; w < which; ++w) place += of_warp[w];
    if (has) index[place] = static_cast<int32_t>(i);
    __syncthreads();
    if (threadIdx.x == row_threads - 1) done = place + (has ? 1 : 0);
    __syncthreads();
  }
  for (int64_t i = done + threadIdx.x; i < padded; i += row_threads) index[i] = -1;
  if (threadIdx.x == 0) *counted = done;
}

// out[row, C] = hidden[index[row]], zeros where there is none: a block a row.
__global__ void gather_rows(Former former, Out out, In hidden, const int32_t* index, int64_t C) {
  former.wait();
  const int64_t from = index[blockIdx.x];
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
    store(out, blockIdx.x * C + c, from < 0 ? 0.0f : load(hidden, from * C + c));
}

// out[index[row], C] = rows[row, C]
__global__ void scatter_rows(Former former, Out out, In rows, const int32_t* index, int64_t C) {
  former.wait();
  const int64_t to = index[blockIdx.x];
  if (to < 0) return;
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x) store(out, to * C + c, load(rows, blockIdx.x * C + c));
}

struct Normalizer {
  float largest;
  float total;  // of exp(logit - largest)
};

// Eight logits of the row that begins at `first`, minus infinity past its end. Rows are as long as a stride.
__device__ void eight_logits(float (&x)[8], const In& logits, int64_t first, int64_t v, int64_t V) {
  load(x, logits, first + v);
#pragma unroll
  for (int i = 1; i < 8; ++i)
    if (v + i >= V) x[i] = -INFINITY;
}

// Of a row of V logits, in every thread of its block: one pass, each thread with a maximum and sum of its own.
__device__ Normalizer normalizer_of(const In& logits, int64_t first, int64_t V) {
  float largest = -INFINITY;
  float total = 0;
  for (int64_t v = threadIdx.x * 8; v < V; v += blockDim.x * 8) {
    float x[8];
    eight_logits(x, logits, first, v, V);
    float most = largest;
#pragma unroll
    for (int i = 0; i < 8; ++i) most = fmaxf(most, x[i]);
    total *= __expf(largest - most);
#pragma unroll
    for (int i = 0; i < 8; ++i) total += __expf(x[i] - most);
    largest = most;
  }
  const float of_row = block_max(largest);
  // A thread without a logit has -infinity and 0.
  return {of_row, block_sum(largest == -INFINITY ? 0.0f : total * __expf(largest - of_row))};
}

// of_row[row] = log softmax(logits)[target], and the same to y[index[row]] where y is given: a block a row.
__global__ void log_probs_forward(Former former, float* of_row, float* y, In logits, const int32_t* index,
                                  const int32_t* targets, int64_t V, int64_t stride) {
  former.wait();
  const int32_t row = index[blockIdx.x];
  if (row < 0) return;
  const int64_t first = blockIdx.x * stride;
  const Normalizer n = normalizer_of(logits, first, V);
  if (threadIdx.x != 0) return;
  const float log_prob = load(logits, first + targets[row]) - n.largest - logf(n.total);
  if (of_row != nullptr) of_row[blockIdx.x] = log_prob;
  if (y != nullptr) y[row] = log_prob;
}

// gradient[row, V] = (softmax(logits) - 1 at the target) * dloss / counted; zeros for rows past the last. gradient may be
// the logits: a thread writes what it alone reads after the normalizer is known. of_row[row], where it is given, becomes
// log softmax(logits)[target].
__global__ void logits_gradient(Former former, Out gradient, In logits, float* of_row, const int32_t* index,
                                const int32_t* targets, const int32_t* counted, const float* dloss, int64_t V,
                                int64_t stride) {
  former.wait();
  const int32_t row = index[blockIdx.x];
  const int64_t first = blockIdx.x * stride;
  if (row < 0) {
    const float zeros[8] = {};
    for (int64_t v = threadIdx.x * 8; v < V; v += blockDim.x * 8) store(gradient, first + v, zeros);
    return;
  }
  const Normalizer n = normalizer_of(logits, first, V);
  const float factor = *dloss / static_cast<float>(*counted);
  const int32_t target = targets[row];
  const float share = factor / n.total;
  for (int64_t v = threadIdx.x * 8; v < V; v += blockDim.x * 8) {
    float x[8];
    eight_logits(x, logits, first, v, V);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (v + i == target && of_row != nullptr) of_row[blockIdx.x] = x[i] - n.largest - logf(n.total);
      x[i] = __expf(x[i] - n.largest) * share - (v + i == target ? factor : 0.0f);
    }
    store(gradient, first + v, x);
  }
}

// loss[1] = minus the mean of the counted rows' log-probabilities: one block, in float64.
__global__ void mean_loss(Former former, float* loss, const float* of_row, const int32_t* counted) {
  former.wait();
  double total = 0;
  for (int64_t i = threadIdx.x; i < *counted; i += blockDim.x) total -= of_row[i];
  total = block_sum(total);
  if (threadIdx.x == 0) *loss = *counted == 0 ? 0.0f : static_cast<float>(total / *counted);
}

Out take(Context& context, Storage storage, int64_t n) {
  return {context.take<std::byte>(n * static_cast<int64_t>(bytes_of(storage))), storage};
}

Storage storage_of(Precision precision) { return precision == Precision::bf16 ? Storage::bf16 : Storage::float32; }

LossSpace prepare(Context& context, const Loss& loss, Storage of_logits) {
  context.require(loss.targets, loss.N, {"targets", "the table has rows", loss.V, true});
  const int64_t chunk = std::min(loss.N, chunk_bytes / static_cast<int64_t>(bytes_of(of_logits)));
  const int64_t stride = ceil_div(loss.V, 8) * 8;
  const int64_t padded = ceil_div(loss.N, chunk) * chunk;
  const LossSpace space{chunk,
                        stride,
                        context.chunks_with_target(loss.targets, loss.N, chunk),
                        padded,
                        context.take<int32_t>(padded),
                        context.take<int32_t>(1),
                        take(context, storage_of(context.precision), chunk * loss.C),
                        as_factor(context, In(loss.table), loss.V * loss.C),
                        take(context, of_logits, chunk * stride)};
  launch(context, find_targets, blocks(1), row_threads, 0, space.index, space.counted, loss.targets, loss.N, padded);
  return space;
}

// Calls body(index, first) for each chunk whose logits have been made: its rows' indices, and how many rows went before.
template <class Body>
void for_chunks(Context& context, const Loss& loss, const LossSpace& space, const Body& body) {
  for (int64_t first = 0; first < space.chunks * space.chunk; first += space.chunk) {
    const int32_t* index = space.index + first;
    launch(context, gather_rows, blocks(space.chunk), 256, 0, space.hidden, loss.hidden, index, loss.C);
    multiply(context, {space.chunk,
                       loss.V,
                       loss.C,
                       {space.hidden.data, loss.C, false},
                       {space.table, loss.C, true},
                       context.precision,
                       space.logits,
                       space.stride});
    body(index, first);
  }
}

void make_gradient(Context& context, const Loss& loss, const LossSpace& space, const int32_t* index, float* of_row,
                   const float* dloss) {
  launch(context, logits_gradient, blocks(space.chunk), row_threads, 0, space.logits, In(space.logits), of_row,
         index, loss.targets,
         space.counted, dloss, loss.V, space.stride);
}

// dhidden, and each counted row's log-probability where of_row is given.
void backward_hidden(Context& context, Out dhidden, float* of_row, const float* dloss, const Loss& loss,
                     const LossSpace& space) {
  const Out result = take(context, dhidden.storage, space.chunk * loss.C);
  zero_bytes(context, dhidden.data, static_cast<size_t>(loss.N * loss.C) * bytes_of(dhidden.storage));
  for_chunks(context, loss, space, [&](const int32_t* index, int64_t first) {
    make_gradient(context, loss, space, index, of_row == nullptr ? nullptr : of_row + first, dloss);
    multiply(context, {space.chunk,
                       loss.C,
                       loss.V,
                       {space.logits.data, space.stride, false},
                       {space.table, loss.C, false},
                       context.precision,
                       result,
                       loss.C});
    launch(context, scatter_rows, blocks(space.chunk), 256, 0, dhidden, In(result), index, loss.C);
  });
}

}  // namespace

size_t loss_shared(const Loss&) { return 0; }

void cross_entropy_forward(Context& context, float* mean, const Loss& loss) {
  const LossSpace space = prepare(context, loss, Storage::float32);
  float* of_row = context.take<float>(space.padded);
  for_chunks(context, loss, space, [&](const int32_t* index, int64_t first) {
    launch(context, log_probs_forward, blocks(space.chunk), row_threads, 0, of_row + first, nullptr, In(space.logits),
           index, loss.targets, loss.V, space.stride);
  });
  launch(context, mean_loss, blocks(1), 1024, 0, mean, of_row, space.counted);
}

void cross_entropy_backward_hidden(Context& context, Out dhidden, const float* dloss, const Loss& loss) {
  backward_hidden(context, dhidden, nullptr, dloss, loss, prepare(context, loss, storage_of(context.precision)));
}

void cross_entropy_with_gradient(Context& context, float* mean, Out dhidden, const float* dloss, const Loss& loss) {
  const LossSpace space = prepare(context, loss, storage_of(context.precision));
  float* of_row = context.take<float>(space.padded);
  backward_hidden(context, dhidden, of_row, dloss, loss, space);
  launch(context, mean_loss, blocks(1), 1024, 0, mean, of_row, space.counted);
}

void cross_entropy_backward_table(Context& context, float* dtable, const float* dloss, const Loss& loss) {
  const LossSpace space = prepare(context, loss, storage_of(context.precision));
  if (space.chunks == 0) zero_bytes(context, dtable, static_cast<size_t>(loss.V * loss.C) * sizeof(float));
  for_chunks(context, loss, space, [&](const int32_t* index, int64_t first) {
    make_gradient(context, loss, space, index, nullptr, dloss);
    Product product{loss.V,
                    loss.C,
                    space.chunk,
                    {space.logits.data, space.stride, true},
                    {space.hidden.data, loss.C, false},
                    context.precision,
                    dtable,
                    loss.C};
    if (first > 0) product.added = dtable;
    multiply(context, product);
  });
}

void token_log_prob(Context& context, float* y, const Loss& loss) {
  const LossSpace space = prepare(context, loss, Storage::float32);
  zero_bytes(context, y, static_cast<size_t>(loss.N) * sizeof(float));
  for_chunks(context, loss, space, [&](const int32_t* index, int64_t) {
    launch(context, log_probs_forward, blocks(space.chunk), row_threads, 0, nullptr, y, In(space.logits), index,
           loss.targets, loss.V, space.stride);
  });
}

}  // namespace pipe::cuda
