// apps/berth/files.h: what -f names: files, folders (their .yaml, .yml and .json files, by name), "-" for stdin.
#pragma once

#include <string>
#include <vector>

#include "apps/berth/session.h"
#include "bytes/bytes.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::cli {

// What comes next on stdin, as soon as something does; 0 at its end.
Result<std::size_t> ReadSomeOfStdin(const task::Context& ctx, const World& world, bytes::MutableView room);
// All of stdin.
Result<std::string> ReadStdin(Session& session);

// The next step for what is wrong inside a file; the message names the line.
inline constexpr const char* kCorrectTheFile = "correct the file at that place";

struct Source {
  std::string name, text;
};
// At most 8 MiB each. kUsage, kIo, kLimitExceeded; kCanceled by a signal.
Result<std::vector<Source>> ReadFiles(Session& session, const std::vector<std::string>& files);

}  // namespace berth::cli
