#include "registry/token_cache.h"

#include <algorithm>
#include <random>

#include "bytes/bytes.h"
#include "digest/digest.h"

namespace berth::registry {
namespace {

constexpr time::Duration kShortest = std::chrono::seconds(60), kLongest = std::chrono::hours(1), kMargin = std::chrono::seconds(10);
constexpr std::size_t kTokenBytes = 4u << 20;  // of all that are kept

secret::Secret RandomSalt() {
  std::random_device device;
  std::string salt;
  for (int i = 0; i < 8; ++i) {
    const std::uint32_t word = device();
    salt.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  return secret::Secret::Take(salt);
}

template <class Map, class Full, class Evictable>
void Evict(Map& map, const Full& full, const Evictable& use_of) {
  while (full()) {
    const auto oldest = std::min_element(map.begin(), map.end(), [&](const auto& a, const auto& b) { return use_of(a) < use_of(b); });
    if (use_of(*oldest) == UINT64_MAX) return;
    map.erase(oldest);
  }
}

}  // namespace

TokenCache::TokenCache(const time::Clock& clock, std::size_t capacity)
    : clock_(clock), capacity_(capacity), salt_(RandomSalt()) {}

std::string TokenCache::Identity(const credentials::Credential& credential) const {
  if (credential.empty()) return "";
  digest::Hasher hasher;
  const auto add = [&](std::string_view part) {
    const std::uint64_t size = part.size();
    hasher.Update(std::as_bytes(std::span(&size, 1)));
    hasher.Update(bytes::AsView(part));
  };
  add(salt_.Reveal());
  add(credential.username);
  for (const auto* part : {&credential.password, &credential.identity_token, &credential.registry_token}) add(part->Reveal());
  return hasher.Finish().Hex();
}

Result<SharedToken> TokenCache::Get(const task::Context& ctx, const TokenKey& key, const SharedToken& stale,
                                    const std::function<Result<Token>()>& fetch) {
  std::unique_lock lock(mutex_);
  std::shared_ptr<Entry>& slot = tokens_[key];
  if (!slot) slot = std::make_shared<Entry>();
  const std::shared_ptr<Entry> entry = slot;
  entry->used = ++uses_;
  ++entry->askers;
  const struct Asker {
    ~Asker() { cache.Leave(key, entry); }
    TokenCache& cache;
    const TokenKey& key;
    Entry& entry;
  } asker{*this, key, *entry};
  for (;;) {
    if (entry->token && entry->token != stale && clock_.SteadyNow() < entry->expires) return entry->token;
    RETURN_IF_ERROR(ctx.Check());
    if (!entry->fetching) break;
    const std::uint64_t seen = entry->failures;
    const auto ended = [&] { return !entry->fetching || entry->failures != seen; };
    if (!(ctx.deadline() ? changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), ended) : changed_.wait(lock, ctx.stop(), ended))) {
      RETURN_IF_ERROR(ctx.Check());
      return Error(Reason::kTimeout, "the deadline passed while another pull asked for the same token");
    }
    if (entry->failures != seen) return Error(*entry->failure);
  }
  entry->fetching = true;
  lock.unlock();
  Result<Token> fetched = fetch();
  lock.lock();
  entry->fetching = false;
  changed_.notify_all();
  if (!fetched) {
    // The others have their own reasons to be stopped: one of them takes over.
    if (!fetched.error().cancelled()) {
      ++entry->failures;
      entry->failure = fetched.error();
    }
    return Error(std::move(fetched).error());
  }
  entry->token = std::make_shared<const secret::Secret>(std::move(fetched->value));
  entry->expires = clock_.SteadyNow() + std::clamp(fetched->lifetime, kShortest, kLongest) - kMargin;
  SharedToken token = entry->token;
  const auto full = [&] {
    std::size_t bytes = 0;
    for (const auto& [at, kept] : tokens_) bytes += kept->token ? kept->token->Reveal().size() : 0;
    return tokens_.size() > capacity_ || bytes > kTokenBytes;
  };
  Evict(tokens_, full, [](const auto& item) { return item.second->fetching ? UINT64_MAX : item.second->used; });
  return token;
}

// The last one that got no token: nobody has a use for the entry. While somebody waits, he may be the one to take over.
void TokenCache::Leave(const TokenKey& key, Entry& entry) {
  if (--entry.askers > 0 || entry.token) return;
  const auto found = tokens_.find(key);
  if (found != tokens_.end() && found->second.get() == &entry) tokens_.erase(found);
}

void TokenCache::Drop(const SharedToken& token) {
  std::lock_guard lock(mutex_);
  for (auto& [key, entry] : tokens_)
    if (entry->token == token) entry->token = nullptr;
}

std::optional<Remembered> TokenCache::Recall(const std::string& origin, const std::string& repository) const {
  std::lock_guard lock(mutex_);
  auto found = memories_.find({origin, repository});
  if (found == memories_.end()) found = memories_.find({origin, ""});
  if (found == memories_.end()) return std::nullopt;
  found->second.used = ++uses_;
  return found->second.met;
}

void TokenCache::Remember(const std::string& origin, const std::string& repository, const Remembered& met) {
  std::lock_guard lock(mutex_);
  memories_[{origin, repository}] = {met, ++uses_};
  // Usual scopes only: what was asked for this repository says how to ask for another one.
  Challenge general = met.challenge;
  if (general.scopes == std::vector<std::string>{"repository:" + repository + ":pull"}) general.scopes.clear();
  if (general.scopes.empty()) memories_[{origin, ""}] = {{general, met.address}, ++uses_};
  Evict(memories_, [&] { return memories_.size() > capacity_; }, [](const auto& item) { return item.second.used; });
}

void TokenCache::Forget(const std::string& origin, const std::string& repository) {
  std::lock_guard lock(mutex_);
  memories_.erase({origin, repository});
  memories_.erase({origin, ""});
}

}  // namespace berth::registry
