// host/root.h: writing the tree of an image below a root that nobody trusts.
//
// Whatever the names, links and races inside, nothing outside of the root descriptor is read, made or changed
// (reliability-security 5.2). Names are cleaned lexically (Clean), parents resolved by the kernel with RESOLVE_IN_ROOT |
// NO_MAGICLINKS | NO_XDEV (links inside count as if the root were "/"), the last component is never followed. The last
// parent stays open: neighbours in an archive cost no second resolution. Needs openat2; kUnsupported without it.
//
// A leaf that exists is removed first (a tree as a whole), except that a directory over a directory merges. Missing
// parents are made 0755, owner 0:0, time 0 (the same tree on every day). Owner, xattrs, mode and times are set by
// descriptor in that order (chown clears set-id bits and capabilities). Directory modes and times are deferred to
// FinishDirectories(), where each is opened again and skipped if it is another object by then.
//
// Errors: kInvalidLayer for names and shapes that the image is to blame for (climbing, a parent that is a file, a hard
// link to nothing or to a directory), else as host/fd.h. The umask of the process must be 0 (the worker sets it).
// One thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/dir.h"
#include "host/fd.h"
#include "result/result.h"

namespace berth::host {

struct Metadata {
  std::uint32_t mode = 0;  // low 12 bits
  std::uint32_t uid = 0, gid = 0;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanos = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

class RootTree {
 public:
  explicit RootTree(Dir root) : root_(std::move(root)) {}

  // "./a//b/../c/" -> "a/c"; "" for the root itself. Refuses what climbs, NUL, components over 255 bytes, depth over
  // 1,024, totals over 4,095 (reliability-security 5.2 rule 2).
  static Result<std::string> Clean(std::string_view name);

  // Names below are cleaned first; the root itself is accepted by MakeDirectory and SetMetadata only.
  // The file is empty and open for writing; call SetMetadata(fd, …) when its contents are complete.
  Result<Fd> CreateFile(std::string_view name);
  Result<> MakeDirectory(std::string_view name, const Metadata& meta);
  Result<> MakeSymlink(std::string_view name, std::string_view target, const Metadata& meta);
  // `type` is one of kCharDevice, kBlockDevice, kFifo.
  Result<> MakeNode(std::string_view name, FileKind type, std::uint32_t major, std::uint32_t minor, const Metadata& meta);
  Result<> MakeLink(std::string_view name, std::string_view existing);
  // Of the leaf itself: links are not followed, and get owner and times only.
  Result<> SetMetadata(std::string_view name, const Metadata& meta);
  Result<> SetMetadata(int fd, const Metadata& meta);

  Result<bool> Remove(std::string_view name);  // a leaf or a tree; false when there was none
  Result<FileInfo> Stat(std::string_view name);
  // Reads a regular file of the image (rule 9): O_NONBLOCK | O_NOFOLLOW, kLimitExceeded above `limit`.
  Result<std::string> ReadSmall(std::string_view name, std::size_t limit);

  // Modes and times of all directories that were named. Call once, at the end.
  Result<> FinishDirectories();
  // Attributes that could not be set because the file system or the kernel has no way (ENOTSUP; xattrs of links and
  // devices before kernel 6.13; user.* on special files).
  std::uint64_t skipped_xattrs() const { return skipped_xattrs_; }

 private:
  struct Leaf { int parent; std::string name; };
  struct Deferred { std::string path; std::uint32_t mode; std::int64_t seconds; std::uint32_t nanos; };

  // Of a cleaned name that is not the root. `make`: missing parents too.
  Result<Leaf> OpenParent(const std::string& clean, bool make);
  Result<> RemoveLeaf(const Leaf& leaf);
  Result<> DressLeaf(const Leaf& leaf, FileKind kind, const Metadata& meta);
  Result<> DressDirectory(int fd, const std::string& clean, const Metadata& meta);
  template <class Set>
  Result<> SetXattrs(const Metadata& meta, Set set);
  Result<> Defer(int fd, const std::string& clean, const Metadata& meta);

  Dir root_;
  Fd parent_;                       // of parent_name_
  std::string parent_name_ = "/";   // "/": nothing is cached
  std::map<std::pair<std::uint64_t, std::uint64_t>, Deferred> directories_;  // by device and inode
  std::uint64_t skipped_xattrs_ = 0;
};

}  // namespace berth::host
