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

struct Work {
  bool zero;
  uint8_t* mask;
  const uint8_t* previous;
  const uint8_t* first;
};

template <class Word>
void cut_piece(Word* words, int64_t start, int64_t stop, Word threshold, int64_t ties,
               const Work& work, int64_t* counts) {
  int64_t kept = 0, both[2] = {0, 0};
  for (int64_t i = start; i < stop; i += kGroup) {
    const int64_t entries = stop - i < kGroup ? stop - i : kGroup;
    Word rest[kGroup];
    Word* group = words + i;
    if (entries < kGroup) {
      std::memset(rest, 0, sizeof rest);
      std::memcpy(rest, group, entries * sizeof(Word));
      group = rest;
    }
    const uint64_t keep = kept_of(group, i, threshold, ties) & first_bits(entries);
    if (work.zero) {
      keep_only(group, keep);
      if (entries < kGroup) std::memcpy(words + i, rest, entries * sizeof(Word));
    }
    kept += __builtin_popcountll(keep);
    if (work.mask) {
      const uint64_t bits = swapped(keep);
      std::memcpy(work.mask + i / 8, &bits, static_cast<size_t>((entries + 7) / 8));
    }
    if (work.previous) both[0] += __builtin_popcountll(keep & bits_at(work.previous, i, entries));
    if (work.first) both[1] += __builtin_popcountll(keep & bits_at(work.first, i, entries));
  }
  add(&counts[0], kept);
  add(&counts[1], both[0]);
  add(&counts[2], both[1]);
}

template <class Word>
void zero_piece(Word* words, int64_t start, int64_t stop, const uint8_t* mask) {
  int64_t i = start;
  for (; i + kGroup <= stop; i += kGroup) keep_only(words + i, bits_at(mask, i, kGroup));
  if (i < stop) {
    Word rest[kGroup] = {};
    std::memcpy(rest, words + i, (stop - i) * sizeof(Word));
    keep_only(rest, bits_at(mask, i, stop - i));
    std::memcpy(words + i, rest, (stop - i) * sizeof(Word));
  }
}

}  // namespace

// Prunes of every array a, whose words have widths[a] bytes, the magnitudes below thresholds[a] and,
// before position ties[a], those equal to it. Where `zero` is set they become zero; where `masks` is
// given, masks[a] gets the bits of what is kept. counts[3 a] grows by how many are kept, the next
// two by how many of those previous[a] and first[a] keep too, where they are given.
KERNEL(cut)(void* const* arrays, const int64_t* starts, const int64_t* tiles, int64_t count,
            int64_t tile, const int64_t* widths, const int64_t* thresholds, const int64_t* ties,
            int64_t zero, uint8_t* const* masks, const uint8_t* const* previous,
            const uint8_t* const* first, int64_t* counts, int64_t threads) {
  const Pieces pieces{starts, tiles, count, tile};
  parallel(pieces.count(), threads, [&](int64_t index) {
    const Piece p = pieces.at(index);
    const int64_t a = p.array;
    const Work work{zero != 0, masks ? masks[a] : nullptr, previous ? previous[a] : nullptr,
                    first ? first[a] : nullptr};
    const auto cut = [&](auto word) {
      using Word = decltype(word);
      cut_piece(static_cast<Word*>(arrays[a]), p.start, p.stop, static_cast<Word>(thresholds[a]),
                ties[a], work, &counts[3 * a]);
    };
    if (widths[a] == 2) cut(int16_t{});
    if (widths[a] == 4) cut(int32_t{});
    if (widths[a] == 8) cut(int64_t{});
  });
  return 0;
}

// Sets to zero what masks[a] leaves unset of every array a.
KERNEL(zero_unset)(void* const* arrays, const int64_t* starts, const int64_t* tiles, int64_t count,
                   int64_t tile, const int64_t* widths, const uint8_t* const* masks,
                   int64_t threads) {
  const Pieces pieces{starts, tiles, count, tile};
  parallel(pieces.count(), threads, [&](int64_t index) {
    const Piece p = pieces.at(index);
    void* const array = arrays[p.array];
    const uint8_t* const mask = masks[p.array];
    if (widths[p.array] == 2) zero_piece(static_cast<int16_t*>(array), p.start, p.stop, mask);
    if (widths[p.array] == 4) zero_piece(static_cast<int32_t*>(array), p.start, p.stop, mask);
    if (widths[p.array] == 8) zero_piece(static_cast<int64_t*>(array), p.start, p.stop, mask);
  });
  return 0;
}
