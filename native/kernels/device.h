// The device that a file of kernels/ is compiled for: its namespace, and the Context that its kernels are handed.
#pragma once

#ifdef PIPE_FOR_CUDA
#include "../cuda/context.h"
#define PIPE_DEVICE pipe::cuda
#else
#include "../context.h"
#define PIPE_DEVICE pipe
#endif
