#include "launch/seccomp.h"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <vector>

#include "host/dir.h"
#include "launch/machine.h"

namespace berth::launch {
namespace {

// By purpose. Names that a machine or its libseccomp does not have are skipped by the runtimes.
constexpr std::string_view kAlways =
    // processes and threads
    "arch_prctl capget capset execve execveat exit exit_group fork vfork getcpu getpgid getpgrp getpid "
    "getppid getpriority getrandom "
    "getresgid getresgid32 getresuid getresuid32 getrlimit ugetrlimit get_robust_list getrusage getsid "
    "gettid get_thread_area "
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getgroups getgroups32 kill "
    "membarrier modify_ldt nice "
    "pause pidfd_open pidfd_send_signal prctl prlimit64 rseq set_robust_list set_thread_area set_tid_address "
    "setfsgid setfsgid32 "
    "setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority setregid setregid32 "
    "setresgid setresgid32 "
    "setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid setuid32 sysinfo tgkill tkill times "
    "umask uname wait4 "
    "waitid waitpid sched_getaffinity sched_getattr sched_getparam sched_get_priority_max "
    "sched_get_priority_min "
    "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr "
    "sched_setparam "
    "sched_setscheduler sched_yield seccomp landlock_add_rule landlock_create_ruleset landlock_restrict_self "
    "ptrace "
    "process_mrelease "
    // signals and time
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
    "rt_sigtimedwait_time64 "
    "rt_tgsigqueueinfo sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn "
    "sigsuspend restart_syscall "
    "alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 "
    "clock_nanosleep "
    "clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete "
    "timer_getoverrun timer_gettime "
    "timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 "
    "timerfd_settime "
    "timerfd_settime64 adjtimex "
    // memory
    "brk madvise mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall "
    "munmap memfd_create "
    "memfd_secret pkey_alloc pkey_free pkey_mprotect process_madvise remap_file_pages map_shadow_stack "
    // files
    "access cachestat chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 "
    "faccessat faccessat2 fadvise64 "
    "fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl "
    "fcntl64 fdatasync "
    "fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync "
    "ftruncate ftruncate64 "
    "futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 "
    "inotify_rm_watch ioctl "
    "ioprio_get ioprio_set lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr "
    "lremovexattr _llseek lseek "
    "lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat _newselect open openat "
    "openat2 pread64 preadv "
    "preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr removexattrat "
    "rename renameat renameat2 "
    "rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx statmount "
    "listmount symlink symlinkat sync "
    "sync_file_range syncfs tee truncate truncate64 unlink unlinkat utime utimensat utimensat_time64 utimes "
    "vmsplice write writev "
    // waiting, queues, pipes, sockets, System V IPC
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old "
    "eventfd eventfd2 futex "
    "futex_requeue futex_time64 futex_wait futex_waitv futex_wake io_cancel io_destroy io_getevents "
    "io_pgetevents "
    "io_pgetevents_time64 io_setup io_submit ipc mq_getsetattr mq_notify mq_open mq_timedreceive "
    "mq_timedreceive_time64 mq_timedsend "
    "mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 poll ppoll ppoll_time64 pselect6 "
    "pselect6_time64 select "
    "semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget accept accept4 bind connect "
    "getpeername getsockname "
    "getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto "
    "setsockopt shutdown socketcall "
    "socketpair "
    // by architecture
    "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls riscv_flush_icache "
    "riscv_hwprobe "
    "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr";

struct WithCapability {
  int capability;
  std::string_view calls;
};
constexpr WithCapability kWithCapability[] = {
    {2 /* DAC_READ_SEARCH */, "open_by_handle_at"},
    {21 /* SYS_ADMIN */,
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
     "lsm_list_modules lsm_set_self_attr mount "
     "mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname "
     "setns syslog umount umount2 unshare"},
    {22 /* SYS_BOOT */, "reboot"},
    {18 /* SYS_CHROOT */, "chroot"},
    {16 /* SYS_MODULE */, "delete_module finit_module init_module"},
    {20 /* SYS_PACCT */, "acct"},
    {19 /* SYS_PTRACE */, "kcmp pidfd_getfd process_vm_readv process_vm_writev"},
    {17 /* SYS_RAWIO */, "iopl ioperm"},
    {25 /* SYS_TIME */, "settimeofday stime clock_settime clock_settime64"},
    {26 /* SYS_TTY_CONFIG */, "vhangup"},
    {23 /* SYS_NICE */, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages"},
    {34 /* SYSLOG */, "syslog"},
    {38 /* PERFMON */, "perf_event_open"},
    {39 /* BPF */, "bpf"},
};
constexpr int kSysAdmin = 21;
// CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
constexpr std::uint64_t kNewNamespaces = 0x7E020000;

void Names(json::Writer& out, std::string_view words) {
  out.Key("names").BeginArray();
  while (!words.empty()) {
    const auto end = std::min(words.find(' '), words.size());
    if (end > 0) out.String(words.substr(0, end));
    words.remove_prefix(std::min(words.size(), end + 1));
  }
  out.EndArray();
}

void Allow(json::Writer& out, std::string_view words) {
  out.BeginObject();
  Names(out, words);
  out.Key("action").String("SCMP_ACT_ALLOW").EndObject();
}

void AllowArgument(json::Writer& out, std::string_view call, std::uint64_t index, std::string_view op,
                   std::uint64_t value, std::uint64_t two) {
  out.BeginObject();
  Names(out, call);
  out.Key("action").String("SCMP_ACT_ALLOW").Key("args").BeginArray().BeginObject();
  out.Key("index").Uint(index).Key("value").Uint(value).Key("valueTwo").Uint(two).Key("op").String(op);
  out.EndObject().EndArray().EndObject();
}

}  // namespace

void WriteDefaultSeccomp(json::Writer& out, std::uint64_t capabilities) {
  const auto has = [&](int capability) { return (capabilities >> capability & 1) != 0; };
  out.BeginObject().Key("defaultAction").String("SCMP_ACT_ERRNO").Key("defaultErrnoRet").Uint(EPERM);
  out.Key("architectures").BeginArray();
#if defined(__x86_64__)
  for (const char* arch : {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"}) out.String(arch);
#elif defined(__aarch64__)
  for (const char* arch : {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"}) out.String(arch);
#endif
  out.EndArray().Key("syscalls").BeginArray();
  Allow(out, kAlways);
  // Every family of sockets but AF_VSOCK, which talks to the hypervisor past every network policy.
  AllowArgument(out, "socket", 0, "SCMP_CMP_NE", 40, 0);
  for (const std::uint64_t persona : {0x0ull, 0x8ull, 0x20000ull, 0x20008ull, 0xffffffffull})
    AllowArgument(out, "personality", 0, "SCMP_CMP_EQ", persona, 0);
  for (const auto& row : kWithCapability)
    if (has(row.capability)) Allow(out, row.calls);
  if (!has(kSysAdmin)) {
    AllowArgument(out, "clone", 0, "SCMP_CMP_MASKED_EQ", kNewNamespaces, 0);
    out.BeginObject();
    Names(out, "clone3");
    out.Key("action").String("SCMP_ACT_ERRNO").Key("errnoRet").Uint(ENOSYS).EndObject();
  }
  out.EndArray().EndObject();
}

Result<std::string> ReadLocalhostSeccomp(const std::string& folder, const std::string& name) {
  const auto dir = host::Dir::Open(folder);
  auto text = dir ? dir->ReadSmall(name, 1u << 20) : Result<std::string>(dir.error());
  if (!text)
    return std::move(text)
        .error()
        .Context("seccomp profile " + Quoted(name))
        .Next("put the profile below " + folder + " on this node");
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(*text, Reason::kConfig));
  if (!document.root().Find("defaultAction"))
    return Error(Reason::kConfig, "seccomp profile " + Quoted(name) + " has no defaultAction");
  return document.root().Dump();
}

}  // namespace berth::launch
