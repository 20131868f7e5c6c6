// A ResourceList from anybody: what comes out is a ResourceList with as many items that a second run leaves alone; and the same bytes as
// plain documents.
#include <cstdint>

#include "admission/files.h"
#include "kube/parse.h"
#include "result/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto documents = yaml::Parse({reinterpret_cast<const char*>(data), size}, "fuzz", Reason::kUsage,
                                     {.bytes = 64u << 10, .depth = 24, .values = 3000, .documents = 4});
  if (!documents) return 0;
  const task::Context ctx;
  admission::Settings settings{.options = admission::FileOptions(size % 2 == 0), .ns = "default", .digests = {}};
  settings.options.always_pull = size % 3 == 0;
  admission::FileFacts facts;
  const auto admitted = admission::AdmitDocuments(ctx, *documents, "fuzz", settings, facts);
  BERTH_CHECK(json::Document::Parse(admission::ToJson(admitted), Reason::kInternal, kube::kObjectLimits).has_value());
  for (const auto& a : admitted) {
    for (const auto& c : a.outcome.changes) BERTH_CHECK(!admission::Describe(c).empty() && !(c.before == c.after));
    if (a.outcome.denied || a.outcome.changes.empty()) continue;
    const auto stored = yaml::Parse(a.outcome.object.Dump(), "stored", Reason::kUsage, {.bytes = 1u << 20, .depth = 40, .values = 50'000});
    BERTH_CHECK(stored.has_value());
    admission::FileFacts none;
    for (const auto& again : admission::AdmitDocuments(ctx, *stored, "again", settings, none))
      if (!again.outcome.denied) BERTH_CHECK(admission::PatchJson(again.outcome.changes) == "[]");
  }
  for (const auto& d : *documents) {
    admission::FileFacts own;
    settings.digests = [] { return nullptr; };
    const auto config = d.root().Find("functionConfig");
    if (config && config->Dump().find("pin") != std::string::npos) continue;  // there is no registry here
    const auto reply = admission::RunFunction(ctx, d, settings, own);
    if (!reply) {
      BERTH_CHECK(reply.error().reason() == Reason::kUsage);
      continue;
    }
    const auto out = yaml::Parse(reply->text, "out", Reason::kInternal, {.bytes = 4u << 20, .depth = 64, .values = 500'000});
    BERTH_CHECK(out.has_value() && out->size() == 1 && admission::IsResourceList(out->front().root()));
    const auto items = d.root().Find("items");
    BERTH_CHECK((items ? items->size() : 0) == (out->front().root().Find("items") ? out->front().root().Find("items")->size() : 0));
    admission::FileFacts second;
    const auto again = admission::RunFunction(ctx, out->front(), settings, second);
    BERTH_CHECK(again.has_value());
    const auto twice = yaml::Parse(again->text, "twice", Reason::kInternal, {.bytes = 4u << 20, .depth = 64, .values = 500'000});
    BERTH_CHECK(twice.has_value());
    if (items) BERTH_CHECK(twice->front().root().Find("items")->Dump() == out->front().root().Find("items")->Dump());
  }
  return 0;
}
