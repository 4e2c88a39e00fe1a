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

// The same on tensor cores: operands rounded to bf16, softmax and sums in float32.
void causal_attention_forward_bf16(Context&, float* y, const float* qkv, const AttentionShape&);
void causal_attention_backward_bf16(Context&, float* dqkv, const float* dy, const float* qkv, const AttentionShape&);

}  // namespace pipe::cuda
