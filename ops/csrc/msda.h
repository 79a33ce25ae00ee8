// What the kernels compute, in plain C++: pointers, strides and sizes, no torch.
//
// Multi-scale deformable attention: an output row of D channels is a weighted sum of bilinear
// samples of L value maps, P for each level, with zeros outside of a map and pixel centres at half
// integers. The fused form takes reference points, offsets in pixels and logits; the other takes
// normalised locations and weights. Sums and coordinates are float32 (float64 for float64 values).
#pragma once

#include <cstdint>

namespace msda {

enum class Type { float32, float64, bfloat16, float16 };

// All strides count elements. What stands behind a stride in a comment is contiguous.
struct Problem {
  Type type;
  bool fused;
  int64_t batch, rows, heads, channels, queries, levels, points;
  const int64_t* shapes;  // H0, W0, H1, W1, ...; on the host

  const void* value;  // (B, S, [M, D])
  int64_t value_batch, value_row;

  const void* coordinates;  // offsets or locations: (B, Lq, [M, L, P, 2]); locations are wide
  int64_t coordinates_batch, coordinates_query;

  const void* weights;  // logits or weights: (B, Lq, [M, L, P])
  int64_t weights_batch, weights_query;

  const void* reference;  // fused only: (1|B, Lq, 1|L, [2|4]), wide; a stride of 0 broadcasts
  int64_t reference_batch, reference_query, reference_level, reference_size;
};

// Everything contiguous, in the dtypes of what it belongs to. A gradient that is null is not wanted.
struct Gradients {
  const void* output;  // in: (B, Lq, M * D)
  void* value;         // out: (B, S, M, D)
  void* coordinates;   // out: (B, Lq, M, L, P, 2)
  void* weights;       // out: (B, Lq, M, L, P)
};

}  // namespace msda
