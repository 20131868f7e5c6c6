#include "admission/resolver.h"

namespace berth::admission {
namespace {

// No name of an object or an image has a line break in it that passed its parser; a made-up secret's name is only a key.
std::string KeyOf(const Lookup& lookup) {
  std::string key = lookup.image.ToString();
  key.append("\n").append(lookup.ns);
  for (const std::string& secret : lookup.pull_secrets) key.append("\n").append(std::to_string(secret.size())).append(" ").append(secret);
  return key;
}

}  // namespace

std::vector<Result<Resolution>> DigestCache::Resolve(const task::Context& ctx, std::span<const Lookup> lookups) {
  std::vector<Result<Resolution>> out;
  out.reserve(lookups.size());
  struct Waiting {
    std::size_t at;
    std::string key;
    Flights::Ticket ticket;
  };
  std::vector<Waiting> waiting;
  std::vector<Flights::Ticket> over;  // let go without the lock
  for (std::size_t i = 0; i < lookups.size(); ++i) {
    std::string key = KeyOf(lookups[i]);
    std::lock_guard lock(mutex_);
    for (const std::string& done : ended_)
      if (auto node = kept_.extract(done)) over.push_back(std::move(node.mapped()));
    ended_.clear();
    if (auto known = Known(key)) {
      out.push_back(*std::move(known));
      continue;
    }
    out.push_back(Error(Reason::kInternal, "not asked"));
    if (!kept_.contains(key) && kept_.size() >= options_.lookups) {
      out.back() = OrOld(key, Error(Reason::kUnavailable, std::to_string(options_.lookups) + " look-ups are on their way already (limit: lookups)")
                                  .Next("try again in a few seconds"));
      continue;
    }
    const auto join = [&] {
      return flights_.Join(key, ctx, [this, key, lookup = lookups[i]](const task::Context& flight) { return Ask(flight, key, lookup); });
    };
    waiting.push_back({i, key, join()});
    // What was begun here has not ended: it needs mutex_ to note its answer.
    if (waiting.back().ticket.started()) kept_[key] = join();
  }
  over.clear();
  for (Waiting& w : waiting) {
    auto answer = w.ticket.Wait(ctx);
    if (answer) {
      out[w.at] = Resolution{*answer, std::nullopt};
      continue;
    }
    std::lock_guard lock(mutex_);
    out[w.at] = OrOld(w.key, answer.error());
  }
  return out;
}

std::optional<Result<Resolution>> DigestCache::Known(const std::string& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end()) return std::nullopt;
  const Entry& e = it->second;
  const auto now = clock_.SteadyNow();
  if (e.digest && now - e.asked < options_.fresh) return Resolution{*e.digest, std::nullopt};
  if (e.error && now - e.failed < options_.negative) return OrOld(key, *e.error);
  return std::nullopt;
}

// A definite answer ("no such tag") is one; trouble on the way to it is not.
Result<Resolution> DigestCache::OrOld(const std::string& key, Error error) {
  const auto it = entries_.find(key);
  if (it == entries_.end() || !it->second.digest || !error.transient()) return error;
  const auto age = clock_.SteadyNow() - it->second.asked;
  if (age >= options_.usable) return error;
  return Resolution{*it->second.digest, age};
}

Result<digest::Digest> DigestCache::Ask(const task::Context& ctx, const std::string& key, const Lookup& lookup) {
  auto answer = resolver_.Resolve(ctx.WithTimeout(options_.limit), lookup);
  std::lock_guard lock(mutex_);
  ended_.push_back(key);
  if (!answer && answer.error().cancelled()) return answer;
  Entry& e = Touch(key);
  const auto now = clock_.SteadyNow();
  if (answer) e.digest = *answer, e.asked = now, e.error.reset();
  else e.error = answer.error(), e.failed = now;
  // What is definitely gone is not remembered for worse days.
  if (!answer && !answer.error().transient()) e.digest.reset();
  return answer;
}

DigestCache::Entry& DigestCache::Touch(const std::string& key) {
  const auto [it, fresh] = entries_.try_emplace(key);
  if (!fresh) order_.erase(it->second.place);
  it->second.place = order_.insert(order_.end(), key);
  while (entries_.size() > options_.entries) {
    entries_.erase(order_.front());
    order_.pop_front();
  }
  return it->second;
}

std::size_t DigestCache::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace berth::admission
