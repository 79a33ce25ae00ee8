// Sampling points of a tile of queries, one head: corners and weights before the gather, gradients
// after it. Queries lie along the vector lanes, so nothing in here needs a sum over lanes.

namespace msda::cpu::MSDA_ISA {

constexpr int kTile = 16;  // queries

// The four corners of a point, in order: (y0, x0), (y0, x1), (y1, x0), (y1, x1).
template <class W>
class Tile {
 public:
  static constexpr int lanes = kLanes<W> < kTile ? kLanes<W> : kTile;
  using V = Vector<W, lanes>;
  using I = Vector<int32_t, lanes>;

  Tile(const Problem& problem, bool with_gradients)
      : points(problem.levels * problem.points),
        index_(points * 4 * kTile),
        weight_(points * 4 * kTile),
        x_(points * kTile),
        y_(points * kTile),
        attention_(points * kTile),
        dots_(with_gradients ? points * 4 * kTile : 0) {
    // lanes behind the last query of a tile are computed with, and must hold numbers
    std::memset(x_.data(), 0, size_t(points) * kTile * sizeof(W));
    std::memset(y_.data(), 0, size_t(points) * kTile * sizeof(W));
    std::memset(attention_.data(), 0, size_t(points) * kTile * sizeof(W));
  }

  const int64_t points;  // L * P

  // Row of `value` of corner k is `index(point)[k * kTile + query]`, negative outside of the map.
  const int32_t* index(int64_t point) const { return &index_[point * 4 * kTile]; }
  // Bilinear weight times attention weight, laid out like `index`.
  const W* weight(int64_t point) const { return &weight_[point * 4 * kTile]; }
  // Inner products of the output's gradient with the corners, laid out like `index`.
  W* dots(int64_t point) { return &dots_[point * 4 * kTile]; }
  void clear_dots() { std::memset(dots_.data(), 0, size_t(points) * 4 * kTile * sizeof(W)); }

  // Fills corners and weights for the queries [query, query + count) of a batch item and a head.
  template <class T>
  void locate(const Problem& problem, int64_t batch, int64_t head, int64_t query, int count);

  // Turns the inner products into the gradients of coordinates and weights, and stores them.
  template <class T>
  void differentiate(const Problem& problem, const Gradients& gradients, int64_t batch,
                     int64_t head, int64_t query, int count);

 private:
  template <class T, class X>
  void read(const Problem& problem, int64_t batch, int64_t head, int64_t query, int count);
  void softmax();
  // How coordinates map to pixels: position = origin + scale * coordinate.
  struct Axis {
    W origin[kTile], scale[kTile];
  };
  void axes(const Problem& problem, int64_t batch, int64_t query, int count, int64_t level, Axis* x,
            Axis* y) const;
  static V at(const W* rows, int64_t point, int lane) { return load<V>(rows + point * kTile + lane); }

