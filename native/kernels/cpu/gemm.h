// Matrix products C = A B: float32 A, and B in float32, bf16 or NF4, each as it lies or transposed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../context.h"
#include "../../storage.h"
#include "nf4.h"

namespace pipe {

// A float32 matrix; row i begins at data + i * stride. Transposed, it stands for the matrix whose columns are its rows.
struct Left {
  const float* data = nullptr;
  int64_t stride = 0;
  bool transposed = false;
};

// The right operand, in the form that it is stored in. Element (i, j) as stored is number origin + i * stride + j.
struct Right {
  enum class Form { weights, nf4 };
  Form form = Form::weights;
  Weights weights;
  Nf4 nf4;
  int64_t stride = 0;
  bool transposed = false;
  int64_t origin = 0;

  static Right of(Weights w, int64_t stride, bool transposed) { return {Form::weights, w, {}, stride, transposed, 0}; }
  static Right of(const float* data, int64_t stride, bool transposed) {
    return of(Weights{data, Storage::float32}, stride, transposed);
  }
  static Right of(const Nf4& nf4, int64_t stride, bool transposed) {
    return {Form::nf4, {}, nf4, stride, transposed, 0};
  }
};

// C[m, n] = A[m, k] B[k, n] + bias[n] (or none), or C += A B. C is written whole and must not overlap the operands.
struct Product {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  Left a;
  Right b;
  float* c = nullptr;
  int64_t stride = 0;  // of C's rows
  const float* bias = nullptr;
  bool accumulate = false;
};

// Blocking: B is packed by [block_k, block_n] and A by [block_m, block_k], so that both stay in a core's second-level
// cache (512 KiB and 120 KiB) while the micro-kernel runs over them.
inline constexpr int64_t gemm_block_m = 120;
inline constexpr int64_t gemm_block_n = 512;
inline constexpr int64_t gemm_block_k = 256;
// Rows of packed A lie this far apart: a cache line more than block_k, or they would fall into few sets of the cache.
inline constexpr int64_t gemm_stride_a = gemm_block_k + 16;
// Packed A, packed B, and room for a few rows of B before they are transposed.
inline constexpr size_t gemm_packing_floats =
    static_cast<size_t>(gemm_block_m * gemm_stride_a + gemm_block_n * gemm_block_k + 16 * gemm_block_k);

// The product on one thread; `packing` holds gemm_packing_floats, aligned to 64 bytes.
// An element's sum runs over k in order, in runs of block_k: it does not depend on m, n or where C was cut.
void gemm(const Product& product, float* packing);

// The product over the pool's threads, with the same bits as on one.
void gemm(Context& context, const Product& product);

// Whether gemm_few_rows takes the product: B transposed, and too few rows in A for packing B to pay.
bool has_few_rows(const Product& product);

// The same for a product with few rows, read straight from B: dot products of rows (decoding, one token a sequence).
void gemm_few_rows(const Product& product, float* packing);

}  // namespace pipe
