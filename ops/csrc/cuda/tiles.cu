// The values' gradient with what a tile of queries adds to the same row summed first, in registers:
// one reduction in global memory where `backward.cu` makes one for every corner of every point.
//
// A block hashes its tile's corners by the row they fall on, in shared memory, with integer atomics
// only (float atomics are compare-and-swap loops there), and lists them row after row. Its groups
// of lanes then take equal parts of the whole list: however uneven the rows, none waits for another.
#include "launch.cuh"

namespace msda::cuda {

namespace {

constexpr int kSlots = 2;          // of the table, for each point of four corners
constexpr int kProbes = 32;        // before a corner gets a list of its own
constexpr int kMostQueries = 256;  // of a tile: what an entry can tell apart
constexpr int kFewestQueries = 16;
constexpr int32_t kOutside = -1;

// Bytes for each point: four weights, rows and entries, and the slots.
constexpr size_t kBytesOfPoint = 4 * 3 * 4 + kSlots * 2 * 4;

// The lists of a tile, and the table that they are found by. An entry names its corner, the query's
// place in the tile, and whether it is the first of its row.
struct Lists {
  int slots;
  int32_t* keys;      // [slots] a row, or kOutside where the slot is free
  int32_t* begins;    // [slots] the number of corners, and then where they begin
  int32_t* used;      // [1] entries
  uint32_t* entries;  // [4 * points]

  // Overlays what `Points` needs for locating alone.
  __device__ Lists(const Points<float>& points, int most) {
    slots = kSlots * most - 1;
    keys = reinterpret_cast<int32_t*>(points.attention);
    begins = keys + slots;
    used = begins + slots;
    entries = reinterpret_cast<uint32_t*>(keys + 2 * kSlots * most);
  }

  // The slot of a row, which it takes if it is free; -1 where there is none near.
  __device__ int slot_of(int32_t row) const {
    int slot = static_cast<int>(__umulhi(static_cast<uint32_t>(row) * 2654435761u,
                                         static_cast<uint32_t>(slots)));
    for (int probe = 0; probe < kProbes; ++probe) {
      const int32_t found = atomicCAS(keys + slot, kOutside, row);
      if (found == kOutside || found == row) return slot;
      slot = slot + 1 < slots ? slot + 1 : 0;
    }
    return -1;
  }

