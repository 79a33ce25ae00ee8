// Vectors of one instruction set; rows of channels, loaded and stored in each dtype.
//
// A row of C channels is held in C / lanes vectors. Sixteen-bit rows of at least two vectors are
// split into the low and the high halves of 32-bit words, which costs one instruction a vector: so
// registers hold even channels, then odd ones. Every row of a computation is loaded the same way,
// and `store_row` undoes it.

namespace msda::cpu::MSDA_ISA {

#define MSDA_INLINE static inline __attribute__((always_inline))

struct BFloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <class T>
struct WideOf {
  using type = float;
};
template <>
struct WideOf<double> {
  using type = double;
};
template <class T>
using Wide = typename WideOf<T>::type;  // the type of sums and coordinates

template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T, int N>
using Vector = typename VectorOf<T, N>::type;

template <class W>
constexpr int kLanes = MSDA_LANES * int(sizeof(float)) / int(sizeof(W));

template <class V>
MSDA_INLINE V load(const void* from) {
  V vector;
  __builtin_memcpy(&vector, from, sizeof(V));
  return vector;
}

template <class V>
MSDA_INLINE void store(void* to, V vector) {
  __builtin_memcpy(to, &vector, sizeof(V));
}

template <class To, class From>
MSDA_INLINE To bits_of(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

// Uninitialised memory. Not std::vector: its functions, compiled for this instruction set, would be
// merged with those of the rest of the program.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t size)
      : data_(static_cast<T*>(::operator new(size_t(size) * sizeof(T), std::align_val_t(64)))) {}
  ~Buffer() { ::operator delete(data_, std::align_val_t(64)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](int64_t index) { return data_[index]; }
  const T& operator[](int64_t index) const { return data_[index]; }

 private:
  T* data_;
};

// --- sixteen-bit floats: 32-bit words with the bits in the low half <-> float32 -----------------

template <int N>
MSDA_INLINE Vector<float, N> widen(Vector<uint32_t, N> low, BFloat16*) {
  return bits_of<Vector<float, N>>(low << 16);
}

template <int N>
MSDA_INLINE Vector<uint32_t, N> narrow(Vector<float, N> wide, BFloat16*) {
  using U = Vector<uint32_t, N>;
  U bits = bits_of<U>(wide);
  U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
  return (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded;
}

template <int N>
MSDA_INLINE Vector<float, N> widen(Vector<uint32_t, N> low, Float16*) {
  using U = Vector<uint32_t, N>;
  using F = Vector<float, N>;
  F magnitude = bits_of<F>((low & 0x7fffu) << 13) * 0x1p112f;  // exponent bias 15 -> 127
  U bits = bits_of<U>(magnitude);
  bits = (low & 0x7c00u) == 0x7c00u ? bits | 0x7f800000u : bits;  // Inf, NaN
  return bits_of<F>(bits | ((low & 0x8000u) << 16));
}

template <int N>
MSDA_INLINE Vector<uint32_t, N> narrow(Vector<float, N> wide, Float16*) {
  using U = Vector<uint32_t, N>;
  using F = Vector<float, N>;
  U bits = bits_of<U>(wide), magnitude = bits & 0x7fffffffu;
  U normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // a sum with 0.5 lines the bits of a subnormal number up, rounded
  U subnormal = bits_of<U>(bits_of<F>(magnitude) + 0.5f) - 0x3f000000u;
  U huge = magnitude > 0x7f800000u ? U{} + 0x7e00u : U{} + 0x7c00u;
  U half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x47800000u ? huge : half;
  return half | ((bits >> 16) & 0x8000u);
}

// --- single elements ----------------------------------------------------------------------------

MSDA_INLINE float element(float from) { return from; }
MSDA_INLINE double element(double from) { return from; }
template <class T>
MSDA_INLINE float element(T from) {
  return widen<1>(Vector<uint32_t, 1>{from.bits}, static_cast<T*>(nullptr))[0];
}

MSDA_INLINE void set_element(float* to, float from) { *to = from; }
MSDA_INLINE void set_element(double* to, double from) { *to = from; }
template <class T>
MSDA_INLINE void set_element(T* to, float from) {
  to->bits = uint16_t(narrow<1>(Vector<float, 1>{from}, static_cast<T*>(nullptr))[0]);
}

// --- rows ---------------------------------------------------------------------------------------

template <class T, int C>
struct Row {
  using W = Wide<T>;
  static constexpr int lanes = C < kLanes<W> ? C : kLanes<W>;
  static constexpr int size = C / lanes;
  static constexpr bool split = sizeof(T) == 2 && size % 2 == 0;
  using V = Vector<W, lanes>;
  using Words = Vector<uint32_t, lanes>;
  using Halves = Vector<uint16_t, lanes>;
  V vectors[size];

  MSDA_INLINE Row load_row(const T* from) {
    Row row;
    if constexpr (sizeof(T) != 2) {
      for (int i = 0; i < size; ++i) row.vectors[i] = load<V>(from + i * lanes);
    } else if constexpr (split) {
      for (int i = 0; i < size; i += 2) {
        Words words = load<Words>(from + i * lanes);
        row.vectors[i] = widen<lanes>(words & 0xffffu, static_cast<T*>(nullptr));
        row.vectors[i + 1] = high(words, static_cast<T*>(nullptr));
      }
    } else {
      for (int i = 0; i < size; ++i) {
        Words words = __builtin_convertvector(load<Halves>(from + i * lanes), Words);
        row.vectors[i] = widen<lanes>(words, static_cast<T*>(nullptr));
      }
    }
    return row;
  }

  MSDA_INLINE void store_row(T* to, const Row& row) {
    if constexpr (sizeof(T) != 2) {
      for (int i = 0; i < size; ++i) store(to + i * lanes, row.vectors[i]);
    } else if constexpr (split) {
      for (int i = 0; i < size; i += 2) {
        Words even = narrow<lanes>(row.vectors[i], static_cast<T*>(nullptr));
        Words odd = narrow<lanes>(row.vectors[i + 1], static_cast<T*>(nullptr));
        store(to + i * lanes, even | (odd << 16));
      }
    } else {
      for (int i = 0; i < size; ++i) {
        Words words = narrow<lanes>(row.vectors[i], static_cast<T*>(nullptr));
        store(to + i * lanes, __builtin_convertvector(words, Halves));
      }
    }
  }

 private:
  MSDA_INLINE V high(Words words, BFloat16*) { return bits_of<V>(words & 0xffff0000u); }
  MSDA_INLINE V high(Words words, Float16* kind) { return widen<lanes>(words >> 16, kind); }
};

// --- sums over a vector -------------------------------------------------------------------------

// The sums of four vectors' elements, in a fixed order.
template <class W, int N>
MSDA_INLINE void sum_elements(const Vector<W, N>* vectors, W* sums) {
  if constexpr (N > 4) {
    using Half = Vector<W, N / 2>;
    Half halves[4];
    for (int k = 0; k < 4; ++k) {
      Half pair[2];
      __builtin_memcpy(pair, &vectors[k], sizeof(pair));
      halves[k] = pair[0] + pair[1];
    }
    sum_elements<W, N / 2>(halves, sums);
  } else {
    for (int k = 0; k < 4; ++k) {
      if constexpr (N == 4) {
        sums[k] = (vectors[k][0] + vectors[k][2]) + (vectors[k][1] + vectors[k][3]);
      } else if constexpr (N == 2) {
        sums[k] = vectors[k][0] + vectors[k][1];
      } else {
        sums[k] = vectors[k][0];
      }
    }
  }
}

// --- exponential --------------------------------------------------------------------------------

// exp(x) for x <= 0 (or NaN), within 2 units in the last place; 0 where it is below 2^-126.
template <int N>
MSDA_INLINE Vector<float, N> exponential(Vector<float, N> x) {
  using V = Vector<float, N>;
  using I = Vector<int32_t, N>;
  V bounded = x < -87.f ? V{} - 87.f : x;
  // x = n log 2 + r with |r| <= log(2) / 2; log 2 in two parts, of which the first times n is exact
  V scaled = bounded * 1.44269504f - 0.5f;
  I whole = __builtin_convertvector(scaled, I);
  V n = __builtin_convertvector(whole, V);
  V r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
  // Taylor polynomial of degree 7
  V p = V{} + 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = (p * r) * r + r + 1.f;
  V power = bits_of<V>((whole + 127) << 23);
  return x < -87.f ? V{} : p * power;
}

template <int N>
MSDA_INLINE Vector<double, N> exponential(Vector<double, N> x) {
  for (int i = 0; i < N; ++i) x[i] = ::exp(x[i]);
  return x;
}

}  // namespace msda::cpu::MSDA_ISA
