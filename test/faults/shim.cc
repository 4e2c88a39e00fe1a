// Injects faults into one process's use of the disk and the clock. Loaded with LD_PRELOAD; configured by variables that the
// first process takes out of its environment, so that what it starts is left alone.
//
//   PIPE_FAULT_UNDER  counts operations on paths that begin with this, or on files that lie there
//   PIPE_FAULT_OPS    which: `write` (whatever changes something), `read` (opening and reading), or `publish` (renames and links)
//   PIPE_FAULT_AT     the number, from 1, of the operation that meets the fault; 0 counts only
//   PIPE_FAULT_DO     `kill` (SIGKILL in place of the operation), or the number of an error that it fails with
//   PIPE_FAULT_LASTS  `1`: every later operation meets it too
//   PIPE_FAULT_COUNT  a file that is given the number of operations when the process ends
//   PIPE_FAULT_CLOCK  seconds by which the wall clock steps when the operation comes
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace {

char under[PATH_MAX];
char count_file[PATH_MAX];
enum class Ops { none, write, read, publish } ops = Ops::none;
enum class Op { write, read, publish };
long at = 0;
bool kills = false;
int error = 0;
bool lasts = false;
long step_seconds = 0;
std::atomic<long> seen{0};
std::atomic<long> stepped{0};

const char* take(const char* name) {
  static char kept[8][PATH_MAX];
  static int used = 0;
  const char* value = getenv(name);
  if (value == nullptr) return nullptr;
  char* copy = kept[used++];
  snprintf(copy, PATH_MAX, "%s", value);
  unsetenv(name);
  return copy;
}

__attribute__((constructor)) void configure() {
  // What this process starts has no use for it.
  unsetenv("LD_PRELOAD");
  const char* path = take("PIPE_FAULT_UNDER");
  if (path == nullptr) return;
  snprintf(under, sizeof under, "%s", path);
  if (const char* value = take("PIPE_FAULT_OPS"))
    ops = strcmp(value, "read") == 0 ? Ops::read : strcmp(value, "publish") == 0 ? Ops::publish : Ops::write;
  if (const char* value = take("PIPE_FAULT_AT")) at = atol(value);
  if (const char* value = take("PIPE_FAULT_DO")) {
    kills = strcmp(value, "kill") == 0;
    error = kills ? 0 : atoi(value);
  }
  lasts = take("PIPE_FAULT_LASTS") != nullptr;
  if (const char* value = take("PIPE_FAULT_CLOCK")) step_seconds = atol(value);
  if (const char* value = take("PIPE_FAULT_COUNT")) snprintf(count_file, sizeof count_file, "%s", value);
}

__attribute__((destructor)) void report() {
  if (count_file[0] == 0) return;
  if (FILE* file = fopen(count_file, "w")) {
    fprintf(file, "%ld\n", seen.load());
    fclose(file);
  }
}

bool lies_under(const char* path) { return path != nullptr && strncmp(path, under, strlen(under)) == 0; }

bool lies_under(int file) {
  char link[64];
  char path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return false;
  path[length] = 0;
  return lies_under(path);
}

// Whether the operation, which is on something under the folder, fails; errno says how.
bool meets_fault(Op op) {
  bool counts = (ops == Ops::write && op != Op::read) || (ops == Ops::read && op == Op::read) ||
                (ops == Ops::publish && op == Op::publish);
  if (!counts) return false;
  long number = ++seen;
  if (at == 0 || number < at || (number > at && !lasts)) return false;
  if (step_seconds != 0) stepped = step_seconds;
  if (kills) kill(getpid(), SIGKILL);
  if (error == 0) return false;
  errno = error;
  return true;
}

template <typename Where>
bool fails(Op op, Where where) {
  if (ops == Ops::none) return false;
  int before = errno;
  if (lies_under(where) && meets_fault(op)) return true;
  errno = before;
  return false;
}

template <typename F>
F next(const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}

Op op_of_open(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) ? Op::write : Op::read;
}

}  // namespace

#define REAL(name) static auto real = next<decltype(&name)>(#name)

extern "C" {

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  REAL(open);
  return fails(op_of_open(flags), path) ? -1 : real(path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = va_arg(rest, mode_t);
  va_end(rest);
  REAL(open64);
  return fails(op_of_open(flags), path) ? -1 : real(path, flags, mode);
}

ssize_t write(int file, const void* bytes, size_t count) {
  REAL(write);
  return fails(Op::write, file) ? -1 : real(file, bytes, count);
}
ssize_t pwrite64(int file, const void* bytes, size_t count, off64_t offset) {
  REAL(pwrite64);
  return fails(Op::write, file) ? -1 : real(file, bytes, count, offset);
}
ssize_t writev(int file, const iovec* parts, int count) {
  REAL(writev);
  return fails(Op::write, file) ? -1 : real(file, parts, count);
}
ssize_t read(int file, void* bytes, size_t count) {
  REAL(read);
  return fails(Op::read, file) ? -1 : real(file, bytes, count);
}
ssize_t pread64(int file, void* bytes, size_t count, off64_t offset) {
  REAL(pread64);
  return fails(Op::read, file) ? -1 : real(file, bytes, count, offset);
}
int fsync(int file) {
  REAL(fsync);
  return fails(Op::write, file) ? -1 : real(file);
}
int ftruncate64(int file, off64_t length) {
  REAL(ftruncate64);
  return fails(Op::write, file) ? -1 : real(file, length);
}
int fchmod(int file, mode_t mode) {
  REAL(fchmod);
  return fails(Op::write, file) ? -1 : real(file, mode);
}
int futimens(int file, const timespec times[2]) {
  REAL(futimens);
  return fails(Op::write, file) ? -1 : real(file, times);
}
int rename(const char* from, const char* to) {
  REAL(rename);
  return fails(Op::publish, to) ? -1 : real(from, to);
}
int link(const char* from, const char* to) {
  REAL(link);
  return fails(Op::publish, to) ? -1 : real(from, to);
}
int symlink(const char* target, const char* path) {
  REAL(symlink);
  return fails(Op::publish, path) ? -1 : real(target, path);
}
int unlink(const char* path) {
  REAL(unlink);
  return fails(Op::write, path) ? -1 : real(path);
}
int rmdir(const char* path) {
  REAL(rmdir);
  return fails(Op::write, path) ? -1 : real(path);
}
int mkdir(const char* path, mode_t mode) {
  REAL(mkdir);
  return fails(Op::write, path) ? -1 : real(path, mode);
}
int chmod(const char* path, mode_t mode) {
  REAL(chmod);
  return fails(Op::write, path) ? -1 : real(path, mode);
}

int clock_gettime(clockid_t clock, timespec* time) {
  REAL(clock_gettime);
  int result = real(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += stepped;
  return result;
}
int gettimeofday(timeval* __restrict time, void* __restrict zone) {
  REAL(gettimeofday);
  int result = real(time, zone);
  if (result == 0) time->tv_sec += stepped;
  return result;
}

}  // extern "C"
