// host/disk_usage.h: what a directory takes on its file system, as `du -sx` counts it.
//
// Blocks of everything in it, its own included; each file once however many names it has; nothing that is mounted below. By
// descriptor, without following links, at any depth; bounded descriptors. Entries that go meanwhile are not counted.
// Errors as in host/fd.h.
#pragma once

#include <cstdint>

#include "host/dir.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::host {

Result<std::uint64_t> DiskUsage(const task::Context& ctx, const Dir& dir);

}  // namespace berth::host
