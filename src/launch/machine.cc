#include "launch/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "host/dir.h"
#include "host/machine.h"

namespace berth::launch {
namespace {

constexpr std::array<const char*, kCapabilities> kNames{"CAP_CHOWN",
                                                        "CAP_DAC_OVERRIDE",
                                                        "CAP_DAC_READ_SEARCH",
                                                        "CAP_FOWNER",
                                                        "CAP_FSETID",
                                                        "CAP_KILL",
                                                        "CAP_SETGID",
                                                        "CAP_SETUID",
                                                        "CAP_SETPCAP",
                                                        "CAP_LINUX_IMMUTABLE",
                                                        "CAP_NET_BIND_SERVICE",
                                                        "CAP_NET_BROADCAST",
                                                        "CAP_NET_ADMIN",
                                                        "CAP_NET_RAW",
                                                        "CAP_IPC_LOCK",
                                                        "CAP_IPC_OWNER",
                                                        "CAP_SYS_MODULE",
                                                        "CAP_SYS_RAWIO",
                                                        "CAP_SYS_CHROOT",
                                                        "CAP_SYS_PTRACE",
                                                        "CAP_SYS_PACCT",
                                                        "CAP_SYS_ADMIN",
                                                        "CAP_SYS_BOOT",
                                                        "CAP_SYS_NICE",
                                                        "CAP_SYS_RESOURCE",
                                                        "CAP_SYS_TIME",
                                                        "CAP_SYS_TTY_CONFIG",
                                                        "CAP_MKNOD",
                                                        "CAP_LEASE",
                                                        "CAP_AUDIT_WRITE",
                                                        "CAP_AUDIT_CONTROL",
                                                        "CAP_SETFCAP",
                                                        "CAP_MAC_OVERRIDE",
                                                        "CAP_MAC_ADMIN",
                                                        "CAP_SYSLOG",
                                                        "CAP_WAKE_ALARM",
                                                        "CAP_BLOCK_SUSPEND",
                                                        "CAP_AUDIT_READ",
                                                        "CAP_PERFMON",
                                                        "CAP_BPF",
                                                        "CAP_CHECKPOINT_RESTORE"};

std::vector<std::string> Words(std::string_view text, std::string_view separators) {
  std::vector<std::string> out;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(separators), text.size()));
    if (text.empty()) break;
    const auto end = std::min(text.find_first_of(separators), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return out;
}

bool IsType(const std::string& path, long magic) {
  struct statfs info {};
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == magic;
}

std::string Text(const std::string& path) { return host::ReadSmallFile(path, 1u << 20).value_or(""); }

std::uint64_t StatusMask(std::string_view status, std::string_view key) {
  const auto at = status.find(key);
  if (at == std::string_view::npos) return 0;
  const auto words = Words(status.substr(at + key.size(), 64), "\t\n ");
  std::uint64_t mask = 0;
  if (!words.empty()) (void)std::from_chars(words[0].data(), words[0].data() + words[0].size(), mask, 16);
  return mask;
}

void Walk(const std::string& folder, int depth, std::vector<HostDevice>& out) {
  auto dir = host::Dir::Open(folder);
  if (!dir) return;
  auto names = dir->List();
  if (!names) return;
  for (const std::string& name : *names) {
    if (out.size() >= 4096) return;
    const std::string path = folder + "/" + name;
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) continue;
    if (S_ISDIR(info.st_mode)) {
      const bool ours = depth == 0 && (name == "pts" || name == "shm" || name == "mqueue" || name == "fd");
      if (!ours && depth < 8) Walk(path, depth + 1, out);
    } else if (S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode)) {
      if (path == "/dev/console" || path == "/dev/ptmx" || path == "/dev/tty")
        continue;  // the runtime makes its own
      out.push_back({path, S_ISBLK(info.st_mode), major(info.st_rdev), minor(info.st_rdev),
                     info.st_mode & 07777u, info.st_uid, info.st_gid});
    }
  }
}

}  // namespace

std::string_view CgroupModeName(CgroupMode mode) {
  switch (mode) {
    case CgroupMode::kUnified:
      return "unified";
    case CgroupMode::kLegacy:
      return "legacy";
    case CgroupMode::kHybrid:
      return "hybrid";
    case CgroupMode::kNone:
      break;
  }
  return "none";
}

const char* CapabilityName(int number) {
  return number >= 0 && number < kCapabilities ? kNames[static_cast<std::size_t>(number)] : nullptr;
}

int CapabilityNumber(std::string_view name) {
  std::string full(name);
  std::transform(full.begin(), full.end(), full.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  if (!full.starts_with("CAP_")) full.insert(0, "CAP_");
  const auto found = std::find(kNames.begin(), kNames.end(), full);
  return found == kNames.end() ? -1 : static_cast<int>(found - kNames.begin());
}

Result<Machine> ReadMachine(const std::string& cgroup_root) {
  Machine out;
  if (IsType(cgroup_root, CGROUP2_SUPER_MAGIC)) {
    out.cgroups = CgroupMode::kUnified;
    out.controllers = Words(Text(cgroup_root + "/cgroup.controllers"), " \n");
  } else {
    if (auto dir = host::Dir::Open(cgroup_root))
      if (auto names = dir->List())
        for (const std::string& name : *names)
          if (IsType(cgroup_root + "/" + name, CGROUP_SUPER_MAGIC) && name != "systemd")
            for (const std::string& controller : Words(name, ",")) out.controllers.push_back(controller);
    const bool above = !Words(Text(cgroup_root + "/unified/cgroup.controllers"), " \n").empty();
    out.cgroups = above                     ? CgroupMode::kHybrid
                  : out.controllers.empty() ? CgroupMode::kNone
                                            : CgroupMode::kLegacy;
  }
  std::sort(out.controllers.begin(), out.controllers.end());

  ASSIGN_OR_RETURN(const auto status, host::ReadSmallFile("/proc/self/status", 1u << 16));
  out.bounding = StatusMask(status, "\nCapBnd:");
  out.sys_resource = (StatusMask(status, "\nCapEff:") >> 24 & 1) != 0;
  out.seccomp = status.find("\nSeccomp:") != std::string::npos;
  const auto adj = Words(Text("/proc/self/oom_score_adj"), "\n");
  if (!adj.empty()) (void)std::from_chars(adj[0].data(), adj[0].data() + adj[0].size(), out.oom_score_adj);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) out.open_files_hard = files.rlim_max;
  out.memory_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                     static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  out.cpus = host::CpuCount();
  out.apparmor = Text("/sys/module/apparmor/parameters/enabled").starts_with("Y");
  if (out.apparmor)
    for (const std::string& line : Words(Text("/sys/kernel/security/apparmor/profiles"), "\n"))
      out.apparmor_profiles.push_back(line.substr(0, line.rfind(" (")));
  return out;
}

std::vector<HostDevice> ListHostDevices() {
  std::vector<HostDevice> out;
  Walk("/dev", 0, out);
  std::sort(out.begin(), out.end(), [](const HostDevice& a, const HostDevice& b) { return a.path < b.path; });
  return out;
}

}  // namespace berth::launch
