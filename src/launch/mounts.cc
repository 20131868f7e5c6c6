#include "launch/mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "host/mount.h"

namespace berth::launch::internal {

Result<std::string> RealPath(const host::Dir& dir) {
  std::string out(PATH_MAX, '\0');
  const auto n = ::readlink(("/proc/self/fd/" + std::to_string(dir.fd())).c_str(), out.data(), out.size());
  if (n <= 0) return host::OsError(errno, "find a directory's path");
  out.resize(static_cast<std::size_t>(n));
  return out;
}

Result<std::vector<std::string>> MountsBelow(const std::string& path) {
  ASSIGN_OR_RETURN(const auto all, host::ListMounts());
  std::vector<std::string> out;
  for (const auto& mount : all)
    if (mount.target == path || mount.target.starts_with(path + "/")) out.push_back(mount.target);
  std::reverse(out.begin(), out.end());  // what came later lies on top
  return out;
}

Result<> UnmountBelow(const task::Context& ctx, const std::string& path) {
  ASSIGN_OR_RETURN(const auto targets, MountsBelow(path));
  for (const std::string& target : targets) {
    RETURN_IF_ERROR(ctx.Check());
    auto done = host::Unmount(target);
    if (!done && done.error().reason() == Reason::kInUse) done = host::Unmount(target, host::Lazy::kYes);
    if (!done) return std::move(done).error().Context("unmount " + Quoted(target));
  }
  return {};
}

Result<> MountTmpfs(const std::string& target, const std::string& options, unsigned long flags) {
  if (::mount("tmpfs", target.c_str(), "tmpfs", flags, options.c_str()) == 0) return {};
  return host::OsError(errno, "mount a tmpfs on " + Quoted(target));
}

Result<> BindFd(int fd, const std::string& target) {
  if (::mount(("/proc/self/fd/" + std::to_string(fd)).c_str(), target.c_str(), nullptr, MS_BIND | MS_REC,
              nullptr) != 0)
    return host::OsError(errno, "bind on " + Quoted(target));
  // Nothing that is mounted in it goes back to where it came from.
  if (::mount(nullptr, target.c_str(), nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return host::OsError(errno, "isolate " + Quoted(target));
  return {};
}

Result<> SetAttributes(int fd, std::uint32_t mode, std::optional<std::uint32_t> group) {
  if (group && ::fchownat(fd, "", static_cast<uid_t>(-1), *group, AT_EMPTY_PATH) != 0)
    return host::OsError(errno, "set the group in a volume");
  if (::chmod(("/proc/self/fd/" + std::to_string(fd)).c_str(), mode) != 0)
    return host::OsError(errno, "set a mode in a volume");
  return {};
}

}  // namespace berth::launch::internal
