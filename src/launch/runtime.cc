#include "launch/runtime.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>

#include "host/dir.h"
#include "host/machine.h"
#include "host/poll.h"
#include "host/process.h"
#include "json/document.h"
#include "launch/shim.h"

namespace berth::launch {
namespace {

bool IsId(std::string_view id) {
  return !id.empty() && id.size() <= 128 && id[0] != '-' && id[0] != '.' &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                  c == '.' || c == '-';
         });
}

Result<> CheckId(const std::string& id) {
  return IsId(id) ? Result<>() : Error(Reason::kUsage, Quoted(id) + " is no container id");
}

// The last line that says something, out of its log form, fit for a message.
std::string Words(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (const auto line = text.rfind('\n'); line != std::string_view::npos) text.remove_prefix(line + 1);
  std::string out;
  if (const auto msg = text.find(" msg=\""); text.starts_with("time=\"") && msg != std::string_view::npos) {
    for (std::size_t i = msg + 6; i < text.size() && text[i] != '"'; ++i) {
      if (text[i] == '\\' && i + 1 < text.size()) ++i;
      out += text[i];
    }
  } else {
    // crun: "2026-11-25T14:00:00.123456Z: words"
    if (text.size() > 30 && text[4] == '-' && text[10] == 'T')
      if (const auto colon = text.find("Z: "); colon != std::string_view::npos && colon < 40)
        text.remove_prefix(colon + 3);
    out = text;
  }
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  if (out.size() > 512) out = out.substr(0, 509) + "...";
  return out.empty() ? "it did not say why" : out;
}

std::uint64_t StartTime(pid_t pid) {
  const auto text = host::ReadSmallFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text) return 0;
  auto at = text->rfind(')');
  if (at == std::string::npos || text->compare(at, 3, ") Z") == 0) return 0;
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = text->find(' ', at + 1);
  std::uint64_t value = 0;
  if (at != std::string::npos)
    (void)std::from_chars(text->data() + at + 1, text->data() + text->size(), value);
  return value;
}

Result<std::optional<std::string>> ReadIfThere(const std::string& folder, std::string_view name) {
  auto dir = host::Dir::Open(folder);
  auto text = dir ? dir->ReadSmall(name, 4096) : Result<std::string>(Error(std::move(dir).error()));
  if (text) return std::optional(*std::move(text));
  if (text.error().reason() == Reason::kMissing) return std::optional<std::string>();
  return Error(std::move(text).error());
}

// The living shim of a folder: a pidfd, or none.
host::Fd OpenShim(const std::string& folder) {
  const auto text = ReadIfThere(folder, kShimLock);
  if (!text || !*text) return {};
  const std::string& line = **text;
  pid_t pid = 0;
  std::uint64_t start = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), pid);
  if (error != std::errc() || pid <= 1 || end == line.data() + line.size()) return {};
  (void)std::from_chars(end + 1, line.data() + line.size(), start);
  host::Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  // Opened first, then compared: the descriptor is of the process that has this start time.
  if (!fd.valid() || start == 0 || StartTime(pid) != start) return {};
  return fd;
}

std::string FindProgram(const ProbeWish& wish, const std::string& name) {
  for (const auto& folder : wish.path)
    if (const std::string path = folder + "/" + name; ::access(path.c_str(), X_OK) == 0) return path;
  return "";
}

}  // namespace

