// Conversions between storages. Memory-bound: one pass.
#include "factors.cuh"

#include "../../cuda/prefetch.h"

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
  return context.prefetch.demand(context, stored, n);
}

}  // namespace pipe::cuda
