// Attention of one new token a sequence over the keys and values kept of those before it.
#include <algorithm>
#include <cstring>
#include <string>

#include "../../errors.h"
#include "../kernels.h"
#include "softmax.h"

namespace pipe {

namespace {

void check_positions(const int32_t* positions, const CacheShape& s) {
  for (int64_t b = 0; b < s.B; ++b)
    if (positions[b] < 0 || positions[b] >= s.P)
      throw DataError("positions[" + std::to_string(b) + "] is " + std::to_string(positions[b]) +
                      ", but the cache holds positions 0 to " + std::to_string(s.P - 1));
}

}  // namespace

void cache_write(Context&, float* out, const float* cache, const float* qkv, const int32_t* positions, int64_t part,
                 const CacheShape& s) {
  check_positions(positions, s);
  if (out != cache) std::memcpy(out, cache, static_cast<size_t>(s.B * s.P * s.C) * sizeof(float));
  for (int64_t b = 0; b < s.B; ++b)
    std::memcpy(out + (b * s.P + positions[b]) * s.C, qkv + (3 * b + part) * s.C,
                static_cast<size_t>(s.C) * sizeof(float));
}

void cached_attention(Context& context, float* y, const float* qkv, const float* keys, const float* values,
                      const int32_t* positions, const CacheShape& s) {
  check_positions(positions, s);
  const int64_t width = s.C / s.heads;
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  const int64_t grain = 1 + 65536 / (s.P * width);
  context.pool.split(s.B * s.heads, grain, [&](int thread, int64_t begin, int64_t end) {
    float* p = context.local_of(thread);
    for (int64_t index = begin; index < end; ++index) {
      const int64_t b = index / s.heads;
      const int64_t column = index % s.heads * width;
      const int64_t seen = positions[b] + 1;
      const float* q = qkv + b * 3 * s.C + column;
      const float* k = keys + b * s.P * s.C + column;
      const float* v = values + b * s.P * s.C + column;
      for (int64_t t = 0; t < seen; ++t)
        p[t] = sum_terms(width, [&](int64_t i, int64_t n) { return load(q + i, n) * load(k + t * s.C + i, n); });
      softmax(p, seen, scale);
      for_vectors(0, width, [&](int64_t i, int64_t n) {
        Floats total{};
        for (int64_t t = 0; t < seen; ++t) total += p[t] * load(v + t * s.C + i, n);
        store(y + b * s.C + column + i, total, n);
      });
    }
  });
}

}  // namespace pipe
