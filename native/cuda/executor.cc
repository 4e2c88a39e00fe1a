// Loading a program on a GPU and replaying it: the arena and what is paged beside it, every call run once, then a graph of
// them.
#include <algorithm>
#include <cstring>

#include "../kernels/operands.h"
#include "../kernels/registry.h"
#include "gemm.h"
#include "prefetch.h"

namespace pipe::cuda {

namespace {

std::string mebibytes(size_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

class GraphExecutor : public CudaExecutor {
 public:
  GraphExecutor(Program program, Precision precision)
      : CudaExecutor(std::move(program)),
        arena_(allocate(program_.arena_bytes, "its arena")),
        paged_(pin(program_.paged_bytes)),
        context_(gemms_, prefetch_, stream_.get(), precision, integers_) {
    clear();
    resolve_calls();
    plan();
    rehearse();
  }

  ~GraphExecutor() override { cudaStreamSynchronize(stream_.get()); }

  void run() override {
    check_integers();
    check(cudaGraphLaunch(graph(), stream_.get()), name_of_run().c_str());
  }

  std::vector<float> time(int count) override {
    check_integers();
    const cudaGraphExec_t replayed = graph();
    std::vector<Event> events(static_cast<size_t>(count) + 1);
    check(cudaEventRecord(events[0].get(), stream_.get()), name_of_run().c_str());
    for (size_t i = 1; i < events.size(); ++i) {
      check(cudaGraphLaunch(replayed, stream_.get()), name_of_run().c_str());
      check(cudaEventRecord(events[i].get(), stream_.get()), name_of_run().c_str());
    }
    return between(events);
  }

  std::vector<float> profile() override {
    check_integers();
    std::vector<Event> events(steps_.size() + 1);
    size_t recorded = 0;
    const auto record = [&] { check(cudaEventRecord(events[recorded++].get(), stream_.get()), "timing"); };
    record();
    each_call(record);
    return between(events);
  }

  void write(int index, const std::byte* bytes) override {
    const Buffer& target = buffer(index);
    if (target.region == Region::paged) {
      std::memcpy(on_host(target), bytes, target.bytes());
      return;
    }
    std::byte* place = arena_.data() + target.offset;
    check(cudaMemcpyAsync(place, bytes, target.bytes(), cudaMemcpyHostToDevice, stream_.get()), name_of_run().c_str());
    check(cudaStreamSynchronize(stream_.get()), name_of_run().c_str());
    if (target.storage != Storage::int32) return;
    std::vector<int32_t>& known = integers_[reinterpret_cast<const int32_t*>(place)];
    known.resize(static_cast<size_t>(target.size()));
    std::memcpy(known.data(), bytes, target.bytes());
    integers_changed_ = true;
  }

  void read(int index, std::byte* bytes) override {
    const Buffer& source = buffer(index);
    if (source.region == Region::paged) {
      std::memcpy(bytes, on_host(source), source.bytes());
      return;
    }
    check(cudaMemcpyAsync(bytes, arena_.data() + source.offset, source.bytes(), cudaMemcpyDeviceToHost, stream_.get()),
          name_of_run().c_str());
    check(cudaStreamSynchronize(stream_.get()), name_of_run().c_str());
  }

  size_t workspace_bytes() const override { return workspace_bytes_; }

 private:
  // Runs are asynchronous, so that what went wrong in one is heard of at the next call or copy.
  std::string name_of_run() const { return "program " + program_.name + ", in or before this run"; }

  DeviceMemory allocate(size_t bytes, const char* what) const {
    const size_t wanted = std::max<size_t>(bytes, 1);
    void* memory = nullptr;
    const cudaError_t status = cudaMalloc(&memory, wanted);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // the error is answered here, and must not be found by the next call
      const Memory there = pipe::cuda::memory();
      throw ProgramError("program " + program_.name + " needs " + mebibytes(wanted) + " for " + what +
                         " (planned), and the GPU has " + mebibytes(there.free) + " free of " + mebibytes(there.total) +
                         "; choose a smaller batch or shorter rows, or a base in fewer bits");
    }
    check(status, what);
    return DeviceMemory(memory);
  }

  // Read and written by every kernel as if it were the GPU's, over the bus: 16 bytes a parameter and step.
  PinnedMemory pin(size_t bytes) const {
    if (bytes == 0) return {};
    void* memory = nullptr;
    const cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocMapped);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw ProgramError("program " + program_.name + " pages " + mebibytes(bytes) +
                         " of optimizer state to the host (planned), and so much cannot be pinned there; give it a larger "
                         "budget of the GPU's memory, or adapters of a lower rank");
    }
    check(status, "pinned memory");
    return PinnedMemory(memory);
  }

  // Where the host finds what is paged, once all that was queued has been done.
  std::byte* on_host(const Buffer& paged) const {
    check(cudaStreamSynchronize(stream_.get()), name_of_run().c_str());
    return paged_.data() + paged.offset;
  }

