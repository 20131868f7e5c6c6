#include "oci/fields.h"

#include <algorithm>

namespace berth::oci {
namespace {

std::string Fold(std::string_view key) {
  std::string out;
  for (std::size_t i = 0; i < key.size(); ++i) {
    const std::string_view rest = key.substr(i);
    if (rest.starts_with("\xC5\xBF")) {  // U+017F, long s
      out += 's';
      i += 1;
    } else if (rest.starts_with("\xE2\x84\xAA")) {  // U+212A, Kelvin
      out += 'k';
      i += 2;
    } else {
      out += rest[0] >= 'A' && rest[0] <= 'Z' ? static_cast<char>(rest[0] - 'A' + 'a') : rest[0];
    }
  }
  return out;
}

Error Wrong(const json::Value& value, Reason reason, std::string_view wanted) {
  return Error(reason, value.path() + " must be " + std::string(wanted));
}

}  // namespace

Result<json::Document> ParseJson(std::string_view bytes, Reason reason, std::size_t most, std::string_view what) {
  if (bytes.size() > most) {
    return Error(Reason::kLimitExceeded, std::string(what) + " of " + std::to_string(bytes.size()) + " bytes: more than " +
                                             std::to_string(most) + " (limit: document_bytes)");
  }
  Result<json::Document> document = json::Document::Parse(bytes, reason, {.bytes = most});
  if (!document) return std::move(document).error().Context(std::string(what));
  return document;
}

Result<Fields> Fields::Of(const json::Value& value, Reason reason, std::span<const std::string_view> known) {
  if (!value.IsObject()) return Wrong(value, reason, "an object");
  for (const auto& [key, member] : value.Members()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string folded = Fold(key);
    for (const std::string_view ours : known) {
      if (folded.size() == ours.size() && folded == Fold(ours)) return Error(reason, member.path() + " is not the key " + std::string(ours) + ", but some take it for that");
    }
  }
  return Fields(value, reason);
}

std::optional<json::Value> Fields::Find(std::string_view key) const {
  std::optional<json::Value> found = value_.Find(key);
  if (found && found->IsNull()) found.reset();
  return found;
}

Result<std::string> Fields::Text(std::string_view key) const {
  const std::optional<json::Value> found = Find(key);
  if (!found) return std::string();
  ASSIGN_OR_RETURN(const std::string_view text, found->AsString());
  return std::string(text);
}

Result<std::vector<json::Value>> Fields::Items(std::string_view key) const {
  std::vector<json::Value> out;
  const std::optional<json::Value> found = Find(key);
  if (!found) return out;
  if (!found->IsArray()) return Wrong(*found, reason_, "an array");
  out.reserve(found->size());
  for (std::size_t i = 0; i < found->size(); ++i) out.push_back(found->at(i));
  return out;
}

Result<std::vector<std::string>> Fields::Texts(std::string_view key) const {
  ASSIGN_OR_RETURN(const std::vector<json::Value> items, Items(key));
  std::vector<std::string> out;
  out.reserve(items.size());
  for (const json::Value& item : items) {
    ASSIGN_OR_RETURN(const std::string_view text, item.AsString());
    out.emplace_back(text);
  }
  return out;
}

Result<std::map<std::string, std::string>> Fields::TextMap(std::string_view key) const {
  std::map<std::string, std::string> out;
  const std::optional<json::Value> found = Find(key);
  if (!found) return out;
  if (!found->IsObject()) return Wrong(*found, reason_, "an object");
  for (const auto& [name, value] : found->Members()) {
    ASSIGN_OR_RETURN(const std::string_view text, value.AsString());
    out.emplace_hint(out.end(), name, text);
  }
  return out;
}

Result<std::vector<std::string>> Fields::Keys(std::string_view key) const {
  std::vector<std::string> out;
  const std::optional<json::Value> found = Find(key);
  if (!found) return out;
  if (!found->IsObject()) return Wrong(*found, reason_, "an object");
  out.reserve(found->size());
  for (const auto& [name, value] : found->Members()) out.emplace_back(name);
  return out;
}

Error Fields::Bad(std::string_view key, std::string_view what) const {
  return Error(reason_, value_.path() + '.' + std::string(key) + ' ' + std::string(what));
}

Result<Platform> ReadPlatform(const Fields& fields) {
  Platform out;
  ASSIGN_OR_RETURN(out.os, fields.Text("os"));
  ASSIGN_OR_RETURN(out.architecture, fields.Text("architecture"));
  ASSIGN_OR_RETURN(out.variant, fields.Text("variant"));
  ASSIGN_OR_RETURN(out.os_version, fields.Text("os.version"));
  ASSIGN_OR_RETURN(out.os_features, fields.Texts("os.features"));
  return out;
}

}  // namespace berth::oci
