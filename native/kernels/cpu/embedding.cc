// Rows of a table by id, and the sum of gradients by id.
#include <algorithm>
#include <cstring>
#include <string>

#include "../../errors.h"
#include "../kernels.h"
#include "simd.h"
#include "weights.h"

namespace pipe {

namespace {

void check_ids(const int32_t* ids, int64_t N, int64_t V) {
  for (int64_t i = 0; i < N; ++i)
    if (ids[i] < 0 || ids[i] >= V)
      throw DataError("ids[" + std::to_string(i) + "] is " + std::to_string(ids[i]) + ", but the table has rows 0 to " +
                      std::to_string(V - 1));
}

}  // namespace

void embedding_forward(Context& context, float* y, Weights table, const int32_t* ids, int64_t N, int64_t V, int64_t C) {
  check_ids(ids, N, V);
  context.pool.split(N, 1 + 32768 / C, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = read_weights(table, ids[i] * C, C, y + i * C);
      if (row != y + i * C) std::memcpy(y + i * C, row, static_cast<size_t>(C) * sizeof(float));
    }
  });
}

// Threads take columns, so that the rows of one id are added in order by one thread.
void embedding_backward(Context& context, float* dtable, const float* dy, const int32_t* ids, int64_t N, int64_t V,
                        int64_t C) {
  check_ids(ids, N, V);
  const int64_t vectors = (C + lanes - 1) / lanes;
  context.pool.split(vectors, 1 + 32768 / ((N + V) * lanes), [&](int, int64_t first, int64_t last) {
    const int64_t begin = first * lanes;
    const int64_t end = std::min(C, last * lanes);
    for (int64_t v = 0; v < V; ++v) std::fill(dtable + v * C + begin, dtable + v * C + end, 0.0f);
    for (int64_t i = 0; i < N; ++i) {
      float* row = dtable + ids[i] * C;
      map(
          begin, end, row, [](Floats a, Floats b) { return a + b; }, row, dy + i * C);
    }
  });
}

}  // namespace pipe
