// The CPU kernels' entry points, and the thread pool they are handed.
#pragma once

#include "../msda.h"

namespace msda::cpu {

// Runs `range(context, begin, end)` over [0, tasks) in parallel, each index once.
struct Pool {
  using Range = void (*)(void* context, int64_t begin, int64_t end);
  void (*run)(int64_t tasks, Range range, void* context);
  int64_t threads;
};

// `output`: (B, Lq, M * D), contiguous, in the dtype of the values.
void forward(const Problem& problem, void* output, const Pool& pool);

// Fills every element of every gradient that is asked for. Bitwise the same on any number of
// threads.
void backward(const Problem& problem, const Gradients& gradients, const Pool& pool);

// The instruction set in use: "avx512", "avx2" or "baseline". MSDA_CPU_ISA lowers it.
const char* instruction_set();

namespace baseline {
void forward(const Problem&, void*, const Pool&);
void backward(const Problem&, const Gradients&, const Pool&);
}  // namespace baseline
namespace avx2 {
void forward(const Problem&, void*, const Pool&);
void backward(const Problem&, const Gradients&, const Pool&);
}  // namespace avx2
namespace avx512 {
void forward(const Problem&, void*, const Pool&);
void backward(const Problem&, const Gradients&, const Pool&);
}  // namespace avx512

}  // namespace msda::cpu
