// NF4 codes to numbers.
#include "nf4.h"

#include <algorithm>

#include "bf16.h"
#include "simd.h"

namespace pipe {

namespace {

constexpr int codes = 16;

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

}  // namespace pipe
