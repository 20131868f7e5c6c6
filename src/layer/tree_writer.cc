#include "layer/tree_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "codec/crc32c.h"
#include "erofs/children.h"
#include "host/dir.h"
#include "host/fd.h"
#include "layer/fit.h"
#include "layer/tree_check.h"

namespace berth::layer {
namespace {

using erofs::kNoNode;
using erofs::Node;
using erofs::Tree;
using host::Fd;
using host::OsError;

constexpr std::uint64_t kWritebackBytes = 8u << 20, kWritebackRest = 64u << 10;
constexpr int kOpenDir = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::array<timespec, 2> Times(const Node& n) {
  const timespec t{static_cast<time_t>(n.mtime_seconds), static_cast<long>(n.mtime_nanos)};
  return {t, t};
}

Result<> SetXattrs(int fd, const Node& n) {
  if (!n.xattrs) return {};
  for (const auto& [name, value] : *n.xattrs) {
    if (name.starts_with("trusted.")) continue;
    if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    const int error = errno;
    if (error == ENOTSUP || error == ENOSPC || error == E2BIG || error == ERANGE) {
      return Error(Reason::kUnsupported, "the file system of the store cannot hold the extended attribute " + Quoted(name))
          .Next("use the EROFS form, or a file system with large extended attributes");
    }
    return OsError(error, "set an extended attribute of a layer's file");
  }
  return {};
}

// What a new file has already stays as it is.
Result<> SetAttributes(int fd, const Node& n) {
  struct stat now;
  if (fstat(fd, &now) != 0) return OsError(errno, "look at a layer's file");
  const bool chown = now.st_uid != n.uid || now.st_gid != n.gid;
  if (chown && fchown(fd, n.uid, n.gid) != 0) return OsError(errno, "set the owner of a layer's file");
  // A new owner clears set-id bits (and capabilities, which follow).
  if ((chown || (now.st_mode & 07777) != (n.mode & 07777u)) && fchmod(fd, n.mode & 07777) != 0) return OsError(errno, "set the mode of a layer's file");
  RETURN_IF_ERROR(SetXattrs(fd, n));
  if (futimens(fd, Times(n).data()) != 0) return OsError(errno, "set the time of a layer's file");
  return {};
}

}  // namespace

struct TreeWriter::State {
  explicit State(int root_fd) : root(root_fd) {}

  const int root;
  Fd parent;  // of parent_node
  std::uint32_t parent_node = kNoNode;
  Fd file;
  std::uint64_t at = 0, writeback = 0;  // in the file: written, and on its way to the disk
  std::uint64_t bytes = 0;
  std::uint64_t size = 0, summed = 0;  // of the file: in the end, and how far its CRC has come
  std::uint32_t crc = 0;
  std::vector<std::uint32_t> by_name;  // CRCs of what each node is a name of: any of them may become the inode
  std::vector<std::uint32_t> crcs;

  // One step down; makes the directory if it is not there.
  static Result<Fd> Down(int from, const std::string& name) {
    int fd = openat(from, name.c_str(), kOpenDir);
    if (fd < 0 && errno == ENOENT) {
      if (mkdirat(from, name.c_str(), 0700) != 0 && errno != EEXIST) return OsError(errno, "make a layer's directory");
      fd = openat(from, name.c_str(), kOpenDir);
    }
    if (fd < 0) return OsError(errno, "open a layer's directory");
    return Fd(fd);
  }

  Result<Fd> Open(const Tree& tree, std::uint32_t dir) const {
    std::vector<std::uint32_t> up;
    for (; dir != 0; dir = tree.nodes[dir].parent) up.push_back(dir);
    ASSIGN_OR_RETURN(Fd here, host::DuplicateFd(root));
    for (; !up.empty(); up.pop_back()) {
      ASSIGN_OR_RETURN(here, Down(here.get(), tree.nodes[up.back()].name));
    }
    return here;
  }

