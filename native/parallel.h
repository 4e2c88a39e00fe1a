// A small pool of threads that waits passively and cuts work into fixed parts.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

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

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(thread, begin, end) for [0, count) cut into at most threads() parts of at least `grain` items.
  // Returns when all are done. The body must not throw and must not call split.
  template <class Body>
  void split(int64_t count, int64_t grain, const Body& body) {
    if (count <= 0) return;
    const int64_t most = grain > 0 ? count / grain : count;
    const int parts = static_cast<int>(most < 1 ? 1 : most < threads() ? most : threads());
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

  void run(const Job& job);
  void work(int thread);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  Job job_;
  uint64_t generation_ = 0;  // counts jobs, so that a worker can tell a new one from the one it has done
  int running_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace pipe
