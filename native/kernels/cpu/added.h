// Products that are added to something: C = A B + bias (or none) + added (or none), C dense, which may lie over `added`.
#pragma once

#include <cstring>

#include "../kernels.h"
#include "gemm.h"

namespace pipe {

inline void multiply_and_add(Context& context, Product product, const float* bias, const float* added) {
  product.bias = bias;
  if (added == nullptr) return gemm(context, product);
  const int64_t n = product.m * product.n;
  if (bias != nullptr)
    arithmetic(context, Arithmetic::add, product.c, added, n, bias, product.n, n);
  else if (product.c != added)
    std::memcpy(product.c, added, static_cast<size_t>(n) * sizeof(float));
  product.bias = nullptr;
  product.accumulate = true;
  gemm(context, product);
}

}  // namespace pipe
