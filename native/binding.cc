// The binding: programs from JavaScript objects, arrays in and out, errors as JavaScript errors.
#include <napi.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "cpu/executor.h"
#include "cuda/cuda.h"
#include "errors.h"
#include "kernels/cpu/bf16.h"
#include "kernels/registry.h"

namespace pipe {

namespace {

Storage storage_of(const std::string& name) {
  for (const Storage storage : {Storage::float32, Storage::bf16, Storage::int32, Storage::uint8})
    if (name == name_of(storage)) return storage;
  throw ProgramError("a buffer is stored as \"" + name + "\"; it must be float32, bf16, int32 or uint8");
}

template <class T, class Read>
std::vector<T> list_of(const Napi::Value& value, const Read& read) {
  if (!value.IsArray()) throw ProgramError("the program or its plan lacks a list where one is due");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<T> list;
  list.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) list.push_back(read(array.Get(i)));
  return list;
}

double number_of(const Napi::Value& value) {
  if (!value.IsNumber()) throw ProgramError("the program or its plan holds something else where a number is due");
  return value.As<Napi::Number>().DoubleValue();
}

int64_t whole_of(const Napi::Value& value) {
  const double number = number_of(value);
  const int64_t whole = static_cast<int64_t>(number >= 0 && number <= 9007199254740991.0 ? number : -1);
  if (static_cast<double>(whole) != number)
    throw ProgramError("the program or its plan holds " + std::to_string(number) + " where a whole number is due");
  return whole;
}

std::string string_of(const Napi::Value& value) { return value.ToString().Utf8Value(); }

Buffer buffer_of(const Napi::Object& object, size_t offset) {
  return {string_of(object.Get("name")), list_of<int64_t>(object.Get("shape"), whole_of),
          storage_of(string_of(object.Get("storage"))), offset, Region::arena};
}

Attribute attribute_of(const Napi::Value& value) {
  if (value.IsNumber()) return value.As<Napi::Number>().DoubleValue();
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value() ? 1.0 : 0.0;
  if (value.IsArray()) return list_of<double>(value, number_of);
  return string_of(value);
}

Call call_of(const Napi::Object& object) {
  const auto index = [](const Napi::Value& value) { return static_cast<int>(whole_of(value)); };
  Call call;
  call.kernel = string_of(object.Get("kernel"));
  call.inputs = list_of<int>(object.Get("inputs"), index);
  call.outputs = list_of<int>(object.Get("outputs"), index);
  const Napi::Value scratch = object.Get("scratch");
  if (!scratch.IsUndefined()) call.scratch = index(scratch);
  const Napi::Object attributes = object.Get("attributes").As<Napi::Object>();
  const Napi::Array names = attributes.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = string_of(names.Get(i));
    const Napi::Value value = attributes.Get(name);
    if (!value.IsUndefined() && !value.IsNull()) call.attributes.emplace(name, attribute_of(value));
  }
  return call;
}

// Puts the buffers that a plan pages into that region.
void page(Program& program, const Napi::Value& paged) {
  if (paged.IsUndefined()) return;
  const Napi::Object object = paged.As<Napi::Object>();
  program.paged_bytes = static_cast<size_t>(whole_of(object.Get("bytes")));
  for (const int64_t index : list_of<int64_t>(object.Get("buffers"), whole_of)) {
    if (static_cast<size_t>(index) >= program.buffers.size())
      throw ProgramError("program " + program.name + " has no buffer " + std::to_string(index) + " to page");
    program.buffers[static_cast<size_t>(index)].region = Region::paged;
  }
}

