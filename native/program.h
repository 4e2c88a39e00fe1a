// A program as the binding hands it over: buffers with their place in the arena, and kernel calls; plain data.
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

struct Buffer {
  std::string name;
  Shape shape;
  Storage storage = Storage::float32;
  size_t offset = 0;  // in the arena, in bytes

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
};

}  // namespace pipe
