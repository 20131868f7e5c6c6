// reliability-security Appendix A: each forbidden call kills; the work of both workers goes on. A child per case.
#include "host/sandbox.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "host/machine.h"
#include "host/mount.h"
#include "host/probe.h"
#include "host/testing/mounts.h"
#include "host/testing/scratch.h"

// The runtimes of the sanitizers make calls of their own (and need their /proc): the filter would kill them, not us.
#ifdef BERTH_SANITIZED
#define BERTH_SKIP_UNDER_SANITIZER() GTEST_SKIP() << "the sanitizer's runtime cannot live in the jail"
#else
#define BERTH_SKIP_UNDER_SANITIZER() (void)0
#endif

namespace berth::host {
namespace {

using bytes::AsView;
using ::testing::HasSubstr;

constexpr int kJailFailed = 99;

// Runs `work` in a jailed child; its exit status, or minus the signal.
int InJail(const JailSpec& spec, const std::function<int()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto report = EnterUnpackJail(spec);
    ::_exit(report ? work() : kJailFailed);
  }
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid) return kJailFailed;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// ---- what must kill, in both profiles

struct Forbidden { const char* name; std::function<void()> call; };
#define RAW(call, ...) Forbidden{#call, [] { (void)::syscall(SYS_##call __VA_OPT__(, ) __VA_ARGS__); }}

const Forbidden kNever[] = {
    RAW(execve, "/bin/true", nullptr, nullptr), RAW(execveat, -1, "", nullptr, nullptr, 0), RAW(clone, SIGCHLD, 0, 0, 0, 0),
    Forbidden{"clone newuser thread",
              [] { (void)::syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_NEWUSER, 0, 0, 0, 0); }},
    RAW(fork), RAW(vfork), RAW(socket, AF_INET, SOCK_STREAM, 0), RAW(socketpair, AF_UNIX, SOCK_STREAM, 0, nullptr),
    RAW(connect, 0, nullptr, 0), RAW(bind, 0, nullptr, 0), RAW(listen, 0, 0), RAW(accept4, 0, nullptr, nullptr, 0),
    RAW(sendmsg, 0, nullptr, 0), RAW(recvmsg, 0, nullptr, 0), RAW(ptrace, PTRACE_TRACEME, 0, 0, 0),
    RAW(process_vm_readv, 1, nullptr, 0, nullptr, 0, 0), RAW(process_vm_writev, 1, nullptr, 0, nullptr, 0, 0),
    RAW(mount, "a", "/", "tmpfs", 0, nullptr), RAW(umount2, "/", 0), RAW(fsopen, "tmpfs", 0), RAW(fsmount, 0, 0, 0),
    RAW(move_mount, 0, "", 0, "", 0), RAW(open_tree, 0, "", 0), RAW(mount_setattr, 0, "", 0, nullptr, 0),
    RAW(pivot_root, ".", "."), RAW(chroot, "/"), RAW(setns, 0, 0), RAW(unshare, CLONE_NEWUSER),
    RAW(open_by_handle_at, 0, nullptr, 0), RAW(name_to_handle_at, 0, "", nullptr, nullptr, 0), RAW(bpf, 0, nullptr, 0),
    RAW(perf_event_open, nullptr, 0, 0, 0, 0), RAW(userfaultfd, 0), RAW(keyctl, 0, 0, 0, 0, 0),
    RAW(add_key, "user", "x", "y", 1, 0), RAW(request_key, "user", "x", nullptr, 0), RAW(io_uring_setup, 1, nullptr),
    RAW(io_uring_enter, 0, 0, 0, 0, nullptr, 0), RAW(io_uring_register, 0, 0, nullptr, 0),
    RAW(kexec_load, 0, 0, nullptr, 0), RAW(init_module, nullptr, 0, ""), RAW(finit_module, 0, "", 0),
    RAW(delete_module, "", 0), RAW(personality, 0), RAW(setuid, 0), RAW(setgid, 0), RAW(setresuid, 0, 0, 0),
    RAW(setresgid, 0, 0, 0), RAW(setgroups, 0, nullptr), RAW(capset, nullptr, nullptr),
    RAW(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0), RAW(seccomp, 0, 0, nullptr), RAW(ioctl, 0, 0x5401 /* TCGETS */, nullptr),
    RAW(ioctl, 0, 0x5412 /* TIOCSTI */, nullptr), RAW(chmod, "/", 0), RAW(chown, "/", 0, 0), RAW(lchown, "/", 0, 0),
    RAW(setxattr, "/", "user.a", "", 0, 0), RAW(lsetxattr, "/", "user.a", "", 0, 0), RAW(open, "/", 0, 0),
    RAW(creat, "x", 0), RAW(rename, "a", "b"), RAW(unlink, "a"), RAW(mkdir, "a", 0), RAW(rmdir, "a"), RAW(link, "a", "b"),
    RAW(symlink, "a", "b"), RAW(mknod, "a", 0, 0), RAW(truncate, "a", 0), RAW(chdir, "/"), RAW(fchdir, 0),
    RAW(stat, "/", nullptr), RAW(lstat, "/", nullptr), RAW(access, "/", 0), RAW(readlink, "/", nullptr, 0),
    RAW(memfd_create, "x", 0), RAW(pidfd_open, 1, 0), RAW(pidfd_getfd, 0, 0, 0), RAW(kill, 1, 0), RAW(tkill, 1, 0),
    Forbidden{"tgkill another", [] { (void)::syscall(SYS_tgkill, 1, 1, 0); }}, RAW(prlimit64, 0, 0, nullptr, nullptr),
    RAW(setrlimit, 0, nullptr), RAW(settimeofday, nullptr, nullptr), RAW(clock_settime, 0, nullptr),
    RAW(reboot, 0, 0, 0, nullptr), RAW(swapon, "", 0), RAW(quotactl, 0, "", 0, nullptr), RAW(iopl, 0), RAW(ioperm, 0, 0, 0),
    RAW(modify_ldt, 0, nullptr, 0), RAW(fanotify_init, 0, 0), RAW(inotify_init1, 0),
    RAW(landlock_create_ruleset, nullptr, 0, 0), RAW(shmget, 0, 0, 0), RAW(msgget, 0, 0), RAW(semget, 0, 0, 0),
    RAW(splice, 0, nullptr, 0, nullptr, 0, 0), RAW(vmsplice, 0, nullptr, 0, 0), RAW(pipe2, nullptr, 0), RAW(eventfd2, 0, 0),
    RAW(epoll_create1, 0), RAW(timerfd_create, 0, 0), RAW(signalfd4, 0, nullptr, 0, 0), RAW(dup2, 0, 1), RAW(setsid),
    RAW(setpgid, 0, 0), RAW(setpriority, 0, 0, 0), RAW(sched_setscheduler, 0, 0, nullptr), RAW(syslog, 3, nullptr, 0),
    Forbidden{"code in memory", [] { (void)::syscall(SYS_mmap, nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }},
    Forbidden{"memory made code", [] {
                void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                (void)::syscall(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
              }},
    Forbidden{"fcntl F_SETOWN", [] { (void)::syscall(SYS_fcntl, 0, F_SETOWN, 1); }},
    Forbidden{"x32 call", [] { (void)::syscall(0x40000000 | SYS_getpid); }},
};
// What a worker on streams may not do though one on a tree may.
const Forbidden kNotOnStreams[] = {
    RAW(openat, AT_FDCWD, "/", 0, 0), RAW(openat2, AT_FDCWD, "/", nullptr, 0), RAW(mkdirat, AT_FDCWD, "a", 0),
    RAW(unlinkat, AT_FDCWD, "a", 0), RAW(symlinkat, "a", AT_FDCWD, "b"), RAW(linkat, AT_FDCWD, "a", AT_FDCWD, "b", 0),
    RAW(mknodat, AT_FDCWD, "a", S_IFIFO, 0), RAW(renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 0),
    RAW(fchownat, AT_FDCWD, "a", 0, 0, 0), RAW(fchown, 0, 0, 0), RAW(fchmod, 0, 0), RAW(fchmodat, AT_FDCWD, "a", 0),
    RAW(fsetxattr, 0, "user.a", "", 0, 0), RAW(utimensat, AT_FDCWD, "a", nullptr, 0),
    RAW(statx, AT_FDCWD, "/", 0, 0, nullptr), RAW(getdents64, 0, nullptr, 0), RAW(newfstatat, AT_FDCWD, "/", nullptr, 0),
    RAW(faccessat, AT_FDCWD, "/", 0), RAW(copy_file_range, 0, nullptr, 0, nullptr, 0, 0),
};

// gtest wants values it can compare and print: an index into a table.
class StreamJail : public ::testing::TestWithParam<const Forbidden*> {};
TEST_P(StreamJail, Kills) {
  BERTH_SKIP_UNDER_SANITIZER();
  EXPECT_EQ(InJail({}, [] { GetParam()->call(); return 0; }), -SIGSYS) << GetParam()->name;
}
class TreeJail : public ::testing::TestWithParam<const Forbidden*> {};
TEST_P(TreeJail, Kills) {
  BERTH_SKIP_UNDER_SANITIZER();
  if (!Probe().can_mount) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  testing::Scratch scratch;
  const Fd root = *scratch.dir().Duplicate();
  const JailSpec spec{.profile = JailProfile::kTree, .root_fd = root.get()};
  EXPECT_EQ(InJail(spec, [] { GetParam()->call(); return 0; }), -SIGSYS) << GetParam()->name;
}
std::vector<const Forbidden*> Pointers(std::span<const Forbidden> rows) {
  std::vector<const Forbidden*> out;
  for (const Forbidden& f : rows) out.push_back(&f);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Never, StreamJail, ::testing::ValuesIn(Pointers(kNever)));
INSTANTIATE_TEST_SUITE_P(Paths, StreamJail, ::testing::ValuesIn(Pointers(kNotOnStreams)));
INSTANTIATE_TEST_SUITE_P(Never, TreeJail, ::testing::ValuesIn(Pointers(kNever)));

// ---- what must go on

TEST(Jail, AStreamWorkerWorks) {
  BERTH_SKIP_UNDER_SANITIZER();
  testing::Scratch scratch;
  Pipe in = *MakePipe(), out = *MakePipe();
  const Fd file = *scratch.dir().CreateNew("data", 0600);
  JailSpec spec;
  spec.keep_fds = {2, in.read.get(), out.write.get(), file.get()};
  spec.identity = Identity{65534, 65534};
  std::jthread feeder([&] { (void)WriteAll(in.write.get(), AsView("compressed")); in.write.reset(); });
  feeder.join();
  const int status = InJail(spec, [&] {
    // Two threads, much memory, an exception, and both ways of writing.
    std::string got(100, '\0');
    std::size_t length = 0;
    std::jthread reader([&] {
      while (const std::size_t n = *ReadSome(in.read.get(), std::as_writable_bytes(std::span(got).subspan(length)))) length += n;
    });
    std::jthread worker([] { std::vector<char> much(64u << 20, 'x'); });
    reader.join();
    worker.join();
    try {
      throw std::runtime_error("unwinding needs no file");
    } catch (const std::exception&) {
      if (!PwriteAll(file.get(), AsView(std::string_view(got).substr(0, length)), 4096)) return 1;
    }
    if (!StartWriteback(file.get(), 0, 4096) || !SyncFile(file.get()) || Stat(file.get())->size != 4106) return 2;
    if (RandomName() == RandomName() || CLOCK_MONOTONIC != 1) return 3;
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait_for(lock, std::chrono::milliseconds(1), [] { return false; });
    return WriteAll(out.write.get(), AsView("done")) ? 0 : 4;
  });
  EXPECT_EQ(status, 0);
  out.write.reset();
  std::string done(4, '\0');
  EXPECT_TRUE(ReadExact(out.read.get(), std::as_writable_bytes(std::span(done))));
  EXPECT_EQ(*scratch.dir().ReadSmall("data", 10000), std::string(4096, '\0') + "compressed");
}

TEST(Jail, AbortIsStillAnAbort) {
  BERTH_SKIP_UNDER_SANITIZER();
  EXPECT_EQ(InJail({}, []() -> int { std::abort(); }), -SIGABRT);
}

TEST(Jail, ATreeWorkerWorks) {
  BERTH_SKIP_UNDER_SANITIZER();
  if (!Probe().can_mount) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  testing::Scratch scratch;
  ASSERT_TRUE(scratch.dir().MakeDir("layer", 0755));
  const Dir layer = *scratch.dir().OpenDir("layer");
  const Fd root = *layer.Duplicate();
  JailSpec spec{.profile = JailProfile::kTree, .keep_fds = {2}, .root_fd = root.get(), .device_nodes = true};
  const int status = InJail(spec, [&] {
    ::umask(0);
    return 0;
  });
  EXPECT_EQ(status, -SIGSYS);  // even umask: the worker sets it before
  const mode_t old = ::umask(0);
  const int worked = InJail(spec, [&] {
    const int at = root.get();
    const struct timespec times[] = {{0, UTIME_OMIT}, {1, 2}};
    const auto all = [&] {
      if (::mkdirat(at, "usr", 0700) != 0) return false;
      const Fd usr(::openat(at, "usr", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      const Fd file(::openat(usr.get(), "su", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
      if (!WriteAll(file.get(), AsView("text")) || ::fchown(file.get(), 1000, 1000) != 0 || ::fsetxattr(file.get(), "user.a", "b", 1, 0) != 0 ||
          ::fchmod(file.get(), 04755) != 0 || ::futimens(file.get(), times) != 0) return false;
      if (::symlinkat("/usr", at, "bin") != 0 || ::fchownat(at, "bin", 1, 1, AT_SYMLINK_NOFOLLOW) != 0 ||
          ::utimensat(at, "bin", times, AT_SYMLINK_NOFOLLOW) != 0 || ::linkat(usr.get(), "su", at, "sudo", 0) != 0) return false;
      return ::mknodat(at, "fifo", S_IFIFO | 0600, 0) == 0 && ::mknodat(at, "null", S_IFCHR | 0600, ::makedev(1, 3)) == 0 &&
             ::mknodat(at, "whiteout", S_IFCHR, 0) == 0 && ::fchmodat(at, "fifo", 02644, 0) == 0 &&
             ::mkdirat(at, "old", 0700) == 0 && ::unlinkat(at, "old", AT_REMOVEDIR) == 0;
    };
    const bool done = all();
    // Nothing of the host is in sight.
    const Fd top(::openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat a, b;
    if (::fstat(top.get(), &a) != 0 || ::fstat(root.get(), &b) != 0 || a.st_ino != b.st_ino) return 2;
    for (const char* outside : {"/etc/passwd", "../../etc/passwd"})
      if (::openat(AT_FDCWD, outside, O_RDONLY | O_CLOEXEC) >= 0) return 3;
    return done ? 0 : 1;
  });
  ::umask(old);
  EXPECT_EQ(worked, 0);
  EXPECT_EQ(layer.Stat("usr/su")->mode, 04755u);
  EXPECT_EQ(layer.Stat("usr/su")->uid, 1000u);
  EXPECT_EQ(layer.Stat("sudo")->links, 2u);
  EXPECT_EQ(layer.Stat("null")->kind, FileKind::kCharDevice);
  EXPECT_FALSE(*layer.Exists("old"));
}

TEST(Jail, DevicesOnlyByPolicy) {
  BERTH_SKIP_UNDER_SANITIZER();
  if (!Probe().can_mount) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  testing::Scratch scratch;
  const Fd root = *scratch.dir().Duplicate();
  const JailSpec spec{.profile = JailProfile::kTree, .root_fd = root.get()};
  EXPECT_EQ(InJail(spec, [&] { return ::mknodat(root.get(), "w", S_IFCHR, 0) == 0 ? 0 : 1; }), 0);
  EXPECT_EQ(InJail(spec, [&] { return ::mknodat(root.get(), "d", S_IFCHR, ::makedev(1, 3)); }), -SIGSYS);
  EXPECT_EQ(InJail(spec, [&] { return ::mknodat(root.get(), "b", S_IFBLK, ::makedev(8, 0)); }), -SIGSYS);
  EXPECT_EQ(InJail(spec, [&] { return ::mknodat(root.get(), "s", S_IFSOCK, 0); }), -SIGSYS);
}

TEST(Jail, ReportsWhatIsActive) {
  BERTH_SKIP_UNDER_SANITIZER();
  const Capabilities machine = Probe();
  Pipe out = *MakePipe();
  Pipe secret = *MakePipe();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto report = EnterUnpackJail(
        {.keep_fds = {out.write.get()}, .identity = Identity{65534, 65534}, .max_file_bytes = 1000, .max_open_files = 20});
    std::string text = report ? report->Text() : report.error().Text();
    if (::write(secret.write.get(), "x", 1) >= 0) text += " LEAKED";  // closed
    ::_exit(WriteAll(out.write.get(), AsView(text)) ? 0 : 1);
  }
  out.write.reset();
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  std::string text(500, '\0');
  text.resize(*ReadSome(out.read.get(), std::as_writable_bytes(std::span(text))));
  EXPECT_THAT(text, ::testing::StartsWith("seccomp,no_new_privs,capabilities,not_dumpable,descriptors"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("LEAKED")));
  EXPECT_EQ(text.find("landlock=") != std::string::npos, machine.landlock_abi > 0) << text;
  EXPECT_EQ(text.find("root,mount_ns,net_ns,ipc_ns,uts_ns") != std::string::npos, machine.can_mount) << text;
  EXPECT_EQ(text.find("identity") != std::string::npos, ::geteuid() == 0) << text;
  std::printf("jail here: %s\n", text.c_str());
}

// The kernel's word for it, read by the parent while the child waits.
TEST(Jail, TheKernelAgrees) {
  BERTH_SKIP_UNDER_SANITIZER();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to read the state of the child";
  Pipe ready = *MakePipe(), hold = *MakePipe();
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto report = EnterUnpackJail({.keep_fds = {ready.write.get(), hold.read.get()}, .identity = Identity{65534, 65534}});
    if (!report || !WriteAll(ready.write.get(), AsView("r"))) ::_exit(1);
    char byte;
    ::_exit(::read(hold.read.get(), &byte, 1) == 1 ? 0 : 1);
  }
  char byte = 0;
  ASSERT_TRUE(ReadExact(ready.read.get(), std::as_writable_bytes(std::span(&byte, 1))));
  const std::string proc = "/proc/" + std::to_string(pid);
  const std::string status = *ReadSmallFile(proc + "/status", 1u << 16);
  for (const char* line : {"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
                           "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Uid:\t65534\t65534\t65534\t65534", "Groups:\t \n"})
    EXPECT_THAT(status, HasSubstr(line));
  EXPECT_THAT(*ReadSmallFile(proc + "/limits", 1u << 16), HasSubstr("Max core file size        0"));
  EXPECT_EQ(Dir::Open(proc + "/fd")->List()->size(), 2u);
  // Its mount table is one empty, read-only root.
  if (Probe().can_mount) {
    const auto mounts = *ParseMountInfo(*ReadSmallFile(proc + "/mountinfo", 1u << 20));
    ASSERT_EQ(mounts.size(), 1u);
    EXPECT_EQ(mounts[0].type, "tmpfs");
    EXPECT_THAT(mounts[0].options, HasSubstr("ro"));
    EXPECT_TRUE(Dir::Open(proc + "/root")->List()->empty());
  }
  ASSERT_TRUE(WriteAll(hold.write.get(), AsView("x")));
  int exit_status = 1;
  ::waitpid(pid, &exit_status, 0);
  EXPECT_EQ(exit_status, 0);
}

TEST(Jail, FileSizesAreLimited) {
  BERTH_SKIP_UNDER_SANITIZER();
  testing::Scratch scratch;
  const Fd file = *scratch.dir().CreateNew("data", 0600);
  const JailSpec spec{.keep_fds = {file.get()}, .max_file_bytes = 1000};
  EXPECT_EQ(InJail(spec, [&] { return WriteAll(file.get(), AsView(std::string(2000, 'x'))) ? 1 : 0; }), -SIGXFSZ);
}

TEST(Jail, WorksWithoutPrivilege) {
  BERTH_SKIP_UNDER_SANITIZER();
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::geteuid() == 0 && (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0)) ::_exit(2);
    const auto report = EnterUnpackJail({});
    ::_exit(report && report->seccomp && report->no_new_privs && report->capabilities_dropped && report->descriptors_closed ? 0 : 1);
  }
  int status = 1;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

// Root of a container that may not become nobody: refused, never skipped, and the text says what lacks.
struct NoIdentity { const char* name; std::function<bool()> lose; const char* says; };
class Identities : public ::testing::TestWithParam<NoIdentity> {};
TEST_P(Identities, ThatCannotBeAreDenied) {
  BERTH_SKIP_UNDER_SANITIZER();
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  Pipe out = *MakePipe();
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (!GetParam().lose()) ::_exit(2);
    const auto report = EnterUnpackJail({.keep_fds = {out.write.get()}, .identity = Identity{65534, 65534}});
    if (report) ::_exit(report->user_namespace ? 2 : 3);  // without CAP_SYS_ADMIN it has another way to be nobody
    (void)WriteAll(out.write.get(), AsView(report.error().Text()));
    ::_exit(report.error().reason() == Reason::kDenied ? 0 : 1);
  }
  out.write.reset();
  std::string text(1000, '\0');
  text.resize(*ReadSome(out.read.get(), std::as_writable_bytes(std::span(text))));
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "other user namespaces here";
  EXPECT_EQ(status, 0);
  EXPECT_EQ(text, GetParam().says);
}
bool Lose(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  data[0].effective &= ~(1u << capability);
  data[0].permitted &= ~(1u << capability);
  return ::syscall(SYS_capset, &header, data) == 0;
}
bool Write(const char* file, std::string_view text) {
  const Fd fd(::open(file, O_WRONLY | O_CLOEXEC));
  return fd.valid() && WriteAll(fd.get(), AsView(text)).has_value();
}
bool OnlyRootIsMapped() {  // unshare --map-root-user
  return ::unshare(CLONE_NEWUSER) == 0 && Write("/proc/self/uid_map", "0 0 1") && Write("/proc/self/setgroups", "deny") &&
         Write("/proc/self/gid_map", "0 0 1");
}
INSTANTIATE_TEST_SUITE_P(
    Jail, Identities,
    ::testing::Values(
        NoIdentity{"NoSetgid", [] { return Lose(CAP_SETGID); }, "enter the jail: without CAP_SETGID root cannot become group 65534"},
        NoIdentity{"NoSetuid", [] { return Lose(CAP_SETUID); }, "enter the jail: without CAP_SETUID root cannot become user 65534"},
        NoIdentity{"NotMapped", &OnlyRootIsMapped, "enter the jail: group 65534 is not mapped in this user namespace"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Jail, ATreeNeedsItsOwnRoot) {
  BERTH_SKIP_UNDER_SANITIZER();
  EXPECT_EQ(EnterUnpackJail({.profile = JailProfile::kTree}).error().reason(), Reason::kUsage);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const Fd root(::open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC));
    const auto report = EnterUnpackJail({.profile = JailProfile::kTree, .root_fd = root.get()});
    ::_exit(!report && report.error().reason() == Reason::kDenied ? 0 : 1);
  }
  int status = 1;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace berth::host