Program program_of(const Napi::Object& object, const Napi::Object& plan) {
  Program program;
  program.name = string_of(object.Get("name"));
  program.arena_bytes = static_cast<size_t>(whole_of(plan.Get("arenaBytes")));
  const std::vector<int64_t> offsets = list_of<int64_t>(plan.Get("offsets"), whole_of);
  const Napi::Array buffers = object.Get("buffers").As<Napi::Array>();
  if (offsets.size() != buffers.Length())
    throw ProgramError("program " + program.name + " has " + std::to_string(buffers.Length()) +
                       " buffers, but its plan has " + std::to_string(offsets.size()) + " offsets");
  for (uint32_t i = 0; i < buffers.Length(); ++i)
    program.buffers.push_back(buffer_of(buffers.Get(i).As<Napi::Object>(), static_cast<size_t>(offsets[i])));
  page(program, plan.Get("paged"));
  program.calls =
      list_of<Call>(object.Get("calls"), [](const Napi::Value& v) { return call_of(v.As<Napi::Object>()); });
  return program;
}

napi_typedarray_type array_type(Storage storage) {
  switch (storage) {
    case Storage::int32:
      return napi_int32_array;
    case Storage::uint8:
      return napi_uint8_array;
    default:
      return napi_float32_array;
  }
}

void write_buffer(Executor& executor, int index, const Napi::Value& value) {
  const Buffer& buffer = executor.buffer(index);
  const auto fits = [&](const Napi::TypedArray& array) {
    return array.TypedArrayType() == array_type(buffer.storage) &&
           array.ElementLength() == static_cast<size_t>(buffer.size());
  };
  if (!value.IsTypedArray() || !fits(value.As<Napi::TypedArray>())) {
    const char* expected = buffer.storage == Storage::int32   ? "Int32Array"
                           : buffer.storage == Storage::uint8 ? "Uint8Array"
                                                              : "Float32Array";
    throw ProgramError("buffer \"" + buffer.name + "\" (" + name_of(buffer.storage) + " " + to_string(buffer.shape) +
                       ") is written from a " + expected + " of " + std::to_string(buffer.size()) + " elements");
  }
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  const auto* source = static_cast<const std::byte*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  if (buffer.storage != Storage::bf16) return executor.write(index, source);
  const float* values = reinterpret_cast<const float*>(source);
  std::vector<uint16_t> halves(static_cast<size_t>(buffer.size()));
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = bf16_of_float(values[i]);
  executor.write(index, reinterpret_cast<const std::byte*>(halves.data()));
}

Napi::Value read_buffer(Napi::Env env, Executor& executor, int index) {
  const Buffer& buffer = executor.buffer(index);
  const size_t n = static_cast<size_t>(buffer.size());
  const auto fill = [&](auto array) -> Napi::Value {
    executor.read(index, reinterpret_cast<std::byte*>(array.Data()));
    return array;
  };
  if (buffer.storage == Storage::int32) return fill(Napi::Int32Array::New(env, n));
  if (buffer.storage == Storage::uint8) return fill(Napi::Uint8Array::New(env, n));
  if (buffer.storage == Storage::float32) return fill(Napi::Float32Array::New(env, n));
  std::vector<uint16_t> halves(n);
  executor.read(index, reinterpret_cast<std::byte*>(halves.data()));
  Napi::Float32Array values = Napi::Float32Array::New(env, n);
  for (size_t i = 0; i < n; ++i) values.Data()[i] = float_of_bf16(halves[i]);
  return values;
}

std::unique_ptr<CpuExecutor> load_cpu(Program program, const Napi::Object& options) {
  const int64_t threads = whole_of(options.Get("threads"));
  if (threads < 1 || threads > 1024)
    throw ProgramError("threads is " + std::to_string(threads) + "; it must be 1 to 1024");
  return std::make_unique<CpuExecutor>(std::move(program), static_cast<int>(threads));
}

std::unique_ptr<cuda::CudaExecutor> load_cuda(Program program, const Napi::Object& options) {
  const std::string name = string_of(options.Get("precision"));
  if (name != "float32" && name != "bf16")
    throw ProgramError("precision is \"" + name + "\"; it must be float32 or bf16");
  return cuda::load(std::move(program), name == "bf16" ? cuda::Precision::bf16 : cuda::Precision::float32);
}

