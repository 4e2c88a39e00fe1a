// Which matrices can be filled ahead, where the slots lie, and the fork and join of each filling.
#include "prefetch.h"

#include <algorithm>

namespace pipe::cuda {

namespace {

// What a matrix of n elements is stored in; absent parts have no data.
std::vector<Written> parts_of(const Nf4& m, int64_t n) {
  const int64_t scales = n / m.block;
  const NestedScales& nested = m.nested;
  const auto part = [](const auto* data, int64_t count) {
    return Written{reinterpret_cast<const std::byte*>(data), static_cast<size_t>(count) * sizeof *data};
  };
  std::vector<Written> parts{part(m.codes, n / 2), part(m.codebook, 16)};
  if (nested.codes == nullptr) {
    parts.push_back(part(m.absmax, scales));
  } else {
    parts.push_back(part(nested.codes, scales));
    parts.push_back(part(nested.absmax, (scales + nested.block - 1) / nested.block));
    parts.push_back(part(nested.codebook, 256));
    parts.push_back(part(nested.offset, 1));
  }
  return parts;
}

bool overlap(const Written& a, const Written& b) { return a.begin < b.begin + b.bytes && b.begin < a.begin + a.bytes; }

}  // namespace

const void* Prefetch::demand(Context& context, const Nf4& matrix, int64_t n) {
  if (context.planning()) {
    const Storage storage = context.precision == Precision::bf16 ? Storage::bf16 : Storage::float32;
    demands_.push_back({matrix, n, storage, context.call()});
    return Context::nowhere();
  }
  const size_t which = next_++;
  if (demands_[which].ahead)
    check(cudaStreamWaitEvent(context.stream, filled_.get(), 0), "waiting for a matrix");
  else
    fill(context.stream, which);
  context.queued_other();
  return slot(which);
}

void Prefetch::queued_product(Context& context) {
  if (context.planning() || next_ == demands_.size() || !demands_[next_].ahead) return;
  check(cudaEventRecord(forked_.get(), context.stream), "a fork");
  check(cudaStreamWaitEvent(beside_.get(), forked_.get(), 0), "a fork");
  fill(beside_.get(), next_);
  check(cudaEventRecord(filled_.get(), beside_.get()), "a matrix ahead");
}

void Prefetch::fill(cudaStream_t stream, size_t which) const {
  const Demand& d = demands_[which];
  dequantize(stream, slot(which), d.storage, d.matrix, d.n);
}

size_t Prefetch::arrange(const std::vector<size_t>& of_calls, const std::vector<Written>& written) {
  size_t of_products = 0;
  for (const Demand& d : demands_) {
    slot_bytes_ = std::max(slot_bytes_, Context::aligned(d.bytes()));
    of_products = std::max(of_products, of_calls[d.call]);
  }
  const size_t of_slots = slot_bytes_ * std::min<size_t>(demands_.size(), 2);
  const size_t most = of_calls.empty() ? 0 : *std::max_element(of_calls.begin(), of_calls.end());
  const size_t bytes = std::max(most, of_products + of_slots);
  slots_begin_ = bytes - of_slots;
  const auto is_written = [&](const Written& part) {
    return std::any_of(written.begin(), written.end(), [&](const Written& w) { return overlap(w, part); });
  };
  for (size_t k = 1; k < demands_.size(); ++k) {
    Demand& d = demands_[k];
    const auto first = of_calls.begin() + static_cast<std::ptrdiff_t>(demands_[k - 1].call);
    const auto last = of_calls.begin() + static_cast<std::ptrdiff_t>(d.call);
    const std::vector<Written> parts = parts_of(d.matrix, d.n);
    d.ahead = *std::max_element(first, last + 1) <= slots_begin_ &&
              std::none_of(parts.begin(), parts.end(), is_written);
  }
  return bytes;
}

}  // namespace pipe::cuda
