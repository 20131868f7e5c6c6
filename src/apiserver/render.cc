#include "apiserver/render.h"

#include "json/document.h"
#include "kube/columns.h"

namespace berth::apiserver {
namespace {

constexpr std::string_view kMetaVersion = "meta.k8s.io/v1";

// {"kind":"PartialObjectMetadata",…}
void Partial(json::Writer& w, const kube::Object& object) {
  w.BeginObject().Key("apiVersion").String(kMetaVersion).Key("kind").String("PartialObjectMetadata").Key("metadata");
  const auto document = json::Document::Parse(object.json, Reason::kInternal, {.bytes = 16u << 20, .depth = 64, .values = 500'000});
  const auto metadata = document ? document->root().Find("metadata") : std::nullopt;
  w.Raw(metadata ? metadata->Dump() : "{}").EndObject();
}

void ListMeta(json::Writer& w, const Renderer::Page& page) {
  w.Key("metadata").BeginObject();
  if (!page.next.empty()) w.Key("continue").String(page.next);
  if (page.remaining) w.Key("remainingItemCount").Int(*page.remaining);
  w.Key("resourceVersion").String(std::to_string(page.version)).EndObject();
}

std::string Line(std::string_view type, std::string_view object) {
  std::string out;
  out.reserve(object.size() + type.size() + 24);
  return out.append("{\"type\":\"").append(type).append("\",\"object\":").append(object).append("}\n");
}

}  // namespace

std::string Renderer::Table(const std::vector<const kube::Object*>& objects, const Page& page, bool columns) const {
  const time::WallTime now = clock_->WallNow();
  json::Writer w;
  w.BeginObject().Key("apiVersion").String(kMetaVersion).Key("columnDefinitions").BeginArray();
  if (columns) {
    for (const kube::Column& c : kube::ColumnsOf(kind_)) {
      w.BeginObject().Key("description").String("").Key("format").String(c.is_name ? "name" : "").Key("name").String(c.name).Key("priority").Int(c.priority)
          .Key("type").String(c.type).EndObject();
    }
  }
  w.EndArray().Key("kind").String("Table");
  ListMeta(w, page);
  w.Key("rows").BeginArray();
  for (const kube::Object* object : objects) {
    w.BeginObject().Key("cells").BeginArray();
    for (const json::Tree& cell : kube::CellsOf(*object, now)) w.Raw(cell.Dump());
    w.EndArray();
    if (include_ != Include::kNone) w.Key("object");
    if (include_ == Include::kObject) w.Raw(object->json);
    if (include_ == Include::kMetadata) Partial(w, *object);
    w.EndObject();
  }
  w.EndArray().EndObject();
  return std::move(w).Take();
}

std::string Renderer::One(const kube::Object& object) const {
  if (form_ == Form::kTable) return Table({&object}, {.version = 0}, true);
  if (form_ == Form::kObject) return object.json;
  json::Writer w;
  Partial(w, object);
  return std::move(w).Take();
}

std::string Renderer::List(const std::vector<objects::ObjectPtr>& objects, const Page& page) const {
  if (form_ == Form::kTable) {
    std::vector<const kube::Object*> all;
    for (const auto& object : objects) all.push_back(object.get());
    return Table(all, page, true);
  }
  const bool whole = form_ == Form::kObject;
  json::Writer w;
  w.BeginObject().Key("apiVersion").String(whole ? "v1" : kMetaVersion).Key("items").BeginArray();
  for (const auto& object : objects) {
    if (whole) w.Raw(object->json);
    else Partial(w, *object);
  }
  w.EndArray().Key("kind").String(whole ? kind_ + "List" : "PartialObjectMetadataList");
  ListMeta(w, page);
  w.EndObject();
  return std::move(w).Take();
}

std::string Renderer::Event(objects::WatchEvent::Type type, const kube::Object& object, bool first) const {
  if (form_ != Form::kTable) return Line(objects::NameOf(type), One(object));
  std::int64_t version = 0;
  for (const char c : object.metadata.resource_version) version = version * 10 + (c - '0');
  return Line(objects::NameOf(type), Table({&object}, {.version = version}, first));
}

std::string Renderer::Bookmark(std::int64_t version) const {
  if (form_ == Form::kTable) return Line("BOOKMARK", Table({}, {.version = version}, false));
  const bool whole = form_ == Form::kObject;
  json::Writer w;
  w.BeginObject().Key("apiVersion").String(whole ? "v1" : kMetaVersion).Key("kind").String(whole ? kind_ : "PartialObjectMetadata").Key("metadata").BeginObject()
      .Key("creationTimestamp").Null().Key("resourceVersion").String(std::to_string(version)).EndObject().EndObject();
  return Line("BOOKMARK", w.text());
}

std::string Renderer::Failure(const kube::Status& status) { return Line("ERROR", status.Json()); }

}  // namespace berth::apiserver
