// json/pointer.h: RFC 6901: where in a Tree.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json/tree.h"

namespace berth::json {

using Pointer = std::vector<std::string>;  // its tokens, unescaped

std::optional<Pointer> ParsePointer(std::string_view text);  // "" or "/a/0/b~1c"
std::string PointerToken(std::string_view key);              // "b/c" -> "b~1c"

// An index of an existing item, or, for `end`, one behind the last ("-" is that one).
std::optional<std::size_t> ItemIndex(const Tree& array, std::string_view token, bool end = false);
// What the first `depth` tokens name; nullptr when there is no such thing.
Tree* Walk(Tree& root, const Pointer& pointer, std::size_t depth);

}  // namespace berth::json
