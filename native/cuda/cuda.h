// The door to CUDA: which GPUs there are, and programs loaded on one. cuda.cc opens it; absent.cc stands for it in a
// build without nvcc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../executor.h"

namespace pipe::cuda {

// What matrix products and attention multiply in. Sums are float32 in both.
// `float32` rounds nothing, whatever the weights are stored in; `bf16` rounds activations to bf16 as they enter a
// product.
enum class Precision { float32, bf16 };

// Names of the GPUs that this process may use, in the driver's order; programs run on the first.
std::vector<std::string> device_names();
// Why there is none, or "".
std::string why_none();

struct Memory {
  size_t free, total;
};
// What the driver says of the first GPU. Throws ProgramError where there is none.
Memory memory();

// An executor that can also be timed on the GPU's own clock.
class CudaExecutor : public Executor {
 public:
  using Executor::Executor;
  // Runs `count` times and returns the milliseconds of each, by events.
  virtual std::vector<float> time(int count) = 0;
  // Runs once, call by call, and returns the milliseconds of each call by events, with what its launches cost the host.
  virtual std::vector<float> profile() = 0;
};

// Loads a program on the first GPU. Throws ProgramError where there is none, or too little memory.
std::unique_ptr<CudaExecutor> load(Program program, Precision precision);

}  // namespace pipe::cuda
