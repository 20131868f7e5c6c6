// node/crash_backoff.h: how long a container that ended is not started again.
//
// The kubelet's rule: 10 s, doubled at every restart up to 300 s (or what the kubelet's configuration says), counted from the
// moment the container ended. One that ran for longer than twice the cap since its last start begins anew: started at once,
// then 10 s. The first restart is immediate. Each image of a container has a count of its own (Key), so that a mended one starts at
// once. Not persisted. One Pod's; not for concurrent use.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "time/clock.h"

namespace berth::node {

class CrashBackoff {
 public:
  explicit CrashBackoff(time::Duration cap = std::chrono::seconds(300))
      : cap_(cap), initial_(std::min<time::Duration>(std::chrono::seconds(10), cap)) {}

  static std::string Key(const std::string& container, const std::string& image) { return container + "\n" + image; }

  struct Block {
    time::Duration delay{};
    time::WallTime until{};
  };
  // Whether the container, which ended at `finished`, has to wait at `now`.
  std::optional<Block> Blocked(const std::string& key, time::WallTime finished, time::WallTime now) const {
    const auto entry = entries_.find(key);
    if (entry == entries_.end() || Expired(entry->second, finished) || now - finished >= entry->second.delay) return std::nullopt;
    return Block{entry->second.delay, finished + entry->second.delay};
  }
  // It is started again now.
  void Restarted(const std::string& key, time::WallTime finished, time::WallTime now) {
    const auto [entry, fresh] = entries_.try_emplace(key);
    const bool anew = fresh || Expired(entry->second, finished);
    entry->second = {anew ? initial_ : std::min<time::Duration>(2 * entry->second.delay, cap_), now};
  }

 private:
  struct Entry {
    time::Duration delay{};
    time::WallTime updated{};
  };
  bool Expired(const Entry& e, time::WallTime finished) const { return finished - e.updated > 2 * cap_; }

  const time::Duration cap_, initial_;
  std::map<std::string, Entry> entries_;  // by Key
};

}  // namespace berth::node
