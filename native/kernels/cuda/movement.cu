// Operations that move elements and compute nothing: copy, transpose, slice, concat.
#include "map.cuh"

namespace pipe::cuda {

namespace {

// How an output's index leads to an input's element: extents of the output, and the input's stride along each of its
// axes.
struct Gather {
  Axes extents;
  Axes strides;
};

// Of a dense tensor.
Axes strides_of(const Axes& shape) {
  Axes strides{shape.rank, {}};
  int64_t stride = 1;
  for (size_t axis = shape.rank; axis-- > 0; stride *= shape.at[axis]) strides.at[axis] = stride;
  return strides;
}

// out[i] = x[where g leads]; writes are coalesced, reads as far as the innermost stride allows.
__global__ void gather_forward(Former former, float* out, const float* x, Gather g, int64_t n) {
  former.wait();
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  int64_t rest = i;
  int64_t from = 0;
  for (size_t axis = g.extents.rank; axis-- > 0; rest /= g.extents.at[axis])
    from += rest % g.extents.at[axis] * g.strides.at[axis];
  out[i] = x[from];
}

void gather(Context& context, float* out, const float* x, const Gather& g) {
  constexpr int threads = 256;
  int64_t n = 1;
  for (size_t axis = 0; axis < g.extents.rank; ++axis) n *= g.extents.at[axis];
  launch(context, gather_forward, blocks(ceil_div(n, threads)), threads, 0, out, x, g, n);
}

}  // namespace

void copy(Context& context, Out out, In x, int64_t n) {
  if (out.storage == x.storage)
    return copy_bytes(context, out.data, x.data, static_cast<size_t>(n) * bytes_of(x.storage));
  map(
      context, n, out, [] __device__(int64_t, float v) { return v; }, x);
}

void transpose(Context& context, float* out, const float* x, const Axes& shape, const Axes& perm) {
  const Axes strides = strides_of(shape);
  Gather g{{shape.rank, {}}, {shape.rank, {}}};
  for (size_t axis = 0; axis < perm.rank; ++axis) {
    g.extents.at[axis] = shape.at[perm.at[axis]];
    g.strides.at[axis] = strides.at[perm.at[axis]];
  }
  gather(context, out, x, g);
}

void slice(Context& context, float* out, const float* x, const Axes& shape, const Axes& begin, const Axes& size) {
  const Axes strides = strides_of(shape);
  for (size_t axis = 0; axis < shape.rank; ++axis) x += begin.at[axis] * strides.at[axis];
  gather(context, out, x, {size, strides});
}

void concat(Context& context, float* out, const Part* parts, size_t count, int64_t outer) {
  if (context.planning()) return;
  int64_t row = 0;
  for (size_t i = 0; i < count; ++i) row += parts[i].width;
  for (size_t i = 0; i < count; ++i) {
    const size_t bytes = static_cast<size_t>(parts[i].width) * sizeof(float);
    check(cudaMemcpy2DAsync(out, static_cast<size_t>(row) * sizeof(float), parts[i].data, bytes, bytes,
                            static_cast<size_t>(outer), cudaMemcpyDeviceToDevice, context.stream),
          "a copy");
    out += parts[i].width;
  }
  context.queued_other();
}

}  // namespace pipe::cuda