  Buffer<int32_t> index_;
  Buffer<W> weight_;
  Buffer<W> x_, y_;  // coordinates; after `locate`, the position in the cell, in [0, 1)
  Buffer<W> attention_;
  Buffer<W> dots_;
};

template <class W>
template <class T, class X>
void Tile<W>::read(const Problem& problem, int64_t batch, int64_t head, int64_t query, int count) {
  for (int j = 0; j < count; ++j) {
    const X* xy = static_cast<const X*>(problem.coordinates) + batch * problem.coordinates_batch +
                  (query + j) * problem.coordinates_query + head * points * 2;
    const T* weights = static_cast<const T*>(problem.weights) + batch * problem.weights_batch +
                       (query + j) * problem.weights_query + head * points;
    for (int64_t i = 0; i < points; ++i) {
      x_[i * kTile + j] = element(xy[2 * i]);
      y_[i * kTile + j] = element(xy[2 * i + 1]);
      attention_[i * kTile + j] = element(weights[i]);
    }
  }
}

template <class W>
void Tile<W>::softmax() {
  for (int lane = 0; lane < kTile; lane += lanes) {
    V largest = at(attention_.data(), 0, lane);
    for (int64_t i = 1; i < points; ++i) {
      V logit = at(attention_.data(), i, lane);
      largest = logit > largest ? logit : largest;
    }
    V sum{};
    for (int64_t i = 0; i < points; ++i) {
      V share = exponential<lanes>(at(attention_.data(), i, lane) - largest);
      store(&attention_[i * kTile + lane], share);
      sum += share;
    }
    V factor = W(1) / sum;
    for (int64_t i = 0; i < points; ++i) {
      store(&attention_[i * kTile + lane], at(attention_.data(), i, lane) * factor);
    }
  }
}

template <class W>
void Tile<W>::axes(const Problem& problem, int64_t batch, int64_t query, int count, int64_t level,
                   Axis* x, Axis* y) const {
  const W height = W(problem.shapes[2 * level]), width = W(problem.shapes[2 * level + 1]);
  for (int j = 0; j < kTile; ++j) {
    x->origin[j] = y->origin[j] = W(-0.5);
    x->scale[j] = width;
    y->scale[j] = height;
  }
  if (!problem.fused) return;
  for (int j = 0; j < count; ++j) {
    const W* reference = static_cast<const W*>(problem.reference) +
                         batch * problem.reference_batch + (query + j) * problem.reference_query +
                         level * problem.reference_level;
    x->origin[j] = reference[0] * width - W(0.5);
    y->origin[j] = reference[1] * height - W(0.5);
    const bool box = problem.reference_size == 4;
    const W unit = W(0.5) / W(problem.points);
    x->scale[j] = box ? reference[2] * unit * width : W(1);
    y->scale[j] = box ? reference[3] * unit * height : W(1);
  }
}

template <class W>
template <class T>
void Tile<W>::locate(const Problem& problem, int64_t batch, int64_t head, int64_t query,
                     int count) {
  if (problem.fused) {
    read<T, T>(problem, batch, head, query, count);
    softmax();
  } else {
    read<T, W>(problem, batch, head, query, count);
  }
  int64_t start = 0;
  for (int64_t level = 0; level < problem.levels; ++level) {
    const int32_t height = int32_t(problem.shapes[2 * level]);
    const int32_t width = int32_t(problem.shapes[2 * level + 1]);
    Axis x_axis, y_axis;
    axes(problem, batch, query, count, level, &x_axis, &y_axis);
    for (int64_t i = level * problem.points; i < (level + 1) * problem.points; ++i) {
      for (int lane = 0; lane < kTile; lane += lanes) {
        V x = load<V>(x_axis.origin + lane) + load<V>(x_axis.scale + lane) * at(x_.data(), i, lane);
        V y = load<V>(y_axis.origin + lane) + load<V>(y_axis.scale + lane) * at(y_.data(), i, lane);
        // false for NaN; what is far outside must not reach the conversion to integers
        auto inside = (x > W(-1)) & (x < W(width)) & (y > W(-1)) & (y < W(height));
        x = inside ? x : V{} - W(2);
        y = inside ? y : V{} - W(2);
        // floor: conversion truncates towards zero
        I x0 = __builtin_convertvector(x, I), y0 = __builtin_convertvector(y, I);
        V right = x - __builtin_convertvector(x0, V), low = y - __builtin_convertvector(y0, V);
        x0 += __builtin_convertvector(right < W(0), I);  // a mask is -1 where it is true
        y0 += __builtin_convertvector(low < W(0), I);
        right = right < W(0) ? right + W(1) : right;
        low = low < W(0) ? low + W(1) : low;
        store(&x_[i * kTile + lane], right);
        store(&y_[i * kTile + lane], low);

        V attention = at(attention_.data(), i, lane);
        V left = W(1) - right, high = (W(1) - low) * attention;
        low *= attention;
        W* weight = &weight_[i * 4 * kTile + lane];
        store(weight, high * left);
        store(weight + kTile, high * right);
        store(weight + 2 * kTile, low * left);
        store(weight + 3 * kTile, low * right);

        I none = I{} - 1, row = int32_t(start) + y0 * width + x0;
        I first_x = (x0 >= 0) & (x0 < width), second_x = (x0 >= -1) & (x0 < width - 1);
        I first_y = (y0 >= 0) & (y0 < height), second_y = (y0 >= -1) & (y0 < height - 1);
        int32_t* index = &index_[i * 4 * kTile + lane];
        store(index, (first_x & first_y) ? row : none);
        store(index + kTile, (second_x & first_y) ? row + 1 : none);
        store(index + 2 * kTile, (first_x & second_y) ? row + width : none);
        store(index + 3 * kTile, (second_x & second_y) ? row + width + 1 : none);
      }
    }
    start += int64_t(height) * width;
  }
}

template <class W>
template <class T>
void Tile<W>::differentiate(const Problem& problem, const Gradients& gradients, int64_t batch,
                            int64_t head, int64_t query, int count) {
  // Afterwards x_, y_ and dots_ (corner 0) hold the gradients of x, y and the weight.
  for (int64_t level = 0; level < problem.levels; ++level) {
    Axis x_axis, y_axis;
    axes(problem, batch, query, count, level, &x_axis, &y_axis);
    for (int64_t i = level * problem.points; i < (level + 1) * problem.points; ++i) {
      for (int lane = 0; lane < kTile; lane += lanes) {
        W* dot = &dots_[i * 4 * kTile + lane];
        V s0 = load<V>(dot), s1 = load<V>(dot + kTile);
        V s2 = load<V>(dot + 2 * kTile), s3 = load<V>(dot + 3 * kTile);
        V right = at(x_.data(), i, lane), low = at(y_.data(), i, lane);
        V left = W(1) - right, high = W(1) - low;
        V attention = at(attention_.data(), i, lane);
        V along_x = high * (s1 - s0) + low * (s3 - s2);
        V along_y = left * (s2 - s0) + right * (s3 - s1);
        store(&x_[i * kTile + lane], along_x * attention * load<V>(x_axis.scale + lane));
        store(&y_[i * kTile + lane], along_y * attention * load<V>(y_axis.scale + lane));
        store(dot, high * (left * s0 + right * s1) + low * (left * s2 + right * s3));
      }
    }
  }
  if (problem.fused) {  // through the softmax
    for (int lane = 0; lane < kTile; lane += lanes) {
      V mean{};
      for (int64_t i = 0; i < points; ++i) {
        mean += at(attention_.data(), i, lane) * load<V>(dots(i) + lane);
      }
      for (int64_t i = 0; i < points; ++i) {
        W* dot = dots(i) + lane;
        store(dot, at(attention_.data(), i, lane) * (load<V>(dot) - mean));
      }
    }
  }
  auto write = [&](auto* coordinates, T* weights) {
    for (int j = 0; j < count; ++j) {
      const int64_t first =
          ((batch * problem.queries + query + j) * problem.heads + head) * points;
      for (int64_t i = 0; i < points; ++i) {
        set_element(coordinates + 2 * (first + i), x_[i * kTile + j]);
        set_element(coordinates + 2 * (first + i) + 1, y_[i * kTile + j]);
        set_element(weights + first + i, dots(i)[j]);
      }
    }
  };
  T* weights = static_cast<T*>(gradients.weights);
  if (problem.fused) {
    write(static_cast<T*>(gradients.coordinates), weights);
  } else {
    write(static_cast<W*>(gradients.coordinates), weights);
  }
}

}  // namespace msda::cpu::MSDA_ISA
