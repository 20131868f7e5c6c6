#include "layer/tree_check.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include "codec/crc32c.h"
#include "erofs/children.h"
#include "host/fd.h"
#include "host/mount.h"
#include "layer/fit.h"
#include "layer/overlay.h"

namespace berth::layer {
namespace {

using erofs::kNoNode;
using erofs::Node;
using erofs::Tree;

constexpr std::size_t kBuffer = 1u << 20, kXattrBytes = 64u << 10;
constexpr std::string_view kCapability = "security.capability";

// The kernel shows a capability of revision 3 whose root is 0 as one of revision 2.
std::string Plain(std::string_view name, std::string value) {
  constexpr std::size_t kRevision2 = 20, kRevision3 = 24;
  if (name != kCapability || value.size() != kRevision3 || !value.ends_with(std::string_view("\0\0\0\0", 4))) return value;
  value[3] = 2;
  value.resize(kRevision2);
  return value;
}

bool IsLayers(std::string_view xattr) {
  return xattr == kCapability || xattr.starts_with("user.") || xattr.starts_with(kOverlayXattrs);
}

bool SameTime(const timespec& is, const Node& n) {
  if (n.mtime_seconds < INT_MIN || n.mtime_seconds > INT_MAX) return true;
  return is.tv_sec == n.mtime_seconds && (is.tv_nsec == 0 || is.tv_nsec == static_cast<long>(n.mtime_nanos));
}

class TreeCheck {
 public:
  TreeCheck(const task::Context& ctx, const host::Dir& root, const Tree& tree, std::span<const std::uint32_t> crcs)
      : ctx_(ctx), root_(root), tree_(tree), children_(erofs::ChildrenByName(tree)), crcs_(crcs), seen_(tree.nodes.size()) {}

  Result<> Run() {
    const std::vector<std::uint32_t> order = CanonicalOrder(tree_, children_);
    const std::vector<std::uint32_t> files = FilesInOrder(tree_, order);
    compare_ = !crcs_.empty();
    if (compare_ && files.size() != crcs_.size())
      return Error(Reason::kCorrupt, "there are " + std::to_string(crcs_.size()) + " checksums for " + std::to_string(files.size()) + " files");
    for (std::size_t i = 0; i < crcs_.size(); ++i) seen_[files[i]].crc = crcs_[i];
    for (const std::uint32_t i : order) ++seen_[tree_.Inode(i)].names;
    RETURN_IF_ERROR(CheckRoot());
    for (const std::uint32_t i : order)
      if (IsDir(i)) RETURN_IF_ERROR(CheckDirectory(i));
    return {};
  }

 private:
  struct Seen {
    ino_t inode = 0;
    std::uint32_t names = 0, crc = 0;
  };

  bool IsDir(std::uint32_t i) const { return tree_.nodes[i].hard_link == kNoNode && S_ISDIR(tree_.nodes[i].mode); }
  std::vector<std::uint32_t> Path(std::uint32_t i) const {  // without the root
    std::vector<std::uint32_t> path;
    for (; i != 0; i = tree_.nodes[i].parent) path.push_back(i);
    std::ranges::reverse(path);
    return path;
  }
  Error Different(std::uint32_t at, std::string_view what, std::string_view below = {}) const {
    std::string path;
    for (const std::uint32_t i : Path(at)) path += "/" + tree_.nodes[i].name;
    if (!below.empty()) path.append("/").append(below);
    return Error(Reason::kCorrupt, Quoted(path.empty() ? "/" : path) + " " + std::string(what));
  }

  Result<> CheckRoot() {
    struct stat is;
    if (::fstatat(root_.fd(), "", &is, AT_EMPTY_PATH) != 0) return host::OsError(errno, "look at a layer's folder");
    if (!S_ISDIR(is.st_mode)) return Different(0, "is no directory");
    RETURN_IF_ERROR(CheckAttributes(0, is));
    return CheckXattrs(0, host::Place(root_.fd()).Name() + "/.");
  }

