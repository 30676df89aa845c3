// A linear layer whose weight is mostly zeros: y = x Wᵀ + b from the kept weights only.
//
// Frames are taken kWidth * kVectors at a time, transposed ("packed"): all frames' values of one
// input are side by side. Then each kept weight is one number, broadcast, times a few vectors. The
// inputs are cut into blocks that stay in the first cache; a row's sums wait in its packed output
// from one block to the next.

#include <utility>

#include "kernel.h"

namespace {

// kVectors sums of a row are under way at once: enough to hide how long a multiply-add takes, and
// few enough for the registers.
#if defined(PARP_AVX512)
constexpr int kWidth = 16, kVectors = 4;
#elif defined(PARP_AVX2)
constexpr int kWidth = 8, kVectors = 8;
#else
constexpr int kWidth = 4, kVectors = 8;
#endif
constexpr int kFrames = kWidth * kVectors;
// Floats in a line of the cache.
constexpr int kLine = 16;
// Rows of the weight that a thread takes at a time: as many as leave every thread some pieces, since
// the packed input is read once for all of them.
constexpr int64_t kMostRows = 256;
constexpr int64_t kLeastRows = 32;
constexpr int64_t kPieces = 4;

typedef float Vector __attribute__((vector_size(kWidth * sizeof(float))));
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

inline Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Vector v) { std::memcpy(to, &v, sizeof v); }

// Two lines with every second run of kRun entries exchanged; kUpper says which of the two.
template <int kRun, bool kUpper, int... kIndices>
inline Vector exchanged(Vector a, Vector b, std::integer_sequence<int, kIndices...>) {
#define PARP_FROM(i)                                        \
  (((i) / kRun % 2 ? kWidth + (i) - (kUpper ? 0 : kRun)     \
                   : (i) + (kUpper ? kRun : 0)))
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, PARP_FROM(kIndices)...);
#else
  typedef int32_t Ints __attribute__((vector_size(kWidth * sizeof(int32_t))));
  return __builtin_shuffle(a, b, Ints{PARP_FROM(kIndices)...});
#endif
#undef PARP_FROM
}

// The transpose of a square of lines: its quarters change places, then theirs.
template <int kRun>
inline void transpose_square(Vector* lines) {
  if constexpr (kRun > 0) {
    constexpr auto all = std::make_integer_sequence<int, kWidth>{};
    for (int i = 0; i < kWidth; ++i) {
      if (i & kRun) continue;
      const Vector a = lines[i], b = lines[i + kRun];
      lines[i] = exchanged<kRun, false>(a, b, all);
      lines[i + kRun] = exchanged<kRun, true>(a, b, all);
    }
    transpose_square<kRun / 2>(lines);
  }
}

// The transpose of a `rows` by `columns` matrix. Squares go along a line of `to`, so that whole
// lines of the cache are written: steps are often multiples of 4096, which all meet in one set.
void transpose(const float* from, int64_t from_step, int64_t rows, int64_t columns, float* to,
               int64_t to_step) {
  int64_t j = 0;
  for (; j + kWidth <= columns; j += kWidth) {
    int64_t i = 0;
    for (; i + kWidth <= rows; i += kWidth) {
      Vector lines[kWidth];
      for (int k = 0; k < kWidth; ++k) lines[k] = load(from + (i + k) * from_step + j);
      transpose_square<kWidth / 2>(lines);
      for (int k = 0; k < kWidth; ++k) store(to + (j + k) * to_step + i, lines[k]);
    }
    for (; i < rows; ++i)
      for (int64_t k = j; k < j + kWidth; ++k) to[k * to_step + i] = from[i * from_step + k];
  }
  for (; j < columns; ++j)
    for (int64_t i = 0; i < rows; ++i) to[j * to_step + i] = from[i * from_step + j];
}

// A sparse matrix, its inputs cut into blocks: starts[block * (rows + 1) + row] is where the kept
// weights of that row and block begin.
struct Matrix {
  const int32_t* starts;
  const uint16_t* columns;  // within the block
  const float* values;
  const float* bias;  // may be null
  int64_t rows, inputs, block;

