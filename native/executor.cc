// What every device checks of a program, and what the program alone decides.
#include "executor.h"

#include <algorithm>

#include "errors.h"

namespace pipe {

namespace {

constexpr size_t alignment = 64;

void check(const Program& program) {
  for (const Buffer& buffer : program.buffers) {
    const std::string where = "program " + program.name + ", buffer \"" + buffer.name + "\": ";
    for (const int64_t dimension : buffer.shape)
      if (dimension < 1) throw ProgramError(where + "shape " + to_string(buffer.shape) + " has an empty dimension");
    if (buffer.offset % alignment != 0)
      throw ProgramError(where + "offset " + std::to_string(buffer.offset) + " is not a multiple of 64");
    const size_t whole = program.bytes_of(buffer.region);
    if (buffer.offset > whole || buffer.bytes() > whole - buffer.offset)
      throw ProgramError(where + "bytes " + std::to_string(buffer.offset) + " to " +
                         std::to_string(buffer.offset + buffer.bytes()) + " lie outside the " +
                         (buffer.region == Region::arena ? "arena" : "paged memory") + " of " + std::to_string(whole));
  }
}

}  // namespace

Executor::Executor(Program program) : program_(std::move(program)) { check(program_); }

size_t Executor::high_water_bytes() const {
  size_t end = 0;
  const auto touch = [&](int index) {
    const Buffer& touched = program_.buffers[static_cast<size_t>(index)];
    if (touched.region == Region::arena) end = std::max(end, touched.offset + touched.bytes());
  };
  for (const Call& call : program_.calls) {
    for (const int index : call.inputs) touch(index);
    for (const int index : call.outputs) touch(index);
    if (call.scratch >= 0) touch(call.scratch);
  }
  return end;
}

const Buffer& Executor::buffer(int index) const {
  if (index < 0 || static_cast<size_t>(index) >= program_.buffers.size())
    throw ProgramError("program " + program_.name + " has no buffer " + std::to_string(index));
  return program_.buffers[static_cast<size_t>(index)];
}

std::string Executor::name_of_call(size_t index) const {
  return "program " + program_.name + ", call " + std::to_string(index) + " (" + program_.calls[index].kernel + ")";
}

}  // namespace pipe
