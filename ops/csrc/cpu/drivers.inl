// Tasks for the threads. A task owns what it writes, so nothing is locked and the order of every
// sum is fixed, on any number of threads.

namespace msda::cpu::MSDA_ISA {

constexpr int64_t kTilesInTask = 8;

template <class Body>
void run(const Pool& pool, int64_t tasks, const Body& body) {
  auto range = [](void* context, int64_t begin, int64_t end) {
    (*static_cast<const Body*>(context))(begin, end);
  };
  pool.run(tasks, range, const_cast<void*>(static_cast<const void*>(&body)));
}

MSDA_INLINE int smaller(int64_t left, int64_t right) { return int(left < right ? left : right); }

template <class T>
Rows<const T> value_rows(const Problem& problem, int64_t batch, int64_t head) {
  return {static_cast<const T*>(problem.value) + batch * problem.value_batch +
              head * problem.channels,
          problem.value_row, problem.rows * problem.channels * int64_t(sizeof(T)) > kNearBytes};
}

// Rows of a contiguous (B, Lq or S, M * D) tensor from `row` on.
template <class T, class P>
Rows<T> dense_rows(const Problem& problem, P* data, int64_t rows, int64_t batch, int64_t head,
                   int64_t row) {
  const int64_t stride = problem.heads * problem.channels;
  return {static_cast<T*>(data) + (batch * rows + row) * stride + head * problem.channels, stride,
          rows * problem.channels * int64_t(sizeof(T)) > kNearBytes};
}

// --- forward: a task is some tiles of queries of one head ---------------------------------------

template <class T>
void forward_in(const Problem& problem, void* output, const Pool& pool) {
  using W = Wide<T>;
  const int64_t step = kTile * kTilesInTask;
  const int64_t parts = (problem.queries + step - 1) / step;
  run(pool, problem.batch * problem.heads * parts, [&](int64_t begin, int64_t end) {
    Tile<W> tile(problem, false);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t batch = task / parts / problem.heads, head = task / parts % problem.heads;
      const int64_t first = task % parts * step, last = first + smaller(step, problem.queries - first);
      for (int64_t query = first; query < last; query += kTile) {
        const int count = smaller(kTile, last - query);
        tile.template locate<T>(problem, batch, head, query, count);
        const auto value = value_rows<T>(problem, batch, head);
        const auto out = dense_rows<T>(problem, output, problem.queries, batch, head, query);
        for_blocks<kLargestBlock>(0, problem.channels, [&](auto size, int64_t channel) {
          gather<T, size>(tile, count, {value.base + channel, value.stride, value.far},
                          {out.base + channel, out.stride});
        });
      }
    }
  });
}

// --- backward -----------------------------------------------------------------------------------

// All queries [first, last) of one head: the small gradients with `dots`, and the channels
// [begin, end) of the values' gradient unless `sums.base` is null.
template <class T, int Largest>
void backward_head(const Problem& problem, const Gradients& gradients, Tile<Wide<T>>& tile,
                   int64_t batch, int64_t head, int64_t first, int64_t last, int64_t begin,
                   int64_t end, bool dots, Rows<Wide<T>> sums, Wide<T>* outside) {
  for (int64_t query = first; query < last; query += kTile) {
    const int count = smaller(kTile, last - query);
    tile.template locate<T>(problem, batch, head, query, count);
    if (dots) tile.clear_dots();
    const auto value = value_rows<T>(problem, batch, head);
    const auto grad =
        dense_rows<const T>(problem, gradients.output, problem.queries, batch, head, query);
    for_blocks<Largest>(begin, end, [&](auto size, int64_t channel) {
      Rows<Wide<T>> block{sums.base ? sums.base + (channel - begin) : nullptr, sums.stride,
                           sums.far};
      scatter<T, size>(tile, count, {value.base + channel, value.stride, value.far},
                       {grad.base + channel, grad.stride}, dots, block, outside);
    });
    if (dots) tile.template differentiate<T>(problem, gradients, batch, head, query, count);
  }
}

