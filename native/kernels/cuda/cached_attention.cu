// The cache of keys and values, and the attention of one new position over it.
#include "launch.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 1024;

void require_positions(Context& context, const int32_t* positions, const CacheShape& s) {
  context.require(positions, s.B, {"positions", "the cache holds positions", s.P, false});
}

// out[b, positions[b]] = part of qkv[b]: a block a sequence.
__global__ void cache_write_forward(Former former, float* out, const float* qkv, const int32_t* positions, int64_t part,
                                    int64_t P, int64_t C) {
  former.wait();
  const int64_t b = blockIdx.x;
  float* row = out + (b * P + positions[b]) * C;
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x) row[c] = qkv[(3 * b + part) * C + c];
}

// y[b, head] from qkv[b], rows 0 .. positions[b] of keys and values: a block a head of a sequence. The scores, P
// floats, lie in shared memory. A warp takes a key, so that reads of keys are coalesced; a thread takes a column of the
// values, of some keys.
__global__ void cached_attention_forward(Former former, float* y, const float* qkv, const float* keys,
                                         const float* values, const int32_t* positions, int64_t P, int64_t C,
                                         int width) {
  former.wait();
  extern __shared__ float scores[];
  const int64_t b = blockIdx.y;
  const int64_t column = int64_t{blockIdx.x} * width;
  const int64_t seen = positions[b] + 1;
  const float* q = qkv + b * 3 * C + column;
  const float* k = keys + b * P * C + column;
  const float* v = values + b * P * C + column;
  const int lane = threadIdx.x % warp;
  const float scale = 1 / sqrtf(static_cast<float>(width));
  for (int64_t t = threadIdx.x / warp; t < seen; t += blockDim.x / warp) {
    float total = 0;
    for (int i = lane; i < width; i += warp) total += q[i] * k[t * C + i];
    total = warp_sum(total);
    if (lane == 0) scores[t] = total * scale;
  }
  __syncthreads();
  float largest = -INFINITY;
  for (int64_t t = threadIdx.x; t < seen; t += blockDim.x) largest = fmaxf(largest, scores[t]);
  largest = block_max(largest);
  float total = 0;
  for (int64_t t = threadIdx.x; t < seen; t += blockDim.x) {
    scores[t] = expf(scores[t] - largest);
    total += scores[t];
  }
  total = block_sum(total);
  __syncthreads();
  // Where a head is narrower than the block, the keys are cut among groups of threads, and the groups' sums added in
  // order.
  __shared__ float of_group[threads];
  const int groups = max(1, threads / width);
  const int group = threadIdx.x / width;
  for (int i = groups > 1 ? threadIdx.x % width : threadIdx.x; i < width; i += threads) {
    float mixed = 0;
    if (group < groups || groups == 1) {
#pragma unroll 8
      for (int64_t t = groups > 1 ? group : 0; t < seen; t += groups) mixed += scores[t] * v[t * C + i];
    }
    if (groups == 1)
      y[b * C + column + i] = mixed / total;
    else
      of_group[threadIdx.x] = mixed;
  }
  if (groups == 1) return;
  __syncthreads();
  if (threadIdx.x >= width) return;
  float mixed = 0;
  for (int g = 0; g < groups; ++g) mixed += of_group[g * width + threadIdx.x];
  y[b * C + column + threadIdx.x] = mixed / total;
}

}  // namespace

void cache_write(Context& context, float* out, const float* cache, const float* qkv, const int32_t* positions,
                 int64_t part, const CacheShape& s) {
  require_positions(context, positions, s);
  if (out != cache) copy_bytes(context, out, cache, static_cast<size_t>(s.B * s.P * s.C) * sizeof(float));
  launch(context, cache_write_forward, blocks(s.B), 256, 0, out, qkv, positions, part, s.P, s.C);
}

void cached_attention(Context& context, float* y, const float* qkv, const float* keys, const float* values,
                      const int32_t* positions, const CacheShape& s) {
  require_positions(context, positions, s);
  const size_t shared = static_cast<size_t>(s.P) * sizeof(float);
  launch(context, cached_attention_forward, blocks(s.heads, s.B), threads, shared, y, qkv, keys, values, positions, s.P,
         s.C, static_cast<int>(s.C / s.heads));
}

}  // namespace pipe::cuda
