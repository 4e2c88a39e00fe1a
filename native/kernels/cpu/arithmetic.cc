// Sums, differences and products, element by element, with a scalar or a row repeated.
#include "../kernels.h"
#include "elements.h"
#include "simd.h"

namespace pipe {

namespace {

template <class F>
void apply(Context& context, const F& f, float* out, const float* a, int64_t a_size, const float* b, int64_t b_size,
           int64_t n) {
  if (a_size == n && b_size == n)
    return for_elements(context, n, [&](int64_t begin, int64_t end) { map(begin, end, out, f, a, b); });
  if (b_size == 1)
    return for_elements(context, n, [&](int64_t begin, int64_t end) {
      map(
          begin, end, out, [&, y = *b](Floats x) { return f(x, broadcast(y)); }, a);
    });
  if (a_size == 1)
    return for_elements(context, n, [&](int64_t begin, int64_t end) {
      map(
          begin, end, out, [&, x = *a](Floats y) { return f(broadcast(x), y); }, b);
    });
  const int64_t row = std::min(a_size, b_size);
  context.pool.split(n / row, 1 + 32768 / row, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      map(0, row, out + i * row, f, a + (a_size == n ? i * row : 0), b + (b_size == n ? i * row : 0));
  });
}

}  // namespace

void arithmetic(Context& context, Arithmetic operation, float* out, const float* a, int64_t a_size, const float* b,
                int64_t b_size, int64_t n) {
  const auto run = [&](const auto& f) { apply(context, f, out, a, a_size, b, b_size, n); };
  switch (operation) {
    case Arithmetic::add:
      return run([](Floats x, Floats y) { return x + y; });
    case Arithmetic::subtract:
      return run([](Floats x, Floats y) { return x - y; });
    case Arithmetic::multiply:
      return run([](Floats x, Floats y) { return x * y; });
  }
}

}  // namespace pipe
