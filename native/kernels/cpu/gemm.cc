// The blocked product: packing, the micro-kernel, and the cut into parts for threads (Goto and van de Geijn 2008).
#include "gemm.h"

#include <algorithm>

#include "gemm_pack.h"
#include "simd.h"

namespace pipe {

namespace {

// Rows of C that the micro-kernel makes at a time: as many as the registers hold accumulators for, two vectors a row,
// beside two vectors of B and one of A. AVX-512 and AArch64 have 32 registers, AVX2 and SSE have 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int tile_rows = 12;
#else
constexpr int tile_rows = 6;
#endif
static_assert(gemm_block_m % tile_rows == 0);

// Where a tile of C goes: `columns` <= gemm_panel of them, and what its sums are added to.
struct Tile {
  float* c;
  int64_t stride;
  int64_t columns;
  const float* bias;  // or nullptr
  bool accumulate;
};

// One vector of a row of the tile. `columns` counts from here.
inline void put(Floats value, float* c, const float* bias, bool accumulate, int64_t columns) {
  if (columns <= 0) return;
  const int64_t n = std::min<int64_t>(columns, lanes);
  if (accumulate)
    value += load(c, n);
  else if (bias != nullptr)
    value += load(bias, n);
  store(c, value, n);
}

// rows x (vectors * lanes) of C from packed panels of A and B: the accumulators stay in registers for all of k.
template <int rows, int vectors>
void multiply_tile(int64_t k, const float* a, const float* b, const Tile& tile) {
  Floats sums[rows][vectors] = {};
  for (int64_t p = 0; p < k; ++p) {
    Floats row[vectors];
    for (int v = 0; v < vectors; ++v) row[v] = load(b + p * gemm_panel + v * lanes);
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i)
      for (int v = 0; v < vectors; ++v) sums[i][v] += a[i * gemm_stride_a + p] * row[v];
  }
#pragma GCC unroll 12
  for (int i = 0; i < rows; ++i)
    for (int v = 0; v < vectors; ++v) {
      const float* bias = tile.bias == nullptr ? nullptr : tile.bias + v * lanes;
      put(sums[i][v], tile.c + i * tile.stride + v * lanes, bias, tile.accumulate, tile.columns - v * lanes);
    }
}

using Multiply = void (*)(int64_t, const float*, const float*, const Tile&);

template <int... rows>
Multiply choose(int64_t count, int64_t columns, std::integer_sequence<int, rows...>) {
  static constexpr Multiply whole[] = {multiply_tile<rows + 1, 2>...};
  static constexpr Multiply narrow[] = {multiply_tile<rows + 1, 1>...};
  return (columns > lanes ? whole : narrow)[count - 1];
}

// The micro-kernel for a tile of `rows` x `columns`: a tile that one vector covers does not pay for two.
Multiply multiply_for(int64_t rows, int64_t columns) {
  return choose(rows, columns, std::make_integer_sequence<int, tile_rows>{});
}

// One block of C from one packed block of A and of B. A panel of A stays in the first-level cache while B streams by.
void multiply_block(int64_t m, int64_t n, int64_t k, const float* a, const float* b, const Tile& block) {
  for (int64_t i = 0; i < m; i += tile_rows) {
    const int64_t rows = std::min<int64_t>(tile_rows, m - i);
    for (int64_t j = 0; j < n; j += gemm_panel) {
      const int64_t columns = std::min(gemm_panel, n - j);
      const float* bias = block.bias == nullptr ? nullptr : block.bias + j;
      multiply_for(rows, columns)(k, a + i * gemm_stride_a, b + j * k,
                                  {block.c + i * block.stride + j, block.stride, columns, bias, block.accumulate});
    }
  }
}

void gemm_blocked(const Product& product, float* packing) {
  float* packed_b = packing;
  float* packed_a = packed_b + gemm_block_n * gemm_block_k;
  float* rows = packed_a + gemm_block_m * gemm_stride_a;
  for (int64_t j = 0; j < product.n; j += gemm_block_n) {
    const int64_t n = std::min(gemm_block_n, product.n - j);
    for (int64_t p = 0; p < product.k; p += gemm_block_k) {
      const int64_t k = std::min(gemm_block_k, product.k - p);
      pack_b(product.b, p, k, j, n, packed_b, rows);
      const float* bias = product.bias == nullptr ? nullptr : product.bias + j;
      for (int64_t i = 0; i < product.m; i += gemm_block_m) {
        const int64_t m = std::min(gemm_block_m, product.m - i);
        pack_a(product.a, i, m, p, k, packed_a);
        multiply_block(m, n, k, packed_a, packed_b,
                       {product.c + i * product.stride + j, product.stride, n, bias, product.accumulate || p > 0});
      }
    }
  }
}

// Rows [begin, end) of the product.
Product rows_of(Product product, int64_t begin, int64_t end) {
  product.a.data += begin * (product.a.transposed ? 1 : product.a.stride);
  product.c += begin * product.stride;
  product.m = end - begin;
  return product;
}

// Columns [begin, end) of the product.
Product columns_of(Product product, int64_t begin, int64_t end) {
  product.b.origin += begin * (product.b.transposed ? product.b.stride : 1);
  product.c += begin;
  if (product.bias != nullptr) product.bias += begin;
  product.n = end - begin;
  return product;
}

// Below this many multiplications a part is not worth waking a thread for (about 20 us).
constexpr int64_t least_work = int64_t{1} << 20;

}  // namespace

void gemm(const Product& product, float* packing) {
  (has_few_rows(product) ? gemm_few_rows : gemm_blocked)(product, packing);
}

void gemm(Context& context, const Product& product) {
  const auto run = has_few_rows(product) ? gemm_few_rows : gemm_blocked;
  const auto grain = [&](int64_t unit, int64_t work) { return std::max<int64_t>(1, least_work / (unit * work)); };
  // Every part packs the whole of the operand that is not cut. B is dearer to pack, so it is cut unless C is tall.
  const int64_t panels = (product.n + gemm_panel - 1) / gemm_panel;
  const int64_t row_tiles = (product.m + tile_rows - 1) / tile_rows;
  if (product.m <= 2 * product.n && panels >= context.pool.threads()) {
    context.pool.split(panels, grain(gemm_panel, product.m * product.k), [&](int thread, int64_t begin, int64_t end) {
      run(columns_of(product, begin * gemm_panel, std::min(product.n, end * gemm_panel)), context.packing_of(thread));
    });
  } else {
    context.pool.split(row_tiles, grain(tile_rows, product.n * product.k), [&](int thread, int64_t begin, int64_t end) {
      run(rows_of(product, begin * tile_rows, std::min(product.m, end * tile_rows)), context.packing_of(thread));
    });
  }
}

}  // namespace pipe
