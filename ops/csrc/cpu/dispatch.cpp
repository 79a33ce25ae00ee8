// Chooses the kernels that the processor can run.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace msda::cpu {

namespace {

enum Level { kBaseline, kAvx2, kAvx512 };

Level detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  Level level = avx2 ? (avx512 ? kAvx512 : kAvx2) : kBaseline;
  const char* wanted = std::getenv("MSDA_CPU_ISA");
  if (wanted && !std::strcmp(wanted, "avx2") && level > kAvx2) level = kAvx2;
  if (wanted && !std::strcmp(wanted, "baseline")) level = kBaseline;
  return level;
#else
  return kBaseline;
#endif
}

Level level() {
  static const Level detected = detect();
  return detected;
}

}  // namespace

const char* instruction_set() {
  switch (level()) {
    case kAvx512: return "avx512";
    case kAvx2: return "avx2";
    default: return "baseline";
  }
}

void forward(const Problem& problem, void* output, const Pool& pool) {
#if defined(__x86_64__)
  if (level() == kAvx512) return avx512::forward(problem, output, pool);
  if (level() == kAvx2) return avx2::forward(problem, output, pool);
#endif
  baseline::forward(problem, output, pool);
}

void backward(const Problem& problem, const Gradients& gradients, const Pool& pool) {
#if defined(__x86_64__)
  if (level() == kAvx512) return avx512::backward(problem, gradients, pool);
  if (level() == kAvx2) return avx2::backward(problem, gradients, pool);
#endif
  baseline::backward(problem, gradients, pool);
}

}  // namespace msda::cpu
