// Dropout whose mask is a hash of seed, site, step and element: the CPU's mask to the bit, and nothing to store.
#include <cmath>

#include "map.cuh"

namespace pipe::cuda {

namespace {

// Two rounds of xor-shift and multiply.
__device__ uint32_t mix(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ (h >> 16);
}

}  // namespace

// An element is kept when (hash >> 8) * 2^-24 >= rate, here in integers.
void dropout(Context& context, Out y, In x, const int32_t* step, const DropoutKey& key, int64_t n) {
  const uint32_t site = key.site * 0x9e3779b1u;
  const uint32_t seed = key.seed * 0x85ebca6bu;
  const uint32_t least = static_cast<uint32_t>(std::ceil(key.rate * 16777216.0));
  const float scale = static_cast<float>(1 / (1 - key.rate));
  const auto drop = [=] __device__(int64_t i, float v) {
    const uint32_t run = seed + static_cast<uint32_t>(*step) * 0xc2b2ae35u;
    return mix((static_cast<uint32_t>(i) ^ site) + run) >> 8 >= least ? v * scale : 0.0f;
  };
  map(context, n, y, drop, x);
}

}  // namespace pipe::cuda
