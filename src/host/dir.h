// host/dir.h: a directory as a descriptor, and everything in it by name.
//
// The only way berth touches its store. Names are relative paths ("sha256/0a1b…"): no leading slash, no "." or "..", no
// NUL, no empty component, at most 4,095 bytes; they may have several components. Resolution is openat2 with
// RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS, O_CLOEXEC and O_NOFOLLOW; where openat2 is missing or filtered, a walk
// with O_NOFOLLOW, component by component, of equal strength. A symbolic link anywhere below is an error, never followed.
// Rules: reliability-security 5.2. Trees of images are layer/tree_writer.h.
//
// Durability: nothing is durable before SyncFile (contents) and Dir::Sync (names) of the directory that holds the name.
// Errors as in host/fd.h: kMissing, kConflict (exists), kInUse (not empty), kNoSpace, kUnavailable, kIo; kUsage for a
// name that breaks the rules above.
// Threads: const member functions may be called from any number of threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bytes/bytes.h"
#include "host/fd.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::host {

enum class Replace : bool { kNo, kYes };

struct Space {
  std::uint64_t total_bytes = 0;      // 0: the file system does not say (ramfs), and the others are 0, too
  std::uint64_t available_bytes = 0;  // to unprivileged users: what is left before trouble starts
  std::uint64_t free_bytes = 0;       // to root
  std::uint64_t total_inodes = 0;     // 0: the file system does not count them
  std::uint64_t free_inodes = 0;
};

class Dir {
 public:
  Dir() = default;  // holds nothing: only for assignment
  // `path` comes from our own configuration; its links are followed.
  static Result<Dir> Open(std::string_view path);
  // Takes over a directory descriptor (O_PATH or not).
  explicit Dir(Fd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  Result<Fd> Duplicate() const { return DuplicateFd(fd_.get()); }

  Result<Dir> OpenDir(std::string_view name) const;
  // Fine when a directory of that name is there already (its mode stays). `mode` is exact: no umask.
  Result<> MakeDir(std::string_view name, std::uint32_t mode) const;
  // MakeDir, then OpenDir.
  Result<Dir> MakeAndOpenDir(std::string_view name, std::uint32_t mode) const;

  Result<Fd> OpenRead(std::string_view name) const;
  Result<Fd> CreateNew(std::string_view name, std::uint32_t mode) const;     // O_EXCL: kConflict when it exists
  Result<Fd> CreateOrOpen(std::string_view name, std::uint32_t mode = 0600) const;

  // Atomic. kNo: kConflict when `to` exists, and nothing changed. Where the file system knows no flags of renameat2 (OpenZFS before
  // 2.2, NFS, 9p), kNo gives a file its second name, makes that durable, then takes the first away: a crash leaves one or both. A
  // directory is renamed there after a look: safe beside one writer only, which the store's lock makes sure of.
  Result<> Rename(std::string_view from, const Dir& to_dir, std::string_view to, Replace replace) const;
  // False when there was no such name. Files of any type, not directories.
  Result<bool> Unlink(std::string_view name) const;
  // False when there was no such name; kInUse when it is not empty.
  Result<bool> RemoveDir(std::string_view name) const;
  Result<bool> Exists(std::string_view name) const;  // a link counts
  Result<FileInfo> Stat(std::string_view name) const;
  // Names without "." and "..", sorted by bytes.
  Result<std::vector<std::string>> List() const;
  // fsync of the directory: names made, renamed and removed before are durable after.
  Result<> Sync() const;

  // Removes a file or a whole tree; false when there was none. By descriptor, iterative, bounded memory and descriptors
  // (at most 24) whatever the depth; follows no link, crosses no mount (kInUse then; the rest up to there is gone).
  Result<bool> RemoveTree(std::string_view name) const;
  Result<bool> RemoveTree(const task::Context& ctx, std::string_view name) const;

  // Temporary name in the same directory, write, fsync, rename over `name`, fsync of the directory. Readers see the old
  // or the new contents; durable on return. Left-overs of a crash start with ".tmp-".
  Result<> WriteDurably(std::string_view name, bytes::View contents, std::uint32_t mode) const;
  // The whole file. kLimitExceeded above `limit` bytes; kIo when it is not a regular file (a FIFO cannot block it).
  Result<std::string> ReadSmall(std::string_view name, std::size_t limit) const;

  Result<Space> FreeSpace() const;

 private:
  Fd fd_;
};

// ReadSmall for a file of the host's own configuration, by path (links are followed).
Result<std::string> ReadSmallFile(std::string_view path, std::size_t limit);

// Of what is made in a folder of the store: kMissing can mean only that the folder was removed under its open descriptor, and
// gets the next step for that.
template <class T>
Result<T> Made(Result<T> made) {
  if (made || made.error().reason() != Reason::kMissing) return made;
  return std::move(made).error().Next("restart berthd: it makes its folders anew");
}

}  // namespace berth::host
