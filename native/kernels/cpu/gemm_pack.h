// Brings blocks of a product's operands into the order in which the micro-kernel reads them.
#pragma once

#include "gemm.h"
#include "simd.h"

namespace pipe {

// Columns of C that the micro-kernel makes at a time.
inline constexpr int64_t gemm_panel = 2 * lanes;

// `count` elements of row `row` of the stored matrix, from column `begin` on, as float32: in place, or put into
// `buffer`.
const float* read_row(const Right& b, int64_t row, int64_t begin, int64_t count, float* buffer);

// A[i0 .. i0 + m, k0 .. k0 + k] -> packed[i * gemm_stride_a + p].
void pack_a(const Left& a, int64_t i0, int64_t m, int64_t k0, int64_t k, float* packed);

// B[k0 .. k0 + k, j0 .. j0 + n] -> panels of gemm_panel columns, each packed[p * gemm_panel + j], the last filled up
// with zeros. `rows` is room for `lanes` rows of gemm_block_k, or one of gemm_block_n.
void pack_b(const Right& b, int64_t k0, int64_t k, int64_t j0, int64_t n, float* packed, float* rows);

}  // namespace pipe
