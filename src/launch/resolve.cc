#include "launch/resolve.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace berth::launch::internal {

Result<host::Fd> OpenWithin(int at, std::string_view path, Within within, int flags, std::string_view what) {
  if (path.find('\0') != std::string_view::npos)
    return Error(Reason::kUsage, std::string(what) + ": a NUL byte in the path");
  const std::string name(path);
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_NO_MAGICLINKS | (within == Within::kInRoot ? RESOLVE_IN_ROOT : RESOLVE_BENEATH);
  long fd = -1;
  for (int i = 0; i < 128; ++i) {
    fd = ::syscall(SYS_openat2, at, name.c_str(), &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;  // a rename raced with it
  }
  if (fd >= 0) return host::Fd(static_cast<int>(fd));
  if (errno == EXDEV || errno == ELOOP)
    return Error(Reason::kDenied, std::string(what) + ": " + Quoted(path) + " leads out of its place");
  if (errno == ENOSYS)
    return Error(Reason::kUnsupported,
                 "this kernel has no openat2, which opening files of others safely needs");
  return host::OsError(errno, what);
}

}  // namespace berth::launch::internal
