#include "apps/berth-shim/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

namespace berth::shim {

void Die(const char* what) {
  fprintf(stderr, "berth-shim: %s: %s\n", what, strerrordesc_np(errno));
  _exit(1);
}

Path::Path(const char* folder, const char* name) {
  if (snprintf(text, sizeof text, "%s/%s", folder, name) >= static_cast<int>(sizeof text)) {
    errno = ENAMETOOLONG;
    Die(folder);
  }
}

bool WriteAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

bool WriteDurably(const char* folder, const char* name, const char* data, size_t size) {
  char temporary[64];
  snprintf(temporary, sizeof temporary, ".tmp-%s", name);
  const Path from(folder, temporary), to(folder, name);
  const int fd = open(from.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  const bool good = WriteAll(fd, data, size) && fsync(fd) == 0;
  close(fd);
  if (!good || rename(from.text, to.text) != 0) return false;
  const int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return false;
  (void)fsync(dir);
  close(dir);
  return true;
}

ssize_t ReadText(const char* path, char* out, size_t room) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t have = 0;
  while (have + 1 < room) {
    const ssize_t n = read(fd, out + have, room - 1 - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += static_cast<size_t>(n);
  }
  out[have] = '\0';
  close(fd);
  return static_cast<ssize_t>(have);
}

uint64_t StartTime(pid_t pid) {
  char path[32], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  if (ReadText(path, text, sizeof text) <= 0) return 0;
  const char* at = strrchr(text, ')');  // the name may hold spaces and parentheses
  for (int field = 2; at != nullptr && field < 22; ++field) at = strchr(at + 1, ' ');
  return at == nullptr ? 0 : strtoull(at + 1, nullptr, 10);
}

bool RecordProcess(const char* folder, const char* name, pid_t pid) {
  char boot[64], text[256];
  if (ReadText("/proc/sys/kernel/random/boot_id", boot, sizeof boot) < 0) return false;
  boot[strcspn(boot, "\n")] = '\0';
  const int n = snprintf(text, sizeof text, "{\"pid\":%d,\"startTime\":%llu,\"bootId\":\"%s\"}\n", pid,
                         static_cast<unsigned long long>(StartTime(pid)), boot);
  return WriteDurably(folder, name, text, static_cast<size_t>(n));
}

void LetGoOfStdio() {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int fd = 0; fd < 3; ++fd) (void)dup2(null, fd);
  if (null > 2) close(null);
}

}  // namespace berth::shim
