#include "launch/bundle.h"

#include <algorithm>
#include <array>
#include <optional>

#include "json/document.h"
#include "launch/resources.h"
#include "launch/seccomp.h"

namespace berth::launch {
namespace {

constexpr std::array kDefaultCapabilities{
    "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
    "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
    "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
    "CAP_KILL",    "CAP_AUDIT_WRITE"};
constexpr std::array kMasked{"/proc/acpi",       "/proc/asound",      "/proc/interrupts",
                             "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
                             "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                             "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap"};
constexpr std::array kReadOnly{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
constexpr std::array kAppArmorDefaults{"berth-default", "cri-containerd.apparmor.d", "crio-default",
                                       "docker-default"};

void Strings(json::Writer& out, std::string_view key, const auto& items) {
  out.Key(key).BeginArray();
  for (const auto& item : items) out.String(item);
  out.EndArray();
}

class Maker {
 public:
  explicit Maker(const BundleInput& in)
      : in_(in),
        spec_(in.pod.spec),
        security_(EffectiveSecurity(in.pod, in.container)),
        privileged_(security_.privileged.value_or(false)) {}

  Result<Bundle> Make() {
    RETURN_IF_ERROR(Check());
    ASSIGN_OR_RETURN(capabilities_, CapabilitiesOf(security_, in_.machine));
    json::Writer& w = w_;
    w.BeginObject().Key("ociVersion").String("1.0.2");
    RETURN_IF_ERROR(Process());
    w.Key("root").BeginObject().Key("path").String(in_.rootfs);
    w.Key("readonly").Bool(security_.read_only_root_filesystem.value_or(false)).EndObject();
    if (in_.namespaces.uts.empty() && !spec_.host_network) w.Key("hostname").String(in_.hostname);
    Mounts();
    if (!in_.annotations.empty()) {
      w.Key("annotations").BeginObject();
      for (const auto& [key, value] : in_.annotations) w.Key(key).String(value);
      w.EndObject();
    }
    RETURN_IF_ERROR(Linux());
    w.EndObject();
    return Bundle{std::move(w).Take(), std::move(notes_)};
  }

 private:
  Result<> Check() {
    if (spec_.host_users.has_value() && !*spec_.host_users)
      return Error(Reason::kUnsupported, "user namespaces for Pods (hostUsers: false) are not supported")
          .Next("remove hostUsers from the Pod");
    if (!in_.container.volume_devices.empty())
      return Error(Reason::kUnsupported, "volumeDevices are not supported").Next("use volumeMounts");
    if (privileged_ && security_.allow_privilege_escalation.has_value() &&
        !*security_.allow_privilege_escalation)
      return Error(Reason::kConfig,
                   "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
    if (security_.selinux) notes_.push_back("seLinuxOptions have no effect: berth sets no SELinux labels");
    if (in_.machine.cgroups == CgroupMode::kNone &&
        (!in_.container.resources.limits.empty() || !in_.container.resources.requests.empty()))
      notes_.push_back("limits not applied: this machine has no cgroup file system");
    if (!spec_.host_network && std::any_of(in_.container.ports.begin(), in_.container.ports.end(),
                                           [](const auto& port) { return port.host_port != 0; }))
      notes_.push_back("hostPort is not forwarded: the Pod's network has loopback alone; use hostNetwork");
    if (in_.container.tty) notes_.push_back("tty: no terminal is attached, output goes to the log");
    return {};
  }

  Result<> Process() {
    json::Writer& w = w_;
    w.Key("process").BeginObject().Key("terminal").Bool(false);
    w.Key("user")
        .BeginObject()
        .Key("uid")
        .Uint(in_.user.uid)
        .Key("gid")
        .Uint(in_.user.gid)
        .Key("umask")
        .Uint(022);
    w.Key("additionalGids").BeginArray();
    for (const auto gid : in_.user.groups) w.Uint(gid);
    w.EndArray().EndObject();
    Strings(w, "args", in_.command.argv);
    w.Key("env").BeginArray();
    bool home = false;
    for (const auto& line : in_.command.env) {
      w.String(line);
      home = home || line.starts_with("HOME=");
    }
    if (!home)
      w.String("HOME=" +
               (in_.user.home.empty() || in_.user.home.front() != '/' ? std::string("/") : in_.user.home));
    w.EndArray().Key("cwd").String(in_.command.working_dir);
    w.Key("capabilities").BeginObject();
    std::vector<std::string_view> names;
    for (int i = 0; i < kCapabilities; ++i)
      if ((capabilities_ >> i & 1) != 0) names.emplace_back(CapabilityName(i));
    for (const char* set : {"bounding", "effective", "permitted"}) Strings(w, set, names);
    w.EndObject();
    const auto hard = std::min<std::uint64_t>(524'288, in_.machine.open_files_hard);
    w.Key("rlimits").BeginArray().BeginObject().Key("type").String("RLIMIT_NOFILE");
    w.Key("hard").Uint(hard).Key("soft").Uint(std::min<std::uint64_t>(1024, hard)).EndObject().EndArray();
    // Not allowing escalation; a root without anything to gain is allowed it, as the kubelet does.
    w.Key("noNewPrivileges")
        .Bool(security_.allow_privilege_escalation.has_value() && !*security_.allow_privilege_escalation);
    w.Key("oomScoreAdj").Int(OomScoreAdj(in_.pod, in_.container, in_.machine));
    RETURN_IF_ERROR(AppArmor());
    w.EndObject();
    return {};
  }

  Result<> AppArmor() {
    const std::string type = security_.apparmor ? security_.apparmor->type : "";
    if (!in_.machine.apparmor) {
      if (type == "RuntimeDefault" || type == "Localhost")
        return Error(Reason::kUnsupported, "Cannot enforce AppArmor: AppArmor is not enabled on the host")
            .Next("remove appArmorProfile from the Pod");
      return {};
    }
    if (privileged_ || type == "Unconfined") return {};
    const auto loaded = [&](std::string_view name) {
      return std::find(in_.machine.apparmor_profiles.begin(), in_.machine.apparmor_profiles.end(), name) !=
             in_.machine.apparmor_profiles.end();
    };
    if (type == "Localhost") {
      const std::string& name = security_.apparmor->localhost_profile;
      if (!loaded(name))
        return Error(Reason::kConfig, "apparmor profile not found " + name)
            .Next("load the profile on this node with apparmor_parser");
      w_.Key("apparmorProfile").String(name);
      return {};
    }
    const auto* found = std::find_if(kAppArmorDefaults.begin(), kAppArmorDefaults.end(), loaded);
    if (found != kAppArmorDefaults.end())
      w_.Key("apparmorProfile").String(*found);
    else if (type == "RuntimeDefault")
      notes_.push_back("appArmorProfile RuntimeDefault: no default profile is loaded on this machine");
    return {};
  }

  void Mount(std::string_view destination, std::string_view type, std::string_view source,
             std::vector<std::string> options) {
    w_.BeginObject()
        .Key("destination")
        .String(destination)
        .Key("type")
        .String(type)
        .Key("source")
        .String(source);
    Strings(w_, "options", options);
    w_.EndObject();
  }

  bool Covered(std::string_view destination) const {
    return std::any_of(in_.mounts.begin(), in_.mounts.end(),
                       [&](const BundleMount& m) { return m.destination == destination; });
  }

  void Mounts() {
    const std::string write = privileged_ ? "rw" : "ro";
    w_.Key("mounts").BeginArray();
    Mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"});
    Mount("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"});
    Mount("/dev/pts", "devpts", "devpts",
          {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"});
    if (!Covered("/dev/mqueue")) Mount("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"});
    if (!Covered("/dev/shm")) {
      if (!in_.shm.empty())
        Mount("/dev/shm", "bind", in_.shm, {"rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"});
      else
        Mount("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"});
    }
    Mount("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", write});
    if (in_.machine.cgroups != CgroupMode::kNone)
      Mount("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", write});
    for (const auto& mount : in_.mounts) Mount(mount.destination, "bind", mount.source, mount.options);
    w_.EndArray();
  }

  void Namespace(std::string_view type, const std::string& path) {
    w_.BeginObject().Key("type").String(type);
    if (!path.empty()) w_.Key("path").String(path);
    w_.EndObject();
  }

  Result<> Linux() {
    json::Writer& w = w_;
    w.Key("linux").BeginObject();
    if (!in_.cgroups_path.empty() && in_.machine.cgroups != CgroupMode::kNone)
      w.Key("cgroupsPath").String(in_.cgroups_path);
    w.Key("namespaces").BeginArray();
    Namespace("mount", "");
    if (!spec_.host_pid) Namespace("pid", in_.namespaces.pid);
    if (!spec_.host_network) {
      Namespace("network", in_.namespaces.net);
      Namespace("uts", in_.namespaces.uts);
    }
    if (!spec_.host_ipc) Namespace("ipc", in_.namespaces.ipc);
    if (in_.machine.cgroups == CgroupMode::kUnified && !privileged_) Namespace("cgroup", "");
    w.EndArray();
    RETURN_IF_ERROR(Resources());
    if (privileged_) {
      w.Key("devices").BeginArray();
      for (const auto& d : in_.devices)
        w.BeginObject()
            .Key("path")
            .String(d.path)
            .Key("type")
            .String(d.block ? "b" : "c")
            .Key("major")
            .Uint(d.major)
            .Key("minor")
            .Uint(d.minor)
            .Key("fileMode")
            .Uint(d.mode)
            .Key("uid")
            .Uint(d.uid)
            .Key("gid")
            .Uint(d.gid)
            .EndObject();
      w.EndArray();
    } else if (security_.proc_mount != "Unmasked") {
      Strings(w, "maskedPaths", kMasked);
      Strings(w, "readonlyPaths", kReadOnly);
    }
    RETURN_IF_ERROR(Seccomp());
    if (const auto propagation = Propagation(); !propagation.empty())
      w.Key("rootfsPropagation").String(propagation);
    w.EndObject();
    return {};
  }

  // Mounts of a volume can only arrive from the host, or go there, when the root lets them through.
  std::string Propagation() const {
    std::string out;
    for (const auto& mount : in_.mounts)
      for (const auto& option : mount.options) {
        if (option == "rshared") return "rshared";
        if (option == "rslave") out = "rslave";
      }
    return out;
  }

  Result<> Resources() {
    json::Writer& w = w_;
    if (in_.machine.cgroups == CgroupMode::kNone) return {};
    ASSIGN_OR_RETURN(const auto limits, LimitsOf(in_.container.resources));
    w.Key("resources").BeginObject();
    w.Key("devices")
        .BeginArray()
        .BeginObject()
        .Key("allow")
        .Bool(privileged_)
        .Key("access")
        .String("rwm")
        .EndObject()
        .EndArray();
    w.Key("cpu").BeginObject().Key("shares").Uint(limits.cpu_shares);
    if (limits.cpu_quota) w.Key("quota").Int(*limits.cpu_quota).Key("period").Uint(limits.cpu_period);
    w.EndObject();
    if (limits.memory_limit) w.Key("memory").BeginObject().Key("limit").Int(*limits.memory_limit).EndObject();
    if (!limits.hugepages.empty()) {
      w.Key("hugepageLimits").BeginArray();
      for (const auto& [size, bytes] : limits.hugepages)
        w.BeginObject().Key("pageSize").String(size).Key("limit").Uint(bytes).EndObject();
      w.EndArray();
    }
    // One process out of memory ends the container, not a random part of it (the kubelet's default on version
    // 2).
    if (in_.machine.cgroups == CgroupMode::kUnified && limits.memory_limit)
      w.Key("unified").BeginObject().Key("memory.oom.group").String("1").EndObject();
    w.EndObject();
    return {};
  }

  Result<> Seccomp() {
    const std::string type = security_.seccomp ? security_.seccomp->type : "";
    if (type.empty() || type == "Unconfined" || privileged_) return {};
    if (!in_.machine.seccomp)
      return Error(Reason::kUnsupported,
                   "this kernel has no seccomp, which seccompProfile " + Quoted(type) + " needs");
    if (type == "RuntimeDefault") {
      w_.Key("seccomp");
      WriteDefaultSeccomp(w_, capabilities_);
    } else if (type == "Localhost" && !in_.localhost_seccomp.empty()) {
      w_.Key("seccomp").Raw(in_.localhost_seccomp);
    } else {
      return Error(Reason::kConfig, "seccompProfile " + Quoted(type) + " has no profile");
    }
    return {};
  }

  const BundleInput& in_;
  const kube::PodSpec& spec_;
  const kube::SecurityContext security_;
  const bool privileged_;
  std::uint64_t capabilities_ = 0;
  json::Writer w_;
  std::vector<std::string> notes_;
};

}  // namespace

Result<std::uint64_t> CapabilitiesOf(const kube::SecurityContext& security, const Machine& machine) {
  if (security.privileged.value_or(false))
    return machine.bounding & ((std::uint64_t{1} << kCapabilities) - 1);
  const auto all = [](const std::string& name) {
    return CapabilityNumber(name) < 0 && (name == "ALL" || name == "all");
  };
  std::uint64_t set = 0;
  for (const char* name : kDefaultCapabilities) set |= std::uint64_t{1} << CapabilityNumber(name);
  set &= machine.bounding;
  const auto& add = security.add_capabilities;
  const auto& drop = security.drop_capabilities;
  if (std::any_of(add.begin(), add.end(), all))
    set = machine.bounding & ((std::uint64_t{1} << kCapabilities) - 1);
  if (std::any_of(drop.begin(), drop.end(), all)) set = 0;
  for (const auto* list : {&add, &drop})
    for (const std::string& name : *list) {
      if (all(name)) continue;
      const int number = CapabilityNumber(name);
      if (number < 0)
        return Error(Reason::kConfig, "unknown capability " + Quoted(name))
            .Next("names are those of capabilities(7), for example NET_ADMIN");
      const std::uint64_t bit = std::uint64_t{1} << number;
      if (list == &drop) {
        set &= ~bit;
      } else if ((machine.bounding & bit) == 0) {
        return Error(Reason::kUnsupported, std::string("this machine's bounding set has no ") +
                                               CapabilityName(number) + ": no container here can get it");
      } else {
        set |= bit;
      }
    }
  return set;
}

Result<Bundle> MakeBundle(const BundleInput& input) { return Maker(input).Make(); }

}  // namespace berth::launch
