// credentials/provider_cache.h: the answers of one plug-in, for as long as it said. Internal to credentials/provider.h.
//
// Keys are the kubelet's bytes (kubelet-images 7.6): an answer stands under the image, its registry or "<global>", plus who asked
// in service account mode. Look-ups try the three in that order. Expired answers are dropped at most once in 15 minutes,
// at a look-up; beyond kMost the one that expires first goes. Safe for concurrent use.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "credentials/credential.h"
#include "credentials/provider_response.h"
#include "time/clock.h"

namespace berth::credentials {

// "" when `account` is empty (no service account mode). `token_hash`: "sha256:…" with cache type Token, else "".
std::string ServiceAccountKey(const ServiceAccountCoordinates& account, const std::map<std::string, std::string>& annotations,
                              std::string_view token_hash);
std::string CacheKey(std::string_view base, std::string_view account_key);
// The first part of the key for this image: the image, the text before its first '/', "<global>".
std::string CacheBase(CacheKeyType type, std::string_view image);

using ProviderEntries = std::shared_ptr<const std::vector<ProviderResponse::Entry>>;

class ProviderCache {
 public:
  static constexpr std::size_t kMost = 4096;
  ProviderEntries Find(std::string_view image, std::string_view account_key, time::SteadyTime now);  // nullptr: a miss
  void Store(std::string key, ProviderEntries entries, time::SteadyTime expires);
  bool Has(const std::string& key) const;
  std::size_t size() const;

 private:
  struct Slot {
    ProviderEntries entries;
    time::SteadyTime expires;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Slot> slots_;  // guarded by mutex_
  time::SteadyTime purged_{};          // guarded by mutex_
};

}  // namespace berth::credentials
