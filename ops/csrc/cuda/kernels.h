// The CUDA kernels' entry points. Each enqueues work on a stream and returns an error message, or
// null. Nothing waits for the device.
#pragma once

#include "../msda.h"

namespace msda::cuda {

constexpr int kMaxLevels = 16;
constexpr int64_t kMaxPoints = 256;  // L * P: what shared memory holds for one query

// `output`: (B, Lq, M * D), dense, in the dtype of the values.
const char* forward(const Problem& problem, void* output, void* stream);

// Gradients of coordinates and weights are written; those of the values are added to `sums`
// (B, S, M, D), dense, wide and zero at first, unless it is null: one reduction for each corner.
// The order of these sums varies.
const char* backward(const Problem& problem, const Gradients& gradients, void* sums, void* stream);

// Adds the values' gradient to `sums` (as above, float32 only): what a tile of queries adds to a
// row is summed first. Right for any problem; `worth_tiles` tells whether it should be the faster way:
// the queries must lie on maps, so that those of a tile sample the same pixels. Where four floats are
// added at once it never is (measured on an H200).
bool worth_tiles(const Problem& problem);
const char* add_by_tiles(const Problem& problem, const Gradients& gradients, void* sums,
                         void* stream);

// Fills memory with zeros.
const char* clear(void* memory, int64_t bytes, void* stream);

// Rounds `count` float32 sums to the 16-bit dtype.
const char* round_sums(Type type, const void* sums, void* rounded, int64_t count, void* stream);

// The values' gradient in a fixed order, in two steps. First, for each of the B * M * Lq * L * P * 4
// corners in this order: the row of `value` it falls on, numbered (b * M + m) * S + s, or B * M * S
// outside of the map; and its wide weight.
const char* list_corners(const Problem& problem, int64_t* rows, void* weights, void* stream);

// Then, with the rows sorted stably and the corner numbers in that order: writes `gradients.value`.
const char* sum_corners(const Problem& problem, const Gradients& gradients, const int64_t* rows,
                        const int64_t* corners, const void* weights, void* stream);

}  // namespace msda::cuda
