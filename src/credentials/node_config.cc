#include "credentials/node_config.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "log/log.h"

namespace berth::credentials {
namespace {

// Too many files are open, or the disk fails, or what is mounted there. What is wrong with the path itself (a directory, a loop, no
// permission) lasts.
bool IsOfTheMachine(const Error& error, const std::string& path) {
  if (error.reason() != Reason::kIo) return error.reason() == Reason::kUnavailable;
  struct stat is {};
  if (::stat(path.c_str(), &is) != 0)
    return errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != ENAMETOOLONG && errno != EACCES && errno != EPERM;
  return S_ISREG(is.st_mode) && ::access(path.c_str(), R_OK) == 0;
}

}  // namespace

std::shared_ptr<const NodeFile> NodeConfig::GetFile() {
  std::lock_guard lock(mutex_);
  const auto now = clock_.SteadyNow();
  if (!file_ || now - read_ >= options_.keep) {
    const auto [file, certain] = Read();
    if (!certain) return file_ ? file_ : file;
    file_ = file;
    read_ = now;
  }
  return file_;
}

void NodeConfig::Reload() {
  std::lock_guard lock(mutex_);
  file_.reset();
}

// Uncertain: the machine could not read a file just now (too many are open, the disk fails), which says nothing about the next time.
std::pair<std::shared_ptr<const NodeFile>, bool> NodeConfig::Read() const {
  bool certain = true;
  auto file = std::make_shared<NodeFile>(NodeFile{Keyring(options_.profile), {}, {}, {}});
  const auto search = [&](const std::vector<std::string>& folders, const char* name, FileFormat format) {
    for (const auto& folder : folders) {
      const std::string path = folder + "/" + name;
      const auto text = ReadDockerConfig(path, options_.limits);
      if (!text && text.error().reason() == Reason::kMissing) continue;
      if (!text && IsOfTheMachine(text.error(), path)) certain = false;
      auto config = text ? ParseDockerConfig(*text, format, options_.profile, std::string(name) + " " + path, options_.limits)
                         : Result<DockerConfig>(text.error());
      if (!config) {
        log::Warning("a credential file is passed over", {{"file", path}, {"error", config.error()}});
        continue;
      }
      file->source = std::string(name) + " " + path;
      file->credential_store = config->credential_store;
      file->credential_helpers = config->credential_helpers;
      for (const auto& key : file->keyring.Add(*std::move(config)))
        log::Warning("a key of a credential file names no registry", {{"file", path}, {"key", key}});
      return true;
    }
    return false;
  };
  if (!search(options_.config_json, "config.json", FileFormat::kConfigJson)) search(options_.dockercfg, ".dockercfg", FileFormat::kDockerCfg);
  return {file, certain};
}

}  // namespace berth::credentials
