// Binders of linear maps: plain, NF4, LoRA, batched.
#include "kernels.h"
#include "registry.h"

namespace PIPE_DEVICE {

namespace {

size_t floats(int64_t n) { return static_cast<size_t>(n); }

Step linear(Operands& o) {
  const Tensor x = o.matrix(0, "x", any, any, activation);
  const int64_t N = x.rows(), K = x.columns();
  const Tensor w = o.matrix(1, "w", any, K, float_or_bf16);
  const int64_t M = w.rows();
  const Tensor bias = o.optional_vector(2, "bias", M, float_or_bf16);
  const Tensor added = o.optional_matrix(3, "added", N, M, activation);
  const Tensor y = o.output(N * M, activation);
  o.in_place(3);
  return {[=](Context& c) { linear_forward(c, out(y), in(x), weights(w), weights(bias), in(added), N, M, K); },
          floats(M), 0};
}

Step linear_backward_input(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any, activation);
  const int64_t N = dy.rows(), M = dy.columns();
  const Tensor w = o.matrix(1, "w", M, any, float_or_bf16);
  const int64_t K = w.columns();
  const Tensor added = o.optional_matrix(2, "added", N, K, activation);
  const Tensor dx = o.output(N * K, activation);
  o.in_place(2);
  return {[=](Context& c) {
            PIPE_DEVICE::linear_backward_input(c, out(dx), in(dy), weights(w), in(added), N, M, K);
          },
          0, 0};
}

Step linear_backward_weight(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any, activation);
  const int64_t N = dy.rows(), M = dy.columns();
  const Tensor x = o.matrix(1, "x", N, any, activation);
  const int64_t K = x.columns();
  const Tensor dw = o.output(M * K);
  return {[=](Context& c) { PIPE_DEVICE::linear_backward_weight(c, dw.f32(), in(dy), in(x), N, M, K); }, 0, 0};
}

Step column_sum(Operands& o) {
  const Tensor x = o.matrix(0, "dy", any, any);
  const Tensor sums = o.output(x.columns());
  return {[=](Context& c) { PIPE_DEVICE::column_sum(c, sums.f32(), x.f32(), x.rows(), x.columns()); }, 0, 0};
}

int64_t positive(const Operands& o, const char* attribute) {
  const int64_t value = o.natural(attribute);
  o.require(value > 0, std::string("has an attribute ") + attribute + " = 0; it must be positive");
  return value;
}

// Operands `first` to `first` + 2: codes, absmax and codebook of a matrix of n elements. With an attribute nestedBlock,
// absmax is in codes, and the last three operands say what they stand for.
Nf4 nf4_operands(Operands& o, size_t first, int64_t n) {
  const int64_t block = o.natural("block");
  o.require(block >= 2 && block % 2 == 0, "has block " + std::to_string(block) + "; it must be even and positive");
  o.require(n % block == 0, "has a matrix of " + std::to_string(n) + " elements, which blocks of " +
                                std::to_string(block) + " do not divide");
  const Tensor codes = o.vector(first, "codes", n / 2, byte_only);
  const Tensor codebook = o.vector(first + 2, "codebook", 16);
  Nf4 stored{codes.u8(), nullptr, codebook.f32(), block};
  if (!o.has("nestedBlock")) {
    stored.absmax = o.vector(first + 1, "absmax", n / block).f32();
    return stored;
  }
  const int64_t nested = positive(o, "nestedBlock"), scales = n / block;
  const size_t last = o.split_off(3);
  stored.nested = {o.vector(first + 1, "absmax", scales, byte_only).u8(),
                   o.vector(last, "nestedAbsmax", (scales + nested - 1) / nested).f32(),
                   o.vector(last + 1, "nestedCodebook", 256).f32(), o.vector(last + 2, "offset", 1).f32(), nested};
  return stored;
}

Step nf4_matmul(Operands& o) {
  const Tensor x = o.matrix(0, "x", any, any, activation);
  const int64_t N = x.rows(), K = x.columns(), M = positive(o, "outFeatures");
  const Nf4 w = nf4_operands(o, 1, M * K);
  const Tensor bias = o.optional_vector(4, "bias", M, float_or_bf16);
  const Tensor added = o.optional_matrix(5, "added", N, M, activation);
  const Tensor y = o.output(N * M, activation);
  o.in_place(5);
  return {[=](Context& c) { nf4_matmul_forward(c, out(y), in(x), w, weights(bias), in(added), N, M, K); },
          floats(M) + nf4_shared(w, M * K), 0};
}

