// json/patch.h: RFC 6902, a JSON patch applied to a Tree.
#pragma once

#include <string>
#include <string_view>

#include "json/tree.h"
#include "result/result.h"

namespace berth::json {

struct PatchLimits {
  std::size_t operations = 10'000;
  std::size_t depth = 64;         // of what comes out: a few copies of a value into itself would make it as deep as the stack
  std::size_t copied = 3u << 20;  // bytes of JSON that all "copy" operations may add: a few of them could double a document each
};

// All operations, in order, or none: `target` is unchanged after an error. kUsage for a patch that is none and for one that does
// not fit, kLimitExceeded; the texts name operations and pointers, never values.
Result<> ApplyPatch(Tree& target, const Value& patch, const PatchLimits& limits = {});

}  // namespace berth::json
