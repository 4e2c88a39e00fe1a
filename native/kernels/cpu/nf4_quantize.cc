// Quantization in blocks: scales, and the nearest code of each element.
#include "../kernels.h"
#include "simd.h"

namespace pipe {

namespace {

float largest_magnitude(const float* w, int64_t n) {
  Floats largest{};
  for_vectors(0, n, [&](int64_t i, int64_t count) {
    const Ints magnitude = reinterpret_cast<Ints>(load(w + i, count)) & 0x7fffffff;
    largest = max(largest, reinterpret_cast<Floats>(magnitude));
  });
  return max(largest);
}

// The codes of one block.
void block_codes(uint8_t* codes, const float* w, int64_t n, float scale, const float* thresholds) {
  for_vectors(0, n, [&](int64_t i, int64_t count) {
    const Floats x = scale == 0 ? Floats{} : load(w + i, count) / scale;
    Ints code{};
    for (int64_t t = 0; t < nf4_thresholds; ++t) code -= x > thresholds[t];  // true is -1
    for (int64_t lane = 0; lane < count; lane += 2)
      codes[(i + lane) / 2] = static_cast<uint8_t>(code[lane] << 4 | code[lane + 1]);
  });
}

// Calls body(block, its first element) for every block.
template <class Body>
void for_blocks(Context& context, int64_t n, int64_t block, const Body& body) {
  context.pool.split(n / block, 32768 / block, [&](int, int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) body(b, b * block);
  });
}

}  // namespace

void nf4_absmax(Context& context, float* absmax, const float* w, int64_t n, int64_t block) {
  for_blocks(context, n, block, [&](int64_t b, int64_t first) { absmax[b] = largest_magnitude(w + first, block); });
}

void nf4_codes(Context& context, uint8_t* codes, const float* w, const float* absmax, const float* thresholds, int64_t n,
               int64_t block) {
  for_blocks(context, n, block, [&](int64_t b, int64_t first) {
    block_codes(codes + first / 2, w + first, block, absmax[b], thresholds);
  });
}

void nf4_quantize(Context& context, float* absmax, uint8_t* codes, const float* w, const float* thresholds, int64_t n,
                  int64_t block) {
  for_blocks(context, n, block, [&](int64_t b, int64_t first) {
    absmax[b] = largest_magnitude(w + first, block);
    block_codes(codes + first / 2, w + first, block, absmax[b], thresholds);
  });
}

}  // namespace pipe