  // Zeroes all memory, once all that was queued has been done.
  void clear() {
    check(cudaMemsetAsync(arena_.data(), 0, program_.arena_bytes, stream_.get()), "clearing the arena");
    check(cudaStreamSynchronize(stream_.get()), "clearing the arena");
    if (program_.paged_bytes > 0) std::memset(paged_.data(), 0, program_.paged_bytes);
  }

  // Milliseconds from each event to the next, once all have come.
  std::vector<float> between(const std::vector<Event>& events) const {
    check(cudaStreamSynchronize(stream_.get()), name_of_run().c_str());
    std::vector<float> milliseconds(events.size() - 1);
    for (size_t i = 0; i < milliseconds.size(); ++i)
      check(cudaEventElapsedTime(&milliseconds[i], events[i].get(), events[i + 1].get()), "timing");
    return milliseconds;
  }

  void resolve_calls() {
    for (size_t i = 0; i < program_.calls.size(); ++i) {
      Operands operands(program_, i, {arena_.data(), paged_.on_device()});
      const Bind bind = find_kernel(program_.calls[i].kernel);
      operands.require(bind != nullptr, "names a kernel that this runtime does not have");
      steps_.push_back(bind(operands));
      operands.finish();
    }
  }

  // Hands every step the context; what fails says which call it was.
  template <class After>
  void each_call(const After& after) {
    prefetch_.begin();
    for (size_t i = 0; i < steps_.size(); ++i) {
      context_.begin_call(i);
      try {
        steps_[i].run(context_);
        after();
      } catch (const ProgramError& error) {
        throw ProgramError(name_of_call(i) + ": " + error.what());
      }
    }
  }

  void plan() {
    each_call([] {});
    workspace_bytes_ = prefetch_.arrange(context_.workspace_of_calls(), written());
    workspace_ = allocate(workspace_bytes_, "workspace");
    context_.use_workspace(workspace_.data());
    prefetch_.use_workspace(workspace_.data());
  }

  // What the calls write of the arena.
  std::vector<Written> written() const {
    std::vector<Written> all;
    const auto add = [&](int index) {
      const Buffer& output = buffer(index);
      if (output.region != Region::paged) all.push_back({arena_.data() + output.offset, output.bytes()});
    };
    for (const Call& call : program_.calls) {
      std::for_each(call.outputs.begin(), call.outputs.end(), add);
      if (call.scratch >= 0) add(call.scratch);
    }
    return all;
  }

  // Runs every call once on zeroed memory, which loads its code and finds what cannot run here, and clears up after it.
  void rehearse() {
    each_call([this] { check(cudaStreamSynchronize(stream_.get()), "it failed on the GPU"); });
    clear();
  }

  void check_integers() {
    if (!integers_changed_) return;
    for (const Context::Requirement& required : context_.requirements()) {
      const auto known = integers_.find(required.data);
      if (known == integers_.end()) continue;  // zeros
      for (size_t i = 0; i < known->second.size(); ++i) {
        const int32_t value = known->second[i];
        if (value < required.range.end && (value >= 0 || required.range.negative_allowed)) continue;
        throw ProgramError(name_of_call(required.call) + ": " + required.range.name + "[" + std::to_string(i) +
                           "] is " + std::to_string(value) + ", but " + required.range.holds + " 0 to " +
                           std::to_string(required.range.end - 1));
      }
    }
    integers_changed_ = false;
  }

  // The graph for the integers as they are now; captured when it is first wanted.
  cudaGraphExec_t graph() {
    Graph& graph = graphs_[context_.variant()];
    if (!graph) {
      check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "capturing the program");
      cudaGraph_t captured = nullptr;
      try {
        each_call([] {});
      } catch (...) {
        cudaStreamEndCapture(stream_.get(), &captured);
        if (captured != nullptr) cudaGraphDestroy(captured);
        throw;
      }
      check(cudaStreamEndCapture(stream_.get(), &captured), "capturing the program");
      graph = Graph(captured);
    }
    return graph.get();
  }

  // Destroyed in reverse: graphs before the memory that they use, the stream last.
  Stream stream_{Stream::Priority::greatest};
  HostIntegers integers_;
  bool integers_changed_ = false;
  Gemms gemms_;
  DeviceMemory arena_;
  PinnedMemory paged_;
  DeviceMemory workspace_;
  size_t workspace_bytes_ = 0;
  Prefetch prefetch_;
  Context context_;
  std::vector<Step> steps_;
  std::map<std::vector<int64_t>, Graph> graphs_;
};

}  // namespace

std::unique_ptr<CudaExecutor> load(Program program, Precision precision) {
  const std::string reason = why_none();
  if (!reason.empty()) throw ProgramError(reason);
  return std::make_unique<GraphExecutor>(std::move(program), precision);
}

}  // namespace pipe::cuda
