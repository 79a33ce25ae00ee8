// How a problem is cut for the device, and the choice of dtype and width of the loads.
#pragma once

#include <type_traits>

#include "points.cuh"

namespace msda::cuda {

constexpr size_t kSharedBytes = 48 * 1024;  // what every device gives without asking

inline Levels levels_of(const Problem& problem) {
  Levels levels{};
  int64_t start = 0;
  for (int64_t i = 0; i < problem.levels; ++i) {
    levels.height[i] = static_cast<int32_t>(problem.shapes[2 * i]);
    levels.width[i] = static_cast<int32_t>(problem.shapes[2 * i + 1]);
    levels.start[i] = static_cast<int32_t>(start);
    start += problem.shapes[2 * i] * problem.shapes[2 * i + 1];
  }
  return levels;
}

// Lanes that share a row of D channels, N at a time: a power of two, at most a warp.
inline int lanes_for(int64_t channels, int width) {
  int lanes = 1;
  while (lanes < 32 && lanes * width < channels) lanes *= 2;
  return lanes;
}

// Queries of a tile: one for each group of lanes, fewer where their points need too much memory.
inline int queries_for(const Problem& problem, int lanes, size_t bytes_of_point) {
  int queries = kThreads / lanes;
  const size_t bytes = bytes_of_point * problem.levels * problem.points;
  while (queries > 1 && queries * bytes > kSharedBytes) queries /= 2;
  return queries;
}

inline unsigned blocks_for(int64_t tiles) {
  constexpr int64_t most = 0x7fffffff;
  return static_cast<unsigned>(tiles < most ? tiles : most);
}

inline bool aligned(const void* pointer, size_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Calls `run(T{}, N)` with the dtype and the widest load (16, 8 bytes or an element) that fits, of at
// most `most` elements.
template <class T, class Run>
const char* with_width(const Problem& p, const void* other, int most, const Run& run) {
  auto fits = [&](int width) {
    const size_t bytes = width * sizeof(T);
    return width <= most && p.channels % width == 0 && p.value_row % width == 0 &&
           p.value_batch % width == 0 && aligned(p.value, bytes) && aligned(other, bytes);
  };
  constexpr int widest = 16 / sizeof(T), half = widest / 2;
  if (fits(widest)) return run(T{}, std::integral_constant<int, widest>{});
  if constexpr (half > 1) {
    if (fits(half)) return run(T{}, std::integral_constant<int, half>{});
  }
  return run(T{}, std::integral_constant<int, 1>{});
}

template <class Run>
const char* with_type(Type type, const Run& run) {
  switch (type) {
    case Type::float32: return run(float{});
    case Type::float64: return run(double{});
    case Type::bfloat16: return run(BFloat16{});
    case Type::float16: return run(Float16{});
  }
  return "unknown dtype";
}

template <class Run>
const char* dispatch(const Problem& problem, const void* other, const Run& run, int most = 16) {
  return with_type(problem.type, [&](auto type) {
    return with_width<decltype(type)>(problem, other, most, run);
  });
}

inline const char* unsupported(const Problem& problem) {
  constexpr int64_t most = int64_t(1) << 30;
  const int64_t heads = problem.batch * problem.heads;
  if (problem.queries > most || problem.channels > most || heads > most ||
      problem.queries * heads > most) {
    return "the CUDA kernels take at most 2^30 channels of a head and queries of all heads (batch * "
           "heads * queries); MSDA_BACKEND=reference takes any number";
  }
  constexpr int64_t widest = int64_t(1) << 28;  // whose bytes 32 bits count
  if (problem.value_row > widest || problem.value_row < 0 ||
      problem.heads * problem.channels > widest) {
    return "the CUDA kernels take rows of the values that lie at most 2^28 elements apart; "
           "value.contiguous() may bring them together";
  }
  if (problem.levels > kMaxLevels) {
    return "the CUDA kernels take at most 16 levels; MSDA_BACKEND=reference takes any number";
  }
  if (problem.levels * problem.points > kMaxPoints) {
    return "the CUDA kernels take at most 256 points for a query and a head (levels * points); "
           "MSDA_BACKEND=reference takes any number";
  }
  return nullptr;
}

}  // namespace msda::cuda