Step nf4_matmul_backward_input(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any, activation);
  const int64_t N = dy.rows(), M = dy.columns(), K = positive(o, "inFeatures");
  const Nf4 w = nf4_operands(o, 1, M * K);
  const Tensor added = o.optional_matrix(4, "added", N, K, activation);
  const Tensor dx = o.output(N * K, activation);
  o.in_place(4);
  return {[=](Context& c) { PIPE_DEVICE::nf4_matmul_backward_input(c, out(dx), in(dy), w, in(added), N, M, K); },
          nf4_shared(w, M * K), 0};
}

Step nf4_dequantize(Operands& o) {
  const Tensor codes = o.tensor(0, "codes", byte_only);
  const int64_t n = 2 * codes.size();
  const Nf4 stored = nf4_operands(o, 0, n);
  const Tensor w = o.output(n);
  return {[=](Context& c) { nf4_dequantize_forward(c, w.f32(), stored, n); }, 0, 0};
}

Step dequantize_absmax(Operands& o) {
  const Tensor codes = o.tensor(0, "codes", byte_only);
  const int64_t n = codes.size(), block = positive(o, "nestedBlock");
  const Tensor nested = o.vector(1, "nestedAbsmax", (n + block - 1) / block);
  const Tensor codebook = o.vector(2, "nestedCodebook", 256);
  const Tensor offset = o.vector(3, "offset", 1);
  const Tensor absmax = o.output(n);
  return {[=](Context& c) {
            PIPE_DEVICE::dequantize_absmax(c, absmax.f32(), codes.u8(), nested.f32(), codebook.f32(), offset.f32(), n,
                                           block);
          },
          0, 0};
}

Step lora_hidden(Operands& o) {
  const Tensor x = o.matrix(0, "x", any, any, activation);
  const Tensor a = o.matrix(1, "a", any, x.columns());
  const float scale = static_cast<float>(o.number("scale"));
  const Tensor u = o.output(x.rows() * a.rows(), activation);
  return {[=](Context& c) {
            PIPE_DEVICE::lora_hidden(c, out(u), in(x), a.f32(), scale, x.rows(), a.rows(), x.columns());
          },
          0, 0};
}

// Where an update of M columns lies: u is [N, R], b is [parts * width, rank].
LoraShape lora_shape(const Operands& o, int64_t N, int64_t M, int64_t R, int64_t width_of_all) {
  const std::vector<int64_t> offsets = o.integers("offsets");
  LoraShape s{N, M, R, 0, static_cast<int64_t>(offsets.size()), {}};
  o.require(s.parts >= 1 && s.parts <= static_cast<int64_t>(most_lora_parts) && R % s.parts == 0 &&
                width_of_all % s.parts == 0,
            "has " + std::to_string(offsets.size()) + " offsets for a hidden of " + std::to_string(R) + " columns and " +
                std::to_string(width_of_all) + " rows of b; at most " + std::to_string(most_lora_parts) +
                " families of one width and rank share a matrix");
  s.width = width_of_all / s.parts;
  for (size_t i = 0; i < offsets.size(); ++i) {
    o.require(offsets[i] >= 0 && offsets[i] + s.width <= M,
              "updates columns " + std::to_string(offsets[i]) + " to " + std::to_string(offsets[i] + s.width) + " of " +
                  std::to_string(M));
    s.offsets[i] = offsets[i];
  }
  return s;
}

Step lora_update(Operands& o) {
  const Tensor y = o.matrix(0, "y", any, any, activation);
  const Tensor u = o.matrix(1, "u", y.rows(), any, activation);
  const Tensor b = o.matrix(2, "b", any, any);
  const LoraShape s = lora_shape(o, y.rows(), y.columns(), u.columns(), b.rows());
  o.require(b.columns() == s.rank(), "has b of rank " + std::to_string(b.columns()) + " for a hidden of rank " +
                                         std::to_string(s.rank()));
  const Tensor updated = o.output(y.size(), {y.buffer->storage});
  o.in_place(0);
  return {[=](Context& c) { PIPE_DEVICE::lora_update(c, out(updated), in(y), in(u), b.f32(), s); }, 0, 0};
}

