// The thread pool: one job at a time, a fixed part of it for each thread.
#include "parallel.h"

namespace pipe {

Pool::Pool(int threads) {
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back(&Pool::work, this, thread);
}

Pool::~Pool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Pool::run(const Job& job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    job_ = job;
    running_ = job.parts - 1;
    ++generation_;
  }
  wake_.notify_all();
  job.part(0);
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return running_ == 0; });
}

void Pool::work(int thread) {
  uint64_t seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
    if (stopping_) return;
    seen = generation_;
    if (thread >= job_.parts) continue;
    const Job job = job_;
    lock.unlock();
    job.part(thread);
    lock.lock();
    if (--running_ == 0) idle_.notify_one();
  }
}

}  // namespace pipe
