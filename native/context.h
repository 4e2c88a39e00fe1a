// What a kernel may use beside its operands: threads and workspace.
#pragma once

#include <cstddef>

#include "parallel.h"

namespace pipe {

// All of it is allocated when a program is loaded, and its extent fixed then. Addresses are aligned to 64 bytes.
struct Context {
  Pool& pool;
  float* shared = nullptr;  // as many floats as the kernel asked for, one workspace for all threads
  float* local = nullptr;   // the same for each thread
  size_t local_stride = 0;
  float* packing = nullptr;  // where GEMM packs its operands, for each thread
  size_t packing_stride = 0;

  float* local_of(int thread) const { return local + local_stride * static_cast<size_t>(thread); }
  float* packing_of(int thread) const { return packing + packing_stride * static_cast<size_t>(thread); }
};

}  // namespace pipe
