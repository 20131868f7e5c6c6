// admission/resolver.h: what digest a tag stands for now: the question, and a cache in front of who answers it.
//
// DigestCache: answers stay fresh for a while (within it, every Pod of one namespace with the same secrets gets the same digest); a
// failure is remembered for a shorter while; when the registry does not answer, a digest that is not too old is used and said to be so.
// Answers are kept per namespace and list of pull secrets: nobody learns of a private tag from somebody else's look-up. Of several
// askers one look-up is made, and it goes on when the askers' time is over, so that the next one finds it (H-10).
#pragma once

#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "digest/digest.h"
#include "reference/reference.h"
#include "result/result.h"
#include "task/context.h"
#include "task/single_flight.h"
#include "time/clock.h"

namespace berth::admission {

struct Lookup {
  reference::Reference image;             // with a tag
  std::string ns;                         // of the object
  std::vector<std::string> pull_secrets;  // its own, in order; without empty names
};

class Resolver {
 public:
  virtual ~Resolver() = default;
  // Blocks; called from several threads at once. Errors as of registry::Repository::Resolve.
  virtual Result<digest::Digest> Resolve(const task::Context& ctx, const Lookup& lookup) = 0;
};

struct CacheOptions {
  time::Duration fresh = std::chrono::minutes(5);
  time::Duration usable = std::chrono::hours(1);       // of a digest, while the registry does not answer
  time::Duration negative = std::chrono::seconds(10);
  time::Duration limit = std::chrono::seconds(30);     // of one look-up
  std::size_t entries = 10'000;                        // the least recently answered go first
  std::size_t lookups = 64;                            // at once, a thread each; more fail as unavailable
};

struct Resolution {
  digest::Digest digest;
  std::optional<time::Duration> age;  // of a digest that could not be asked for again
};

class DigestCache {
 public:
  // `resolver` must outlive the cache.
  DigestCache(Resolver& resolver, const time::Clock& clock, CacheOptions options = {})
      : resolver_(resolver), clock_(clock), options_(options) {}

  // One answer for each look-up, in order; those not in the cache are asked for side by side. Safe for concurrent use.
  std::vector<Result<Resolution>> Resolve(const task::Context& ctx, std::span<const Lookup> lookups);

  std::size_t size() const;

 private:
  using Flights = task::SingleFlight<std::string, digest::Digest>;
  struct Entry {
    std::optional<digest::Digest> digest;
    time::SteadyTime asked{};             // when the digest was told
    std::optional<Error> error;           // of the last try, if that came later
    time::SteadyTime failed{};
    std::list<std::string>::iterator place;
  };

  std::optional<Result<Resolution>> Known(const std::string& key);
  Result<digest::Digest> Ask(const task::Context& ctx, const std::string& key, const Lookup& lookup);
  Entry& Touch(const std::string& key);   // REQUIRES mutex_
  Result<Resolution> OrOld(const std::string& key, Error error);

  Resolver& resolver_;
  const time::Clock& clock_;
  const CacheOptions options_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;          // guarded by mutex_, as all below
  std::list<std::string> order_;                  // oldest answer first
  std::vector<std::string> ended_;                // keys of `kept_` whose look-ups are over
  Flights flights_{"berth-digest"};
  std::map<std::string, Flights::Ticket> kept_;   // so that a look-up outlives its askers; goes before flights_
};

}  // namespace berth::admission
