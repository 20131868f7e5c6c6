// oci/fields.h: how this library reads one JSON object. Internal.
//
// Optional values that are null count as absent. Every error carries the reason of the document and the place.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json/document.h"
#include "oci/platform.h"
#include "result/result.h"

namespace berth::oci {

// A document of at most `most` bytes; `what` ("manifest") names it in errors.
Result<json::Document> ParseJson(std::string_view bytes, Reason reason, std::size_t most, std::string_view what);

class Fields {
 public:
  // Refuses what is no object, and a key that equals one of `known` only when folded as Go's decoder does (ASCII case,
  // long s, Kelvin sign): two readers of one document must not see two documents.
  static Result<Fields> Of(const json::Value& value, Reason reason, std::span<const std::string_view> known);

  bool Has(std::string_view key) const { return value_.Find(key).has_value(); }  // null too
  std::optional<json::Value> Find(std::string_view key) const;                   // null is absent
  Result<json::Value> Get(std::string_view key) const { return value_.Get(key); }
  Result<std::string> Text(std::string_view key) const;                          // "" when absent
  Result<std::vector<json::Value>> Items(std::string_view key) const;            // of an array; none when absent
  Result<std::vector<std::string>> Texts(std::string_view key) const;
  Result<std::map<std::string, std::string>> TextMap(std::string_view key) const;
  Result<std::vector<std::string>> Keys(std::string_view key) const;             // of an object used as a set
  Error Bad(std::string_view key, std::string_view what) const;                  // "$.place.key <what>"
  Reason reason() const { return reason_; }

 private:
  Fields(json::Value value, Reason reason) : value_(std::move(value)), reason_(reason) {}
  json::Value value_;
  Reason reason_;
};

// The five members that say what a platform is, of a descriptor's platform or of a config.
inline constexpr std::string_view kPlatformKeys[] = {"architecture", "os", "os.features", "os.version", "variant"};
Result<Platform> ReadPlatform(const Fields& fields);

}  // namespace berth::oci
