// Launching kernels on a context's stream, and what every kernel file shares: 16 bits, sums in a fixed order.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "../kernels.h"

namespace pipe::cuda {

inline int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }

// What was queued before a kernel, as the kernel's first parameter. A step is some hundred kernels of a few microseconds
// each; one that takes a Former is launched while the kernel before it still runs, so that neither its launch nor the
// placing of its blocks is waited for (programmatic dependent launch; Hopper and later).
//
// Its first statement must be former.wait(): until then another kernel may write what it reads, or read what it writes.
// Because every such kernel waits for the whole of the one before it, which waited too, all before it is complete.
struct Former {
  __device__ void wait() const {
    cudaTriggerProgrammaticLaunchCompletion();  // the next may be placed as soon as all blocks of this one are
    cudaGridDependencySynchronize();
  }
};

// A warp asks for bytes to be brought into the second-level cache. It reads none, so this may come before the wait.
__device__ inline void fetch_ahead(const void* data, int64_t bytes) {
  constexpr int64_t line = 128;
  for (int64_t i = threadIdx.x % 32 * line; i < bytes; i += 32 * line)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char*>(data) + i));
}

// Queues a kernel on a stream; `early`, before what is queued there has finished.
template <class... Parameters>
void queue(cudaStream_t stream, bool early, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared,
           Parameters... arguments) {
  if (shared > 48 * 1024)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared)),
          "shared memory");
  cudaLaunchAttribute serialization{};
  serialization.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  serialization.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = &serialization;
  config.numAttrs = early ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), "a launch");
}

// Queues a kernel on the context's stream; while the program is planned, does nothing.
template <class... Parameters, class... Arguments>
void launch(Context& context, void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared,
            Arguments... arguments) {
  if (context.planning()) return;
  queue(context.stream, false, kernel, grid, threads, shared, Parameters(arguments)...);
  context.queued_kernel();
}
template <class... Parameters, class... Arguments>
void launch(Context& context, void (*kernel)(Former, Parameters...), dim3 grid, int threads, size_t shared,
            Arguments... arguments) {
  if (context.planning()) return;
  queue(context.stream, context.behind_kernel(), kernel, grid, threads, shared, Former{}, Parameters(arguments)...);
  context.queued_kernel();
}

inline dim3 blocks(int64_t x, int64_t y = 1, int64_t z = 1) {
  return {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
}

// Copies and fills within the arena.
inline void copy_bytes(Context& context, void* to, const void* from, size_t bytes) {
  if (context.planning()) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, context.stream), "a copy");
  context.queued_other();
}
inline void zero_bytes(Context& context, void* memory, size_t bytes) {
  if (context.planning()) return;
  check(cudaMemsetAsync(memory, 0, bytes, context.stream), "a fill");
  context.queued_other();
}

constexpr int warp = 32;
constexpr unsigned whole_warp = 0xffffffffu;

// The sum over a warp, in every lane. The order is that of a butterfly, the same each time.
template <class T>
__device__ inline T warp_sum(T x) {
  for (int step = warp / 2; step > 0; step /= 2) x += __shfl_xor_sync(whole_warp, x, step);
  return x;
}

__device__ inline float warp_max(float x) {
  for (int step = warp / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(whole_warp, x, step));
  return x;
}

// The sum over a block of at most 1024 threads, in every thread: warps first, then their sums in order.
template <class T>
__device__ inline T block_sum(T x) {
  __shared__ T of_warp[warp];
  x = warp_sum(x);
  __syncthreads();  // an earlier use of of_warp may still be read
  if (threadIdx.x % warp == 0) of_warp[threadIdx.x / warp] = x;
  __syncthreads();
  T total = 0;
  for (unsigned i = 0; i < blockDim.x / warp; ++i) total += of_warp[i];
  return total;
}

__device__ inline float block_max(float x) {
  __shared__ float of_warp[warp];
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % warp == 0) of_warp[threadIdx.x / warp] = x;
  __syncthreads();
  float largest = of_warp[0];
  for (unsigned i = 1; i < blockDim.x / warp; ++i) largest = fmaxf(largest, of_warp[i]);
  return largest;
}

}  // namespace pipe::cuda