  Result<> CheckDirectory(std::uint32_t at) {
    RETURN_IF_ERROR(ctx_.Check());
    ASSIGN_OR_RETURN(host::Fd copy, root_.Duplicate());
    host::Dir dir(std::move(copy));
    for (const std::uint32_t i : Path(at)) {
      ASSIGN_OR_RETURN(dir, dir.OpenDir(tree_.nodes[i].name));
    }
    ASSIGN_OR_RETURN(const std::vector<std::string> names, dir.List());
    auto name = names.begin();
    for (const std::uint32_t child : children_.Of(at)) {
      if (tree_.nodes[child].removed) continue;
      if (name != names.end() && *name < tree_.nodes[child].name) return Different(at, "is no part of the layer", *name);
      if (name == names.end() || *name != tree_.nodes[child].name) return Different(child, "is missing");
      RETURN_IF_ERROR(CheckChild(dir, child));
      ++name;
    }
    if (name != names.end()) return Different(at, "is no part of the layer", *name);
    return {};
  }

  Result<> CheckChild(const host::Dir& dir, std::uint32_t at) {
    const std::string& name = tree_.nodes[at].name;
    const Node& n = tree_.nodes[tree_.Inode(at)];
    Seen& seen = seen_[tree_.Inode(at)];
    struct stat is;
    if (::fstatat(dir.fd(), name.c_str(), &is, AT_SYMLINK_NOFOLLOW) != 0) return host::OsError(errno, "look at a layer's file");
    if ((is.st_mode & S_IFMT) != (n.mode & S_IFMT)) return Different(at, "is of another type");
    if (!S_ISDIR(n.mode)) {
      if (is.st_nlink != seen.names) return Different(at, "has another number of names");
      // The rest is the inode's, and known since its first name.
      if (seen.inode != 0) return is.st_ino == seen.inode ? Result<>() : Different(at, "is no longer a name of the same file");
      seen.inode = is.st_ino;
    }
    RETURN_IF_ERROR(CheckAttributes(at, is));
    RETURN_IF_ERROR(CheckXattrs(at, host::Place(dir.fd()).Name() + "/" + name));
    if (S_ISLNK(n.mode)) return CheckTarget(dir, at);
    return S_ISREG(n.mode) && compare_ ? CheckContents(dir, at, is, seen.crc) : Result<>();
  }

  Result<> CheckAttributes(std::uint32_t at, const struct stat& is) const {
    const Node& n = tree_.nodes[tree_.Inode(at)];
    if (!S_ISLNK(n.mode) && (is.st_mode & 07777) != (n.mode & 07777u)) return Different(at, "has another mode");
    if (is.st_uid != n.uid || is.st_gid != n.gid) return Different(at, "has another owner");
    if (S_ISREG(n.mode) && static_cast<std::uint64_t>(is.st_size) != n.size) return Different(at, "has another size");
    const bool device = S_ISCHR(n.mode) || S_ISBLK(n.mode);
    if (device && is.st_rdev != makedev(n.rdev_major, n.rdev_minor)) return Different(at, "is another device");
    if (!SameTime(is.st_mtim, n)) return Different(at, "has another time");
    return {};
  }

  // `path` is not followed.
  Result<> CheckXattrs(std::uint32_t at, const std::string& path) {
    erofs::Xattrs want, have;
    if (const auto& xattrs = tree_.nodes[tree_.Inode(at)].xattrs) {
      for (const auto& [name, value] : *xattrs) want.emplace_back(name, Plain(name, value));
    }
    const ssize_t length = ::llistxattr(path.c_str(), names_.data(), names_.size());
    if (length < 0 && errno != ENOTSUP) return host::OsError(errno, "list the extended attributes of a layer's file");
    for (const char* name = names_.data(); length > 0 && name < names_.data() + length; name += std::string_view(name).size() + 1) {
      if (!IsLayers(name)) continue;
      const ssize_t size = ::lgetxattr(path.c_str(), name, value_.data(), value_.size());
      if (size < 0) return host::OsError(errno, "read an extended attribute of a layer's file");
      have.emplace_back(name, Plain(name, std::string(value_.data(), static_cast<std::size_t>(size))));
    }
    std::ranges::sort(want);
    std::ranges::sort(have);
    return want == have ? Result<>() : Different(at, "has other extended attributes");
  }

