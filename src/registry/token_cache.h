// registry/token_cache.h: tokens and challenges that outlive a pull.
//
// A token belongs to (registry origin, realm, service, scopes, credential): all five are the key, the credential as a
// keyed hash whose key is random per process. Tokens expire by the steady clock, 10 s before their time; lifetimes are
// clamped to 60 s .. 1 h whatever the registry says. Any number of threads asking for one key cause one request.
//
// The challenge memory lets the next pull of a repository send the right Authorization at once, which makes a pull of
// an unchanged tag cost one request. Both are bounded, tokens to 4 MiB too (least recently used goes); what brought no token
// is not kept, since a registry may name another service each time. Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "credentials/credential.h"
#include "registry/challenge.h"
#include "result/result.h"
#include "secret/secret.h"
#include "task/context.h"
#include "time/clock.h"

namespace berth::registry {

struct TokenKey {
  std::string origin, realm, service;
  std::vector<std::string> scopes;
  std::string credential;  // TokenCache::Identity()
  friend auto operator<=>(const TokenKey&, const TokenKey&) = default;
};

struct Token {
  secret::Secret value;
  time::Duration lifetime{};  // as announced, not yet clamped
};

using SharedToken = std::shared_ptr<const secret::Secret>;

// A challenge that was met, and the address of the server that made it ("" when unknown).
struct Remembered {
  Challenge challenge;
  std::string address;
};

class TokenCache {
 public:
  explicit TokenCache(const time::Clock& clock, std::size_t capacity = 1024);

  // A keyed hash of what the credential is; "" for the anonymous one.
  std::string Identity(const credentials::Credential& credential) const;

  // The cached token, or the one `fetch` returns. One fetch per key at a time; others wait for it (and honour `ctx`, its deadline, too).
  // A failure is given to every waiter and is not cached; a canceled fetch hands the work to the next waiter.
  // `stale`: a token that was refused; it is not returned again.
  Result<SharedToken> Get(const task::Context& ctx, const TokenKey& key, const SharedToken& stale,
                          const std::function<Result<Token>()>& fetch);
  // Whoever has it may go on using it; it is not given again. For one without the rights that were asked for.
  void Drop(const SharedToken& token);

  // What `repository` at `origin` last asked for, else what `origin` did when it was nothing special to a repository.
  std::optional<Remembered> Recall(const std::string& origin, const std::string& repository) const;
  void Remember(const std::string& origin, const std::string& repository, const Remembered& met);
  void Forget(const std::string& origin, const std::string& repository);

 private:
  struct Entry {
    SharedToken token;           // null: none yet
    time::SteadyTime expires;
    bool fetching = false;
    int askers = 0;              // threads in Get()
    std::uint64_t failures = 0;  // of fetches; waiters watch it change
    std::optional<Error> failure;
    std::uint64_t used = 0;
  };
  struct Memory {
    Remembered met;
    std::uint64_t used = 0;
  };
  void Leave(const TokenKey& key, Entry& entry);  // REQUIRES: mutex_ held
  using Place = std::pair<std::string, std::string>;  // origin, repository; repository "" = all of the origin

  const time::Clock& clock_;
  const std::size_t capacity_;
  const secret::Secret salt_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  mutable std::uint64_t uses_ = 0;                      // all below guarded by mutex_
  std::map<TokenKey, std::shared_ptr<Entry>> tokens_;
  mutable std::map<Place, Memory> memories_;
};

}  // namespace berth::registry
