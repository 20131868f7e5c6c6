// host/tree_remover.h: removal of whole trees by descriptor, for host/ only.
#pragma once

#include <string_view>

#include "result/result.h"
#include "task/context.h"

namespace berth::host::internal {

// `leaf` is one component below the directory `at`. False when there was none. See Dir::RemoveTree.
Result<bool> RemoveTreeAt(const task::Context& ctx, int at, std::string_view leaf);

}  // namespace berth::host::internal
