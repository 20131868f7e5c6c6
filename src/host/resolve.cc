#include "host/resolve.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

namespace berth::host::internal {

int OpenAt2(int at, const char* path, std::uint64_t flags, std::uint64_t mode, std::uint64_t resolve) {
  open_how how{};
  how.flags = flags;
  how.mode = mode;
  how.resolve = resolve;
  for (int i = 0; i < 128; ++i) {
    const long fd = ::syscall(SYS_openat2, at, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return static_cast<int>(fd);
  }
  return -1;
}

bool HaveOpenAt2() {
  static const bool have = [] {
    const Fd fd(OpenAt2(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0, RESOLVE_NO_MAGICLINKS));
    return fd.valid() || (errno != ENOSYS && errno != EPERM);
  }();
  return have;
}

Result<> CheckName(std::string_view name) {
  bool good = !name.empty() && name.size() <= ZName::kMax && name.find('\0') == std::string_view::npos;
  for (std::string_view rest = name; good && !rest.empty();) {
    const auto slash = rest.find('/');
    const auto part = rest.substr(0, slash);
    good = !part.empty() && part != "." && part != ".." && slash != rest.size() - 1;
    rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  }
  if (!good) return Error(Reason::kUsage, Quoted(name) + " is not a relative name without \".\" and \"..\"");
  return {};
}

int WalkBeneath(int at, std::string_view name, int flags, std::uint32_t mode, bool stay) {
  struct stat top;
  if (stay && ::fstatat(at, "", &top, AT_EMPTY_PATH) != 0) return -1;
  Fd here;
  while (true) {
    const auto slash = name.find('/');
    const bool last = slash == std::string_view::npos;
    const ZName part(name.substr(0, slash));
    const int how = last ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC;
    Fd next(::openat(here.valid() ? here.get() : at, part.c_str(), how | O_NOFOLLOW, mode));
    if (!next.valid()) return -1;
    struct stat st;
    if (::fstatat(next.get(), "", &st, AT_EMPTY_PATH) != 0) return -1;
    // O_PATH | O_NOFOLLOW opens the link itself.
    if (S_ISLNK(st.st_mode)) return errno = ELOOP, -1;
    if (stay && st.st_dev != top.st_dev) return errno = EXDEV, -1;
    if (last) return next.release();
    here = std::move(next);
    name.remove_prefix(slash + 1);
  }
}

int OpenBeneath(int at, std::string_view name, int flags, std::uint32_t mode, bool stay) {
  if (!HaveOpenAt2()) return WalkBeneath(at, name, flags, mode, stay);
  constexpr std::uint64_t kStrict = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  // openat2 refuses a mode where nothing can be created.
  const std::uint64_t used = (flags & O_CREAT) != 0 ? mode : 0;
  return OpenAt2(at, ZName(name).c_str(), static_cast<std::uint64_t>(flags | O_NOFOLLOW), used,
                 kStrict | (stay ? RESOLVE_NO_XDEV : 0));
}

namespace {

bool SyncNames(int dir) {
  const Fd fd(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return fd.valid() && ::fsync(fd.get()) == 0;
}

}  // namespace

int RenameNew(int from_dir, const char* from, int to_dir, const char* to, RenameCall call) {
  if (call(from_dir, from, to_dir, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return -1;
  struct stat st;
  if (::fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) != 0) return -1;
  if (!S_ISDIR(st.st_mode)) {
    if (::linkat(from_dir, from, to_dir, to, 0) != 0) return -1;
    if (SyncNames(to_dir) && ::unlinkat(from_dir, from, 0) == 0) return 0;
    const int why = errno;
    (void)::unlinkat(to_dir, to, 0);
    errno = why;
    return -1;
  }
  if (::fstatat(to_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0) errno = EEXIST;
  return errno == ENOENT ? call(from_dir, from, to_dir, to, 0) : -1;
}

}  // namespace berth::host::internal
