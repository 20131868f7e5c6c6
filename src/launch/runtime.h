// launch/runtime.h: containers by an OCI runtime (crun, runc) with a shim beside each of them.
//
// A container lives in a folder of its own, which the caller makes (0700): config.json (launch/bundle.h) goes in before Create, the
// rest comes from the runtime and from berth-shim (launch/shim.h). Nothing here holds a container: the daemon may end and start at any
// time, and finds each by its folder (ExitWatch, ReadExit). The runtime's own state is below `state_root`, private to us.
//
//   Create ─▶ created ─ Start ─▶ running ─ ends by itself or by Kill ─▶ exit.json ─ Delete ─▶ nothing left but the folder
//
// Errors: kConfig for what the Pod's or the image's author can repair (no such program, …), with the runtime's own words cleaned
// and cut at 512 bytes: "OCI runtime create failed: …" (the kubelet's RunContainerError); kUsage for a malformed id; else as
// host/process.h. kCanceled and kTimeout leave nothing half-made that Delete does not remove.
// Threads: everything may be called concurrently, for one container one call at a time.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "host/fd.h"
#include "launch/machine.h"
#include "result/result.h"
#include "task/context.h"
#include "time/clock.h"

namespace berth::launch {

struct RuntimeSetup {
  enum class Kind : std::uint8_t { kCrun, kRunc } kind = Kind::kCrun;
  std::string program;      // absolute path
  std::string shim;         // absolute path of berth-shim
  std::string state_root;   // absolute; made 0700
  std::string view;         // "", "hybrid", "none": the view of cgroups that crun needs here (launch/shim.h)
  bool limits = true;       // cgroup limits are applied
};

// One line of `berth doctor`.
struct Finding {
  enum class State : std::uint8_t { kGood, kDegraded, kMissing } state = State::kGood;
  std::string name, text, next;
};
struct RuntimeProbe {
  std::optional<RuntimeSetup> setup;  // nullopt: no container can run here, see the findings
  std::vector<Finding> findings;
};
struct ProbeWish {
  std::string runtime;                // "": the best; "crun", "runc", or an absolute path that ends in one of the two
  std::string shim, state_root;
  std::vector<std::string> path{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"};
};
// The choice of product 6.2, without starting anything: unified -> crun, runc; hybrid -> runc, crun in its own view;
// legacy -> crun, runc; none -> crun without limits.
RuntimeProbe ProbeRuntime(const Machine& machine, const ProbeWish& wish);

struct CreateSpec {
  std::string id;                          // [A-Za-z0-9_.-], at most 128, not beginning with '-' or '.'
  std::string folder;                      // absolute, with config.json in it
  std::string log_path;                    // absolute; its folder exists
  std::uint64_t log_max_bytes = 10u << 20; // kubelet: containerLogMaxSize; 0: never rotated
  unsigned log_files = 5;                  // kubelet: containerLogMaxFiles
};

struct Exit {
  int code = 0;            // 128 + signal for a killed process
  int signal = 0;
  bool oom_killed = false;
  bool known = true;       // false: the shim was lost (killed, power failure): code 255
  time::WallTime finished_at{};
  // As containerd tells the kubelet: "Completed", "Error", "OOMKilled", "Unknown".
  std::string Reason() const;
};
// nullopt while there is no exit.json. kCorrupt.
Result<std::optional<Exit>> ReadExit(const std::string& folder);

struct Created {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot: tells a process from a later one of the same number
  std::string boot_id;
  bool Alive() const;            // this very process still exists (a zombie does not count)
  // SIGKILL to this very process, and waits until it has ended. Fine when it has.
  Result<> End(const task::Context& ctx) const;
};
// What Create left behind; nullopt when it never came that far.
Result<std::optional<Created>> ReadCreated(const std::string& folder, std::string_view file = "created.json");

// The end of one container, to be waited for. Works for containers of an earlier daemon, too.
class ExitWatch {
 public:
  static Result<ExitWatch> Open(const std::string& folder);
  // For poll(): readable when the shim has ended. -1: it has ended already, Check() tells.
  int fd() const { return pidfd_.get(); }
  // nullopt while it runs.
  Result<std::optional<Exit>> Check() const;
  Result<Exit> Await(const task::Context& ctx) const;

 private:
  explicit ExitWatch(std::string folder) : folder_(std::move(folder)) {}
  std::string folder_;
  host::Fd pidfd_;
};

struct ExecResult {
  int code = 0;
  std::string out, err_tail;  // at most 64 KiB, 8 KiB
};

class Runtime {
 public:
  static Result<Runtime> Open(RuntimeSetup setup);
  const RuntimeSetup& setup() const { return setup_; }

  Result<> Create(const task::Context& ctx, const CreateSpec& spec) const;
  Result<> Start(const task::Context& ctx, const std::string& id) const;
  // "created", "running", "paused", "stopped"; kNotFound.
  Result<std::string> State(const task::Context& ctx, const std::string& id) const;
  // The folder it was created from; kNotFound.
  Result<std::string> FolderOf(const task::Context& ctx, const std::string& id) const;
  // Fine when it has ended.
  Result<> Kill(const task::Context& ctx, const std::string& id, int signal) const;
  // A process more in the container (hooks). Its exit status is no error; ends it when `ctx` does.
  Result<ExecResult> Exec(const task::Context& ctx, const std::string& id, const std::vector<std::string>& argv) const;
  // Kills what is left, removes the runtime's state and ends the shim (it gets `grace` to write the exit). Fine when there is
  // nothing, when called again, and for a container whose Create was cut off. The folder stays, with its exit.json.
  Result<> Delete(const task::Context& ctx, const std::string& id, const std::string& folder,
                  std::chrono::milliseconds grace = std::chrono::seconds(5)) const;
  // Ids of all containers with state, ours or left over, sorted.
  Result<std::vector<std::string>> List() const;

 private:
  explicit Runtime(RuntimeSetup setup) : setup_(std::move(setup)) {}
  // The command line up to the runtime's verb.
  std::vector<std::string> Base() const;
  struct Said {
    bool success = false;
    int code = 0;
    std::string out, words;
  };
  Result<Said> Run(const task::Context& ctx, const std::vector<std::string>& words) const;
  Result<std::string> Ask(const task::Context& ctx, const std::string& id, std::string_view member) const;

  RuntimeSetup setup_;
};

// A signal by name or number as in lifecycle.stopSignal and an image's StopSignal ("SIGTERM", "TERM", "15", "RTMIN+3"); nullopt for
// what is none.
std::optional<int> SignalNumber(std::string_view text);
// 64 hex digits, as container runtimes name things.
std::string NewContainerId();

}  // namespace berth::launch
