// The cache of keys and values, and the attention of one new position over it.
#include "launch.cuh"

namespace pipe::cuda {

namespace {

void require_positions(Context& context, const int32_t* positions, const CacheShape& s) {
  context.require(positions, s.B, {"positions", "the cache holds positions", s.P, false});
}

// out[b, positions[b]] = part of qkv[b]: a block a sequence.
__global__ void cache_write_forward(float* out, const float* qkv, const int32_t* positions, int64_t part, int64_t P,
                                    int64_t C) {
  const int64_t b = blockIdx.x;
  float* row = out + (b * P + positions[b]) * C;
  for (int64_t c = threadIdx.x; c < C; c += blockDim.x) row[c] = qkv[(3 * b + part) * C + c];
}

// y[b, head] from qkv[b], rows 0 .. positions[b] of keys and values: a block a head of a sequence. The scores, P floats, lie
// in shared memory. A warp takes a key, so that reads of keys are coalesced; a thread takes a column of the values.
__global__ void cached_attention_forward(float* y, const float* qkv, const float* keys, const float* values,
                                         const int32_t* positions, int64_t P, int64_t C, int width) {
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
  for (int i = threadIdx.x; i < width; i += blockDim.x) {
    float mixed = 0;
    for (int64_t t = 0; t < seen; ++t) mixed += scores[t] * v[t * C + i];
    y[b * C + column + i] = mixed / total;
  }
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
  launch(context, cached_attention_forward, blocks(s.heads, s.B), 256, shared, y, qkv, keys, values, positions, s.P, s.C,
         static_cast<int>(s.C / s.heads));
}

}  // namespace pipe::cuda
