// Workspace, and what the host knows of integers.
#include "context.h"

#include <algorithm>

namespace pipe::cuda {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw ProgramError(std::string(what) + ": " + cudaGetErrorString(status));
}

std::byte* Context::take_bytes(size_t bytes) {
  const size_t offset = taken_;
  taken_ += aligned(bytes);
  size_t& planned = of_calls_[call_];
  if (planning()) {
    planned = std::max(planned, taken_);
    return nowhere() + offset;
  }
  if (taken_ > planned) throw ProgramError("a kernel takes more workspace than it did when it was planned");
  return workspace_ + offset;
}

void Context::require(const int32_t* data, int64_t count, const Range& range) {
  if (planning()) requirements_.push_back({data, count, range, call_});
}

int64_t Context::chunks_with_target(const int32_t* targets, int64_t count, int64_t chunk) {
  const Chunks chunks{targets, count, chunk};
  if (planning()) {
    chunks_.push_back(chunks);
    return (count + chunk - 1) / chunk;
  }
  return chunks_of(chunks);
}

int64_t Context::chunks_of(const Chunks& chunks) const {
  const auto known = integers_.find(chunks.targets);
  if (known == integers_.end())
    return (chunks.count + chunks.chunk - 1) / chunks.chunk;  // zeroed memory: all targets are 0
  const auto with_target = std::count_if(known->second.begin(), known->second.end(), [](int32_t t) { return t >= 0; });
  return (with_target + chunks.chunk - 1) / chunks.chunk;
}

std::vector<int64_t> Context::variant() const {
  std::vector<int64_t> variant;
  for (const Chunks& chunks : chunks_) variant.push_back(chunks_of(chunks));
  return variant;
}

}  // namespace pipe::cuda
