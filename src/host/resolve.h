// host/resolve.h: the openat2 and renameat2 calls, for host/ only.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string_view>

#include "host/fd.h"
#include "result/result.h"

namespace berth::host::internal {

// A NUL-terminated copy of a name on the stack.
class ZName {
 public:
  static constexpr std::size_t kMax = 4095;
  explicit ZName(std::string_view s) {
    length_ = s.size() <= kMax ? s.copy(text_, kMax) : 0;
    text_[length_] = '\0';
  }
  const char* c_str() const { return text_; }

 private:
  std::size_t length_;
  char text_[kMax + 1];
};

// The raw call: a descriptor or -1 with errno. EINTR and EAGAIN (a rename race, rule 3) are retried up to 128 times.
int OpenAt2(int at, const char* path, std::uint64_t flags, std::uint64_t mode, std::uint64_t resolve);
// Whether this process may use openat2 (it answers, and no filter refuses it).
bool HaveOpenAt2();

// A relative name as host/dir.h allows it: kUsage otherwise.
Result<> CheckName(std::string_view name);
// Opens `name` below `at` following no link at all and, with `stay`, crossing no mount. By openat2, or by the walk.
int OpenBeneath(int at, std::string_view name, int flags, std::uint32_t mode, bool stay = false);
// The walk alone (tests compare both).
int WalkBeneath(int at, std::string_view name, int flags, std::uint32_t mode, bool stay);

using RenameCall = int (*)(int from_dir, const char* from, int to_dir, const char* to, unsigned flags);
// Gives `from` the name `to`, which nothing has yet (-1, EEXIST), as host/dir.h says of Replace::kNo. Tests give another call.
int RenameNew(int from_dir, const char* from, int to_dir, const char* to, RenameCall call);

}  // namespace berth::host::internal
