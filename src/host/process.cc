#include "host/process.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "host/poll.h"

#ifdef __SANITIZE_THREAD__
#define BERTH_TSAN true
#else
#define BERTH_TSAN false
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace berth::host {
namespace {

enum Step : int { kGroup, kDirectory, kDescriptors, kLimits, kIdentity, kPrivileges, kExec };
constexpr std::array<std::string_view, 7> kSteps{"make a session",   "enter the working directory", "map descriptors",
                                                 "set resource limits", "change the identity",  "give up privileges",
                                                 "execute"};

struct Failure {
  int step = 0, error = 0;
};

constexpr rlim_t kMostFiles = 1 << 20;
std::atomic<rlim_t> g_files_before = 0;  // 0: never raised

// Everything the child needs, made before fork(): afterwards nothing allocates.
struct Plan {
  std::vector<std::string> programs;
  std::vector<char*> argv, env;
  std::vector<std::pair<int, int>> fds;  // number in the child, source
  std::vector<int> high;                 // copies of the sources above all numbers in the child
  int first_high = 3;
  int program_fd = -1;
  int report = -1;
  int verdict = -1;                      // set: contained
  pid_t parent = 0;
};

// fork() without the C library's part in it, which our children, who make nothing but system calls, do not need.
pid_t Clone(unsigned long flags) {
  return static_cast<pid_t>(::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const auto& s : strings) out.push_back(const_cast<char*>(s.c_str()));  // NOLINT: execve takes char*
  out.push_back(nullptr);
  return out;
}

[[noreturn]] void Fail(int report, Step step, int error) {
  const Failure failure{step, error};
  (void)!::write(report, &failure, sizeof failure);
  ::_exit(127);
}

// Process 1 of a namespace: waits for all, tells how `program` ended, and with its end the kernel ends the others. Signals are blocked,
// but for SIGKILL from outside.
[[noreturn]] void Keep(pid_t program, int report, int verdict) {
  (void)::prctl(PR_SET_NAME, "keeper");
  (void)::close(report);
  if (verdict > 0) (void)::syscall(SYS_close_range, 0u, static_cast<unsigned>(verdict - 1), 0u);
  (void)::syscall(SYS_close_range, static_cast<unsigned>(verdict + 1), ~0u, 0u);
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED) != 0) {
      if (errno != EINTR) ::_exit(127);
      continue;
    }
    if (info.si_pid != program) continue;
    const ExitStatus status{info.si_code != CLD_EXITED, info.si_status};
    (void)!::write(verdict, &status, sizeof status);
    ::_exit(0);
  }
}

