#include "credentials/provider_cache.h"

#include <algorithm>
#include <chrono>

namespace berth::credentials {
namespace {

void Put(std::string& out, std::string_view text) {
  out += static_cast<char>(text.size() >> 8 & 0xff);
  out += static_cast<char>(text.size() & 0xff);
  out += text;
}

}  // namespace

std::string ServiceAccountKey(const ServiceAccountCoordinates& account, const std::map<std::string, std::string>& annotations,
                              std::string_view token_hash) {
  if (account.name.empty()) return "";
  std::string key;
  Put(key, account.namespace_name);
  Put(key, account.name);
  Put(key, account.uid);
  for (int shift = 24; shift >= 0; shift -= 8) key += static_cast<char>(annotations.size() >> shift & 0xff);
  for (const auto& [name, value] : annotations) {
    Put(key, name);
    Put(key, value);
  }
  if (!token_hash.empty()) {
    Put(key, "token");
    Put(key, token_hash);
  }
  return key;
}

std::string CacheKey(std::string_view base, std::string_view account_key) {
  std::string key;
  Put(key, base);
  Put(key, account_key);
  return key;
}

std::string CacheBase(CacheKeyType type, std::string_view image) {
  if (type == CacheKeyType::kGlobal) return "<global>";
  return std::string(type == CacheKeyType::kImage ? image : image.substr(0, image.find('/')));
}

ProviderEntries ProviderCache::Find(std::string_view image, std::string_view account_key, time::SteadyTime now) {
  std::lock_guard lock(mutex_);
  if (now - purged_ >= std::chrono::minutes(15)) {
    purged_ = now;
    std::erase_if(slots_, [&](const auto& slot) { return now > slot.second.expires; });
  }
  for (const auto type : {CacheKeyType::kImage, CacheKeyType::kRegistry, CacheKeyType::kGlobal})
    if (const auto it = slots_.find(CacheKey(CacheBase(type, image), account_key)); it != slots_.end() && now <= it->second.expires)
      return it->second.entries;
  return nullptr;
}

void ProviderCache::Store(std::string key, ProviderEntries entries, time::SteadyTime expires) {
  std::lock_guard lock(mutex_);
  slots_[std::move(key)] = {std::move(entries), expires};
  if (slots_.size() > kMost) slots_.erase(std::ranges::min_element(slots_, {}, [](const auto& slot) { return slot.second.expires; }));
}

bool ProviderCache::Has(const std::string& key) const {
  std::lock_guard lock(mutex_);
  return slots_.contains(key);
}

std::size_t ProviderCache::size() const {
  std::lock_guard lock(mutex_);
  return slots_.size();
}

}  // namespace berth::credentials
