// The loss of a tied output layer, its gradients, and log-probabilities: logits exist for a chunk of rows at a time,
// and only for rows that have a target.
#include "factors.cuh"

namespace pipe::cuda {

namespace {

// Rows whose logits exist at once. The program's scratch of 64 rows suits a CPU's caches; here a product of 64 rows
// would be over before the table, which is read for every chunk, has arrived.
constexpr int64_t chunk_rows = 256;
constexpr int row_threads = 1024;

// Workspace: which rows count, and a chunk's rows and logits. The stride of logits is a multiple of 8, so that rows of
// floats and of halves begin where the tensor cores' loads can.
struct LossSpace {
  int64_t chunk, stride, chunks;
  int32_t* index;    // [chunks * chunk]: row in hidden, -1 past the last counted
  int32_t* counted;  // [1]
  void* hidden;      // [chunk, C], in the context's precision
  const void* table;
  float* logits;  // [chunk, stride]
};

// index[padded] = the positions of targets that are not negative, in order, then -1; counted[1] = how many. One block,
// which takes 1024 targets at a time: a warp counts by ballot, the warps' counts are added in order.
__global__ void find_targets(int32_t* index, int32_t* counted, const int32_t* targets, int64_t N, int64_t padded) {
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

__device__ void store(float* out, float value) { *out = value; }
__device__ void store(__nv_bfloat16* out, float value) { *out = __float2bfloat16_rn(value); }

// out[row, C] = hidden[index[row]], zeros where there is none: a block a row.
template <class Element>
__global__ void gather_rows(Element* out, const float* hidden, const int32_t* index, int64_t C) {
  const int32_t from = index[blockIdx.x];
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
    store(out + blockIdx.x * C + c, from < 0 ? 0.0f : hidden[from * C + c]);
}

// out[index[row], C] = rows[row, C]
__global__ void scatter_rows(float* out, const float* rows, const int32_t* index, int64_t C) {
  const int32_t to = index[blockIdx.x];
  if (to < 0) return;
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x) out[to * C + c] = rows[blockIdx.x * C + c];
}

struct Normalizer {
  float largest;
  float total;  // of exp(logit - largest)
};

// Four logits of a row, minus infinity past its end. Rows begin at multiples of 32 bytes and are as long as a stride.
__device__ float4 four_logits(const float* logits, int64_t v, int64_t V) {
  float4 x = *reinterpret_cast<const float4*>(logits + v);
  if (v + 1 >= V) x.y = -INFINITY;
  if (v + 2 >= V) x.z = -INFINITY;
  if (v + 3 >= V) x.w = -INFINITY;
  return x;
}

// Of a row of V logits, in every thread of its block: one pass, each thread with a maximum and sum of its own.
__device__ Normalizer normalizer_of(const float* logits, int64_t V) {
  float largest = -INFINITY;
  float total = 0;
  for (int64_t v = threadIdx.x * 4; v < V; v += blockDim.x * 4) {
    const float4 x = four_logits(logits, v, V);
    const float most = fmaxf(largest, fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)));
    total = total * expf(largest - most) + expf(x.x - most) + expf(x.y - most) + expf(x.z - most) + expf(x.w - most);
    largest = most;
  }
  const float of_row = block_max(largest);
  return {of_row, block_sum(total * expf(largest - of_row))};
}

// of_row[row] = log softmax(logits)[target], and the same to y[index[row]] where y is given: a block a row.
__global__ void log_probs_forward(float* of_row, float* y, const float* logits, const int32_t* index,
                                  const int32_t* targets, int64_t V, int64_t stride) {
  const int32_t row = index[blockIdx.x];
  if (row < 0) return;
  const float* of = logits + blockIdx.x * stride;
  const Normalizer n = normalizer_of(of, V);
  if (threadIdx.x != 0) return;
  const float log_prob = of[targets[row]] - n.largest - logf(n.total);
  if (of_row != nullptr) of_row[blockIdx.x] = log_prob;
  if (y != nullptr) y[row] = log_prob;
}

// gradient[row, V] = (softmax(logits) - 1 at the target) * dloss / counted; zeros for rows past the last. gradient may
// be the logits: a thread writes what it alone reads after the normalizer is known.
template <class Element>
__global__ void logits_gradient(Element* gradient, const float* logits, const int32_t* index, const int32_t* targets,
                                const int32_t* counted, const float* dloss, int64_t V, int64_t stride) {
  const int32_t row = index[blockIdx.x];
  const float* of = logits + blockIdx.x * stride;
  Element* out = gradient + blockIdx.x * stride;
  if (row < 0) {
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x) store(out + v, 0.0f);
    return;
  }
  const Normalizer n = normalizer_of(of, V);
  const float factor = *dloss / static_cast<float>(*counted);
  const int32_t target = targets[row];
  const float share = factor / n.total;
  for (int64_t v = threadIdx.x * 4; v < V; v += blockDim.x * 4) {
    const float4 x = four_logits(of, v, V);
    const float e[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (v + i < V) store(out + v + i, expf(e[i] - n.largest) * share - (v + i == target ? factor : 0.0f));
  }
}

// loss[1] = minus the mean of the counted rows' log-probabilities: one block, in float64.
__global__ void mean_loss(float* loss, const float* of_row, const int32_t* counted) {
  double total = 0;
  for (int64_t i = threadIdx.x; i < *counted; i += blockDim.x) total -= of_row[i];
  total = block_sum(total);
  if (threadIdx.x == 0) *loss = *counted == 0 ? 0.0f : static_cast<float>(total / *counted);
}

