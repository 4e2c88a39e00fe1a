// A loaded program on some device, as the binding sees it.
#pragma once

#include <cstddef>

#include "program.h"

namespace pipe {

// Buffers are written and read as they are stored. Copies and runs take effect in the order in which they are asked
// for.
class Executor {
 public:
  // Takes a program whose every buffer lies within its region; throws ProgramError naming the first that does not.
  explicit Executor(Program program);
  virtual ~Executor() = default;
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Runs every call once, in order. Throws ProgramError where data is out of range (a token id, a cache position).
  virtual void run() = 0;
  // Replaces the content of a buffer by buffer(index).bytes() bytes.
  virtual void write(int index, const std::byte* bytes) = 0;
  // Copies the content of a buffer out.
  virtual void read(int index, std::byte* bytes) = 0;

  // Workspace outside the arena, fixed at load.
  virtual size_t workspace_bytes() const = 0;
  size_t arena_bytes() const { return program_.arena_bytes; }
  size_t paged_bytes() const { return program_.paged_bytes; }
  // The end of the highest byte of the arena that any call touches.
  size_t high_water_bytes() const;
  // Throws ProgramError where there is none.
  const Buffer& buffer(int index) const;

 protected:
  // What the errors of call `index` begin with.
  std::string name_of_call(size_t index) const;

  Program program_;
};

}  // namespace pipe
