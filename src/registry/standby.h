// registry/standby.h: who holds what others could use while a registry makes us wait.
//
// A request that has to wait (Retry-After, back-off) tells the Standby of its Repository (Repository::WithStandby), which gives
// back its slots, workers and budgets, and takes them again when the wait is over (reliability-security C-34, C-35).
#pragma once

#include <string>

#include "result/result.h"
#include "task/context.h"

namespace berth::registry {

// Called on the thread that waits. After GiveBack() always comes TakeAgain(), which must not block once `ctx` has ended.
class Standby {
 public:
  virtual ~Standby() = default;
  // `why`, in our own words, for whoever watches: "waiting 60.0 s for https://reg.test (429)".
  virtual void GiveBack(time::Duration wait, const std::string& why) = 0;
  virtual Result<> TakeAgain(const task::Context& ctx) = 0;
};

}  // namespace berth::registry
