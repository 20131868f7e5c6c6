#include "catalog/reserve.h"

#include <algorithm>
#include <vector>

#include "log/log.h"

namespace berth::catalog {
namespace {

constexpr std::uint64_t kLeastPart = 16;  // below a sixteenth of what was asked for it is of no use

Result<std::uint64_t> Allocated(int file) {
  ASSIGN_OR_RETURN(const auto info, host::Stat(file));
  return info.allocated;
}

// False: the file system holds no space for it.
Result<bool> Allocate(int file, std::uint64_t size) {
  RETURN_IF_ERROR(host::Preallocate(file, size));
  RETURN_IF_ERROR(host::Truncate(file, size));  // what is beyond the end of a file may be taken away
  ASSIGN_OR_RETURN(const std::uint64_t preallocated, Allocated(file));
  if (preallocated >= size) return true;
  const std::vector<std::byte> zeros(std::min<std::uint64_t>(size, 64u << 10));
  for (std::uint64_t at = 0; at < size; at += zeros.size())
    RETURN_IF_ERROR(host::PwriteAll(file, bytes::View(zeros).first(std::min<std::uint64_t>(zeros.size(), size - at)), at));
  RETURN_IF_ERROR(host::SyncFile(file));
  ASSIGN_OR_RETURN(const std::uint64_t written, Allocated(file));
  return written >= size;
}

}  // namespace

void Reserve::Fill() {
  if (bytes_ == 0) return;
  const std::lock_guard lock(mutex_);
  if (useless_) return;
  const auto grown = Grow();
  if (grown || grown.error().reason() == Reason::kNoSpace || std::exchange(told_, true)) return;
  log::Warning("no space is kept for removals on a full disk", {{"file", kName}, {"error", grown.error()}});
}

Result<> Reserve::Grow() {
  const auto file = folder_.Stat(kName);
  const std::uint64_t has = file ? file->allocated : 0;
  if (has >= bytes_) return {};
  ASSIGN_OR_RETURN(const auto space, folder_.FreeSpace());
  std::uint64_t size = bytes_;
  while (size > (space.free_bytes + has) / 2) size /= 2;
  if (size <= has || size < bytes_ / kLeastPart) return {};
  ASSIGN_OR_RETURN(const host::Fd out, folder_.CreateOrOpen(kName));
  const auto held = Allocate(out.get(), size);
  if (held && *held) return {};
  useless_ = held.has_value();
  RETURN_IF_ERROR(folder_.Unlink(kName));
  if (!held) return held.error();
  return Error(Reason::kUnsupported, "the file system of the store takes no space for a file of zeros");
}

bool Reserve::Release() {
  if (bytes_ == 0) return false;
  const std::lock_guard lock(mutex_);
  const auto file = folder_.Stat(kName);
  if (!file || file->allocated == 0) return false;
  const auto gone = folder_.Unlink(kName);
  if (!gone || !*gone) return false;
  (void)folder_.Sync();  // some file systems give blocks back with the next commit of their journal
  log::Warning("the disk is full: the reserve is used for removals", {{"file", kName}, {"bytes", file->allocated}});
  return true;
}

}  // namespace berth::catalog
