#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/berth-shim/kernel.h"
#include "launch/shim.h"

namespace berth::shim {

static_assert(launch::kLogPartBytes == 16384, "part_ in kernel.h");

CriLog::CriLog(const char* path, uint64_t max_bytes, unsigned files)
    : path_(path), max_bytes_(max_bytes), files_(files) {}

bool CriLog::Open() {
  if (fd_ >= 0) close(fd_);
  fd_ = open(path_, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0640);
  struct stat info {};
  if (fd_ < 0 || fstat(fd_, &info) != 0) return false;
  size_ = static_cast<uint64_t>(info.st_size);
  device_ = info.st_dev;
  inode_ = info.st_ino;
  return true;
}

void CriLog::Take(int stream, const char* data, size_t size) {
  size_t& have = part_size_[stream];
  while (size > 0) {
    const char* end = static_cast<const char*>(memchr(data, '\n', size));
    const size_t line = end != nullptr ? static_cast<size_t>(end - data) : size;
    // A part goes out when more of its line is known to follow: a line of exactly the size of a part is one
    // full record.
    if (have == sizeof part_[stream] && line > 0) {
      Record(stream, part_[stream], have, false);
      have = 0;
    }
    const size_t room = sizeof part_[stream] - have;
    const size_t take = line < room ? line : room;
    memcpy(part_[stream] + have, data, take);
    have += take;
    data += take;
    size -= take;
    if (take == line && end != nullptr) {
      Record(stream, part_[stream], have, true);
      have = 0;
      ++data;
      --size;
    }
  }
  Flush();
}

void CriLog::Finish() {
  for (int stream = 0; stream < 2; ++stream) {
    if (part_size_[stream] > 0) Record(stream, part_[stream], part_size_[stream], false);
    part_size_[stream] = 0;
  }
  Flush();
  if (fd_ >= 0) (void)fdatasync(fd_);
}

void CriLog::Record(int stream, const char* data, size_t size, bool full) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char head[80], nanos[16];
  snprintf(nanos, sizeof nanos, ".%09ld", now.tv_nsec);
  for (size_t last = 9; last > 0 && nanos[last] == '0'; --last) nanos[last] = '\0';  // 14:50:00.12, 14:50:00
  if (nanos[1] == '\0') nanos[0] = '\0';
  const int n = snprintf(head, sizeof head, "%04d-%02d-%02dT%02d:%02d:%02d%sZ %s %s ", utc.tm_year + 1900,
                         utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, nanos,
                         stream == 0 ? "stdout" : "stderr", full ? "F" : "P");
  const size_t record = static_cast<size_t>(n) + size + 1;
  // Between two records: a file never ends within one.
  const bool full_file = max_bytes_ > 0 && size_ + out_size_ > 0 && size_ + out_size_ + record > max_bytes_;
  if (full_file || out_size_ + record > sizeof out_) Flush();
  if (full_file) Rotate();
  Append(head, static_cast<size_t>(n));
  Append(data, size);
  Append("\n", 1);
}

void CriLog::Append(const char* data, size_t size) {
  memcpy(out_ + out_size_, data, size);
  out_size_ += size;
}

void CriLog::Flush() {
  if (out_size_ == 0) return;
  CheckRenamed();
  if (fd_ >= 0 && WriteAll(fd_, out_, out_size_)) size_ += out_size_;
  out_size_ = 0;
}

void CriLog::CheckRenamed() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  if (now.tv_sec == checked_ && fd_ >= 0) return;
  checked_ = now.tv_sec;
  struct stat info {};
  if (fd_ < 0 || stat(path_, &info) != 0 || info.st_dev != device_ || info.st_ino != inode_) (void)Open();
}

void CriLog::Rotate() {
  char folder[4096], wanted[4096];
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  snprintf(folder, sizeof folder, "%s", path_);
  char* slash = strrchr(folder, '/');
  if (slash == nullptr) return;
  *slash = '\0';
  const char* base = slash + 1;
  // The kubelet's name, made unique within a second; names sort by age.
  if (snprintf(wanted, sizeof wanted, "%s.%04d%02d%02d-%02d%02d%02d.%09ld", path_, utc.tm_year + 1900,
               utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
               now.tv_nsec) >= static_cast<int>(sizeof wanted))
    return;
  if (rename(path_, wanted) != 0) return;
  (void)Open();
  const size_t base_size = strlen(base);
  while (true) {  // the oldest of too many, until there are not too many
    DIR* dir = opendir(folder[0] == '\0' ? "/" : folder);
    if (dir == nullptr) return;
    char oldest[256] = "";
    unsigned count = 1;  // the one being written
    while (const dirent* entry = readdir(dir)) {
      if (strncmp(entry->d_name, base, base_size) != 0 || entry->d_name[base_size] != '.') continue;
      ++count;
      if (oldest[0] == '\0' || strcmp(entry->d_name, oldest) < 0)
        snprintf(oldest, sizeof oldest, "%s", entry->d_name);
    }
    closedir(dir);
    if (count <= (files_ < 1 ? 1 : files_) || oldest[0] == '\0') return;
    if (unlink(Path(folder, oldest).text) != 0) return;
  }
}

}  // namespace berth::shim
