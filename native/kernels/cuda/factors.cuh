// Operands of products in the precision that the context asks for: converted into workspace where they are stored
// otherwise.
#pragma once

#include "../../cuda/gemm.h"
#include "nf4.cuh"

namespace pipe::cuda {

// out[n] = the weights, as float32 or rounded to bf16.
void convert(Context&, float* out, Weights, int64_t n);
void convert(Context&, __nv_bfloat16* out, Weights, int64_t n);

// n elements in the context's precision: where they lie, or converted.
const void* as_factor(Context&, Weights, int64_t n);
inline const void* as_factor(Context& context, const float* x, int64_t n) {
  return as_factor(context, Weights{x, Storage::float32}, n);
}
const void* as_factor(Context&, const Nf4&, int64_t n);

// A bias as cuBLASLt adds it: float32, or nullptr for none.
const float* as_bias(Context&, Weights bias, int64_t n);

}  // namespace pipe::cuda