// In the child of a process with threads: system calls only, no locks, no memory.
[[noreturn]] void RunChild(const ProcessSpec& spec, Plan& plan) {
  int report = plan.report;
  const bool session = spec.own == ProcessSpec::Own::kSession || spec.own == ProcessSpec::Own::kContained;
  if (session ? ::setsid() < 0 : spec.own == ProcessSpec::Own::kGroup && ::setpgid(0, 0) != 0) Fail(report, kGroup, errno);
  if (plan.verdict >= 0) {
    if (spec.die_with_thread && ::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) ::_exit(127);
    const pid_t program = Clone(0);
    if (program < 0) Fail(report, kGroup, errno);
    if (program > 0) Keep(program, report, plan.verdict);
  }
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int s = 1; s < NSIG; ++s) (void)::sigaction(s, &plain, nullptr);
  ::umask(077);
  if (::chdir(spec.working_directory.c_str()) != 0) Fail(report, kDirectory, errno);

  report = ::fcntl(report, F_DUPFD_CLOEXEC, plan.first_high);
  if (report < 0) Fail(plan.report, kDescriptors, errno);
  if (plan.program_fd >= 0 && (plan.program_fd = ::fcntl(plan.program_fd, F_DUPFD_CLOEXEC, plan.first_high)) < 0)
    Fail(report, kDescriptors, errno);
  for (std::size_t i = 0; i < plan.fds.size(); ++i)
    if ((plan.high[i] = ::fcntl(plan.fds[i].second, F_DUPFD_CLOEXEC, plan.first_high)) < 0) Fail(report, kDescriptors, errno);
  // All of them go at execve, but for what is put into place afterwards.
  if (::syscall(SYS_close_range, 0u, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */) != 0) {
    rlimit most{};
    (void)::getrlimit(RLIMIT_NOFILE, &most);
    for (int fd = 0; fd < static_cast<int>(std::min<rlim_t>(most.rlim_cur, 1 << 20)); ++fd) (void)::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  for (std::size_t i = 0; i < plan.fds.size(); ++i)
    if (::dup2(plan.high[i], plan.fds[i].first) < 0) Fail(report, kDescriptors, errno);

  const rlimit no_core{};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0) Fail(report, kLimits, errno);
  if (const rlim_t before = g_files_before; before != 0) {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) Fail(report, kLimits, errno);
    files.rlim_cur = std::min(before, files.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &files) != 0) Fail(report, kLimits, errno);
  }
  for (const ResourceLimit& limit : spec.limits) {
    const rlimit value{limit.value, limit.value};
    if (::setrlimit(static_cast<__rlimit_resource>(limit.resource), &value) != 0) Fail(report, kLimits, errno);
  }
  // Raw calls: the C library's would look for the threads of the parent.
  if (spec.identity) {
    const auto [uid, gid] = *spec.identity;
    if (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::syscall(SYS_setresgid, gid, gid, gid) != 0 ||
        ::syscall(SYS_setresuid, uid, uid, uid) != 0)
      Fail(report, kIdentity, errno);
  }
  if (spec.no_new_privs && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail(report, kPrivileges, errno);
  // After the identity, which clears it. The parent may have gone before.
  if (plan.verdict < 0 && spec.die_with_thread && (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != plan.parent)) ::_exit(127);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);

  int error = ENOENT;
  if (plan.program_fd >= 0) {
    ::syscall(SYS_execveat, plan.program_fd, "", plan.argv.data(), plan.env.data(), AT_EMPTY_PATH);
    error = errno;
    if (error == ENOENT) {  // a script: its interpreter opens /dev/fd/N after execve
      (void)::fcntl(plan.program_fd, F_SETFD, 0);
      ::syscall(SYS_execveat, plan.program_fd, "", plan.argv.data(), plan.env.data(), AT_EMPTY_PATH);
      error = errno;
    }
    Fail(report, kExec, error);
  }
  for (const std::string& program : plan.programs) {
    ::execve(program.c_str(), plan.argv.data(), plan.env.data());
    // Along a PATH: the most telling error of all.
    if (errno != ENOENT && errno != ENOTDIR) error = errno;
    if (errno != ENOENT && errno != ENOTDIR && errno != EACCES) break;
  }
  Fail(report, kExec, error);
}

Result<std::vector<std::string>> Programs(const ProcessSpec& spec) {
  if (spec.program_fd >= 0) return std::vector<std::string>{};
  if (spec.program.starts_with('/')) return std::vector{spec.program};
  if (!spec.search_path || spec.program.empty() || spec.program.find('/') != std::string::npos)
    return Error(Reason::kUsage, "program " + Quoted(spec.program) + " is not an absolute path");
  std::vector<std::string> out;
  const char* path = ::getenv("PATH");
  for (std::string_view rest = path != nullptr ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";;) {
    const auto colon = rest.find(':');
    const auto folder = rest.substr(0, colon);
    if (folder.starts_with('/')) out.push_back(std::string(folder) + "/" + spec.program);  // never the current directory
    if (colon == std::string_view::npos) return out;
    rest.remove_prefix(colon + 1);
  }
}

}  // namespace

void RaiseOpenFiles() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  const rlim_t before = files.rlim_cur;
  files.rlim_cur = std::min(files.rlim_max, kMostFiles);
  if (before < files.rlim_cur && ::setrlimit(RLIMIT_NOFILE, &files) == 0) g_files_before = before;
}

std::string ExitStatus::Text() const {
  return (signalled ? "killed by signal " : "exit status ") + std::to_string(code);
}

