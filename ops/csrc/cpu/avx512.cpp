// The kernels for processors with AVX-512: sixteen floats at a time.
#if defined(__x86_64__)
// Standard headers come before the target pragma: their inline functions must stay baseline code.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include "kernels.h"

#define MSDA_ISA avx512
#define MSDA_LANES 16
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,prefer-vector-width=512")
#endif
#include "kernels.inl"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif  // __x86_64__
