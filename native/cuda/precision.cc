// Which precision a program's products take when none is asked for.
#include "cuda.h"

namespace pipe::cuda {

Precision precision_of(const Program& program) {
  const auto in_few_bits = [&](int index) {
    if (index < 0 || static_cast<size_t>(index) >= program.buffers.size()) return false;  // refused when it is loaded
    const Storage storage = program.buffers[static_cast<size_t>(index)].storage;
    return storage == Storage::bf16 || storage == Storage::uint8;
  };
  for (const Call& call : program.calls) {
    const bool linear = call.kernel == "Linear" || call.kernel == "LinearBackwardInput" || call.kernel == "Nf4MatMul" ||
                        call.kernel == "Nf4MatMulBackwardInput";
    if (linear && call.inputs.size() > 1 && in_few_bits(call.inputs[1])) return Precision::bf16;
  }
  return Precision::float32;
}

}  // namespace pipe::cuda
