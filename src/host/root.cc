#include "host/root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "host/resolve.h"
#include "host/tree_remover.h"

namespace berth::host {
namespace {

using internal::ZName;

constexpr long kFchmodat2 = 452;   // kernel 6.6
constexpr long kSetxattrat = 463;  // kernel 6.13

Error Bad(std::string_view name, std::string_view why) {
  return Error(Reason::kInvalidLayer, Quoted(name) + " " + std::string(why));
}

// What the image is to blame for, and what the machine.
Error Failed(int saved, std::string_view verb, std::string_view name) {
  switch (saved) {
    case ENOTDIR: return Bad(name, "has a parent that is not a directory");
    case ELOOP: return Bad(name, "goes through too many links");
    case EXDEV: return Bad(name, "leaves the file system of its root");
    case EAGAIN: return Bad(name, "cannot be resolved: the tree changes underneath");
    case ENAMETOOLONG: return Bad(name, "is too long");
    case ENOSYS: return Error(Reason::kUnsupported, "openat2 is missing or filtered: trees of images cannot be written safely");
    default: return OsError(saved, std::string(verb) + " " + Quoted(name));
  }
}

// Links inside count as if `root` were "/".
int OpenInRoot(int root, const std::string& path, std::uint64_t flags) {
  if (!internal::HaveOpenAt2()) return errno = ENOSYS, -1;
  return internal::OpenAt2(root, path.empty() ? "." : path.c_str(), flags | O_CLOEXEC, 0,
                           RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}

mode_t TypeBits(FileKind kind) {
  switch (kind) {
    case FileKind::kCharDevice: return S_IFCHR;
    case FileKind::kBlockDevice: return S_IFBLK;
    default: return S_IFIFO;
  }
}

struct Times {
  explicit Times(const Metadata& m) : Times(m.mtime_seconds, m.mtime_nanos) {}
  Times(std::int64_t seconds, std::uint32_t nanos) : both{{seconds, static_cast<long>(nanos)}, {seconds, static_cast<long>(nanos)}} {}
  timespec both[2];
};

}  // namespace

Result<std::string> RootTree::Clean(std::string_view name) {
  if (name.find('\0') != std::string_view::npos) return Bad(name, "contains NUL");
  std::string out;
  std::size_t depth = 0;
  while (!name.empty()) {
    const auto slash = name.find('/');
    const auto part = name.substr(0, slash);
    name = slash == std::string_view::npos ? std::string_view() : name.substr(slash + 1);
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (depth == 0) return Bad(out + "..", "climbs out of its root");
      --depth;
      const auto last = out.rfind('/');
      out.resize(last == std::string::npos ? 0 : last);
      continue;
    }
    if (part.size() > 255) return Bad(part, "is longer than 255 bytes");
    if (++depth > 1024) return Bad(out, "is deeper than 1024 directories");
    if (!out.empty()) out += '/';
    out += part;
    if (out.size() > ZName::kMax) return Bad(out, "is longer than 4095 bytes");
  }
  return out;
}

Result<RootTree::Leaf> RootTree::OpenParent(const std::string& clean, bool make) {
  if (clean.empty()) return Bad("/", "is the root itself");
  const auto slash = clean.rfind('/');
  if (slash == std::string::npos) return Leaf{root_.fd(), clean};
  const std::string parent = clean.substr(0, slash), name = clean.substr(slash + 1);
  if (parent == parent_name_) return Leaf{parent_.get(), name};
  constexpr std::uint64_t kDirectory = O_PATH | O_DIRECTORY;
  Fd fd(OpenInRoot(root_.fd(), parent, kDirectory));
  if (!fd.valid() && errno == ENOENT && make) {
    // From the top: what exists is resolved with its links, what does not is made, one by one.
    for (std::size_t end = 0; end != std::string::npos;) {
      const std::size_t begin = end == 0 ? 0 : end + 1;
      end = parent.find('/', begin);
      const std::string prefix = parent.substr(0, end);
      Fd next(OpenInRoot(root_.fd(), prefix, kDirectory));
      if (!next.valid() && errno == ENOENT) {
        const std::string component = prefix.substr(begin);
        const int at = fd.valid() ? fd.get() : root_.fd();
        if (::mkdirat(at, component.c_str(), 0755) != 0)
          return errno == EEXIST ? Bad(prefix, "is a dangling link where a directory is needed") : Failed(errno, "make", prefix);
        next = Fd(internal::OpenBeneath(at, component, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, true));
        if (!next.valid()) return Failed(errno, "open", prefix);
        RETURN_IF_ERROR(Defer(next.get(), prefix, Metadata{.mode = 0755, .xattrs = {}}));
      }
      if (!next.valid()) return Failed(errno, "open", prefix);
      fd = std::move(next);
    }
  }
  if (!fd.valid()) return Failed(errno, "open", parent);
  parent_ = std::move(fd);
  parent_name_ = parent;
  return Leaf{parent_.get(), name};
}

Result<> RootTree::RemoveLeaf(const Leaf& leaf) {
  if (::unlinkat(leaf.parent, leaf.name.c_str(), 0) != 0) {
    if (errno == ENOENT) return {};
    if (errno != EISDIR && errno != EPERM) return Failed(errno, "replace", leaf.name);
    auto removed = internal::RemoveTreeAt(task::Context(), leaf.parent, leaf.name);
    if (!removed) return std::move(removed).error();
  }
  // It may have been a link or a directory on the way to the cached parent. (The descriptor stays until the next.)
  parent_name_ = "/";
  return {};
}

Result<Fd> RootTree::CreateFile(std::string_view name) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  ASSIGN_OR_RETURN(const Leaf leaf, OpenParent(clean, true));
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  // Almost never is there anything to replace.
  Fd fd(::openat(leaf.parent, leaf.name.c_str(), kFlags, 0600));
  if (!fd.valid() && errno == EEXIST) {
    RETURN_IF_ERROR(RemoveLeaf(leaf));
    fd = Fd(::openat(leaf.parent, leaf.name.c_str(), kFlags, 0600));
  }
  if (!fd.valid()) return Failed(errno, "create", clean);
  return fd;
}

