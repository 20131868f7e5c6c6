// host/process.h: child processes: exactly what they get, and always an end.
//
// No shell and no PATH search unless asked. The child has the arguments, environment and descriptors of the Spec and
// nothing else: every other descriptor is closed, 0, 1 and 2 are /dev/null unless mapped, signal handlers and mask are
// reset, umask is 077, its working directory is "/". It is waited for through a pidfd, so no signal handler and no pid
// race is involved. (reliability-security 5.3)
//
// Threads: a Process is used by one thread at a time; any number of Processes at once.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bytes/bytes.h"
#include "host/fd.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::host {

// Our soft limit of descriptors becomes the hard one, or a million where that is more. Children get the soft limit that was ours
// before, as their programs may use select(), which knows 1,024.
void RaiseOpenFiles();

struct Identity {
  std::uint32_t uid = 0, gid = 0;  // supplementary groups are dropped
};

struct ResourceLimit {
  int resource = 0;         // RLIMIT_…
  std::uint64_t value = 0;  // soft and hard
};

struct ProcessSpec {
  std::string program;            // absolute path; with search_path a name for PATH of *our* environment
  int program_fd = -1;            // borrowed; set: this file runs, `program` is only for messages
  std::vector<std::string> argv;  // from argv[0]
  std::vector<std::string> env;   // "NAME=value", exactly these
  std::vector<std::pair<int, int>> fds;  // number in the child, our descriptor (borrowed)
  std::vector<ResourceLimit> limits;     // RLIMIT_CORE is 0 unless given; RLIMIT_NOFILE: RaiseOpenFiles()
  std::optional<Identity> identity;
  std::string working_directory = "/";
  bool search_path = false;
  // A session also keeps it from our terminal, and is a scheduling group of its own where the kernel groups by session.
  // kContained: a session, and a pid namespace whose process 1 is a copy of us that only waits: when the program has ended, the
  // kernel ends whatever it started, also what left the group. Needs root; for others it is a session.
  // But for kNothing, Kill and the destructor reach the whole group.
  enum class Own : std::uint8_t { kNothing, kGroup, kSession, kContained } own = Own::kSession;
  bool no_new_privs = true;
  // The kernel kills the child when the *thread* that started it ends. Switch off when the Process outlives the thread.
  bool die_with_thread = true;
};

struct ExitStatus {
  bool signalled = false;
  int code = 0;  // exit status, or the signal
  bool success() const { return !signalled && code == 0; }
  std::string Text() const;  // "exit status 3", "killed by signal 9"
};

class Process {
 public:
  // Fails with the reason of the failed step in the child, down to execve ("start NAME: …"). kMissing: no such program.
  static Result<Process> Spawn(const ProcessSpec& spec);
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  // SIGKILL to the group (or the process) unless it was reaped, then reaps it.
  ~Process();

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }  // readable once it has ended
  bool reaped() const { return status_.has_value(); }

  // Until it ends; what is left of its group is then killed (own). On kCanceled and kTimeout it still runs: kill
  // it or let go of the Process.
  Result<ExitStatus> Wait(const task::Context& ctx);
  // To the process; kYes: to its whole group. Fine when it has ended.
  enum class Group : bool { kNo, kYes };
  Result<> Kill(int signal, Group group = Group::kNo);

 private:
  Process(pid_t pid, Fd pidfd, bool leader, Fd verdict)
      : pid_(pid), pidfd_(std::move(pidfd)), verdict_(std::move(verdict)), leader_(leader) {}
  Result<ExitStatus> Reap();
  void End();

  pid_t pid_ = -1;
  Fd pidfd_;
  Fd verdict_;  // kContained: how the program ended, as the process that waits for it tells
  bool leader_ = false;
  std::optional<ExitStatus> status_;
};

struct CaptureLimits {
  std::size_t stdout_bytes = 1u << 20;      // more: killed, kLimitExceeded
  std::size_t stderr_tail_bytes = 8u << 10; // the last of it is kept, the rest only counted
  std::chrono::milliseconds grace{2000};    // between SIGTERM and SIGKILL
  std::chrono::milliseconds linger{500};    // for output after the exit, when a grandchild holds the pipes
};

struct Captured {
  ExitStatus status;
  std::string out;  // never reallocated while it grew: no copies are left behind; the caller wipes it
  std::uint64_t stderr_bytes = 0;
  std::string stderr_tail;
};

// Runs `spec` with `input` as its stdin (a sealed memory file: a program that never reads cannot block us) and collects
// stdout and stderr. When `ctx` ends it: SIGTERM to the group, `grace`, SIGKILL, then kCanceled or kTimeout. An
// unsuccessful exit is not an error. spec.fds must not map 0 to 2, and spec.own must be a session or contained.
Result<Captured> RunCaptured(const task::Context& ctx, const ProcessSpec& spec, bytes::View input,
                             const CaptureLimits& limits = {});

}  // namespace berth::host