// new Executable(program, plan, { device, threads })
class ExecutableObject : public Napi::ObjectWrap<ExecutableObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(
        env, "Executable",
        {InstanceMethod<&ExecutableObject::write>("write"), InstanceMethod<&ExecutableObject::read>("read"),
         InstanceMethod<&ExecutableObject::run>("run"), InstanceMethod<&ExecutableObject::time>("time"),
         InstanceMethod<&ExecutableObject::profile>("profile"), InstanceMethod<&ExecutableObject::dispose>("dispose"),
         InstanceAccessor<&ExecutableObject::arena_bytes>("arenaBytes"),
         InstanceAccessor<&ExecutableObject::paged_bytes>("pagedBytes"),
         InstanceAccessor<&ExecutableObject::workspace_bytes>("workspaceBytes"),
         InstanceAccessor<&ExecutableObject::high_water_bytes>("highWaterBytes")});
  }

  explicit ExecutableObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    guarded(info, [&] {
      const Napi::Object program = info[0].As<Napi::Object>();
      const Napi::Object options = info[2].As<Napi::Object>();
      const std::string device = string_of(options.Get("device"));
      if (device != "cpu" && (device != "cuda" || cuda::device_names().empty()))
        throw ProgramError("there is no device \"" + device + "\"; devices() lists those there are" +
                           (device == "cuda" ? " (" + cuda::why_none() + ")" : ""));
      Program loaded = program_of(program, info[1].As<Napi::Object>());
      if (device == "cpu") {
        executor_ = load_cpu(std::move(loaded), options);
      } else {
        std::unique_ptr<cuda::CudaExecutor> executor = load_cuda(std::move(loaded), options);
        timed_ = executor.get();
        executor_ = std::move(executor);
      }
      write_constants(program.Get("buffers").As<Napi::Array>());
      // The collector cannot see an arena: it is told, so that one that nobody disposed of does not stay for long.
      held_ = static_cast<int64_t>(executor_->arena_bytes() + executor_->paged_bytes() + executor_->workspace_bytes());
      Napi::MemoryManagement::AdjustExternalMemory(info.Env(), held_);
      return info.Env().Undefined();
    });
  }

  void Finalize(Napi::BasicEnv env) override { release(env); }

 private:
  // Runs body, turning what it throws into a JavaScript error.
  template <class Body>
  static Napi::Value guarded(const Napi::CallbackInfo& info, const Body& body) {
    try {
      return body();
    } catch (const ProgramError& error) {
      throw Napi::Error::New(info.Env(), error.what());
    } catch (const std::bad_alloc&) {
      throw Napi::Error::New(info.Env(), "out of memory");
    }
  }

  void release(Napi::BasicEnv env) {
    timed_ = nullptr;
    executor_.reset();
    Napi::MemoryManagement::AdjustExternalMemory(env, -std::exchange(held_, 0));
  }

  Executor& executor() {
    if (executor_ == nullptr) throw ProgramError("the executable has been disposed of");
    return *executor_;
  }

  void write_constants(const Napi::Array& buffers) {
    for (uint32_t i = 0; i < buffers.Length(); ++i) {
      const Napi::Value data = buffers.Get(i).As<Napi::Object>().Get("data");
      if (!data.IsUndefined()) write_buffer(executor(), static_cast<int>(i), data);
    }
  }

  Napi::Value write(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
      write_buffer(executor(), static_cast<int>(whole_of(info[0])), info[1]);
      return info.Env().Undefined();
    });
  }

  Napi::Value read(const Napi::CallbackInfo& info) {
    return guarded(info, [&] { return read_buffer(info.Env(), executor(), static_cast<int>(whole_of(info[0]))); });
  }

  Napi::Value run(const Napi::CallbackInfo& info) {
    return guarded(info, [&] {
      executor().run();
      return info.Env().Undefined();
    });
  }

  cuda::CudaExecutor& timed() {
    executor();
    if (timed_ == nullptr) throw ProgramError("only a program on a GPU is timed by the device's own clock");
    return *timed_;
  }

  static Napi::Value floats_of(Napi::Env env, const std::vector<float>& values) {
    Napi::Float32Array result = Napi::Float32Array::New(env, values.size());
    std::copy(values.begin(), values.end(), result.Data());
    return result;
  }

  Napi::Value time(const Napi::CallbackInfo& info) {
    return guarded(info, [&] { return floats_of(info.Env(), timed().time(static_cast<int>(whole_of(info[0])))); });
  }

  Napi::Value profile(const Napi::CallbackInfo& info) {
    return guarded(info, [&] { return floats_of(info.Env(), timed().profile()); });
  }

  Napi::Value dispose(const Napi::CallbackInfo& info) {
    release(info.Env());
    return info.Env().Undefined();
  }

  Napi::Value bytes(const Napi::CallbackInfo& info, size_t (Executor::*of)() const) {
    return guarded(info, [&] { return Napi::Number::New(info.Env(), static_cast<double>((executor().*of)())); });
  }
  Napi::Value arena_bytes(const Napi::CallbackInfo& info) { return bytes(info, &Executor::arena_bytes); }
  Napi::Value paged_bytes(const Napi::CallbackInfo& info) { return bytes(info, &Executor::paged_bytes); }
  Napi::Value workspace_bytes(const Napi::CallbackInfo& info) { return bytes(info, &Executor::workspace_bytes); }
  Napi::Value high_water_bytes(const Napi::CallbackInfo& info) { return bytes(info, &Executor::high_water_bytes); }

  std::unique_ptr<Executor> executor_;
  int64_t held_ = 0;                     // what the collector was told of
  cuda::CudaExecutor* timed_ = nullptr;  // executor_, if it is on a GPU
};