  // From the numbers of corners to where they begin. The order of the rows is of no concern.
  __device__ void assign() const {
    const int lane = threadIdx.x % 32;
    for (int first = threadIdx.x - lane; first < slots; first += blockDim.x) {
      const int slot = first + lane;
      const int count = slot < slots ? begins[slot] : 0;
      int last = count;
      for (int step = 1; step < 32; step *= 2) {
        const int before = __shfl_up_sync(0xffffffffu, last, step);
        if (lane >= step) last += before;
      }
      int begin = lane == 31 ? atomicAdd(used, last) : 0;
      begin = __shfl_sync(0xffffffffu, begin, 31) + last - count;
      if (slot < slots) begins[slot] = begin;
    }
  }
};

// Lists the corners of a tile. Afterwards `points.index` holds a corner's slot and its place in the
// row's list, or less than kOutside where it has a list of its own. Returns the number of entries.
__device__ inline int list_corners_of_tile(const Place& place, int each,
                                           const Points<float>& points, const Lists& lists) {
  const int corners = place.count * each * 4;
  for (int slot = threadIdx.x; slot < lists.slots; slot += blockDim.x) {
    lists.keys[slot] = kOutside;
    lists.begins[slot] = 0;
  }
  if (threadIdx.x == 0) *lists.used = 0;
  __syncthreads();
  for (int n = threadIdx.x; n < corners; n += blockDim.x) {
    const int32_t row = points.index[n];
    if (row == kOutside) continue;
    const int slot = lists.slot_of(row);
    points.index[n] = slot < 0 ? -2 - row : slot << 16 | atomicAdd(lists.begins + slot, 1);
  }
  __syncthreads();
  lists.assign();
  __syncthreads();
  for (int n = threadIdx.x; n < corners; n += blockDim.x) {
    const int32_t index = points.index[n];
    if (index == kOutside) continue;
    const bool alone = index < 0;
    const int rank = index & 0xffff, query = n / (4 * each);
    const int to = alone ? atomicAdd(lists.used, 1) : lists.begins[index >> 16] + rank;
    const uint32_t begins = alone || rank == 0;
    const uint32_t y = place.width.into(query), x = query - y * place.width.number;
    lists.entries[to] = begins << 31 | y << 24 | x << 16 | static_cast<uint32_t>(n);
  }
  __syncthreads();
  return *lists.used;
}

// One group's part of the list: sums of the output's gradient, a row after the other.
template <class T, int N>
__device__ inline void add_up(const Place& place, const Points<float>& points, const Lists& lists,
                              int begin, int end, const T* grad, int64_t row, int channel,
                              float* sums) {
  constexpr int ahead = N > 4 ? 2 : 4;  // loads under way
  float sum[N] = {};
  float* to = nullptr;
  for (int first = begin; first < end; first += ahead) {
    uint32_t entries[ahead];
    float parts[ahead][N];
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      if (first + i >= end) break;
      const uint32_t entry = entries[i] = lists.entries[first + i];
      const int64_t query = (entry >> 24 & 0x7f) * place.stride + (entry >> 16 & 0xff);
      load<T, N>(grad + query * row + channel, parts[i]);
    }
#pragma unroll
    for (int i = 0; i < ahead; ++i) {
      if (first + i >= end) break;
      const uint32_t n = entries[i] & 0xffff;
      if (to == nullptr || entries[i] >> 31) {
        if (to != nullptr) add<float, N>(to, sum, 1.0f);
        const int32_t index = points.index[n];
        to = sums + (index < 0 ? -2 - index : lists.keys[index >> 16]) * row + channel;
#pragma unroll
        for (int c = 0; c < N; ++c) sum[c] = 0;
      }
#pragma unroll
      for (int c = 0; c < N; ++c) sum[c] += points.weight[n] * parts[i][c];
    }
  }
  if (to != nullptr) add<float, N>(to, sum, 1.0f);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    tiles_kernel(const Problem problem, const Levels levels, const Tiling tiling, int queries,
                 int lanes, const T* grad_output, float* sums) {
  MSDA_SHARED_MEMORY(memory);
  const int each = static_cast<int>(problem.levels * problem.points);
  const Points<float> points(memory, queries * each);
  const Lists lists(points, queries * each);
  const int group = threadIdx.x / lanes, groups = blockDim.x / lanes;
  const int channels = static_cast<int>(problem.channels);
  const int64_t row = problem.heads * problem.channels;
  for (unsigned tile = blockIdx.x; tile < tiling.tiles; tile += gridDim.x) {
    const Place place(problem, tiling, tile);
    locate<T>(problem, levels, place, false, points);
    const int total = list_corners_of_tile(place, each, points, lists);
    const int share = (total + groups - 1) / groups;
    const int begin = group * share, end = begin + share < total ? begin + share : total;
    const int64_t column = place.head * problem.channels;
    const T* grad = grad_output + (place.batch * problem.queries + place.first) * row + column;
    float* head_sums = sums + place.batch * problem.rows * row + column;
    for (int channel = threadIdx.x % lanes * N; channel < channels; channel += lanes * N) {
      add_up<T, N>(place, points, lists, begin, end, grad, row, channel, head_sums);
    }
    __syncthreads();
  }
}

// Queries of a tile: as many as the memory that every device gives has room for.
int queries_of_tile(const Problem& problem) {
  const int64_t most = kSharedBytes / kBytesOfPoint / (problem.levels * problem.points);
  return static_cast<int>(most < kMostQueries ? most : kMostQueries);
}

}  // namespace

bool worth_tiles(const Problem& problem) {
  return problem.type != Type::float64 && queries_of_tile(problem) >= kFewestQueries &&
         maps_of_queries(problem).maps > 0 && !has_vector_reductions();
}

const char* add_by_tiles(const Problem& problem, const Gradients& gradients, void* sums,
                         void* stream) {
  if (const char* reason = unsupported(problem)) return reason;
  return dispatch(problem, gradients.output, [&](auto type, auto width) -> const char* {
    using T = decltype(type);
    constexpr int N = decltype(width)::value;
    if constexpr (sizeof(T) == 8) {
      return "sums by tiles are float32; float64 values take method 'reductions' or 'sorted'";
    } else {
      const int lanes = lanes_for(problem.channels, N), queries = queries_of_tile(problem);
      const size_t shared = kBytesOfPoint * queries * problem.levels * problem.points;
      const Tiling tiling = tiling_of(problem, queries);
      MSDA_LAUNCH((tiles_kernel<T, N>), tiling.tiles, kThreads, shared, stream,
                  problem, levels_of(problem), tiling, queries, lanes,
                  static_cast<const T*>(gradients.output), static_cast<float*>(sums));
      return launch_error();
    }
  });
}

}  // namespace msda::cuda
