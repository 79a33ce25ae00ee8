// Enough of CUDA to run the kernels on the CPU, for tests: the threads of a block are fibres that
// take turns at every barrier and shuffle. Slow, and blind to races within a block's turn; exact in
// index arithmetic, bounds, barriers that not all threads reach (which it reports) and numbers.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(...)

namespace msda::emulation {

struct Index {
  unsigned x;
};

struct Fibre {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool finished = false, waiting = false;
};

// A barrier of the block, or of the 32 fibres of a warp.
struct Barrier {
  int arrived = 0;
};

inline std::vector<Fibre> fibres;
inline std::vector<Barrier> warps;
inline Barrier block;
inline std::vector<double> slots;  // one number a fibre, for shuffles
inline std::vector<unsigned char> memory;
inline ucontext_t scheduler;
inline std::function<void()> body;
inline int current;
inline Index thread_index, block_index, block_size, grid_size;

inline void enter() {
  body();
  fibres[current].finished = true;
  swapcontext(&fibres[current].context, &scheduler);
}

// Waits until `count` fibres, those from `first` on, have arrived.
inline void wait(Barrier& barrier, int first, int count) {
  const int self = current;
  fibres[self].waiting = true;
  if (++barrier.arrived == count) {
    barrier.arrived = 0;
    for (int i = first; i < first + count; ++i) fibres[i].waiting = false;
  }
  swapcontext(&fibres[self].context, &scheduler);
}

inline void run_block() {
  constexpr size_t stack_size = 64 * 1024;
  const int count = int(block_size.x);
  for (int i = 0; i < count; ++i) {
    Fibre& fibre = fibres[i];
    fibre.finished = fibre.waiting = false;
    if (!fibre.stack) fibre.stack.reset(new char[stack_size]);
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.get();
    fibre.context.uc_stack.ss_size = stack_size;
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, enter, 0);
  }
  for (bool progress = true, left = true; left;) {
    if (!progress) {
      std::fprintf(stderr, "a barrier is not reached by all threads\n");
      std::abort();
    }
    progress = left = false;
    for (int i = 0; i < count; ++i) {
      if (fibres[i].finished) continue;
      left = true;
      if (fibres[i].waiting) continue;
      progress = true;
      current = i;
      thread_index.x = unsigned(i);
      swapcontext(&scheduler, &fibres[i].context);
    }
  }
}

inline void launch(unsigned blocks, int threads, size_t shared, std::function<void()> kernel) {
  // fewer blocks than asked for: kernels must cover all tiles with any number of blocks
  grid_size.x = blocks < 3 ? blocks : 3;
  block_size.x = unsigned(threads);
  fibres.resize(threads);
  warps.assign(threads / 32, {});
  slots.resize(threads);
  body = std::move(kernel);
  for (unsigned i = 0; i < grid_size.x; ++i) {
    memory.assign(shared, 0xff);  // NaN: what is not written must not be read
    block_index.x = i;
    run_block();
  }
}

}  // namespace msda::emulation

#define threadIdx msda::emulation::thread_index
#define blockIdx msda::emulation::block_index
#define blockDim msda::emulation::block_size
#define gridDim msda::emulation::grid_size
#define MSDA_SHARED_MEMORY(name) unsigned char* name = msda::emulation::memory.data()
#define MSDA_LAUNCH(kernel, blocks, threads, shared, stream, ...)                     \
  do {                                                                                \
    (void)(stream);                                                                   \
    msda::emulation::launch(blocks, threads, shared, [=] { (kernel)(__VA_ARGS__); }); \
  } while (false)

using std::floor;
using cudaStream_t = void*;
constexpr int cudaSuccess = 0;
inline const char* cudaGetErrorString(int) { return "error"; }
inline int cudaMemsetAsync(void* memory, int byte, size_t count, void*) {
  std::memset(memory, byte, count);
  return cudaSuccess;
}

inline void __syncthreads() {
  using namespace msda::emulation;
  wait(block, 0, int(block_size.x));
}

// What each fibre of a warp gives, and then the number that the fibre `from` gave.
template <class W>
W shuffle(W number, int from) {
  using namespace msda::emulation;
  const int self = current, first = self / 32 * 32;
  slots[self] = number;
  wait(warps[self / 32], first, 32);
  const W other = W(slots[from]);
  wait(warps[self / 32], first, 32);
  return other;
}

template <class W>
W __shfl_xor_sync(unsigned, W number, int mask) {
  return shuffle(number, msda::emulation::current ^ mask);
}
template <class W>
W __shfl_up_sync(unsigned, W number, int step) {
  const int self = msda::emulation::current;
  return shuffle(number, self % 32 < step ? self : self - step);
}
template <class W>
W __shfl_sync(unsigned, W number, int lane) {
  return shuffle(number, msda::emulation::current / 32 * 32 + lane);
}

template <class W>
W atomicAdd(W* to, W number) {
  const W before = *to;
  *to += number;
  return before;
}
inline int atomicCAS(int* to, int expected, int number) {
  const int before = *to;
  if (before == expected) *to = number;
  return before;
}
inline unsigned __umulhi(unsigned left, unsigned right) {
  return unsigned(uint64_t(left) * right >> 32);
}

inline float __uint_as_float(unsigned bits) {
  float number;
  std::memcpy(&number, &bits, 4);
  return number;
}
inline unsigned __float_as_uint(float number) {
  unsigned bits;
  std::memcpy(&bits, &number, 4);
  return bits;
}
inline uint16_t __float2bfloat16_rn(float number) {
  const unsigned bits = __float_as_uint(number);
  if (number != number) return 0x7fff;
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline uint16_t __bfloat16_as_ushort(uint16_t bits) { return bits; }
inline _Float16 __ushort_as_half(uint16_t bits) {
  _Float16 half;
  std::memcpy(&half, &bits, 2);
  return half;
}
inline float __half2float(_Float16 half) { return float(half); }
inline _Float16 __float2half_rn(float number) { return _Float16(number); }
inline uint16_t __half_as_ushort(_Float16 half) {
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}
