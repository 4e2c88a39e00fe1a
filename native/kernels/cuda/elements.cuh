// Elements of activations and weights on the device: one or eight at a time, as floats, whatever their storage.
#pragma once

#include "launch.cuh"

namespace pipe::cuda {

__device__ inline float load(const In& x, int64_t i) {
  return x.storage == Storage::bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(x.data)[i])
                                    : static_cast<const float*>(x.data)[i];
}

__device__ inline void store(const Out& y, int64_t i, float value) {
  if (y.storage == Storage::bf16)
    static_cast<__nv_bfloat16*>(y.data)[i] = __float2bfloat16_rn(value);
  else
    static_cast<float*>(y.data)[i] = value;
}

__device__ inline void unpack(float (&v)[8], const uint4& halves) {
  const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&halves);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    v[2 * i] = pair.x;
    v[2 * i + 1] = pair.y;
  }
}

__device__ inline uint4 pack(const float (&v)[8]) {
  uint4 halves;
  __nv_bfloat162* pairs = reinterpret_cast<__nv_bfloat162*>(&halves);
#pragma unroll
  for (int i = 0; i < 4; ++i) pairs[i] = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
  return halves;
}

// `width` neighbours: 8, where element i lies at a multiple of 16 bytes, or 1.
template <int width>
__device__ inline void load(float (&v)[width], const In& x, int64_t i) {
  if constexpr (width == 1) {
    v[0] = load(x, i);
  } else if (x.storage == Storage::bf16) {
    unpack(v, *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(x.data) + i));
  } else {
    const float4* four = reinterpret_cast<const float4*>(static_cast<const float*>(x.data) + i);
    *reinterpret_cast<float4*>(v) = four[0];
    *reinterpret_cast<float4*>(v + 4) = four[1];
  }
}

template <int width>
__device__ inline void store(const Out& y, int64_t i, const float (&v)[width]) {
  if constexpr (width == 1) {
    store(y, i, v[0]);
  } else if (y.storage == Storage::bf16) {
    *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(y.data) + i) = pack(v);
  } else {
    float4* four = reinterpret_cast<float4*>(static_cast<float*>(y.data) + i);
    four[0] = *reinterpret_cast<const float4*>(v);
    four[1] = *reinterpret_cast<const float4*>(v + 4);
  }
}

// Eight neighbours as a value.
struct Eight {
  float v[8];
  __device__ Eight(const In& x, int64_t i) { load(v, x, i); }
};

}  // namespace pipe::cuda
