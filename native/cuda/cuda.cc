// Which GPUs there are.
#include "cuda.h"

#include "gemm.h"

namespace pipe::cuda {

namespace {

// The kernels are compiled for this compute capability and, as PTX, for those after it.
constexpr int least_major = 9;

int count(std::string& reason) {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess) {
    cudaGetLastError();
    reason = std::string("no CUDA device: ") + cudaGetErrorString(status);
    return 0;
  }
  if (devices == 0) reason = "no CUDA device";
  return devices;
}

}  // namespace

std::string why_none() {
  static const std::string reason = [] {
    std::string why;
    if (count(why) == 0) return why;
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, 0), "the first GPU's properties");
    if (properties.major < least_major)
      return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
             std::to_string(properties.minor) + "; the kernels need 9.0 or later";
    return gemm_unavailable();
  }();
  return reason;
}

std::vector<std::string> device_names() {
  std::vector<std::string> names;
  if (!why_none().empty()) return names;
  std::string reason;
  for (int device = 0; device < count(reason); ++device) {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device), "a GPU's properties");
    names.emplace_back(properties.name);
  }
  return names;
}

Memory memory() {
  Memory memory{};
  check(cudaMemGetInfo(&memory.free, &memory.total), "the GPU's memory");
  return memory;
}

}  // namespace pipe::cuda
