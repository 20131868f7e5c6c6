#include "host/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "host/fd.h"

#ifdef BERTH_SANITIZED
#include <sanitizer/common_interface_defs.h>
#endif

namespace berth::host {
namespace {

#ifdef BERTH_SANITIZED  // a report needs stderr, and may ask for what the jail refuses: that must not end it half-way
constexpr bool kSanitized = true;
constexpr std::uint32_t kRefusal = SCMP_ACT_ERRNO(EPERM);
#else
constexpr bool kSanitized = false;
constexpr std::uint32_t kRefusal = SCMP_ACT_KILL_PROCESS;
#endif

Error Failed(const char* what) { return OsError(errno, std::string("enter the jail: ") + what); }

Result<> Limit(int resource, std::uint64_t value) {
  rlimit now{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &now) != 0) return Failed("read a resource limit");
  const rlim_t wanted = std::min<rlim_t>(value, now.rlim_max);
  const rlimit limit{wanted, wanted};
  if (::setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return Failed("set a resource limit");
  return {};
}

// ---- namespaces and root

void EnterNamespaces(bool stream, JailReport& report) {
  const auto one = [](int flag) { return ::unshare(flag) == 0; };
  report.net_namespace = one(CLONE_NEWNET);
  // Without privilege a user namespace comes first; a tree needs its real owners, so not there.
  if (!report.net_namespace && errno == EPERM && stream && one(CLONE_NEWUSER)) {
    report.user_namespace = true;
    report.net_namespace = one(CLONE_NEWNET);
  }
  report.ipc_namespace = one(CLONE_NEWIPC);
  report.uts_namespace = one(CLONE_NEWUTS);
  report.mount_namespace = one(CLONE_NEWNS);
}

// A detached mount becomes "/", and everything else leaves this mount namespace: nothing of the host is kept busy.
bool PivotInto(int mount) {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
  // Any directory will do as its place for a moment.
  for (const char* place : {"/proc", "/tmp", "/dev", "/run", "/var"}) {
    if (::move_mount(mount, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) != 0) continue;
    if (::fchdir(mount) != 0) return false;
    if (::syscall(SYS_pivot_root, ".", ".") == 0) return ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
    return ::chroot(".") == 0 && ::chdir("/") == 0;  // an initial ramdisk cannot be pivoted
  }
  return false;
}

Fd EmptyRoot() {
  const Fd fs(::fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!fs.valid() || ::fsconfig(fs.get(), FSCONFIG_SET_STRING, "size", "4k", 0) != 0 ||
      ::fsconfig(fs.get(), FSCONFIG_SET_STRING, "mode", "0555", 0) != 0 ||
      ::fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return Fd();
  constexpr unsigned kFlags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  return Fd(::fsmount(fs.get(), FSMOUNT_CLOEXEC, kFlags));
}

// Of the layer directory; made before the mount namespace, to which its mount does not belong.
Fd CloneOf(int root) {
  Fd tree(::open_tree(root, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  if (tree.valid() && ::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0) tree.reset();
  return tree;
}

Result<> EnterRoot(const JailSpec& spec, JailReport& report) {
  const bool stream = spec.profile == JailProfile::kStream;
  const Fd tree = stream ? Fd() : CloneOf(spec.root_fd);
  EnterNamespaces(stream, report);
  if (report.mount_namespace) {
    const Fd empty = stream ? EmptyRoot() : Fd();
    const int root = stream ? empty.get() : tree.get();
    report.own_root = root >= 0 && PivotInto(root);
    // The caller's number means the new root from here on.
    if (report.own_root && !stream && ::dup3(root, spec.root_fd, O_CLOEXEC) < 0) return Failed("replace the root descriptor");
  }
  // A tree without its own root would leave only our own care between an archive and the host (5.2: refuse to run).
  if (!stream && !report.own_root)
    return Error(Reason::kDenied, "enter the jail: without CAP_SYS_ADMIN the layer directory cannot become the root");
  return {};
}

// ---- identity and capabilities

Result<> DropBoundingSet(std::uint64_t keep) {
  // Refused (EPERM) without CAP_SETPCAP: then there is nothing in the permitted set worth bounding, and no execve follows.
  for (int cap = 0; cap < 64; ++cap)
    if ((keep >> cap & 1) == 0 && ::prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 &&
        errno != EPERM)
      return Failed("drop a capability from the bounding set");
  (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  return {};
}

Result<> KeepCapabilities(std::uint64_t keep) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &header, data) != 0) return Failed("read the capabilities");
  for (unsigned i = 0; i < 2; ++i) {
    const auto part = static_cast<std::uint32_t>(keep >> (32 * i));
    data[i].permitted &= part;
    data[i].effective = data[i].permitted;
    data[i].inheritable = 0;
  }
  if (::syscall(SYS_capset, &header, data) != 0) return Failed("drop capabilities");
  return {};
}

// What to do about it says the daemon: a worker's next step does not get there.
Error CannotBecome(const std::string& who, const char* capability) {
  if (errno == EPERM)
    return Error(Reason::kDenied, std::string("enter the jail: without ") + capability + " root cannot become " + who);
  if (errno == EINVAL)
    return Error(Reason::kDenied, "enter the jail: " + who + " is not mapped in this user namespace");
  return Failed("change the identity");
}

// The group first: it tells a user namespace without it from one that denies setgroups.
Result<> Become(const Identity& who) {
  const std::string group = "group " + std::to_string(who.gid), user = "user " + std::to_string(who.uid);
  if (::setresgid(who.gid, who.gid, who.gid) != 0) return CannotBecome(group, "CAP_SETGID");
  if (::setgroups(0, nullptr) != 0) return CannotBecome(group, "CAP_SETGID and setgroups");
  if (::setresuid(who.uid, who.uid, who.uid) != 0) return CannotBecome(user, "CAP_SETUID");
  return {};
}

// ---- Landlock

// Returns the ABI that is active, 0 for none.
int EnterLandlock(int root) {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi <= 0) return 0;
  // 13 rights in ABI 1, then REFER, TRUNCATE (3), IOCTL_DEV (5); TCP bind and connect (4); scopes (6).
  struct { std::uint64_t fs, net, scoped; } handled{};
  handled.fs = (1ull << (abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13)) - 1;
  if (abi >= 4) handled.net = 3;
  if (abi >= 6) handled.scoped = 3;
  const std::size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
  const Fd rules(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, size, 0)));
  if (!rules.valid()) return 0;
  if (root >= 0) {
    landlock_path_beneath_attr below{};
    below.allowed_access = handled.fs & ~(LANDLOCK_ACCESS_FS_EXECUTE | 1ull << 15);
    below.parent_fd = root;
    if (::syscall(SYS_landlock_add_rule, rules.get(), LANDLOCK_RULE_PATH_BENEATH, &below, 0) != 0) return 0;
  }
  return ::syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0 ? static_cast<int>(abi) : 0;
}

