// launch/resolve.h: openat2 for trees that others may have written, for launch/ only.
#pragma once

#include <string>
#include <string_view>

#include "host/fd.h"
#include "result/result.h"

namespace berth::launch::internal {

enum class Within : bool {
  kInRoot,   // links count from `at`, as if it were "/"
  kBeneath,  // what leads out is an error (kDenied)
};
// `flags` and `mode` as for open(2); O_CLOEXEC is added. Magic links are never followed. kMissing when there is no such name,
// kDenied when it leads out or through a magic link, kUnsupported without openat2.
Result<host::Fd> OpenWithin(int at, std::string_view path, Within within, int flags, std::string_view what);

}  // namespace berth::launch::internal
