// apps/berth/files.h: what -f names: files, folders (their .yaml, .yml and .json files, by name), "-" for stdin.
#pragma once

#include <string>
#include <vector>

#include "apps/berth/session.h"
#include "result/result.h"

namespace berth::cli {

// All of stdin.
Result<std::string> ReadStdin(Session& session);

struct Source {
  std::string name, text;
};
// At most 8 MiB each. kUsage, kIo, kLimitExceeded; kCanceled by a signal.
Result<std::vector<Source>> ReadFiles(Session& session, const std::vector<std::string>& files);

}  // namespace berth::cli