  // The open directory `dir`, valid until the next call.
  Result<int> Parent(const Tree& tree, std::uint32_t dir) {
    if (dir == 0) return root;
    if (parent_node == dir) return parent.get();
    // Often a child of the last one.
    if (parent_node != kNoNode && tree.nodes[dir].parent == parent_node) {
      ASSIGN_OR_RETURN(parent, Down(parent.get(), tree.nodes[dir].name));
    } else {
      ASSIGN_OR_RETURN(parent, Open(tree, dir));
    }
    parent_node = dir;
    return parent.get();
  }

  // Left to the sync at the end, all of it would be waited for there.
  Result<> StartWriteback() {
    const std::uint64_t from = std::exchange(writeback, at);
    return host::StartWriteback(file.get(), from, at - from);
  }

  Result<> Create(const Tree& tree, std::uint32_t node) {
    const Node& n = tree.nodes[node];
    ASSIGN_OR_RETURN(const int dir, Parent(tree, n.parent));
    file.reset(openat(dir, n.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, n.mode & 0777));  // set-id bits would not outlive a write
    at = writeback = summed = 0;
    size = n.size;
    crc = 0;
    return file.valid() ? Result<>{} : OsError(errno, "create a layer's file");
  }

  // What follows the archive's bytes up to `end` are zeros.
  void SumHole(std::uint64_t end) {
    if (end > summed) crc = codec::Crc32cOfZeros(end - std::exchange(summed, end), crc);
  }
  void NoteCrc(std::uint32_t node, std::uint32_t of) {
    if (by_name.size() <= node) by_name.resize(node + 1);
    by_name[node] = of;
  }

  Result<> MakeOther(const Tree& tree, const erofs::Children& children, std::uint32_t dir) {
    ASSIGN_OR_RETURN(const int fd, Parent(tree, dir));
    for (const std::uint32_t child : children.Of(dir)) {
      const Node& n = tree.nodes[child];
      const bool link = n.hard_link != kNoNode;
      if (n.removed || link || S_ISREG(n.mode) || S_ISDIR(n.mode)) continue;
      const int failed = S_ISLNK(n.mode) ? symlinkat(n.link.c_str(), fd, n.name.c_str())
                                         : mknodat(fd, n.name.c_str(), n.mode, makedev(n.rdev_major, n.rdev_minor));
      if (failed) return OsError(errno, S_ISLNK(n.mode) ? "make a layer's link" : "make a layer's device or FIFO");
      if (fchownat(fd, n.name.c_str(), n.uid, n.gid, AT_SYMLINK_NOFOLLOW) != 0) return OsError(errno, "set the owner of a layer's file");
      if ((n.mode & 07000) != 0 && !S_ISLNK(n.mode) && fchmodat(fd, n.name.c_str(), n.mode & 07777, 0) != 0) {  // cleared by that
        return OsError(errno, "set the mode of a layer's file");
      }
      if (utimensat(fd, n.name.c_str(), Times(n).data(), AT_SYMLINK_NOFOLLOW) != 0) {
        return OsError(errno, "set the time of a layer's file");
      }
    }
    return {};
  }

