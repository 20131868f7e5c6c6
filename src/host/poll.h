// host/poll.h: waiting for descriptors under a Context.
//
// One ppoll() that also wakes for the Context's stop token and deadline: no timed polling. With a clock that is not the
// machine's (tests), a helper thread carries the deadline.
#pragma once

#include <poll.h>

#include <span>

#include "result/result.h"
#include "task/context.h"

namespace berth::host {

// Returns when at least one entry has revents (filled in). kCanceled, kTimeout when the Context says so first; something
// that is ready wins over both.
Result<> Poll(const task::Context& ctx, std::span<pollfd> entries);
// One descriptor, readable (or at its end, or broken).
Result<> AwaitReadable(const task::Context& ctx, int fd);

}  // namespace berth::host
