// Binders of TensorFlow.js's core kernels: arithmetic, copies, movement, sums, places.
#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels.h"
#include "registry.h"

namespace PIPE_DEVICE {

namespace {

// Whether `part`, without leading ones, is the end of `whole`: a scalar, a row, or the same shape.
bool repeats_in(const Shape& part, const Shape& whole) {
  const auto first = std::find_if(part.begin(), part.end(), [](int64_t d) { return d != 1; });
  const auto length = part.end() - first;
  return length <= static_cast<std::ptrdiff_t>(whole.size()) && std::equal(first, part.end(), whole.end() - length);
}

Step bind_arithmetic(Operands& o, Arithmetic operation) {
  const Tensor a = o.tensor(0, "a", activation);
  const Tensor b = o.tensor(1, "b", activation);
  const Shape& of_a = a.buffer->shape;
  const Shape& of_b = b.buffer->shape;
  o.require(repeats_in(of_b, of_a) || repeats_in(of_a, of_b),
            "cannot combine " + to_string(of_a) + " and " + to_string(of_b) +
                ": operands have one shape, or one is a scalar or a row of the other");
  const int64_t n = std::max(a.size(), b.size());
  const Tensor result = o.output(n, activation);
  o.in_place(0);
  o.in_place(1);
  return {[=](Context& c) { arithmetic(c, operation, out(result), in(a), a.size(), in(b), b.size(), n); }, 0, 0};
}

Step add(Operands& o) { return bind_arithmetic(o, Arithmetic::add); }
Step subtract(Operands& o) { return bind_arithmetic(o, Arithmetic::subtract); }
Step multiply(Operands& o) { return bind_arithmetic(o, Arithmetic::multiply); }

// Reshape, Identity, Cast: a copy, where a program assigns one buffer to another.
Step assign(Operands& o) {
  const Tensor x = o.tensor(0, "x", activation);
  const Tensor copied = o.output(x.size(), activation);
  return {[=](Context& c) { copy(c, out(copied), in(x), x.size()); }, 0, 0};
}

const Shape& shape_of(const Operands& o, const Tensor& x) {
  o.require(x.buffer->shape.size() <= most_axes, "takes tensors of at most 8 dimensions");
  return x.buffer->shape;
}

Axes axes_of(const Shape& list) {
  Axes axes{list.size(), {}};
  std::copy(list.begin(), list.end(), axes.at);
  return axes;
}

Step bind_transpose(Operands& o) {
  const Tensor x = o.tensor(0, "x");
  const Shape& shape = shape_of(o, x);
  const Shape perm = o.integers("perm");
  Shape axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  o.require(std::is_permutation(perm.begin(), perm.end(), axes.begin(), axes.end()),
            "has perm " + to_string(perm) + ", which does not order the axes of " + to_string(shape));
  Shape turned;
  for (const int64_t axis : perm) turned.push_back(shape[static_cast<size_t>(axis)]);
  const Tensor out = o.output(turned);
  return {[=, from = axes_of(shape), to = axes_of(perm)](Context& c) { transpose(c, out.f32(), x.f32(), from, to); }, 0,
          0};
}

Step bind_slice(Operands& o) {
  const Tensor x = o.tensor(0, "x");
  const Shape& shape = shape_of(o, x);
  const Shape begin = o.integers("begin");
  const Shape size = o.integers("size");
  bool inside = begin.size() == shape.size() && size.size() == shape.size();
  for (size_t axis = 0; inside && axis < shape.size(); ++axis)
    inside = begin[axis] >= 0 && size[axis] > 0 && size[axis] <= shape[axis] - begin[axis];
  o.require(inside, "takes " + to_string(size) + " from " + to_string(begin) + " of " + to_string(shape) +
                        "; begin and size must name a part of it, every axis given");
  const Tensor out = o.output(size);
  return {[=, of = axes_of(shape), from = axes_of(begin), extent = axes_of(size)](Context& c) {
            slice(c, out.f32(), x.f32(), of, from, extent);
          },
          0, 0};
}

int64_t product(Shape::const_iterator from, Shape::const_iterator to) {
  return std::accumulate(from, to, int64_t{1}, std::multiplies<>());
}

Step bind_concat(Operands& o) {
  o.require(o.count() > 0, "has no operands");
  const Shape shape = o.tensor(0, "part").buffer->shape;
  const int64_t axis = o.natural("axis");
  o.require(axis < static_cast<int64_t>(shape.size()),
            "joins along axis " + std::to_string(axis) + " of " + to_string(shape));
  Shape joined = shape;
  joined[static_cast<size_t>(axis)] = 0;
  std::vector<Part> parts;
  for (size_t i = 0; i < o.count(); ++i) {
    const Tensor part = o.tensor(i, "part");
    Shape other = part.buffer->shape;
    o.require(other.size() == shape.size(), "joins " + to_string(other) + " to " + to_string(shape));
    joined[static_cast<size_t>(axis)] += other[static_cast<size_t>(axis)];
    parts.push_back({part.f32(), product(other.begin() + axis, other.end())});
    other[static_cast<size_t>(axis)] = shape[static_cast<size_t>(axis)];
    o.require(other == shape, "joins " + to_string(part.buffer->shape) + " to " + to_string(shape) + " along axis " +
                                  std::to_string(axis));
  }
  const Tensor out = o.output(joined);
  const int64_t outer = product(shape.begin(), shape.begin() + axis);
  return {[=](Context& c) { concat(c, out.f32(), parts.data(), parts.size(), outer); }, 0, 0};
}

Step bind_sum(Operands& o) {
  const Tensor x = o.tensor(0, "x");
  const Shape& shape = x.buffer->shape;
  Shape axes = o.integers("axis");
  std::sort(axes.begin(), axes.end());
  bool neighbours = true;
  for (size_t i = 0; i < axes.size(); ++i)
    neighbours = neighbours && axes[i] == axes[0] + static_cast<int64_t>(i) && axes[i] >= 0 &&
                 axes[i] < static_cast<int64_t>(shape.size());
  o.require(neighbours, "sums over axes " + to_string(axes) + " of " + to_string(shape) +
                            "; they must be axes of it that lie side by side");
  const int64_t first = axes.empty() ? 0 : axes.front();
  const auto begin = shape.begin() + first;
  const auto end = begin + static_cast<std::ptrdiff_t>(axes.size());
  const int64_t outer = product(shape.begin(), begin), summed = product(begin, end), inner = product(end, shape.end());
  const Tensor out = o.output(outer * inner);
  return {[=](Context& c) { sum(c, out.f32(), x.f32(), outer, summed, inner); }, 0, 0};
}

// Over the last axis.
Step bind_arg_max(Operands& o) {
  const Tensor x = o.tensor(0, "x");
  const Shape& shape = x.buffer->shape;
  const int64_t axis = o.natural("axis");
  o.require(axis + 1 == static_cast<int64_t>(shape.size()),
            "looks along axis " + std::to_string(axis) + " of " + to_string(shape) + "; it must be the last");
  const int64_t N = x.rows(), M = x.columns();
  o.require(M <= std::numeric_limits<int32_t>::max(), "looks through rows of at most 2147483647 elements");
  const Tensor place = o.output(N, int_only);
  return {[=](Context& c) { arg_max(c, place.i32(), x.f32(), N, M); }, 0, 0};
}

}  // namespace

const std::vector<NamedBind>& core_binders() {
  static const std::vector<NamedBind> table = {
      {"Add", add},
      {"Sub", subtract},
      {"Multiply", multiply},
      {"Identity", assign},
      {"Reshape", assign},
      {"Cast", assign},
      {"Transpose", bind_transpose},
      {"Slice", bind_slice},
      {"Concat", bind_concat},
      {"Sum", bind_sum},
      {"ArgMax", bind_arg_max},
  };
  return table;
}

}  // namespace PIPE_DEVICE
