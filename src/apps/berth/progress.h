// apps/berth/progress.h: what is known of running pulls, from their events: the model that render.h draws.
//
// A Tracker belongs to one pull. Apply() takes events as they come, Sample() the passing of time: rates are means over the
// last kRateWindow and fall when nothing comes any more. All times are handed in. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/berth/failure.h"
#include "berth/v1/berth.pb.h"
#include "time/clock.h"

namespace berth::cli {

enum class LayerPhase : std::uint8_t { kWaiting, kPresent, kFetching, kUnpacking, kDone };
LayerPhase ParseLayerPhase(std::string_view text);  // words we do not know count as fetching
std::string_view Name(LayerPhase phase);

// Bytes per second from a growing counter; one that shrinks (a download that began again) starts anew.
class RateMeter {
 public:
  static constexpr time::Duration kRateWindow = std::chrono::seconds(3);
  void Sample(time::SteadyTime now, std::uint64_t total);
  double rate() const { return rate_; }

 private:
  struct Point { time::SteadyTime at; std::uint64_t total; };
  std::deque<Point> points_;
  double rate_ = 0;
};

struct LayerView {
  std::string digest, host;
  LayerPhase phase = LayerPhase::kWaiting;
  std::uint64_t current = 0, total = 0, resumed_from = 0;
  double rate = 0;
  time::Duration in_phase{};     // how long it has been in this phase
  std::uint64_t finished = 0;    // 1 for the layer that was done first, 2 for the next, …; 0: not done
};

struct PullView {
  std::string image;             // as typed
  std::string policy;            // as asked for; "" for the daemon's default
  std::string phase = "queued";
  std::string digest, platforms, credential, host;
  std::string wait;              // what a registry makes it wait for; "": nothing
  std::vector<std::pair<std::string, std::string>> warnings;  // of registries: host, and its own words
  std::vector<LayerView> layers;
  std::string pull;              // its number at the daemon; "" before the first event, or of an older daemon
  std::uint32_t waiting_pulls = 0;
  std::uint32_t disk_used_percent = 0;  // of the store's file system; 0: unknown
  double rate = 0;
  time::Duration elapsed{};      // since it was asked for
  time::Duration resolved_in{};  // set with digest
  std::optional<v1::Pulled> pulled;
  std::optional<Failure> failure;

  bool ended() const { return pulled || failure; }
  bool resolved() const { return !digest.empty(); }
  // Of layers that were not here already, compressed.
  std::uint64_t total_bytes() const;
  std::uint64_t current_bytes() const;
  std::uint64_t CountOf(LayerPhase phase) const;
  // Seconds to go at this rate; nullopt when nobody can know.
  std::optional<double> eta() const;
};

using Snapshot = std::vector<PullView>;  // in the order of the arguments

class Tracker {
 public:
  Tracker(std::string image, std::string policy, time::SteadyTime now);
  void Apply(const v1::PullEvent& event, time::SteadyTime now);
  void Fail(Failure failure, time::SteadyTime now);
  void Sample(time::SteadyTime now);
  const PullView& view() const { return view_; }

 private:
  struct Meter {
    RateMeter rate;
    time::SteadyTime since;  // in this phase
  };
  PullView view_;
  const time::SteadyTime started_;
  std::vector<Meter> meters_;  // one per layer
  RateMeter rate_;
  std::uint64_t finished_ = 0;
};

}  // namespace berth::cli
