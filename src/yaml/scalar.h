// yaml/scalar.h: what a plain scalar means. Private to yaml/; the reader resolves with it, the writer quotes by it.
//
// The rules are those of go-yaml 2 as sigs.k8s.io/yaml uses it, so kubectl's: booleans of YAML 1.1, integers in Go's prefixes with
// underscores anywhere, a leading 0 is octal when its digits are.
#pragma once

#include <string>
#include <string_view>

namespace berth::yaml {

struct Resolved {
  enum class Kind { kString, kNull, kBool, kInteger, kReal, kNotFinite, kMerge } kind = Kind::kString;
  std::string text = {};  // of numbers and booleans: as JSON
};

Resolved Resolve(std::string_view plain);

// 12:30:45 and the like: numbers in base 60 to other readers of YAML 1.1, so never printed plain.
bool IsBase60(std::string_view text);

}  // namespace berth::yaml
