// The operands and attributes of one call, each checked as a kernel's binder takes it.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "../program.h"

namespace pipe {

// A buffer of a loaded program: its description and its address.
struct Tensor {
  const Buffer* buffer = nullptr;
  std::byte* data = nullptr;

  explicit operator bool() const { return data != nullptr; }
  int64_t size() const { return buffer->size(); }
  // A tensor of any rank is read as a matrix: the last dimension is the columns, the others are the rows.
  int64_t columns() const { return buffer->shape.empty() ? 1 : buffer->shape.back(); }
  int64_t rows() const { return size() / columns(); }
  int64_t dimension(size_t axis) const { return buffer->shape[axis]; }
  float* f32() const { return reinterpret_cast<float*>(data); }
  int32_t* i32() const { return reinterpret_cast<int32_t*>(data); }
  uint8_t* u8() const { return reinterpret_cast<uint8_t*>(data); }
};

inline Weights weights(const Tensor& t) { return t ? Weights{t.data, t.buffer->storage} : Weights{}; }

using Storages = std::initializer_list<Storage>;
inline constexpr Storages float_only = {Storage::float32};
inline constexpr Storages float_or_bf16 = {Storage::float32, Storage::bf16};
inline constexpr Storages int_only = {Storage::int32};
inline constexpr Storages byte_only = {Storage::uint8};
// A dimension that may have any extent.
inline constexpr int64_t any = -1;

// Each function throws ProgramError with the call, the operand and what was expected when the program is wrong.
class Operands {
 public:
  Operands(const Program& program, size_t call, const Regions& regions);

  size_t count() const { return call_.inputs.size() - last_; }
  // The last n operands, which are taken before the others and no longer count among them. Returns where they begin.
  size_t split_off(size_t n);
  // Operand `index` with any shape.
  Tensor tensor(size_t index, const char* what, Storages storages = float_only);
  // Operand `index` with `size` elements, whatever its rank.
  Tensor vector(size_t index, const char* what, int64_t size, Storages storages = float_only);
  // Operand `index` read as [rows, columns].
  Tensor matrix(size_t index, const char* what, int64_t rows, int64_t columns, Storages storages = float_only);
  // Operand `index` of rank 3.
  Tensor cube(size_t index, const char* what, int64_t d0, int64_t d1, int64_t d2, Storages storages = float_only);
  // As vector and matrix, but an absent last operand gives an empty tensor.
  Tensor optional_vector(size_t index, const char* what, int64_t size, Storages storages = float_only);
  Tensor optional_matrix(size_t index, const char* what, int64_t rows, int64_t columns, Storages storages = float_only);

  // The next output, with `size` elements. Most kernels have one.
  Tensor output(int64_t size, Storages storages = float_only);
  // The next output; its shape must be as given.
  Tensor output(const Shape& shape);
  // The call's scratch buffer: float32, at least `size` elements.
  Tensor scratch(int64_t size);
  // Lets an output lie in the memory of operand `index`.
  void in_place(size_t index) { in_place_.push_back(index); }

  double number(const char* name) const;
  double number(const char* name, double otherwise) const;
  // A whole number >= 0.
  int64_t natural(const char* name) const;
  // A list of integers; one number counts as a list of one.
  std::vector<int64_t> integers(const char* name) const;
  bool has(const char* name) const { return call_.attributes.count(name) != 0; }

  void require(bool condition, const std::string& message) const;
  [[noreturn]] void fail(const std::string& message) const;
  // Called after the binder: every operand was taken, and no memory is written that another operand still needs.
  void finish() const;

 private:
  Tensor at(int buffer) const;
  void finish_output(size_t index) const;
  std::string describe(size_t index, const char* what) const;

  const Program& program_;
  const Call& call_;
  size_t index_;
  Regions regions_;
  size_t taken_ = 0;
  size_t written_ = 0;
  size_t last_ = 0;
  bool uses_scratch_ = false;
  std::vector<size_t> in_place_;
};

}  // namespace pipe
