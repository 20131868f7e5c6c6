#include "apps/berth/progress.h"

#include <algorithm>
#include <array>

namespace berth::cli {
namespace {

constexpr std::array<std::string_view, 5> kNames{"waiting", "present", "fetching", "unpacking", "done"};

double Seconds(time::Duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

LayerPhase ParseLayerPhase(std::string_view text) {
  const auto found = std::ranges::find(kNames, text);
  return found == kNames.end() ? LayerPhase::kFetching : static_cast<LayerPhase>(found - kNames.begin());
}
std::string_view Name(LayerPhase phase) { return kNames[static_cast<std::size_t>(phase)]; }

void RateMeter::Sample(time::SteadyTime now, std::uint64_t total) {
  if (!points_.empty() && total < points_.back().total) points_.clear();
  if (points_.empty() || points_.back().at < now) points_.push_back({now, total});
  else points_.back().total = total;
  // One point at or before the window's start stays: the mean is over the whole window.
  while (points_.size() > 2 && points_[1].at <= now - kRateWindow) points_.pop_front();
  const double seconds = Seconds(points_.back().at - points_.front().at);
  constexpr double kMost = 1e15;  // whatever the daemon counts: sums of it still fit an integer
  rate_ = seconds > 0 ? std::min(kMost, static_cast<double>(points_.back().total - points_.front().total) / seconds) : 0;
}

std::uint64_t PullView::total_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& layer : layers) sum += layer.phase == LayerPhase::kPresent ? 0 : layer.total;
  return sum;
}
std::uint64_t PullView::current_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& layer : layers) sum += layer.phase == LayerPhase::kPresent ? 0 : layer.current;
  return sum;
}
std::uint64_t PullView::CountOf(LayerPhase wanted) const {
  return static_cast<std::uint64_t>(std::ranges::count(layers, wanted, &LayerView::phase));
}
std::optional<double> PullView::eta() const {
  if (!resolved() || rate < 1 || total_bytes() == 0) return std::nullopt;
  return static_cast<double>(total_bytes() - std::min(current_bytes(), total_bytes())) / rate;
}

Tracker::Tracker(std::string image, std::string policy, time::SteadyTime now) : started_(now) {
  view_.image = std::move(image);
  view_.policy = std::move(policy);
}

void Tracker::Apply(const v1::PullEvent& event, time::SteadyTime now) {
  if (!event.phase().empty()) view_.phase = event.phase();
  if (!event.digest().empty() && view_.digest.empty()) view_.resolved_in = now - started_;
  const auto keep = [](std::string& mine, const std::string& news) { if (!news.empty()) mine = news; };
  keep(view_.digest, event.digest());
  keep(view_.platforms, event.platforms());
  keep(view_.credential, event.credential());
  keep(view_.host, event.host());
  keep(view_.pull, event.pull());
  view_.wait = event.wait();
  for (int i = static_cast<int>(view_.warnings.size()); i < event.warnings_size(); ++i)
    view_.warnings.emplace_back(event.warnings(i).host(), event.warnings(i).text());
  view_.waiting_pulls = event.waiting_pulls();
  view_.disk_used_percent = std::min<std::uint32_t>(event.disk_used_percent(), 100);
  const auto count = static_cast<std::size_t>(event.layers_size());
  // An event without layers (the last one) leaves the picture as it was.
  if (count > 0 && count != view_.layers.size()) {
    view_.layers.assign(count, {});
    meters_.assign(count, {{}, now});
  }
  for (std::size_t i = 0; i < count; ++i) {
    const v1::LayerState& state = event.layers(static_cast<int>(i));
    LayerView& layer = view_.layers[i];
    const LayerPhase phase = ParseLayerPhase(state.phase());
    if (phase != layer.phase) meters_[i].since = now;
    layer.digest = state.digest();
    layer.host = state.host();
    layer.phase = phase;
    layer.total = state.total();
    layer.current = state.total() == 0 ? state.current() : std::min(state.current(), state.total());
    layer.resumed_from = std::min(state.resumed_from(), layer.current);
    if (phase == LayerPhase::kDone && layer.finished == 0) layer.finished = ++finished_;
  }
  if (event.has_pulled()) view_.pulled = event.pulled();
  Sample(now);
}

void Tracker::Fail(Failure failure, time::SteadyTime now) {
  view_.failure = std::move(failure);
  Sample(now);
}

void Tracker::Sample(time::SteadyTime now) {
  view_.elapsed = now - started_;
  std::uint64_t fetched = 0;  // over the wire: what was resumed came earlier
  for (std::size_t i = 0; i < view_.layers.size(); ++i) {
    LayerView& layer = view_.layers[i];
    layer.in_phase = now - meters_[i].since;
    if (layer.phase == LayerPhase::kPresent) continue;
    const std::uint64_t mine = layer.current - layer.resumed_from;
    fetched += mine;
    if (layer.phase == LayerPhase::kFetching) meters_[i].rate.Sample(now, mine);
    layer.rate = layer.phase == LayerPhase::kFetching ? meters_[i].rate.rate() : 0;
  }
  rate_.Sample(now, fetched);
  view_.rate = rate_.rate();
}

}  // namespace berth::cli