Result<> RootTree::MakeDirectory(std::string_view name, const Metadata& meta) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  if (clean.empty()) {
    const Fd root(::openat(root_.fd(), ".", kFlags));
    if (!root.valid()) return Failed(errno, "open", "/");
    return DressDirectory(root.get(), clean, meta);
  }
  ASSIGN_OR_RETURN(const Leaf leaf, OpenParent(clean, true));
  if (::mkdirat(leaf.parent, leaf.name.c_str(), 0700) != 0) {
    if (errno != EEXIST) return Failed(errno, "make directory", clean);
    struct stat st;
    if (::fstatat(leaf.parent, leaf.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed(errno, "stat", clean);
    if (!S_ISDIR(st.st_mode)) {
      RETURN_IF_ERROR(RemoveLeaf(leaf));
      if (::mkdirat(leaf.parent, leaf.name.c_str(), 0700) != 0) return Failed(errno, "make directory", clean);
    }
  }
  const Fd fd(::openat(leaf.parent, leaf.name.c_str(), kFlags));
  if (!fd.valid()) return Failed(errno, "open directory", clean);
  return DressDirectory(fd.get(), clean, meta);
}

Result<> RootTree::DressDirectory(int fd, const std::string& clean, const Metadata& meta) {
  if (::fchown(fd, meta.uid, meta.gid) != 0) return Failed(errno, "set the owner of", clean);
  RETURN_IF_ERROR(SetXattrs(meta, [&](const char* key, const std::string& value) {
    return ::fsetxattr(fd, key, value.data(), value.size(), 0);
  }));
  return Defer(fd, clean, meta);
}

Result<> RootTree::Defer(int fd, const std::string& clean, const Metadata& meta) {
  struct stat st;
  if (::fstat(fd, &st) != 0) return Failed(errno, "stat", clean);
  directories_[{st.st_dev, st.st_ino}] = Deferred{clean, meta.mode, meta.mtime_seconds, meta.mtime_nanos};
  return {};
}

Result<> RootTree::MakeSymlink(std::string_view name, std::string_view target, const Metadata& meta) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  if (target.empty() || target.size() > ZName::kMax || target.find('\0') != std::string_view::npos)
    return Bad(clean, "is a link whose target is empty, too long or contains NUL");
  ASSIGN_OR_RETURN(const Leaf leaf, OpenParent(clean, true));
  RETURN_IF_ERROR(RemoveLeaf(leaf));
  if (::symlinkat(ZName(target).c_str(), leaf.parent, leaf.name.c_str()) != 0) return Failed(errno, "make link", clean);
  return DressLeaf(leaf, FileKind::kSymlink, meta);
}

