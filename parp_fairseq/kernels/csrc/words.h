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

#if defined(PARP_AVX512) || defined(PARP_AVX2)

// For each width: one number in all lanes, and a bit for each lane that is at least a bound.
#if defined(PARP_AVX512)
constexpr int kVectorBytes = 64;
using Bits = __m512i;
inline Bits load(const void* from) { return _mm512_loadu_si512(from); }
inline Bits both(Bits a, Bits b) { return _mm512_and_si512(a, b); }
inline Bits all(int16_t word) { return _mm512_set1_epi16(word); }
inline Bits all(int32_t word) { return _mm512_set1_epi32(word); }
inline Bits all(int64_t word) { return _mm512_set1_epi64(word); }
inline uint64_t reach(Bits a, int16_t bound) { return _mm512_cmpge_epi16_mask(a, all(bound)); }
inline uint64_t reach(Bits a, int32_t bound) { return _mm512_cmpge_epi32_mask(a, all(bound)); }
inline uint64_t reach(Bits a, int64_t bound) { return _mm512_cmpge_epi64_mask(a, all(bound)); }
#else
constexpr int kVectorBytes = 32;
using Bits = __m256i;
inline Bits load(const void* from) { return _mm256_loadu_si256(static_cast<const Bits*>(from)); }
inline Bits both(Bits a, Bits b) { return _mm256_and_si256(a, b); }
inline Bits all(int16_t word) { return _mm256_set1_epi16(word); }
inline Bits all(int32_t word) { return _mm256_set1_epi32(word); }
inline Bits all(int64_t word) { return _mm256_set1_epi64x(word); }
inline uint64_t reach(Bits a, int16_t bound) {
  const Bits is = _mm256_cmpgt_epi16(a, all(static_cast<int16_t>(bound - 1)));
  const __m128i low = _mm256_castsi256_si128(is), high = _mm256_extracti128_si256(is, 1);
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(low, high)));
}
inline uint64_t reach(Bits a, int32_t bound) {
  const Bits is = _mm256_cmpgt_epi32(a, all(bound - 1));
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(is)));
}
inline uint64_t reach(Bits a, int64_t bound) {
  const Bits is = _mm256_cmpgt_epi64(a, all(bound - 1));
  return static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(is)));
}
#endif

template <class Word, int N>
inline void at_least(const Word* words, const Word (&bounds)[N], uint64_t (&found)[N]) {
  constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Word));
  for (int k = 0; k < N; ++k) found[k] = 0;
  for (int i = 0; i < kGroup; i += kLanes) {
    const Bits some = both(load(words + i), all(kMagnitude<Word>));
    for (int k = 0; k < N; ++k) found[k] |= reach(some, bounds[k]) << i;
  }
}

#else

constexpr int kVectorBytes = 16;
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

// ---- several arrays in tiles

inline void add(int64_t* to, int64_t value) { __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }

struct Tile {
  int64_t array, start, stop;
};

// Arrays of starts[a + 1] - starts[a] entries, cut into tiles of `size` entries (a multiple of 64):
// array a has the tiles from tiles[a] up to tiles[a + 1].
struct Tiles {
  void* const* arrays;
  const int64_t* starts;
  const int64_t* tiles;
  int64_t number;
  int64_t size;

  int64_t count() const { return tiles[number]; }

  Tile at(int64_t index) const {
    int64_t low = 0, high = number;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (tiles[middle] <= index ? low : high) = middle;
    }
    const int64_t entries = starts[low + 1] - starts[low], start = (index - tiles[low]) * size;
    return {low, start, entries - start < size ? entries : start + size};
  }
};

// Calls work with an array as words of `width` bytes.
template <class Work>
inline void as_words(void* array, int64_t width, Work work) {
  if (width == 2) work(static_cast<int16_t*>(array));
  if (width == 4) work(static_cast<int32_t*>(array));
  if (width == 8) work(static_cast<int64_t*>(array));
}

// Calls work(words, first, entries) for every 64 words from `start` to `stop`, of which the last may
// be fewer: those are a copy with zeros behind them, which goes back where `writes` is set.
template <class Word, class Work>
inline void in_groups(Word* words, int64_t start, int64_t stop, bool writes, Work work) {
  int64_t i = start;
  for (; i + kGroup <= stop; i += kGroup) work(words + i, i, kGroup);
  if (i == stop) return;
  Word rest[kGroup] = {};
  const auto bytes = static_cast<size_t>(stop - i) * sizeof(Word);
  std::memcpy(rest, words + i, bytes);
  work(rest, i, stop - i);
  if (writes) std::memcpy(words + i, rest, bytes);
}

}  // namespace
