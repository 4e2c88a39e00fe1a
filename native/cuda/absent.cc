// CUDA in a build without nvcc: no device, and why.
#include "../errors.h"
#include "cuda.h"

namespace pipe::cuda {

namespace {
constexpr const char* reason = "the addon was built without nvcc";
}

std::vector<std::string> device_names() { return {}; }
std::string why_none() { return reason; }
Memory memory() { throw ProgramError(reason); }
std::unique_ptr<CudaExecutor> load(Program, Precision) { throw ProgramError(reason); }

}  // namespace pipe::cuda
