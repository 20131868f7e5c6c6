#include "host/dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "host/machine.h"
#include "host/resolve.h"
#include "host/tree_remover.h"

namespace berth::host {
namespace {

using internal::CheckName;
using internal::OpenBeneath;
using internal::ZName;

Error Failed(std::string_view verb, std::string_view name) {
  const int e = errno;
  const std::string what = std::string(verb) + " " + Quoted(name);
  if (e == ELOOP) return Error(Reason::kIo, what + ": a symbolic link is in the way, and none is followed");
  return OsError(e, what);
}

// The directory that holds the last component of a checked name. Borrows `dir` for names of one component.
struct Leaf {
  Fd opened;
  int parent = -1;
  ZName name;
};
Result<Leaf> FindLeaf(int dir, std::string_view name) {
  RETURN_IF_ERROR(CheckName(name));
  const auto slash = name.rfind('/');
  if (slash == std::string_view::npos) return Leaf{Fd(), dir, ZName(name)};
  Fd parent(OpenBeneath(dir, name.substr(0, slash), O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  if (!parent.valid()) return Failed("open", name.substr(0, slash));
  const int raw = parent.get();
  return Leaf{std::move(parent), raw, ZName(name.substr(slash + 1))};
}

Result<Fd> OpenFile(int dir, std::string_view name, int flags, std::uint32_t mode, std::string_view verb) {
  RETURN_IF_ERROR(CheckName(name));
  const int tty = (flags & O_PATH) != 0 ? 0 : O_NOCTTY;  // openat2 refuses the pair
  Fd fd(OpenBeneath(dir, name, flags | O_CLOEXEC | tty, mode));
  if (!fd.valid()) return Failed(verb, name);
  return fd;
}

// Of an open regular file.
Result<std::string> ReadUpTo(int fd, std::string_view name, std::size_t limit) {
  ASSIGN_OR_RETURN(const FileInfo info, Stat(fd));
  if (info.kind != FileKind::kFile) return Error(Reason::kIo, Quoted(name) + " is not a regular file");
  const auto too_large = [&] {
    return Error(Reason::kLimitExceeded, Quoted(name) + " is larger than " + std::to_string(limit) + " bytes");
  };
  if (info.size > limit) return too_large();
  // Files of /proc say 0: the size is a hint, the limit is the rule.
  std::string text;
  text.resize(std::min<std::size_t>(std::max<std::size_t>(info.size + 1, 4096), limit + 1));
  std::size_t length = 0;
  while (true) {
    ASSIGN_OR_RETURN(const std::size_t n, ReadSome(fd, std::as_writable_bytes(std::span(text).subspan(length))));
    length += n;
    if (length > limit) return too_large();
    if (n == 0) break;
    if (length == text.size()) text.resize(std::min(text.size() * 2, limit + 1));
  }
  text.resize(length);
  return text;
}

}  // namespace

Result<Dir> Dir::Open(std::string_view path) {
  if (path.empty() || path.size() > ZName::kMax || path.find('\0') != std::string_view::npos)
    return Error(Reason::kUsage, Quoted(path) + " is not a path");
  Fd fd(::openat(AT_FDCWD, ZName(path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return Failed("open directory", path);
  return Dir(std::move(fd));
}

Result<Dir> Dir::OpenDir(std::string_view name) const {
  ASSIGN_OR_RETURN(Fd fd, OpenFile(fd_.get(), name, O_PATH | O_DIRECTORY, 0, "open directory"));
  return Dir(std::move(fd));
}

Result<> Dir::MakeDir(std::string_view name, std::uint32_t mode) const {
  ASSIGN_OR_RETURN(const Leaf leaf, FindLeaf(fd_.get(), name));
  if (::mkdirat(leaf.parent, leaf.name.c_str(), mode) == 0) {
    // The umask took some of the bits away; the new directory is opened, not named again.
    const Fd made(OpenBeneath(leaf.parent, leaf.name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    struct stat st;
    if (!made.valid() || ::fstat(made.get(), &st) != 0 || ((st.st_mode & 07777) != mode && ::fchmod(made.get(), mode) != 0))
      return Failed("set the mode of directory", name);
    return {};
  }
  if (errno != EEXIST) return Failed("make directory", name);
  struct stat st;
  if (::fstatat(leaf.parent, leaf.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed("make directory", name);
  if (!S_ISDIR(st.st_mode)) return Error(Reason::kConflict, "make directory " + Quoted(name) + ": a file of that name exists");
  return {};
}

Result<Dir> Dir::MakeAndOpenDir(std::string_view name, std::uint32_t mode) const {
  RETURN_IF_ERROR(MakeDir(name, mode));
  return OpenDir(name);
}

Result<Fd> Dir::OpenRead(std::string_view name) const { return OpenFile(fd_.get(), name, O_RDONLY, 0, "open"); }
Result<Fd> Dir::CreateNew(std::string_view name, std::uint32_t mode) const {
  return OpenFile(fd_.get(), name, O_RDWR | O_CREAT | O_EXCL, mode, "create");
}
Result<Fd> Dir::CreateOrOpen(std::string_view name, std::uint32_t mode) const {
  return OpenFile(fd_.get(), name, O_RDWR | O_CREAT, mode, "create");
}

Result<> Dir::Rename(std::string_view from, const Dir& to_dir, std::string_view to, Replace replace) const {
  ASSIGN_OR_RETURN(const Leaf source, FindLeaf(fd_.get(), from));
  ASSIGN_OR_RETURN(const Leaf target, FindLeaf(to_dir.fd(), to));
  const char *old_name = source.name.c_str(), *new_name = target.name.c_str();
  const int done = replace == Replace::kNo ? internal::RenameNew(source.parent, old_name, target.parent, new_name, &::renameat2)
                                           : ::renameat2(source.parent, old_name, target.parent, new_name, 0);
  if (done != 0)
    return Failed("rename", std::string(from) + " to " + std::string(to));
  return {};
}

Result<bool> Dir::Unlink(std::string_view name) const {
  auto leaf = FindLeaf(fd_.get(), name);
  if (!leaf && leaf.error().reason() == Reason::kMissing) return false;
  if (!leaf) return std::move(leaf).error();
  if (::unlinkat(leaf->parent, leaf->name.c_str(), 0) == 0) return true;
  if (errno == ENOENT) return false;
  return Failed("unlink", name);
}

Result<bool> Dir::RemoveDir(std::string_view name) const {
  ASSIGN_OR_RETURN(const Leaf leaf, FindLeaf(fd_.get(), name));
  if (::unlinkat(leaf.parent, leaf.name.c_str(), AT_REMOVEDIR) == 0) return true;
  if (errno == ENOENT) return false;
  return Failed("remove directory", name);
}

Result<bool> Dir::Exists(std::string_view name) const {
  auto info = Stat(name);
  if (info) return true;
  if (info.error().reason() == Reason::kMissing) return false;
  return std::move(info).error();
}

Result<FileInfo> Dir::Stat(std::string_view name) const {
  ASSIGN_OR_RETURN(const Leaf leaf, FindLeaf(fd_.get(), name));
  const Fd fd(::openat(leaf.parent, leaf.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return Failed("stat", name);
  return host::Stat(fd.get());
}

Result<std::vector<std::string>> Dir::List() const {
  const Fd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return OsError(errno, "list a directory");
  std::vector<std::string> names;
  constexpr std::size_t kBuffer = 32u << 10;
  const auto buffer = std::make_unique_for_overwrite<char[]>(kBuffer);
  while (true) {
    const long n = ::syscall(SYS_getdents64, fd.get(), buffer.get(), kBuffer);
    if (n < 0) return OsError(errno, "list a directory");
    if (n == 0) break;
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer.get() + at);
      at += entry->d_reclen;
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) names.emplace_back(entry->d_name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<> Dir::Sync() const {
  const Fd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return OsError(errno, "open a directory to sync it");
  if (::fsync(fd.get()) != 0) return OsError(errno, "fsync of a directory");
  return {};
}

Result<bool> Dir::RemoveTree(std::string_view name) const { return RemoveTree(task::Context(), name); }

Result<bool> Dir::RemoveTree(const task::Context& ctx, std::string_view name) const {
  RETURN_IF_ERROR(ctx.Check());
  auto leaf = FindLeaf(fd_.get(), name);
  if (!leaf && leaf.error().reason() == Reason::kMissing) return false;
  if (!leaf) return std::move(leaf).error();
  return internal::RemoveTreeAt(ctx, leaf->parent, leaf->name.c_str());
}

Result<> Dir::WriteDurably(std::string_view name, bytes::View contents, std::uint32_t mode) const {
  ASSIGN_OR_RETURN(Leaf leaf, FindLeaf(fd_.get(), name));
  Dir parent;
  if (leaf.opened.valid()) {
    parent = Dir(std::move(leaf.opened));
  } else {
    ASSIGN_OR_RETURN(Fd copy, Duplicate());
    parent = Dir(std::move(copy));
  }
  const std::string temporary = ".tmp-" + RandomName();
  ASSIGN_OR_RETURN(Fd fd, parent.CreateNew(temporary, mode));
  const auto finish = [&]() -> Result<> {
    if (::fchmod(fd.get(), mode) != 0) return Failed("set the mode of", name);
    RETURN_IF_ERROR(WriteAll(fd.get(), contents));
    RETURN_IF_ERROR(SyncFile(fd.get()));
    RETURN_IF_ERROR(fd.Close());
    return parent.Rename(temporary, parent, leaf.name.c_str(), Replace::kYes);
  };
  if (auto done = finish(); !done) {
    (void)parent.Unlink(temporary);  // the first error is the one that counts
    return std::move(done).error().Context("write " + Quoted(name));
  }
  return parent.Sync();
}

Result<std::string> Dir::ReadSmall(std::string_view name, std::size_t limit) const {
  ASSIGN_OR_RETURN(const Fd fd, OpenFile(fd_.get(), name, O_RDONLY | O_NONBLOCK, 0, "open"));
  return ReadUpTo(fd.get(), name, limit);
}

Result<Space> Dir::FreeSpace() const {
  struct statvfs s;
  int r;
  do r = ::fstatvfs(fd_.get(), &s);
  while (r != 0 && errno == EINTR);
  if (r != 0) return OsError(errno, "ask for free space");
  return Space{s.f_blocks * s.f_frsize, s.f_bavail * s.f_frsize, s.f_bfree * s.f_frsize, s.f_files, s.f_ffree};
}

Result<std::string> ReadSmallFile(std::string_view path, std::size_t limit) {
  if (path.empty() || path.size() > ZName::kMax || path.find('\0') != std::string_view::npos)
    return Error(Reason::kUsage, Quoted(path) + " is not a path");
  const Fd fd(::openat(AT_FDCWD, ZName(path).c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!fd.valid()) return Failed("open", path);
  return ReadUpTo(fd.get(), path, limit);
}

}  // namespace berth::host
