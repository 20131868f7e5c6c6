#include "host/disk_usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <set>
#include <utility>

namespace berth::host {
namespace {

constexpr std::uint64_t kBlock = 512;  // of st_blocks, whatever the file system's are

struct Level {
  dev_t device;
  ino_t inode;
  std::vector<std::string> left;  // folders in it that were not visited yet
};

class Walk {
 public:
  explicit Walk(const task::Context& ctx) : ctx_(ctx) {}

  Result<std::uint64_t> Run(const Dir& dir) {
    Fd at(::openat(dir.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat st;
    if (!at.valid() || ::fstat(at.get(), &st) != 0) return OsError(errno, "measure a folder");
    device_ = st.st_dev;
    Count(st);
    RETURN_IF_ERROR(Enter(at, st));
    while (!levels_.empty()) {
      Level& level = levels_.back();
      if (level.left.empty()) {
        levels_.pop_back();
        if (levels_.empty()) break;
        Fd up(::openat(at.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        if (!up.valid() || ::fstat(up.get(), &st) != 0) return OsError(errno, "measure a folder");
        if (st.st_dev != levels_.back().device || st.st_ino != levels_.back().inode)
          return Error(Reason::kInUse, "measure a folder: it was moved meanwhile").Next("try again");
        at = std::move(up);
        continue;
      }
      const std::string name = std::move(level.left.back());
      level.left.pop_back();
      Fd down(::openat(at.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
      if (!down.valid() && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) continue;
      if (!down.valid() || ::fstat(down.get(), &st) != 0) return OsError(errno, "measure a folder");
      if (st.st_dev != device_) continue;
      RETURN_IF_ERROR(Enter(down, st));
      at = std::move(down);
    }
    return bytes_;
  }

 private:
  void Count(const struct stat& st) {
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !seen_.insert(st.st_ino).second) return;
    bytes_ += static_cast<std::uint64_t>(st.st_blocks) * kBlock;
  }
  // Counts what is in the folder; its folders are visited later.
  Result<> Enter(const Fd& folder, const struct stat& own) {
    RETURN_IF_ERROR(ctx_.Check());
    ASSIGN_OR_RETURN(Fd copy, DuplicateFd(folder.get()));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy.get()), &::closedir);
    if (!stream) return OsError(errno, "measure a folder");
    (void)copy.release();
    Level level{own.st_dev, own.st_ino, {}};
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(stream.get());
      if (entry == nullptr && errno != 0) return OsError(errno, "measure a folder");
      if (entry == nullptr) break;
      const std::string_view name = entry->d_name;
      struct stat st;
      if (name == "." || name == "..") continue;
      if (::fstatat(folder.get(), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || st.st_dev != device_) continue;
      Count(st);
      if (S_ISDIR(st.st_mode)) level.left.emplace_back(name);
    }
    levels_.push_back(std::move(level));
    return {};
  }

  const task::Context& ctx_;
  dev_t device_ = 0;
  std::uint64_t bytes_ = 0;
  std::vector<Level> levels_;
  std::set<ino_t> seen_;
};

}  // namespace

Result<std::uint64_t> DiskUsage(const task::Context& ctx, const Dir& dir) { return Walk(ctx).Run(dir); }

}  // namespace berth::host
