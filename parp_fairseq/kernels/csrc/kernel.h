// Included by every kernel file.
//
// A kernel file is compiled once for each level (PARP_LEVEL is its name; PARP_AVX2 and PARP_AVX512
// say which instructions it may use). KERNEL(name) gives a function the C name `name_<level>`;
// native.py calls the one for this processor.
//
// Put all else in an unnamed namespace, and call no function templates of the standard library: the
// linker would keep one copy of an inline function for all levels, perhaps one with instructions
// that this processor lacks.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#define PARP_JOIN2(name, level) name##_##level
#define PARP_JOIN(name, level) PARP_JOIN2(name, level)
#define PARP_EXPORT extern "C" __attribute__((visibility("default")))
#define KERNEL(name) PARP_EXPORT int64_t PARP_JOIN(name, PARP_LEVEL)

#if defined(PARP_AVX2) || defined(PARP_AVX512)
#include <immintrin.h>
#endif

extern "C" void parp_parallel(int64_t count, int64_t threads, void (*work)(void*, int64_t),
                              void* data);

namespace {

// Calls work(i) once for every i below `count`, in any order, in at most `threads` threads.
template <class Work>
void parallel(int64_t count, int64_t threads, Work work) {
  parp_parallel(
      count, threads, [](void* data, int64_t index) { (*static_cast<Work*>(data))(index); }, &work);
}

}  // namespace