LossSpace prepare(Context& context, const Loss& loss) {
  context.require(loss.targets, loss.N, {"targets", "the table has rows", loss.V, true});
  LossSpace space{};
  space.chunk = std::min(loss.N, chunk_rows);
  space.stride = ceil_div(loss.V, 8) * 8;
  space.chunks = context.chunks_with_target(loss.targets, loss.N, space.chunk);
  const int64_t padded = ceil_div(loss.N, space.chunk) * space.chunk;
  space.index = context.take<int32_t>(padded);
  space.counted = context.take<int32_t>(1);
  space.hidden = context.take<std::byte>(space.chunk * loss.C * (context.precision == Precision::bf16 ? 2 : 4));
  space.table = as_factor(context, loss.table, loss.V * loss.C);
  space.logits = context.take<float>(space.chunk * space.stride);
  launch(context, find_targets, blocks(1), row_threads, 0, space.index, space.counted, loss.targets, loss.N, padded);
  return space;
}

// Makes the logits of chunk `i`, and returns the indices of its rows.
const int32_t* make_logits(Context& context, const Loss& loss, const LossSpace& space, int64_t i) {
  const int32_t* index = space.index + i * space.chunk;
  if (context.precision == Precision::bf16)
    launch(context, gather_rows<__nv_bfloat16>, blocks(space.chunk), 256, 0, static_cast<__nv_bfloat16*>(space.hidden),
           loss.hidden, index, loss.C);
  else
    launch(context, gather_rows<float>, blocks(space.chunk), 256, 0, static_cast<float*>(space.hidden), loss.hidden,
           index, loss.C);
  multiply(context, {space.chunk,
                     loss.V,
                     loss.C,
                     {space.hidden, loss.C, false},
                     {space.table, loss.C, true},
                     context.precision,
                     space.logits,
                     space.stride});
  return index;
}

// The loss's gradient with respect to a chunk's logits, in the context's precision: over them, or in `halves`.
const void* make_gradient(Context& context, const Loss& loss, const LossSpace& space, const int32_t* index,
                          const float* dloss, __nv_bfloat16* halves) {
  if (halves == nullptr) {
    launch(context, logits_gradient<float>, blocks(space.chunk), row_threads, 0, space.logits, space.logits, index,
           loss.targets, space.counted, dloss, loss.V, space.stride);
    return space.logits;
  }
  launch(context, logits_gradient<__nv_bfloat16>, blocks(space.chunk), row_threads, 0, halves, space.logits, index,
         loss.targets, space.counted, dloss, loss.V, space.stride);
  return halves;
}

__nv_bfloat16* take_halves(Context& context, const LossSpace& space) {
  return context.precision == Precision::bf16 ? context.take<__nv_bfloat16>(space.chunk * space.stride) : nullptr;
}

}  // namespace

size_t loss_shared(const Loss&) { return 0; }

void cross_entropy_forward(Context& context, float* mean, const Loss& loss) {
  const LossSpace space = prepare(context, loss);
  float* of_row = context.take<float>(ceil_div(loss.N, space.chunk) * space.chunk);
  for (int64_t i = 0; i < space.chunks; ++i) {
    const int32_t* index = make_logits(context, loss, space, i);
    launch(context, log_probs_forward, blocks(space.chunk), row_threads, 0, of_row + i * space.chunk, nullptr,
           space.logits, index, loss.targets, loss.V, space.stride);
  }
  launch(context, mean_loss, blocks(1), 1024, 0, mean, of_row, space.counted);
}

void cross_entropy_backward_hidden(Context& context, float* dhidden, const float* dloss, const Loss& loss) {
  const LossSpace space = prepare(context, loss);
  __nv_bfloat16* halves = take_halves(context, space);
  float* result = context.take<float>(space.chunk * loss.C);
  zero_bytes(context, dhidden, static_cast<size_t>(loss.N * loss.C) * sizeof(float));
  for (int64_t i = 0; i < space.chunks; ++i) {
    const int32_t* index = make_logits(context, loss, space, i);
    const void* gradient = make_gradient(context, loss, space, index, dloss, halves);
    multiply(context, {space.chunk,
                       loss.C,
                       loss.V,
                       {gradient, space.stride, false},
                       {space.table, loss.C, false},
                       context.precision,
                       result,
                       loss.C});
    launch(context, scatter_rows, blocks(space.chunk), 256, 0, dhidden, result, index, loss.C);
  }
}

void cross_entropy_backward_table(Context& context, float* dtable, const float* dloss, const Loss& loss) {
  const LossSpace space = prepare(context, loss);
  __nv_bfloat16* halves = take_halves(context, space);
  if (space.chunks == 0) zero_bytes(context, dtable, static_cast<size_t>(loss.V * loss.C) * sizeof(float));
  for (int64_t i = 0; i < space.chunks; ++i) {
    const int32_t* index = make_logits(context, loss, space, i);
    const void* gradient = make_gradient(context, loss, space, index, dloss, halves);
    Product product{
        loss.V, loss.C, space.chunk, {gradient, space.stride, true}, {space.hidden, loss.C, false}, context.precision,
        dtable, loss.C};
    product.accumulates = i > 0;
    multiply(context, product);
  }
}

void token_log_prob(Context& context, float* y, const Loss& loss) {
  const LossSpace space = prepare(context, loss);
  zero_bytes(context, y, static_cast<size_t>(loss.N) * sizeof(float));
  for (int64_t i = 0; i < space.chunks; ++i) {
    const int32_t* index = make_logits(context, loss, space, i);
    launch(context, log_probs_forward, blocks(space.chunk), row_threads, 0, nullptr, y, space.logits, index,
           loss.targets, loss.V, space.stride);
  }
}

}  // namespace pipe::cuda
