#include "apps/berth/files.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "host/dir.h"
#include "host/fd.h"
#include "host/poll.h"

namespace berth::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kFileBytes = 8u << 20;

}  // namespace

Result<std::string> ReadStdin(Session& session) {
  std::string text;
  std::array<std::byte, 64 << 10> room;
  const task::Context ctx(session.world().stop);
  for (;;) {
    RETURN_IF_ERROR(host::AwaitReadable(ctx, session.world().stdin_fd));
    ASSIGN_OR_RETURN(const std::size_t n, host::ReadSome(session.world().stdin_fd, room));
    if (n == 0) return text;
    text.append(reinterpret_cast<const char*>(room.data()), n);
    if (text.size() > kFileBytes) return Error(Reason::kLimitExceeded, "stdin holds more than " + std::to_string(kFileBytes) + " bytes");
  }
}

Result<std::vector<Source>> ReadFiles(Session& session, const std::vector<std::string>& files) {
  std::vector<Source> sources;
  for (const auto& given : files) {
    if (given == "-") {
      ASSIGN_OR_RETURN(auto text, ReadStdin(session));
      sources.push_back({"-", std::move(text)});
      continue;
    }
    const std::string path = (fs::path(session.world().directory) / given).lexically_normal().string();
    std::vector<std::string> paths{path};
    std::error_code error;
    const bool folder = fs::is_directory(path, error);
    error.clear();  // what is not there is said when it is read
    if (folder) {
      paths.clear();
      for (const auto& entry : fs::directory_iterator(path, error))
        if (const auto extension = entry.path().extension(); extension == ".yaml" || extension == ".yml" || extension == ".json")
          paths.push_back(entry.path().string());
      std::ranges::sort(paths);
    }
    if (error) return Error(Reason::kIo, "the folder " + Quoted(given) + " cannot be read");
    if (paths.empty()) return Error(Reason::kUsage, "the folder " + Quoted(given) + " has no .yaml, .yml or .json files");
    for (const auto& p : paths) {
      auto text = host::ReadSmallFile(p, kFileBytes);
      if (!text && text.error().reason() == Reason::kNotFound) return Error(Reason::kUsage, "the path " + Quoted(given) + " does not exist");
      if (!text) return text.error();
      sources.push_back({p, *std::move(text)});
    }
  }
  return sources;
}

}  // namespace berth::cli
