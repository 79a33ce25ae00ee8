// The kernels for processors with AVX2 and FMA: eight floats at a time.
#if defined(__x86_64__)
// Standard headers come before the target pragma: their inline functions must stay baseline code.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include "kernels.h"

#define MSDA_ISA avx2
#define MSDA_LANES 8
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "kernels.inl"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // __x86_64__
