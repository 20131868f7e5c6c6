#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/berth-shim/kernel.h"
#include "launch/shim.h"

namespace berth::shim {
namespace {

void LoopbackUp() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  memcpy(request.ifr_name, "lo", 3);
  if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) != 0) Die("look at the loopback interface");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0) Die("bring the loopback interface up");
  close(fd);
}

// name=value; '/' and '.' both separate in names, and neither may leave /proc/sys.
void SetSysctl(char* text) {
  char* value = strchr(text, '=');
  if (value == nullptr || strstr(text, "..") != nullptr) {
    errno = EINVAL;
    Die(text);
  }
  *value++ = '\0';
  // "net.ipv4.conf.eth0/1.x": the first separator decides which of the two is one.
  const size_t first = strcspn(text, "./");
  if (text[first] == '.')
    for (char* at = text; *at != '\0'; ++at) *at = *at == '.' ? '/' : *at == '/' ? '.' : *at;
  const Path path("/proc/sys", text);
  const int fd = open(path.text, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0 || !WriteAll(fd, value, strlen(value))) Die(path.text);
  close(fd);
}

void Pin(const char* folder, const char* name, const char* source) {
  const Path place(folder, name);
  const int fd = open(place.text, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0400);
  if (fd < 0) Die(place.text);
  close(fd);
  if (mount(source, place.text, nullptr, MS_BIND, nullptr) != 0) Die(place.text);
}

// Our own program as a sealed file in memory: containers that share the pid namespace see /proc/1/exe, and
// must not find the host's file behind it.
int Self() {
  const int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  const int to = memfd_create("pause", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  struct stat info {};
  if (from < 0 || to < 0 || fstat(from, &info) != 0) Die("copy the pause program");
  for (off_t at = 0; at < info.st_size;)
    if (sendfile(to, from, &at, static_cast<size_t>(info.st_size - at)) <= 0) Die("copy the pause program");
  if (fchmod(to, 0111) != 0 ||
      fcntl(to, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    Die("seal the pause program");
  close(from);
  return to;
}

// An empty, read-only root: through /proc/1/root there is nothing to be found.
void LeaveFileSystem(const char* folder) {
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    Die("leave the mount namespace");
  if (mount("none", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=2,mode=555") != 0)
    Die("mount an empty root");
  if (chdir(folder) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 ||
      chdir("/") != 0)
    Die("enter an empty root");
  if (mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
            nullptr) != 0)
    Die("make the root read-only");
}

[[noreturn]] void BecomePause(const char* folder, int self, int go) {
  if (setsid() < 0) Die("make a session");
  LeaveFileSystem(folder);
  const gid_t none = 65535;
  if (syscall(SYS_setgroups, 0, nullptr) != 0 || setresgid(none, none, none) != 0 ||
      setresuid(65535, 65535, 65535) != 0)
    Die("change the identity");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Die("give up privileges");
  (void)WriteAll(go, "1", 1);
  for (int fd = 0; fd < 3; ++fd) close(fd);
#ifdef BERTH_SANITIZED
  _exit(Pause());  // as we are: a sanitizer's libraries are not in an empty root
#endif
  char name[] = "pause";
  char* argv[] = {name, nullptr};
  char* env[] = {nullptr};
  syscall(SYS_execveat, self, "", argv, env, AT_EMPTY_PATH);
  _exit(1);
}

}  // namespace

int Pause() {
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_NAME, "pause");
  sigset_t set;
  sigemptyset(&set);
  const int ours[] = {SIGCHLD, SIGTERM, SIGINT};
  for (const int s : ours) sigaddset(&set, s);
  sigprocmask(SIG_SETMASK, &set, nullptr);
  while (true) {
    int got = 0;
    if (sigwait(&set, &got) != 0) continue;
    if (got != SIGCHLD) return 0;
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

// argv: FOLDER HOSTNAME KINDS [SYSCTL=VALUE…]
int Sandbox(int argc, char** argv) {
  if (argc < 3 || argv[0][0] != '/') return 64;
  const char *folder = argv[0], *hostname = argv[1], *kinds = argv[2];
  const bool net = strchr(kinds, 'n') != nullptr, ipc = strchr(kinds, 'i') != nullptr,
             uts = strchr(kinds, 'u') != nullptr;
  const int flags = (net ? CLONE_NEWNET : 0) | (ipc ? CLONE_NEWIPC : 0) | (uts ? CLONE_NEWUTS : 0);
  if (flags != 0 && unshare(flags) != 0) Die("make namespaces");
  if (net) LoopbackUp();
  if (uts && sethostname(hostname, strlen(hostname)) != 0) Die("set the host name");
  for (int i = 3; i < argc; ++i) SetSysctl(argv[i]);
  if (net) Pin(folder, "net", "/proc/self/ns/net");
  if (ipc) Pin(folder, "ipc", "/proc/self/ns/ipc");
  if (uts) Pin(folder, "uts", "/proc/self/ns/uts");
  if (strchr(kinds, 'p') == nullptr) return 0;

  const int self = Self();
  int go[2];
  if (pipe2(go, O_CLOEXEC) != 0 || unshare(CLONE_NEWPID) != 0) Die("make a pid namespace");
  const pid_t pause = fork();
  if (pause < 0) Die("fork");
  if (pause == 0) BecomePause(folder, self, go[1]);
  close(go[1]);
  // The record comes first: a pause process that nobody knows would stay for ever.
  char ready = 0;
  if (!RecordProcess(folder, launch::kPauseFile, pause)) {
    kill(pause, SIGKILL);
    Die("record the pause process");
  }
  Pin(folder, "pid", "/proc/self/ns/pid_for_children");
  return read(go[0], &ready, 1) == 1 ? 0 : 1;
}

// argv: hybrid|none PROGRAM ARG…
int View(int argc, char** argv) {
  if (argc < 2 || argv[1][0] != '/') return 64;
  const bool hybrid = strcmp(argv[0], "hybrid") == 0;
  if (!hybrid && strcmp(argv[0], "none") != 0) return 64;
  // Slaves: what is mounted on the host arrives, what is unmounted here stays there.
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    Die("make a mount namespace");
  if (hybrid) {
    if (umount2("/sys/fs/cgroup/unified", MNT_DETACH) != 0) Die("/sys/fs/cgroup/unified");
  } else {
    (void)umount2("/sys/fs/cgroup", MNT_DETACH);
    if (mount("cgroup", "/sys/fs/cgroup", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=755") !=
        0)
      Die("/sys/fs/cgroup");
  }
  execv(argv[1], argv + 1);
  Die(argv[1]);
}

}  // namespace berth::shim
