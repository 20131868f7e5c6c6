#include "credentials/keyring.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace berth::credentials {

std::vector<std::string> Keyring::Add(DockerConfig config) {
  std::vector<std::string> ignored;
  for (auto& entry : config.entries) {
    auto key = IndexKey(profile_, entry.key);
    if (!key) {
      ignored.push_back(WithoutUserInfo(entry.key));
      continue;
    }
    entry.credential.pattern = WithoutUserInfo(entry.key);
    entries_.push_back({*std::move(key), std::move(entry.credential)});
  }
  std::ranges::stable_sort(entries_, std::greater<>(), &Entry::key);
  return ignored;
}

std::vector<Credential> Keyring::Find(std::string_view repository) const {
  std::vector<Credential> found;
  for (const auto& entry : entries_)
    if (Matches(profile_, entry.key, repository)) found.push_back(entry.credential.Clone());
  if (found.empty() && IsDefaultRegistry(repository))
    for (const auto& entry : entries_)
      if (entry.key == "index.docker.io") found.push_back(entry.credential.Clone());
  return found;
}

}  // namespace berth::credentials
