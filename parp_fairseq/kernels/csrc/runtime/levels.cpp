// Which instruction sets this library was built for, and which the processor has.

#define PARP_EXPORT extern "C" __attribute__((visibility("default")))

// The names of the levels that were built, slowest first, with spaces between.
PARP_EXPORT const char* parp_built() { return PARP_BUILT; }

// A digest of the sources that this library was built from.
PARP_EXPORT const char* parp_sources() { return PARP_SOURCES; }

// The fastest level that processor and operating system support.
PARP_EXPORT const char* parp_supported() {
#if defined(__x86_64__)
  // These ask the operating system too whether it saves the registers.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return "avx512";
  if (avx2) return "avx2";
#endif
  return "portable";
}
