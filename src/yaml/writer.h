// yaml/writer.h: JSON values as YAML, the way `kubectl -o yaml` prints them.
//
// Block style, two spaces, lists not indented below their key, keys in kubectl's natural order ("x9" before "x10", letters
// after digits), strings plain where they read back as the same string, else in single or double quotes, text of several lines as
// a literal block, long plain text folded after 80 columns. Empty containers are [] and {}. Ends with a newline.
// yaml::Parse reads it back as the same value (the fuzz target checks that).
#pragma once

#include <string>

#include "json/document.h"

namespace berth::yaml {

std::string Print(const json::Value& value);

}  // namespace berth::yaml
