// Elementwise kernels: out[i] = f(i, a[i], b[i], ...), four elements a thread.
#pragma once

#include "launch.cuh"

namespace pipe::cuda {

// Arrays begin at multiples of 16 bytes (buffers and workspace at 64), so that four elements are one access. An input
// may be the output: each thread reads its elements before it writes them. F is called as f(index, values...).
template <class F, class... In>
__global__ void map_kernel(int64_t n, float* out, F f, In... in) {
  const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 4;
  if (first + 4 <= n) {
    const float4 result = [&](auto... v) {
      return float4{f(first, v.x...), f(first + 1, v.y...), f(first + 2, v.z...), f(first + 3, v.w...)};
    }(*reinterpret_cast<const float4*>(in + first)...);
    *reinterpret_cast<float4*>(out + first) = result;
  } else {
    for (int64_t i = first; i < n; ++i) out[i] = f(i, in[i]...);
  }
}

template <class F, class... In>
void map(Context& context, int64_t n, float* out, const F& f, const In*... in) {
  constexpr int threads = 256;
  launch(context, map_kernel<F, const In*...>, blocks(ceil_div(n, threads * 4)), threads, 0, n, out, f, in...);
}

}  // namespace pipe::cuda
