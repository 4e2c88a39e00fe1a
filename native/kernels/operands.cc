// Checks of the operands and attributes of a call.
#include "operands.h"

#include <algorithm>
#include <cmath>

#include "../errors.h"

namespace pipe {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += shape[i] == any ? "any" : std::to_string(shape[i]);
  }
  return text + "]";
}

namespace {

bool matches(int64_t extent, int64_t expected) { return expected == any || extent == expected; }

// "float32 or bf16"
std::string names_of(Storages storages) {
  std::string names;
  for (const Storage s : storages) names += (names.empty() ? "" : " or ") + std::string(name_of(s));
  return names;
}

bool overlap(const Buffer& a, const Buffer& b) {
  return a.region == b.region && a.offset < b.offset + b.bytes() && b.offset < a.offset + a.bytes();
}

}  // namespace

Operands::Operands(const Program& program, size_t call, const Regions& regions)
    : program_(program), call_(program.calls[call]), index_(call), regions_(regions) {
  const int buffers = static_cast<int>(program.buffers.size());
  const auto known = [&](int buffer) { return buffer >= 0 && buffer < buffers; };
  for (const std::vector<int>* list : {&call_.inputs, &call_.outputs})
    for (const int buffer : *list)
      require(known(buffer), "names buffer " + std::to_string(buffer) + ", but the program has buffers 0 to " +
                                 std::to_string(buffers - 1));
  require(call_.scratch == -1 || known(call_.scratch), "names a scratch buffer that the program does not have");
  require(!call_.outputs.empty(), "has no output");
}

void Operands::fail(const std::string& message) const {
  throw ProgramError("program " + program_.name + ", call " + std::to_string(index_) + " (" + call_.kernel + ") " +
                     message);
}

void Operands::require(bool condition, const std::string& message) const {
  if (!condition) fail(message);
}

std::string Operands::describe(size_t index, const char* what) const {
  return "operand " + std::to_string(index) + " (" + what + ", buffer \"" +
         program_.buffers[static_cast<size_t>(call_.inputs[index])].name + "\")";
}

Tensor Operands::at(int buffer) const {
  const Buffer& description = program_.buffers[static_cast<size_t>(buffer)];
  return {&description, regions_.at(description)};
}

size_t Operands::split_off(size_t n) {
  require(count() >= n, "has " + std::to_string(count()) + " operands; it takes more than " + std::to_string(n));
  last_ = n;
  return count();
}

Tensor Operands::tensor(size_t index, const char* what, Storages storages) {
  require(index < call_.inputs.size(), "lacks operand " + std::to_string(index) + " (" + what + ")");
  if (index < count()) taken_ = std::max(taken_, index + 1);
  const Tensor t = at(call_.inputs[index]);
  if (std::find(storages.begin(), storages.end(), t.buffer->storage) == storages.end())
    fail(describe(index, what) + " is stored as " + name_of(t.buffer->storage) + "; it must be " + names_of(storages));
  return t;
}

Tensor Operands::vector(size_t index, const char* what, int64_t size, Storages storages) {
  const Tensor t = tensor(index, what, storages);
  require(matches(t.size(), size), describe(index, what) + " has shape " + to_string(t.buffer->shape) +
                                       "; it must have " + std::to_string(size) + " elements");
  return t;
}

Tensor Operands::optional_vector(size_t index, const char* what, int64_t size, Storages storages) {
  return index < count() ? vector(index, what, size, storages) : Tensor{};
}

Tensor Operands::optional_matrix(size_t index, const char* what, int64_t rows, int64_t columns, Storages storages) {
  return index < count() ? matrix(index, what, rows, columns, storages) : Tensor{};
}

Tensor Operands::matrix(size_t index, const char* what, int64_t rows, int64_t columns, Storages storages) {
  const Tensor t = tensor(index, what, storages);
  require(matches(t.rows(), rows) && matches(t.columns(), columns),
          describe(index, what) + " has shape " + to_string(t.buffer->shape) + "; it must be " +
              to_string({rows, columns}) + ", where leading dimensions may be split");
  return t;
}

Tensor Operands::cube(size_t index, const char* what, int64_t d0, int64_t d1, int64_t d2, Storages storages) {
  const Tensor t = tensor(index, what, storages);
  const Shape& shape = t.buffer->shape;
  require(shape.size() == 3 && matches(shape[0], d0) && matches(shape[1], d1) && matches(shape[2], d2),
          describe(index, what) + " has shape " + to_string(shape) + "; it must be " + to_string({d0, d1, d2}));
  return t;
}

