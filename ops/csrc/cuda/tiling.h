// How queries are cut into tiles, each the work of a block: rectangles of the maps that the queries
// lie on, where neighbours sample the same pixels, or runs of queries where there are no maps.
#pragma once

#include "kernels.h"

namespace msda::cuda {

constexpr int kMaxMaps = kMaxLevels;

constexpr int64_t kMostLines = 128;  // of a tile

// Travels as a kernel argument, in constant memory. The maps' queries follow one another. What
// counts queries of one head fits 32 bits (`unsupported` sees to that).
struct Tiling {
  int maps = 0;
  int map_height[kMaxMaps], map_width[kMaxMaps];
  int height[kMaxMaps], width[kMaxMaps];  // of a tile, at most
  int across[kMaxMaps], tiles_of_map[kMaxMaps];
  unsigned tiles_of_head = 0, tiles = 0;

  void add(int64_t lines, int64_t columns) {
    if (lines * columns == 0) return;
    map_height[maps] = static_cast<int>(lines);
    map_width[maps++] = static_cast<int>(columns);
  }
};

// The maps that the queries of vision models lie on; their number of queries tells. None else.
// A wrong guess costs time, and nothing else.
inline Tiling maps_of_queries(const Problem& problem) {
  Tiling tiling;
  if (problem.levels > kMaxMaps) return tiling;
  if (problem.queries == problem.rows) {  // an encoder's attention: the levels attend to themselves
    for (int64_t i = 0; i < problem.levels; ++i) {
      tiling.add(problem.shapes[2 * i], problem.shapes[2 * i + 1]);
    }
    return tiling;
  }
  for (int64_t i = 0; i < problem.levels; ++i) {  // ViT-Adapter's injector: one of the levels
    if (problem.queries == problem.shapes[2 * i] * problem.shapes[2 * i + 1]) {
      tiling.add(problem.shapes[2 * i], problem.shapes[2 * i + 1]);
      return tiling;
    }
  }
  if (problem.levels != 1) return tiling;
  // ViT-Adapter's extractor: strides 8, 16 and 32 attend to 16; sizes are rounded up
  const int64_t height = problem.shapes[0], width = problem.shapes[1];
  const int64_t half_height = (height + 1) / 2, half_width = (width + 1) / 2;
  const int64_t finest = problem.queries - height * width - half_height * half_width;
  for (int odd = 0; odd < 4; ++odd) {
    const int64_t twice_height = 2 * height - odd / 2, twice_width = 2 * width - odd % 2;
    if (finest != twice_height * twice_width) continue;
    tiling.add(twice_height, twice_width);
    tiling.add(height, width);
    tiling.add(half_height, half_width);
    break;
  }
  return tiling;
}

// Tiles of at most `queries` queries: nearly square, as far as the map is.
inline Tiling tiling_of(const Problem& problem, int64_t queries) {
  Tiling tiling = maps_of_queries(problem);
  if (tiling.maps == 0) tiling.add(1, problem.queries);
  int64_t side = 1;  // a power of two
  while (side * side < queries) side *= 2;
  auto smaller = [](int64_t left, int64_t right) { return left < right ? left : right; };
  for (int i = 0; i < tiling.maps; ++i) {
    const int64_t lines = tiling.map_height[i], columns = tiling.map_width[i];
    int64_t width = smaller(side, columns), height = smaller(queries / width, lines);
    height = smaller(height, kMostLines);
    width = smaller(queries / height, height == lines ? columns : width);
    tiling.height[i] = static_cast<int>(height);
    tiling.width[i] = static_cast<int>(width);
    tiling.across[i] = static_cast<int>((columns + width - 1) / width);
    tiling.tiles_of_map[i] = tiling.across[i] * static_cast<int>((lines + height - 1) / height);
    tiling.tiles_of_head += tiling.tiles_of_map[i];
  }
  tiling.tiles = static_cast<unsigned>(problem.batch * problem.heads) * tiling.tiles_of_head;
  return tiling;
}

}  // namespace msda::cuda
