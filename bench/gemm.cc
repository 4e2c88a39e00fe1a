// Times one product after another, ours and OpenBLAS's in turn, on one thread each; prints one JSON line a shape.
// Usage: gemm ROUNDS
#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../native/kernels/cpu/gemm.h"

extern "C" void openblas_set_num_threads(int);

namespace {

// x[N, K] w[M, K]^T, dy[N, M] w[M, K] or dy[N, M]^T x[N, K]: the products of a linear map's forward pass and gradients.
struct Case {
  const char* name;
  int64_t m, n, k;
  bool transpose_a, transpose_b;
};

constexpr Case cases[] = {
    {"x wT", 1024, 1024, 1024, false, true},   {"dy w", 1024, 1024, 1024, false, false},
    {"dyT x", 1024, 1024, 1024, true, false},  {"x wT", 2048, 3072, 1024, false, true},
    {"dy w", 2048, 1024, 3072, false, false},  {"dyT x", 3072, 1024, 2048, true, false},
    {"x wT", 1024, 512, 128, false, true},     {"dy w", 1024, 128, 512, false, false},
    {"dyT x", 512, 128, 1024, true, false},    {"x wT", 1, 1024, 1024, false, true},
    {"x wT", 8, 3072, 1024, false, true},
};

template <class Run>
double seconds(const Run& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Seconds of one product, each taken from as many in a row as make the time long enough to be read.
struct Times {
  int repeats;
  std::vector<double> rounds{};
  template <class Run>
  void add(const Run& run) {
    rounds.push_back(seconds([&] {
                       for (int i = 0; i < repeats; ++i) run();
                     }) /
                     repeats);
  }
};

void print(const char* name, const Times& times) {
  std::printf(",\"%s\":", name);
  for (size_t i = 0; i < times.rounds.size(); ++i) std::printf("%c%.9g", i == 0 ? '[' : ',', times.rounds[i]);
  std::printf("]");
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc == 2 ? std::atoi(argv[1]) : 0;
  if (rounds < 1) {
    std::fputs("usage: gemm ROUNDS\n", stderr);
    return 2;
  }
  openblas_set_num_threads(1);
  std::vector<float> packing(pipe::gemm_packing_floats + 16);
  float* aligned = packing.data() + (64 - reinterpret_cast<uintptr_t>(packing.data()) % 64) % 64 / sizeof(float);
  for (const Case& c : cases) {
    const auto filled = [](int64_t n) {
      std::vector<float> v(static_cast<size_t>(n));
      for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i * 7919 % 1009) / 1009 - 0.5f;
      return v;
    };
    const std::vector<float> a = filled(c.m * c.k), b = filled(c.k * c.n);
    std::vector<float> ours(static_cast<size_t>(c.m * c.n)), theirs(ours.size());
    const int64_t a_stride = c.transpose_a ? c.m : c.k, b_stride = c.transpose_b ? c.k : c.n;
    const auto run_ours = [&] {
      pipe::gemm({c.m, c.n, c.k, {a.data(), a_stride, c.transpose_a},
                  pipe::Right::of(b.data(), b_stride, c.transpose_b), ours.data(), c.n},
                 aligned);
    };
    const auto run_theirs = [&] {
      cblas_sgemm(CblasRowMajor, c.transpose_a ? CblasTrans : CblasNoTrans, c.transpose_b ? CblasTrans : CblasNoTrans,
                  static_cast<int>(c.m), static_cast<int>(c.n), static_cast<int>(c.k), 1, a.data(),
                  static_cast<int>(a_stride), b.data(), static_cast<int>(b_stride), 0, theirs.data(),
                  static_cast<int>(c.n));
    };
    const double flops = 2.0 * static_cast<double>(c.m) * static_cast<double>(c.n) * static_cast<double>(c.k);
    Times mine{std::max(1, static_cast<int>(5e8 / flops))}, other{mine.repeats};
    run_ours();
    run_theirs();
    for (size_t i = 0; i < ours.size(); ++i) {
      // Sums of up to 3072 products below a quarter, in another order.
      if (std::fabs(ours[i] - theirs[i]) <= 1e-3f) continue;
      std::fprintf(stderr, "%s: element %zu is %g, and OpenBLAS's %g\n", c.name, i, ours[i], theirs[i]);
      return 1;
    }
    for (int round = 0; round < rounds; ++round) {
      mine.add(run_ours);
      other.add(run_theirs);
    }
    std::printf("{\"product\":\"%s\",\"m\":%ld,\"n\":%ld,\"k\":%ld", c.name, static_cast<long>(c.m),
                static_cast<long>(c.n), static_cast<long>(c.k));
    print("ours", mine);
    print("openblas", other);
    std::puts("}");
  }
}
