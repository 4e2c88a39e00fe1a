// Quantization in blocks: scales, and the nearest code of each element.
#include "launch.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 256;

template <int width>
struct alignas(width * sizeof(float)) Neighbours {
  float v[width];

  __device__ float most() const {
    float most = 0;
#pragma unroll
    for (const float x : v) most = fmaxf(most, fabsf(x));
    return most;
  }

  // Writes their codes: of each, how many of the thresholds it is greater than once it is scaled, found by halves.
  __device__ void store_codes(uint8_t* codes, float scale, const float* above) const {
    alignas(width / 2) uint8_t packed[width / 2] = {};
#pragma unroll
    for (int e = 0; e < width; ++e) {
      const float scaled = scale == 0 ? 0 : __fdiv_rn(v[e], scale);
      int code = 0;
#pragma unroll
      for (int step = 8; step > 0; step /= 2)
        if (scaled > above[code + step - 1]) code += step;
      packed[e / 2] = static_cast<uint8_t>(packed[e / 2] << 4 | code);
    }
    if constexpr (width == 4)
      *reinterpret_cast<uint16_t*>(codes) = *reinterpret_cast<const uint16_t*>(packed);
    else
      *codes = packed[0];
  }
};

// The largest of a power of two of neighbours in a warp, in each of them.
template <int lanes>
__device__ float most_of_lanes(float x) {
  for (int step = lanes / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(whole_warp, x, step));
  return x;
}

// What both kernels do with blocks of w: scales are computed, and written where absmax is given; or else they are read
// from `scales`. Codes are written where they are asked for.

// A warp takes a block, two elements a lane each time. The second reading of w meets the first-level cache.
__global__ void __launch_bounds__(threads)
    quantize_any(Former former, float* absmax, uint8_t* codes, const float* w, const float* scales,
                 const float* thresholds, int64_t n, int64_t block) {
  former.wait();
  __shared__ float above[nf4_thresholds];
  if (codes != nullptr && threadIdx.x < nf4_thresholds) above[threadIdx.x] = thresholds[threadIdx.x];
  __syncthreads();
  using Pair = Neighbours<2>;
  const int64_t b = (int64_t{blockIdx.x} * threads + threadIdx.x) / warp;
  const int64_t first = b * block + threadIdx.x % warp * 2;
  const int64_t end = b * block < n ? (b + 1) * block : 0;  // none for warps that have no block: they only take part
  float scale = 0;
  if (scales == nullptr) {
    for (int64_t i = first; i < end; i += 2 * warp) scale = fmaxf(scale, reinterpret_cast<const Pair*>(w + i)->most());
    scale = most_of_lanes<warp>(scale);
    if (absmax != nullptr && end != 0 && threadIdx.x % warp == 0) absmax[b] = scale;
  } else if (end != 0) {
    scale = scales[b];
  }
  if (codes == nullptr) return;
  for (int64_t i = first; i < end; i += 2 * warp)
    reinterpret_cast<const Pair*>(w + i)->store_codes(codes + i / 2, scale, above);
}

// Blocks of 64: half a warp takes four, which stay in its registers, four elements of each a lane. All are read before any
// is used, so that the reads overlap.
constexpr int64_t usual_block = 64;
constexpr int lanes = 16;
constexpr int held = 4;
constexpr int blocks_at_once = threads / lanes;

__global__ void __launch_bounds__(threads)
    quantize_usual(Former former, float* absmax, uint8_t* codes, const float* w, const float* scales,
                   const float* thresholds, int64_t n) {
  former.wait();
  __shared__ float above[nf4_thresholds];
  if (codes != nullptr && threadIdx.x < nf4_thresholds) above[threadIdx.x] = thresholds[threadIdx.x];
  __syncthreads();
  using Four = Neighbours<4>;
  const int64_t first = int64_t{blockIdx.x} * held * blocks_at_once + threadIdx.x / lanes;
  const int64_t count = n / usual_block;
  const auto block = [&](int h) { return first + h * blocks_at_once; };
  const auto element = [&](int h) { return block(h) * usual_block + threadIdx.x % lanes * 4; };
  Four x[held] = {};
#pragma unroll
  for (int h = 0; h < held; ++h)
    if (block(h) < count) x[h] = *reinterpret_cast<const Four*>(w + element(h));
#pragma unroll
  for (int h = 0; h < held; ++h) {
    const bool real = block(h) < count;
    const float scale = scales == nullptr ? most_of_lanes<lanes>(x[h].most()) : real ? scales[block(h)] : 0.0f;
    if (!real) continue;
    if (absmax != nullptr && threadIdx.x % lanes == 0) absmax[block(h)] = scale;
    if (codes != nullptr) x[h].store_codes(codes + element(h) / 2, scale, above);
  }
}

void quantize(Context& context, float* absmax, uint8_t* codes, const float* w, const float* scales,
              const float* thresholds, int64_t n, int64_t block) {
  const int64_t count = n / block;
  if (block == usual_block)
    launch(context, quantize_usual, blocks(ceil_div(count, int64_t{held} * blocks_at_once)), threads, 0, absmax, codes,
           w, scales, thresholds, n);
  else
    launch(context, quantize_any, blocks(ceil_div(count * warp, threads)), threads, 0, absmax, codes, w, scales,
           thresholds, n, block);
}

}  // namespace

void nf4_absmax(Context& context, float* absmax, const float* w, int64_t n, int64_t block) {
  quantize(context, absmax, nullptr, w, nullptr, nullptr, n, block);
}

void nf4_codes(Context& context, uint8_t* codes, const float* w, const float* absmax, const float* thresholds, int64_t n,
               int64_t block) {
  quantize(context, nullptr, codes, w, absmax, thresholds, n, block);
}

void nf4_quantize(Context& context, float* absmax, uint8_t* codes, const float* w, const float* thresholds, int64_t n,
                  int64_t block) {
  quantize(context, absmax, codes, w, nullptr, thresholds, n, block);
}

}  // namespace pipe::cuda
