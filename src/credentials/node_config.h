// credentials/node_config.h: the node's own docker config file: where it is looked for, and when it is read again.
//
// The first valid config.json of the directories wins, else the first valid .dockercfg; nothing is merged; files that
// are missing, unreadable or malformed are passed over with a warning (kubelet-images 6.1). The answer, also "none", is kept
// for five minutes, or longer, while errors of the machine (too many open files, a disk that fails) hide the next one; one that they
// may have changed is not kept. Safe for concurrent use.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "credentials/keyring.h"
#include "time/clock.h"

namespace berth::credentials {

struct NodeConfigOptions {
  std::vector<std::string> config_json;  // directories for config.json, in order
  std::vector<std::string> dockercfg;    // directories for .dockercfg
  Profile profile = Profile::kDocumented;
  DockerConfigLimits limits;
  time::Duration keep = std::chrono::minutes(5);
};

// The file that won, or nothing of all.
struct NodeFile {
  Keyring keyring;
  std::string source;            // "config.json /root/.docker/config.json", "" for none
  std::string credential_store;  // credsStore and credHelpers: only credentials/helper.h, when it is switched on, uses them
  std::vector<std::pair<std::string, std::string>> credential_helpers;
};

class NodeConfig {
 public:
  NodeConfig(NodeConfigOptions options, const time::Clock& clock) : options_(std::move(options)), clock_(clock) {}
  std::shared_ptr<const NodeFile> GetFile();
  std::shared_ptr<const Keyring> Get() {
    auto file = GetFile();
    return {file, &file->keyring};
  }
  // Forgets the kept answer (SIGHUP).
  void Reload();

 private:
  std::pair<std::shared_ptr<const NodeFile>, bool> Read() const;
  const NodeConfigOptions options_;
  const time::Clock& clock_;
  std::mutex mutex_;
  std::shared_ptr<const NodeFile> file_;  // guarded by mutex_
  time::SteadyTime read_{};               // guarded by mutex_
};

}  // namespace berth::credentials
