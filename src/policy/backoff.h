// policy/backoff.h: how long a Pod's image is not asked for again after a failure.
//
// Rules: kubelet-images 4.7. 10 s, doubled by every failure up to 300 s, no jitter; one entry for each Key(): a Pod and the
// user's spelling of an image. In back-off means younger than the entry's delay, strictly; an entry older than twice the
// cap is expired: the next failure starts at 10 s again. Success does not reset an entry, only age does. Nothing is
// persisted. Not touched by crash-loop settings.
// Unlike the kubelet's, the table does not grow while no pull ever succeeds: expired entries also go whenever it has
// doubled, and ForgetPod() drops those of a Pod that is gone. The previous failure is kept with the entry.
// Steady time decides; wall time is for showing. Safe for concurrent use.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "time/clock.h"

namespace berth::policy {

class Backoff {
 public:
  struct Options {
    time::Duration initial = std::chrono::seconds(10);
    time::Duration cap = std::chrono::seconds(300);
  };
  // What explain shows: "attempt 5 failed 06:50:13; back-off 160s; next 06:52:53".
  struct State {
    std::uint64_t failures = 0;     // in a row, as far as this entry goes back
    time::Duration delay{};         // of the last failure
    time::WallTime last_failure{};
    time::WallTime next{};          // when a pull is allowed again
    time::Duration remaining{};     // zero: a pull is allowed now
    std::string failure;            // "ErrImagePull: …"; "" while a new attempt runs
  };

  explicit Backoff(const time::Clock& clock) : Backoff(clock, Options{}) {}
  Backoff(const time::Clock& clock, Options options) : clock_(clock), options_(options) {}

  static std::string Key(std::string_view pod_uid, std::string_view image) { return std::string(pod_uid) + "_" + std::string(image); }

  // The state when `key` is in back-off now, else nothing.
  std::optional<State> Blocked(const std::string& key) const;
  // The state whether or not it blocks; nothing when there is no entry or it has expired.
  std::optional<State> Peek(const std::string& key) const;
  void Failed(const std::string& key, std::string failure);
  void ForgetFailure(const std::string& key);  // a new attempt begins: the text of the last one goes, the delay stays
  void CollectExpired();                       // after each successful pull
  void ForgetPod(std::string_view pod_uid);
  std::size_t size() const;

 private:
  struct Entry {
    std::uint64_t failures = 0;
    time::Duration delay{};
    time::SteadyTime last{};
    time::WallTime last_wall{};
    std::string failure;
  };
  bool Expired(const Entry& e, time::SteadyTime now) const { return now - e.last > 2 * options_.cap; }
  State StateOf(const Entry& e, time::SteadyTime now) const;
  void CollectLocked(time::SteadyTime now);

  const time::Clock& clock_;
  const Options options_;
  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;  // guarded by mutex_
  std::size_t collect_at_ = 64;           // guarded by mutex_: entries at which the next collection is due
};

}  // namespace berth::policy
