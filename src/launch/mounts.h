// launch/mounts.h: mounts below a Pod's directory, for launch/ only: made by descriptor, found again by the kernel's table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/dir.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::launch::internal {

// Where an open directory is, as the kernel names it.
Result<std::string> RealPath(const host::Dir& dir);
// Mounts at or below `path` (as RealPath gives it), in the order in which they must go.
Result<std::vector<std::string>> MountsBelow(const std::string& path);
// Unmounts all of them (lazily what is in use). Never touches what they show.
Result<> UnmountBelow(const task::Context& ctx, const std::string& path);

Result<> MountTmpfs(const std::string& target, const std::string& options, unsigned long flags);
// A recursive bind of what `fd` names.
Result<> BindFd(int fd, const std::string& target);

// Of an open file or directory, also one that was opened with O_PATH. The group first: changing it clears set-id bits.
Result<> SetAttributes(int fd, std::uint32_t mode, std::optional<std::uint32_t> group);

}  // namespace berth::launch::internal
