/**
 * The launcher: starts commands for the engine, one at a time, at the price of the process alone.
 *
 * The engine writes a request to descriptor 3: the length of the rest (32 bits, the least significant byte first), then, each with a
 * NUL after it, the working directory, the number of words, the words, and the variables as NAME=value. The command reads
 * /dev/null and writes where this process does. Any byte before the answer cancels it. The answer is lines:
 *
 *     left PID NAME      for each process that the command left behind, which was ended
 *     exited CODE        the command's end; or else
 *     killed SIGNAL      the number of the signal that ended it; or else
 *     failed ERRNO       why it could not be started
 *
 * What a command leaves running becomes a child of this process, whatever session, folder and environment it went to
 * (PR_SET_CHILD_SUBREAPER). So a task is over when there are no children. When the engine is gone, all of them end, and this process.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

namespace {

constexpr int engine = 3;
/** How long processes may take to end once they are killed. */
constexpr auto patience = std::chrono::seconds(5);

/** The signals that were blocked when this process began, as they are to be for commands. */
sigset_t inherited;
/** Readable when a child has ended. */
int ends;

/** A request: its text, and what points into it; the lists end with a null pointer. */
struct Request {
  std::vector<char> text;
  const char* folder = nullptr;
  std::vector<char*> words;
  std::vector<char*> variables;
};

/** @returns whether so many bytes came; if not, the engine is gone. */
bool readWhole(void* to, size_t count) {
  for (size_t at = 0; at < count;) {
    const ssize_t got = read(engine, static_cast<char*>(to) + at, count - at);
    if (got == 0 || (got < 0 && errno != EINTR)) return false;
    if (got > 0) at += static_cast<size_t>(got);
  }
  return true;
}

bool readRequest(Request& request) {
  unsigned char length[4];
  if (!readWhole(length, sizeof length)) return false;
  request.text.resize(length[0] | length[1] << 8 | length[2] << 16 | static_cast<size_t>(length[3]) << 24);
  if (!readWhole(request.text.data(), request.text.size())) return false;
  std::vector<char*> strings;
  for (char* at = request.text.data(); at < request.text.data() + request.text.size(); at += strlen(at) + 1) {
    strings.push_back(at);
  }
  request.folder = strings.at(0);
  const auto words = strings.begin() + 2;
  const auto variables = words + atoi(strings.at(1));
  request.words.assign(words, variables);
  request.words.push_back(nullptr);
  request.variables.assign(variables, strings.end());
  request.variables.push_back(nullptr);
  return true;
}

void answer(const std::string& lines) {
  for (size_t at = 0; at < lines.size();) {
    const ssize_t put = write(engine, lines.data() + at, lines.size() - at);
    if (put < 0 && errno != EINTR) return;
    if (put > 0) at += static_cast<size_t>(put);
  }
}

/** Starts a command in a process group of its own. @returns its process; 0, and why in `error`, if it does not start. */
pid_t start(Request& request, volatile int& error) {
  error = 0;
  // The program is looked for on the command's own PATH.
  environ = request.variables.data();
  // The child shares this process's memory until it is another program: no page table is copied, and it can tell an error.
  const pid_t child = vfork();
  if (child == 0) {
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, &inherited, nullptr);
    if (chdir(request.folder) == 0) execvp(request.words[0], request.words.data());
    error = errno;
    _exit(127);
  }
  if (child < 0) error = errno;
  else if (error != 0) waitpid(child, nullptr, 0);
  return error == 0 ? child : 0;
}

std::string nameOf(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

std::vector<pid_t> children() {
  std::ifstream file("/proc/self/task/" + std::to_string(getpid()) + "/children");
  std::vector<pid_t> found;
  for (pid_t child; file >> child;) found.push_back(child);
  return found;
}

/** Waits, no longer than so, until a child ends or `others` is ready. */
void waitForEnd(pollfd* others, nfds_t count, int milliseconds) {
  others[0] = {ends, POLLIN, 0};
  poll(others, count, milliseconds);
  signalfd_siginfo ignored;
  while (read(ends, &ignored, sizeof ignored) > 0) continue;
}

/**
 * Ends all children, and what becomes a child when these end. Where one cannot be ended this process gives up: the engine looks
 * after what is left of a launcher that died.
 * @returns who they were.
 */
std::string endChildren() {
  std::string lines;
  std::set<pid_t> told;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    pid_t gone;
    do gone = waitpid(-1, nullptr, WNOHANG);
    while (gone > 0);
    if (gone < 0) return lines;
    if (std::chrono::steady_clock::now() > deadline) exit(1);
    for (const pid_t child : children()) {
      if (told.insert(child).second) lines += "left " + std::to_string(child) + " " + nameOf(child) + "\n";
      kill(child, SIGKILL);
    }
    pollfd event;
    waitForEnd(&event, 1, 100);
  }
}

/** Waits for the end of a command. @returns the line that tells it. */
std::string endOf(pid_t command) {
  for (;;) {
    int status;
    // What it has left behind may end before it.
    for (pid_t gone; (gone = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (gone != command) continue;
      if (WIFSIGNALED(status)) return "killed " + std::to_string(WTERMSIG(status)) + "\n";
      return "exited " + std::to_string(WEXITSTATUS(status)) + "\n";
    }
    pollfd events[2];
    events[1] = {engine, POLLIN, 0};
    waitForEnd(events, 2, -1);
    if (events[1].revents == 0) continue;
    char byte;
    const bool isAlone = read(engine, &byte, 1) <= 0;
    kill(-command, SIGKILL);
    kill(command, SIGKILL);
    if (isAlone) {
      endChildren();
      exit(0);
    }
  }
}

}  // namespace

int main() {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  fcntl(engine, F_SETFD, FD_CLOEXEC);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, &inherited);
  ends = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  for (Request request; readRequest(request);) {
    volatile int error;
    const pid_t command = start(request, error);
    if (command == 0) {
      answer("failed " + std::to_string(error) + "\n");
      continue;
    }
    const std::string end = endOf(command);
    answer(endChildren() + end);
  }
}
