// launch/machine.h: what this machine lets containers have. Read once at start, by system calls and files, not by version numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "result/result.h"

namespace berth::launch {

// product 6.2.
enum class CgroupMode : std::uint8_t {
  kUnified,      // cgroup2 on /sys/fs/cgroup
  kLegacy,       // version 1 controllers
  kHybrid,       // version 1, and a cgroup2 on …/unified that holds controllers: crun refuses it as it is
  kNone,         // no cgroup file system: limits cannot be applied
};
std::string_view CgroupModeName(CgroupMode mode);

struct HostDevice {
  std::string path;
  bool block = false;
  std::uint32_t major = 0, minor = 0, mode = 0, uid = 0, gid = 0;
};

struct Machine {
  CgroupMode cgroups = CgroupMode::kNone;
  std::vector<std::string> controllers;     // that can be used here, sorted
  std::uint64_t bounding = 0;               // capability bounding set, bit N is capability N
  bool sys_resource = false;                // CAP_SYS_RESOURCE is effective
  int oom_score_adj = 0;                    // ours
  std::uint64_t open_files_hard = 1024;     // RLIMIT_NOFILE
  std::uint64_t memory_bytes = 0;           // physical
  unsigned cpus = 1;
  bool seccomp = false, apparmor = false;
  std::vector<std::string> apparmor_profiles;  // loaded
};
// `cgroup_root` is another place in tests only.
Result<Machine> ReadMachine(const std::string& cgroup_root = "/sys/fs/cgroup");

// Character and block devices below /dev (not pts, shm, mqueue, fd), sorted; for privileged containers. At most 4,096.
std::vector<HostDevice> ListHostDevices();

// "CAP_NET_RAW"; nullptr beyond what this code knows. And back: -1 for no such name ("CAP_" may be left out, case does not matter).
const char* CapabilityName(int number);
int CapabilityNumber(std::string_view name);
inline constexpr int kCapabilities = 41;

}  // namespace berth::launch
