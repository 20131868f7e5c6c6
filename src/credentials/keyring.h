// credentials/keyring.h: from an image's repository to the credentials for it, in the order in which they are tried.
//
// A Keyring holds the entries of one origin (the node's file, all pull secrets of a Pod, …). Find() gives every entry
// whose key matches, keys in reverse byte order (wildcards last, longer paths before shorter), entries of one key in the
// order in which they were added; and, when none matched and the image is of the default registry, those under exactly
// "index.docker.io" (kubelet-images 6.3 to 6.5). Several keyrings are asked one after the other and the lists joined.
// Immutable once filled; then safe to share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "credentials/docker_config.h"
#include "credentials/match.h"

namespace berth::credentials {

class Keyring {
 public:
  explicit Keyring(Profile profile = Profile::kDocumented) : profile_(profile) {}
  Profile profile() const { return profile_; }

  // Keys that make no sense are left out and returned (WithoutUserInfo), for a warning.
  std::vector<std::string> Add(DockerConfig config);
  std::vector<Credential> Find(std::string_view repository) const;
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    std::string key;  // index key
    Credential credential;
  };
  Profile profile_;
  std::vector<Entry> entries_;  // keys in reverse byte order
};

}  // namespace berth::credentials
