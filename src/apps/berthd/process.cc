#include "apps/berthd/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>

#include "host/fd.h"
#include "host/poll.h"
#include "host/process.h"
#include "log/log.h"

namespace berth::berthd {

void HardenProcess() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
  ::umask(077);
  host::RaiseOpenFiles();
  std::signal(SIGPIPE, SIG_IGN);
  ::mallopt(M_ARENA_MAX, 2);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 20);
  ::mallopt(M_MMAP_THRESHOLD, 256 << 10);
}

Result<host::Fd> TakeSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1}) ::sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  host::Fd fd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!fd.valid()) return host::OsError(errno, "signalfd");
  return fd;
}

int NextSignal(const host::Fd& signals) {
  signalfd_siginfo info{};
  while (::read(signals.get(), &info, sizeof info) != sizeof info) {
  }
  return static_cast<int>(info.ssi_signo);
}

std::jthread GuardTheEnd(const host::Fd& signals, time::Duration limit) {
  return std::jthread([&signals, limit](const std::stop_token& stop) {
    const task::Context ctx = task::Context(stop).WithTimeout(limit);
    for (;;) {
      if (const auto waited = host::AwaitReadable(ctx, signals.get()); !waited) {
        if (waited.error().cancelled()) return;
        log::Failure("the orderly end took too long", {});
        ::_exit(1);
      }
      if (const int signal = NextSignal(signals); signal == SIGTERM || signal == SIGINT) ::_exit(128 + signal);
    }
  });
}

namespace {
Error Unusable(int saved_errno, const std::string& what) {
  Error error = host::OsError(saved_errno, what);
  if (!error.next_step().empty()) return error;  // what to do about a full disk is known
  return std::move(error).Next("name a folder that can be used: root, runDir and node.logs in the configuration (berthd --print-config)");
}
}  // namespace

Result<> MakePrivateFolder(const std::string& path) {
  for (std::size_t i = 1; i <= path.size(); ++i) {
    if (i < path.size() && path[i] != '/') continue;
    const std::string part = path.substr(0, i);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return Unusable(errno, "make the folder " + Quoted(part));
  }
  const host::Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return Unusable(errno, "open the folder " + Quoted(path));
  if (::fchmod(folder.get(), 0700) != 0) return Unusable(errno, "close the folder " + Quoted(path) + " to others");
  return {};
}

namespace {

// As configured, or beside this program; "" when there is none that can be run.
std::string FindProgram(const std::string& configured, const std::string& name) {
  std::string program = configured;
  if (program.empty()) {
    std::array<char, PATH_MAX> path;
    const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
    const std::string self(path.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
    const std::string folder = self.substr(0, self.rfind('/'));
    program = folder + "/" + name;
    // In a build folder each program has a folder of its own.
    if (::access(program.c_str(), X_OK) != 0) program = folder + "/../" + name + "/" + name;
  }
  return program;
}

bool CanRun(const std::string& program) { return program.starts_with('/') && ::access(program.c_str(), X_OK) == 0; }

}  // namespace

Result<std::string> FindWorker(const config::DaemonConfig& config) {
  std::string worker = FindProgram(config.worker, "berth-unpack");
  if (CanRun(worker)) return worker;
  return Error(Reason::kConfig, "the unpack worker " + Quoted(worker) + " cannot be run").Next("install berth-unpack beside berthd, or set `worker`");
}

Result<std::string> FindShim(const config::DaemonConfig& config) {
  std::string shim = FindProgram(config.node.shim, "berth-shim");
  if (CanRun(shim)) return shim;
  return Error(Reason::kConfig, "the container shim " + Quoted(shim) + " cannot be run").Next("install berth-shim beside berthd, or set `node.shim`");
}

}  // namespace berth::berthd
