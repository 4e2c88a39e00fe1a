// Vectors of floats as wide as the target has them, through the compiler's vector extensions: no intrinsics.
#pragma once

#include <cstdint>
#include <utility>

namespace pipe {

#if defined(__AVX512F__)
inline constexpr int lanes = 16;
#elif defined(__AVX2__)
inline constexpr int lanes = 8;
#else
inline constexpr int lanes = 4;
#endif

using Floats = float __attribute__((vector_size(lanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(lanes * sizeof(int32_t))));
using Unsigneds = uint32_t __attribute__((vector_size(lanes * sizeof(uint32_t))));
using Halves = uint16_t __attribute__((vector_size(lanes * sizeof(uint16_t))));

inline Floats broadcast(float x) { return Floats{} + x; }

template <class Vector = Floats, class Element>
inline Vector load(const Element* p) {
  Vector v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// The first n < lanes elements; the other lanes are zero.
inline Floats load_first(const float* p, int64_t n) {
  Floats v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}

// v with lanes n and above set to zero.
inline Floats first_lanes(Floats v, int64_t n) {
  for (int64_t i = n; i < lanes; ++i) v[i] = 0;
  return v;
}

inline void store(float* p, Floats v) { __builtin_memcpy(p, &v, sizeof v); }

inline void store_first(float* p, Floats v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}

inline Floats max(Floats a, Floats b) { return a > b ? a : b; }
inline Floats min(Floats a, Floats b) { return a < b ? a : b; }

// A sum over lanes, always in the same order.
inline float sum(Floats v) {
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) v[i] += v[i + width];
  return v[0];
}

inline float max(Floats v) {
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) v[i] = v[i] > v[i + width] ? v[i] : v[i + width];
  return v[0];
}

// bf16 is the upper half of a float32.
inline Floats widen(Halves h) {
  const Unsigneds bits = __builtin_convertvector(h, Unsigneds) << 16;
  return reinterpret_cast<Floats>(bits);
}

// Calls body(i, n) for [begin, end) in steps of one vector; n is `lanes`, or less for the last.
template <class Body>
inline void for_vectors(int64_t begin, int64_t end, const Body& body) {
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) body(i, int64_t{lanes});
  if (i < end) body(i, end - i);
}

// As load and store, for a vector that for_vectors gives: whole, or the first n lanes.
inline Floats load(const float* p, int64_t n) { return n == lanes ? load(p) : load_first(p, n); }
inline void store(float* p, Floats v, int64_t n) { n == lanes ? store(p, v) : store_first(p, v, n); }

// The sum over [0, n) of term(i, count), a vector of terms of which the first `count` count: by lanes, in runs of 64
// vectors, so that the error grows with the number of runs and not of vectors. The order is always the same.
template <class Term>
inline float sum_terms(int64_t n, const Term& term) {
  constexpr int64_t run = 64 * lanes;
  Floats total{};
  for (int64_t begin = 0; begin < n; begin += run) {
    Floats part{};
    for_vectors(begin, begin + run < n ? begin + run : n, [&](int64_t i, int64_t count) {
      part += count == lanes ? term(i, count) : first_lanes(term(i, count), count);
    });
    total += part;
  }
  return sum(total);
}

// out[i] = f(a[i], ...) for i in [begin, end), by vectors. f gives the same for a lane whatever its place, so that the
// cut into parts and the tail change no bits.
template <class F, class... Arrays>
inline void map(int64_t begin, int64_t end, float* out, const F& f, const Arrays*... arrays) {
  for_vectors(begin, end, [&](int64_t i, int64_t n) { store(out + i, f(load(arrays + i, n)...), n); });
}

namespace detail {

#if defined(__clang__) || __GNUC__ >= 12
template <int... i>
inline Floats interleave(Floats a, Floats b, int half, std::integer_sequence<int, i...>) {
  return half == 0 ? __builtin_shufflevector(a, b, ((i & 1) * lanes + i / 2)...)
                   : __builtin_shufflevector(a, b, ((i & 1) * lanes + lanes / 2 + i / 2)...);
}
#else
template <int... i>
inline Floats interleave(Floats a, Floats b, int half, std::integer_sequence<int, i...>) {
  return half == 0 ? __builtin_shuffle(a, b, Ints{((i & 1) * lanes + i / 2)...})
                   : __builtin_shuffle(a, b, Ints{((i & 1) * lanes + lanes / 2 + i / 2)...});
}
#endif

}  // namespace detail

// Transposes a tile of lanes x lanes, a vector a row, by log2(lanes) perfect shuffles.
inline void transpose(Floats (&rows)[lanes]) {
  constexpr auto order = std::make_integer_sequence<int, lanes>{};
  for (int width = lanes; width > 1; width /= 2) {
    Floats shuffled[lanes];
    for (int i = 0; i < lanes / 2; ++i) {
      shuffled[2 * i] = detail::interleave(rows[i], rows[i + lanes / 2], 0, order);
      shuffled[2 * i + 1] = detail::interleave(rows[i], rows[i + lanes / 2], 1, order);
    }
    for (int i = 0; i < lanes; ++i) rows[i] = shuffled[i];
  }
}

}  // namespace pipe