Step lora_backward_hidden(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any, activation);
  const Tensor b = o.matrix(1, "b", any, any);
  const int64_t R = b.columns() * static_cast<int64_t>(o.integers("offsets").size());
  const LoraShape s = lora_shape(o, dy.rows(), dy.columns(), R, b.rows());
  const Tensor du = o.output(s.N * s.R, activation);
  return {[=](Context& c) { PIPE_DEVICE::lora_backward_hidden(c, out(du), in(dy), b.f32(), s); }, 0, 0};
}

Step lora_backward_b(Operands& o) {
  const Tensor dy = o.matrix(0, "dy", any, any, activation);
  const Tensor u = o.matrix(1, "u", dy.rows(), any, activation);
  const int64_t width_of_all = positive(o, "width") * static_cast<int64_t>(o.integers("offsets").size());
  const LoraShape s = lora_shape(o, dy.rows(), dy.columns(), u.columns(), width_of_all);
  const Tensor db = o.output(width_of_all * s.rank());
  return {[=](Context& c) { PIPE_DEVICE::lora_backward_b(c, db.f32(), in(dy), in(u), s); }, 0, 0};
}

Step lora_backward_a(Operands& o) {
  const Tensor du = o.matrix(0, "du", any, any, activation);
  const Tensor x = o.matrix(1, "x", du.rows(), any, activation);
  const float scale = static_cast<float>(o.number("scale"));
  const int64_t N = du.rows(), R = du.columns(), K = x.columns();
  const Tensor da = o.output(R * K);
  return {[=](Context& c) { PIPE_DEVICE::lora_backward_a(c, da.f32(), in(du), in(x), scale, N, R, K); }, 0, 0};
}

Step lora_backward_input(Operands& o) {
  const Tensor du = o.matrix(0, "du", any, any, activation);
  const Tensor a = o.matrix(1, "a", du.columns(), any);
  const float scale = static_cast<float>(o.number("scale"));
  const int64_t N = du.rows(), R = du.columns(), K = a.columns();
  const Tensor dx = o.output(N * K, activation);
  return {[=](Context& c) { PIPE_DEVICE::lora_backward_input(c, out(dx), in(du), a.f32(), scale, N, R, K); }, 0, 0};
}

Step batch_matmul(Operands& o) {
  const Tensor a = o.tensor(0, "a");
  const Tensor b = o.tensor(1, "b");
  const size_t rank = a.buffer->shape.size();
  o.require(rank == b.buffer->shape.size() && (rank == 2 || rank == 3),
            "takes two matrices, or two batches of them, not " + to_string(a.buffer->shape) + " and " +
                to_string(b.buffer->shape));
  BatchShape s;
  s.transpose_a = o.number("transposeA", 0) != 0;
  s.transpose_b = o.number("transposeB", 0) != 0;
  s.batch = rank == 3 ? a.dimension(0) : 1;
  s.m = a.dimension(rank - (s.transpose_a ? 1 : 2));
  s.k = a.dimension(rank - (s.transpose_a ? 2 : 1));
  s.n = b.dimension(rank - (s.transpose_b ? 2 : 1));
  o.require(b.dimension(rank - (s.transpose_b ? 1 : 2)) == s.k && (rank == 2 || b.dimension(0) == s.batch),
            "has operands that do not fit: " + to_string(a.buffer->shape) + (s.transpose_a ? " transposed" : "") +
                " and " + to_string(b.buffer->shape) + (s.transpose_b ? " transposed" : ""));
  const Tensor c = o.output(s.batch * s.m * s.n);
  return {[=](Context& context) { PIPE_DEVICE::batch_matmul(context, c.f32(), a.f32(), b.f32(), s); }, 0, 0};
}

}  // namespace

const std::vector<NamedBind>& linear_binders() {
  static const std::vector<NamedBind> table = {
      {"Linear", linear},
      {"LinearBackwardInput", linear_backward_input},
      {"LinearBackwardWeight", linear_backward_weight},
      {"ColumnSum", column_sum},
      {"Nf4MatMul", nf4_matmul},
      {"Nf4MatMulBackwardInput", nf4_matmul_backward_input},
      {"Nf4Dequantize", nf4_dequantize},
      {"DequantizeAbsmax", dequantize_absmax},
      {"LoraHidden", lora_hidden},
      {"LoraUpdate", lora_update},
      {"LoraBackwardHidden", lora_backward_hidden},
      {"LoraBackwardB", lora_backward_b},
      {"LoraBackwardA", lora_backward_a},
      {"LoraBackwardInput", lora_backward_input},
      {"BatchMatMul", batch_matmul},
  };
  return table;
}

}  // namespace PIPE_DEVICE
