// A program as the binding hands it over: buffers with their place in the arena, and kernel calls; plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace pipe {

enum class Storage { float32, bf16, int32, uint8 };

inline size_t bytes_of(Storage storage) {
  switch (storage) {
    case Storage::bf16:
      return 2;
    case Storage::uint8:
      return 1;
    default:
      return 4;
  }
}

inline const char* name_of(Storage storage) {
  switch (storage) {
    case Storage::float32:
      return "float32";
    case Storage::bf16:
      return "bf16";
    case Storage::int32:
      return "int32";
    default:
      return "uint8";
  }
}

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

// A program that cannot be loaded, or data that a kernel cannot take: what is wrong and where.
struct ProgramError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace pipe
