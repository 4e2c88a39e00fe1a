// What both precisions of causal attention share: where a head lies, the tiles that it is cut into.
#pragma once

#include <cmath>
#include <type_traits>

#include "launch.cuh"

namespace pipe::cuda {

// Queries, and keys, of a tile.
constexpr int attention_tile = 64;

// One head of one sequence in [B, T, 3C], and the same columns of a [B, T, C].
struct Heads {
  int64_t T, C, heads;
  int width;
  float scale;  // 1 / sqrt(width), for scores

  __device__ int64_t in_qkv(int64_t head) const { return head / heads * T * 3 * C + head % heads * width; }
  __device__ int64_t in_out(int64_t head) const { return head / heads * T * C + head % heads * width; }
};

inline Heads heads_of(const AttentionShape& s) {
  const int64_t width = s.C / s.heads;
  return {s.T, s.C, s.heads, static_cast<int>(width), 1 / std::sqrt(static_cast<float>(width))};
}

// A block for each tile of each head.
inline dim3 attention_grid(const AttentionShape& s) { return blocks(ceil_div(s.T, attention_tile), s.B * s.heads); }

// Calls body(the least D that holds a head, as an integral constant).
template <class Body>
void with_head_width(const AttentionShape& s, const Body& body) {
  const int64_t width = s.C / s.heads;
  if (width <= 32) return body(std::integral_constant<int, 32>{});
  if (width <= 64) return body(std::integral_constant<int, 64>{});
  if (width <= 128) return body(std::integral_constant<int, 128>{});
  throw ProgramError("has heads of width " + std::to_string(width) + "; on a GPU they are at most 128 wide");
}

// y[B, T, C] and, where it is given, lse[B * heads, T]: the natural logarithm of each softmax's denominator. In float32,
// and on tensor cores: there scores, softmax and sums are float32, operands bf16.
void attend(Context&, float* y, float* lse, const float* qkv, const AttentionShape&);
void attend(Context&, __nv_bfloat16* y, float* lse, const __nv_bfloat16* qkv, const AttentionShape&);

// dqkv[B, T, 3C], given dy, lse, and delta[B * heads, T]: the sum of dy * y over each head of a row.
void attend_backward(Context&, float* dqkv, const float* dy, const float* qkv, const float* lse, const float* delta,
                     const AttentionShape&);
void attend_backward(Context&, __nv_bfloat16* dqkv, const __nv_bfloat16* dy, const __nv_bfloat16* qkv, const float* lse,
                     const float* delta, const AttentionShape&);

// The same by warpgroups, where the GPU has them (compute capability 9.0) and heads are 64 wide.
bool has_warpgroup_attention(const AttentionShape&);
void attend_by_warpgroups(Context&, __nv_bfloat16* y, float* lse, const __nv_bfloat16* qkv, const AttentionShape&);
void attend_backward_by_warpgroups(Context&, __nv_bfloat16* dqkv, const __nv_bfloat16* dy, const __nv_bfloat16* qkv,
                                   const float* lse, const float* delta, const AttentionShape&);

}  // namespace pipe::cuda
