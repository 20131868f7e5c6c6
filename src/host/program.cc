#include "host/program.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

namespace berth::host {
namespace {

// Who else than root and us may change it; "" for nobody.
std::string Stranger(const struct stat& s) {
  if (s.st_uid != 0 && s.st_uid != ::geteuid()) return "belongs to user " + std::to_string(s.st_uid);
  if (S_ISDIR(s.st_mode) && (s.st_mode & S_ISVTX) != 0) return "";
  if ((s.st_mode & S_IWOTH) != 0) return "may be written by everybody";
  if ((s.st_mode & S_IWGRP) != 0 && s.st_gid != 0) return "may be written by group " + std::to_string(s.st_gid);
  return "";
}

Result<> TrustFolder(int fd) {
  std::array<char, PATH_MAX> room;
  const ssize_t n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), room.data(), room.size());
  if (n <= 0 || static_cast<std::size_t>(n) == room.size() || room[0] != '/') return OsError(n < 0 ? errno : ENAMETOOLONG, "resolve a folder");
  // Without links, so each prefix is a real parent.
  std::string path(room.data(), static_cast<std::size_t>(n));
  while (true) {
    struct stat s {};
    if (::lstat(path.c_str(), &s) != 0) return OsError(errno, "stat " + Quoted(path));
    if (const auto why = Stranger(s); !why.empty()) return Error(Reason::kPolicy, "folder " + Quoted(path) + " " + why);
    if (path == "/") return {};
    path.resize(path.rfind('/'));
    if (path.empty()) path = "/";
  }
}

}  // namespace

Result<Fd> OpenProgram(const std::string& folder, std::string_view name, Trust trust) {
  if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string_view("/\0", 2)) != name.npos || name.size() > NAME_MAX)
    return Error(Reason::kUsage, Quoted(name) + " is no name of a program");
  const Fd dir(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid()) return OsError(errno, "open folder " + Quoted(folder));
  const bool strict = trust == Trust::kStrict;
  if (strict) RETURN_IF_ERROR(TrustFolder(dir.get()));
  const std::string what = "program " + Quoted(folder + "/" + std::string(name));
  Fd fd(::openat(dir.get(), std::string(name).c_str(), O_PATH | O_CLOEXEC | (strict ? O_NOFOLLOW : 0)));
  if (!fd.valid()) return OsError(errno, "open " + what);
  struct stat s {};
  if (::fstat(fd.get(), &s) != 0) return OsError(errno, "stat " + what);
  if (S_ISLNK(s.st_mode)) return Error(Reason::kPolicy, what + " is a symbolic link");
  if (!S_ISREG(s.st_mode)) return Error(Reason::kIo, what + " is no regular file");
  if (strict)
    if (const auto why = Stranger(s); !why.empty()) return Error(Reason::kPolicy, what + " " + why);
  if ((s.st_mode & 0111) == 0) return Error(Reason::kIo, what + " is not executable");
  return fd;
}

}  // namespace berth::host
