// Ranking magnitudes: what lies below, inside and above a bracket, and how they are distributed.

#include <stdlib.h>

#include "words.h"

namespace {

struct Found {
  int64_t capacity;
  void* words;
  int64_t* positions;
  int64_t used;
};

// What one thread has collected and not yet handed over.
template <class Word>
struct Collected {
  static constexpr int64_t kRoom = 512;
  Word words[kRoom + kGroup];
  int64_t positions[kRoom + kGroup];
  int64_t used = 0;

  void hand_over(Found& found) {
    const int64_t at = __atomic_fetch_add(&found.used, used, __ATOMIC_RELAXED);
    const int64_t room = found.capacity - at;
    const int64_t fits = room < 0 ? 0 : room < used ? room : used;
    if (fits > 0) {
      std::memcpy(static_cast<Word*>(found.words) + at, words, fits * sizeof(Word));
      std::memcpy(found.positions + at, positions, fits * sizeof(int64_t));
    }
    used = 0;
  }
};

template <class Word>
void scan_piece(const Word* words, int64_t start, int64_t stop, int64_t offset, Word low, Word high,
                Word infinity, Found& found, int64_t* below, int64_t* inside, int64_t* bad) {
  const Word bounds[3] = {low, high, infinity};
  Collected<Word> collected;
  int64_t not_below = 0, within = 0;
  uint64_t infinite = 0;
  for (int64_t i = start; i < stop; i += kGroup) {
    uint64_t is[3];
    if (stop - i >= kGroup) {
      at_least(words + i, bounds, is);
    } else {
      Word rest[kGroup] = {};
      std::memcpy(rest, words + i, (stop - i) * sizeof(Word));
      at_least(rest, bounds, is);
      for (uint64_t& bits : is) bits &= first_bits(stop - i);
    }
    uint64_t near = is[0] & ~is[1];
    not_below += __builtin_popcountll(is[0]);
    infinite |= is[2];
    if (!near) continue;
    within += __builtin_popcountll(near);
    for (; near; near &= near - 1) {
      const int64_t at = i + __builtin_ctzll(near);
      collected.words[collected.used] = static_cast<Word>(words[at] & kMagnitude<Word>);
      collected.positions[collected.used++] = offset + at;
    }
    if (collected.used >= Collected<Word>::kRoom) collected.hand_over(found);
  }
  collected.hand_over(found);
  add(below, stop - start - not_below);
  add(inside, within);
  if (infinite) __atomic_store_n(bad, 1, __ATOMIC_RELAXED);
}

template <class Word>
void count_piece(const Word* words, int64_t start, int64_t stop, int64_t shift, int64_t prefix,
                 int64_t* counts) {
  for (int64_t i = start; i < stop; ++i) {
    const int64_t word = words[i] & kMagnitude<Word>;
    if (word >> shift >> 16 == prefix) ++counts[word >> shift & 0xffff];
  }
}

}  // namespace

// Scans magnitudes of `width` bytes each. For every array a, adds to below[a] how many words are
// less than `low`, to inside[a] how many are at least `low` and less than `high`, and sets bad[a]
// where one is at least `infinity`. What lies inside is collected, in any order, with its positions
// counted over all arrays, as far as `capacity` goes.
// Returns how many lie inside.
KERNEL(scan)(const void* const* arrays, const int64_t* starts, const int64_t* tiles, int64_t count,
             int64_t tile, int64_t width, int64_t low, int64_t high, int64_t infinity,
             int64_t capacity, void* words, int64_t* positions, int64_t* below, int64_t* inside,
             int64_t* bad, int64_t threads) {
  const Pieces pieces{starts, tiles, count, tile};
  Found found{capacity, words, positions, 0};
  parallel(pieces.count(), threads, [&](int64_t index) {
    const Piece p = pieces.at(index);
    const int64_t a = p.array;
    const auto scan = [&](auto word) {
      using Word = decltype(word);
      scan_piece(static_cast<const Word*>(arrays[a]), p.start, p.stop, starts[a],
                 static_cast<Word>(low), static_cast<Word>(high), static_cast<Word>(infinity),
                 found, &below[a], &inside[a], &bad[a]);
    };
    if (width == 2) scan(int16_t{});
    if (width == 4) scan(int32_t{});
    if (width == 8) scan(int64_t{});
  });
  return found.used;
}

// Of the magnitudes whose bits from `shift` + 16 on are `prefix`, adds to each of 65,536 counts how
// many have this number in the 16 bits from `shift` on.
// Returns 0, or 1 where memory ran out.
KERNEL(digits)(const void* const* arrays, const int64_t* starts, const int64_t* tiles,
               int64_t count, int64_t tile, int64_t width, int64_t shift, int64_t prefix,
               int64_t* counts, int64_t threads) {
  const Pieces pieces{starts, tiles, count, tile};
  int64_t next = 0, failed = 0;
  parallel(threads, threads, [&](int64_t) {
    int64_t* own = static_cast<int64_t*>(calloc(1 << 16, sizeof(int64_t)));
    if (!own) return __atomic_store_n(&failed, 1, __ATOMIC_RELAXED);
    for (;;) {
      const int64_t index = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
      if (index >= pieces.count()) break;
      const Piece p = pieces.at(index);
      const void* array = arrays[p.array];
      if (width == 2)
        count_piece(static_cast<const int16_t*>(array), p.start, p.stop, shift, prefix, own);
      if (width == 4)
        count_piece(static_cast<const int32_t*>(array), p.start, p.stop, shift, prefix, own);
      if (width == 8)
        count_piece(static_cast<const int64_t*>(array), p.start, p.stop, shift, prefix, own);
    }
    for (int64_t i = 0; i < 1 << 16; ++i)
      if (own[i]) add(&counts[i], own[i]);
    free(own);
  });
  return failed;
}