RuntimeProbe ProbeRuntime(const Machine& machine, const ProbeWish& wish) {
  RuntimeProbe out;
  using State = Finding::State;
  using Kind = RuntimeSetup::Kind;
  const auto find = [&](State state, std::string name, std::string text, std::string next = "") {
    out.findings.push_back({state, std::move(name), std::move(text), std::move(next)});
  };
  std::string crun, runc;
  const bool path = wish.runtime.starts_with('/');
  if (!path || wish.runtime.ends_with("crun")) crun = path ? wish.runtime : FindProgram(wish, "crun");
  if (!path || wish.runtime.ends_with("runc")) runc = path ? wish.runtime : FindProgram(wish, "runc");
  if (wish.runtime == "crun") runc.clear();
  if (wish.runtime == "runc") crun.clear();
  for (std::string* p : {&crun, &runc})
    if (!p->empty() && ::access(p->c_str(), X_OK) != 0) p->clear();

  const bool prefer_runc = machine.cgroups == CgroupMode::kHybrid;
  RuntimeSetup setup;
  setup.shim = wish.shim;
  setup.state_root = wish.state_root;
  if (machine.cgroups == CgroupMode::kNone) runc.clear();  // it wants a cgroup mount
  const bool use_runc = !runc.empty() && (prefer_runc || crun.empty());
  setup.kind = use_runc ? Kind::kRunc : Kind::kCrun;
  setup.program = use_runc ? runc : crun;
  setup.limits = machine.cgroups != CgroupMode::kNone;
  if (!use_runc && machine.cgroups == CgroupMode::kHybrid) setup.view = "hybrid";
  if (!use_runc && machine.cgroups == CgroupMode::kNone) setup.view = "none";

  if (setup.program.empty()) {
    const std::string wanted = machine.cgroups == CgroupMode::kNone ? "crun"
                               : wish.runtime.empty()               ? "crun or runc"
                                                                    : Quoted(wish.runtime);
    find(State::kMissing, "oci-runtime", "no OCI runtime: " + wanted + " is not installed",
         machine.cgroups == CgroupMode::kNone || wish.runtime == "crun" ? "apt-get install crun"
                                                                        : "apt-get install crun, or runc");
  } else {
    find(State::kGood, "oci-runtime",
         setup.program + (setup.view.empty() ? "" : " in a mount namespace of its own (" + setup.view + ")"));
  }
  const std::string mode(CgroupModeName(machine.cgroups));
  if (machine.cgroups == CgroupMode::kNone)
    find(State::kDegraded, "cgroups", "no cgroup file system: limits not applied",
         "mount -t cgroup2 cgroup2 /sys/fs/cgroup");
  else if (std::find(machine.controllers.begin(), machine.controllers.end(), "memory") ==
           machine.controllers.end())
    find(State::kDegraded, "cgroups", mode + ", without the memory controller: memory limits not applied",
         "enable it on the kernel's command line");
  else
    find(State::kGood, "cgroups", mode + ", limits are applied");
  if (!machine.sys_resource)
    find(State::kDegraded, "oom-score",
         "without CAP_SYS_RESOURCE no container is protected more than berthd itself (" +
             std::to_string(machine.oom_score_adj) + ")",
         "give berthd CAP_SYS_RESOURCE");
  if (!machine.seccomp)
    find(State::kDegraded, "seccomp",
         "this kernel cannot filter system calls: RuntimeDefault profiles are refused", "");
  if (wish.shim.empty() || ::access(wish.shim.c_str(), X_OK) != 0)
    find(State::kMissing, "shim", Quoted(wish.shim) + " cannot be run", "install berth-shim beside berthd");
  const bool usable = std::none_of(out.findings.begin(), out.findings.end(),
                                   [](const Finding& f) { return f.state == State::kMissing; });
  if (usable) out.setup = std::move(setup);
  return out;
}

std::string Exit::Reason() const {
  return !known ? "Unknown" : oom_killed ? "OOMKilled" : code == 0 ? "Completed" : "Error";
}

