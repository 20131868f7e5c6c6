// apps/berth-shim/kernel.h: the few things every part of the shim does with the kernel. C library only, no allocation, one thread.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

namespace berth::shim {

// "berth-shim: WHAT: errno text" on stderr, exit 1.
[[noreturn]] void Die(const char* what);

// FOLDER/NAME; dies when it does not fit.
struct Path {
  char text[4096];
  Path(const char* folder, const char* name);
};

bool WriteAll(int fd, const char* data, size_t size);
// Temporary name, fsync, rename, fsync of the folder. False with errno.
bool WriteDurably(const char* folder, const char* name, const char* data, size_t size);
// At most room - 1 bytes, NUL-terminated; the length or -1.
ssize_t ReadText(const char* path, char* out, size_t room);
// Field 22 of /proc/PID/stat; 0 when there is no such process.
uint64_t StartTime(pid_t pid);
// {"pid":…,"startTime":…,"bootId":"…"} durably into FOLDER/NAME.
bool RecordProcess(const char* folder, const char* name, pid_t pid);
// Descriptors 0, 1, 2 become /dev/null.
void LetGoOfStdio();

// The container's log: see launch/shim.h.
class CriLog {
 public:
  CriLog(const char* path, uint64_t max_bytes, unsigned files);
  // False when it cannot be opened; later failures lose lines, never block the container.
  bool Open();
  // Stream 0 is stdout, 1 stderr.
  void Take(int stream, const char* data, size_t size);
  void Finish();  // what is left of unfinished lines
  void Flush();

 private:
  void Record(int stream, const char* data, size_t size, bool full);
  void Append(const char* data, size_t size);
  void Rotate();
  void CheckRenamed();

  const char* path_;
  const uint64_t max_bytes_;
  const unsigned files_;
  int fd_ = -1;
  uint64_t size_ = 0, device_ = 0, inode_ = 0;
  time_t checked_ = 0;
  char part_[2][16384];
  size_t part_size_[2] = {0, 0};
  char out_[65536];
  size_t out_size_ = 0;
};

int Run(int argc, char** argv);
int Sandbox(int argc, char** argv);
int Pause();
int View(int argc, char** argv);

}  // namespace berth::shim
