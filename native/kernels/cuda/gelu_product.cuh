// Products followed by gelu, or by its derivative: in the product's epilogue where that can be, or in a pass of its own.
#pragma once

#include "added.cuh"

namespace pipe::cuda {

// cuBLASLt's epilogues write two results in bf16, sixteen bytes at a time.
inline bool in_epilogue(const Product& product, const In& other) {
  return product.elements == Precision::bf16 && product.c.storage == Storage::bf16 && other.storage == Storage::bf16 &&
         product.m > 8 && product.n % 8 == 0;
}

// pre = a b + bias, and c = gelu(pre).
inline void multiply_and_gelu(Context& context, Product product, Out pre, const In& bias) {
  if (in_epilogue(product, pre)) {
    product.epilogue = Epilogue::gelu;
    product.aux = pre.data;
    return multiply_and_add(context, product, bias, {});
  }
  const Out y = product.c;
  product.c = pre;
  multiply_and_add(context, product, bias, {});
  gelu_forward(context, y, pre, product.m * product.n);
}

// c = a b, times the derivative of gelu at pre.
inline void multiply_and_gelu_gradient(Context& context, Product product, const In& pre) {
  if (in_epilogue(product, pre)) {
    product.epilogue = Epilogue::gelu_gradient;
    product.aux = const_cast<void*>(pre.data);
    return multiply(context, product);
  }
  multiply(context, product);
  gelu_backward(context, product.c, product.c, pre, product.m * product.n);
}

}  // namespace pipe::cuda