  int64_t blocks() const { return (inputs + block - 1) / block; }
};

// Rows first to last of the product with one tile, packed: `out` and `in` have kFrames to a line.
template <int kUsed>
void multiply_used(const Matrix& m, const float* in, float* out, int64_t first, int64_t last) {
  for (int64_t b = 0; b < m.blocks(); ++b) {
    const float* const block = in + b * m.block * kFrames;
    const int32_t* const starts = m.starts + b * (m.rows + 1);
    // The next block is called for in pieces, a row a piece: its lines are touched out of order.
    const float* ahead = block + m.block * kFrames;
    const int64_t left = b + 1 < m.blocks() ? smaller(m.block, m.inputs - (b + 1) * m.block) : 0;
    const int64_t step = (left * kFrames / kLine + last - first - 1) / (last - first) * kLine;
    const float* const ahead_end = ahead + left * kFrames;
    for (int64_t row = first; row < last; ++row) {
      const float* const ahead_to = ahead + step < ahead_end ? ahead + step : ahead_end;
      for (; ahead < ahead_to; ahead += kLine) __builtin_prefetch(ahead, 0, 2);
      float* const line = out + (row - first) * kFrames;
      Vector sums[kUsed];
      const float begin = m.bias ? m.bias[row] : 0.0f;
      for (int v = 0; v < kUsed; ++v) sums[v] = b ? load(line + v * kWidth) : Vector{} + begin;
      const int32_t end = starts[row + 1];
      for (int32_t i = starts[row]; i < end; ++i) {
        const float weight = m.values[i];
        const float* const input = block + m.columns[i] * int64_t{kFrames};
        for (int v = 0; v < kUsed; ++v) sums[v] += weight * load(input + v * kWidth);
      }
      for (int v = 0; v < kUsed; ++v) store(line + v * kWidth, sums[v]);
    }
  }
}

template <int kUsed = kVectors>
void multiply(const Matrix& m, int64_t frames, const float* in, float* out, int64_t first,
              int64_t last) {
  if constexpr (kUsed > 1)
    if (frames <= (kUsed - 1) * kWidth)
      return multiply<kUsed - 1>(m, frames, in, out, first, last);
  multiply_used<kUsed>(m, in, out, first, last);
}

// erf of each entry, within 4e-7: x times a quotient of polynomials in x², fitted to the least
// relative error by reweighted least squares; from where erf is 1 in single precision, it is 1.
inline Vector erf_of(Vector x) {
  constexpr float kOne = 3.92f;
  const Vector one = Vector{} + 1.0f;
  const Vector s = x * x;
  constexpr float above[] = {1.992211362e-08f, -1.957546168e-06f, 1.418158956e-04f,
                             3.700490065e-03f, 5.057001462e-02f,  1.999007824e-01f,
                             1.128379109e+00f};
  constexpr float below[] = {9.557418328e-04f, 1.435103707e-02f, 1.149884362e-01f,
                             5.104891181e-01f, 1.0f};
  Vector p = Vector{}, q = Vector{};
  for (const float c : above) p = p * s + c;
  for (const float c : below) q = q * s + c;
  const Vector inner = x * p / q;
  return x > kOne ? one : x < -kOne ? -one : inner;
}

// Calls work(b, row, from, size) for each row of each block of inputs, which begins at `from`.
template <class Work>
void for_blocks(const float* weight, int64_t rows, int64_t inputs, int64_t block, int64_t threads,
                Work work) {
  parallel(rows, threads, [&](int64_t row) {
    for (int64_t b = 0; b * block < inputs; ++b)
      work(b, row, weight + row * inputs + b * block, smaller(block, inputs - b * block));
  });
}

enum Activation : int64_t { kNone = 0, kRelu = 1, kGelu = 2 };

