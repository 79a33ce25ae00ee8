// Registers the CPU kernels under the schemas that msda/library.py defines.
#include "../binding.h"
#include "kernels.h"

namespace {

using msda::cpu::Pool;
using torch::stable::Tensor;

void run_in_parallel(int64_t tasks, Pool::Range range, void* context) {
  torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    if (begin < end) range(context, begin, end);
  });
}

Pool pool() { return {run_in_parallel, int64_t(torch::stable::get_num_threads())}; }

struct Cpu {
  static void forward(const msda::Problem& problem, void* output, const Tensor&) {
    msda::cpu::forward(problem, output, pool());
  }
  static void backward(const msda::Problem& problem, const msda::Gradients& gradients,
                       const Tensor&) {
    msda::cpu::backward(problem, gradients, pool());
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(msda, CPU, m) {
  msda::binding::register_operators<Cpu>(m);
}

// Read through ctypes: what `msda.backend()` reports.
extern "C" __attribute__((visibility("default"))) const char* msda_cpu_instruction_set() {
  return msda::cpu::instruction_set();
}
