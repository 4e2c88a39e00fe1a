// Dequantization of whole matrices, and of doubly quantized block scales.
#include "map.cuh"
#include "nf4.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 256;

template <class Out>
__device__ Out out_of(__nv_bfloat16 value);
template <>
__device__ __nv_bfloat16 out_of(__nv_bfloat16 value) {
  return value;
}
template <>
__device__ float out_of(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

// out[n], n / per_thread threads of `per_thread` elements of one block each: 8, read as one word of codes and written
// as one vector, or 2 where blocks are no multiples of 8. The codebook's 16 values lie in 16 banks: lookups do not
// collide.
template <class Out, int per_thread>
__global__ void nf4_dequantize_kernel(Out* out, Nf4 stored, int64_t n) {
  __shared__ float codebook[16];
  if (threadIdx.x < 16) codebook[threadIdx.x] = stored.codebook[threadIdx.x];
  __syncthreads();
  const int64_t first = (int64_t{blockIdx.x} * threads + threadIdx.x) * per_thread;
  if (first >= n) return;
  const float absmax = nf4_scale(stored, first / stored.block);
  uint8_t bytes[per_thread / 2];
  if constexpr (per_thread == 8)
    *reinterpret_cast<uint32_t*>(bytes) = *reinterpret_cast<const uint32_t*>(stored.codes + first / 2);
  else
    bytes[0] = stored.codes[first / 2];
  alignas(16) Out values[per_thread];
#pragma unroll
  for (int i = 0; i < per_thread; i += 2) {
    values[i] = out_of<Out>(nf4_value(codebook[bytes[i / 2] >> 4], absmax));
    values[i + 1] = out_of<Out>(nf4_value(codebook[bytes[i / 2] & 15], absmax));
  }
  if constexpr (per_thread == 8) {
#pragma unroll
    for (size_t i = 0; i < sizeof values / 16; ++i)
      reinterpret_cast<uint4*>(out + first)[i] = reinterpret_cast<const uint4*>(values)[i];
  } else {
    out[first] = values[0];
    out[first + 1] = values[1];
  }
}

template <class Out>
void dequantize_to(Context& context, Out* out, const Nf4& stored, int64_t n) {
  if (stored.block % 8 == 0)
    launch(context, nf4_dequantize_kernel<Out, 8>, blocks(ceil_div(n, threads * 8)), threads, 0, out, stored, n);
  else
    launch(context, nf4_dequantize_kernel<Out, 2>, blocks(ceil_div(n, threads * 2)), threads, 0, out, stored, n);
}

// absmax[n]: every scale of a matrix.
__global__ void dequantize_absmax_kernel(float* absmax, Nf4 stored, int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i < n) absmax[i] = nf4_scale(stored, i);
}

}  // namespace

void dequantize(Context& context, __nv_bfloat16* out, const Nf4& stored, int64_t n) {
  dequantize_to(context, out, stored, n);
}
void dequantize(Context& context, float* out, const Nf4& stored, int64_t n) { dequantize_to(context, out, stored, n); }

void nf4_dequantize_forward(Context& context, float* w, const Nf4& stored, int64_t n) {
  dequantize(context, w, stored, n);
}

void dequantize_absmax(Context& context, float* absmax, const uint8_t* codes, const float* nested,
                       const float* codebook, const float* offset, int64_t n, int64_t block) {
  launch(context, dequantize_absmax_kernel, blocks(ceil_div(n, threads)), threads, 0, absmax,
         Nf4{nullptr, nullptr, nullptr, 0, {codes, nested, codebook, offset, block}}, n);
}

}  // namespace pipe::cuda
