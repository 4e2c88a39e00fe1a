// Dequantization of whole matrices, and of doubly quantized block scales.
#include "../../cuda/prefetch.h"
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

// Elements that a thread writes at once: 16 bytes of them, or two where blocks are no multiples of that.
template <class Out>
constexpr int vector = 16 / sizeof(Out);

// A vector's codes.
template <int width>
struct Codes;
template <>
struct Codes<8> {
  using type = uint32_t;
};
template <>
struct Codes<4> {
  using type = uint16_t;
};
template <>
struct Codes<2> {
  using type = uint8_t;
};

// out[n], `vectors` of `width` elements a thread, a block's side by side so that every access of a warp is one piece.
// All of a thread's codes and scales are read before any is used: the reads overlap. The codebook's 16 values lie in 16
// banks: lookups do not collide.
template <class Out, int width, int vectors>
__global__ void __launch_bounds__(threads) nf4_dequantize_kernel(Out* out, Nf4 stored, int64_t n) {
  __shared__ float codebook[16];
  if (threadIdx.x < 16) codebook[threadIdx.x] = stored.codebook[threadIdx.x];
  __syncthreads();
  using Packed = typename Codes<width>::type;
  const int64_t first = (int64_t{blockIdx.x} * threads * vectors + threadIdx.x) * width;
  const auto element = [&](int v) { return first + v * threads * width; };
  Packed packed[vectors] = {};
  float absmax[vectors] = {};
#pragma unroll
  for (int v = 0; v < vectors; ++v)
    if (element(v) < n) packed[v] = reinterpret_cast<const Packed*>(stored.codes)[element(v) / width];
#pragma unroll
  for (int v = 0; v < vectors; ++v)
    if (element(v) < n) absmax[v] = nf4_scale_at(stored, element(v));
#pragma unroll
  for (int v = 0; v < vectors; ++v) {
    if (element(v) >= n) return;
    alignas(width * sizeof(Out)) Out values[width];
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const int shift = i / 2 * 8 + (i % 2 == 0 ? 4 : 0);  // the even element of a byte is in its high nibble
      values[i] = out_of<Out>(nf4_value(codebook[packed[v] >> shift & 15], absmax[v]));
    }
    if constexpr (width == vector<Out>) {
      *reinterpret_cast<uint4*>(out + element(v)) = *reinterpret_cast<const uint4*>(values);
    } else {
      out[element(v)] = values[0];
      out[element(v) + 1] = values[1];
    }
  }
}

template <class Out>
void dequantize_to(cudaStream_t stream, Out* out, const Nf4& stored, int64_t n) {
  constexpr int vectors = 2;
  const auto by = [&](auto kernel, int width) {
    queue(stream, false, kernel, blocks(ceil_div(n, threads * vectors * width)), threads, 0, out, stored, n);
  };
  if (stored.block % vector<Out> == 0)
    by(nf4_dequantize_kernel<Out, vector<Out>, vectors>, vector<Out>);
  else
    by(nf4_dequantize_kernel<Out, 2, vectors>, 2);
}

// absmax[n]: every scale of a matrix.
__global__ void dequantize_absmax_kernel(Former former, float* absmax, Nf4 stored, int64_t n) {
  former.wait();
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i < n) absmax[i] = nf4_scale(stored, i);
}

}  // namespace

void dequantize(cudaStream_t stream, void* out, Storage storage, const Nf4& stored, int64_t n) {
  if (storage == Storage::bf16)
    dequantize_to(stream, static_cast<__nv_bfloat16*>(out), stored, n);
  else
    dequantize_to(stream, static_cast<float*>(out), stored, n);
}

void nf4_dequantize_forward(Context& context, float* w, const Nf4& stored, int64_t n) {
  if (context.planning()) return;
  dequantize(context.stream, w, Storage::float32, stored, n);
  context.queued_kernel();
}

void dequantize_absmax(Context& context, float* absmax, const uint8_t* codes, const float* nested,
                       const float* codebook, const float* offset, int64_t n, int64_t block) {
  launch(context, dequantize_absmax_kernel, blocks(ceil_div(n, threads)), threads, 0, absmax,
         Nf4{nullptr, nullptr, nullptr, 0, {codes, nested, codebook, offset, block}}, n);
}

}  // namespace pipe::cuda
