// Operands of products in the precision that the context asks for: converted into workspace where they are stored
// otherwise.
#pragma once

#include "../../cuda/gemm.h"
#include "nf4.cuh"

namespace pipe::cuda {

// n elements in the context's precision: where they lie, or converted.
const void* as_factor(Context&, const In&, int64_t n);
const void* as_factor(Context&, const Nf4&, int64_t n);

// n elements in a storage: where they lie, or converted; none stays none.
const void* stored_as(Context&, const In&, Storage, int64_t n);

}  // namespace pipe::cuda
