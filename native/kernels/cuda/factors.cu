// Conversions between storages. Memory-bound: a thread reads two vectors of four floats and writes one of eight halves.
#include "factors.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 256;
constexpr int per_thread = 8;

// out[n] = in[n] rounded to bf16, nearest even. in and out begin at multiples of 16 bytes.
__global__ void to_bf16_forward(__nv_bfloat16* out, const float* in, int64_t n) {
  const int64_t first = (int64_t{blockIdx.x} * threads + threadIdx.x) * per_thread;
  if (first + per_thread <= n) {
    const float4 a = *reinterpret_cast<const float4*>(in + first);
    const float4 b = *reinterpret_cast<const float4*>(in + first + 4);
    __nv_bfloat162 halves[4] = {__floats2bfloat162_rn(a.x, a.y), __floats2bfloat162_rn(a.z, a.w),
                                __floats2bfloat162_rn(b.x, b.y), __floats2bfloat162_rn(b.z, b.w)};
    *reinterpret_cast<uint4*>(out + first) = *reinterpret_cast<uint4*>(halves);
  } else {
    for (int64_t i = first; i < n; ++i) out[i] = __float2bfloat16_rn(in[i]);
  }
}

// out[n] = the weights as float32.
__global__ void to_float_forward(float* out, Weights in, int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i < n) out[i] = weight_at(in, i);
}

bool stored_in(const Weights& w, Precision precision) {
  return (w.storage == Storage::bf16) == (precision == Precision::bf16);
}

}  // namespace

void convert(Context& context, float* out, Weights in, int64_t n) {
  launch(context, to_float_forward, blocks(ceil_div(n, threads)), threads, 0, out, in, n);
}

void convert(Context& context, __nv_bfloat16* out, Weights in, int64_t n) {
  if (in.storage == Storage::bf16) return copy_bytes(context, out, in.data, static_cast<size_t>(n) * 2);
  launch(context, to_bf16_forward, blocks(ceil_div(n, threads * per_thread)), threads, 0, out,
         static_cast<const float*>(in.data), n);
}

const void* as_factor(Context& context, Weights w, int64_t n) {
  if (stored_in(w, context.precision)) return w.data;
  if (context.precision == Precision::bf16) {
    __nv_bfloat16* halves = context.take<__nv_bfloat16>(n);
    convert(context, halves, w, n);
    return halves;
  }
  float* floats = context.take<float>(n);
  convert(context, floats, w, n);
  return floats;
}

const void* as_factor(Context& context, const Nf4& stored, int64_t n) {
  if (context.precision == Precision::bf16) {
    __nv_bfloat16* halves = context.take<__nv_bfloat16>(n);
    dequantize(context, halves, stored, n);
    return halves;
  }
  float* floats = context.take<float>(n);
  dequantize(context, floats, stored, n);
  return floats;
}

const float* as_bias(Context& context, Weights bias, int64_t n) {
  if (bias.data == nullptr || bias.storage == Storage::float32) return static_cast<const float*>(bias.data);
  float* floats = context.take<float>(n);
  convert(context, floats, bias, n);
  return floats;
}

}  // namespace pipe::cuda
