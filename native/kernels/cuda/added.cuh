// Products with a bias and something added, each in a storage of its own.
#pragma once

#include "factors.cuh"

namespace pipe::cuda {

// c = a b + bias (or none) + added (or none), c dense; c may be added.
inline void multiply_and_add(Context& context, Product product, const In& bias, const In& added) {
  product.bias = stored_as(context, bias, product.c.storage, product.n);
  product.added = stored_as(context, added, product.c.storage, product.m * product.n);
  multiply(context, product);
}

}  // namespace pipe::cuda
