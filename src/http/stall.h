// http/stall.h: is this transfer too slow to wait for?
//
// Counts bytes against time *spent waiting*: a consumer that works for a minute between two reads is no slow server
// (C-03, C-04). Stalled when the last `window` of waiting brought fewer than rate * window bytes; the window slides in
// steps of an eighth. Pure: the caller brings the durations.
#pragma once

#include <array>
#include <cstdint>

#include "time/clock.h"

namespace berth::http {

class StallDetector {
 public:
  StallDetector(std::uint64_t bytes_per_second, time::Duration window);

  void Got(std::uint64_t bytes) { slots_[current_] += bytes; }
  void Waited(time::Duration d);
  bool stalled() const { return stalled_; }
  // How much more waiting, without a byte, until the next verdict.
  time::Duration until_verdict() const { return slot_ - in_slot_; }

 private:
  static constexpr std::size_t kSlots = 8;
  const std::uint64_t need_;        // bytes per window
  const time::Duration slot_;
  std::array<std::uint64_t, kSlots> slots_{};
  std::size_t current_ = 0, filled_ = 0;
  time::Duration in_slot_{};
  bool stalled_ = false;
};

}  // namespace berth::http
