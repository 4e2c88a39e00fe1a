// From a kernel's name to its binder.
#include "registry.h"

#include <map>

namespace PIPE_DEVICE {

namespace {

const std::map<std::string, Bind>& registry() {
  static const std::map<std::string, Bind> all = [] {
    std::map<std::string, Bind> map;
    for (const auto* table :
         {&linear_binders(), &quantize_binders(), &layer_binders(), &loss_binders(), &optimizer_binders(),
          &core_binders()})
      for (const NamedBind& entry : *table) map.emplace(entry.name, entry.bind);
    return map;
  }();
  return all;
}

}  // namespace

Bind find_kernel(const std::string& name) {
  const auto found = registry().find(name);
  return found == registry().end() ? nullptr : found->second;
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& entry : registry()) names.push_back(entry.first);
  return names;
}

}  // namespace PIPE_DEVICE
