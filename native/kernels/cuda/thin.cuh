// Products with one thin side, as low-rank updates have: memory-bound, so that what counts is one pass over the wide side.
#pragma once

#include "elements.cuh"

namespace pipe::cuda {

// A wide matrix W, rows `stride` apart, of which each part i has `columns` columns from offsets[i] on; a thin one
// U[N, parts * rank], of which it has columns [i * rank, (i + 1) * rank); and coefficients C[columns, rank] for each
// part, element (j, r) of part i at i * part_stride + j * j_stride + r * r_stride.
struct ThinShape {
  int64_t N, columns, stride, rank, parts;
  int64_t offsets[most_lora_parts];
  int64_t part_stride, j_stride, r_stride;
  float scale;

  int64_t hidden() const { return parts * rank; }
};

// U = scale W C. Elements of W in bf16 are multiplied on tensor cores, with C rounded to bf16.
void thin_hidden(Context&, float* u, In w, const float* c, const ThinShape&);
// C = scale W^T U, in float32. Takes workspace for partial sums.
void thin_gradient(Context&, float* c, In w, const float* u, const ThinShape&);
// W = added (or none) + scale U C^T, in float32; nothing is written outside the parts' columns. w may be added.
void thin_update(Context&, Out w, In added, const float* u, const float* c, const ThinShape&);

}  // namespace pipe::cuda
