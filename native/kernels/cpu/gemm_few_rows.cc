// Products with few rows: dot products straight from the stored rows of B, each read once.
#include <algorithm>

#include "gemm.h"
#include "gemm_pack.h"
#include "simd.h"

namespace pipe {

namespace {

constexpr int most_rows = 8;

// C[m, columns] for `columns` stored rows of B, m * columns accumulators at a time.
template <int m, int columns>
void dot_rows(const Product& product, int64_t j, float* buffer) {
  Floats sums[m][columns] = {};
  for (int64_t p = 0; p < product.k; p += gemm_block_k) {
    const int64_t k = std::min(gemm_block_k, product.k - p);
    const float* rows[columns];
    for (int r = 0; r < columns; ++r) rows[r] = read_row(product.b, j + r, p, k, buffer + r * gemm_block_k);
    for_vectors(0, k, [&](int64_t q, int64_t n) {
      for (int r = 0; r < columns; ++r) {
        const Floats row = load(rows[r] + q, n);
        for (int i = 0; i < m; ++i) sums[i][r] += load(product.a.data + i * product.a.stride + p + q, n) * row;
      }
    });
  }
  for (int i = 0; i < m; ++i)
    for (int r = 0; r < columns; ++r) {
      float* c = product.c + i * product.stride + j + r;
      const float start = product.accumulate ? *c : product.bias != nullptr ? product.bias[j + r] : 0.0f;
      *c = start + sum(sums[i][r]);
    }
}

template <int m>
void multiply(const Product& product, float* buffer) {
  // Eight accumulators hide the latency of a multiply-add and fit any register file.
  constexpr int columns = std::max(1, 8 / m);
  int64_t j = 0;
  for (; j + columns <= product.n; j += columns) dot_rows<m, columns>(product, j, buffer);
  for (; j < product.n; ++j) dot_rows<m, 1>(product, j, buffer);
}

template <int... rows>
void multiply_rows(const Product& product, float* buffer, std::integer_sequence<int, rows...>) {
  static constexpr void (*table[])(const Product&, float*) = {multiply<rows + 1>...};
  table[product.m - 1](product, buffer);
}

}  // namespace

bool has_few_rows(const Product& product) {
  return product.b.transposed && !product.a.transposed && product.m <= most_rows;
}

void gemm_few_rows(const Product& product, float* packing) {
  multiply_rows(product, packing, std::make_integer_sequence<int, most_rows>{});
}

}  // namespace pipe
