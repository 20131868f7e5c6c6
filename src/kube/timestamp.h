// kube/timestamp.h: points in time as Kubernetes writes them (RFC 3339).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "time/clock.h"

namespace berth::kube {

// "2026-11-25T13:58:12Z": UTC, whole seconds (metav1.Time).
std::string FormatTime(time::WallTime t);
// Any RFC 3339 time, fraction and zone included; nullopt for anything else and for years beyond what a clock can hold.
std::optional<time::WallTime> ParseTime(std::string_view text);

}  // namespace berth::kube
