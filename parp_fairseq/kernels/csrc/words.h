// Magnitudes as integers, 64 entries at a time.
//
// Without its sign bit a floating-point number orders as the integer with the same bits does, in
// every format. So one code ranks fp16 and bf16 (16 bits), fp32 and fp64, exactly, and whatever is
// not finite is at least the word of infinity.
#pragma once

#include "kernel.h"

namespace {

// All bits but the sign.
template <class Word>
constexpr Word kMagnitude = static_cast<Word>(~uint64_t{0} >> (65 - 8 * sizeof(Word)));

constexpr int64_t kGroup = 64;

inline uint64_t first_bits(int64_t count) {
  return count >= kGroup ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// The same bits with those of each byte in the opposite order: between "entry i is bit i" and the
// order of masks in memory, in which the first entry of a byte is its highest bit.
inline uint64_t swapped(uint64_t bits) {
  bits = (bits >> 1 & 0x5555555555555555) | (bits & 0x5555555555555555) << 1;
  bits = (bits >> 2 & 0x3333333333333333) | (bits & 0x3333333333333333) << 2;
  return (bits >> 4 & 0x0f0f0f0f0f0f0f0f) | (bits & 0x0f0f0f0f0f0f0f0f) << 4;
}

// ---- bit i of found[k]: whether the magnitude of words[i] is at least bounds[k]; i < 64

#if defined(PARP_AVX512)

template <int N>
inline void at_least(const int16_t* words, const int16_t (&bounds)[N], uint64_t (&found)[N]) {
  for (int k = 0; k < N; ++k) found[k] = 0;
  for (int i = 0; i < 2; ++i) {
    const __m512i some = _mm512_and_si512(_mm512_loadu_si512(words + 32 * i),
                                          _mm512_set1_epi16(kMagnitude<int16_t>));
    for (int k = 0; k < N; ++k)
      found[k] |= uint64_t{_mm512_cmpge_epi16_mask(some, _mm512_set1_epi16(bounds[k]))} << 32 * i;
  }
}

template <int N>
inline void at_least(const int32_t* words, const int32_t (&bounds)[N], uint64_t (&found)[N]) {
  for (int k = 0; k < N; ++k) found[k] = 0;
  for (int i = 0; i < 4; ++i) {
    const __m512i some = _mm512_and_si512(_mm512_loadu_si512(words + 16 * i),
                                          _mm512_set1_epi32(kMagnitude<int32_t>));
    for (int k = 0; k < N; ++k)
      found[k] |= uint64_t{_mm512_cmpge_epi32_mask(some, _mm512_set1_epi32(bounds[k]))} << 16 * i;
  }
}

template <int N>
inline void at_least(const int64_t* words, const int64_t (&bounds)[N], uint64_t (&found)[N]) {
  for (int k = 0; k < N; ++k) found[k] = 0;
  for (int i = 0; i < 8; ++i) {
    const __m512i some = _mm512_and_si512(_mm512_loadu_si512(words + 8 * i),
                                          _mm512_set1_epi64(kMagnitude<int64_t>));
    for (int k = 0; k < N; ++k)
      found[k] |= uint64_t{_mm512_cmpge_epi64_mask(some, _mm512_set1_epi64(bounds[k]))} << 8 * i;
  }
}

#elif defined(PARP_AVX2)

inline __m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

template <int N>
inline void at_least(const int16_t* words, const int16_t (&bounds)[N], uint64_t (&found)[N]) {
  const __m256i magnitude = _mm256_set1_epi16(kMagnitude<int16_t>);
  for (int k = 0; k < N; ++k) found[k] = 0;
  for (int i = 0; i < 2; ++i) {
    const __m256i a = _mm256_and_si256(load(words + 32 * i), magnitude);
    const __m256i b = _mm256_and_si256(load(words + 32 * i + 16), magnitude);
    for (int k = 0; k < N; ++k) {
      const __m256i bound = _mm256_set1_epi16(static_cast<int16_t>(bounds[k] - 1));
      // Packing works within halves, so the quarters have to be put in order again.
      const __m256i bytes = _mm256_permute4x64_epi64(
          _mm256_packs_epi16(_mm256_cmpgt_epi16(a, bound), _mm256_cmpgt_epi16(b, bound)), 0xd8);
      found[k] |= uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(bytes))} << 32 * i;
    }
  }
}

