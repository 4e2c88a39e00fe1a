// Sums, differences and products, element by element, with a scalar or a row repeated. Memory-bound: one pass, 16-byte
// accesses.
#include "map.cuh"

namespace pipe::cuda {

namespace {

template <class F>
void apply(Context& context, const F& f, Out out, In a, int64_t a_size, In b, int64_t b_size, int64_t n) {
  if (a_size == n && b_size == n)
    return map(
        context, n, out, [f] __device__(int64_t, float x, float y) { return f(x, y); }, a, b);
  if (a_size == n)
    return map(
        context, n, out, [f, b, b_size] __device__(int64_t i, float x) { return f(x, load(b, i % b_size)); }, a);
  map(
      context, n, out, [f, a, a_size] __device__(int64_t i, float y) { return f(load(a, i % a_size), y); }, b);
}

struct Sum {
  __device__ float operator()(float x, float y) const { return x + y; }
};
struct Difference {
  __device__ float operator()(float x, float y) const { return x - y; }
};
struct Multiplied {
  __device__ float operator()(float x, float y) const { return x * y; }
};

}  // namespace

void arithmetic(Context& context, Arithmetic operation, Out out, In a, int64_t a_size, In b, int64_t b_size,
                int64_t n) {
  switch (operation) {
    case Arithmetic::add:
      return apply(context, Sum{}, out, a, a_size, b, b_size, n);
    case Arithmetic::subtract:
      return apply(context, Difference{}, out, a, a_size, b, b_size, n);
    case Arithmetic::multiply:
      return apply(context, Multiplied{}, out, a, a_size, b, b_size, n);
  }
}

}  // namespace pipe::cuda
