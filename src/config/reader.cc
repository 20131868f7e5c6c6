#include "config/reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "host/dir.h"
#include "log/log.h"
#include "yaml/document.h"

namespace berth::config {
namespace {

constexpr std::size_t kKeyFileBytes = 64u << 10;
constexpr yaml::Limits kLimits{.bytes = 1u << 20, .depth = 16, .values = 100'000, .documents = 16};

Error At(const yaml::Document& document, std::string_view path, const std::string& what) {
  return Error(Reason::kConfig, document.At(path) + what);
}

// nullopt when it is not plain.
std::optional<std::string> Plain(const json::Value& value) {
  if (value.IsObject() || value.IsArray()) return std::nullopt;
  if (value.IsString()) return std::string(*value.AsString());
  return value.IsNull() ? "" : value.Dump();
}

Result<> Flatten(const yaml::Document& document, const json::Value& map, const std::string& prefix, std::vector<Entry>& out) {
  for (const auto& [name, value] : map.Members()) {
    const std::string key = prefix + std::string(name);
    if (key == "verification") continue;
    if (value.IsObject()) {
      RETURN_IF_ERROR(Flatten(document, value, key + ".", out));
      continue;
    }
    Entry entry{.key = key, .values = {}, .list = value.IsArray(), .line = document.LineOf(value.path())};
    if (!entry.list) entry.values.push_back(*Plain(value));
    for (std::size_t i = 0; i < value.size(); ++i) {
      std::optional<std::string> item = Plain(value.at(i));
      if (!item) return At(document, value.at(i).path(), Quoted(key) + " must be a list of plain values");
      entry.values.push_back(*std::move(item));
    }
    out.push_back(std::move(entry));
  }
  return {};
}

std::string Member(const json::Value& map, std::string_view name) {
  const auto value = map.Find(name);
  return value ? Plain(*value).value_or("") : "";
}

Result<> ReadDocument(const yaml::Document& document, std::string_view name, Entries& out) {
  const json::Value root = document.root();
  if (!root.IsObject()) return At(document, "", "a document must be a map of settings");
  const std::string kind = Member(root, "kind"), version = Member(root, "apiVersion");
  if (kind == "KubeletConfiguration") {
    log::Info("KubeletConfiguration is left alone by this version", {{"file", name}});
    return {};
  }
  if (kind != "ImageDaemonConfiguration")
    return At(document, "kind", "kind is " + Quoted(kind) + ", wanted is ImageDaemonConfiguration (apiVersion: berth.dev/v1alpha1)");
  if (version != "berth.dev/v1alpha1")
    return At(document, "apiVersion", "apiVersion is " + Quoted(version) + ", wanted is berth.dev/v1alpha1");
  if (const auto section = root.Find("verification")) {
    if (out.verification.enabled()) return At(document, section->path(), "verification is there twice");
    const auto read = [](const std::string& path) { return host::ReadSmallFile(path, kKeyFileBytes); };
    ASSIGN_OR_RETURN(out.verification, verify::Rules::Parse(document, *section, read));
  }
  return Flatten(document, root, "", out.plain);
}

}  // namespace

Result<Entries> ReadYaml(std::string_view text, std::string_view name) {
  Entries out;
  std::vector<Entry>& entries = out.plain;
  Result<std::vector<yaml::Document>> documents = yaml::Parse(text, name, Reason::kConfig, kLimits);
  // Its size or depth is one more mistake in a configuration.
  if (!documents) return Error(Reason::kConfig, documents.error().Text());
  for (const yaml::Document& document : *documents) RETURN_IF_ERROR(ReadDocument(document, name, out));
  std::erase_if(entries, [](const Entry& e) { return e.key == "kind" || e.key == "apiVersion"; });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.line < b.line; });
  return out;
}

}  // namespace berth::config
