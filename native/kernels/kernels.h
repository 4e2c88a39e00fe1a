// What every kernel computes, with shapes. Each device implements all of it: the CPU in namespace pipe, CUDA in
// pipe::cuda.
//
// Tensors are float32, dense, the last dimension contiguous, unless said otherwise. `Weights` are float32 or bf16; `In`
// and `Out` are activations (activation.h). N counts rows (batch * time). An output is written whole. "shared" and "local" are the floats of Context's workspace
// that a CPU kernel uses: one for all threads, and one for each. Kernels are named in programs by registry.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../storage.h"
#include "activation.h"
#include "cpu/nf4.h"
#include "device.h"

namespace PIPE_DEVICE {

// ---- Linear maps ------------------------------------------------------------------------------------------------

// y[N, M] = x[N, K] w[M, K]^T + bias[M] (or none) + added[N, M] (or none). y may be added.  shared: M
void linear_forward(Context&, Out y, In x, Weights w, Weights bias, In added, int64_t N, int64_t M, int64_t K);
// dx[N, K] = dy[N, M] w[M, K] + added[N, K] (or none). dx may be added.
void linear_backward_input(Context&, Out dx, In dy, Weights w, In added, int64_t N, int64_t M, int64_t K);
// dw[M, K] = dy[N, M]^T x[N, K]
void linear_backward_weight(Context&, float* dw, In dy, In x, int64_t N, int64_t M, int64_t K);
// sums[M] = the sum of x[N, M] over rows
void column_sum(Context&, float* sums, const float* x, int64_t N, int64_t M);

// The same with W[M, K] stored as NF4.  shared: M, and nf4_shared(w, M * K)
void nf4_matmul_forward(Context&, Out y, In x, const Nf4& w, Weights bias, In added, int64_t N, int64_t M, int64_t K);
void nf4_matmul_backward_input(Context&, Out dx, In dy, const Nf4& w, In added, int64_t N, int64_t M, int64_t K);
size_t nf4_shared(const Nf4& w, int64_t n);
// w[n]: the stored matrix, as float32 values rounded to bf16
void nf4_dequantize_forward(Context&, float* w, const Nf4& stored, int64_t n);
// absmax[n] = codebook[codes[i]] * nested[i / block] + offset[0]; codes uint8, codebook[256]
void dequantize_absmax(Context&, float* absmax, const uint8_t* codes, const float* nested, const float* codebook,
                       const float* offset, int64_t n, int64_t block);

// Quantization of w[n] in blocks. A scale is the largest magnitude of its block: absmax[n / block]. An element's code is the
// number of thresholds that w / scale (float32) is greater than; in a block of zeros it is that of 0. Two codes a byte,
// the even element's in the high nibble: codes[n / 2]. Elements are finite.
inline constexpr int64_t nf4_thresholds = 15;  // ascending
void nf4_absmax(Context&, float* absmax, const float* w, int64_t n, int64_t block);
void nf4_codes(Context&, uint8_t* codes, const float* w, const float* absmax, const float* thresholds, int64_t n,
               int64_t block);
// Both from one reading of w.
void nf4_quantize(Context&, float* absmax, uint8_t* codes, const float* w, const float* thresholds, int64_t n,
                  int64_t block);

// The low-rank update of a linear map (Hu et al. 2021, section 4.1) in two thin products. `parts` families of `width`
// columns each, family i's at offsets[i] of M, have `rank` columns of the hidden u each: R = parts * rank.
inline constexpr size_t most_lora_parts = 4;
struct LoraShape {
  int64_t N, M, R, width, parts;
  int64_t offsets[most_lora_parts];
  int64_t rank() const { return R / parts; }
};
// u[N, R] = scale x[N, K] a[R, K]^T
void lora_hidden(Context&, Out u, In x, const float* a, float scale, int64_t N, int64_t R, int64_t K);
// out[N, M] = y, with u's columns of family i times b's rows of it added to its columns; b[parts * width, rank]. out may
// be y.
void lora_update(Context&, Out out, In y, In u, const float* b, const LoraShape&);
// du[N, R] = dy's columns of each family times b's rows of it
void lora_backward_hidden(Context&, Out du, In dy, const float* b, const LoraShape&);
// db[parts * width, rank] = dy's columns of each family, transposed, times u's columns of it
void lora_backward_b(Context&, float* db, In dy, In u, const LoraShape&);
// da[R, K] = scale du[N, R]^T x[N, K]
void lora_backward_a(Context&, float* da, In du, In x, float scale, int64_t N, int64_t R, int64_t K);
// dx[N, K] = scale du[N, R] a[R, K]
void lora_backward_input(Context&, Out dx, In du, const float* a, float scale, int64_t N, int64_t R, int64_t K);

// c[batch, m, n] = a b for each of the batch; a is [m, k], or [k, m] if transposed, b is [k, n], or [n, k].
struct BatchShape {
  int64_t batch, m, n, k;
  bool transpose_a, transpose_b;
};
void batch_matmul(Context&, float* c, const float* a, const float* b, const BatchShape&);

// ---- The layers of GPT-2 ----------------------------------------------------------------------------------------

// y[N, C] = (x - mean) / sqrt(variance + epsilon) * gain + bias, by row; variance is the mean square deviation. shared:
// 2 C
void layer_norm_forward(Context&, Out y, In x, Weights gain, Weights bias, float epsilon, int64_t N, int64_t C);
// dx[N, C], given dy[N, C] and x[N, C]; with added[N, C] (or none) in the sum. dx may be dy or added.  shared: C
void layer_norm_backward_input(Context&, Out dx, In dy, In x, Weights gain, In added, float epsilon, int64_t N,
                               int64_t C);
// dgain[C] = the sum over rows of dy * (x - mean) / sqrt(variance + epsilon).  shared: 2 N
void layer_norm_backward_gain(Context&, float* dgain, const float* dy, const float* x, float epsilon, int64_t N,
                              int64_t C);

// y[n] = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): GPT-2's form of GELU (Hendrycks and Gimpel 2016, section 2)
void gelu_forward(Context&, Out y, In x, int64_t n);
// dx[n] = dy * the derivative at x. dx may be dy or x.
void gelu_backward(Context&, Out dx, In dy, In x, int64_t n);

struct AttentionShape {
  int64_t B, T, C, heads;
};
// y[B, T, C]: each position attends over itself and those before it, by head; scores are scaled by 1 / sqrt(C / heads).
// qkv[B, T, 3C] holds queries, keys, values side by side. lse[B, heads, T] (or none) takes the logarithm of each softmax's
// denominator, for the gradient.  local: causal_attention_local(shape)
void causal_attention_forward(Context&, Out y, float* lse, In qkv, const AttentionShape&);
// dqkv[B, T, 3C], given dy[B, T, C]; the scores are computed again. y and lse as the forward pass gave them, or neither:
// then they are computed again too.  local: causal_attention_local(shape)
void causal_attention_backward(Context&, Out dqkv, In dy, In qkv, In y, const float* lse, const AttentionShape&);
size_t causal_attention_local(const AttentionShape&);

struct CacheShape {
  int64_t B, P, C, heads;
};
// out[B, P, C] = cache, but row positions[b] of b is part 1 (keys) or 2 (values) of qkv[B, 1, 3C]. out may be cache.
// Throws DataError for a position outside [0, P).
void cache_write(Context&, float* out, const float* cache, const float* qkv, const int32_t* positions, int64_t part,
                 const CacheShape&);
// y[B, 1, C]: the queries of qkv[B, 1, 3C] attend over rows 0 to positions[b] of keys and values [B, P, C].  local: P
// Throws DataError for a position outside [0, P).
void cached_attention(Context&, float* y, const float* qkv, const float* keys, const float* values,
                      const int32_t* positions, const CacheShape&);

// y[N, C] = rows ids[N] of table[V, C]. Throws DataError for an id outside [0, V).
void embedding_forward(Context&, Out y, Weights table, const int32_t* ids, int64_t N, int64_t V, int64_t C);
// dtable[V, C]: each row is the sum, in order, of the rows of dy[N, C] with its id. Throws DataError as above.
void embedding_backward(Context&, float* dtable, const float* dy, const int32_t* ids, int64_t N, int64_t V, int64_t C);

// ---- The loss ---------------------------------------------------------------------------------------------------

// Operands of the loss: hidden[N, C], table[V, C], targets[N]; logits are hidden table^T, held for `chunk` rows at a
// time in logits[chunk, V]. Rows whose target is negative are left out. All throw DataError for a target >= V. shared:
// 2 chunk C + N + chunk
struct Loss {
  In hidden;
  Weights table;
  const int32_t* targets;
  float* logits;
  int64_t N, V, C, chunk;
};
size_t loss_shared(const Loss&);
// loss[1] = the mean over rows with a target of -log softmax(logits)[target]; 0 where no row has one
void cross_entropy_forward(Context&, float* loss, const Loss&);
// dhidden[N, C], given dloss[1]
void cross_entropy_backward_hidden(Context&, Out dhidden, const float* dloss, const Loss&);
// Both at once, so that the logits are made once
void cross_entropy_with_gradient(Context&, float* loss, Out dhidden, const float* dloss, const Loss&);
// dtable[V, C], given dloss[1]
void cross_entropy_backward_table(Context&, float* dtable, const float* dloss, const Loss&);
// y[N] = log softmax(logits)[target], 0 for a row without target
void token_log_prob(Context&, float* y, const Loss&);

// y[n] = x / (1 - rate) where the hash of (seed, site, step, index) keeps an element, else 0. step is int32[1]. y may
// be x.
struct DropoutKey {
  double rate;
  uint32_t seed, site;
};
void dropout(Context&, Out y, In x, const int32_t* step, const DropoutKey&, int64_t n);

// ---- The optimizer (AdamW: Loshchilov and Hutter 2019, algorithm 2) ---------------------------------------------

// norm[1] = sqrt of the sum of squares of all elements of all gradients, in float64.
// shared: 2 floats for each global_norm_chunk elements, or part of it, of each gradient
inline constexpr int64_t global_norm_chunk = 4096;
struct Gradient {
  const float* data;
  int64_t size;
};
void global_norm(Context&, float* norm, const Gradient* gradients, size_t count);
// out[n] = beta1 m + (1 - beta1) c g, where c = min(1, max_norm / (norm + 1e-6)), or 1 if max_norm is 0. out may be m.
void adamw_mean(Context&, float* out, const float* m, const float* g, const float* norm, double beta1, double max_norm,
                int64_t n);
// out[n] = beta2 v + (1 - beta2) (c g)^2. out may be v.
void adamw_variance(Context&, float* out, const float* v, const float* g, const float* norm, double beta2,
                    double max_norm, int64_t n);
struct AdamW {
  double beta1, beta2, epsilon, weight_decay;
};
// out[n] = p - lr ((m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay p); hyper[2] = {lr, t}, t
// counted from 1. out may be p.
void adamw_update(Context&, float* out, const float* p, const float* m, const float* v, const float* hyper,
                  const AdamW&, int64_t n);
// All three for each of `count` parameters, in place.
struct Parameter {
  float* p;
  float* m;
  float* v;
  const float* g;
  int64_t size;
};
void adamw_all(Context&, const Parameter* parameters, size_t count, const float* norm, const float* hyper, const AdamW&,
               double max_norm);

// ---- Elementwise operations and movement ------------------------------------------------------------------------

enum class Arithmetic { add, subtract, multiply };
// out[n] = a op b, where a and b repeat with periods of a_size and b_size elements (n, the length of a row, or 1).
// out may be either operand that has n elements.
void arithmetic(Context&, Arithmetic, Out out, In a, int64_t a_size, In b, int64_t b_size, int64_t n);
// out[n] = x[n]
void copy(Context&, Out out, In x, int64_t n);
// One number an axis: extents, positions, an order of axes.
inline constexpr size_t most_axes = 8;
struct Axes {
  size_t rank = 0;
  int64_t at[most_axes] = {};
};
// out = x with its axes in the order perm: out's axis i is x's axis perm[i].
void transpose(Context&, float* out, const float* x, const Axes& shape, const Axes& perm);
// out = the part of x that begins at begin and has `size` elements along each axis
void slice(Context&, float* out, const float* x, const Axes& shape, const Axes& begin, const Axes& size);
// out[outer, sum of widths] = the parts side by side, each [outer, width]
struct Part {
  const float* data;
  int64_t width;
};
void concat(Context&, float* out, const Part* parts, size_t count, int64_t outer);
// out[outer, inner] = x[outer, summed, inner] summed over the middle axis
void sum(Context&, float* out, const float* x, int64_t outer, int64_t summed, int64_t inner);
// place[N] = where the largest of each row of x[N, M] is: the first of equals. Some place of it where the row holds NaN.
void arg_max(Context&, int32_t* place, const float* x, int64_t N, int64_t M);

// ---- Evaluation ---------------------------------------------------------------------------------------------------

// compared[N, 5], of each row with a target: log softmax(logits)[target]; the place of the largest of logits[N, V], and
// of reference[N, V] (the first of equals); by how much the reference's largest exceeds its second; and
// KL(softmax(reference) || softmax(logits)). Zeros for a row without target. V is at least 2. Throws DataError for a
// target >= V.
inline constexpr int64_t compared_columns = 5;
void compare_logits(Context&, float* compared, const float* logits, const float* reference, const int32_t* targets,
                    int64_t N, int64_t V);

}  // namespace PIPE_DEVICE
