// The CPU runtime: an arena, a program resolved to steps over raw addresses, and the loop that runs them.
#pragma once

#include <memory>
#include <vector>

#include "../context.h"
#include "../executor.h"
#include "../kernels/registry.h"

namespace pipe {

// Memory aligned to a cache line (and vector), zeroed.
class AlignedMemory {
 public:
  explicit AlignedMemory(size_t bytes);
  std::byte* data() const { return data_; }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  std::byte* data_;  // the first aligned byte of it
};

// A program loaded for the CPU. The constructor checks every call and throws ProgramError naming the first that is
// wrong.
class CpuExecutor : public Executor {
 public:
  CpuExecutor(Program program, int threads);

  void run() override;
  void write(int index, const std::byte* bytes) override;
  void read(int index, std::byte* bytes) override;
  size_t workspace_bytes() const override { return workspace_bytes_; }

 private:
  void resolve_calls();
  Regions regions() const { return {arena_.data(), paged_.data()}; }

  AlignedMemory arena_;
  AlignedMemory paged_;
  Pool pool_;
  std::vector<Step> steps_;
  std::unique_ptr<AlignedMemory> workspace_;
  size_t workspace_bytes_ = 0;
  Context context_;
};

}  // namespace pipe
