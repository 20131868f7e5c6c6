#include "registry/engine.h"

#include <algorithm>
#include <iterator>

namespace berth::registry {
namespace {

constexpr std::size_t kMost = 4096;

// Entries whose time is over go; when there are too many all the same, the soonest to end goes.
template <class Map, class Key>
void Put(Map& map, const Key& key, time::SteadyTime now, time::SteadyTime until) {
  std::erase_if(map, [&](const auto& item) { return item.second <= now; });
  if (map.size() >= kMost)
    map.erase(std::min_element(map.begin(), map.end(), [](const auto& a, const auto& b) { return a.second < b.second; }));
  map[key] = until;
}

template <class Map, class Key>
bool Holds(const Map& map, const Key& key, time::SteadyTime now) {
  const auto found = map.find(key);
  return found != map.end() && now < found->second;
}

}  // namespace

void HostMemory::MarkDead(const std::string& host, time::Duration how_long) {
  std::lock_guard lock(mutex_);
  const time::SteadyTime now = clock_.SteadyNow();
  Put(dead_, host, now, now + how_long);
}

void HostMemory::MarkAlive(const std::string& host) {
  std::lock_guard lock(mutex_);
  dead_.erase(host);
}

bool HostMemory::Dead(const std::string& host) const {
  std::lock_guard lock(mutex_);
  return Holds(dead_, host, clock_.SteadyNow());
}

void HostMemory::Ban(const std::string& host, const digest::Digest& digest, time::Duration how_long) {
  std::lock_guard lock(mutex_);
  const time::SteadyTime now = clock_.SteadyNow();
  Put(lies_, Lie{host, digest}, now, now + how_long);
}

bool HostMemory::Banned(const std::string& host, const digest::Digest& digest) const {
  std::lock_guard lock(mutex_);
  return Holds(lies_, Lie{host, digest}, clock_.SteadyNow());
}

void HostMemory::SetPlain(const std::string& authority, bool plain) {
  std::lock_guard lock(mutex_);
  if (!plain) {
    plain_.erase(authority);
  } else if (plain_.insert(authority).second && plain_.size() > kMost) {
    // Any other: it will be asked by TLS once more, and this one is waited for.
    plain_.erase(*plain_.begin() != authority ? plain_.begin() : std::prev(plain_.end()));
  }
}

bool HostMemory::Plain(const std::string& authority) const {
  std::lock_guard lock(mutex_);
  return plain_.contains(authority);
}

}  // namespace berth::registry
