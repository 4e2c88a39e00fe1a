// Binders of GPT-2's layers: layer norm, GELU, attention, embeddings, dropout.
#include "kernels.h"
#include "registry.h"

namespace PIPE_DEVICE {

namespace {

size_t floats(int64_t n) { return static_cast<size_t>(n); }

float epsilon(const Operands& o) { return static_cast<float>(o.number("epsilon")); }

Step layer_norm(Operands& o) {
  const Tensor x = o.matrix(0, "x", any, any, activation);
  const int64_t N = x.rows(), C = x.columns();
  const Tensor gain = o.vector(1, "gain", C, float_or_bf16);
  const Tensor bias = o.vector(2, "bias", C, float_or_bf16);
  const Tensor y = o.output(x.size(), activation);
  o.in_place(0);
  return {[=, e = epsilon(o)](Context& c) {
            layer_norm_forward(c, out(y), in(x), weights(gain), weights(bias), e, N, C);
          },
          floats(2 * C), 0};
}

Step layer_norm_backward_input(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any, activation);
  const int64_t N = dy.rows(), C = dy.columns();
  const Tensor x = o.matrix(1, "x", N, C, activation);
  const Tensor gain = o.vector(2, "gain", C, float_or_bf16);
  const Tensor added = o.optional_matrix(3, "added", N, C, activation);
  const Tensor dx = o.output(x.size(), activation);
  o.in_place(0);
  o.in_place(3);
  return {[=, e = epsilon(o)](Context& c) {
            PIPE_DEVICE::layer_norm_backward_input(c, out(dx), in(dy), in(x), weights(gain), in(added), e, N, C);
          },
          floats(C), 0};
}

Step layer_norm_backward_gain(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any);
  const int64_t N = dy.rows(), C = dy.columns();
  const Tensor x = o.matrix(1, "x", N, C);
  const Tensor dgain = o.output(C);
  return {[=, e = epsilon(o)](Context& c) {
            PIPE_DEVICE::layer_norm_backward_gain(c, dgain.f32(), dy.f32(), x.f32(), e, N, C);
          },
          floats(2 * N), 0};
}

Step gelu(Operands& o) {
  const Tensor x = o.tensor(0, "x", activation);
  const Tensor y = o.output(x.size(), activation);
  o.in_place(0);
  return {[=](Context& c) { gelu_forward(c, out(y), in(x), x.size()); }, 0, 0};
}

Step gelu_backward(Operands& o) {
  const Tensor dy = o.tensor(0, "dy", activation);
  const Tensor x = o.vector(1, "x", dy.size(), activation);
  const Tensor dx = o.output(dy.size(), activation);
  o.in_place(0);
  o.in_place(1);
  return {[=](Context& c) { PIPE_DEVICE::gelu_backward(c, out(dx), in(dy), in(x), dx.size()); }, 0, 0};
}

// The number of heads, which must divide a width of C.
int64_t heads(const Operands& o, int64_t C) {
  const int64_t heads = o.natural("heads");
  o.require(heads > 0 && C % heads == 0,
            "has " + std::to_string(heads) + " heads, which do not divide a width of " + std::to_string(C));
  return heads;
}

AttentionShape attention_shape(const Operands& o, const Tensor& qkv) {
  o.require(qkv.columns() % 3 == 0, "has operand qkv of shape " + to_string(qkv.buffer->shape) +
                                        "; its last dimension must hold queries, keys and values");
  const int64_t C = qkv.columns() / 3;
  return {qkv.dimension(0), qkv.dimension(1), C, heads(o, C)};
}

Step causal_attention(Operands& o) {
  const Tensor qkv = o.cube(0, "qkv", any, any, any, activation);
  const AttentionShape s = attention_shape(o, qkv);
  const Tensor y = o.output(s.B * s.T * s.C, activation);
  return {[=](Context& c) { causal_attention_forward(c, out(y), nullptr, in(qkv), s); }, 0, causal_attention_local(s)};
}

Step causal_attention_with_lse(Operands& o) {
  const Tensor qkv = o.cube(0, "qkv", any, any, any, activation);
  const AttentionShape s = attention_shape(o, qkv);
  const Tensor y = o.output(s.B * s.T * s.C, activation);
  const Tensor lse = o.output(s.B * s.heads * s.T);
  return {[=](Context& c) { causal_attention_forward(c, out(y), lse.f32(), in(qkv), s); }, 0,
          causal_attention_local(s)};
}

Step causal_attention_backward(Operands& o) {
  const Tensor qkv = o.cube(1, "qkv", any, any, any, activation);
  const AttentionShape s = attention_shape(o, qkv);
  const Tensor dy = o.matrix(0, "dy", s.B * s.T, s.C, activation);
  const Tensor dqkv = o.output(qkv.size(), activation);
  return {[=](Context& c) {
            PIPE_DEVICE::causal_attention_backward(c, out(dqkv), in(dy), in(qkv), {}, nullptr, s);
          },
          0, causal_attention_local(s)};
}