Result<std::optional<Exit>> ReadExit(const std::string& folder) {
  ASSIGN_OR_RETURN(const auto text, ReadIfThere(folder, kExitFile));
  if (!text) return std::optional<Exit>();
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(*text, Reason::kCorrupt));
  Exit out;
  const auto root = document.root();
  ASSIGN_OR_RETURN(const auto code, root.Get("exitCode"));
  ASSIGN_OR_RETURN(const auto signal, root.Get("signal"));
  ASSIGN_OR_RETURN(const auto oom, root.Get("oomKilled"));
  ASSIGN_OR_RETURN(const auto at, root.Get("finishedAt"));
  ASSIGN_OR_RETURN(const auto code_value, code.AsInt64());
  ASSIGN_OR_RETURN(const auto signal_value, signal.AsInt64());
  ASSIGN_OR_RETURN(out.oom_killed, oom.AsBool());
  ASSIGN_OR_RETURN(const auto at_text, at.AsString());
  std::int64_t nanos = 0;
  if (std::from_chars(at_text.data(), at_text.data() + at_text.size(), nanos).ec != std::errc() ||
      code_value < 0 || code_value > 255)
    return Error(Reason::kCorrupt, "exit.json holds numbers that cannot be");
  out.code = static_cast<int>(code_value);
  out.signal = static_cast<int>(signal_value);
  out.finished_at = time::WallTime(std::chrono::nanoseconds(nanos));
  return std::optional(out);
}

bool Created::Alive() const {
  const auto boot = host::BootId();
  return boot && *boot == boot_id && start_time != 0 && StartTime(pid) == start_time;
}

Result<> Created::End(const task::Context& ctx) const {
  const host::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process.valid() || !Alive()) return {};  // opened first, then compared
  (void)::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  return host::AwaitReadable(ctx, process.get());
}

Result<std::optional<Created>> ReadCreated(const std::string& folder, std::string_view file) {
  ASSIGN_OR_RETURN(const auto text, ReadIfThere(folder, file));
  if (!text) return std::optional<Created>();
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(*text, Reason::kCorrupt));
  ASSIGN_OR_RETURN(const auto pid, document.root().Get("pid"));
  ASSIGN_OR_RETURN(const auto start, document.root().Get("startTime"));
  ASSIGN_OR_RETURN(const auto boot, document.root().Get("bootId"));
  ASSIGN_OR_RETURN(const auto pid_value, pid.AsInt64());
  ASSIGN_OR_RETURN(const auto start_value, start.AsInt64());
  ASSIGN_OR_RETURN(const auto boot_value, boot.AsString());
  if (pid_value <= 1 || pid_value > INT32_MAX)
    return Error(Reason::kCorrupt, std::string(file) + " names no process");
  return std::optional(Created{static_cast<pid_t>(pid_value), static_cast<std::uint64_t>(start_value),
                               std::string(boot_value)});
}

Result<ExitWatch> ExitWatch::Open(const std::string& folder) {
  ExitWatch out(folder);
  out.pidfd_ = OpenShim(folder);
  return out;
}

Result<std::optional<Exit>> ExitWatch::Check() const {
  bool ended = !pidfd_.valid();
  if (!ended) {
    pollfd entry{pidfd_.get(), POLLIN, 0};
    ended = ::poll(&entry, 1, 0) > 0;
  }
  if (!ended) return std::optional<Exit>();
  ASSIGN_OR_RETURN(auto exit, ReadExit(folder_));
  if (exit) return exit;
  Exit lost;
  lost.code = 255;
  lost.known = false;
  return std::optional(lost);
}

Result<Exit> ExitWatch::Await(const task::Context& ctx) const {
  if (pidfd_.valid()) RETURN_IF_ERROR(host::AwaitReadable(ctx, pidfd_.get()));
  ASSIGN_OR_RETURN(auto exit, Check());
  if (!exit) return Error(Reason::kInternal, "a shim has ended and has not");
  if (!exit->known) exit->finished_at = ctx.clock().WallNow();
  return *exit;
}

Result<Runtime> Runtime::Open(RuntimeSetup setup) {
  const auto slash = setup.state_root.rfind('/');
  if (slash == std::string::npos || slash + 1 == setup.state_root.size())
    return Error(Reason::kUsage,
                 "the state folder of the runtime " + Quoted(setup.state_root) + " is not an absolute path");
  ASSIGN_OR_RETURN(const auto parent, host::Dir::Open(slash == 0 ? "/" : setup.state_root.substr(0, slash)));
  RETURN_IF_ERROR(parent.MakeDir(setup.state_root.substr(slash + 1), 0700));
  return Runtime(std::move(setup));
}

