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

Result<std::size_t> ReadSomeOfStdin(const task::Context& ctx, const World& world, bytes::MutableView room) {
  RETURN_IF_ERROR(host::AwaitReadable(ctx, world.stdin_fd));
  auto n = host::ReadSome(world.stdin_fd, room);
  if (!n) return std::move(n).error().Context("standard input").Next("give it a file or a pipe: berth … < FILE");
  return n;
}

Result<std::string> ReadStdin(Session& session) {
  std::string text;
  std::array<std::byte, 64 << 10> room;
  const task::Context ctx = session.context();
  for (;;) {
    ASSIGN_OR_RETURN(const std::size_t n, ReadSomeOfStdin(ctx, session.world(), room));
    if (n == 0) return text;
    text.append(reinterpret_cast<const char*>(room.data()), n);
    if (text.size() > kFileBytes) return Error(Reason::kLimitExceeded, "stdin holds more than " + std::to_string(kFileBytes) + " bytes").Next("give it in parts");
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
    ASSIGN_OR_RETURN(const std::string path, session.world().Absolute(given));
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
    if (error) return Error(Reason::kIo, "the folder " + Quoted(given) + " cannot be read").Next("check who may read it");
    if (paths.empty()) return Error(Reason::kUsage, "the folder " + Quoted(given) + " has no .yaml, .yml or .json files").Next("name the file itself, or another folder");
    for (const auto& p : paths) {
      auto text = host::ReadSmallFile(p, kFileBytes);
      if (!text && text.error().reason() == Reason::kMissing) return Error(Reason::kUsage, "the path " + Quoted(given) + " does not exist").Next("check the path; - means standard input");
      if (!text) return std::move(text).error().Next("check what it is and who may read it: a file of at most 8 MiB is wanted");
      sources.push_back({p, *std::move(text)});
    }
  }
  return sources;
}

}  // namespace berth::cli
