// The values' gradient without atomics: corners sorted by the row they fall on, each row summed by
// one group of lanes in the order of the corners.
#include "launch.cuh"

namespace msda::cuda {

namespace {

template <class T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    list_kernel(const Problem problem, const Levels levels, const Tiling tiling, int queries,
                int64_t* rows, Wide<T>* weights) {
  using W = Wide<T>;
  MSDA_SHARED_MEMORY(memory);
  const int each = static_cast<int>(problem.levels * problem.points);
  const Points<W> points(memory, queries * each);
  for (unsigned tile = blockIdx.x; tile < tiling.tiles; tile += gridDim.x) {
    const Place place(problem, tiling, tile);
    locate<T>(problem, levels, place, false, points);
    const int64_t slice = place.batch * problem.heads + place.head;
    const int corners = each * 4;
    const Divisor of_query(corners);
    for (int n = threadIdx.x; n < place.count * corners; n += blockDim.x) {
      const int32_t index = points.index[n];
      const int row = of_query.into(n);
      const int64_t query = slice * problem.queries + place.query(row);
      const int64_t to = query * corners + (n - row * corners);
      rows[to] = index < 0 ? problem.batch * problem.heads * problem.rows
                           : slice * problem.rows + index;
      weights[to] = points.weight[n];
    }
    __syncthreads();
  }
}

// The first place in the sorted rows that is not before `row`.
__device__ inline int64_t lower_bound(const int64_t* rows, int64_t count, int64_t row) {
  int64_t begin = 0;
  while (count > 0) {
    const int64_t half = count / 2;
    if (rows[begin + half] < row) {
      begin += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return begin;
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    sum_kernel(const Problem problem, int lanes, const T* grad_output, T* grad_value,
               const int64_t* rows, const int64_t* corners, const Wide<T>* weights) {
  using W = Wide<T>;
  const int lane = threadIdx.x % lanes, groups = blockDim.x / lanes;
  const int channels = static_cast<int>(problem.channels);
  const int64_t all = problem.batch * problem.heads * problem.rows;
  const int64_t of_query = problem.levels * problem.points * 4;
  const int64_t count = problem.batch * problem.heads * problem.queries * of_query;
  const int64_t step = static_cast<int64_t>(gridDim.x) * groups;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * groups + threadIdx.x / lanes; row < all;
       row += step) {
    const int64_t slice = row / problem.rows, begin = lower_bound(rows, count, row);
    const int64_t batch = slice / problem.heads, head = slice % problem.heads;
    const T* grad = grad_output + (batch * problem.queries * problem.heads + head) * channels;
    T* to = grad_value +
            ((batch * problem.rows + row % problem.rows) * problem.heads + head) * channels;
    for (int channel = lane * N; channel < channels; channel += lanes * N) {
      W sum[N] = {};
      for (int64_t j = begin; j < count && rows[j] == row; ++j) {
        const int64_t query = corners[j] / of_query % problem.queries;
        const W weight = weights[corners[j]];
        W part[N];
        load<T, N>(grad + query * problem.heads * channels + channel, part);
#pragma unroll
        for (int c = 0; c < N; ++c) sum[c] += weight * part[c];
      }
      store<T, N>(to + channel, sum);
    }
  }
}

}  // namespace

const char* list_corners(const Problem& problem, int64_t* rows, void* weights, void* stream) {
  if (const char* reason = unsupported(problem)) return reason;
  return with_type(problem.type, [&](auto type) {
    using T = decltype(type);
    const size_t bytes = Points<Wide<T>>::bytes_of_point(false);
    const int queries = queries_for(problem, 8, bytes);
    const size_t shared = bytes * queries * problem.levels * problem.points;
    const Tiling tiling = tiling_of(problem, queries);
    MSDA_LAUNCH(list_kernel<T>, tiling.tiles, kThreads, shared, stream, problem,
                levels_of(problem), tiling, queries, rows, static_cast<Wide<T>*>(weights));
    return launch_error();
  });
}

const char* sum_corners(const Problem& problem, const Gradients& gradients, const int64_t* rows,
                        const int64_t* corners, const void* weights, void* stream) {
  return dispatch(problem, gradients.output, [&](auto type, auto width) {
    using T = decltype(type);
    constexpr int N = decltype(width)::value;
    const int lanes = lanes_for(problem.channels, N), groups = kThreads / lanes;
    const int64_t all = problem.batch * problem.heads * problem.rows;
    MSDA_LAUNCH((sum_kernel<T, N>), blocks_for((all + groups - 1) / groups), kThreads, 0, stream,
                problem, lanes, static_cast<const T*>(gradients.output),
                static_cast<T*>(gradients.value), rows, corners,
                static_cast<const Wide<T>*>(weights));
    return launch_error();
  });
}

}  // namespace msda::cuda
