// Zeroing what is pruned, by a threshold or by a mask, with the mask and its meters in one pass.

#include "words.h"

namespace {

inline uint64_t bits_at(const uint8_t* mask, int64_t entry, int64_t entries) {
  uint64_t bits = 0;
  std::memcpy(&bits, mask + entry / 8, static_cast<size_t>((entries + 7) / 8));
  return swapped(bits);
}

template <class Word>
uint64_t kept_of(const Word* words, int64_t first, Word threshold, int64_t ties) {
  // Before `ties` more than the threshold is kept, from there on the threshold too.
  const Word bounds[2] = {static_cast<Word>(threshold + 1), threshold};
  if (first + kGroup <= ties || first >= ties) {
    const Word bound[1] = {bounds[first >= ties]};
    uint64_t is[1];
    at_least(words, bound, is);
    return is[0];
  }
  uint64_t is[2];
  at_least(words, bounds, is);
  return is[0] | (is[1] & ~first_bits(ties - first));
}

struct Masks {
  uint8_t* own;
  const uint8_t* previous;
  const uint8_t* initial;
};

template <class Word>
void cut_tile(Word* words, const Tile& t, Word threshold, int64_t ties, bool zero,
              const Masks& masks, int64_t* counts) {
  int64_t kept = 0, both[2] = {0, 0};
  in_groups(words, t.start, t.stop, zero, [&](Word* group, int64_t first, int64_t entries) {
    const uint64_t keep = kept_of(group, first, threshold, ties) & first_bits(entries);
    if (zero) keep_only(group, keep);
    kept += __builtin_popcountll(keep);
    if (masks.own) {
      const uint64_t bits = swapped(keep);
      std::memcpy(masks.own + first / 8, &bits, static_cast<size_t>((entries + 7) / 8));
    }
    if (masks.previous)
      both[0] += __builtin_popcountll(keep & bits_at(masks.previous, first, entries));
    if (masks.initial)
      both[1] += __builtin_popcountll(keep & bits_at(masks.initial, first, entries));
  });
  add(&counts[0], kept);
  add(&counts[1], both[0]);
  add(&counts[2], both[1]);
}

}  // namespace

// Prunes of every array a, whose words have widths[a] bytes, the magnitudes below thresholds[a] and,
// before position ties[a], those equal to it. Where `zero` is set they become zero; where `masks` is
// given, masks[a] gets the bits of what is kept. counts[3 a] grows by how many are kept, the next
// two by how many of those previous[a] and initial[a] keep too, where they are given.
KERNEL(cut)(void* const* arrays, const int64_t* starts, const int64_t* tiles, int64_t number,
            int64_t size, const int64_t* widths, const int64_t* thresholds, const int64_t* ties,
            int64_t zero, uint8_t* const* masks, const uint8_t* const* previous,
            const uint8_t* const* initial, int64_t* counts, int64_t threads) {
  const Tiles all{arrays, starts, tiles, number, size};
  parallel(all.count(), threads, [&](int64_t index) {
    const Tile t = all.at(index);
    const int64_t a = t.array;
    const Masks own{masks ? masks[a] : nullptr, previous ? previous[a] : nullptr,
                    initial ? initial[a] : nullptr};
    as_words(arrays[a], widths[a], [&](auto* words) {
      cut_tile(words, t, static_cast<std::remove_pointer_t<decltype(words)>>(thresholds[a]),
               ties[a], zero != 0, own, &counts[3 * a]);
    });
  });
  return 0;
}

// Sets to zero what masks[a] leaves unset of every array a.
KERNEL(zero_unset)(void* const* arrays, const int64_t* starts, const int64_t* tiles, int64_t number,
                   int64_t size, const int64_t* widths, const uint8_t* const* masks,
                   int64_t threads) {
  const Tiles all{arrays, starts, tiles, number, size};
  parallel(all.count(), threads, [&](int64_t index) {
    const Tile t = all.at(index);
    as_words(arrays[t.array], widths[t.array], [&](auto* words) {
      in_groups(words, t.start, t.stop, true, [&](auto* group, int64_t first, int64_t entries) {
        keep_only(group, bits_at(masks[t.array], first, entries));
      });
    });
  });
  return 0;
}
