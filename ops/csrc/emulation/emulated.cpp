// The CUDA kernels and their operators on the CPU, for tests only (no part of the build): compiled
// with MSDA_EMULATE, and registered for the dispatch key CPU of a process without other kernels.
#include "../cuda/backward.cu"
#include "../cuda/deterministic.cu"
#include "../cuda/forward.cu"
#include "../cuda/operators.h"
#include "../cuda/tiles.cu"

namespace {

struct Queue {
  explicit Queue(const torch::stable::Tensor&) {}
  void* stream() const { return nullptr; }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(msda, CPU, m) { msda::cuda::register_operators<Queue>(m); }
