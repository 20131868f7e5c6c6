#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/berth-shim/kernel.h"
#include "launch/shim.h"

namespace berth::shim {
namespace {

struct Reason {
  char text[launch::kShimReasonBytes];
  size_t size = 0;
  void Add(const char* data, size_t n) {
    if (n > sizeof text - size) n = sizeof text - size;
    memcpy(text + size, data, n);
    size += n;
  }
};

// How the memory cgroup of the container is watched for kills by the kernel: a file and a key in it.
struct OomCounter {
  char path[4096] = "";
  const char* key = "oom_kill ";
  uint64_t Read() const {
    char text[4096];
    if (path[0] == '\0' || ReadText(path, text, sizeof text) < 0) return 0;
    for (const char* at = text; (at = strstr(at, key)) != nullptr; at += 1)
      if (at == text || at[-1] == '\n') return strtoull(at + strlen(key), nullptr, 10);
    return 0;
  }
  void Find(pid_t pid) {
    char name[32], text[8192];
    snprintf(name, sizeof name, "/proc/%d/cgroup", pid);
    if (ReadText(name, text, sizeof text) < 0) return;
    for (char* line = strtok(text, "\n"); line != nullptr; line = strtok(nullptr, "\n")) {
      char* controllers = strchr(line, ':');
      char* group = controllers == nullptr ? nullptr : strchr(controllers + 1, ':');
      if (group == nullptr) continue;
      *group++ = '\0';
      ++controllers;
      if (strcmp(group, "/") == 0) continue;  // not one of its own
      if (strcmp(controllers, "memory") == 0)
        snprintf(path, sizeof path, "/sys/fs/cgroup/memory%s/memory.oom_control", group);
      else if (controllers[0] == '\0' && path[0] == '\0')
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.events", group);
    }
  }
};

struct Job {
  const char* folder;
  const char* log;
  uint64_t max_bytes;
  unsigned files;
  char** runtime;
};

// Reads what is there without waiting; false at the end.
template <class Take>
bool Drain(int fd, Take take) {
  static char room[32768];
  while (true) {
    const ssize_t n = read(fd, room, sizeof room);
    if (n > 0)
      take(room, static_cast<size_t>(n));
    else if (n == 0)
      return false;
    else if (errno != EINTR)
      return errno == EAGAIN;
    if (n > 0 && n < static_cast<ssize_t>(sizeof room)) return true;  // the other stream has a right, too
  }
}

[[noreturn]] void StartRuntime(const Job& job, const int* out, const int* err, pid_t parent) {
  // The container's streams; nobody types into them.
  const int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0)
    Die("connect the container's streams");
  if (null > 2) close(null);
  umask(022);  // of the mount points that the runtime makes in the container
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execv(job.runtime[0], job.runtime);
  Die(job.runtime[0]);
}

void RecordExit(const Job& job, int status, bool oom) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  const int code = signal != 0 ? 128 + signal : WEXITSTATUS(status);
  char text[256];
  const int n = snprintf(
      text, sizeof text, "{\"exitCode\":%d,\"signal\":%d,\"oomKilled\":%s,\"finishedAt\":\"%lld\"}\n", code,
      signal, oom ? "true" : "false", static_cast<long long>(now.tv_sec) * 1000000000LL + now.tv_nsec);
  // A full disk must not lose the verdict for ever: what cannot be written now is tried again each second.
  while (!WriteDurably(job.folder, launch::kExitFile, text, static_cast<size_t>(n)) && errno != ENOENT) {
    const timespec second{1, 0};
    nanosleep(&second, nullptr);
  }
}

// The container's two streams and the signal that a child has ended, behind one epoll.
struct Streams {
  int poll, signals;
  const int* fds;
  bool open[2] = {true, true};

  // Waits for something to happen, and gives what can be read to take(stream, data, size).
  template <class Take>
  void Turn(Take take) {
    epoll_event events[4];
    const int n = epoll_wait(poll, events, 4, -1);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd == signals) {
        signalfd_siginfo info[8];
        (void)!read(signals, info, sizeof info);
        continue;
      }
      const int stream = events[i].data.fd == fds[0] ? 0 : 1;
      if (open[stream] && !Drain(fds[stream], [&](const char* data, size_t size) { take(stream, data, size); })) {
        open[stream] = false;
        (void)epoll_ctl(poll, EPOLL_CTL_DEL, fds[stream], nullptr);
      }
    }
  }
};

// Waits for `runtime` and collects what it says; its wait status.
int AwaitRuntime(pid_t runtime, int poll, int signals, const int* fds, Reason& reason) {
  Streams streams{poll, signals, fds};
  const auto collect = [&](const char* data, size_t n) { reason.Add(data, n); };
  while (true) {
    streams.Turn([&](int, const char* data, size_t n) { collect(data, n); });
    int status = 0;
    if (waitpid(runtime, &status, WNOHANG) ==
        runtime) {  // only this one: the container's end must be seen later
      for (int s = 0; s < 2; ++s)
        if (streams.open[s]) (void)Drain(fds[s], collect);
      return status;
    }
  }
}

