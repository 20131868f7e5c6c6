// httpd/target.h: the request target: path and query, decoded once and strictly.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "httpd/message.h"

namespace berth::httpd {

struct Target {
  std::string path;
  Fields query;
};

// Origin form only ("/a/b?c=d&e"). nullopt for anything a router and a handler could read in two ways: no leading '/', a bad
// or cut percent escape, control bytes, an encoded '/', segments "." and "..", a fragment. In the query '+' is a space.
std::optional<Target> ParseTarget(std::string_view text);

}  // namespace berth::httpd
