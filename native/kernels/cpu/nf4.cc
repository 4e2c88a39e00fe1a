// NF4 codes to numbers and numbers to codes.
#include "nf4.h"

#include <algorithm>
#include <cmath>

#include "bf16.h"
#include "simd.h"

namespace pipe {

namespace {

constexpr int codes = 16;
constexpr int zero_code = 7;
constexpr float codebook[codes] = {-1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f};

uint8_t code_at(const uint8_t* packed, int64_t element) {
  const uint8_t byte = packed[element / 2];
  return element % 2 == 0 ? byte >> 4 : byte & 15;
}

// The sixteen numbers that the codes of a block stand for.
void scale_codebook(const float* values, float absmax, float* table) {
  for (int i = 0; i < codes; ++i) table[i] = round_to_bf16(values[i] * absmax);
}

// count elements of one block, beginning at an even element.
void look_up(const uint8_t* packed, int64_t count, const float* table, float* out) {
  int64_t i = 0;
#if defined(__AVX512F__) && !defined(__clang__)
  // The table is one register: eight bytes become sixteen indices by shifts, and one permutation looks them up.
  const Ints shifts = {4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24};
  const Floats values = load(table);
  for (; i + lanes <= count; i += lanes) {
    int32_t words[2];
    __builtin_memcpy(words, packed + i / 2, sizeof words);
    const Ints first = Ints{} + words[0];
    const Ints second = Ints{} + words[1];
    const Ints bytes = __builtin_shuffle(first, second, Ints{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23});
    store(out + i, __builtin_shuffle(values, (bytes >> shifts) & 15));
  }
#endif
  for (; i + 2 <= count; i += 2) {
    const uint8_t byte = packed[i / 2];
    out[i] = table[byte >> 4];
    out[i + 1] = table[byte & 15];
  }
  if (i < count) out[i] = table[packed[i / 2] >> 4];
}

// thresholds[i] is the largest float32 that is not above the midpoint of codes i and i + 1. A float32 x is nearer to
// code i + 1 exactly when it is greater; on the midpoint itself it is not, so a tie goes to the lower code.
struct Thresholds {
  float values[codes - 1];
  Thresholds() {
    for (int i = 0; i < codes - 1; ++i) {
      const double middle = (static_cast<double>(codebook[i]) + codebook[i + 1]) / 2;  // exact
      const float rounded = static_cast<float>(middle);
      values[i] = rounded > middle ? std::nextafter(rounded, -1.0f) : rounded;
    }
  }
};

// The code nearest to each lane.
Ints nearest_codes(Floats x, const Thresholds& thresholds) {
  Ints code{};
  for (const float threshold : thresholds.values) code -= x > threshold;  // true is -1
  return code;
}

}  // namespace

void nf4_dequantize(const Nf4& stored, int64_t begin, int64_t count, float* out) {
  float table[codes];
  const int64_t end = begin + count;
  for (int64_t e = begin; e < end;) {
    const int64_t block = e / stored.block;
    const int64_t stop = std::min(end, (block + 1) * stored.block);
    scale_codebook(stored.codebook, stored.absmax[block], table);
    if (e % 2 != 0) *out++ = table[code_at(stored.codes, e++)];
    look_up(stored.codes + e / 2, stop - e, table, out);
    out += stop - e;
    e = stop;
  }
}

int64_t nf4_quantize(const float* w, int64_t n, int64_t block, uint8_t* packed, float* absmax) {
  const Thresholds thresholds;
  for (int64_t begin = 0; begin < n; begin += block) {
    float largest = 0;
    for (int64_t i = begin; i < begin + block; ++i) {
      if (!std::isfinite(w[i])) return i;
      largest = std::max(largest, std::fabs(w[i]));
    }
    absmax[begin / block] = largest;
    for_vectors(begin, begin + block, [&](int64_t i, int64_t count) {
      const Ints code = largest == 0 ? Ints{} + zero_code : nearest_codes(load(w + i, count) / largest, thresholds);
      for (int64_t lane = 0; lane < count; lane += 2)
        packed[(i + lane) / 2] = static_cast<uint8_t>(code[lane] << 4 | code[lane + 1]);
    });
  }
  return -1;
}

}  // namespace pipe
