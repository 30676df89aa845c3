// Ranking magnitudes: what is below and inside a bracket.

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
void scan_tile(Word* words, const Tile& t, int64_t offset, Word low, Word high, Word infinity,
               Found& found, int64_t* below, int64_t* inside, int64_t* bad) {
  const Word bounds[3] = {low, high, infinity};
  Collected<Word> collected;
  int64_t not_below = 0, within = 0;
  uint64_t infinite = 0;
  in_groups(words, t.start, t.stop, false, [&](const Word* group, int64_t first, int64_t entries) {
    uint64_t is[3];
    at_least(group, bounds, is);
    for (uint64_t& bits : is) bits &= first_bits(entries);
    uint64_t near = is[0] & ~is[1];
    not_below += __builtin_popcountll(is[0]);
    infinite |= is[2];
    if (!near) return;
    within += __builtin_popcountll(near);
    for (; near; near &= near - 1) {
      const int64_t at = __builtin_ctzll(near);
      collected.words[collected.used] = static_cast<Word>(group[at] & kMagnitude<Word>);
      collected.positions[collected.used++] = offset + first + at;
    }
    if (collected.used >= Collected<Word>::kRoom) collected.hand_over(found);
  });
  collected.hand_over(found);
  add(below, t.stop - t.start - not_below);
  add(inside, within);
  if (infinite) __atomic_store_n(bad, 1, __ATOMIC_RELAXED);
}

}  // namespace

// Scans magnitudes of `width` bytes each. For every array a, adds to below[a] how many words are
// less than `low`, to inside[a] how many are at least `low` and less than `high`, and sets bad[a]
// where one is at least `infinity`. What is inside is collected, in any order, with its positions
// counted over all arrays, as far as `capacity` goes.
// Returns how many lie inside.
KERNEL(scan)(void* const* arrays, const int64_t* starts, const int64_t* tiles, int64_t number,
             int64_t size, int64_t width, int64_t low, int64_t high, int64_t infinity,
             int64_t capacity, void* words, int64_t* positions, int64_t* below, int64_t* inside,
             int64_t* bad, int64_t threads) {
  const Tiles all{arrays, starts, tiles, number, size};
  Found found{capacity, words, positions, 0};
  parallel(all.count(), threads, [&](int64_t index) {
    const Tile t = all.at(index);
    const int64_t a = t.array;
    as_words(arrays[a], width, [&](auto* own) {
      using Word = std::remove_pointer_t<decltype(own)>;
      scan_tile(own, t, starts[a], static_cast<Word>(low), static_cast<Word>(high),
                static_cast<Word>(infinity), found, &below[a], &inside[a], &bad[a]);
    });
  });
  return found.used;
}
