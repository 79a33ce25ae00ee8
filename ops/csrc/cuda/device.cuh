// What the kernels need of the device: numbers, wide loads, atomic additions, launches.
//
// MSDA_EMULATE replaces the CUDA runtime by one of ours that runs a block's threads as fibres on the
// CPU (../emulation): the tests check the kernels' arithmetic so, where there is no GPU.
#pragma once

#include <cstdint>
#include <type_traits>

#ifdef MSDA_EMULATE
#include "../emulation/emulation.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define MSDA_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]
#define MSDA_LAUNCH(kernel, blocks, threads, shared, stream, ...) \
  kernel<<<blocks, threads, shared, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#endif

namespace msda::cuda {

inline const char* launch_error() {
#ifdef MSDA_EMULATE
  return nullptr;
#else
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
#endif
}

// Whether the device in use adds four floats to global memory at once: Hopper and newer.
inline bool has_vector_reductions() {
#ifdef MSDA_EMULATE
  return false;
#else
  int device = 0, major = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  return major >= 9;
#endif
}

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <class T>
struct WideOf {
  using type = float;
};
template <>
struct WideOf<double> {
  using type = double;
};
template <class T>
using Wide = typename WideOf<T>::type;

__device__ inline float widen(float from) { return from; }
__device__ inline double widen(double from) { return from; }
__device__ inline float widen(BFloat16 from) {
  return __uint_as_float(static_cast<unsigned>(from.bits) << 16);
}
__device__ inline float widen(Float16 from) { return __half2float(__ushort_as_half(from.bits)); }

__device__ inline void narrow(float* to, float from) { *to = from; }
__device__ inline void narrow(double* to, double from) { *to = from; }
__device__ inline void narrow(BFloat16* to, float from) {
  to->bits = __bfloat16_as_ushort(__float2bfloat16_rn(from));
}
__device__ inline void narrow(Float16* to, float from) {
  to->bits = __half_as_ushort(__float2half_rn(from));
}

// The row of that index: one multiplication, where strides of 64 bits would take five instructions.
template <class T>
__device__ inline T* row_at(T* first, int32_t index, uint32_t bytes_of_row) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  const uint64_t offset = static_cast<uint64_t>(static_cast<uint32_t>(index)) * bytes_of_row;
  return reinterpret_cast<T*>(reinterpret_cast<Byte*>(first) + offset);
}

// N elements that are loaded and stored at once.
template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T elements[N];
};

template <class T, int N>
__device__ inline Pack<T, N> pack_at(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <class T, int N>
__device__ inline void load(const T* from, Wide<T>* to) {
  const Pack<T, N> pack = pack_at<T, N>(from);
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = widen(pack.elements[i]);
}

template <class T, int N>
__device__ inline void store(T* to, const Wide<T>* from) {
  Pack<T, N> pack;
#pragma unroll
  for (int i = 0; i < N; ++i) narrow(&pack.elements[i], from[i]);
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// Adds weight * from to N elements in global memory, which other threads add to as well.
template <class W, int N>
__device__ inline void add(W* to, const W* from, W weight) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  constexpr bool vectors = sizeof(W) == 4 && N % 4 == 0;  // one reduction for four floats
#else
  constexpr bool vectors = false;
#endif
  if constexpr (vectors) {
#if defined(__CUDA_ARCH__)
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(
                       __cvta_generic_to_global(to + i)),
                   "f"(weight * from[i]), "f"(weight * from[i + 1]), "f"(weight * from[i + 2]),
                   "f"(weight * from[i + 3])
                   : "memory");
    }
#endif
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) atomicAdd(to + i, weight * from[i]);
  }
}

// The sum over the `lanes` lanes (a power of two) of each group, in every lane.
template <class W>
__device__ inline W sum_over(W number, int lanes) {
  for (int step = lanes / 2; step > 0; step /= 2) {
    number += __shfl_xor_sync(0xffffffffu, number, step);
  }
  return number;
}

}  // namespace msda::cuda