[[noreturn]] void Watch(const Job& job, pid_t container, int poll, int signals, const int* fds, CriLog& log) {
  OomCounter oom;
  oom.Find(container);
  Streams streams{poll, signals, fds};
  while (true) {
    streams.Turn([&](int stream, const char* data, size_t size) { log.Take(stream, data, size); });
    int status = 0;
    for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended != container) continue;
      const bool killed = oom.Read() > 0;
      // All it wrote is in the pipes. A process elsewhere that holds them open is not waited for.
      for (int s = 0; s < 2; ++s)
        for (size_t got = 1; streams.open[s] && got > 0;) {
          got = 0;
          streams.open[s] = Drain(fds[s], [&](const char* d, size_t size) {
            log.Take(s, d, size);
            got += size;
          });
        }
      log.Finish();
      RecordExit(job, status, killed);
      _exit(0);
    }
  }
}

// The process that stays. `report` takes '0' for success, or '1' and the reason.
[[noreturn]] void Stay(const Job& job, int report, pid_t parent) {
  const auto fail = [&](const char* data, size_t n) {
    (void)(WriteAll(report, "1", 1) && WriteAll(report, data, n));
    _exit(1);
  };
  const auto fail_call = [&](const char* what) {
    char text[512];
    fail(text, static_cast<size_t>(snprintf(text, sizeof text, "%s: %s", what, strerrordesc_np(errno))));
  };
  // Until the container is created, whoever asked for it can take that back by ending our parent.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
  if (setsid() < 0) fail_call("make a session");
  LetGoOfStdio();
  if (chdir("/") != 0) fail_call("enter /");
  umask(027);
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) fail_call("become a subreaper");
  prctl(PR_SET_NAME, "berth-shim");
  const int adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (adj >= 0) {
    (void)!write(adj, "-998", 4);  // refused without CAP_SYS_RESOURCE: then the machine's choice stands
    close(adj);
  }

  const int lock =
      open(Path(job.folder, launch::kShimLock).text, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) fail_call("lock the container's folder");
  char self[64];
  const int self_size = snprintf(self, sizeof self, "%d %llu\n", getpid(),
                                 static_cast<unsigned long long>(StartTime(getpid())));
  if (ftruncate(lock, 0) != 0 || pwrite(lock, self, static_cast<size_t>(self_size), 0) != self_size)
    fail_call("write the lock");

  static CriLog log(job.log, job.max_bytes, job.files);
  if (!log.Open()) fail_call("open the container's log");

  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) fail_call("make pipes");
  const int streams[2] = {out[0], err[0]};
  sigset_t mask;
  sigfillset(&mask);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  const int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  if (signals < 0 || poll < 0) fail_call("make descriptors to wait on");
  const int watched[] = {signals, out[0], err[0]};
  for (const int fd : watched) {
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) != 0) fail_call("wait for events");
  }

  const pid_t self_pid = getpid();
  const pid_t runtime = fork();
  if (runtime < 0) fail_call("fork");
  if (runtime == 0) StartRuntime(job, out, err, self_pid);
  close(out[1]);
  close(err[1]);
  static Reason reason;
  const int status = AwaitRuntime(runtime, poll, signals, streams, reason);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    char text[64];
    if (reason.size == 0)
      reason.Add(text, static_cast<size_t>(snprintf(
                           text, sizeof text, WIFEXITED(status) ? "exit status %d" : "killed by signal %d",
                           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status))));
    fail(reason.text, reason.size);
  }
  char pid_text[32];
  if (ReadText(Path(job.folder, launch::kPidFile).text, pid_text, sizeof pid_text) <= 0)
    fail_call("read the runtime's pid file");
  const pid_t container = static_cast<pid_t>(strtol(pid_text, nullptr, 10));
  if (container <= 1) fail("the runtime wrote no pid", 24);
  if (!RecordProcess(job.folder, launch::kCreatedFile, container)) fail_call("record the container");
  (void)prctl(PR_SET_PDEATHSIG, 0);
  (void)WriteAll(report, "0", 1);  // nobody there: the daemon ended, and will find the container by its files
  close(report);
  Watch(job, container, poll, signals, streams, log);
}

}  // namespace

// argv: FOLDER LOG MAX-BYTES FILES -- RUNTIME ARG…
int Run(int argc, char** argv) {
  if (argc < 6 || argv[0][0] != '/' || argv[1][0] != '/' || strcmp(argv[4], "--") != 0) return 64;
  const Job job{argv[0], argv[1], strtoull(argv[2], nullptr, 10),
                static_cast<unsigned>(strtoul(argv[3], nullptr, 10)), argv + 5};
  signal(SIGPIPE, SIG_IGN);
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) Die("make a pipe");
  const pid_t self = getpid(), child = fork();
  if (child < 0) Die("fork");
  if (child == 0) {
    close(report[0]);
    Stay(job, report[1], self);
  }
  close(report[1]);
  char verdict = '1';
  ssize_t n;
  while ((n = read(report[0], &verdict, 1)) < 0 && errno == EINTR) {
  }
  if (n == 1 && verdict == '0') return 0;
  char room[4096];
  while ((n = read(report[0], room, sizeof room)) > 0 || (n < 0 && errno == EINTR))
    if (n > 0) (void)WriteAll(1, room, static_cast<size_t>(n));
  return 1;
}

}  // namespace berth::shim
