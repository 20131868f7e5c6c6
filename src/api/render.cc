#include "api/render.h"

#include <ctime>
#include <set>

#include "api/status.h"

namespace berth::api {

std::string Rfc3339(time::WallTime time) {
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  std::tm utc{};
  if (::gmtime_r(&seconds, &utc) == nullptr) return "";
  char text[40];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

LayerUse::LayerUse(const std::vector<catalog::ImageRecord>& images, const std::vector<catalog::LayerRecord>& layers) {
  for (const auto& layer : layers) uses_[layer.blob].bytes = layer.stored_bytes;
  for (const auto& image : images) {
    std::set<catalog::Digest> own;
    for (const auto& layer : image.layers)
      if (own.insert(layer.blob).second) ++uses_[layer.blob].images;
  }
}

std::uint64_t LayerUse::Unique(const catalog::ImageRecord& image) const {
  std::set<catalog::Digest> own;
  for (const auto& layer : image.layers) own.insert(layer.blob);
  std::uint64_t sum = 0;
  for (const auto& digest : own)
    if (const auto use = uses_.find(digest); use != uses_.end() && use->second.images <= 1) sum += use->second.bytes;
  return sum;
}

void Render(const catalog::ImageRecord& image, std::uint64_t unique, v1::Image* out) {
  out->set_id(image.config.ToString());
  out->set_manifest(image.manifest.ToString());
  out->set_platform(image.platform);
  out->set_size(image.size);
  out->set_unpacked_size(image.unpacked_bytes);
  out->set_unique_size(unique);
  out->set_pulled_at(Rfc3339(image.pulled));
  out->set_pulled_at_nanos(image.pulled.time_since_epoch().count());
  if (image.pin) {
    out->mutable_pin()->set_owner(image.pin->owner);
    out->mutable_pin()->set_reason(image.pin->reason);
    out->mutable_pin()->set_since(Rfc3339(image.pin->since));
  }
  if (image.last_used != time::WallTime()) out->set_last_used_at(Rfc3339(image.last_used));
  for (const auto& name : image.names) out->add_names(name);
  for (const auto& layer : image.layers) {
    auto* to = out->add_layers();
    to->set_digest(layer.blob.ToString());
    to->set_diff_id(layer.diff_id.ToString());
  }
}

void Render(const pull::Snapshot& snapshot, v1::PullEvent* out) {
  out->set_phase(std::string(Name(snapshot.phase)));
  out->set_digest(snapshot.digest);
  out->set_platforms(snapshot.platforms);
  out->set_credential(snapshot.credential);
  out->set_host(snapshot.host);
  out->set_wait(snapshot.wait);
  for (const auto& [host, text] : snapshot.warnings) {
    auto* to = out->add_warnings();
    to->set_host(host);
    to->set_text(text);
  }
  if (snapshot.number != 0) out->set_pull("p-" + std::to_string(snapshot.number));
  for (const auto& layer : snapshot.layers) {
    auto* to = out->add_layers();
    to->set_digest(layer.blob.ToString());
    to->set_phase(std::string(Name(layer.phase)));
    to->set_current(layer.current);
    to->set_total(layer.total);
    to->set_resumed_from(layer.resumed_from);
    to->set_host(layer.host);
  }
}

void Render(const pull::Pulled& pulled, v1::Pulled* out) {
  out->set_name(pulled.name);
  out->set_digest(pulled.target.ToString());
  out->set_was_present(pulled.was_present);
  out->set_bytes_fetched(pulled.fetched_bytes);
  out->set_bytes_reused(pulled.reused_bytes);
  out->set_bytes_resumed(pulled.resumed_bytes);
  out->set_credential(pulled.credential);
  out->set_host(pulled.host);
  out->set_resolve_seconds(pulled.resolve_seconds);
  out->set_total_seconds(pulled.total_seconds);
  out->set_queue_seconds(pulled.queue_seconds);
  out->set_fetch_seconds(pulled.fetch_seconds);
  out->set_unpack_seconds(pulled.unpack_seconds);
  auto* used = out->mutable_used_credential();
  used->set_source(pulled.used.source);
  used->set_namespace_(pulled.used.namespace_name);
  used->set_name(pulled.used.name);
  used->set_pattern(pulled.used.pattern);
  used->set_user(pulled.used.user);
}

void Render(const reclaim::GcReport& report, v1::CollectImagesResponse* out) {
  out->set_disk_total(report.capacity);
  out->set_disk_available(report.available);
  out->set_used_percent(static_cast<std::int32_t>(report.used_percent));
  out->set_high_percent(static_cast<std::int32_t>(report.high_percent));
  out->set_low_percent(static_cast<std::int32_t>(report.low_percent));
  out->set_wanted_bytes(report.wanted);
  out->set_freed_bytes(report.freed + report.freed_by_age);
  out->set_unneeded_bytes(report.unneeded_freed);
  for (const auto& [object, bytes] : report.unneeded) {
    auto* to = out->add_unneeded();
    to->set_object(object);
    to->set_bytes(bytes);
  }
  out->set_grown_bytes(report.grown);
  for (const auto& row : report.rows) {
    auto* to = out->add_images();
    to->set_id(row.id);
    for (const auto& name : row.names) to->add_names(name);
    if (row.last_used) to->set_last_used_at(Rfc3339(*row.last_used));
    to->set_frees(row.frees);
    using Action = reclaim::GcRow::Action;
    to->set_action(row.action == Action::kRemove ? "remove" : row.action == Action::kKeep ? "keep" : "failed");
    to->set_why(row.why);
  }
  if (!report.verdict) Fill(report.verdict.error(), out->mutable_failure());
}

void Render(const fsck::Finding& finding, v1::Finding* out) {
  out->set_kind(finding.kind);
  out->set_object(finding.object);
  out->set_problem(finding.problem);
  out->set_action(finding.action);
  out->set_repaired(finding.repaired);
  for (const auto& image : finding.images) out->add_images(image);
}

}  // namespace berth::api
