// Causal self-attention by head, in blocks of queries, so that scores take 64 x T floats and not T x T.
#include <algorithm>

#include "../kernels.h"
#include "gemm.h"
#include "softmax.h"

namespace pipe {

namespace {

constexpr int64_t query_block = 64;

// One head of one sequence: where its queries, keys and values begin in qkv, rows `stride` apart.
struct Head {
  const float* q;
  const float* k;
  const float* v;
  int64_t stride;
  int64_t width;  // of a head
  float scale;
};

Head head_of(const float* qkv, int64_t index, const AttentionShape& s) {
  const int64_t width = s.C / s.heads;
  const float* q = qkv + index / s.heads * s.T * 3 * s.C + index % s.heads * width;
  return {q, q + s.C, q + 2 * s.C, 3 * s.C, width, 1 / std::sqrt(static_cast<float>(width))};
}

// p[rows, keys]: the attention of queries [first, first + rows) to keys [0, keys = first + rows); 0 past the query.
// lse[rows], or none: the logarithm of each softmax's denominator.
void attend(float* p, float* lse, const Head& head, int64_t first, int64_t rows, float* packing) {
  const int64_t keys = first + rows;
  gemm({rows,
        keys,
        head.width,
        {head.q + first * head.stride, head.stride, false},
        Right::of(head.k, head.stride, true),
        p,
        keys},
       packing);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t seen = first + i + 1;
    const float of_row = softmax(p + i * keys, seen, head.scale);
    if (lse != nullptr) lse[i] = of_row;
    std::fill(p + i * keys + seen, p + (i + 1) * keys, 0.0f);
  }
}

// dp[rows, keys] becomes the gradient of the scores: scale * p * (dp - the row's sum of p * dp).
void softmax_backward(float* dp, const float* p, const Head& head, int64_t first, int64_t rows) {
  const int64_t keys = first + rows;
  for (int64_t i = 0; i < rows; ++i) {
    const float* attention = p + i * keys;
    float* gradient = dp + i * keys;
    const float weighted =
        sum_terms(keys, [&](int64_t j, int64_t n) { return load(attention + j, n) * load(gradient + j, n); });
    const auto score = [&](Floats a, Floats d) { return head.scale * a * (d - weighted); };
    map(0, keys, gradient, score, attention, gradient);
  }
}

}  // namespace

size_t causal_attention_local(const AttentionShape& s) {
  return static_cast<size_t>(2 * std::min(query_block, s.T) * s.T);
}

void causal_attention_forward(Context& context, float* y, float* lse, const float* qkv, const AttentionShape& s) {
  context.pool.split(s.B * s.heads, 1, [&](int thread, int64_t begin, int64_t end) {
    float* p = context.local_of(thread);
    float* packing = context.packing_of(thread);
    for (int64_t index = begin; index < end; ++index) {
      const Head head = head_of(qkv, index, s);
      float* out = y + index / s.heads * s.T * s.C + index % s.heads * head.width;
      for (int64_t first = 0; first < s.T; first += query_block) {
        const int64_t rows = std::min(query_block, s.T - first);
        const int64_t keys = first + rows;
        attend(p, lse == nullptr ? nullptr : lse + index * s.T + first, head, first, rows, packing);
        gemm({rows, head.width, keys, {p, keys, false}, Right::of(head.v, head.stride, false), out + first * s.C, s.C},
             packing);
      }
    }
  });
}

// The scores of a block are cheap beside what reading y and lse would save, so that both are computed again.
void causal_attention_backward(Context& context, float* dqkv, const float* dy, const float* qkv, const float*,
                               const float*, const AttentionShape& s) {
  context.pool.split(s.B * s.heads, 1, [&](int thread, int64_t begin, int64_t end) {
    float* p = context.local_of(thread);
    float* ds = p + std::min(query_block, s.T) * s.T;
    float* packing = context.packing_of(thread);
    for (int64_t index = begin; index < end; ++index) {
      const Head head = head_of(qkv, index, s);
      float* dq = dqkv + (head.q - qkv);
      float* dk = dqkv + (head.k - qkv);
      float* dv = dqkv + (head.v - qkv);
      const float* dout = dy + index / s.heads * s.T * s.C + index % s.heads * head.width;
      // The last block comes first: it reaches every key, so it writes what the others add to.
      const int64_t last = (s.T - 1) / query_block * query_block;
      for (int64_t first = last; first >= 0; first -= query_block) {
        const int64_t rows = std::min(query_block, s.T - first);
        const int64_t keys = first + rows;
        const float* d = dout + first * s.C;
        attend(p, nullptr, head, first, rows, packing);
        gemm({rows, keys, head.width, {d, s.C, false}, Right::of(head.v, head.stride, true), ds, keys}, packing);
        softmax_backward(ds, p, head, first, rows);
        gemm({rows,
              head.width,
              keys,
              {ds, keys, false},
              Right::of(head.k, head.stride, false),
              dq + first * head.stride,
              head.stride},
             packing);
        const auto add_transposed = [&](const float* left, Right right, float* out) {
          gemm({keys, head.width, rows, {left, keys, true}, right, out, head.stride, nullptr, first != last}, packing);
        };
        add_transposed(ds, Right::of(head.q + first * head.stride, head.stride, false), dk);
        add_transposed(p, Right::of(d, s.C, false), dv);
      }
    }
  });
}

}  // namespace pipe