  Result<> LinkTo(const Tree& tree, std::uint32_t name, std::uint32_t existing) {
    const Node& from = tree.nodes[existing];
    const Node& to = tree.nodes[name];
    ASSIGN_OR_RETURN(const Fd from_dir, Open(tree, from.parent));
    ASSIGN_OR_RETURN(const int to_dir, Parent(tree, to.parent));
    if (linkat(from_dir.get(), from.name.c_str(), to_dir, to.name.c_str(), 0) != 0) return OsError(errno, "make a layer's hard link");
    return {};
  }
};

TreeWriter::TreeWriter(int root_fd) : state_(std::make_unique<State>(root_fd)) {}
TreeWriter::~TreeWriter() = default;

Result<std::uint64_t> TreeWriter::Start(const Tree& tree, std::uint32_t node) {
  State& s = *state_;
  if (!s.file.valid()) RETURN_IF_ERROR(s.Create(tree, node));
  const Node& n = tree.nodes[node];
  s.at = s.writeback = n.sparse ? n.sparse->back().file_offset : 0;
  return s.at;
}

Result<> TreeWriter::Append(bytes::View data) {
  RETURN_IF_ERROR(host::PwriteAll(state_->file.get(), data, state_->at));
  if (state_->at < state_->size) {  // behind that is padding, which is cut off
    state_->SumHole(state_->at);
    const bytes::View inside = data.first(std::min<std::uint64_t>(data.size(), state_->size - state_->at));
    state_->crc = codec::Crc32c(inside, state_->crc);
    state_->summed += inside.size();
  }
  state_->bytes += (state_->at + data.size() + 4095) / 4096 * 4096 - (state_->at + 4095) / 4096 * 4096;
  state_->at += data.size();
  return state_->at - state_->writeback >= kWritebackBytes ? state_->StartWriteback() : Result<>{};
}

Result<> TreeWriter::End(const Tree& tree, std::uint32_t node) {
  State& s = *state_;
  if (!s.file.valid()) RETURN_IF_ERROR(s.Create(tree, node));
  const Node& n = tree.nodes[node];
  if (n.sparse) RETURN_IF_ERROR(host::Truncate(s.file.get(), n.size));
  s.SumHole(n.size);
  s.NoteCrc(node, s.crc);
  if (s.at - s.writeback >= kWritebackRest) RETURN_IF_ERROR(s.StartWriteback());
  const Fd file = std::move(s.file);
  return SetAttributes(file.get(), n);
}

Result<> TreeWriter::Link(const Tree& tree, std::uint32_t name, std::uint32_t existing) {
  State& s = *state_;
  RETURN_IF_ERROR(s.LinkTo(tree, name, existing));
  s.NoteCrc(name, s.by_name[existing]);
  const Node& n = tree.nodes[name];
  ASSIGN_OR_RETURN(const int dir, s.Parent(tree, n.parent));
  const Fd file(openat(dir, n.name.c_str(), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.valid()) return OsError(errno, "open a layer's file");
  return SetAttributes(file.get(), tree.nodes[n.hard_link]);
}

Result<> TreeWriter::Remove(const Tree& tree, std::uint32_t node) {
  State& s = *state_;
  const Node& n = tree.nodes[node];
  ASSIGN_OR_RETURN(const Fd dir, s.Open(tree, n.parent));
  s.parent_node = kNoNode;
  s.parent.reset();
  ASSIGN_OR_RETURN(Fd owned, host::DuplicateFd(dir.get()));
  RETURN_IF_ERROR(host::Dir(std::move(owned)).RemoveTree(n.name));
  return {};
}

const std::vector<std::uint32_t>& TreeWriter::crcs() const { return state_->crcs; }
std::uint64_t TreeWriter::bytes() const { return state_->bytes; }

Result<> TreeWriter::Finish(const Tree& tree) {
  State& s = *state_;
  const erofs::Children children = erofs::ChildrenByName(tree);
  const std::vector<std::uint32_t> order = CanonicalOrder(tree, children);
  for (const std::uint32_t file : FilesInOrder(tree, order)) s.crcs.push_back(s.by_name[file]);
  const auto is_dir = [&](std::uint32_t i) { return S_ISDIR(tree.nodes[i].mode) && tree.nodes[i].hard_link == kNoNode; };
  for (const std::uint32_t i : order) {
    if (is_dir(i)) RETURN_IF_ERROR(s.MakeOther(tree, children, i));
  }
  // Names of what is no regular file could not be made before the first of them.
  for (const std::uint32_t i : order) {
    const Node& n = tree.nodes[i];
    if (n.hard_link != kNoNode && !S_ISREG(tree.nodes[n.hard_link].mode)) RETURN_IF_ERROR(s.LinkTo(tree, i, n.hard_link));
  }
  for (auto i = order.rbegin(); i != order.rend(); ++i) {
    if (!is_dir(*i)) continue;
    ASSIGN_OR_RETURN(const int fd, s.Parent(tree, *i));
    if (*i != 0) {
      RETURN_IF_ERROR(SetAttributes(fd, tree.nodes[*i]));
      continue;
    }
    const Fd self(openat(fd, ".", kOpenDir));  // what we were given may be good for names only
    if (!self.valid()) return OsError(errno, "open a layer's directory");
    RETURN_IF_ERROR(SetAttributes(self.get(), tree.nodes[0]));
  }
  return {};
}

}  // namespace berth::layer
