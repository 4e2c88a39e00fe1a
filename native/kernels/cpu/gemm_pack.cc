// Packing of a product's operands, with dequantization and transposition on the way.
#include "gemm_pack.h"

#include <algorithm>
#include <cstring>

#include "weights.h"

namespace pipe {

static_assert(16 * gemm_block_k >= lanes * gemm_block_k && 16 * gemm_block_k >= gemm_block_n);

namespace {

// Transposes a [rows, columns] piece, rows <= lanes: out[c * stride + r] = in[r][c]. Lanes past `rows` are written as
// zeros, so `stride` leaves room for a whole vector.
void transpose_piece(const float* const* in, int64_t rows, int64_t columns, float* out, int64_t stride) {
  Floats tile[lanes];
  int64_t c = 0;
  for (; c + lanes <= columns; c += lanes) {
    for (int64_t r = 0; r < lanes; ++r) tile[r] = r < rows ? load(in[r] + c) : Floats{};
    transpose(tile);
    for (int64_t i = 0; i < lanes; ++i) store(out + (c + i) * stride, tile[i]);
  }
  if (c == columns) return;
  for (int64_t r = 0; r < lanes; ++r) tile[r] = r < rows ? load_first(in[r] + c, columns - c) : Floats{};
  transpose(tile);
  for (int64_t i = 0; i < columns - c; ++i) store(out + (c + i) * stride, tile[i]);
}

// B as it lies: a stored row holds one p for all columns.
void pack_rows(const Right& b, int64_t k0, int64_t k, int64_t j0, int64_t n, float* packed, float* row) {
  for (int64_t p = 0; p < k; ++p) {
    const float* source = read_row(b, k0 + p, j0, n, row);
    float* target = packed + p * gemm_panel;
    int64_t j = 0;
    for (; j + gemm_panel <= n; j += gemm_panel, target += k * gemm_panel) {
      store(target, load(source + j));
      store(target + lanes, load(source + j + lanes));
    }
    if (j == n) continue;
    const int64_t left = n - j;
    store(target, left >= lanes ? load(source + j) : load_first(source + j, left));
    store(target + lanes, left > lanes ? load_first(source + j + lanes, left - lanes) : Floats{});
  }
}

// B transposed: a stored row holds one column for all p.
void pack_columns(const Right& b, int64_t k0, int64_t k, int64_t j0, int64_t n, float* packed, float* rows) {
  const int64_t padded = (n + gemm_panel - 1) / gemm_panel * gemm_panel;
  for (int64_t j = 0; j < padded; j += lanes) {
    const int64_t count = std::clamp<int64_t>(n - j, 0, lanes);
    const float* sources[lanes];
    for (int64_t r = 0; r < count; ++r) sources[r] = read_row(b, j0 + j + r, k0, k, rows + r * gemm_block_k);
    transpose_piece(sources, count, k, packed + j / gemm_panel * gemm_panel * k + j % gemm_panel, gemm_panel);
  }
}

}  // namespace

const float* read_row(const Right& b, int64_t row, int64_t begin, int64_t count, float* buffer) {
  const int64_t first = b.origin + row * b.stride + begin;
  if (b.form == Right::Form::weights) return read_weights(b.weights, first, count, buffer);
  nf4_dequantize(b.nf4, first, count, buffer);
  return buffer;
}

void pack_a(const Left& a, int64_t i0, int64_t m, int64_t k0, int64_t k, float* packed) {
  if (!a.transposed) {
    for (int64_t i = 0; i < m; ++i)
      std::memcpy(packed + i * gemm_stride_a, a.data + (i0 + i) * a.stride + k0,
                  static_cast<size_t>(k) * sizeof(float));
    return;
  }
  // A vector of p's past the block's end falls on the padding between rows of packed A.
  for (int64_t p = 0; p < k; p += lanes) {
    const int64_t count = std::min<int64_t>(lanes, k - p);
    const float* sources[lanes];
    for (int64_t r = 0; r < count; ++r) sources[r] = a.data + (k0 + p + r) * a.stride + i0;
    transpose_piece(sources, count, m, packed + p, gemm_stride_a);
  }
}

void pack_b(const Right& b, int64_t k0, int64_t k, int64_t j0, int64_t n, float* packed, float* rows) {
  (b.transposed ? pack_columns : pack_rows)(b, k0, k, j0, n, packed, rows);
}

}  // namespace pipe