Step causal_attention_backward_from_lse(Operands& o) {
  const Tensor qkv = o.cube(1, "qkv", any, any, any, activation);
  const AttentionShape s = attention_shape(o, qkv);
  const Tensor dy = o.matrix(0, "dy", s.B * s.T, s.C, activation);
  const Tensor y = o.matrix(2, "y", s.B * s.T, s.C, activation);
  const Tensor lse = o.vector(3, "lse", s.B * s.heads * s.T);
  const Tensor dqkv = o.output(qkv.size(), activation);
  return {[=](Context& c) {
            PIPE_DEVICE::causal_attention_backward(c, out(dqkv), in(dy), in(qkv), in(y), lse.f32(), s);
          },
          0, causal_attention_local(s)};
}

Step cache_write(Operands& o) {
  const Tensor cache = o.cube(0, "cache", any, any, any);
  const CacheShape s{cache.dimension(0), cache.dimension(1), cache.dimension(2), 1};
  const Tensor qkv = o.matrix(1, "qkv", s.B, 3 * s.C);
  const Tensor positions = o.vector(2, "positions", s.B, int_only);
  const int64_t part = o.natural("part");
  o.require(part == 1 || part == 2, "has part " + std::to_string(part) + "; it must be 1 (keys) or 2 (values)");
  const Tensor out = o.output(cache.size());
  o.in_place(0);
  return {[=](Context& c) { PIPE_DEVICE::cache_write(c, out.f32(), cache.f32(), qkv.f32(), positions.i32(), part, s); },
          0, 0};
}

Step cached_attention(Operands& o) {
  const Tensor keys = o.cube(1, "keys", any, any, any);
  CacheShape s{keys.dimension(0), keys.dimension(1), keys.dimension(2), 1};
  s.heads = heads(o, s.C);
  const Tensor qkv = o.matrix(0, "qkv", s.B, 3 * s.C);
  const Tensor values = o.cube(2, "values", s.B, s.P, s.C);
  const Tensor positions = o.vector(3, "positions", s.B, int_only);
  const Tensor y = o.output(s.B * s.C);
  return {[=](Context& c) {
            PIPE_DEVICE::cached_attention(c, y.f32(), qkv.f32(), keys.f32(), values.f32(), positions.i32(), s);
          },
          0, floats(s.P)};
}

Step embedding(Operands& o) {
  const Tensor table = o.matrix(0, "table", any, any, float_or_bf16);
  const Tensor ids = o.tensor(1, "ids", int_only);
  const int64_t N = ids.size(), V = table.rows(), C = table.columns();
  const Tensor y = o.output(N * C, activation);
  return {[=](Context& c) { embedding_forward(c, out(y), weights(table), ids.i32(), N, V, C); }, 0, 0};
}

Step embedding_backward(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any);
  const int64_t N = dy.rows(), V = o.natural("rows"), C = dy.columns();
  const Tensor ids = o.vector(1, "ids", N, int_only);
  const Tensor dtable = o.output(V * C);
  return {[=](Context& c) { PIPE_DEVICE::embedding_backward(c, dtable.f32(), dy.f32(), ids.i32(), N, V, C); }, 0, 0};
}

Step dropout(Operands& o) {
  const Tensor x = o.tensor(0, "x", activation);
  const Tensor step = o.vector(1, "step", 1, int_only);
  const double rate = o.number("rate");
  o.require(rate >= 0 && rate < 1, "has rate " + std::to_string(rate) + "; it must be in [0, 1)");
  const DropoutKey key{rate, static_cast<uint32_t>(o.natural("seed")), static_cast<uint32_t>(o.natural("site"))};
  const Tensor y = o.output(x.size(), activation);
  o.in_place(0);
  return {[=](Context& c) { PIPE_DEVICE::dropout(c, out(y), in(x), step.i32(), key, x.size()); }, 0, 0};
}

}  // namespace

const std::vector<NamedBind>& layer_binders() {
  static const std::vector<NamedBind> table = {
      {"LayerNorm", layer_norm},
      {"LayerNormBackwardInput", layer_norm_backward_input},
      {"LayerNormBackwardGain", layer_norm_backward_gain},
      {"Gelu", gelu},
      {"GeluBackward", gelu_backward},
      {"CausalAttention", causal_attention},
      {"CausalAttentionWithLse", causal_attention_with_lse},
      {"CausalAttentionBackward", causal_attention_backward},
      {"CausalAttentionBackwardFromLse", causal_attention_backward_from_lse},
      {"CacheWrite", cache_write},
      {"CachedAttention", cached_attention},
      {"Embedding", embedding},
      {"EmbeddingBackward", embedding_backward},
      {"Dropout", dropout},
  };
  return table;
}

}  // namespace PIPE_DEVICE
