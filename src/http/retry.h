// http/retry.h: how long to wait before the next attempt. Pure arithmetic; nobody sleeps here.
#pragma once

#include <optional>
#include <string_view>

#include "time/clock.h"

namespace berth::http {

inline constexpr time::Duration kRetryAfterCap = std::chrono::seconds(60);  // reliability-security 5.12, C-35

// base * 2^attempt, at most cap, of which a random half is taken away; attempt counts from 0, `random` is in [0, 1).
time::Duration RetryDelay(int attempt, time::Duration base, time::Duration cap, double random);

// A Retry-After value: seconds, or one of the three HTTP date forms against `now`; at most `cap`. Past dates are
// zero. Nothing when it is neither ("-5", "soon", "1e9").
std::optional<time::Duration> ParseRetryAfter(std::string_view value, time::WallTime now,
                                              time::Duration cap = kRetryAfterCap);

// IMF-fixdate, RFC 850 (two-digit years as RFC 9110 wants) or asctime form.
std::optional<time::WallTime> ParseHttpDate(std::string_view value, time::WallTime now);

}  // namespace berth::http
