// NF4 matrices on their way to the products that take them. In line, each product waits for its matrix, some 5 us in
// which the GPU does little else; so each is dequantized ahead, on a stream of its own, in the room that the kernels
// before its product leave.
#pragma once

#include "../kernels/cpu/nf4.h"
#include "handles.h"

namespace pipe::cuda {

// Memory on the device that a call may write.
struct Written {
  const std::byte* begin;
  size_t bytes;
};

// A program makes the same demands in the same order in every run: demand k is for the k-th matrix that it multiplies
// by. Two slots at the end of the workspace take turns, k % 2.
//
// From demand k on, slot k % 2 holds matrix k. Once product k is queued, the other slot begins to be filled with matrix
// k + 1, beside the kernels between the two products (a product leaves no room for another kernel), and demand k + 1 waits
// for it; the last begins none. So at most one filling is open, and none when all calls have been made: a capture ends
// joined. A matrix is filled ahead only if no call from one demand to the next takes workspace that reaches the slots, and
// no call of the program writes what the matrix is stored in; else it is dequantized when it is demanded.
class Prefetch {
 public:
  // Where the matrix of n elements lies, in the context's precision, for what this call queues next.
  const void* demand(Context&, const Nf4&, int64_t n);
  // To be called when the product that takes the matrix demanded last has been queued.
  void queued_product(Context&);

  // ---- For the executor -----------------------------------------------------------------------------------------

  // To be called before each run of all calls.
  void begin() { next_ = 0; }
  // Once the calls are planned: the workspace of the program, given what each call takes, and what all of them write.
  size_t arrange(const std::vector<size_t>& of_calls, const std::vector<Written>& written);
  void use_workspace(std::byte* workspace) { slots_ = workspace + slots_begin_; }

 private:
  struct Demand {
    Nf4 matrix;
    int64_t n;
    Storage storage;
    size_t call;
    bool ahead = false;

    size_t bytes() const { return static_cast<size_t>(n) * bytes_of(storage); }
  };
  void fill(cudaStream_t, size_t which) const;
  std::byte* slot(size_t which) const { return slots_ + which % 2 * slot_bytes_; }

  Stream beside_{Stream::Priority::least};
  Event forked_, filled_;
  std::vector<Demand> demands_;
  size_t slot_bytes_ = 0;
  size_t slots_begin_ = 0;
  std::byte* slots_ = nullptr;
  size_t next_ = 0;
};

// Queues the dequantization of n elements to `out`, float32 or bf16.
void dequantize(cudaStream_t, void* out, Storage, const Nf4&, int64_t n);

}  // namespace pipe::cuda
