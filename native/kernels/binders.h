// The tables of binders, by subject: each checks a call's operands against kernels.h and makes its step.
#pragma once

#include <vector>

#include "kernels.h"

namespace pipe {

struct NamedBind {
  const char* name;
  Bind bind;
};

const std::vector<NamedBind>& linear_binders();
const std::vector<NamedBind>& layer_binders();
const std::vector<NamedBind>& loss_binders();
const std::vector<NamedBind>& optimizer_binders();
const std::vector<NamedBind>& core_binders();

}  // namespace pipe
