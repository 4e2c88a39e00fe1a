// The forms in which a buffer's elements are stored.
#pragma once

#include <cstddef>

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

// Numbers that may be held in 16 bits: a weight, a gain, a bias, or none. float32 or bf16.
struct Weights {
  const void* data = nullptr;
  Storage storage = Storage::float32;
};

}  // namespace pipe
