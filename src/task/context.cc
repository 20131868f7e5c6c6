#include "task/context.h"

#include <algorithm>

namespace berth::task {

Context Context::WithDeadline(time::SteadyTime deadline) const {
  Context c = *this;
  c.deadline_ = deadline_ ? std::min(*deadline_, deadline) : deadline;
  return c;
}

Result<> Context::Check() const {
  if (stop_.stop_requested()) return Error(Reason::kCanceled, "the work was cancelled");
  if (deadline_ && clock_->SteadyNow() >= *deadline_) return Error(Reason::kTimeout, "the deadline passed");
  return {};
}

Result<> Context::Sleep(time::Duration d) const {
  RETURN_IF_ERROR(Check());
  const auto until = clock_->SteadyNow() + d;
  (void)clock_->SleepUntil(stop_, deadline_ ? std::min(*deadline_, until) : until);
  return Check();
}

}  // namespace berth::task
