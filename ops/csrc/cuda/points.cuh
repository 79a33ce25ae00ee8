// Sampling points of some queries and one head, in shared memory: one thread computes one point.
#pragma once

#include "device.cuh"
#include "tiling.h"

namespace msda::cuda {

constexpr int kThreads = 256;

// Blocks on a multiprocessor, at least: 64 registers a thread, 128 where numbers take two.
template <class T>
constexpr int kBlocks = sizeof(T) == 8 ? 2 : 4;

// Level sizes travel as kernel arguments, in constant memory.
struct Levels {
  int32_t height[kMaxLevels], width[kMaxLevels], start[kMaxLevels];
};

// Divides numbers below 2^20, much faster than integers are divided: the half keeps a quotient
// farther from the next integer than float's rounding reaches.
struct Divisor {
  int number;
  float inverse;

  __device__ explicit Divisor(int by) : number(by), inverse(1.0f / static_cast<float>(by)) {}
  __device__ int into(int n) const {
    return static_cast<int>((static_cast<float>(n) + 0.5f) * inverse);
  }
};

// A block's tile: queries of one head. All of it fits 32 bits (`unsupported` sees to that); strides
// have 64, and so has what is computed with them.
struct Place {
  int batch, head;
  int first, stride;  // its first query, and from one row of its map to the next
  Divisor width;      // queries in a row
  int count;          // and in all

  __device__ Place(const Problem& problem, const Tiling& tiling, unsigned tile) : width(1) {
    const unsigned heads = static_cast<unsigned>(problem.heads);
    const unsigned slice = tile / tiling.tiles_of_head;
    batch = static_cast<int>(slice / heads);
    head = static_cast<int>(slice % heads);
    int left = static_cast<int>(tile % tiling.tiles_of_head);
    int map = 0;
    first = 0;
    for (; left >= tiling.tiles_of_map[map]; ++map) {
      left -= tiling.tiles_of_map[map];
      first += tiling.map_height[map] * tiling.map_width[map];
    }
    const int y = left / tiling.across[map] * tiling.height[map];
    const int x = left % tiling.across[map] * tiling.width[map];
    stride = tiling.map_width[map];
    first += y * stride + x;
    width = Divisor(smaller(tiling.width[map], stride - x));
    count = width.number * smaller(tiling.height[map], tiling.map_height[map] - y);
  }

  // The query that is the tile's n-th.
  __device__ int query(int n) const {
    const int line = width.into(n);
    return first + line * stride + (n - line * width.number);
  }

 private:
  __device__ static int smaller(int left, int right) { return left < right ? left : right; }
};

// Arrays over the points of a tile, `query * points + point`; four corners each: (y0, x0), (y0, x1),
// (y1, x0), (y1, x1). The last three are there in the backward pass only.
template <class W>
struct Points {
  W* weight;        // [4] bilinear times attention weight
  int32_t* index;   // [4] row of `value`, -1 outside of the map
  W* attention;     // [1] in the forward pass the logits
  W *right, *low;   // [1] position in the cell
  W* gradients;     // [3] of the attention weight, x and y

  static constexpr size_t bytes_of_point(bool backward) {
    return 4 * sizeof(W) + 4 * sizeof(int32_t) + (backward ? 6 : 1) * sizeof(W);
  }

  __device__ Points(unsigned char* memory, int points) {
    weight = reinterpret_cast<W*>(memory);
    index = reinterpret_cast<int32_t*>(weight + 4 * points);
    attention = reinterpret_cast<W*>(index + 4 * points);
    right = attention + points;
    low = right + points;
    gradients = low + points;
  }
};

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

// Position on the level and what a unit of the coordinate is, in pixels.
template <class W>
struct Axes {
  W x, y, unit_x, unit_y;

