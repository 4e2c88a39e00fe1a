// Loading a program (checks, addresses, workspace) and running it.
#include "runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "errors.h"
#include "kernels/cpu/gemm.h"
#include "kernels/operands.h"

namespace pipe {

namespace {

static_assert(gemm_packing_floats % 16 == 0);  // each thread's part begins on a cache line

constexpr size_t alignment = 64;
constexpr size_t floats_per_line = alignment / sizeof(float);

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// The program, if every buffer lies in the arena.
Program checked(Program program) {
  for (const Buffer& buffer : program.buffers) {
    const std::string where = "program " + program.name + ", buffer \"" + buffer.name + "\": ";
    for (const int64_t dimension : buffer.shape)
      if (dimension < 1) throw ProgramError(where + "shape " + to_string(buffer.shape) + " has an empty dimension");
    if (buffer.offset % alignment != 0)
      throw ProgramError(where + "offset " + std::to_string(buffer.offset) + " is not a multiple of 64");
    if (buffer.offset > program.arena_bytes || buffer.bytes() > program.arena_bytes - buffer.offset)
      throw ProgramError(where + "bytes " + std::to_string(buffer.offset) + " to " +
                         std::to_string(buffer.offset + buffer.bytes()) + " lie outside the arena of " +
                         std::to_string(program.arena_bytes));
  }
  return program;
}

}  // namespace

AlignedMemory::AlignedMemory(size_t bytes) {
  const size_t rounded = round_up(std::max<size_t>(bytes, 1), alignment);
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) throw ProgramError("cannot allocate " + std::to_string(rounded) + " bytes");
  std::memset(memory, 0, rounded);
  data_.reset(static_cast<std::byte*>(memory));
}

void AlignedMemory::Free::operator()(std::byte* p) const { std::free(p); }

Executor::Executor(Program program, int threads)
    : program_(checked(std::move(program))), arena_(program_.arena_bytes), pool_(threads), context_{pool_} {
  resolve_calls();
}

void Executor::resolve_calls() {
  size_t shared = 0;
  size_t local = 0;
  for (size_t i = 0; i < program_.calls.size(); ++i) {
    const Call& call = program_.calls[i];
    Operands operands(program_, i, arena_.data());
    const Bind bind = find_kernel(call.kernel);
    operands.require(bind != nullptr, "names a kernel that this runtime does not have");
    steps_.push_back(bind(operands));
    operands.finish();
    shared = std::max(shared, steps_.back().shared);
    local = std::max(local, steps_.back().local);
    const auto touch = [&](int buffer) {
      const Buffer& touched = program_.buffers[static_cast<size_t>(buffer)];
      high_water_bytes_ = std::max(high_water_bytes_, touched.offset + touched.bytes());
    };
    for (const int buffer : call.inputs) touch(buffer);
    for (const int buffer : call.outputs) touch(buffer);
    if (call.scratch >= 0) touch(call.scratch);
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

void Executor::run() {
  for (size_t i = 0; i < steps_.size(); ++i) {
    try {
      steps_[i].run(context_);
    } catch (const DataError& error) {
      throw ProgramError("program " + program_.name + ", call " + std::to_string(i) + " (" + program_.calls[i].kernel +
                         "): " + error.what());
    }
  }
}

const Buffer& Executor::buffer(int index) const {
  if (index < 0 || static_cast<size_t>(index) >= program_.buffers.size())
    throw ProgramError("program " + program_.name + " has no buffer " + std::to_string(index));
  return program_.buffers[static_cast<size_t>(index)];
}

}  // namespace pipe
