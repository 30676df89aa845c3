// Work in several threads: torch's own where it has an OpenMP team, else threads for this one call.
//
// A second pool would fight torch's: OpenMP's threads keep spinning for a while after each of
// torch's operations, on the cores that the second pool needs. A child made by fork() has no team
// (and OpenMP would wait for it for ever), so it makes its own threads.

#include <pthread.h>
#include <stdint.h>

#include <atomic>

#define PARP_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using Team = void (*)(void (*)(void*), void*, unsigned, unsigned);

constexpr int64_t kMostThreads = 256;

std::atomic<Team> team{nullptr};

struct Job {
  void (*work)(void*, int64_t);
  void* data;
  int64_t count;
  std::atomic<int64_t> next{0};
};

// Takes indices until none is left: right however many threads there turn out to be.
void drain(void* pointer) {
  Job& job = *static_cast<Job*>(pointer);
  for (int64_t i = job.next++; i < job.count; i = job.next++) job.work(job.data, i);
}

void* drain_in_thread(void* pointer) {
  drain(pointer);
  return nullptr;
}

void forget_team() { team = nullptr; }

}  // namespace

// Lets torch's OpenMP run the work. `function`: its GOMP_parallel.
PARP_EXPORT void parp_use_team(void* function) {
  static std::atomic<bool> watched{false};
  if (!watched.exchange(true)) pthread_atfork(nullptr, nullptr, forget_team);
  team = reinterpret_cast<Team>(function);
}

extern "C" void parp_parallel(int64_t count, int64_t threads, void (*work)(void*, int64_t),
                              void* data) {
  Job job{work, data, count};
  if (threads > count) threads = count;
  if (threads > kMostThreads) threads = kMostThreads;
  if (threads <= 1) return drain(&job);
  if (Team run = team) return run(drain, &job, static_cast<unsigned>(threads), 0);
  pthread_t helpers[kMostThreads];
  int64_t started = 0;
  while (started < threads - 1 &&
         pthread_create(&helpers[started], nullptr, drain_in_thread, &job) == 0)
    ++started;
  drain(&job);
  for (int64_t i = 0; i < started; ++i) pthread_join(helpers[i], nullptr);
}
