#include "host/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>

namespace berth::host {
namespace {

template <class Call>
auto Retry(Call call) {
  decltype(call()) r;
  do r = call();
  while (r < 0 && errno == EINTR);
  return r;
}

// Linux moves at most this much per call.
constexpr std::size_t kMost = 0x7ffff000;

bool WouldBlock(int e) { return e == EAGAIN || e == EWOULDBLOCK; }

// A full non-blocking pipe is the caller's mistake unless it polls: say so instead of spinning.
Error WriteError(int e) {
  if (e == EPIPE) return Error(Reason::kConnectionReset, "write: the other end is closed");
  if (WouldBlock(e)) return Error(Reason::kInternal, "write: a non-blocking descriptor is full");
  return OsError(e, "write");
}

}  // namespace

Error OsError(int saved_errno, std::string_view what) {
  const auto as = [&](Reason reason) { return Error(reason, result::FromErrno(saved_errno, what).message()); };
  switch (saved_errno) {
    case ENOENT: return as(Reason::kMissing);
    case EEXIST: return as(Reason::kConflict);
    case EBUSY: case ETXTBSY: case ENOTEMPTY: return as(Reason::kInUse);
    case EMFILE: case ENFILE: case ENOMEM: case EROFS: return as(Reason::kUnavailable);
    default: return result::FromErrno(saved_errno, what);
  }
}

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);  // never retried: Linux frees the number even on EINTR
  fd_ = fd;
}

Result<> Fd::Close() {
  if (fd_ < 0) return {};
  if (::close(release()) != 0 && errno != EINTR) return OsError(errno, "close");
  return {};
}

