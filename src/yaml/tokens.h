// yaml/tokens.h: how many tokens a YAML text has, before yaml-cpp holds them all (private to yaml/).
//
// yaml-cpp queues what follows a possible key until it knows: a whole flow collection, or a line of tags, before the first event.
// So the limits that count events see 3 MB of "[[],[],…" too late, at a few hundred bytes a token.
#pragma once

#include <optional>
#include <string_view>

#include "yaml/document.h"

namespace berth::yaml {

struct Excess {
  int line = 0;
  bool depth = false;  // or values
};

// Walks the tokens as yaml-cpp's scanner finds them, in linear time and without keeping them. Nothing that is within the limits is
// refused: of no kind of token (scalars with collections and aliases, commas, colons, tags, …) has a valid text more than values.
// Ends where yaml-cpp refuses the text.
std::optional<Excess> CountTokens(std::string_view text, const Limits& limits);

}  // namespace berth::yaml
