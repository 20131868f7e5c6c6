// time/go_duration.h: durations in Go's notation ("1m30s", "1.5s", "300ms"), as Kubernetes files and texts have them.
//
// FormatGoDuration is time.Duration.String(), ParseGoDuration is time.ParseDuration(), both to the letter: signs, fractions
// of every unit, "µs" in both spellings, "0" without a unit, and every number that does not fit refused. What was printed
// reads back as the same number. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "time/clock.h"

namespace berth::time {

std::string FormatGoDuration(Duration d);  // "0s", "1.234s", "2m3.5s", "1h0m0s", "-1ns"
// Nothing when it is no duration or beyond 64 bits of nanoseconds.
std::optional<Duration> ParseGoDuration(std::string_view text);
// Towards zero: what Kubernetes' events print.
inline Duration TruncateToMillis(Duration d) { return std::chrono::duration_cast<std::chrono::milliseconds>(d); }

}  // namespace berth::time