Result<Process> Process::Spawn(const ProcessSpec& spec) {
  const auto text_ok = [](const std::string& s) { return s.find('\0') == std::string::npos; };
  if (spec.argv.empty() || !text_ok(spec.program) || !std::all_of(spec.argv.begin(), spec.argv.end(), text_ok) ||
      !std::all_of(spec.env.begin(), spec.env.end(), text_ok))
    return Error(Reason::kUsage, "a program needs arguments without NUL");
  Plan plan;
  ASSIGN_OR_RETURN(plan.programs, Programs(spec));
  plan.argv = Pointers(spec.argv);
  plan.env = Pointers(spec.env);
  plan.program_fd = spec.program_fd;
  plan.parent = ::getpid();
  Fd null;
  plan.fds = spec.fds;
  for (int standard = 0; standard <= 2; ++standard) {
    if (std::any_of(spec.fds.begin(), spec.fds.end(), [&](const auto& m) { return m.first == standard; })) continue;
    if (!null.valid()) null = Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null.valid()) return OsError(errno, "open /dev/null");
    plan.fds.emplace_back(standard, null.get());
  }
  plan.high.resize(plan.fds.size());
  for (const auto& [number, source] : plan.fds) plan.first_high = std::max(plan.first_high, number + 1);
  ASSIGN_OR_RETURN(Pipe report, MakePipe());
  plan.report = report.write.get();
  Pipe verdict;
  // The thread sanitizer has to know of every fork.
  if (constexpr bool kKnowsClone = !BERTH_TSAN; kKnowsClone && spec.own == ProcessSpec::Own::kContained) {
    ASSIGN_OR_RETURN(verdict, MakePipe());
    plan.verdict = verdict.write.get();
  }

  // No handler of ours may run in the child before it has reset them.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = plan.verdict < 0 ? ::fork() : Clone(CLONE_NEWPID);
  if (pid < 0 && plan.verdict >= 0 && errno == EPERM) {
    plan.verdict = -1;
    verdict.read.reset();
    pid = ::fork();
  }
  if (pid == 0) RunChild(spec, plan);
  const int saved = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  const std::string what = "start " + Quoted(spec.program);
  if (pid < 0) return OsError(saved == EAGAIN ? ENOMEM : saved, what);
  report.write.reset();
  verdict.write.reset();
  // The number is ours until we reap it: no race between fork and this.
  Process process(pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))), spec.own != ProcessSpec::Own::kNothing,
                  std::move(verdict.read));
  if (!process.pidfd_.valid()) return OsError(errno, what);
  Failure failure;
  ASSIGN_OR_RETURN(const std::size_t n, ReadSome(report.read.get(), std::as_writable_bytes(std::span(&failure, 1))));
  if (n == 0) return process;
  const auto step = static_cast<std::size_t>(failure.step);
  return OsError(failure.error, what + ": " + std::string(step < kSteps.size() ? kSteps[step] : "?"));
}

Process::Process(Process&& o) noexcept
    : pid_(std::exchange(o.pid_, -1)), pidfd_(std::move(o.pidfd_)), verdict_(std::move(o.verdict_)), leader_(o.leader_),
      status_(o.status_) {}

Process& Process::operator=(Process&& o) noexcept {
  if (this != &o) {
    End();
    pid_ = std::exchange(o.pid_, -1);
    pidfd_ = std::move(o.pidfd_);
    verdict_ = std::move(o.verdict_);
    leader_ = o.leader_;
    status_ = o.status_;
  }
  return *this;
}

Process::~Process() { End(); }

void Process::End() {
  if (pid_ < 0 || status_) return;
  (void)Kill(SIGKILL, leader_ ? Group::kYes : Group::kNo);
  (void)Reap();
}

Result<ExitStatus> Process::Reap() {
  // While the leader is unreaped its number, and so the group's, cannot be anybody else's.
  if (leader_) {
    siginfo_t seen{};
    int r;
    do r = ::waitid(P_PID, static_cast<id_t>(pid_), &seen, WEXITED | WNOWAIT);
    while (r != 0 && errno == EINTR);
    if (r == 0) (void)::kill(-pid_, SIGKILL);
  }
  siginfo_t info{};
  int r;
  do r = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
  while (r != 0 && errno == EINTR);
  if (r != 0) return OsError(errno, "wait for a process");
  status_ = ExitStatus{info.si_code != CLD_EXITED, info.si_status};
  // Nobody is left who could write: what is there is all. Nothing is, when we have killed the one who waits.
  ExitStatus told;
  if (verdict_.valid() && ::read(verdict_.get(), &told, sizeof told) == static_cast<ssize_t>(sizeof told)) status_ = told;
  return *status_;
}

Result<ExitStatus> Process::Wait(const task::Context& ctx) {
  if (status_) return *status_;
  RETURN_IF_ERROR(AwaitReadable(ctx, pidfd_.get()));
  return Reap();
}

Result<> Process::Kill(int signal, Group group) {
  if (pid_ < 0 || status_) return {};
  const long r = group == Group::kYes && leader_ ? ::kill(-pid_, signal)
                                                 : ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
  if (r != 0 && errno != ESRCH) return OsError(errno, "signal a process");
  return {};
}

namespace {

// One end of output: takes what is there now. False at the end.
class Collector {
 public:
  Collector(int fd, std::size_t limit) : fd_(fd) { text_.resize(limit + 1); }
  bool open() const { return open_; }
  int fd() const { return fd_; }
  bool overflowed() const { return length_ == text_.size(); }
  void Take() {
    const ssize_t n = ::read(fd_, text_.data() + length_, text_.size() - length_);
    if (n > 0) length_ += static_cast<std::size_t>(n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) open_ = false;
  }
  std::string Finish() { text_.resize(length_); return std::move(text_); }

