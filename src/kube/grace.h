// kube/grace.h: seconds between the request to end a Pod and its end.
#pragma once

#include <cstdint>

namespace berth::kube {

inline constexpr std::int64_t kDefaultGrace = 30;
inline constexpr std::int64_t kMostGrace = 1'000'000'000;  // that a clock of nanoseconds can add

}  // namespace berth::kube
