// Sums down columns: terms of [rows, columns] summed over rows, in an order that depends on the sizes alone.
#pragma once

#include "launch.cuh"

namespace pipe::cuda {

// Rows that one block adds up.
constexpr int64_t rows_per_part = 64;

// parts[part, columns] = the sum of term(row, column) over the rows of a part. Neighbouring threads take neighbouring
// columns.
template <class Term>
__global__ void column_parts(Former former, float* parts, Term term, int64_t rows, int64_t columns) {
  former.wait();
  const int64_t column = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const int64_t begin = blockIdx.y * rows_per_part;
  const int64_t end = min(rows, begin + rows_per_part);
  float total = 0;
  for (int64_t row = begin; row < end; ++row) total += term(row, column);
  parts[blockIdx.y * columns + column] = total;
}

// sums[columns] = the parts in order.
static __global__ void add_parts(Former former, float* sums, const float* parts, int64_t count, int64_t columns) {
  former.wait();
  const int64_t column = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float total = 0;
  for (int64_t part = 0; part < count; ++part) total += parts[part * columns + column];
  sums[column] = total;
}

// Takes workspace for the parts. Term is called on the device as term(row, column).
template <class Term>
void sum_columns(Context& context, float* sums, const Term& term, int64_t rows, int64_t columns) {
  constexpr int threads = 128;
  const int64_t count = ceil_div(rows, rows_per_part);
  const int64_t across = ceil_div(columns, threads);
  float* parts = context.take<float>(count * columns);
  launch(context, column_parts<Term>, blocks(across, count), threads, 0, count == 1 ? sums : parts, term, rows,
         columns);
  if (count > 1) launch(context, add_parts, blocks(across), threads, 0, sums, parts, count, columns);
}

}  // namespace pipe::cuda
