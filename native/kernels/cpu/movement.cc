// Operations that move elements and compute nothing: copy, transpose, slice, concat.
#include <cstring>

#include "../kernels.h"
#include "elements.h"

namespace pipe {

namespace {

// The number of elements from one index to the next along each axis of a dense tensor.
Axes strides_of(const Axes& shape) {
  Axes strides{shape.rank, {}};
  int64_t stride = 1;
  for (size_t axis = shape.rank; axis-- > 0; stride *= shape.at[axis]) strides.at[axis] = stride;
  return strides;
}

// Fills `out`, dense with these extents, from x read with these strides, in the order of out.
void gather(float* out, const float* x, const Axes& extents, const Axes& strides) {
  if (extents.rank == 0) {
    *out = *x;
    return;
  }
  const size_t last = extents.rank - 1;
  Axes index{extents.rank, {}};
  for (;;) {
    for (int64_t i = 0; i < extents.at[last]; ++i) out[i] = x[i * strides.at[last]];
    out += extents.at[last];
    for (size_t axis = last;;) {
      if (axis == 0) return;
      --axis;
      x += strides.at[axis];
      if (++index.at[axis] < extents.at[axis]) break;
      x -= extents.at[axis] * strides.at[axis];
      index.at[axis] = 0;
    }
  }
}

}  // namespace

void copy(Context& context, float* out, const float* x, int64_t n) {
  for_elements(context, n, [&](int64_t begin, int64_t end) {
    std::memcpy(out + begin, x + begin, static_cast<size_t>(end - begin) * sizeof(float));
  });
}

void transpose(Context&, float* out, const float* x, const Axes& shape, const Axes& perm) {
  const Axes from = strides_of(shape);
  Axes extents{perm.rank, {}};
  Axes strides{perm.rank, {}};
  for (size_t axis = 0; axis < perm.rank; ++axis) {
    extents.at[axis] = shape.at[perm.at[axis]];
    strides.at[axis] = from.at[perm.at[axis]];
  }
  gather(out, x, extents, strides);
}

void slice(Context&, float* out, const float* x, const Axes& shape, const Axes& begin, const Axes& size) {
  const Axes strides = strides_of(shape);
  for (size_t axis = 0; axis < shape.rank; ++axis) x += begin.at[axis] * strides.at[axis];
  gather(out, x, size, strides);
}

void concat(Context&, float* out, const Part* parts, size_t count, int64_t outer) {
  for (int64_t row = 0; row < outer; ++row)
    for (const Part* part = parts; part < parts + count; ++part) {
      std::memcpy(out, part->data + row * part->width, static_cast<size_t>(part->width) * sizeof(float));
      out += part->width;
    }
}

}  // namespace pipe
