// The runtime: one arena, a program resolved to steps over raw addresses, and the loop that runs them.
#pragma once

#include <memory>
#include <vector>

#include "context.h"
#include "kernels/registry.h"
#include "program.h"

namespace pipe {

// Memory aligned to a cache line (and vector), zeroed.
class AlignedMemory {
 public:
  explicit AlignedMemory(size_t bytes);
  std::byte* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> data_;
};

// A loaded program. The constructor checks every buffer and call and throws ProgramError naming the first that is
// wrong.
class Executor {
 public:
  Executor(Program program, int threads);

  // Runs every call once, in order. Throws ProgramError where data is out of range (a token id, a cache position).
  void run();

  const Buffer& buffer(int index) const;
  std::byte* data(int index) const { return arena_.data() + buffer(index).offset; }

  size_t arena_bytes() const { return program_.arena_bytes; }
  // Workspace outside the arena, fixed at load.
  size_t workspace_bytes() const { return workspace_bytes_; }
  // The end of the highest byte that any call touches.
  size_t high_water_bytes() const { return high_water_bytes_; }

 private:
  void resolve_calls();

  Program program_;
  AlignedMemory arena_;
  Pool pool_;
  std::vector<Step> steps_;
  std::unique_ptr<AlignedMemory> workspace_;
  size_t workspace_bytes_ = 0;
  size_t high_water_bytes_ = 0;
  Context context_;
};

}  // namespace pipe