Result<> CloseAllBut(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned from = 0;
  for (const int fd : keep) {
    if (fd < 0) continue;
    const auto here = static_cast<unsigned>(fd);
    if (here > from && ::close_range(from, here - 1, 0) != 0) return Failed("close descriptors");
    from = std::max(from, here + 1);
  }
  if (::close_range(from, ~0u, 0) != 0) return Failed("close descriptors");
  return {};
}

// ---- the filter

constexpr std::uint64_t kProtExec = 4;
// What pthread_create passes: shares everything, is a thread, and makes no namespace.
constexpr std::uint64_t kThreadFlags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                                       CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

class Filter {
 public:
  Filter() : ctx_(::seccomp_init(kRefusal), &::seccomp_release) {}
  Filter& Allow(std::initializer_list<int> calls) {
    for (const int call : calls) Add(SCMP_ACT_ALLOW, call, {});
    return *this;
  }
  Filter& Allow(int call, std::initializer_list<scmp_arg_cmp> arguments) { return Add(SCMP_ACT_ALLOW, call, arguments); }
  Filter& Answer(int call, int error) { return Add(SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)), call, {}); }
  Result<> Load() {
    // All threads; sorted as a tree, since every read and write passes it.
    if (ctx_ && error_ == 0) {
      error_ = ::seccomp_attr_set(ctx_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
      if (error_ == 0) error_ = ::seccomp_attr_set(ctx_.get(), SCMP_FLTATR_CTL_TSYNC, 1);
      (void)::seccomp_attr_set(ctx_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
      if (error_ == 0) error_ = ::seccomp_load(ctx_.get());
    }
    if (!ctx_ || error_ != 0) return OsError(ctx_ ? -error_ : ENOMEM, "enter the jail: install the system call filter");
    return {};
  }

 private:
  Filter& Add(std::uint32_t action, int call, std::initializer_list<scmp_arg_cmp> arguments) {
    if (!ctx_ || error_ != 0) return *this;
    // -EDOM: this architecture has no such call.
    const int r = ::seccomp_rule_add_array(ctx_.get(), action, call, static_cast<unsigned>(arguments.size()), arguments.begin());
    if (r != 0 && r != -EDOM) error_ = r;
    return *this;
  }
  std::unique_ptr<void, void (*)(scmp_filter_ctx)> ctx_;
  int error_ = 0;
};

scmp_arg_cmp Equals(unsigned argument, std::uint64_t value) { return {argument, SCMP_CMP_EQ, value, 0}; }
scmp_arg_cmp Masked(unsigned argument, std::uint64_t mask, std::uint64_t value) { return {argument, SCMP_CMP_MASKED_EQ, mask, value}; }

Result<> InstallFilter(const JailSpec& spec) {
  Filter f;
  // Both profiles: descriptors that are there, memory without code, threads, time, the own end.
  f.Allow({SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(preadv), SCMP_SYS(write), SCMP_SYS(writev),
           SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(close), SCMP_SYS(close_range), SCMP_SYS(lseek), SCMP_SYS(fstat),
           SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range), SCMP_SYS(ftruncate), SCMP_SYS(fallocate),
           SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk),
           SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(membarrier), SCMP_SYS(sched_yield),
           SCMP_SYS(sched_getaffinity), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
           SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(rt_sigaction),
           SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall),
           SCMP_SYS(exit), SCMP_SYS(exit_group)});