Result<> RootTree::MakeNode(std::string_view name, FileKind type, std::uint32_t major, std::uint32_t minor, const Metadata& meta) {
  BERTH_CHECK(type == FileKind::kCharDevice || type == FileKind::kBlockDevice || type == FileKind::kFifo);
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  ASSIGN_OR_RETURN(const Leaf leaf, OpenParent(clean, true));
  RETURN_IF_ERROR(RemoveLeaf(leaf));
  const dev_t device = type == FileKind::kFifo ? 0 : ::makedev(major, minor);
  if (::mknodat(leaf.parent, leaf.name.c_str(), TypeBits(type) | (meta.mode & 07777), device) != 0)
    return Failed(errno, "make node", clean);
  return DressLeaf(leaf, type, meta);
}

Result<> RootTree::MakeLink(std::string_view name, std::string_view existing) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  ASSIGN_OR_RETURN(const std::string source, Clean(existing));
  if (source.empty()) return Bad(clean, "is a hard link to a directory");
  const auto slash = source.rfind('/');
  const std::string source_name = slash == std::string::npos ? source : source.substr(slash + 1);
  const Fd from(OpenInRoot(root_.fd(), slash == std::string::npos ? "" : source.substr(0, slash), O_PATH | O_DIRECTORY));
  struct stat st;
  if (!from.valid() || ::fstatat(from.get(), source_name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? Bad(clean, "is a hard link to " + Quoted(source) + ", which is not there") : Failed(errno, "open", source);
  if (S_ISDIR(st.st_mode)) return Bad(clean, "is a hard link to a directory");
  ASSIGN_OR_RETURN(const Leaf leaf, OpenParent(clean, true));
  struct stat old;
  if (::fstatat(leaf.parent, leaf.name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0 && old.st_dev == st.st_dev && old.st_ino == st.st_ino)
    return {};  // it is that file already, perhaps under that very name
  RETURN_IF_ERROR(RemoveLeaf(leaf));
  if (::linkat(from.get(), source_name.c_str(), leaf.parent, leaf.name.c_str(), 0) != 0)
    return errno == ENOENT ? Bad(clean, "is a hard link to something that it replaces") : Failed(errno, "make hard link", clean);
  return {};
}

Result<> RootTree::SetMetadata(int fd, const Metadata& meta) {
  if (::fchown(fd, meta.uid, meta.gid) != 0) return Failed(errno, "set the owner of", "a file");
  RETURN_IF_ERROR(SetXattrs(meta, [&](const char* key, const std::string& value) {
    return ::fsetxattr(fd, key, value.data(), value.size(), 0);
  }));
  if (::fchmod(fd, meta.mode & 07777) != 0) return Failed(errno, "set the mode of", "a file");
  if (::futimens(fd, Times(meta).both) != 0) return Failed(errno, "set the times of", "a file");
  return {};
}

Result<> RootTree::SetMetadata(std::string_view name, const Metadata& meta) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  if (clean.empty()) return MakeDirectory(name, meta);
  ASSIGN_OR_RETURN(const Leaf leaf, OpenParent(clean, false));
  ASSIGN_OR_RETURN(const FileInfo info, Stat(clean));
  if (info.kind == FileKind::kDirectory) return MakeDirectory(clean, meta);
  if (info.kind != FileKind::kFile) return DressLeaf(leaf, info.kind, meta);
  const Fd fd(::openat(leaf.parent, leaf.name.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC));
  if (!fd.valid()) return Failed(errno, "open", clean);
  return SetMetadata(fd.get(), meta);
}

// Links and special files have no descriptor to work on: by name below the parent, never through the link.
Result<> RootTree::DressLeaf(const Leaf& leaf, FileKind kind, const Metadata& meta) {
  const char* name = leaf.name.c_str();
  if (::fchownat(leaf.parent, name, meta.uid, meta.gid, AT_SYMLINK_NOFOLLOW) != 0) return Failed(errno, "set the owner of", name);
  RETURN_IF_ERROR(SetXattrs(meta, [&](const char* key, const std::string& value) -> int {
    struct { std::uint64_t value; std::uint32_t size, flags; } args{reinterpret_cast<std::uint64_t>(value.data()),
                                                                    static_cast<std::uint32_t>(value.size()), 0};
    return static_cast<int>(::syscall(kSetxattrat, leaf.parent, name, AT_SYMLINK_NOFOLLOW, key, &args, sizeof args));
  }));
  if (kind != FileKind::kSymlink) {
    struct stat st;
    if (::fstatat(leaf.parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return Failed(errno, "stat", name);
    if ((st.st_mode & 07777) != (meta.mode & 07777) &&
        ::syscall(kFchmodat2, leaf.parent, name, meta.mode & 07777, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOSYS)
        return Error(Reason::kUnsupported, "kernels before 6.6 have no safe way to change the mode of special file " + Quoted(name));
      return Failed(errno, "set the mode of", name);
    }
  }
  if (::utimensat(leaf.parent, name, Times(meta).both, AT_SYMLINK_NOFOLLOW) != 0) return Failed(errno, "set the times of", name);
  return {};
}

template <class Set>
Result<> RootTree::SetXattrs(const Metadata& meta, Set set) {
  for (const auto& [key, value] : meta.xattrs) {
    if (set(key.c_str(), value) == 0) continue;
    // user.* is refused on everything but files and directories.
    if (errno == EOPNOTSUPP || errno == ENOSYS || (errno == EPERM && key.starts_with("user."))) ++skipped_xattrs_;
    else return Failed(errno, "set the attribute", key);
  }
  return {};
}

Result<bool> RootTree::Remove(std::string_view name) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  auto leaf = OpenParent(clean, false);
  if (!leaf && leaf.error().reason() == Reason::kMissing) return false;
  if (!leaf) return std::move(leaf).error();
  struct stat st;
  if (::fstatat(leaf->parent, leaf->name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT ? Result<bool>(false) : Failed(errno, "remove", clean);
  RETURN_IF_ERROR(RemoveLeaf(*leaf));
  return true;
}

Result<FileInfo> RootTree::Stat(std::string_view name) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  const Fd fd(OpenInRoot(root_.fd(), clean, O_PATH | O_NOFOLLOW));
  if (!fd.valid()) return Failed(errno, "stat", clean);
  return host::Stat(fd.get());
}

Result<std::string> RootTree::ReadSmall(std::string_view name, std::size_t limit) {
  ASSIGN_OR_RETURN(const std::string clean, Clean(name));
  ASSIGN_OR_RETURN(const Leaf leaf, OpenParent(clean, false));
  ASSIGN_OR_RETURN(Fd copy, DuplicateFd(leaf.parent));
  return Dir(std::move(copy)).ReadSmall(leaf.name, limit);
}

Result<> RootTree::FinishDirectories() {
  std::vector<std::pair<std::pair<std::uint64_t, std::uint64_t>, Deferred>> all(directories_.begin(), directories_.end());
  directories_.clear();
  // Children first: a parent's mode may shut us out.
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second.path > b.second.path; });
  for (const auto& [key, want] : all) {
    // O_NOFOLLOW is for the last component; those before it are resolved inside.
    const Fd fd(OpenInRoot(root_.fd(), want.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    struct stat st;
    if (!fd.valid()) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) continue;
      return Failed(errno, "open", want.path);
    }
    if (::fstat(fd.get(), &st) != 0) return Failed(errno, "stat", want.path);
    if (st.st_dev != key.first || st.st_ino != key.second) continue;
    if (::fchmod(fd.get(), want.mode & 07777) != 0) return Failed(errno, "set the mode of", want.path);
    if (::futimens(fd.get(), Times(want.seconds, want.nanos).both) != 0) return Failed(errno, "set the times of", want.path);
  }
  return {};
}

}  // namespace berth::host
