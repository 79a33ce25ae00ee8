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
  void forward(const msda::Problem& problem, void* output, const Tensor&) const {
    msda::cpu::forward(problem, output, pool());
  }
  void backward(const msda::Problem& problem, const msda::Gradients& gradients,
                const Tensor&) const {
    msda::cpu::backward(problem, gradients, pool());
  }
};

using Result = std::tuple<Tensor, Tensor, Tensor>;

Result attend_backward(Tensor grad_output, Tensor value, std::vector<int64_t> shapes,
                       Tensor locations, Tensor weights) {
  return msda::binding::attend_backward(Cpu{}, grad_output, value, std::move(shapes), locations,
                                        weights);
}

Result attend_fused_backward(Tensor grad_output, Tensor value, std::vector<int64_t> shapes,
                             Tensor reference, Tensor offsets, Tensor logits) {
  return msda::binding::attend_fused_backward(Cpu{}, grad_output, value, std::move(shapes),
                                              reference, offsets, logits);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(msda, CPU, m) {
  m.impl("ms_deform_attn", TORCH_BOX(&msda::binding::attend<Cpu>));
  m.impl("ms_deform_attn_backward", TORCH_BOX(&attend_backward));
  m.impl("ms_deform_attn_fused", TORCH_BOX(&msda::binding::attend_fused<Cpu>));
  m.impl("ms_deform_attn_fused_backward", TORCH_BOX(&attend_fused_backward));
}

// Read through ctypes: what `msda.backend()` reports.
extern "C" __attribute__((visibility("default"))) const char* msda_cpu_instruction_set() {
  return msda::cpu::instruction_set();
}
