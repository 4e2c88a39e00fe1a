// The place of the largest number of each row.
#include "../kernels.h"
#include "largest.h"

namespace pipe {

void arg_max(Context& context, int32_t* place, const float* x, int64_t N, int64_t M) {
  context.pool.split(N, 1 + 32768 / M, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) place[row] = static_cast<int32_t>(largest_of(x + row * M, M).place);
  });
}

}  // namespace pipe