std::vector<std::string> Runtime::Base() const {
  std::vector<std::string> out;
  if (!setup_.view.empty()) out = {setup_.shim, "view", setup_.view};
  out.insert(out.end(), {setup_.program, "--root", setup_.state_root});
  if (setup_.kind == RuntimeSetup::Kind::kCrun)
    out.push_back(setup_.limits ? "--cgroup-manager=cgroupfs" : "--cgroup-manager=disabled");
  return out;
}

Result<Runtime::Said> Runtime::Run(const task::Context& ctx, const std::vector<std::string>& words) const {
  host::ProcessSpec spec;
  spec.argv = words;
  spec.program = words[0];
  spec.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  spec.no_new_privs = false;  // it would go on to the containers
  ASSIGN_OR_RETURN(auto said, host::RunCaptured(ctx, spec, {}, {.stdout_bytes = 1u << 20}));
  Said out;
  out.success = said.status.success();
  out.code = said.status.signalled ? 128 + said.status.code : said.status.code;
  out.words = Words(said.stderr_tail.empty() ? said.out : said.stderr_tail);
  out.out = std::move(said.out);
  return out;
}

Result<> Runtime::Create(const task::Context& ctx, const CreateSpec& spec) const {
  RETURN_IF_ERROR(CheckId(spec.id));
  std::vector<std::string> words{setup_.shim,
                                 "run",
                                 spec.folder,
                                 spec.log_path,
                                 std::to_string(spec.log_max_bytes),
                                 std::to_string(spec.log_files),
                                 "--"};
  for (auto& word : Base()) words.push_back(std::move(word));
  words.insert(words.end(), {"create", "--bundle", spec.folder, "--pid-file", spec.folder + "/" + kPidFile,
                             "--no-new-keyring", spec.id});
  ASSIGN_OR_RETURN(const auto said, Run(ctx, words));
  if (said.success) return {};
  return Error(Reason::kConfig, "OCI runtime create failed: " + said.words);
}

Result<> Runtime::Start(const task::Context& ctx, const std::string& id) const {
  RETURN_IF_ERROR(CheckId(id));
  auto words = Base();
  words.insert(words.end(), {"start", id});
  ASSIGN_OR_RETURN(const auto said, Run(ctx, words));
  if (said.success) return {};
  return Error(Reason::kConfig, "OCI runtime start failed: " + said.words);
}

Result<std::string> Runtime::Ask(const task::Context& ctx, const std::string& id,
                                 std::string_view member) const {
  RETURN_IF_ERROR(CheckId(id));
  if (::access((setup_.state_root + "/" + id).c_str(), F_OK) != 0)
    return Error(Reason::kNotFound, "no container " + id);
  auto words = Base();
  words.insert(words.end(), {"state", id});
  ASSIGN_OR_RETURN(const auto said, Run(ctx, words));
  if (!said.success) return Error(Reason::kIo, "OCI runtime state failed: " + said.words);
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(said.out, Reason::kIo));
  ASSIGN_OR_RETURN(const auto status, document.root().Get(member));
  ASSIGN_OR_RETURN(const auto text, status.AsString());
  return std::string(text);
}

Result<std::string> Runtime::State(const task::Context& ctx, const std::string& id) const {
  return Ask(ctx, id, "status");
}

Result<std::string> Runtime::FolderOf(const task::Context& ctx, const std::string& id) const {
  return Ask(ctx, id, "bundle");
}

Result<> Runtime::Kill(const task::Context& ctx, const std::string& id, int signal) const {
  RETURN_IF_ERROR(CheckId(id));
  auto words = Base();
  words.insert(words.end(), {"kill", id, std::to_string(signal)});
  ASSIGN_OR_RETURN(const auto said, Run(ctx, words));
  if (said.success) return {};
  const auto state = State(ctx, id);
  if ((state && *state == "stopped") || (!state && state.error().reason() == Reason::kNotFound)) return {};
  return Error(Reason::kIo, "OCI runtime kill failed: " + said.words);
}

