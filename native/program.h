// A program as the binding hands it over: buffers with their places, and kernel calls; plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "storage.h"

namespace pipe {

using Shape = std::vector<int64_t>;

std::string to_string(const Shape& shape);

// Where a buffer lies: in the arena, which is memory of the device, or paged: in memory of the host's, where the device
// reads and writes it.
enum class Region { arena, paged };

struct Buffer {
  std::string name;
  Shape shape;
  Storage storage = Storage::float32;
  size_t offset = 0;  // in its region, in bytes
  Region region = Region::arena;

  int64_t size() const {
    int64_t n = 1;
    for (const int64_t dimension : shape) n *= dimension;
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(size()) * bytes_of(storage); }
};

using Attribute = std::variant<double, std::vector<double>, std::string>;

struct Call {
  std::string kernel;
  std::vector<int> inputs;
  std::vector<int> outputs;
  int scratch = -1;  // a buffer, or -1
  std::map<std::string, Attribute> attributes;
};

struct Program {
  std::string name;
  std::vector<Buffer> buffers;
  std::vector<Call> calls;
  size_t arena_bytes = 0;
  size_t paged_bytes = 0;

  size_t bytes_of(Region region) const { return region == Region::arena ? arena_bytes : paged_bytes; }
};

// The addresses of a loaded program's regions, as its device sees them.
struct Regions {
  std::byte* arena;
  std::byte* paged;

  std::byte* at(const Buffer& buffer) const { return (buffer.region == Region::arena ? arena : paged) + buffer.offset; }
};

}  // namespace pipe
