// From a kernel's name in a program to the step that runs a call of it. Compiled once for each device, so that all take
// the same operands and refuse the same programs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "activation.h"
#include "operands.h"

namespace PIPE_DEVICE {

// Activations of a call: how they may be stored, and as a kernel takes them.
#ifdef PIPE_FOR_CUDA
inline constexpr Storages activation = float_or_bf16;
inline In in(const Tensor& t) { return {t.data, t ? t.buffer->storage : Storage::float32}; }
inline Out out(const Tensor& t) { return {t.data, t.buffer->storage}; }
#else
inline constexpr Storages activation = float_only;
inline In in(const Tensor& t) { return t.f32(); }
inline Out out(const Tensor& t) { return t.f32(); }
#endif

// One call, resolved: what to run, and how much workspace it needs of the CPU's Context, in floats.
struct Step {
  std::function<void(Context&)> run;
  size_t shared = 0;
  size_t local = 0;
};

// Checks a call's operands against kernels.h and makes its step, or throws ProgramError.
using Bind = Step (*)(Operands&);

// The binder of a kernel, or nullptr.
Bind find_kernel(const std::string& name);
std::vector<std::string> kernel_names();

// The tables that the registry is made of, by subject.
struct NamedBind {
  const char* name;
  Bind bind;
};
const std::vector<NamedBind>& linear_binders();
const std::vector<NamedBind>& quantize_binders();
const std::vector<NamedBind>& layer_binders();
const std::vector<NamedBind>& loss_binders();
const std::vector<NamedBind>& optimizer_binders();
const std::vector<NamedBind>& core_binders();

}  // namespace PIPE_DEVICE