Tensor Operands::output(int64_t size, Storages storages) {
  require(written_ < call_.outputs.size(), "lacks output " + std::to_string(written_));
  const Tensor t = at(call_.outputs[written_++]);
  require(std::find(storages.begin(), storages.end(), t.buffer->storage) != storages.end(),
          "writes " + names_of(storages) + ", but its output \"" + t.buffer->name + "\" is stored as " +
              name_of(t.buffer->storage));
  require(t.size() == size, "makes " + std::to_string(size) + " elements, but its output \"" + t.buffer->name +
                                "\" has shape " + to_string(t.buffer->shape));
  return t;
}

Tensor Operands::output(const Shape& shape) {
  int64_t size = 1;
  for (const int64_t dimension : shape) size *= dimension;
  const Tensor t = output(size);
  require(t.buffer->shape == shape, "makes shape " + to_string(shape) + ", but its output \"" + t.buffer->name +
                                        "\" has shape " + to_string(t.buffer->shape));
  return t;
}

Tensor Operands::scratch(int64_t size) {
  require(call_.scratch >= 0, "needs a scratch buffer of at least " + std::to_string(size) + " floats");
  const Tensor t = at(call_.scratch);
  require(t.buffer->storage == Storage::float32 && t.size() >= size,
          "needs a float32 scratch buffer of at least " + std::to_string(size) + " elements; \"" + t.buffer->name +
              "\" is " + name_of(t.buffer->storage) + " " + to_string(t.buffer->shape));
  uses_scratch_ = true;
  return t;
}

double Operands::number(const char* name) const {
  const auto found = call_.attributes.find(name);
  require(found != call_.attributes.end(), std::string("lacks the attribute ") + name);
  const double* value = std::get_if<double>(&found->second);
  require(value != nullptr, std::string("has an attribute ") + name + " that is not a number");
  return *value;
}

double Operands::number(const char* name, double otherwise) const { return has(name) ? number(name) : otherwise; }

int64_t Operands::natural(const char* name) const {
  const double value = number(name);
  require(value >= 0 && value <= 9007199254740991.0 && value == std::floor(value),
          std::string("has an attribute ") + name + " = " + std::to_string(value) + "; it must be a whole number >= 0");
  return static_cast<int64_t>(value);
}

std::vector<int64_t> Operands::integers(const char* name) const {
  const auto found = call_.attributes.find(name);
  require(found != call_.attributes.end(), std::string("lacks the attribute ") + name);
  if (const double* one = std::get_if<double>(&found->second)) return {static_cast<int64_t>(*one)};
  const std::vector<double>* list = std::get_if<std::vector<double>>(&found->second);
  require(list != nullptr, std::string("has an attribute ") + name + " that is not a list of numbers");
  return {list->begin(), list->end()};
}

void Operands::finish() const {
  require(taken_ == count(), "has " + std::to_string(count()) + " operands; it takes " + std::to_string(taken_));
  require(written_ == call_.outputs.size(), "has " + std::to_string(call_.outputs.size()) + " outputs; it makes " +
                                                std::to_string(written_));
  for (size_t o = 0; o < call_.outputs.size(); ++o) finish_output(o);
}

void Operands::finish_output(size_t o) const {
  const Buffer& output = *at(call_.outputs[o]).buffer;
  for (size_t i = 0; i < call_.inputs.size(); ++i) {
    const Buffer& input = *at(call_.inputs[i]).buffer;
    const bool same =
        input.region == output.region && input.offset == output.offset && input.bytes() == output.bytes();
    const bool allowed = same && std::find(in_place_.begin(), in_place_.end(), i) != in_place_.end();
    require(allowed || !overlap(input, output), "writes its output \"" + output.name + "\" over operand " +
                                                    std::to_string(i) + " (\"" + input.name +
                                                    "\"); give them separate memory");
  }
  for (size_t other = 0; other < o; ++other)
    require(!overlap(output, *at(call_.outputs[other]).buffer),
            "has two outputs in one place (\"" + output.name + "\"); give them separate memory");
  if (!uses_scratch_) return;
  const Buffer& scratch = *at(call_.scratch).buffer;
  require(!overlap(output, scratch), "has scratch over its output \"" + output.name + "\"; give them separate memory");
  for (size_t i = 0; i < call_.inputs.size(); ++i)
    require(!overlap(*at(call_.inputs[i]).buffer, scratch),
            "has scratch over operand " + std::to_string(i) + " (\"" + at(call_.inputs[i]).buffer->name +
                "\"); give them separate memory");
}

}  // namespace pipe