#ifdef BERTH_SANITIZED
  f.Allow({SCMP_SYS(pipe2), SCMP_SYS(prctl), SCMP_SYS(prlimit64)});  // the sanitizers' own: is this address readable? how large is a stack?
#endif
  f.Allow(SCMP_SYS(mmap), {Masked(2, kProtExec, 0)});
  f.Allow(SCMP_SYS(mprotect), {Masked(2, kProtExec, 0)});
  f.Allow(SCMP_SYS(tgkill), {Equals(0, static_cast<std::uint64_t>(::getpid()))});  // abort()
  f.Allow(SCMP_SYS(clone), {Equals(0, kThreadFlags)});
  f.Answer(SCMP_SYS(clone3), ENOSYS);  // its flags are in memory, where no filter sees them
  f.Allow(SCMP_SYS(fcntl), {Equals(1, F_GETFL)});
  f.Allow(SCMP_SYS(fcntl), {Equals(1, F_GETFD)});
  f.Allow(SCMP_SYS(fcntl), {Equals(1, F_DUPFD_CLOEXEC)});
  if (spec.profile == JailProfile::kStream) {
    // fstat() of the C library. A path in it would name something in the empty root.
    f.Allow(SCMP_SYS(newfstatat), {Equals(3, AT_EMPTY_PATH)});
  } else {
    f.Allow({SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(newfstatat), SCMP_SYS(mkdirat), SCMP_SYS(symlinkat), SCMP_SYS(linkat),
             SCMP_SYS(unlinkat), SCMP_SYS(fchown), SCMP_SYS(fchownat), SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(fsetxattr),
             SCMP_SYS(utimensat), SCMP_SYS(getdents64)});
    f.Allow({SCMP_SYS(statx), 452 /* fchmodat2 */});  // of newer C libraries
    f.Allow(SCMP_SYS(mknodat), {Masked(2, S_IFMT, S_IFIFO)});
    f.Allow(SCMP_SYS(mknodat), {Masked(2, S_IFMT, S_IFCHR), Equals(3, 0)});  // a whiteout is no device
    if (spec.device_nodes) {
      f.Allow(SCMP_SYS(mknodat), {Masked(2, S_IFMT, S_IFCHR)});
      f.Allow(SCMP_SYS(mknodat), {Masked(2, S_IFMT, S_IFBLK)});
    }
  }
  return f.Load();
}

