// registry/engine.h: what all Repositories of one Client share. Internal.
//
// HostMemory remembers, across pulls and threads: hosts that could not be reached, hosts that lied about a digest, and
// loopback hosts that speak plain HTTP. Bounded; thread-safe.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "digest/digest.h"
#include "http/client.h"
#include "registry/client.h"
#include "registry/token_cache.h"
#include "time/clock.h"

namespace berth::registry {

class HostMemory {
 public:
  explicit HostMemory(const time::Clock& clock) : clock_(clock) {}

  // `host` is what Host::id() says: base URL and the registry it stands for.
  void MarkDead(const std::string& host, time::Duration how_long);
  void MarkAlive(const std::string& host);
  bool Dead(const std::string& host) const;
  void Ban(const std::string& host, const digest::Digest& digest, time::Duration how_long);
  bool Banned(const std::string& host, const digest::Digest& digest) const;
  void SetPlain(const std::string& authority, bool plain);
  bool Plain(const std::string& authority) const;

 private:
  using Lie = std::pair<std::string, digest::Digest>;
  const time::Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, time::SteadyTime> dead_;  // until when; all guarded by mutex_
  std::map<Lie, time::SteadyTime> lies_;
  std::set<std::string> plain_;
};

struct Engine {
  Engine(http::Client& client, const time::Clock& the_clock, std::function<double()> random, ClientOptions the_options)
      : http(client), clock(the_clock), options(std::move(the_options)), tokens(the_clock), memory(the_clock),
        random_(std::move(random)) {}
  double Random() {
    std::lock_guard lock(random_mutex_);
    return random_();
  }

  http::Client& http;
  const time::Clock& clock;
  const ClientOptions options;
  TokenCache tokens;
  HostMemory memory;

 private:
  std::mutex random_mutex_;
  std::function<double()> random_;  // guarded by random_mutex_
};

}  // namespace berth::registry
