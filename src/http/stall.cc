#include "http/stall.h"

#include <algorithm>
#include <numeric>

namespace berth::http {

StallDetector::StallDetector(std::uint64_t bytes_per_second, time::Duration window)
    : need_(static_cast<std::uint64_t>(static_cast<double>(bytes_per_second) * std::chrono::duration<double>(window).count())),
      slot_(std::max(window / static_cast<int>(kSlots), time::Duration(1))) {}

void StallDetector::Waited(time::Duration d) {
  for (in_slot_ += d; in_slot_ >= slot_ && !stalled_; in_slot_ -= slot_) {
    filled_ = std::min(filled_ + 1, kSlots);
    if (filled_ == kSlots && std::accumulate(slots_.begin(), slots_.end(), std::uint64_t{0}) < need_) stalled_ = true;
    current_ = (current_ + 1) % kSlots;
    slots_[current_] = 0;
  }
}

}  // namespace berth::http