  __device__ Axes(const Problem& problem, const Levels& levels, int batch, int query, int level) {
    const W width = static_cast<W>(levels.width[level]);
    const W height = static_cast<W>(levels.height[level]);
    x = y = 0, unit_x = width, unit_y = height;
    if (!problem.fused) return;
    const W* reference = static_cast<const W*>(problem.reference) +
                         batch * problem.reference_batch + query * problem.reference_query +
                         level * problem.reference_level;
    x = reference[0] * width;
    y = reference[1] * height;
    const bool box = problem.reference_size == 4;
    const W share = W(0.5) / static_cast<W>(problem.points);
    unit_x = box ? reference[2] * share * width : W(1);
    unit_y = box ? reference[3] * share * height : W(1);
  }
};

// The softmax at one of `count` logits. Each of a query's threads sums on its own, which takes less
// time than to wait for one that sums for all.
template <class W>
__device__ inline W softmax_at(const W* logits, int i, int count) {
  W largest = logits[0], sum = 0;
  for (int j = 1; j < count; ++j) largest = logits[j] > largest ? logits[j] : largest;
  for (int j = 0; j < count; ++j) sum += exponential(logits[j] - largest);
  return exponential(logits[i] - largest) / sum;
}

// Fills the arrays for a tile. Every thread of the block must call it.
template <class T>
__device__ inline void locate(const Problem& problem, const Levels& levels, const Place& place,
                              bool backward, const Points<Wide<T>>& points) {
  using W = Wide<T>;
  const int each = static_cast<int>(problem.levels * problem.points);
  const int total = place.count * each;
  const Divisor of_query(each), of_level(static_cast<int>(problem.points));
  const int64_t own = static_cast<int64_t>(place.head) * each;
  const T* weights =
      static_cast<const T*>(problem.weights) + place.batch * problem.weights_batch + own;
  // until the sums begin, the gradients' place is free; the forward pass keeps no attention
  W* logits = backward ? points.gradients : points.attention;
  if (problem.fused) {
    for (int n = threadIdx.x; n < total; n += blockDim.x) {
      const int query = of_query.into(n), i = n - query * each;
      logits[n] = widen(weights[place.query(query) * problem.weights_query + i]);
    }
    __syncthreads();
  }
  for (int n = threadIdx.x; n < total; n += blockDim.x) {
    const int query = of_query.into(n), i = n - query * each, level = of_level.into(i);
    const int row = place.query(query);
    const int64_t first = place.batch * problem.coordinates_batch +
                          row * problem.coordinates_query + (own + i) * 2;
    W x, y, attention;
    if (problem.fused) {
      const T* offset = static_cast<const T*>(problem.coordinates) + first;
      x = widen(offset[0]), y = widen(offset[1]);
      attention = softmax_at(logits + query * each, i, each);
    } else {
      const W* location = static_cast<const W*>(problem.coordinates) + first;
      x = location[0], y = location[1];
      attention = widen(weights[row * problem.weights_query + i]);
    }
    const Axes<W> axes(problem, levels, place.batch, row, level);
    const int width = levels.width[level], height = levels.height[level];
    x = axes.x + axes.unit_x * x - W(0.5);
    y = axes.y + axes.unit_y * y - W(0.5);
    // false for NaN; what is far outside must not reach the conversion to integers
    const bool inside = x > W(-1) && x < W(width) && y > W(-1) && y < W(height);
    x = inside ? x : W(-2);
    y = inside ? y : W(-2);
    const W left_x = floor(x), high_y = floor(y);
    const int x0 = static_cast<int>(left_x), y0 = static_cast<int>(high_y);
    const W right = x - left_x, low = y - high_y;
    W* weight = points.weight + 4 * n;
    int32_t* index = points.index + 4 * n;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int column = x0 + k % 2, line = y0 + k / 2;
      const W share = (k % 2 ? right : W(1) - right) * (k / 2 ? low : W(1) - low);
      const bool valid = column >= 0 && column < width && line >= 0 && line < height;
      index[k] = valid ? levels.start[level] + line * width + column : -1;
      weight[k] = share * attention;
    }
    if (backward) {
      points.attention[n] = attention;
      points.right[n] = right;
      points.low[n] = low;
    }
  }
  __syncthreads();
}

}  // namespace msda::cuda
