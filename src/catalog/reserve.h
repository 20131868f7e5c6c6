// catalog/reserve.h: a file that holds disk space, so that a full disk can be emptied.
//
// A removal writes rows before it deletes files, and rows need room in SQLite's log. Whoever finds none releases the reserve and
// tries again; it is filled again when there is room: never more than half of what is free (with itself), so it may be smaller than
// asked for, or absent, which is no error. Its contents are zeros (reliability-security 5.4).
//
// A file system that preallocates nothing gets zeros written; one that then still holds no space for them (compression) goes
// without, and the log says so once. Safe for concurrent use.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>

#include "host/dir.h"
#include "result/result.h"

namespace berth::catalog {

class Reserve {
 public:
  static constexpr std::string_view kName = "reserve";
  // `bytes` 0: none, and every call does nothing.
  Reserve(host::Dir folder, std::uint64_t bytes) : folder_(std::move(folder)), bytes_(bytes) {}

  // Makes it, or makes it larger, as far as there is room.
  void Fill();
  // Gives its space back. False when there was none.
  bool Release();

 private:
  Result<> Grow();

  const host::Dir folder_;
  const std::uint64_t bytes_;
  std::mutex mutex_;
  bool told_ = false, useless_ = false;  // guarded by mutex_
};

}  // namespace berth::catalog