  Result<> CheckTarget(const host::Dir& dir, std::uint32_t at) const {
    std::array<char, PATH_MAX> target;
    const ssize_t length = ::readlinkat(dir.fd(), tree_.nodes[at].name.c_str(), target.data(), target.size());
    if (length < 0) return host::OsError(errno, "read a layer's link");
    const bool same = std::string_view(target.data(), static_cast<std::size_t>(length)) == tree_.nodes[tree_.Inode(at)].link;
    return same ? Result<>() : Different(at, "leads elsewhere");
  }

  Result<> CheckContents(const host::Dir& dir, std::uint32_t at, const struct stat& is, std::uint32_t want) {
    ASSIGN_OR_RETURN(const host::Fd file, dir.OpenRead(tree_.nodes[at].name));
    const auto size = static_cast<std::uint64_t>(is.st_size);
    const bool holes = static_cast<std::uint64_t>(is.st_blocks) * 512 < size;
    std::uint32_t crc = 0;
    for (std::uint64_t done = 0, data_end = holes ? 0 : size; done < size;) {
      RETURN_IF_ERROR(ctx_.Check());
      if (done == data_end) {
        const off_t data = ::lseek(file.get(), static_cast<off_t>(done), SEEK_DATA);
        if (data < 0 && errno != ENXIO) return host::OsError(errno, "look for the contents of a layer's file");
        const std::uint64_t begin = data < 0 ? size : std::min(static_cast<std::uint64_t>(data), size);
        crc = codec::Crc32cOfZeros(begin - done, crc);
        done = begin;
        const off_t hole = begin < size ? ::lseek(file.get(), static_cast<off_t>(begin), SEEK_HOLE) : 0;
        if (hole < 0) return host::OsError(errno, "look for the contents of a layer's file");
        data_end = std::min(static_cast<std::uint64_t>(hole), size);
        if (done == size) break;
      }
      const auto part = std::span(buffer_).first(std::min<std::uint64_t>(kBuffer, data_end - done));
      RETURN_IF_ERROR(host::PreadExact(file.get(), part, done));
      crc = codec::Crc32c(part, crc);
      done += part.size();
    }
    return crc == want ? Result<>() : Different(at, "has other contents");
  }

  const task::Context& ctx_;
  const host::Dir& root_;
  const Tree& tree_;
  const erofs::Children children_;
  const std::span<const std::uint32_t> crcs_;
  std::vector<Seen> seen_;  // of inodes
  bool compare_ = true;     // contents
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kBuffer);
  std::vector<char> names_ = std::vector<char>(kXattrBytes), value_ = names_;  // of extended attributes
};

}  // namespace

std::vector<std::uint32_t> FilesInOrder(const Tree& tree, std::span<const std::uint32_t> order) {
  std::vector<std::uint32_t> files;
  std::vector<bool> seen(tree.nodes.size());
  for (const std::uint32_t i : order) {
    const std::uint32_t inode = tree.Inode(i);
    if (!S_ISREG(tree.nodes[inode].mode) || seen[inode]) continue;
    seen[inode] = true;
    files.push_back(inode);
  }
  return files;
}

Result<> CheckTree(const task::Context& ctx, const host::Dir& root, const Tree& tree, std::span<const std::uint32_t> crcs) {
  return TreeCheck(ctx, root, tree, crcs).Run();
}

}  // namespace berth::layer
