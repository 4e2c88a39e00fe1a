// cuBLASLt, found at run time: descriptors, the choice of an algorithm, and the call.
#include "gemm.h"

#include <dlfcn.h>

namespace pipe::cuda {

namespace {

// The functions used, by their names in the library.
struct Library {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtDestroy) destroy = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtGetStatusString) status_string = nullptr;
  std::string missing;  // why it cannot be used

  Library() {
    void* handle = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      missing = std::string("cuBLASLt cannot be loaded (") + dlerror() + "); add its folder to LD_LIBRARY_PATH";
      return;
    }
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(handle, name));
      if (function == nullptr) missing = std::string("libcublasLt.so.13 has no ") + name;
    };
    find(create, "cublasLtCreate");
    find(destroy, "cublasLtDestroy");
    find(matmul, "cublasLtMatmul");
    find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    find(desc_create, "cublasLtMatmulDescCreate");
    find(desc_destroy, "cublasLtMatmulDescDestroy");
    find(desc_set, "cublasLtMatmulDescSetAttribute");
    find(layout_create, "cublasLtMatrixLayoutCreate");
    find(layout_destroy, "cublasLtMatrixLayoutDestroy");
    find(layout_set, "cublasLtMatrixLayoutSetAttribute");
    find(preference_create, "cublasLtMatmulPreferenceCreate");
    find(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    find(status_string, "cublasLtGetStatusString");
  }
};

const Library& library() {
  static const Library loaded;
  return loaded;
}

std::string describe(const Product& p) {
  return "product [" + std::to_string(p.m) + ", " + std::to_string(p.k) + "] [" + std::to_string(p.k) + ", " +
         std::to_string(p.n) + "] of " + (p.elements == Precision::bf16 ? "bf16" : "float32");
}

void check(cublasStatus_t status, const Product& p, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw ProgramError(describe(p) + ": " + what + ": " + library().status_string(status));
}

// The largest power of two up to 256 that divides an address.
uint32_t alignment_of(const void* data) {
  uint32_t alignment = 256;
  while (reinterpret_cast<uintptr_t>(data) % alignment != 0) alignment /= 2;
  return alignment;
}

cudaDataType_t type_of(Storage storage) { return storage == Storage::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// cuBLASLt's C: where nothing is added, it is not read.
const void* added_of(const Product& p) { return p.added != nullptr ? p.added : p.c.data; }

constexpr size_t most_workspace = size_t{16} << 20;

}  // namespace

std::string gemm_unavailable() { return library().missing; }

// Row-major c = a b is column-major c^T = b^T a^T, so that b is cuBLASLt's first operand; bias then runs along its
// rows.
struct Gemms::Chosen {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t first = nullptr, second = nullptr, result = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  size_t workspace = 0;

  explicit Chosen(cublasLtHandle_t handle, const Product& p) {
    const Library& lib = library();
    const cudaDataType_t type = p.elements == Precision::bf16 ? CUDA_R_16BF : CUDA_R_32F;
    check(lib.desc_create(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), p, "its description");
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      check(lib.desc_set(operation, attribute, &value, sizeof value), p, "an attribute");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (p.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, type_of(p.c.storage));
    }
    const auto layout = [&](cublasLtMatrixLayout_t& made, cudaDataType_t of, int64_t rows, int64_t columns,
                            int64_t stride, int64_t batch_stride) {
      check(lib.layout_create(&made, of, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), stride), p,
            "a layout");
      if (p.batch == 1) return;
      const int32_t count = static_cast<int32_t>(p.batch);
      check(lib.layout_set(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), p, "its batch");
      check(lib.layout_set(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_stride, sizeof batch_stride), p,
            "its batch");
    };
    layout(first, type, p.b.transposed ? p.k : p.n, p.b.transposed ? p.n : p.k, p.b.stride, p.b.batch_stride);
    layout(second, type, p.a.transposed ? p.m : p.k, p.a.transposed ? p.k : p.m, p.a.stride, p.a.batch_stride);
    layout(result, type_of(p.c.storage), p.n, p.m, p.c_stride, p.c_batch_stride);

    cublasLtMatmulPreference_t preference = nullptr;
    check(lib.preference_create(&preference), p, "a preference");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check(lib.preference_set(preference, attribute, &value, sizeof value), p, "a preference");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most_workspace);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(p.b.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(p.a.data));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(added_of(p)));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(p.c.data));
    cublasLtMatmulHeuristicResult_t proposal{};
    int proposals = 0;
    const cublasStatus_t status =
        lib.heuristic(handle, operation, first, second, result, result, preference, 1, &proposal, &proposals);
    lib.preference_destroy(preference);
    check(status, p, "cuBLASLt has no algorithm");
    if (proposals == 0) throw ProgramError(describe(p) + ": cuBLASLt has no algorithm");
    algorithm = proposal.algo;
    workspace = proposal.workspaceSize;
  }

  ~Chosen() {
    for (const cublasLtMatrixLayout_t layout : {first, second, result}) library().layout_destroy(layout);
    library().desc_destroy(operation);
  }
};