std::uint64_t KeptCapabilities(const JailSpec& spec) {
  if (spec.profile == JailProfile::kStream) return 0;
  std::uint64_t keep = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER | 1ull << CAP_FSETID | 1ull << CAP_SETFCAP;
  if (spec.device_nodes) keep |= 1ull << CAP_MKNOD;
  return keep;
}

}  // namespace

std::string JailReport::Text() const {
  std::string active, missing;
  const auto add = [&](bool on, std::string_view name) {
    std::string& list = on ? active : missing;
    if (!list.empty()) list += ',';
    list += name;
  };
  add(seccomp, "seccomp");
  add(no_new_privs, "no_new_privs");
  add(capabilities_dropped, "capabilities");
  add(not_dumpable, "not_dumpable");
  add(descriptors_closed, "descriptors");
  add(own_root, "root");
  add(mount_namespace, "mount_ns");
  add(net_namespace, "net_ns");
  add(ipc_namespace, "ipc_ns");
  add(uts_namespace, "uts_ns");
  add(landlock_abi > 0, landlock_abi > 0 ? "landlock=" + std::to_string(landlock_abi) : "landlock");
  if (user_namespace) add(true, "user_ns");
  if (identity_changed) add(true, "identity");
  return missing.empty() ? active : active + ";missing=" + missing;
}

Result<JailReport> EnterUnpackJail(const JailSpec& spec) {
  const bool stream = spec.profile == JailProfile::kStream;
  if (!stream && spec.root_fd < 0) return Error(Reason::kUsage, "the tree jail needs a root");
#ifdef BERTH_SANITIZED
  ::__sanitizer_sandbox_on_notify(nullptr);  // it reads now what is mapped where
#endif
  JailReport report;
  report.not_dumpable = ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
  RETURN_IF_ERROR(Limit(RLIMIT_CORE, 0));
  if (spec.max_file_bytes != 0) RETURN_IF_ERROR(Limit(RLIMIT_FSIZE, spec.max_file_bytes));
  if (spec.max_memory_bytes != 0) RETURN_IF_ERROR(Limit(RLIMIT_AS, spec.max_memory_bytes));

  RETURN_IF_ERROR(EnterRoot(spec, report));
  const std::uint64_t keep = KeptCapabilities(spec);
  RETURN_IF_ERROR(DropBoundingSet(keep));
  if (stream && spec.identity && ::geteuid() == 0 && !report.user_namespace) {
    RETURN_IF_ERROR(Become(*spec.identity));
    report.identity_changed = true;
    report.not_dumpable = ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;  // a change of identity resets it to the system's default
  }
  RETURN_IF_ERROR(KeepCapabilities(keep));
  report.capabilities_dropped = true;
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Failed("give up new privileges");
  report.no_new_privs = true;
  report.landlock_abi = EnterLandlock(stream ? -1 : spec.root_fd);
  std::vector<int> kept = spec.keep_fds;
  if (!stream) kept.push_back(spec.root_fd);
  if (kSanitized) kept.push_back(STDERR_FILENO);
  RETURN_IF_ERROR(CloseAllBut(std::move(kept)));
  report.descriptors_closed = true;
  RETURN_IF_ERROR(Limit(RLIMIT_NOFILE, spec.max_open_files));
  RETURN_IF_ERROR(InstallFilter(spec));
  report.seccomp = true;
  return report;
}

}  // namespace berth::host
