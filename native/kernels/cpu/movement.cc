// Operations that move elements and compute nothing: copy, transpose, slice, concat.
#include <algorithm>
#include <array>
#include <cstring>

#include "../kernels.h"
#include "elements.h"

namespace pipe {

namespace {

constexpr size_t most_axes = 8;
using Extents = std::array<int64_t, most_axes>;

// The number of elements from one index to the next along each axis of a dense tensor.
Extents strides_of(const Shape& shape) {
  Extents strides{};
  int64_t stride = 1;
  for (size_t axis = shape.size(); axis-- > 0; stride *= shape[axis]) strides[axis] = stride;
  return strides;
}

// Fills `out`, dense with these extents, from x read with these strides, in the order of out.
void gather(float* out, const float* x, size_t rank, const Extents& extents, const Extents& strides) {
  if (rank == 0) {
    *out = *x;
    return;
  }
  const size_t last = rank - 1;
  Extents at{};
  for (;;) {
    for (int64_t i = 0; i < extents[last]; ++i) out[i] = x[i * strides[last]];
    out += extents[last];
    size_t axis = last;
    for (;;) {
      if (axis == 0) return;
      --axis;
      x += strides[axis];
      if (++at[axis] < extents[axis]) break;
      x -= extents[axis] * strides[axis];
      at[axis] = 0;
    }
  }
}

}  // namespace

void copy(Context& context, float* out, const float* x, int64_t n) {
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    std::memcpy(out + begin, x + begin, static_cast<size_t>(end - begin) * sizeof(float));
  });
}

void transpose(Context&, float* out, const float* x, const Shape& shape, const std::vector<int64_t>& perm) {
  const Extents from = strides_of(shape);
  Extents extents{};
  Extents strides{};
  for (size_t axis = 0; axis < perm.size(); ++axis) {
    extents[axis] = shape[static_cast<size_t>(perm[axis])];
    strides[axis] = from[static_cast<size_t>(perm[axis])];
  }
  gather(out, x, shape.size(), extents, strides);
}

void slice(Context&, float* out, const float* x, const Shape& shape, const std::vector<int64_t>& begin,
           const std::vector<int64_t>& size) {
  const Extents strides = strides_of(shape);
  Extents extents{};
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    x += begin[axis] * strides[axis];
    extents[axis] = size[axis];
  }
  gather(out, x, shape.size(), extents, strides);
}

void concat(Context&, float* out, const std::vector<const float*>& parts, const std::vector<int64_t>& widths,
            int64_t outer) {
  for (int64_t row = 0; row < outer; ++row)
    for (size_t part = 0; part < parts.size(); ++part) {
      std::memcpy(out, parts[part] + row * widths[part], static_cast<size_t>(widths[part]) * sizeof(float));
      out += widths[part];
    }
}

}  // namespace pipe
