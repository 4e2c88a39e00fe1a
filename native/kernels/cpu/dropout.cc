// Dropout whose mask is a hash of seed, site, step and element, the same on every backend.
#include <cmath>

#include "../kernels.h"
#include "elements.h"
#include "simd.h"

namespace pipe {

namespace {

// Two rounds of xor-shift and multiply.
Unsigneds mix(Unsigneds h) {
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ (h >> 16);
}

}  // namespace

// An element is kept when (hash >> 8) * 2^-24 >= rate, here in integers.
void dropout(Context& context, float* y, const float* x, const int32_t* step, const DropoutKey& key, int64_t n) {
  const uint32_t site = key.site * 0x9e3779b1u;
  const uint32_t run = key.seed * 0x85ebca6bu + static_cast<uint32_t>(*step) * 0xc2b2ae35u;
  const uint32_t least = static_cast<uint32_t>(std::ceil(key.rate * 16777216.0));
  const float scale = static_cast<float>(1 / (1 - key.rate));
  Unsigneds lane_index;
  for (uint32_t lane = 0; lane < lanes; ++lane) lane_index[lane] = lane;
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    for_vectors(begin, end, [&](int64_t i, int64_t count) {
      const Unsigneds index = lane_index + static_cast<uint32_t>(i);
      const Unsigneds uniform = mix((index ^ site) + run) >> 8;
      store(y + i, uniform >= least ? load(x + i, count) * scale : Floats{}, count);
    });
  });
}

}  // namespace pipe