// One head's gradient of the values, channels [begin, end): float32 and float64 add up in place,
// sixteen-bit floats in a wide copy that is rounded once, at the end.
template <class T, int Largest>
void backward_value(const Problem& problem, const Gradients& gradients, Tile<Wide<T>>& tile,
                    Buffer<Wide<T>>& copy, int64_t batch, int64_t head, int64_t begin,
                    int64_t end, bool dots) {
  using W = Wide<T>;
  alignas(64) W outside[kLargestBlock] = {};
  auto grad = dense_rows<T>(problem, gradients.value, problem.rows, batch, head, 0);
  Rows<W> sums;
  if constexpr (sizeof(T) == sizeof(W)) {
    sums = {grad.base + begin, grad.stride, grad.far};
    for (int64_t row = 0; row < problem.rows; ++row) {
      std::memset(sums.base + row * sums.stride, 0, size_t(end - begin) * sizeof(W));
    }
  } else {
    sums = {copy.data(), end - begin, grad.far};
    std::memset(sums.base, 0, size_t(problem.rows * (end - begin)) * sizeof(W));
  }
  backward_head<T, Largest>(problem, gradients, tile, batch, head, 0, problem.queries, begin, end,
                            dots, sums, outside);
  if constexpr (sizeof(T) != sizeof(W)) {
    for_blocks<Largest>(begin, end, [&](auto size, int64_t channel) {
      round_rows<T, size>(problem.rows, {sums.base + (channel - begin), sums.stride},
                          {grad.base + channel, grad.stride});
    });
  }
}

template <class T>
void backward_in(const Problem& problem, const Gradients& gradients, const Pool& pool) {
  using W = Wide<T>;
  const int64_t heads = problem.batch * problem.heads;
  const int64_t rounds = (heads + pool.threads - 1) / pool.threads;
  const int64_t copy_rows = sizeof(T) == sizeof(W) ? 0 : problem.rows;
  const bool enough_heads = 5 * heads >= 4 * rounds * pool.threads;  // four fifths busy

  if (enough_heads) {  // a task is a head, and computes all its gradients
    run(pool, heads, [&](int64_t begin, int64_t end) {
      Tile<W> tile(problem, true);
      Buffer<W> copy(copy_rows * problem.channels);
      for (int64_t task = begin; task < end; ++task) {
        backward_value<T, kLargestBlock>(problem, gradients, tile, copy, task / problem.heads,
                                         task % problem.heads, 0, problem.channels, true);
      }
    });
    return;
  }
  // Many threads: first the small gradients, split by queries; then those of the values, split by
  // channels. The order of every sum stays as above.
  const int64_t step = kTile * kTilesInTask;
  const int64_t parts = (problem.queries + step - 1) / step;
  run(pool, heads * parts, [&](int64_t begin, int64_t end) {
    Tile<W> tile(problem, true);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % parts * step;
      backward_head<T, kLargestBlock>(problem, gradients, tile, task / parts / problem.heads,
                                      task / parts % problem.heads, first,
                                      first + smaller(step, problem.queries - first), 0,
                                      problem.channels, true, {nullptr, 0}, nullptr);
    }
  });
  constexpr int slice = 16;
  const int64_t slices = (problem.channels + slice - 1) / slice;
  run(pool, heads * slices, [&](int64_t begin, int64_t end) {
    Tile<W> tile(problem, false);
    Buffer<W> copy(copy_rows * slice);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % slices * slice;
      backward_value<T, slice>(problem, gradients, tile, copy, task / slices / problem.heads,
                               task / slices % problem.heads, first,
                               first + smaller(slice, problem.channels - first), false);
    }
  });
}

// --- by dtype -----------------------------------------------------------------------------------

void forward(const Problem& problem, void* output, const Pool& pool) {
  switch (problem.type) {
    case Type::float32: return forward_in<float>(problem, output, pool);
    case Type::float64: return forward_in<double>(problem, output, pool);
    case Type::bfloat16: return forward_in<BFloat16>(problem, output, pool);
    case Type::float16: return forward_in<Float16>(problem, output, pool);
  }
}

void backward(const Problem& problem, const Gradients& gradients, const Pool& pool) {
  switch (problem.type) {
    case Type::float32: return backward_in<float>(problem, gradients, pool);
    case Type::float64: return backward_in<double>(problem, gradients, pool);
    case Type::bfloat16: return backward_in<BFloat16>(problem, gradients, pool);
    case Type::float16: return backward_in<Float16>(problem, gradients, pool);
  }
}

}  // namespace msda::cpu::MSDA_ISA
