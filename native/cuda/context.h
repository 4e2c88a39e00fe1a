// What a CUDA kernel may use beside its operands: a stream, workspace, GEMMs, and what the host knows of the integers
// it wrote.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "../errors.h"
#include "../program.h"
#include "cuda.h"

namespace pipe::cuda {

class Gemms;
class Prefetch;

// Throws ProgramError with the driver's words.
void check(cudaError_t status, const char* what);

// A limit on the integers in an input: from `least` (or any negative, where negatives mean "none") to below `end`.
struct Range {
  const char* name;   // of the operand: "ids"
  const char* holds;  // what sets the limit: "the table has rows"
  int64_t end;
  bool negative_allowed;
};

// Integers that the host wrote last, by where they lie on the device. No kernel reads integers that one wrote, so the host's copy is
// what the kernels will read: it is checked before a run, and it says how many rows of a loss have a target.
using HostIntegers = std::map<const int32_t*, std::vector<int32_t>>;

// A loaded program's kernels go through one Context three times. First they are planned: nothing is launched, workspace
// is counted, GEMM algorithms are chosen, requirements on integers are noted. Then they are run, call by call, so that
// code is loaded and an error has a name. Then they are captured into a graph.
class Context {
 public:
  Context(Gemms& gemms, Prefetch& prefetch, cudaStream_t stream, Precision precision, const HostIntegers& integers)
      : gemms(gemms), prefetch(prefetch), stream(stream), precision(precision), integers_(integers) {}

  Gemms& gemms;
  Prefetch& prefetch;
  const cudaStream_t stream;
  const Precision precision;

  bool planning() const { return workspace_ == nullptr; }
  // The index of the call being made.
  size_t call() const { return call_; }

  // Workspace begins, and is counted, in multiples of this.
  static constexpr size_t alignment = 256;
  static size_t aligned(size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }
  // An address that nothing lies at, aligned as workspace is: what stands for it while planning.
  static std::byte* nowhere() { return reinterpret_cast<std::byte*>(alignment); }

  // n elements of workspace, aligned to 256 bytes, for the rest of this call. Every call begins with all of it free.
  template <class T>
  T* take(int64_t n) {
    return reinterpret_cast<T*>(take_bytes(static_cast<size_t>(n) * sizeof(T)));
  }

  // What was taken since is free again, for what is queued from now on: the stream runs it later.
  size_t taken() const { return taken_; }
  void release_to(size_t taken) { taken_ = taken; }

  // What was queued last: a kernel, behind which another may be launched early, or something else (a copy, a fill, a wait).
  void queued_kernel() { behind_kernel_ = true; }
  void queued_other() { behind_kernel_ = false; }
  bool behind_kernel() const { return behind_kernel_; }

  // Demands that `count` integers at `data` lie in a range in every run.
  void require(const int32_t* data, int64_t count, const Range& range);
  // How many pieces of `chunk` rows hold the rows that have a target (none is negative). A captured graph is for one
  // answer.
  int64_t chunks_with_target(const int32_t* targets, int64_t count, int64_t chunk);

  // ---- For the executor -----------------------------------------------------------------------------------------

  struct Requirement {
    const int32_t* data;
    int64_t count;
    Range range;
    size_t call;
  };
  struct Chunks {
    const int32_t* targets;
    int64_t count, chunk;
  };

  void begin_call(size_t index) {
    call_ = index;
    taken_ = 0;
    if (index == 0) queued_other();
    if (planning()) of_calls_.push_back(0);
  }
  void use_workspace(std::byte* memory) { workspace_ = memory; }
  // The most that each call takes.
  const std::vector<size_t>& workspace_of_calls() const { return of_calls_; }
  const std::vector<Requirement>& requirements() const { return requirements_; }
  // What decides which graph a run takes, given the integers as they are now.
  std::vector<int64_t> variant() const;

 private:
  std::byte* take_bytes(size_t bytes);
  int64_t chunks_of(const Chunks& chunks) const;

  const HostIntegers& integers_;
  std::byte* workspace_ = nullptr;
  size_t taken_ = 0;
  std::vector<size_t> of_calls_;
  size_t call_ = 0;
  bool behind_kernel_ = false;
  std::vector<Requirement> requirements_;
  std::vector<Chunks> chunks_;
};

}  // namespace pipe::cuda
