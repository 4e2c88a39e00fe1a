// Matrix products on the GPU, through cuBLASLt.
#pragma once

#include <cublasLt.h>

#include <map>
#include <memory>
#include <tuple>

#include "../kernels/activation.h"
#include "context.h"

namespace pipe::cuda {

// An operand as it lies in memory, row by row, `stride` elements apart; transposed, it stands for the matrix whose
// columns are its rows. Both operands of a product have elements of one type.
struct Factor {
  const void* data;
  int64_t stride;
  bool transposed;
  int64_t batch_stride = 0;  // elements from one matrix of a batch to the next
};

// c[m, n] = a[m, k] b[k, n] (+ bias[n]) (+ added[m, n]) for each of a batch, summed in float32 and stored as c is.
struct Product {
  int64_t m, n, k;
  Factor a, b;
  Precision elements;  // of a and b: float32, or bf16
  Out c;
  int64_t c_stride;
  const void* bias = nullptr;   // stored as c is
  const void* added = nullptr;  // stored as c is, with c's stride; may be c
  int64_t batch = 1;
  int64_t c_batch_stride = 0;
};

// Queues a product. float32 factors are multiplied as such, without TF32.
void multiply(Context&, const Product&);

// The algorithm of each kind of product, chosen once: cuBLASLt's first proposal, and not the fastest measured, so that
// every load of a program gives the same bits.
class Gemms {
 public:
  Gemms();
  ~Gemms();
  Gemms(const Gemms&) = delete;
  Gemms& operator=(const Gemms&) = delete;

 private:
  friend void multiply(Context&, const Product&);
  struct Chosen;
  // Sizes, strides, transpositions, storages, bias, what is added, batch, alignments.
  using Key = std::vector<int64_t>;
  const Chosen& choose(const Product&);

  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, std::unique_ptr<Chosen>> chosen_;
};

// Why cuBLASLt cannot be used, or "".
std::string gemm_unavailable();

}  // namespace pipe::cuda
