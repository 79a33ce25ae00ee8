// Forward pass in one launch: softmax, locations and gather. A block takes some queries of a head;
// blocks of one head are neighbours, so that its values stay in the caches.
#include "launch.cuh"

namespace msda::cuda {

namespace {

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    forward_kernel(const Problem problem, const Levels levels, const Tiling tiling, int queries,
                   int lanes, T* output) {
  using W = Wide<T>;
  MSDA_SHARED_MEMORY(memory);
  const int each = static_cast<int>(problem.levels * problem.points);
  const Points<W> points(memory, queries * each);
  const int group = threadIdx.x / lanes, groups = blockDim.x / lanes;
  const int lane = threadIdx.x % lanes;
  const int channels = static_cast<int>(problem.channels);
  const int64_t row_size = problem.heads * problem.channels;
  const uint32_t value_row = static_cast<uint32_t>(problem.value_row * sizeof(T));
  for (unsigned tile = blockIdx.x; tile < tiling.tiles; tile += gridDim.x) {
    const Place place(problem, tiling, tile);
    locate<T>(problem, levels, place, false, points);
    const T* value = static_cast<const T*>(problem.value) + place.batch * problem.value_batch +
                     place.head * problem.channels;
    T* rows = output + place.batch * problem.queries * row_size + place.head * problem.channels;
    for (int query = group; query < place.count; query += groups) {
      T* row = rows + place.query(query) * row_size;
      for (int channel = lane * N; channel < channels; channel += lanes * N) {
        W sum[N] = {};
#pragma unroll 1
        for (int i = 0; i < each; ++i) {
          const W* weight = points.weight + 4 * (query * each + i);
          const int32_t* index = points.index + 4 * (query * each + i);
          Pack<T, N> corners[4] = {};  // all loads first, so that none waits for a sum
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            if (index[k] < 0) continue;
            corners[k] = pack_at<T, N>(row_at(value + channel, index[k], value_row));
          }
#pragma unroll
          for (int k = 0; k < 4; ++k) {
#pragma unroll
            for (int c = 0; c < N; ++c) sum[c] += weight[k] * widen(corners[k].elements[c]);
          }
        }
        store<T, N>(row + channel, sum);
      }
    }
    __syncthreads();  // the next tile overwrites the points
  }
}

}  // namespace

const char* forward(const Problem& problem, void* output, void* stream) {
  if (const char* reason = unsupported(problem)) return reason;
  return dispatch(problem, output, [&](auto type, auto width) {
    using T = decltype(type);
    constexpr int N = decltype(width)::value;
    const size_t bytes = Points<Wide<T>>::bytes_of_point(false);
    const int lanes = lanes_for(problem.channels, N);
    const int queries = queries_for(problem, lanes, bytes);
    const size_t shared = bytes * queries * problem.levels * problem.points;
    const Tiling tiling = tiling_of(problem, queries);
    MSDA_LAUNCH((forward_kernel<T, N>), tiling.tiles, kThreads, shared, stream,
                problem, levels_of(problem), tiling, queries, lanes, static_cast<T*>(output));
    return launch_error();
  });
}

}  // namespace msda::cuda
