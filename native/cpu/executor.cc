// Loading a program (addresses, workspace) and running it on the CPU.
#include "executor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "../errors.h"
#include "../kernels/cpu/gemm.h"
#include "../kernels/operands.h"

namespace pipe {

namespace {

static_assert(gemm_packing_floats % 16 == 0);  // each thread's part begins on a cache line

constexpr size_t alignment = 64;
constexpr size_t floats_per_line = alignment / sizeof(float);

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

// Not std::aligned_alloc: in glibc 2.36 and before that often cannot use again what it was given back (sourceware bug 14581), so that
// a process which loads one program after the other would grow by each.
AlignedMemory::AlignedMemory(size_t bytes) {
  const size_t rounded = round_up(std::max<size_t>(bytes, 1), alignment);
  void* memory = std::calloc(rounded + alignment, 1);
  if (memory == nullptr) throw ProgramError("cannot allocate " + std::to_string(rounded) + " bytes");
  memory_.reset(static_cast<std::byte*>(memory));
  size_t space = rounded + alignment;
  data_ = static_cast<std::byte*>(std::align(alignment, rounded, memory, space));
}

void AlignedMemory::Free::operator()(std::byte* p) const { std::free(p); }

CpuExecutor::CpuExecutor(Program program, int threads)
    : Executor(std::move(program)), arena_(program_.arena_bytes), paged_(program_.paged_bytes), pool_(threads), context_{pool_} {
  resolve_calls();
}

void CpuExecutor::resolve_calls() {
  size_t shared = 0;
  size_t local = 0;
  for (size_t i = 0; i < program_.calls.size(); ++i) {
    Operands operands(program_, i, regions());
    const Bind bind = find_kernel(program_.calls[i].kernel);
    operands.require(bind != nullptr, "names a kernel that this runtime does not have");
    steps_.push_back(bind(operands));
    operands.finish();
    shared = std::max(shared, steps_.back().shared);
    local = std::max(local, steps_.back().local);
  }

  const size_t threads = static_cast<size_t>(pool_.threads());
  shared = round_up(shared, floats_per_line);
  local = round_up(local, floats_per_line);
  workspace_bytes_ = (shared + (local + gemm_packing_floats) * threads) * sizeof(float);
  workspace_ = std::make_unique<AlignedMemory>(workspace_bytes_);
  context_.shared = reinterpret_cast<float*>(workspace_->data());
  context_.local = context_.shared + shared;
  context_.local_stride = local;
  context_.packing = context_.local + local * threads;
  context_.packing_stride = gemm_packing_floats;
}

void CpuExecutor::run() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    try {
      steps_[i].run(context_);
    } catch (const DataError& error) {
      throw ProgramError(name_of_call(i) + ": " + error.what());
    }
  }
}

void CpuExecutor::write(int index, const std::byte* bytes) {
  const Buffer& target = buffer(index);
  std::memcpy(regions().at(target), bytes, target.bytes());
}

void CpuExecutor::read(int index, std::byte* bytes) {
  const Buffer& source = buffer(index);
  std::memcpy(bytes, regions().at(source), source.bytes());
}

}  // namespace pipe
