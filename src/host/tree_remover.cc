#include "host/tree_remover.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <deque>
#include <memory>
#include <string>

#include "host/fd.h"
#include "host/resolve.h"

namespace berth::host::internal {
namespace {

// Only the deepest levels keep their descriptor and their entries in memory. A level further up is opened again by ".."
// from its child, checked to be the same directory, and goes on at the position where it was.
constexpr std::size_t kOpenLevels = 20;
constexpr std::size_t kBuffer = 32u << 10;

struct Level {
  std::string name;  // in its parent
  Fd fd;
  dev_t device = 0;
  ino_t inode = 0;
  std::unique_ptr<char[]> entries;
  std::size_t at = 0, end = 0;
  off_t position = 0;     // of the directory stream, after the last entry used
  bool removed = false;   // something, in this pass over the directory
};

Error Failed(int saved_errno, std::string_view name) {
  if (saved_errno == EXDEV) return Error(Reason::kInUse, "remove " + Quoted(name) + ": something is mounted there");
  return OsError(saved_errno, "remove " + Quoted(name));
}

class Remover {
 public:
  explicit Remover(const task::Context& ctx) : ctx_(ctx) {}

  Result<bool> Run(int at, const ZName& leaf) {
    if (::unlinkat(at, leaf.c_str(), 0) == 0) return true;
    if (errno == ENOENT) return false;
    if (errno != EISDIR && errno != EPERM) return Failed(errno, leaf.c_str());
    RETURN_IF_ERROR(Descend(at, leaf.c_str()));
    while (!levels_.empty()) {
      if ((++steps_ & 0x3ff) == 0) RETURN_IF_ERROR(ctx_.Check());
      Level& top = levels_.back();
      const dirent64* entry = nullptr;
      RETURN_IF_ERROR(Next(top, entry));
      if (entry == nullptr) {
        RETURN_IF_ERROR(Ascend(at));
        continue;
      }
      const char* name = entry->d_name;
      if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
      if (entry->d_type != DT_DIR) {
        if (::unlinkat(top.fd.get(), name, 0) == 0 || errno == ENOENT) {
          top.removed = true;
          continue;
        }
        if (errno != EISDIR && errno != EPERM) return Failed(errno, name);
        struct stat st;
        const int saved = errno;
        if (::fstatat(top.fd.get(), name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode)) return Failed(saved, name);
      }
      // An empty one needs no descent.
      if (::unlinkat(top.fd.get(), name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        top.removed = true;
        continue;
      }
      if (errno != ENOTEMPTY && errno != EEXIST) return Failed(errno, name);
      RETURN_IF_ERROR(Descend(top.fd.get(), name));
    }
    return true;
  }

 private:
  Result<> Descend(int at, const std::string& name) {
    Level level;
    level.name = name;
    level.fd = Fd(OpenBeneath(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, true));
    if (!level.fd.valid()) return Failed(errno, name);
    struct stat st;
    if (::fstat(level.fd.get(), &st) != 0) return Failed(errno, name);
    level.device = st.st_dev;
    level.inode = st.st_ino;
    levels_.push_back(std::move(level));
    if (levels_.size() > kOpenLevels) {
      Level& far = levels_[levels_.size() - 1 - kOpenLevels];
      far.fd.reset();
      far.entries.reset();
      far.at = far.end = 0;
    }
    return {};
  }

  // Sets nullptr at the end of the directory.
  Result<> Next(Level& level, const dirent64*& entry) {
    entry = nullptr;
    if (level.at == level.end) {
      if (!level.entries) level.entries = std::make_unique_for_overwrite<char[]>(kBuffer);
      const long n = ::syscall(SYS_getdents64, level.fd.get(), level.entries.get(), kBuffer);
      if (n < 0) return Failed(errno, level.name);
      level.at = 0;
      level.end = static_cast<std::size_t>(n);
      if (n == 0) return {};
    }
    entry = reinterpret_cast<const dirent64*>(level.entries.get() + level.at);
    level.at += entry->d_reclen;
    level.position = entry->d_off;
    return {};
  }

  // The last level has no more entries: removes it and makes its parent the last.
  Result<> Ascend(int top) {
    Level& done = levels_.back();
    int parent = top;
    if (levels_.size() > 1) {
      Level& up = levels_[levels_.size() - 2];
      if (!up.fd.valid()) {
        up.fd = Fd(::openat(done.fd.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        struct stat st;
        if (!up.fd.valid() || ::fstat(up.fd.get(), &st) != 0) return Failed(errno, up.name);
        if (st.st_dev != up.device || st.st_ino != up.inode)
          return Error(Reason::kInUse, "remove " + Quoted(up.name) + ": the tree was moved meanwhile");
        if (::lseek(up.fd.get(), up.position, SEEK_SET) < 0) return Failed(errno, up.name);
      }
      parent = up.fd.get();
    }
    if (::unlinkat(parent, done.name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      // Positions of some file systems shift under removal: another pass, as long as passes remove something.
      if ((errno != ENOTEMPTY && errno != EEXIST) || !done.removed) return Failed(errno, done.name);
      if (::lseek(done.fd.get(), 0, SEEK_SET) < 0) return Failed(errno, done.name);
      done.at = done.end = 0;
      done.removed = false;
      return {};
    }
    levels_.pop_back();
    if (!levels_.empty()) levels_.back().removed = true;
    return {};
  }

  const task::Context& ctx_;
  std::deque<Level> levels_;
  std::uint64_t steps_ = 0;
};

}  // namespace

Result<bool> RemoveTreeAt(const task::Context& ctx, int at, std::string_view leaf) {
  return Remover(ctx).Run(at, ZName(leaf));
}

}  // namespace berth::host::internal
