// Causal self-attention in the context's precision, whatever its operands are stored in, and its gradient.
#include "causal_attention.cuh"

#include "elements.cuh"
#include "factors.cuh"

namespace pipe::cuda {

namespace {

constexpr int threads = 256;

// delta[B * heads, T] = the sum of dy * y over each head of a row: `lanes` lanes, a power of two, for each, with `width`
// neighbouring columns at a time.
template <int width>
__global__ void __launch_bounds__(threads)
    delta_forward(Former former, float* delta, In dy, In y, Heads h, int64_t count, int lanes) {
  former.wait();
  const int64_t i = (int64_t{blockIdx.x} * threads + threadIdx.x) / lanes;  // [B * T, heads]
  float total = 0;
  if (i < count)
    for (int c = threadIdx.x % lanes * width; c < h.width; c += lanes * width) {
      float a[width], b[width];
      load<width>(a, dy, i * h.width + c);
      load<width>(b, y, i * h.width + c);
#pragma unroll
      for (int k = 0; k < width; ++k) total += a[k] * b[k];
    }
  for (int step = lanes / 2; step > 0; step /= 2) total += __shfl_xor_sync(whole_warp, total, step);
  if (i >= count || threadIdx.x % lanes != 0) return;
  const int64_t row = i / h.heads, head = i % h.heads;
  delta[(row / h.T * h.heads + head) * h.T + row % h.T] = total;
}

void make_delta(Context& context, float* delta, In dy, In y, const AttentionShape& s) {
  const Heads h = heads_of(s);
  const int64_t count = s.B * s.T * s.heads;
  const bool eights = h.width % 8 == 0;
  int lanes = 1;
  while (lanes < warp && lanes * (eights ? 8 : 1) < h.width) lanes *= 2;
  launch(context, eights ? delta_forward<8> : delta_forward<1>, blocks(ceil_div(count * lanes, threads)), threads, 0,
         delta, dy, y, h, count, lanes);
}

// Where a kernel that writes Elements writes n of them that belong in `out`: there, or in workspace.
template <class Element>
Element* result(Context& context, const Out& out, Storage storage, int64_t n) {
  return out.storage == storage ? static_cast<Element*>(out.data) : context.take<Element>(n);
}

void store_result(Context& context, const Out& out, const Out& result, int64_t n) {
  if (result.data != out.data) copy(context, out, result, n);
}

template <class Element>
void forward(Context& context, Out y, float* lse, In qkv, Storage storage, const AttentionShape& s) {
  const int64_t n = s.B * s.T * s.C;
  Element* made = result<Element>(context, y, storage, n);
  attend(context, made, lse, static_cast<const Element*>(stored_as(context, qkv, storage, 3 * n)), s);
  store_result(context, y, {made, storage}, n);
}

template <class Element>
void backward(Context& context, Out dqkv, In dy, In qkv, In y, const float* lse, Storage storage,
              const AttentionShape& s) {
  const int64_t n = s.B * s.T * s.C;
  const auto* of_qkv = static_cast<const Element*>(stored_as(context, qkv, storage, 3 * n));
  const auto* of_dy = static_cast<const Element*>(stored_as(context, dy, storage, n));
  if (lse == nullptr) {
    float* computed = context.take<float>(s.B * s.heads * s.T);
    Element* again = context.take<Element>(n);
    attend(context, again, computed, of_qkv, s);
    y = {again, storage};
    lse = computed;
  }
  float* delta = context.take<float>(s.B * s.heads * s.T);
  make_delta(context, delta, dy, y, s);
  Element* made = result<Element>(context, dqkv, storage, 3 * n);
  attend_backward(context, made, of_dy, of_qkv, lse, delta, s);
  store_result(context, dqkv, {made, storage}, 3 * n);
}

}  // namespace

size_t causal_attention_local(const AttentionShape&) { return 0; }

void causal_attention_forward(Context& context, Out y, float* lse, In qkv, const AttentionShape& s) {
  if (context.precision == Precision::bf16)
    forward<__nv_bfloat16>(context, y, lse, qkv, Storage::bf16, s);
  else
    forward<float>(context, y, lse, qkv, Storage::float32, s);
}

void causal_attention_backward(Context& context, Out dqkv, In dy, In qkv, In y, const float* lse,
                               const AttentionShape& s) {
  if (context.precision == Precision::bf16)
    backward<__nv_bfloat16>(context, dqkv, dy, qkv, y, lse, Storage::bf16, s);
  else
    backward<float>(context, dqkv, dy, qkv, y, lse, Storage::float32, s);
}

}  // namespace pipe::cuda
