// Products of float32 matrices, in float32: cuBLASLt, or a thin product where the result has few rows (a LoRA
// gradient).
#include "../../cuda/gemm.h"
#include "thin.cuh"

namespace pipe::cuda {

namespace {
constexpr int64_t most_thin_rows = 64;
}

void batch_matmul(Context& context, float* c, const float* a, const float* b, const BatchShape& s) {
  if (s.batch == 1 && s.transpose_a && !s.transpose_b && s.m <= most_thin_rows)
    return thin_gradient(context, c, b, a, {s.k, s.n, s.n, s.m, 1, s.n});
  multiply(context, {s.m,
                     s.n,
                     s.k,
                     {a, s.transpose_a ? s.m : s.k, s.transpose_a, s.m * s.k},
                     {b, s.transpose_b ? s.k : s.n, s.transpose_b, s.k * s.n},
                     Precision::float32,
                     c,
                     s.n,
                     nullptr,
                     false,
                     s.batch,
                     s.m * s.n});
}

}  // namespace pipe::cuda
