// Conversions between storages. Memory-bound: one pass.
#include "factors.cuh"

namespace pipe::cuda {

const void* stored_as(Context& context, const In& x, Storage storage, int64_t n) {
  if (x.data == nullptr || x.storage == storage) return x.data;
  const Out converted{context.take<std::byte>(n * static_cast<int64_t>(bytes_of(storage))), storage};
  copy(context, converted, x, n);
  return converted.data;
}

const void* as_factor(Context& context, const In& x, int64_t n) {
  return stored_as(context, x, context.precision == Precision::bf16 ? Storage::bf16 : Storage::float32, n);
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

}  // namespace pipe::cuda
