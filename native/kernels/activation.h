// Activations as kernels take them: float32 on the CPU; on a GPU float32 or bf16, as the program stores each.
#pragma once

#include "../storage.h"
#include "device.h"

namespace PIPE_DEVICE {

#ifdef PIPE_FOR_CUDA
// What a kernel reads; none has no data.
struct In {
  const void* data = nullptr;
  Storage storage = Storage::float32;

  In() = default;
  In(const void* data, Storage storage) : data(data), storage(storage) {}
  In(const float* data) : data(data) {}
  explicit In(const Weights& w) : data(w.data), storage(w.storage) {}
};
// What it writes.
struct Out {
  void* data = nullptr;
  Storage storage = Storage::float32;

  Out(void* data, Storage storage) : data(data), storage(storage) {}
  Out(float* data) : data(data) {}
  operator In() const { return {data, storage}; }
};
#else
using In = const float*;
using Out = float*;
#endif

}  // namespace PIPE_DEVICE