void activate(int64_t activation, float* values, int64_t count) {
  for (int64_t i = 0; i < count; i += kWidth) {
    const Vector x = load(values + i);
    if (activation == kRelu) store(values + i, x < 0.0f ? Vector{} : x);
    if (activation == kGelu) store(values + i, 0.5f * x * (1.0f + erf_of(x * 0.70710678118654752f)));
  }
}

}  // namespace

// How many entries of each row (rows, inputs) are not zero in each block of inputs:
// counts[b * rows + row].
KERNEL(sparse_count)(const float* weight, int64_t rows, int64_t inputs, int64_t block,
                     int64_t* counts, int64_t threads) {
  for_blocks(weight, rows, inputs, block, threads,
             [&](int64_t b, int64_t row, const float* from, int64_t size) {
               int32_t count = 0;
               for (int64_t i = 0; i < size; ++i) count += from[i] != 0.0f;
               counts[b * rows + row] = count;
             });
  return 0;
}

// Puts the entries that are not zero where `starts` says (see Matrix).
KERNEL(sparse_keep)(const float* weight, int64_t rows, int64_t inputs, int64_t block,
                    const int32_t* starts, uint16_t* columns, float* values, int64_t threads) {
  for_blocks(weight, rows, inputs, block, threads,
             [&](int64_t b, int64_t row, const float* from, int64_t size) {
               int64_t to = starts[b * (rows + 1) + row];
               for (int64_t i = 0; i < size; ++i) {
                 if (from[i] == 0.0f) continue;
                 columns[to] = static_cast<uint16_t>(i);
                 values[to++] = from[i];
               }
             });
  return 0;
}

// How many frames are packed together; scratch space is counted in it.
KERNEL(sparse_tile)() { return kFrames; }

// y = activation(x Wᵀ + b): x (frames, inputs) and y (frames, rows) with lines x_step and y_step
// floats apart. Where `packed_in` is set x is packed already, where `packed_out` is set y stays so:
// tiles of kFrames frames, each (inputs or rows, kFrames). `scratch` holds
// ceil(frames / kFrames) * kFrames * inputs floats, unless x is packed.
KERNEL(sparse_linear)(const float* x, int64_t frames, int64_t x_step, int64_t packed_in,
                      const int32_t* starts, const uint16_t* columns, const float* values,
                      const float* bias, int64_t rows, int64_t inputs, int64_t block,
                      int64_t activation, float* y, int64_t y_step, int64_t packed_out,
                      float* scratch, int64_t threads) {
  const Matrix m{starts, columns, values, bias, rows, inputs, block};
  const int64_t tiles = (frames + kFrames - 1) / kFrames;
  int64_t most = kMostRows;
  while (most > kLeastRows && tiles * ((rows + most - 1) / most) < kPieces * threads) most /= 2;
  const int64_t chunks = (rows + most - 1) / most;
  if (!packed_in) {
    parallel(tiles, threads, [&](int64_t tile) {
      const int64_t first = tile * kFrames, count = smaller(kFrames, frames - first);
      float* const packed = scratch + first * inputs;
      // Frames that are not there are computed too, so they must hold numbers.
      if (count % kWidth)
        for (int64_t i = 0; i < inputs; ++i)
          std::memset(packed + i * kFrames + count, 0,
                      (kWidth - count % kWidth) * sizeof(float));
      transpose(x + first * x_step, x_step, count, inputs, packed, kFrames);
    });
    x = scratch;
  }
  parallel(tiles * chunks, threads, [&](int64_t index) {
    const int64_t tile = index % tiles, start = tile * kFrames;
    const int64_t count = smaller(kFrames, frames - start);
    const int64_t first = index / tiles * most, last = smaller(rows, first + most);
    alignas(64) float own[kMostRows * kFrames];
    float* const out = packed_out ? y + start * rows + first * kFrames : own;
    multiply(m, count, x + start * inputs, out, first, last);
    if (activation != kNone) activate(activation, out, (last - first) * kFrames);
    if (!packed_out) transpose(own, kFrames, last - first, count, y + start * y_step + first, y_step);
  });
  return 0;
}
