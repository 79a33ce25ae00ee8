// The gather and its reverse for C channels: any D is a sum of such blocks.

namespace msda::cpu::MSDA_ISA {

// Where rows of C channels lie: row i is at base + i * stride.
template <class T>
struct Rows {
  T* base;
  int64_t stride;
  bool far = false;  // worth fetching early: more than half of what the caches near a core hold
};

constexpr int64_t kNearBytes = 256 * 1024;

// What is read, and harmlessly written, in place of a corner outside of the map.
constexpr int kLargestBlock = 64;

template <class T>
MSDA_INLINE T* corner(const Rows<T>& rows, int32_t index, T* outside) {
  return index >= 0 ? rows.base + int64_t(index) * rows.stride : outside;
}

// Asks for a point's corners of the next query, while those of this one are worked on: rows of a map
// are far apart, and the memory pages behind them too many for the processor to find them early.
template <int Bytes, class T>
MSDA_INLINE void fetch(const Rows<T>& rows, const int32_t* index, T* outside) {
  if (!rows.far) return;
  for (int k = 0; k < 4; ++k) {
    const auto* row = reinterpret_cast<const char*>(corner(rows, index[k * kTile], outside));
    for (int byte = 0; byte < Bytes; byte += 64) __builtin_prefetch(row + byte);
  }
}

// output[query] = sum over points and corners of weight * value[index], for C channels.
template <class T, int C>
void gather(const Tile<Wide<T>>& tile, int count, Rows<const T> value, Rows<T> output) {
  using W = Wide<T>;
  using R = Row<T, C>;
  alignas(64) static const T zeros[kLargestBlock] = {};
  // two sums for short rows: a single one would wait for the previous addition
  constexpr int sums = R::size <= 4 ? 2 : 1;
  for (int j = 0; j < count; ++j) {
    const int ahead = j + 1 < kTile ? 1 : 0;
    R sum[sums] = {};
    for (int64_t i = 0; i < tile.points; ++i) {
      const int32_t* index = tile.index(i) + j;
      const W* weight = tile.weight(i) + j;
      fetch<C * sizeof(T)>(value, index + ahead, zeros);
      for (int k = 0; k < 4; ++k) {
        const R row = R::load_row(corner(value, index[k * kTile], zeros));
        const W w = weight[k * kTile];
        for (int v = 0; v < R::size; ++v) sum[k % sums].vectors[v] += row.vectors[v] * w;
      }
    }
    if constexpr (sums == 2) {
      for (int v = 0; v < R::size; ++v) sum[0].vectors[v] += sum[1].vectors[v];
    }
    R::store_row(output.base + j * output.stride, sum[0]);
  }
}

// With `dots`, adds the inner products of the output's gradient and the corners to the tile's.
// With `grad_value`, adds weight * gradient to the corners' rows, which are wide and in the order
// of `Row`. Either may be left out.
template <class T, int C>
void scatter(Tile<Wide<T>>& tile, int count, Rows<const T> value, Rows<const T> grad_output,
             bool dots, Rows<Wide<T>> grad_value, Wide<T>* outside) {
  using W = Wide<T>;
  using R = Row<T, C>;
  using V = typename R::V;
  alignas(64) static const T zeros[kLargestBlock] = {};
  for (int j = 0; j < count; ++j) {
    const int ahead = j + 1 < kTile ? 1 : 0;
    const R grad = R::load_row(grad_output.base + j * grad_output.stride);
    for (int64_t i = 0; i < tile.points; ++i) {
      const int32_t* index = tile.index(i) + j;
      if (dots) {
        fetch<C * sizeof(T)>(value, index + ahead, zeros);
        V products[4];
        for (int k = 0; k < 4; ++k) {
          const R row = R::load_row(corner(value, index[k * kTile], zeros));
          products[k] = row.vectors[0] * grad.vectors[0];
          for (int v = 1; v < R::size; ++v) products[k] += row.vectors[v] * grad.vectors[v];
        }
        W totals[4];
        sum_elements<W, R::lanes>(products, totals);
        W* dot = tile.dots(i) + j;
        for (int k = 0; k < 4; ++k) dot[k * kTile] += totals[k];
      }
      if (grad_value.base) {
        fetch<C * sizeof(W)>(grad_value, index + ahead, outside);
        const W* weight = tile.weight(i) + j;
        for (int k = 0; k < 4; ++k) {
          W* row = corner(grad_value, index[k * kTile], outside);
          const W w = weight[k * kTile];
          for (int v = 0; v < R::size; ++v) {
            W* to = row + v * R::lanes;
            store(to, load<V>(to) + grad.vectors[v] * w);
          }
        }
      }
    }
  }
}

// Rounds rows in the order of `Row` to T.
template <class T, int C>
void round_rows(int64_t count, Rows<const Wide<T>> from, Rows<T> to) {
  using R = Row<T, C>;
  for (int64_t i = 0; i < count; ++i) {
    R row;
    for (int v = 0; v < R::size; ++v) {
      row.vectors[v] = load<typename R::V>(from.base + i * from.stride + v * R::lanes);
    }
    R::store_row(to.base + i * to.stride, row);
  }
}

// Calls `block(C, first)` for blocks that make up the channels, C a compile-time constant.
template <int Largest, class Block>
MSDA_INLINE void for_blocks(int64_t first, int64_t last, const Block& block) {
  for (; last - first >= Largest; first += Largest) {
    block(std::integral_constant<int, Largest>{}, first);
  }
  if constexpr (Largest > 1) {
    constexpr int next = Largest == 4 ? 1 : Largest / 2;
    for_blocks<next>(first, last, block);
  }
}

}  // namespace msda::cpu::MSDA_ISA
