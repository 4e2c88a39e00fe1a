// Quantization in blocks: scales, and the nearest code of each element.
#include "launch.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 256;

template <int width>
struct alignas(width * sizeof(float)) Neighbours {
  float v[width];
};

// `lanes` neighbours in a warp take a block of weights, `width` elements each at a time. The scales are computed, and
// written where absmax is given; or else they are read from `scales`. Codes are written where they are asked for: the
// second reading of w meets the first-level cache.
template <int width, int lanes>
__global__ void quantize_kernel(float* absmax, uint8_t* codes, const float* w, const float* scales,
                                const float* thresholds, int64_t n, int64_t block) {
  __shared__ float above[nf4_thresholds];
  if (codes != nullptr && threadIdx.x < nf4_thresholds) above[threadIdx.x] = thresholds[threadIdx.x];
  __syncthreads();
  const int64_t b = (int64_t{blockIdx.x} * threads + threadIdx.x) / lanes;
  const int64_t first = b * block + threadIdx.x % lanes * width;
  const int64_t end = b * block < n ? (b + 1) * block : 0;  // none for lanes that have no block: they only take part
  const auto load = [&](int64_t i) { return *reinterpret_cast<const Neighbours<width>*>(w + i); };
  float scale = 0;
  if (scales == nullptr) {
    for (int64_t i = first; i < end; i += width * lanes) {
      const Neighbours<width> x = load(i);
#pragma unroll
      for (const float v : x.v) scale = fmaxf(scale, fabsf(v));
    }
    for (int step = lanes / 2; step > 0; step /= 2) scale = fmaxf(scale, __shfl_xor_sync(whole_warp, scale, step));
    if (absmax != nullptr && end != 0 && threadIdx.x % lanes == 0) absmax[b] = scale;
  } else if (end != 0) {
    scale = scales[b];
  }
  if (codes == nullptr) return;
  for (int64_t i = first; i < end; i += width * lanes) {
    const Neighbours<width> x = load(i);
    alignas(width / 2) uint8_t packed[width / 2] = {};
#pragma unroll
    for (int e = 0; e < width; ++e) {
      const float scaled = scale == 0 ? 0 : __fdiv_rn(x.v[e], scale);
      int code = 0;  // by halves: how many thresholds it is greater than
#pragma unroll
      for (int step = 8; step > 0; step /= 2)
        if (scaled > above[code + step - 1]) code += step;
      packed[e / 2] = static_cast<uint8_t>(packed[e / 2] << 4 | code);
    }
    if constexpr (width == 4)
      *reinterpret_cast<uint16_t*>(codes + i / 2) = *reinterpret_cast<const uint16_t*>(packed);
    else
      codes[i / 2] = packed[0];
  }
}

// Blocks of 64 are taken by half a warp, four elements a lane; others by a warp, in pairs.
void quantize(Context& context, float* absmax, uint8_t* codes, const float* w, const float* scales,
              const float* thresholds, int64_t n, int64_t block) {
  const auto by = [&](auto kernel, int lanes) {
    launch(context, kernel, blocks(ceil_div(n / block * lanes, threads)), threads, 0, absmax, codes, w, scales,
           thresholds, n, block);
  };
  if (block == 64)
    by(quantize_kernel<4, 16>, 16);
  else
    by(quantize_kernel<2, 32>, 32);
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
