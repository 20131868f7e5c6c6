#include "apps/berth/json.h"

#include <algorithm>

namespace berth::cli {
namespace {

// Somebody else's document: as JSON when it is strict JSON, as a string otherwise.
void WriteDocument(json::Writer& w, std::string_view key, const std::string& text) {
  w.Key(key);
  if (text.empty()) {
    w.Null();
    return;
  }
  const auto document = json::Document::Parse(text, Reason::kInvalidManifest, {.bytes = 64u << 20});
  if (document) w.Raw(document->root().Dump());
  else w.String(text);
}

void WriteImageMembers(json::Writer& w, const berth::v1::Image& image) {
  WriteStrings(w, "names", image.names());
  w.Key("id").String(image.id()).Key("manifest").String(image.manifest()).Key("platform").String(image.platform());
  w.Key("size").Uint(image.size()).Key("unpacked_size").Uint(image.unpacked_size()).Key("unique_size").Uint(image.unique_size());
  w.Key("shared_size").Uint(SharedSize(image)).Key("source").String(image.source());
  w.Key("pulled_at").String(image.pulled_at());
  w.Key("last_used_at").String(image.last_used_at());
  w.Key("pin");
  if (image.has_pin())
    w.BeginObject().Key("owner").String(image.pin().owner()).Key("reason").String(image.pin().reason())
        .Key("since").String(image.pin().since()).EndObject();
  else
    w.Null();
  w.Key("layers").BeginArray();
  for (const auto& layer : image.layers()) {
    w.BeginObject();
    w.Key("digest").String(layer.digest()).Key("diff_id").String(layer.diff_id());
    w.EndObject();
  }
  w.EndArray();
}

}  // namespace

std::uint64_t SharedSize(const berth::v1::Image& image) {
  return image.unpacked_size() - std::min(image.unpacked_size(), image.unique_size());
}

void WriteImage(json::Writer& w, const berth::v1::Image& image) {
  w.BeginObject();
  WriteImageMembers(w, image);
  w.EndObject();
}

void WritePulled(json::Writer& w, std::string_view asked, const berth::v1::Pulled& pulled) {
  w.BeginObject();
  w.Key("image").String(asked).Key("name").String(pulled.name()).Key("digest").String(pulled.digest());
  w.Key("was_present").Bool(pulled.was_present());
  w.Key("bytes_fetched").Uint(pulled.bytes_fetched()).Key("bytes_reused").Uint(pulled.bytes_reused());
  w.Key("bytes_resumed").Uint(pulled.bytes_resumed());
  w.Key("credential").String(pulled.credential()).Key("host").String(pulled.host());
  w.Key("seconds").BeginObject();
  w.Key("queue").Double(pulled.queue_seconds()).Key("resolve").Double(pulled.resolve_seconds());
  w.Key("fetch").Double(pulled.fetch_seconds()).Key("unpack").Double(pulled.unpack_seconds()).Key("total").Double(pulled.total_seconds());
  w.EndObject();
  w.Key("images").BeginArray();
  for (const auto& image : pulled.images()) WriteImage(w, image);
  w.EndArray();
  w.EndObject();
}

void WriteInspect(json::Writer& w, const berth::v1::InspectImageResponse& answer) {
  w.BeginObject();
  WriteImageMembers(w, answer.image());
  w.Key("target").String(answer.target()).Key("target_media_type").String(answer.target_media_type());
  WriteDocument(w, "config", answer.config_json());
  WriteDocument(w, "manifest_document", answer.manifest_json());
  WriteDocument(w, "target_document", answer.target_json());
  WriteDocument(w, "last_pull", answer.last_pull_json());
  w.EndObject();
}

void WriteDiskUsage(json::Writer& w, const berth::v1::DiskUsageResponse& usage,
                    const google::protobuf::RepeatedPtrField<berth::v1::Image>* by_image) {
  w.BeginObject();
  w.Key("path").String(usage.path());
  w.Key("images").Uint(usage.images()).Key("names").Uint(usage.names()).Key("layers").Uint(usage.layers());
  w.Key("layer_bytes").Uint(usage.layer_bytes()).Key("shared_bytes").Uint(usage.shared_bytes());
  w.Key("compressed_bytes").Uint(usage.compressed_bytes()).Key("document_bytes").Uint(usage.document_bytes());
  w.Key("partial_bytes").Uint(usage.partial_bytes()).Key("unreferenced_bytes").Uint(usage.unreferenced_bytes());
  w.Key("pod_bytes").Uint(usage.pod_bytes()).Key("log_bytes").Uint(usage.log_bytes()).Key("database_bytes").Uint(usage.database_bytes());
  w.Key("other_bytes").Uint(usage.other_bytes()).Key("store_bytes").Uint(usage.store_bytes());
  w.Key("disk_total").Uint(usage.disk_total()).Key("disk_available").Uint(usage.disk_available());
  if (by_image != nullptr) {
    w.Key("by_image").BeginArray();
    for (const auto& image : *by_image) WriteImage(w, image);
    w.EndArray();
  }
  w.EndObject();
}

void WriteSummary(json::Writer& w, const berth::v1::CheckSummary& summary) {
  w.BeginObject();
  w.Key("objects").Uint(summary.objects()).Key("bytes").Uint(summary.bytes());
  w.Key("findings").Uint(summary.findings()).Key("repaired").Uint(summary.repaired()).Key("seconds").Double(summary.seconds());
  w.EndObject();
}

void WriteFinding(json::Writer& w, const berth::v1::Finding& finding) {
  w.BeginObject();
  w.Key("kind").String(finding.kind()).Key("object").String(finding.object()).Key("problem").String(finding.problem());
  w.Key("action").String(finding.action()).Key("repaired").Bool(finding.repaired());
  WriteStrings(w, "images", finding.images());
  w.EndObject();
}

}  // namespace berth::cli