Gemms::Gemms() {
  if (!library().missing.empty()) throw ProgramError(library().missing);
  if (library().create(&handle_) != CUBLAS_STATUS_SUCCESS) throw ProgramError("cuBLASLt cannot be started on this GPU");
}

Gemms::~Gemms() {
  chosen_.clear();
  library().destroy(handle_);
}

const Gemms::Chosen& Gemms::choose(const Product& p) {
  const Key key{p.m,
                p.n,
                p.k,
                p.a.stride,
                p.a.transposed,
                p.a.batch_stride,
                p.b.stride,
                p.b.transposed,
                p.b.batch_stride,
                p.c_stride,
                p.c_batch_stride,
                p.batch,
                p.elements == Precision::bf16,
                p.c.storage == Storage::bf16,
                p.bias != nullptr,
                p.added != nullptr,
                alignment_of(p.a.data),
                alignment_of(p.b.data),
                alignment_of(added_of(p)),
                alignment_of(p.c.data)};
  std::unique_ptr<Chosen>& chosen = chosen_[key];
  if (chosen == nullptr) chosen = std::make_unique<Chosen>(handle_, p);
  return *chosen;
}

namespace {

// Where element `offset` of a bf16 factor lies.
Factor moved(const Factor& factor, int64_t offset) {
  Factor moved = factor;
  moved.data = static_cast<const uint16_t*>(factor.data) + offset;
  return moved;
}

// The same for a result, a bias, or what is added; none stays none.
const void* moved(const void* data, Storage storage, int64_t offset) {
  if (data == nullptr) return nullptr;
  return static_cast<const std::byte*>(data) + static_cast<size_t>(offset) * bytes_of(storage);
}
void* moved(void* data, Storage storage, int64_t offset) {
  return const_cast<void*>(moved(static_cast<const void*>(data), storage, offset));
}

// Tensor cores are fed 16 bytes at a time. Where an extent of a bf16 product is no multiple of 8, cuBLASLt takes a
// kernel that loads one element at a time: logits of 50,257 columns took 280 us for 256 rows, at 94 TFLOP/s. So the
// greater part of such an extent, and its last few, are products of their own. Returns whether it queued them.
bool multiply_in_parts(Context& context, const Product& p) {
  constexpr int64_t unit = 8;
  constexpr int64_t least = 512;  // below, one slow product costs less than two
  if (p.elements != Precision::bf16 || p.batch != 1) return false;
  const auto uneven = [](int64_t extent) { return extent > least && extent % unit != 0; };
  if (!uneven(p.n) && !uneven(p.k) && !uneven(p.m)) return false;
  Product head = p;
  Product tail = p;
  if (uneven(p.n)) {
    head.n = p.n / unit * unit;
    tail.n = p.n - head.n;
    tail.b = moved(p.b, p.b.transposed ? head.n * p.b.stride : head.n);
    tail.c.data = moved(p.c.data, p.c.storage, head.n);
    tail.bias = moved(p.bias, p.c.storage, head.n);
    tail.added = moved(p.added, p.c.storage, head.n);
  } else if (uneven(p.k)) {
    head.k = p.k / unit * unit;
    tail.k = p.k - head.k;
    tail.a = moved(p.a, p.a.transposed ? head.k * p.a.stride : head.k);
    tail.b = moved(p.b, p.b.transposed ? head.k : head.k * p.b.stride);
    tail.bias = nullptr;
    tail.added = p.c.data;
  } else {
    head.m = p.m / unit * unit;
    tail.m = p.m - head.m;
    tail.a = moved(p.a, p.a.transposed ? head.m : head.m * p.a.stride);
    tail.c.data = moved(p.c.data, p.c.storage, head.m * p.c_stride);
    tail.added = moved(p.added, p.c.storage, head.m * p.c_stride);
  }
  multiply(context, head);
  multiply(context, tail);
  return true;
}

}  // namespace

void multiply(Context& context, const Product& p) {
  if (multiply_in_parts(context, p)) return;
  const Gemms::Chosen& chosen = context.gemms.choose(p);
  const size_t taken = context.taken();
  void* workspace = context.take<std::byte>(static_cast<int64_t>(chosen.workspace));
  context.release_to(taken);
  if (context.planning()) return;
  if (p.bias != nullptr)
    check(library().desc_set(chosen.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias, sizeof p.bias), p,
          "its bias");
  const float one = 1;
  const float share_of_added = p.added != nullptr ? 1 : 0;
  check(library().matmul(context.gemms.handle_, chosen.operation, &one, p.b.data, chosen.first, p.a.data, chosen.second,
                         &share_of_added, added_of(p), chosen.result, p.c.data, chosen.result, &chosen.algorithm, workspace,
                         chosen.workspace, context.stream),
        p, "cuBLASLt");
  context.queued_kernel();
}

}  // namespace pipe::cuda