Result<> WriteAll(int fd, bytes::View data) {
  while (!data.empty()) {
    const ssize_t n = Retry([&] { return ::write(fd, data.data(), std::min(data.size(), kMost)); });
    if (n < 0) return WriteError(errno);
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

Result<> PwriteAll(int fd, bytes::View data, std::uint64_t offset) {
  while (!data.empty()) {
    const ssize_t n =
        Retry([&] { return ::pwrite(fd, data.data(), std::min(data.size(), kMost), static_cast<off_t>(offset)); });
    if (n < 0) return WriteError(errno);
    data = data.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}

Result<> PwritevAll(int fd, std::span<const bytes::View> pieces, std::uint64_t offset) {
  constexpr std::size_t kBatch = 64;
  std::size_t skip = 0;  // bytes of pieces[0] that are written
  while (!pieces.empty()) {
    std::array<iovec, kBatch> batch;
    std::size_t count = 0, total = 0;
    for (const bytes::View& piece : pieces) {
      if (count == kBatch || total >= kMost) break;
      const bytes::View rest = piece.subspan(count == 0 ? skip : 0);
      const std::size_t length = std::min(rest.size(), kMost - total);
      batch[count++] = {const_cast<std::byte*>(rest.data()), length};  // NOLINT: iovec has no const
      total += length;
    }
    std::size_t done = 0;
    if (total > 0) {
      const ssize_t n =
          Retry([&] { return ::pwritev(fd, batch.data(), static_cast<int>(count), static_cast<off_t>(offset)); });
      if (n < 0) return WriteError(errno);
      done = static_cast<std::size_t>(n);
    }
    offset += done;
    done += skip;
    while (!pieces.empty() && done >= pieces.front().size()) {
      done -= pieces.front().size();
      pieces = pieces.subspan(1);
    }
    skip = done;
  }
  return {};
}

Result<std::size_t> ReadSome(int fd, bytes::MutableView room) {
  const ssize_t n = Retry([&] { return ::read(fd, room.data(), std::min(room.size(), kMost)); });
  if (n < 0) return WouldBlock(errno) ? Error(Reason::kInternal, "read: a non-blocking descriptor is empty") : OsError(errno, "read");
  return static_cast<std::size_t>(n);
}

Result<> ReadExact(int fd, bytes::MutableView room) {
  while (!room.empty()) {
    ASSIGN_OR_RETURN(const std::size_t n, ReadSome(fd, room));
    if (n == 0) return Error(Reason::kUnexpectedEof, std::to_string(room.size()) + " bytes are missing at the end");
    room = room.subspan(n);
  }
  return {};
}

Result<std::size_t> PreadSome(int fd, bytes::MutableView room, std::uint64_t offset) {
  const ssize_t n = Retry([&] { return ::pread(fd, room.data(), std::min(room.size(), kMost), static_cast<off_t>(offset)); });
  if (n < 0) return OsError(errno, "read");
  return static_cast<std::size_t>(n);
}

Result<> PreadExact(int fd, bytes::MutableView room, std::uint64_t offset) {
  while (!room.empty()) {
    ASSIGN_OR_RETURN(const std::size_t n, PreadSome(fd, room, offset));
    if (n == 0) return Error(Reason::kUnexpectedEof, std::to_string(room.size()) + " bytes are missing at the end");
    room = room.subspan(n);
    offset += n;
  }
  return {};
}

Result<> SyncFile(int fd) {
  // EINTR does not happen on disk file systems; where it does, the outcome is unknown, and that is a failure.
  if (::fsync(fd) != 0) return OsError(errno, "fsync");
  return {};
}

Result<> SyncFileSystem(int fd) {
  if (::syncfs(fd) != 0) return OsError(errno, "syncfs");
  return {};
}

Result<> StartWriteback(int fd, std::uint64_t offset, std::uint64_t length) {
  const int r = Retry([&] {
    return ::sync_file_range(fd, static_cast<off_t>(offset), static_cast<off_t>(length), SYNC_FILE_RANGE_WRITE);
  });
  // A hint: file systems and filters without it do no harm. The final SyncFile reports real write errors.
  if (r != 0 && errno != ENOSYS && errno != EOPNOTSUPP && errno != ESPIPE && errno != EPERM)
    return OsError(errno, "start write-back");
  return {};
}

Result<> Preallocate(int fd, std::uint64_t length) {
  if (length == 0) return {};
  const int r = Retry([&] { return ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(length)); });
  if (r != 0 && errno != EOPNOTSUPP && errno != ENOSYS) return OsError(errno, "reserve disk space");
  return {};
}

Result<> Truncate(int fd, std::uint64_t length) {
  if (Retry([&] { return ::ftruncate(fd, static_cast<off_t>(length)); }) != 0) return OsError(errno, "truncate");
  return {};
}

Result<Fd> MemFd(std::string_view name, bytes::View contents) {
  Fd fd(::memfd_create(std::string(name).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return OsError(errno, "make a memory file");
  RETURN_IF_ERROR(PwriteAll(fd.get(), contents, 0));
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
    return OsError(errno, "seal a memory file");
  return fd;
}

Result<FileInfo> Stat(int fd) {
  struct stat st;
  if (::fstatat(fd, "", &st, AT_EMPTY_PATH) != 0) return OsError(errno, "stat");
  FileInfo info;
  switch (st.st_mode & S_IFMT) {
    case S_IFREG: info.kind = FileKind::kFile; break;
    case S_IFDIR: info.kind = FileKind::kDirectory; break;
    case S_IFLNK: info.kind = FileKind::kSymlink; break;
    case S_IFCHR: info.kind = FileKind::kCharDevice; break;
    case S_IFBLK: info.kind = FileKind::kBlockDevice; break;
    case S_IFIFO: info.kind = FileKind::kFifo; break;
    default: info.kind = FileKind::kSocket; break;
  }
  info.mode = st.st_mode & 07777;
  info.uid = st.st_uid;
  info.gid = st.st_gid;
  info.size = static_cast<std::uint64_t>(st.st_size);
  info.allocated = static_cast<std::uint64_t>(st.st_blocks) * 512;
  info.device = st.st_dev;
  info.inode = st.st_ino;
  info.links = st.st_nlink;
  info.mtime_seconds = st.st_mtim.tv_sec;
  info.mtime_nanos = static_cast<std::uint32_t>(st.st_mtim.tv_nsec);
  return info;
}

Result<Fd> DuplicateFd(int fd) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy.valid()) return OsError(errno, "duplicate a descriptor");
  return copy;
}

Result<Pipe> MakePipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return OsError(errno, "make a pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<> SetNonBlocking(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) != 0)
    return OsError(errno, "set a descriptor's mode");
  return {};
}

}  // namespace berth::host
