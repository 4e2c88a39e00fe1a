// The thread pool: one job at a time, a fixed part of it for each thread.
#include "parallel.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace pipe {

struct Pool::Workers {
  explicit Workers(int threads) {
    for (int thread = 1; thread < threads; ++thread) workers.emplace_back(&Workers::work, this, thread);
  }

  ~Workers() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void run(const Job& given) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      job = given;
      running = given.parts - 1;
      ++generation;
    }
    wake.notify_all();
    given.part(0);
    std::unique_lock<std::mutex> lock(mutex);
    idle.wait(lock, [this] { return running == 0; });
  }

  void work(int thread) {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      wake.wait(lock, [&] { return stopping || generation != seen; });
      if (stopping) return;
      seen = generation;
      if (thread >= job.parts) continue;
      const Job mine = job;
      lock.unlock();
      mine.part(thread);
      lock.lock();
      if (--running == 0) idle.notify_one();
    }
  }

  std::mutex mutex;
  std::condition_variable wake;
  std::condition_variable idle;
  Job job;
  uint64_t generation = 0;  // counts jobs, so that a worker can tell a new one from the one it has done
  int running = 0;
  bool stopping = false;
  std::vector<std::thread> workers;  // last: they use all of the above
};

Pool::Pool(int threads) : threads_(threads), workers_(new Workers(threads)) {}

Pool::~Pool() { delete workers_; }

void Pool::run(const Job& job) { workers_->run(job); }

}  // namespace pipe
