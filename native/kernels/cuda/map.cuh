// Elementwise kernels: out[i] = f(i, a[i], b[i], ...), eight elements a thread.
#pragma once

#include "elements.cuh"

namespace pipe::cuda {

// Arrays begin at multiples of 16 bytes (buffers and workspace at 64), so that eight elements are one access or two. An
// input may be the output: each thread reads its elements before it writes them. F is called as f(index, values...).
template <class F, class... X>
__global__ void map_kernel(Former former, int64_t n, Out out, F f, X... in) {
  former.wait();
  const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 8;
  if (first + 8 <= n) {
    float result[8];
    [&](auto... loaded) {
#pragma unroll
      for (int i = 0; i < 8; ++i) result[i] = f(first + i, loaded.v[i]...);
    }(Eight(in, first)...);
    store(out, first, result);
  } else {
    for (int64_t i = first; i < n; ++i) store(out, i, f(i, load(in, i)...));
  }
}

// An In for each of a pack.
template <class>
struct AnIn {
  using type = In;
};

template <class F, class... X>
void map(Context& context, int64_t n, Out out, const F& f, const X&... in) {
  constexpr int threads = 256;
  launch(context, map_kernel<F, typename AnIn<X>::type...>, blocks(ceil_div(n, threads * 8)), threads, 0, n, out, f,
         In(in)...);
}

}  // namespace pipe::cuda
