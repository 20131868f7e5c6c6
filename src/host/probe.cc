#include "host/probe.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "host/machine.h"
#include "host/mount.h"
#include "host/resolve.h"

namespace berth::host {
namespace {

// The kernel loads the module for it. Without the right to mount, the list of what is loaded has to do.
bool HaveFileSystem(const char* type) {
  const Fd fd(::fsopen(type, FSOPEN_CLOEXEC));
  if (fd.valid() || errno == ENODEV) return fd.valid();
  const auto list = ReadSmallFile("/proc/filesystems", 64u << 10);
  return list && list->find(std::string("\t") + type + "\n") != std::string::npos;
}

bool CanMount() {
  const Fd fs(::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!fs.valid() || ::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return false;
  return Fd(::fsmount(fs.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY)).valid();
}

int CgroupVersion() {
  struct statfs s;
  if (::statfs("/sys/fs/cgroup", &s) != 0) return 0;
  return s.f_type == CGROUP2_SUPER_MAGIC ? 2 : s.f_type == TMPFS_MAGIC ? 1 : 0;
}

}  // namespace

Capabilities Probe() {
  Capabilities c;
  utsname names{};
  (void)::uname(&names);
  c.kernel_release = names.release;
  (void)std::sscanf(names.release, "%d.%d", &c.kernel_major, &c.kernel_minor);
  c.can_mount = CanMount();
  c.erofs = HaveFileSystem("erofs");
  c.erofs_multi_device = c.erofs && (c.kernel_major > 5 || (c.kernel_major == 5 && c.kernel_minor >= 16));
  c.overlay = HaveFileSystem("overlay");
  c.overlay_append = c.overlay && c.can_mount && OverlayAppends();
  c.openat2 = internal::HaveOpenAt2();
  c.loop = Fd(::open("/dev/loop-control", O_RDWR | O_CLOEXEC)).valid();
  c.pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))).valid();
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  c.landlock_abi = abi > 0 ? static_cast<int>(abi) : 0;
  std::uint32_t action = SECCOMP_RET_KILL_PROCESS;
  c.seccomp = ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
  c.cgroup_version = CgroupVersion();
  return c;
}

Result<ErofsProbe> ProbeErofs(bytes::View meta, bytes::View data, const Dir& scratch) {
  const std::string names[] = {"probe-" + RandomName() + ".meta", "probe-" + RandomName() + ".data"};
  const bytes::View contents[] = {meta, data};
  Fd files[2];
  const auto prepare = [&]() -> Result<> {
    for (int i = 0; i < 2; ++i) {
      ASSIGN_OR_RETURN(const Fd out, scratch.CreateNew(names[i], 0600));
      RETURN_IF_ERROR(WriteAll(out.get(), contents[i]));
      ASSIGN_OR_RETURN(files[i], scratch.OpenRead(names[i]));
    }
    return {};
  };
  const auto prepared = prepare();
  for (const std::string& name : names) (void)scratch.Unlink(name);  // the descriptors are enough
  RETURN_IF_ERROR(prepared);
  const ErofsImage image{files[0], {Place(files[1])}};
  ErofsProbe probe;
  const auto attempt = [&](Backing backing, std::string& why) {
    const auto mount = OpenErofs(image, {}, backing);
    if (!mount) why = mount.error().Text();
    return mount.has_value();
  };
  probe.file_backed = attempt(Backing::kFile, probe.file_backed_error);
  probe.loop = attempt(Backing::kLoop, probe.loop_error);
  return probe;
}

ErofsProbe ExpectErofs(const Capabilities& can) {
  ErofsProbe probe;
  const bool mounts = can.can_mount && can.erofs_multi_device;
  probe.file_backed = mounts && (can.kernel_major > 6 || (can.kernel_major == 6 && can.kernel_minor >= 12));
  probe.loop = mounts && can.loop;
  const std::string why = !can.can_mount ? "no right to mount" : !can.erofs_multi_device ? "no erofs of Linux 5.16 or later" : "";
  if (!probe.file_backed) probe.file_backed_error = why.empty() ? "erofs is mounted from files from Linux 6.12 on" : why;
  if (!probe.loop) probe.loop_error = why.empty() ? "no /dev/loop-control" : why;
  return probe;
}

}  // namespace berth::host
