// host/fd.h: descriptors, and reading and writing through them without surprises.
//
// Every call here retries EINTR, goes on after short transfers and never raises SIGPIPE on purpose (the programs ignore
// that signal). All descriptors are made close-on-exec. Functions that take an `int` borrow it.
//
// Errors: OsError() maps what the system said: kNoSpace (ENOSPC, EDQUOT), kMissing (ENOENT), kConflict (EEXIST), kInUse
// (EBUSY, ETXTBSY, ENOTEMPTY), kUnavailable (EMFILE, ENFILE, ENOMEM, EROFS), the rest kIo. kNotFound is never the answer: that
// is what a registry says of an image.
// Calls on regular files may block for as long as the disk does; no Context can interrupt that. Waiting for pipes and
// processes is host/poll.h and host/process.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include "bytes/bytes.h"
#include "result/result.h"

namespace berth::host {

// `what` names operation and object ("open layer data"). Capture errno before anything else can change it.
Error OsError(int saved_errno, std::string_view what);

// Owns one descriptor. Move-only; closes on destruction.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& o) noexcept : fd_(o.release()) {}
  Fd& operator=(Fd&& o) noexcept {
    if (this != &o) reset(o.release());
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);
  // Closes and reports what close() found late (network file systems). The descriptor is gone either way.
  Result<> Close();

 private:
  int fd_ = -1;
};

Result<> WriteAll(int fd, bytes::View data);
Result<> PwriteAll(int fd, bytes::View data, std::uint64_t offset);
// The pieces one after the other from `offset`; any number of pieces.
Result<> PwritevAll(int fd, std::span<const bytes::View> pieces, std::uint64_t offset);
// Fills a prefix of `room`; 0 only at the end (or when `room` is empty).
Result<std::size_t> ReadSome(int fd, bytes::MutableView room);
// All of `room`, or kUnexpectedEof.
Result<> ReadExact(int fd, bytes::MutableView room);
Result<> PreadExact(int fd, bytes::MutableView room, std::uint64_t offset);
Result<std::size_t> PreadSome(int fd, bytes::MutableView room, std::uint64_t offset);

// fsync. A failure is final for the file: the kernel may have marked its pages clean, so a second fsync that succeeds
// proves nothing. Throw the file away (reliability-security 5.4 step 5).
Result<> SyncFile(int fd);
// syncfs of the file system that `fd` is on; reports write-back errors since kernel 5.8.
Result<> SyncFileSystem(int fd);
// Starts write-back of the range and returns at once; keeps the final SyncFile short. Not a durability promise.
Result<> StartWriteback(int fd, std::uint64_t offset, std::uint64_t length);
// Reserves blocks; a file system that cannot is not an error. Does not change the file's size.
Result<> Preallocate(int fd, std::uint64_t length);
Result<> Truncate(int fd, std::uint64_t length);

// A sealed, read-only file in memory that holds `contents`, positioned at 0. `name` is for /proc only.
Result<Fd> MemFd(std::string_view name, bytes::View contents);

enum class FileKind : std::uint8_t { kFile, kDirectory, kSymlink, kCharDevice, kBlockDevice, kFifo, kSocket };

struct FileInfo {
  FileKind kind = FileKind::kFile;
  std::uint32_t mode = 0;  // low 12 bits
  std::uint32_t uid = 0, gid = 0;
  std::uint64_t size = 0;
  std::uint64_t allocated = 0;  // bytes on disk
  std::uint64_t device = 0, inode = 0;
  std::uint64_t links = 0;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanos = 0;
};
Result<FileInfo> Stat(int fd);

Result<Fd> DuplicateFd(int fd);

struct Pipe { Fd read, write; };
Result<Pipe> MakePipe();
Result<> SetNonBlocking(int fd, bool on);

}  // namespace berth::host
