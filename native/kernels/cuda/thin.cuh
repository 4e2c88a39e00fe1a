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

  __host__ __device__ int64_t hidden() const { return parts * rank; }
};

// Where W is bf16, on tensor cores, with U or C rounded to bf16 as they enter the product; in float32 otherwise.

// U = scale W C
void thin_hidden(Context&, Out u, In w, const float* c, const ThinShape&);
// C = scale W^T U. Takes workspace for partial sums.
void thin_gradient(Context&, float* c, In w, In u, const ThinShape&);
// W = added (or none) + scale U C^T; nothing is written outside the parts' columns. w may be added.
void thin_update(Context&, Out w, In added, In u, const float* c, const ThinShape&);

}  // namespace pipe::cuda