Result<ExecResult> Runtime::Exec(const task::Context& ctx, const std::string& id,
                                 const std::vector<std::string>& argv) const {
  RETURN_IF_ERROR(CheckId(id));
  auto words = Base();
  words.insert(words.end(), {"exec", id});
  words.insert(words.end(), argv.begin(), argv.end());
  host::ProcessSpec spec;
  spec.program = words[0];
  spec.argv = words;
  spec.no_new_privs = false;
  ASSIGN_OR_RETURN(auto said, host::RunCaptured(ctx, spec, {}, {.stdout_bytes = 64u << 10}));
  return ExecResult{said.status.signalled ? 128 + said.status.code : said.status.code, std::move(said.out),
                    std::move(said.stderr_tail)};
}

Result<> Runtime::Delete(const task::Context& ctx, const std::string& id, const std::string& folder,
                         std::chrono::milliseconds grace) const {
  RETURN_IF_ERROR(CheckId(id));
  const host::Fd shim = OpenShim(folder);
  ASSIGN_OR_RETURN(const auto created, ReadCreated(folder));
  const auto end_shim = [&]() -> Result<> {
    (void)::syscall(SYS_pidfd_send_signal, shim.get(), SIGKILL, nullptr, 0);
    return host::AwaitReadable(ctx, shim.get());
  };
  // Still creating: its runtime ends with it, then what it made so far can be removed.
  if (shim.valid() && !created) RETURN_IF_ERROR(end_shim());
  if (::access((setup_.state_root + "/" + id).c_str(), F_OK) == 0) {
    auto words = Base();
    words.insert(words.end(), {"delete", "--force", id});
    ASSIGN_OR_RETURN(const auto said, Run(ctx, words));
    if (::access((setup_.state_root + "/" + id).c_str(), F_OK) == 0) {
      // A runtime that was killed while it wrote its state cannot read it either; what it started is in
      // `created` or ended with it.
      if (created) RETURN_IF_ERROR(created->End(ctx));
      ASSIGN_OR_RETURN(const auto root, host::Dir::Open(setup_.state_root));
      ASSIGN_OR_RETURN(const bool removed, root.RemoveTree(ctx, id));
      if (!removed && !said.success) return Error(Reason::kIo, "OCI runtime delete failed: " + said.words);
    }
  }
  if (created) RETURN_IF_ERROR(created->End(ctx));
  if (!shim.valid()) return {};
  const auto ended = host::AwaitReadable(ctx.WithTimeout(grace), shim.get());
  if (ended) return {};
  RETURN_IF_ERROR(ctx.Check());
  return end_shim();
}

Result<std::vector<std::string>> Runtime::List() const {
  ASSIGN_OR_RETURN(const auto root, host::Dir::Open(setup_.state_root));
  ASSIGN_OR_RETURN(auto names, root.List());
  std::erase_if(names, [](const std::string& name) { return !IsId(name); });
  return names;
}

std::optional<int> SignalNumber(std::string_view text) {
  int number = 0;
  const auto whole = [](std::string_view digits, int& value) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  if (whole(text, number)) return number >= 1 && number <= SIGRTMAX ? std::optional(number) : std::nullopt;
  if (text.starts_with("SIG")) text.remove_prefix(3);
  const bool from_min = text.starts_with("RTMIN"), from_max = text.starts_with("RTMAX");
  if (from_min || from_max) {
    text.remove_prefix(5);
    if (text.empty())
      number = 0;
    else if (text[0] != (from_min ? '+' : '-') || !whole(text.substr(1), number) || number < 0)
      return std::nullopt;
    number = from_min ? SIGRTMIN + number : SIGRTMAX - number;
    return number >= SIGRTMIN && number <= SIGRTMAX ? std::optional(number) : std::nullopt;
  }
  for (int i = 1; i < 32; ++i)
    if (const char* name = ::sigabbrev_np(i); name != nullptr && text == name) return i;
  return std::nullopt;
}

std::string NewContainerId() {
  return host::RandomName() + host::RandomName() + host::RandomName() + host::RandomName();
}

}  // namespace berth::launch