 private:
  int fd_;
  bool open_ = true;
  std::string text_;
  std::size_t length_ = 0;
};

class TailCollector {
 public:
  TailCollector(int fd, std::size_t limit) : fd_(fd), limit_(limit) {}
  bool open() const { return open_; }
  int fd() const { return fd_; }
  void Take() {
    std::array<char, 4096> room;
    const ssize_t n = ::read(fd_, room.data(), room.size());
    if (n > 0) {
      bytes_ += static_cast<std::uint64_t>(n);
      tail_.append(room.data(), static_cast<std::size_t>(n));
      if (tail_.size() > limit_) tail_.erase(0, tail_.size() - limit_);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      open_ = false;
    }
  }
  std::uint64_t bytes() const { return bytes_; }
  std::string Finish() { return std::move(tail_); }

 private:
  int fd_;
  std::size_t limit_;
  bool open_ = true;
  std::uint64_t bytes_ = 0;
  std::string tail_;
};

}  // namespace

Result<Captured> RunCaptured(const task::Context& ctx, const ProcessSpec& spec, bytes::View input, const CaptureLimits& limits) {
  RETURN_IF_ERROR(ctx.Check());
  BERTH_CHECK((spec.own == ProcessSpec::Own::kSession || spec.own == ProcessSpec::Own::kContained) &&
              std::none_of(spec.fds.begin(), spec.fds.end(), [](const auto& m) { return m.first <= 2; }));
  ASSIGN_OR_RETURN(const Fd in, MemFd("stdin", input));
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  RETURN_IF_ERROR(SetNonBlocking(out.read.get(), true));
  RETURN_IF_ERROR(SetNonBlocking(err.read.get(), true));
  ProcessSpec full = spec;
  full.fds.insert(full.fds.end(), {{0, in.get()}, {1, out.write.get()}, {2, err.write.get()}});
  ASSIGN_OR_RETURN(Process process, Process::Spawn(full));
  out.write.reset();
  err.write.reset();

  Collector stdout_text(out.read.get(), limits.stdout_bytes);
  TailCollector stderr_text(err.read.get(), limits.stderr_tail_bytes);
  Captured captured;
  std::optional<Error> ended;  // why we ended it
  task::Context phase = ctx;   // then: the grace, then for ever
  bool asked = false, killed = false;
  const auto kill_now = [&] {
    (void)process.Kill(SIGKILL, Process::Group::kYes);
    phase = task::Context({}, ctx.clock());
    killed = true;
  };
  bool running = true;
  while (running || stdout_text.open() || stderr_text.open()) {
    // A negative descriptor is skipped by poll.
    std::array<pollfd, 3> entries{pollfd{running ? process.pidfd() : -1, POLLIN, 0},
                                  pollfd{stdout_text.open() ? stdout_text.fd() : -1, POLLIN, 0},
                                  pollfd{stderr_text.open() ? stderr_text.fd() : -1, POLLIN, 0}};
    auto ready = Poll(phase, entries);
    // Also a program that talks without pause, so that poll always has something, comes to its end.
    if (ready) ready = running && !killed && entries[0].revents == 0 ? phase.Check() : Result<>();
    if (!ready) {
      if (!running) break;  // output has lingered long enough
      if (ready.error().reason() != Reason::kCanceled && ready.error().reason() != Reason::kTimeout)
        return std::move(ready).error();
      if (!ended) ended = std::move(ready).error();
      if (asked) {
        kill_now();
      } else {
        (void)process.Kill(SIGTERM, Process::Group::kYes);
        phase = task::Context({}, ctx.clock()).WithTimeout(limits.grace);
        asked = true;
      }
      continue;
    }
    if (entries[1].revents != 0) stdout_text.Take();
    if (entries[2].revents != 0) stderr_text.Take();
    if (stdout_text.overflowed() && !ended) {
      ended = Error(Reason::kLimitExceeded, "it wrote more than " + std::to_string(limits.stdout_bytes) + " bytes");
      kill_now();
    }
    if (running && entries[0].revents != 0) {
      ASSIGN_OR_RETURN(captured.status, process.Wait(task::Context()));
      running = false;
      phase = task::Context({}, ctx.clock()).WithTimeout(limits.linger);
    }
    if (stdout_text.overflowed() && !running) break;
  }
  if (ended) return std::move(*ended).Context("run " + Quoted(spec.program));
  captured.out = stdout_text.Finish();
  captured.stderr_bytes = stderr_text.bytes();
  captured.stderr_tail = stderr_text.Finish();
  return captured;
}

}  // namespace berth::host
