#include "pull/progress.h"

namespace berth::pull {

std::string_view Name(LayerPhase phase) {
  switch (phase) {
    case LayerPhase::kWaiting: return "waiting";
    case LayerPhase::kPresent: return "present";
    case LayerPhase::kFetching: return "fetching";
    case LayerPhase::kUnpacking: return "unpacking";
    case LayerPhase::kDone: return "done";
  }
  return "done";
}

std::string_view Name(Phase phase) {
  switch (phase) {
    case Phase::kQueued: return "queued";
    case Phase::kResolving: return "resolving";
    case Phase::kFetching: return "fetching";
    case Phase::kPublishing: return "publishing";
    case Phase::kEnded: return "ended";
  }
  return "ended";
}

std::uint64_t Snapshot::total_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& layer : layers) sum += layer.phase == LayerPhase::kPresent ? 0 : layer.total;
  return sum;
}
std::uint64_t Snapshot::current_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& layer : layers) sum += layer.phase == LayerPhase::kPresent ? 0 : layer.current;
  return sum;
}

// Under mutex_.
void Progress::Changed() {
  ++state_.version;
  changed_.notify_all();
}

void Progress::SetPhase(Phase phase) {
  std::lock_guard lock(mutex_);
  state_.phase = phase;
  Changed();
}

void Progress::SetWait(const std::string& why) {
  std::lock_guard lock(mutex_);
  if (state_.wait == why) return;
  state_.wait = why;
  Changed();
}

void Progress::AddWarning(std::string host, std::string text) {
  std::lock_guard lock(mutex_);
  state_.warnings.emplace_back(std::move(host), std::move(text));
  Changed();
}

void Progress::Resolved(std::string digest, std::string platforms, std::string credential, std::string host) {
  std::lock_guard lock(mutex_);
  state_.digest = std::move(digest);
  state_.platforms = std::move(platforms);
  state_.credential = std::move(credential);
  state_.host = std::move(host);
  Changed();
}

void Progress::SetLayers(std::vector<LayerProgress> layers) {
  std::lock_guard lock(mutex_);
  state_.layers = std::move(layers);
  Changed();
}

void Progress::SetLayer(std::size_t i, LayerPhase phase) {
  std::lock_guard lock(mutex_);
  state_.layers[i].phase = phase;
  if (phase == LayerPhase::kDone) state_.layers[i].current = state_.layers[i].total;
  Changed();
}

void Progress::Resume(std::size_t i, std::uint64_t from, std::string host) {
  std::lock_guard lock(mutex_);
  state_.layers[i].resumed_from = from;
  state_.layers[i].host = std::move(host);
}

void Progress::AddBytes(std::size_t i, std::uint64_t bytes) {
  std::lock_guard lock(mutex_);
  state_.layers[i].current += bytes;
}

void Progress::ResetBytes(std::size_t i) {
  std::lock_guard lock(mutex_);
  state_.layers[i].current = state_.layers[i].resumed_from = 0;
}

void Progress::Tick() {
  std::lock_guard lock(mutex_);
  Changed();
}

Snapshot Progress::Take() const {
  std::lock_guard lock(mutex_);
  return state_;
}

Result<> Progress::AwaitChange(const task::Context& ctx, std::uint64_t seen) const {
  std::unique_lock lock(mutex_);
  const auto changed = [&] { return state_.version != seen; };
  if (ctx.deadline()) changed_.wait_until(lock, ctx.stop(), *ctx.deadline(), changed);
  else changed_.wait(lock, ctx.stop(), changed);
  lock.unlock();
  return ctx.Check();
}

}  // namespace berth::pull
