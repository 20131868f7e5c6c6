// reclaim/object.h: one thing of the store that removal gives back.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace berth::reclaim {

// "layer sha256:…", "blob sha256:…" or "partial sha256:…", and the bytes of its blocks on the disk.
using Object = std::pair<std::string, std::uint64_t>;

}  // namespace berth::reclaim
