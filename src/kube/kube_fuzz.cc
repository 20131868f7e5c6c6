// YAML as a user would apply it: read, defaulted, judged, merged. Nothing known or unknown gets lost, defaults are stable, typed
// views can be made of whatever was accepted.
#include <cstdint>

#include "kube/defaults.h"
#include "kube/merge.h"
#include "kube/parse.h"
#include "kube/validate.h"
#include "result/result.h"
#include "yaml/document.h"
#include "yaml/writer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto documents = yaml::Parse({reinterpret_cast<const char*>(data), size}, "fuzz", Reason::kUsage,
                                     {.bytes = 64u << 10, .depth = 24, .values = 3000, .documents = 8});
  if (!documents) return 0;
  for (const yaml::Document& d : *documents) {
    for (const json::Value& item : kube::Items(d.root())) {
      const auto parsed = kube::ParseObject(item);
      if (!parsed) {
        BERTH_CHECK(parsed.error().reason() == Reason::kUsage);
        continue;
      }
      const kube::Object& object = parsed->object;
      BERTH_CHECK(object.json == item.Dump());
      for (const kube::Mistake& m : parsed->unknown) BERTH_CHECK(d.LineOf(m.field) >= 1 && m.message.starts_with("unknown field \""));
      if (object.kind == "Pod") (void)kube::ReadPod(object);
      if (object.kind == "Secret") (void)kube::ReadSecret(object);
      if (object.kind == "ConfigMap") (void)kube::ReadConfigMap(object);
      if (object.kind == "ServiceAccount") (void)kube::ReadServiceAccount(object);
      if (object.kind == "Event") (void)kube::ReadEvent(object);
      if (object.kind == "Node") (void)kube::ReadNode(object);
      json::Tree tree{item};
      kube::DefaultObject(tree);
      const json::Tree once = tree;
      kube::DefaultObject(tree);
      BERTH_CHECK(tree == once);
      const auto again = kube::ParseObject(tree);
      BERTH_CHECK(again.has_value());  // defaults have the right types
      const auto document = json::Document::Parse(tree.Dump(), Reason::kInternal, {.bytes = 1u << 20, .depth = 40, .values = 50'000});
      BERTH_CHECK(document.has_value());
      for (const kube::FieldError& e : kube::Validate(document->root())) BERTH_CHECK(!e.Text().empty());
      (void)kube::ValidateUpdate(document->root(), item);
      // Applying what is there changes nothing (but nulls, which mean removal).
      if (tree.Dump().find("null") == std::string::npos) {
        json::Tree same = tree;
        const json::Tree merged = kube::MergeApplied(same, tree, same, object.kind);
        if (kube::Validate(document->root()).empty()) BERTH_CHECK(merged == tree);
      }
    }
  }
  return 0;
}
