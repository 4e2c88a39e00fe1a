// Hopper's products of a warpgroup (wgmma): 128 threads multiply matrices of 64 x 64 bf16 that lie in shared memory, while
// they go on with something else. Compiled for sm_90a alone: no other GPU has these instructions, later ones included.
#pragma once

#include <cuda_pipeline_primitives.h>

#include "tensor_cores.cuh"

namespace pipe::cuda {

constexpr int warpgroup = 128;  // threads

// 64 rows of 64 bf16, a row in 128 bytes. The eighths of a row, 16 bytes each, are permuted: number c of row r lies in
// place c ^ r % 8, so that neither eight rows nor eight columns of eighths meet in one bank. The tensor cores know this
// order (their swizzle of 128 bytes) and take it from the address: hence the alignment.
constexpr int square = 64;
struct alignas(1024) Square {
  __nv_bfloat16 of[square][square];
};

// A warpgroup's square of sums. A lane holds, of its warp's 16 rows, lane / 4 (i < 2) and lane / 4 + 8; of each 8 columns,
// lane % 4 * 2 (i even) and the next.
using Sums = float[square / 8][4];

// The same square rounded to bf16, as the left operand of a product.
using LeftSquare = uint32_t[square / 16][4];

__device__ inline void round_square(LeftSquare& to, const Sums& from) {
#pragma unroll
  for (int k = 0; k < square / 16; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&eight)[4] = from[2 * k + i / 2];
      to[k][i] = bf16_pair(eight[i % 2 * 2], eight[i % 2 * 2 + 1]);
    }
}

// Begins to load rows [first, first + 64) of a matrix of which T are real; zeros elsewhere. Rows are 16-byte aligned. Done,
// and visible to products, after a __pipeline_commit, its wait, products_see_shared and a barrier.
__device__ inline void load_square(Square& to, const __nv_bfloat16* from, int first, int T, int64_t stride) {
  const int eighth = threadIdx.x % 8;
  const int row = threadIdx.x / 8;
  constexpr int step = warpgroup / 8;  // a multiple of 8, so that each thread keeps its place in rows
  const __nv_bfloat16* x = from + (first + row) * stride + eighth * 8;
  __nv_bfloat16* place = &to.of[row][(eighth ^ row % 8) * 8];
#pragma unroll
  for (int i = 0; i < square / step; ++i, x += step * stride, place += step * square) {
    const bool real = first + row + i * step < T;
    __pipeline_memcpy_async(place, real ? x : from, 16, real ? 0 : 16);
  }
}

// What this thread wrote to shared memory is seen by products that begin after the next barrier.
__device__ inline void products_see_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// What a product is told of an operand in shared memory (PTX ISA, "matrix descriptor format"): its address, 1024 bytes from
// 8 rows to the next 8, swizzle of 128 bytes; each in units of 16 bytes. The distance that has no part in this order is 1.
__device__ inline uint64_t operand(const Square& x) {
  const uint64_t address = static_cast<uint32_t>(__cvta_generic_to_shared(&x));
  return address >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

// Products run asynchronously: begin_products() after their registers were last written, then products, then
// end_products(); wait_products<n>() until at most the n last groups of them still run. Sums and left operands of a group
// are nobody else's until then: keep() holds the compiler to it.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int running>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(running) : "memory");
}
__device__ inline void keep(Sums& c) {
#pragma unroll
  for (int n = 0; n < square / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(c[n][i])::"memory");
}
__device__ inline void keep(LeftSquare& a) {
#pragma unroll
  for (int k = 0; k < square / 16; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+r"(a[k][i])::"memory");
}

// 16 of a product's 64 terms: c = a b^T, added to c if `add`. a and b by rows.
__device__ inline void product_of_16(Sums& c, uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, add, 1, 1, 0, 0;\n}"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]),
        "+f"(c[1][0]), "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3]),
        "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]),
        "+f"(c[4][0]), "+f"(c[4][1]), "+f"(c[4][2]), "+f"(c[4][3]),
        "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]),
        "+f"(c[7][0]), "+f"(c[7][1]), "+f"(c[7][2]), "+f"(c[7][3])
      : "l"(a), "l"(b), "r"(add));
}
// The same with a in registers: c += a b, where b's rows are the terms.
__device__ inline void product_of_16(Sums& c, const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
      : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]),
        "+f"(c[1][0]), "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3]),
        "+f"(c[2][0]), "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]),
        "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]),
        "+f"(c[4][0]), "+f"(c[4][1]), "+f"(c[4][2]), "+f"(c[4][3]),
        "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]),
        "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]), "+f"(c[6][3]),
        "+f"(c[7][0]), "+f"(c[7][1]), "+f"(c[7][2]), "+f"(c[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Begins c = a b^T: 16 columns of each, 32 bytes, at a time.
__device__ inline void multiply_transposed(Sums& c, const Square& a, const Square& b) {
#pragma unroll
  for (int k = 0; k < square / 16; ++k)
    product_of_16(c, operand(a) + k * (32 >> 4), operand(b) + k * (32 >> 4), k > 0);
}
// Begins c += a b: 16 rows of b, 2048 bytes, at a time.
__device__ inline void multiply_add(Sums& c, const LeftSquare& a, const Square& b) {
#pragma unroll
  for (int k = 0; k < square / 16; ++k) product_of_16(c, a[k], operand(b) + k * (2048 >> 4));
}

}  // namespace pipe::cuda
