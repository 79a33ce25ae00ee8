// Backward pass. Gradients of coordinates and weights belong to one group of lanes each and are
// written once; those of the values are added up in float32 by vector reductions.
#include "launch.cuh"

namespace msda::cuda {

namespace {

// One query's points: inner products with the output's gradient, reductions into the values'.
template <class T, int N>
__device__ inline void differentiate(const Problem& problem, const Points<Wide<T>>& points,
                                     int first, bool active, int lane, int lanes, const T* value,
                                     const T* grad_row, Wide<T>* sums) {
  using W = Wide<T>;
  const int each = static_cast<int>(problem.levels * problem.points);
  const int channels = static_cast<int>(problem.channels);
  const uint32_t value_row = static_cast<uint32_t>(problem.value_row * sizeof(T));
  const uint32_t sums_row = static_cast<uint32_t>(problem.heads * problem.channels * sizeof(W));
  // every lane of a warp runs the same rounds, because the sums over lanes need them all
  for (int round = 0; round < channels; round += lanes * N) {
    const int channel = round + lane * N;
    const bool busy = active && channel < channels;
    W grad[N] = {};
    if (busy) load<T, N>(grad_row + channel, grad);
    for (int i = 0; i < each; ++i) {
      const int n = first + i;
      W dots[4] = {};
      if (busy) {
        const int32_t* index = points.index + 4 * n;
        Pack<T, N> corners[4] = {};
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          if (index[k] < 0) continue;
          corners[k] = pack_at<T, N>(row_at(value + channel, index[k], value_row));
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) {
#pragma unroll
          for (int c = 0; c < N; ++c) dots[k] += grad[c] * widen(corners[k].elements[c]);
          if (sums && index[k] >= 0) {
            add<W, N>(row_at(sums + channel, index[k], sums_row), grad, points.weight[4 * n + k]);
          }
        }
      }
      const W right = active ? points.right[n] : W(0), low = active ? points.low[n] : W(0);
      const W left = W(1) - right, high = W(1) - low;
      const W of_weight =
          sum_over(high * (left * dots[0] + right * dots[1]) +
                       low * (left * dots[2] + right * dots[3]), lanes);
      const W of_x = sum_over(high * (dots[1] - dots[0]) + low * (dots[3] - dots[2]), lanes);
      const W of_y = sum_over(left * (dots[2] - dots[0]) + right * (dots[3] - dots[1]), lanes);
      if (active && lane == 0) {
        W* gradients = points.gradients + 3 * n;
        const bool begins = round == 0;
        gradients[0] = (begins ? W(0) : gradients[0]) + of_weight;
        gradients[1] = (begins ? W(0) : gradients[1]) + of_x;
        gradients[2] = (begins ? W(0) : gradients[2]) + of_y;
      }
    }
  }
}

// From the sums of a tile to the gradients of coordinates and weights.
template <class T>
__device__ inline void finish(const Problem& problem, const Levels& levels, const Place& place,
                              const Points<Wide<T>>& points, const Gradients& gradients) {
  using W = Wide<T>;
  const int each = static_cast<int>(problem.levels * problem.points);
  const int total = place.count * each;
  const Divisor of_query(each), of_level(static_cast<int>(problem.points));
  for (int n = threadIdx.x; n < total; n += blockDim.x) {
    const int query = of_query.into(n), i = n - query * each;
    const int row = place.query(query);
    const int64_t to =
        ((place.batch * problem.queries + row) * problem.heads + place.head) * each + i;
    const W attention = points.attention[n];
    const Axes<W> axes(problem, levels, place.batch, row, of_level.into(i));
    const W of_x = points.gradients[3 * n + 1] * attention * axes.unit_x;
    const W of_y = points.gradients[3 * n + 2] * attention * axes.unit_y;
    W of_weight = points.gradients[3 * n];
    if (problem.fused) {  // through the softmax
      W mean = 0;
      for (int j = query * each; j < (query + 1) * each; ++j) {
        mean += points.attention[j] * points.gradients[3 * j];
      }
      of_weight = attention * (of_weight - mean);
      T* offsets = static_cast<T*>(gradients.coordinates) + 2 * to;
      narrow(offsets, of_x);
      narrow(offsets + 1, of_y);
    } else {
      W* locations = static_cast<W*>(gradients.coordinates) + 2 * to;
      locations[0] = of_x;
      locations[1] = of_y;
    }
    narrow(static_cast<T*>(gradients.weights) + to, of_weight);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    backward_kernel(const Problem problem, const Levels levels, const Tiling tiling,
                    int queries, int lanes, const Gradients gradients, Wide<T>* sums) {
  using W = Wide<T>;
  MSDA_SHARED_MEMORY(memory);
  const int each = static_cast<int>(problem.levels * problem.points);
  const Points<W> points(memory, queries * each);
  const int group = threadIdx.x / lanes, groups = blockDim.x / lanes;
  const int lane = threadIdx.x % lanes;
  const int64_t row = problem.heads * problem.channels;
  for (unsigned tile = blockIdx.x; tile < tiling.tiles; tile += gridDim.x) {
    const Place place(problem, tiling, tile);
    locate<T>(problem, levels, place, true, points);
    const int64_t column = place.head * problem.channels;
    const T* value =
        static_cast<const T*>(problem.value) + place.batch * problem.value_batch + column;
    W* head_sums = sums ? sums + place.batch * problem.rows * row + column : nullptr;
    for (int begin = 0; begin < place.count; begin += groups) {
      const int query = begin + group;
      const bool active = query < place.count;
      const T* grad_row = static_cast<const T*>(gradients.output) + column +
                          (place.batch * problem.queries + place.query(query)) * row;
      differentiate<T, N>(problem, points, query * each, active, lane, lanes, value, grad_row,
                          head_sums);
    }
    __syncthreads();
    finish<T>(problem, levels, place, points, gradients);
    __syncthreads();
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    round_kernel(const float* sums, T* rounded, int64_t count) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    narrow(rounded + i, sums[i]);
  }
}

}  // namespace

const char* backward(const Problem& problem, const Gradients& gradients, void* sums,
                     void* stream) {
  if (const char* reason = unsupported(problem)) return reason;
  // a lane's sums are one reduction of four floats, so that those of its neighbours adjoin
  const int most = sums ? 4 : 16;
  const auto run = [&](auto type, auto width) {
    using T = decltype(type);
    constexpr int N = decltype(width)::value;
    const size_t bytes = Points<Wide<T>>::bytes_of_point(true);
    const int lanes = lanes_for(problem.channels, N);
    const int queries = queries_for(problem, lanes, bytes);
    const size_t shared = bytes * queries * problem.levels * problem.points;
    const Tiling tiling = tiling_of(problem, queries);
    MSDA_LAUNCH((backward_kernel<T, N>), tiling.tiles, kThreads, shared, stream,
                problem, levels_of(problem), tiling, queries, lanes, gradients,
                static_cast<Wide<T>*>(sums));
    return launch_error();
  };
  return dispatch(problem, gradients.output, run, most);
}

const char* clear(void* memory, int64_t bytes, void* stream) {
  const auto error = cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream));
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

const char* round_sums(Type type, const void* sums, void* rounded, int64_t count, void* stream) {
  const unsigned blocks = blocks_for((count + 4 * kThreads - 1) / (4 * kThreads));
  return with_type(type, [&](auto element) -> const char* {
    using T = decltype(element);
    if constexpr (sizeof(T) == 2) {
      MSDA_LAUNCH(round_kernel<T>, blocks, kThreads, 0, stream, static_cast<const float*>(sums),
                  static_cast<T*>(rounded), count);
      return launch_error();
    }
    return "only 16-bit dtypes are rounded";
  });
}

}  // namespace msda::cuda
