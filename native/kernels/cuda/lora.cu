// Low-rank updates of some columns of a linear map (Hu et al. 2021, section 4.1), and their gradients: thin products, of
// which nothing larger than [N, R] is kept. Adapters are float32.
#include "thin.cuh"

namespace pipe::cuda {

namespace {

// a[R, K] on a matrix of K columns.
ThinShape of_a(int64_t N, int64_t R, int64_t K, float scale) { return {N, K, K, R, 1, {}, 0, 1, K, scale}; }

// b[parts * width, rank] on the parts' columns.
ThinShape of_b(const LoraShape& s) {
  ThinShape shape{s.N, s.width, s.M, s.rank(), s.parts, {}, s.width * s.rank(), s.rank(), 1, 1.0f};
  std::copy(s.offsets, s.offsets + s.parts, shape.offsets);
  return shape;
}

}  // namespace

void lora_hidden(Context& context, Out u, In x, const float* a, float scale, int64_t N, int64_t R, int64_t K) {
  thin_hidden(context, u, x, a, of_a(N, R, K, scale));
}

void lora_update(Context& context, Out out, In y, In u, const float* b, const LoraShape& s) {
  if (out.data != y.data) copy(context, out, y, s.N * s.M);
  thin_update(context, out, out, u, b, of_b(s));
}

void lora_backward_hidden(Context& context, Out du, In dy, const float* b, const LoraShape& s) {
  thin_hidden(context, du, dy, b, of_b(s));
}

void lora_backward_b(Context& context, float* db, In dy, In u, const LoraShape& s) {
  thin_gradient(context, db, dy, u, of_b(s));
}

void lora_backward_a(Context& context, float* da, In du, In x, float scale, int64_t N, int64_t R, int64_t K) {
  thin_gradient(context, da, x, du, of_a(N, R, K, scale));
}

void lora_backward_input(Context& context, Out dx, In du, const float* a, float scale, int64_t N, int64_t R, int64_t K) {
  thin_update(context, dx, {}, du, a, of_a(N, R, K, scale));
}

}  // namespace pipe::cuda
