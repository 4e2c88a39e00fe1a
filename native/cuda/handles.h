// What CUDA hands out and must be given back: memory, a stream, events, graphs; each freed with its owner.
#pragma once

#include <memory>

#include "context.h"

namespace pipe::cuda {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  explicit DeviceMemory(void* memory) : memory_(memory) {}
  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }

 private:
  struct Free {
    void operator()(void* memory) const { cudaFree(memory); }
  };
  std::unique_ptr<void, Free> memory_;
};

// Memory of the host that stays where it is, so that kernels read and write it over the bus; both see the same bytes.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  // Takes memory of cudaHostAlloc, mapped.
  explicit PinnedMemory(void* memory) : memory_(memory) {
    check(cudaHostGetDevicePointer(&on_device_, memory, 0), "the address of pinned memory on the GPU");
  }
  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }
  std::byte* on_device() const { return static_cast<std::byte*>(on_device_); }

 private:
  struct Free {
    void operator()(void* memory) const { cudaFreeHost(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  void* on_device_ = nullptr;
};

// A stream that does not wait for the default one. Of kernels that could begin, those of a stream of higher priority
// do, in a captured graph too.
class Stream {
 public:
  enum class Priority { least, greatest };
  explicit Stream(Priority priority) {
    int least = 0, greatest = 0;
    check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities of streams");
    cudaStream_t stream = nullptr;
    check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority == Priority::least ? least : greatest),
          "a stream");
    stream_.reset(stream);
  }
  cudaStream_t get() const { return stream_.get(); }

 private:
  struct Destroy {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  };
  std::unique_ptr<CUstream_st, Destroy> stream_;
};

class Event {
 public:
  Event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "an event");
    event_.reset(event);
  }
  cudaEvent_t get() const { return event_.get(); }

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  };
  std::unique_ptr<CUevent_st, Destroy> event_;
};

// A captured graph, ready to be launched. Takes the capture, which is no longer needed then.
class Graph {
 public:
  Graph() = default;
  explicit Graph(cudaGraph_t captured) {
    cudaGraphExec_t made = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&made, captured, 0);
    cudaGraphDestroy(captured);
    check(status, "making a graph of the program");
    graph_.reset(made);
  }
  explicit operator bool() const { return graph_ != nullptr; }
  cudaGraphExec_t get() const { return graph_.get(); }

 private:
  struct Destroy {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  std::unique_ptr<CUgraphExec_st, Destroy> graph_;
};

}  // namespace pipe::cuda
