// Logits of the rows that have a target, a chunk at a time: what the loss, its gradients and token_log_prob share.
#pragma once

#include <algorithm>
#include <cstring>

#include "../kernels.h"
#include "gemm.h"

namespace pipe {

// A chunk of counted rows: their logits lie in Loss::logits[rows, V].
struct LossChunk {
  const int32_t* index;  // of each row, in hidden
  int64_t rows;
  const float* hidden;  // [rows, C], gathered
  int64_t done;         // counted rows before this chunk
};

// Shared workspace, cut up: gathered rows, room for results of as many, the indices of counted rows, a float a row.
struct LossWorkspace {
  float* hidden;
  float* result;
  int32_t* index;
  float* of_row;

  LossWorkspace(const Context& context, const Loss& loss)
      : hidden(context.shared),
        result(hidden + loss.chunk * loss.C),
        index(reinterpret_cast<int32_t*>(result + loss.chunk * loss.C)),
        of_row(reinterpret_cast<float*>(index + loss.N)) {}
};

// Puts the indices of rows with a target into `index` and returns their number. Throws DataError for a target >= V.
int64_t count_targets(const Loss& loss, int32_t* index);

// A thread is worth waking for about 16k logits.
inline int64_t logits_grain(const Loss& loss) { return 1 + 16384 / loss.V; }

// Calls body(chunk) for the counted rows in order, with their logits made.
template <class Body>
void for_chunks(Context& context, const Loss& loss, const LossWorkspace& workspace, int64_t counted, const Body& body) {
  for (int64_t done = 0; done < counted; done += loss.chunk) {
    const LossChunk chunk{workspace.index + done, std::min(loss.chunk, counted - done), workspace.hidden, done};
    for (int64_t r = 0; r < chunk.rows; ++r)
      std::memcpy(workspace.hidden + r * loss.C, loss.hidden + chunk.index[r] * loss.C,
                  static_cast<size_t>(loss.C) * sizeof(float));
    gemm(context, {chunk.rows,
                   loss.V,
                   loss.C,
                   {workspace.hidden, loss.C, false},
                   Right::of(loss.table, loss.C, true),
                   loss.logits,
                   loss.V});
    body(chunk);
  }
}

// of_row[r] = log softmax(logits of row r)[its target] for the rows of a chunk.
void log_probs(Context& context, const Loss& loss, const LossChunk& chunk, float* of_row);

}  // namespace pipe
