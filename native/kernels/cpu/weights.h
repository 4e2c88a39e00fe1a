// Reads weights, whatever they are stored in, as float32.
#pragma once

#include "../../storage.h"
#include "bf16.h"
#include "simd.h"

namespace pipe {

// Elements [begin, begin + count) as float32: where they lie, or widened into `buffer`. None gives nullptr.
inline const float* read_weights(Weights w, int64_t begin, int64_t count, float* buffer) {
  if (w.data == nullptr) return nullptr;
  if (w.storage == Storage::float32) return static_cast<const float*>(w.data) + begin;
  const uint16_t* halves = static_cast<const uint16_t*>(w.data) + begin;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store(buffer + i, widen(load<Halves>(halves + i)));
  for (; i < count; ++i) buffer[i] = float_of_bf16(halves[i]);
  return buffer;
}

}  // namespace pipe
