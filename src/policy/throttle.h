// policy/throttle.h: registryPullQPS and registryBurst: a bucket that denies and never waits.
//
// Rules: kubelet-images 5.4. The bucket holds `burst` tokens, starts full and gains `qps` a second; one token for each
// pull of an image, however many credentials it tries. qps 0: no limit. burst 0: every pull is denied.
// Time that was not enough for a whole token is kept. Safe for concurrent use.
#pragma once

#include <cstdint>
#include <mutex>

#include "time/clock.h"

namespace berth::policy {

class Throttle {
 public:
  // REQUIRES: neither is negative (KubeletConfig's Validate).
  Throttle(const time::Clock& clock, std::int64_t qps, std::int64_t burst);
  bool TryTake();
  // Until the next token is there: zero when one is, Duration::max() when none ever comes.
  time::Duration UntilNext() const;
  std::uint64_t denied() const;

 private:
  void Refill(time::SteadyTime now) const;

  const time::Clock& clock_;
  const std::int64_t qps_, burst_;
  mutable std::mutex mutex_;
  mutable time::SteadyTime last_;  // guarded by mutex_
  mutable double level_;           // guarded by mutex_: tokens, at most burst
  std::uint64_t denied_ = 0;       // guarded by mutex_
};

}  // namespace berth::policy