template <int N>
inline void at_least(const int32_t* words, const int32_t (&bounds)[N], uint64_t (&found)[N]) {
  for (int k = 0; k < N; ++k) found[k] = 0;
  for (int i = 0; i < 8; ++i) {
    const __m256i some =
        _mm256_and_si256(load(words + 8 * i), _mm256_set1_epi32(kMagnitude<int32_t>));
    for (int k = 0; k < N; ++k) {
      const __m256i is = _mm256_cmpgt_epi32(some, _mm256_set1_epi32(bounds[k] - 1));
      const uint64_t bits = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(is)));
      found[k] |= bits << 8 * i;
    }
  }
}

template <int N>
inline void at_least(const int64_t* words, const int64_t (&bounds)[N], uint64_t (&found)[N]) {
  for (int k = 0; k < N; ++k) found[k] = 0;
  for (int i = 0; i < 16; ++i) {
    const __m256i some =
        _mm256_and_si256(load(words + 4 * i), _mm256_set1_epi64x(kMagnitude<int64_t>));
    for (int k = 0; k < N; ++k) {
      const __m256i is = _mm256_cmpgt_epi64(some, _mm256_set1_epi64x(bounds[k] - 1));
      const uint64_t bits = static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(is)));
      found[k] |= bits << 4 * i;
    }
  }
}

#else

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bytes become bits lowest first");

template <class Word, int N>
inline void at_least(const Word* words, const Word (&bounds)[N], uint64_t (&found)[N]) {
  for (int k = 0; k < N; ++k) {
    // As plain as it is, so that compilers make vectors of it.
    uint8_t is[kGroup];
    for (int i = 0; i < kGroup; ++i)
      is[i] = static_cast<Word>(words[i] & kMagnitude<Word>) >= bounds[k];
    found[k] = 0;
    for (int i = 0; i < 8; ++i) {
      uint64_t bytes;
      std::memcpy(&bytes, is + 8 * i, sizeof bytes);
      // Brings the lowest bits of eight bytes together in the highest byte.
      found[k] |= (bytes * 0x0102040810204080 >> 56) << 8 * i;
    }
  }
}

#endif

// ---- zero what is not kept

#if defined(PARP_AVX512)
constexpr int kVectorBytes = 64;
#elif defined(PARP_AVX2)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

// Sets words[i] to zero where bit i of `keep` is not set; i < 64.
template <class Word>
inline void keep_only(Word* words, uint64_t keep) {
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Word)) < 16
                             ? kVectorBytes / static_cast<int>(sizeof(Word))
                             : 16;
  typedef Word Lanes __attribute__((vector_size(kLanes * sizeof(Word))));
  Lanes lane;
  for (int j = 0; j < kLanes; ++j) lane[j] = static_cast<Word>(1u << j);
  for (int i = 0; i < kGroup / kLanes; ++i) {
    Lanes some;
    std::memcpy(&some, words + i * kLanes, sizeof some);
    const Word part = static_cast<Word>(keep >> i * kLanes);
    some &= (lane & part) != 0;
    std::memcpy(words + i * kLanes, &some, sizeof some);
  }
}

// ---- several arrays in pieces

struct Piece {
  int64_t array, start, stop;
};

// Arrays of starts[a + 1] - starts[a] entries, in tiles of `tile` entries (a multiple of 64): array
// a has the tiles from tiles[a] up to tiles[a + 1].
struct Pieces {
  const int64_t* starts;
  const int64_t* tiles;
  int64_t arrays;
  int64_t tile;

  int64_t count() const { return tiles[arrays]; }

  Piece at(int64_t index) const {
    int64_t low = 0, high = arrays;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (tiles[middle] <= index ? low : high) = middle;
    }
    const int64_t size = starts[low + 1] - starts[low], start = (index - tiles[low]) * tile;
    return {low, start, size - start < tile ? size : start + tile};
  }
};

inline void add(int64_t* to, int64_t value) { __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }

}  // namespace
