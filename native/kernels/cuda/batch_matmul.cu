// Products of float32 matrices, in float32, through cuBLASLt.
#include "../../cuda/gemm.h"

#include "../kernels.h"

namespace pipe::cuda {

void batch_matmul(Context& context, float* c, const float* a, const float* b, const BatchShape& s) {
  Product product{s.m,
                  s.n,
                  s.k,
                  {a, s.transpose_a ? s.m : s.k, s.transpose_a, s.m * s.k},
                  {b, s.transpose_b ? s.k : s.n, s.transpose_b, s.k * s.n},
                  Precision::float32,
                  c,
                  s.n};
  product.batch = s.batch;
  product.c_batch_stride = s.m * s.n;
  multiply(context, product);
}

}  // namespace pipe::cuda
