#include "registry/route.h"

#include <algorithm>

#include "http/retry.h"

namespace berth::registry {
namespace {

enum class Kind : std::uint8_t { kFatal, kOnce, kRate, kAgain, kFinal };

Kind KindOf(const Error& error) {
  switch (error.reason()) {
    case Reason::kCanceled: case Reason::kInternal: case Reason::kConfig: return Kind::kFatal;
    case Reason::kDigestMismatch: case Reason::kSizeMismatch: case Reason::kProtocolError: case Reason::kRange: return Kind::kOnce;
    case Reason::kRateLimited: return Kind::kRate;
    case Reason::kDenied: case Reason::kUnexpectedStatus: return error.transient() ? Kind::kOnce : Kind::kFinal;
    default: return error.transient() ? Kind::kAgain : Kind::kFinal;
  }
}

// Has the registry itself spoken about the content, so that asking its mirrors again is pointless?
bool Definitive(Reason reason) {
  switch (reason) {
    case Reason::kNotFound: case Reason::kRepositoryNotFound: case Reason::kBlobNotFound: case Reason::kUnauthorized:
    case Reason::kTokenError: case Reason::kDenied: case Reason::kUntrustedRealm: case Reason::kInvalidManifest:
    case Reason::kLimitExceeded: case Reason::kUnsupported: return true;
    default: return false;
  }
}

std::string Seconds(time::Duration d) {
  const auto tenths = std::chrono::duration_cast<std::chrono::milliseconds>(d).count() / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace

int Actionability(Reason reason) {
  if (reason == Reason::kLimitExceeded) return 0;
  static constexpr int kOrder[] = {6, 5, 10, 9, 13, 7, 4, 3};  // exit statuses
  const auto* found = std::find(std::begin(kOrder), std::end(kOrder), result::Describe(reason).exit_status);
  return static_cast<int>(found - std::begin(kOrder)) + 1;
}

time::Duration RetryJitter(time::Duration wait, time::Duration base, double random) {
  return std::chrono::duration_cast<time::Duration>(std::min(base, wait / 5) * random);
}

Route::Route(Session& session, Need need, std::optional<digest::Digest> digest, std::string what, Standby* standby)
    : session_(session), need_(need), digest_(digest), what_(std::move(what)), standby_(standby) {}

// Ends early, and well, when `over` is stopped.
Result<> Route::SitOut(const task::Context& ctx, time::Duration wait, const std::string& why, const std::stop_token& over) const {
  std::stop_source either;
  const auto stop = [&] { either.request_stop(); };
  const std::stop_callback cancelled(ctx.stop(), stop), ended(over, stop);
  if (standby_ != nullptr) standby_->GiveBack(wait, why);
  auto slept = ctx.WithStop(either.get_token()).Sleep(wait);
  if (!slept && slept.error().cancelled() && !ctx.stopped()) slept = {};
  const auto back = standby_ != nullptr ? standby_->TakeAgain(ctx) : Result<>();
  return slept ? back : slept;
}

Result<> Route::Start() {
  ASSIGN_OR_RETURN(const std::vector<Host*> hosts, session_.Hosts());
  const HostMemory& memory = session_.engine.memory;
  // Those that lie go last, the registry itself first among them: it is the one that can be right.
  std::vector<Host*> dead, liars;
  for (Host* host : hosts) {
    if (!(need_ == Need::kResolve ? host->endpoint.resolve : host->endpoint.pull)) continue;
    if (digest_ && memory.Banned(host->id, *digest_)) liars.insert(host->endpoint.mirror ? liars.end() : liars.begin(), host);
    else if (memory.Dead(host->id)) dead.push_back(host);
    else states_.push_back({.host = host});
  }
  for (const auto* rest : {&dead, &liars})
    for (Host* host : *rest) states_.push_back({.host = host});
  if (states_.empty())
    return Error(Reason::kConfig, "no host of " + session_.reference.domain() + " may be asked for a " +
                                      (need_ == Need::kResolve ? "tag" : "digest"))
        .Next("give a host in hosts.toml the capability \"" + std::string(need_ == Need::kResolve ? "resolve" : "pull") + "\"");
  next_ = 0;
  return {};
}

Result<Host*> Route::Next(const task::Context& ctx) {
  if (states_.empty()) RETURN_IF_ERROR(Start());
  RETURN_IF_ERROR(ctx.Check());
  if (!next_) return Final();
  if (!std::exchange(waiting_, false)) wait_until_ = {};
  for (;;) {
    const time::SteadyTime now = ctx.clock().SteadyNow();
    // Our own wait, and then that of whoever of this pull was told to wait.
    Session::Held held = wait_until_ > now ? Session::Held{wait_until_, {}} : session_.HeldOff(*states_[*next_].host, now);
    for (std::size_t i = *next_ + 1; i < states_.size() && held.failing(); ++i) {
      if (states_[i].out || states_[i].not_before > now) continue;
      if (auto other = session_.HeldOff(*states_[i].host, now);
          !other.failing() && !other.spent && (other.until <= now || other.until < held.until)) {
        held = std::move(other);
        next_ = i;
      }
    }
    State& state = states_[*next_];
    if (held.spent) {
      Spend(state);
      state.last = std::move(held.told);
      Choose(*next_ + 1, now);
      if (!next_) return Final();
      continue;
    }
    if (held.until <= now) return state.host;
    const std::optional<Error>& cause = held.told ? held.told : state.last;
    const std::string why = !cause                                    ? "back-off"
                            : cause->reason() == Reason::kRateLimited ? "429"
                                                                      : std::string(cause->info().klass);
    const std::string text = "waiting " + Seconds(held.until - now) + " for " + state.host->Name() + " (" + why + ")";
    if (auto slept = SitOut(ctx, held.until - now, text, held.over); !slept) {
      // Too late says less than what went wrong before.
      if (slept.error().cancelled()) return Error(std::move(slept).error()).Context(what_ + " of " + session_.name);
      if (!state.last) state.last = std::move(held.told);
      return Final();
    }
  }
}

// All of the pull together have tried it that often.
void Route::Spend(State& state) const {
  state.tries = std::max(state.tries, session_.engine.options.retry.rounds);
  state.out = true;
}

std::size_t Route::IndexOf(const Host& host) const {
  std::size_t i = 0;
  while (states_[i].host != &host) ++i;
  return i;
}

bool Route::Credit(State& state, std::uint64_t progress) {
  const RetryPolicy& policy = session_.engine.options.retry;
  const std::uint64_t back = progress / std::max<std::uint64_t>(policy.refill_bytes / 16, 1);
  state.tries = std::max(std::min(state.tries, 1), state.tries - static_cast<int>(std::min<std::uint64_t>(back, 1000)));
  if (back > 0) state.odd = 0;
  if ((progress_ += progress) >= policy.refill_bytes) {
    progress_ = 0;
    round_ = 0;
    for (State& s : states_) s.tries = std::min(s.tries, 1);
  }
  return back > 0;
}

bool Route::GivesUp(const Host& host, const Error& error) const {
  const State& state = states_[IndexOf(host)];
  const Kind kind = KindOf(error);
  return kind == Kind::kFinal || (kind == Kind::kOnce && state.odd + 1 >= 2) ||
         (kind != Kind::kFatal && state.tries + 2 >= session_.engine.options.retry.rounds);
}

std::string Route::Failed(Host& host, Error error, std::uint64_t progress) {
  const RetryPolicy& policy = session_.engine.options.retry;
  const time::SteadyTime now = session_.engine.clock.SteadyNow();
  const std::size_t at = IndexOf(host);
  State& state = states_[at];
  ++state.tries;
  const bool worth = Credit(state, progress);
  const Kind kind = KindOf(error);
  const auto wait = error.retry_after();
  const bool failing = kind == Kind::kAgain && wait && *wait > time::Duration::zero();
  if (kind != Kind::kRate && !failing) session_.Answered(host);
  if (wait) state.not_before = now + std::min<time::Duration>(*wait, policy.retry_after_cap);
  if (kind == Kind::kFatal) {
    fatal_ = std::move(error);
    next_.reset();
    return "";
  }
  state.odd += kind == Kind::kOnce;
  state.out = kind == Kind::kFinal || state.odd >= 2 || state.tries >= policy.rounds;
  state.last = std::move(error);
  // Those who wait together have one round, whichever of them asks.
  const int round = session_.Round(host);
  if (failing)
    state.not_before = std::max(state.not_before, now + http::RetryDelay(round, policy.base, policy.cap, session_.engine.Random()));
  time::SteadyTime until = state.not_before;
  if (kind == Kind::kRate) {
    const int waits = std::max(state.tries - 1, round);
    // A wait of nothing, or until a time that has passed, says no more than none.
    if (!wait || *wait <= time::Duration::zero())
      state.not_before = now + http::RetryDelay(waits, std::chrono::seconds(2), policy.retry_after_cap, 0);
    until = state.not_before + RetryJitter(state.not_before - now, policy.base, session_.engine.Random());
  }
  if ((kind == Kind::kRate || failing) && !session_.HoldOff(host, until, until - now, *state.last)) Spend(state);
  if (kind == Kind::kRate && !state.out) {
    // Going elsewhere at once would only move the load, often to the registry that the mirror is there to protect.
    next_ = at;
    wait_until_ = until;
    waiting_ = true;
    return "wait " + Seconds(wait_until_ - now);
  }
  if (worth && !state.out && (kind == Kind::kAgain || kind == Kind::kOnce)) {
    next_ = at;
    return "resume";
  }
  return Choose(at + 1, now);
}

std::string Route::Choose(std::size_t from, time::SteadyTime now) {
  const RetryPolicy& policy = session_.engine.options.retry;
  next_.reset();
  for (std::size_t i = from; i < states_.size() && !next_; ++i)
    if (!states_[i].out) next_ = i;
  time::SteadyTime until = now;
  if (!next_) {
    for (const State& s : states_)
      if (!s.host->endpoint.mirror && s.out && s.last && Definitive(s.last->reason())) return "";
    for (std::size_t i = 0; i < states_.size() && !next_; ++i)
      if (!states_[i].out) next_ = i;
    if (!next_) return "";
    until = now + http::RetryDelay(round_++, policy.base, policy.cap, session_.engine.Random());
  }
  until = std::max(until, states_[*next_].not_before);
  waiting_ = until > now;
  wait_until_ = until;
  const std::string name = states_[*next_].host->Name();
  if (!waiting_) return "next host " + name;
  return "wait " + Seconds(until - now) + (states_.size() > 1 ? ", then " + name : "");
}

Error Route::Final() const {
  if (fatal_) return Error(*fatal_).Context(what_ + " of " + session_.name);
  const State* best = nullptr;
  for (const State& s : states_)
    if (s.last && (!best || Actionability(s.last->reason()) < Actionability(best->last->reason()))) best = &s;
  if (!best) return Error(Reason::kTimeout, "no time was left to ask").Context(what_ + " of " + session_.name);
  std::string others;
  for (const State& s : states_)
    if (s.last && &s != best) others += (others.empty() ? "; also tried " : ", ") + s.host->Name() + ": " + std::string(s.last->info().klass);
  Error told(best->last->reason(), best->last->Text() + others);
  if (best->tries > 1)
    (void)std::move(told).Context("tried " + std::to_string(best->tries) + " times" +
                                  (best->tries >= session_.engine.options.retry.rounds ? " (retry.rounds)" : ""));
  (void)std::move(told).Next(best->last->next_step()).Retryable(best->last->transient());
  if (best->last->retry_after()) (void)std::move(told).RetryAfter(*best->last->retry_after());
  return std::move(told).Context(what_ + " of " + session_.name);
}

}  // namespace berth::registry
