#include "config/reader.h"

#include <yaml-cpp/yaml.h>

#include "log/log.h"

namespace berth::config {
namespace {

constexpr std::size_t kBytes = 1u << 20;
constexpr int kDepth = 16;

Error At(std::string_view name, int line, const std::string& what) {
  return Error(Reason::kConfig, std::string(name) + ":" + std::to_string(line) + ": " + what);
}
int LineOf(const YAML::Node& node) { return node.Mark().line + 1; }

Result<> Flatten(const YAML::Node& node, const std::string& prefix, std::string_view name, int depth, std::vector<Entry>& out) {
  if (depth > kDepth) return At(name, LineOf(node), "nested deeper than " + std::to_string(kDepth));
  for (const auto& member : node) {
    if (!member.first.IsScalar()) return At(name, LineOf(member.first), "a key must be plain text");
    const std::string key = prefix + member.first.Scalar();
    const YAML::Node& value = member.second;
    if (value.IsMap()) {
      RETURN_IF_ERROR(Flatten(value, key + ".", name, depth + 1, out));
      continue;
    }
    Entry entry{.key = key, .values = {}, .list = value.IsSequence(), .line = LineOf(member.first)};
    if (value.IsSequence()) {
      for (const auto& item : value) {
        if (!item.IsScalar()) return At(name, LineOf(item), Quoted(key) + " must be a list of plain values");
        entry.values.push_back(item.Scalar());
      }
    } else {
      entry.values.push_back(value.IsNull() ? "" : value.Scalar());
    }
    out.push_back(std::move(entry));
  }
  return {};
}

}  // namespace

Result<std::vector<Entry>> ReadYaml(std::string_view text, std::string_view name) {
  if (text.size() > kBytes) return Error(Reason::kConfig, std::string(name) + " is larger than 1 MiB");
  std::vector<Entry> entries;
  try {
    for (const YAML::Node& document : YAML::LoadAll(std::string(text))) {
      if (document.IsNull()) continue;
      if (!document.IsMap()) return At(name, LineOf(document), "a document must be a map of settings");
      const std::string kind = document["kind"].IsDefined() && document["kind"].IsScalar() ? document["kind"].Scalar() : "";
      if (kind == "KubeletConfiguration") {
        log::Info("KubeletConfiguration is left alone by this version", {{"file", name}});
        continue;
      }
      if (kind != "ImageDaemonConfiguration")
        return At(name, LineOf(document), "kind is " + Quoted(kind) + ", wanted is ImageDaemonConfiguration (apiVersion: berth.dev/v1alpha1)");
      const std::string version = document["apiVersion"].IsDefined() && document["apiVersion"].IsScalar() ? document["apiVersion"].Scalar() : "";
      if (version != "berth.dev/v1alpha1") return At(name, LineOf(document), "apiVersion is " + Quoted(version) + ", wanted is berth.dev/v1alpha1");
      RETURN_IF_ERROR(Flatten(document, "", name, 1, entries));
    }
  } catch (const YAML::Exception& e) {
    return At(name, e.mark.line + 1, "this is no valid YAML");
  }
  std::erase_if(entries, [](const Entry& e) { return e.key == "kind" || e.key == "apiVersion"; });
  return entries;
}

}  // namespace berth::config
