// launch/testing/objects.h: Secrets and ConfigMaps in memory.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "launch/sources.h"

namespace berth::launch::testing {

class FakeObjects final : public ConfigSource {
 public:
  void AddSecret(const std::string& name, const kube::StringMap& data) {
    auto secret = std::make_shared<kube::Secret>();
    secret->metadata.name = name;
    for (const auto& [key, value] : data) secret->data.emplace(key, secret::Secret(value));
    secrets_[name] = std::move(secret);
  }
  void AddConfigMap(const std::string& name, const kube::StringMap& data, const kube::StringMap& binary = {}) {
    auto map = std::make_shared<kube::ConfigMap>();
    map->metadata.name = name;
    map->data = data;
    map->binary_data = binary;
    maps_[name] = std::move(map);
  }
  Result<std::shared_ptr<const kube::Secret>> FindSecret(const std::string& name) const override {
    if (const auto found = secrets_.find(name); found != secrets_.end()) return found->second;
    return Error(Reason::kNotFound, "secret \"" + name + "\" not found");
  }
  Result<std::shared_ptr<const kube::ConfigMap>> FindConfigMap(const std::string& name) const override {
    if (const auto found = maps_.find(name); found != maps_.end()) return found->second;
    return Error(Reason::kNotFound, "configmap \"" + name + "\" not found");
  }

 private:
  std::map<std::string, std::shared_ptr<const kube::Secret>> secrets_;
  std::map<std::string, std::shared_ptr<const kube::ConfigMap>> maps_;
};

}  // namespace berth::launch::testing
