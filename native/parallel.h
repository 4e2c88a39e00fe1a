// A small pool of threads that waits passively and cuts work into fixed parts.
#pragma once

#include <cstdint>

namespace pipe {

// Threads sleep on a condition variable between calls: spinning would slow every other process on shared cores.
// Work is cut by index alone, and a kernel writes each output element from one part in an order that does not depend
// on the cut, so results are the same bits for any number of threads.
class Pool {
 public:
  // A pool of `threads` >= 1, the caller's own included.
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // Calls body(thread, begin, end) for [0, count) cut into at most threads() parts of at least `grain` items.
  // Returns when all are done. The body must not throw and must not call split.
  template <class Body>
  void split(int64_t count, int64_t grain, const Body& body) {
    if (count <= 0) return;
    const int64_t most = grain > 0 ? count / grain : count;
    const int parts = static_cast<int>(most < 1 ? 1 : most < threads_ ? most : threads_);
    if (parts == 1) return body(0, int64_t{0}, count);
    run({[](const void* b, int thread, int64_t begin, int64_t end) {
           (*static_cast<const Body*>(b))(thread, begin, end);
         },
         &body, count, parts});
  }

 private:
  struct Job {
    void (*call)(const void* body, int thread, int64_t begin, int64_t end) = nullptr;
    const void* body = nullptr;
    int64_t count = 0;
    int parts = 0;
    void part(int thread) const { call(body, thread, count * thread / parts, count * (thread + 1) / parts); }
  };
  struct Workers;

  void run(const Job& job);

  const int threads_;
  Workers* const workers_;  // defined in parallel.cc, so that kernels do not compile the thread headers
};

}  // namespace pipe
