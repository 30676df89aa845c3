// Masks at one bit an entry.

#include "kernel.h"

namespace {

// Bytes that a thread takes at a time.
constexpr int64_t kPiece = 1 << 16;

inline uint64_t word_at(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

int64_t both(const uint8_t* a, const uint8_t* b, int64_t size) {
  int64_t count = 0, i = 0;
  for (; i + 8 <= size; i += 8) count += __builtin_popcountll(word_at(a + i) & word_at(b + i));
  for (; i < size; ++i) count += __builtin_popcount(a[i] & b[i]);
  return count;
}

}  // namespace

// Counts the bits that are set in both of two arrays of `size` bytes.
KERNEL(count_both)(const uint8_t* a, const uint8_t* b, int64_t size, int64_t threads) {
  int64_t total = 0;
  parallel((size + kPiece - 1) / kPiece, threads, [&](int64_t piece) {
    const int64_t start = piece * kPiece;
    const int64_t length = size - start < kPiece ? size - start : kPiece;
    __atomic_fetch_add(&total, both(a + start, b + start, length), __ATOMIC_RELAXED);
  });
  return total;
}