Napi::Value kernels(const Napi::CallbackInfo& info) {
  const Napi::Array names = Napi::Array::New(info.Env());
  for (const std::string& name : kernel_names()) names.Set(names.Length(), name);
  return names;
}

Napi::Object device_of(Napi::Env env, const char* kind, const std::string& name) {
  const Napi::Object device = Napi::Object::New(env);
  device.Set("kind", kind);
  device.Set("name", name);
  return device;
}

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Array list = Napi::Array::New(info.Env());
  list.Set(uint32_t{0}, device_of(info.Env(), "cpu", "cpu"));
  for (const std::string& name : cuda::device_names()) list.Set(list.Length(), device_of(info.Env(), "cuda", name));
  return list;
}

// Why devices() lists no GPU; undefined if it does.
Napi::Value cuda_unavailable(const Napi::CallbackInfo& info) {
  const std::string reason = cuda::why_none();
  return reason.empty() ? info.Env().Undefined() : Napi::Value(Napi::String::New(info.Env(), reason));
}

Napi::Value cuda_memory(const Napi::CallbackInfo& info) {
  try {
    const cuda::Memory memory = cuda::memory();
    const Napi::Object result = Napi::Object::New(info.Env());
    result.Set("free", static_cast<double>(memory.free));
    result.Set("total", static_cast<double>(memory.total));
    return result;
  } catch (const ProgramError& error) {
    throw Napi::Error::New(info.Env(), error.what());
  }
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("kernels", Napi::Function::New(env, kernels, "kernels"));
  exports.Set("devices", Napi::Function::New(env, devices, "devices"));
  exports.Set("cudaUnavailable", Napi::Function::New(env, cuda_unavailable, "cudaUnavailable"));
  exports.Set("cudaMemory", Napi::Function::New(env, cuda_memory, "cudaMemory"));
  exports.Set("Executable", ExecutableObject::define(env));
  return exports;
}

NODE_API_MODULE(pipe, initialize)

}  // namespace

}  // namespace pipe
