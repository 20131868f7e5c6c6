// apps/berthd/telemetry.h: every metric that berthd has, by name, and where its value is from (docs/operations.md lists them).
//
// Names: kubelet-images 10 for what the kubelet has, too (same name, labels and buckets), product 4.6 for ours. No label is an
// image's name or digest; hosts are the first 50 that were seen, then "other".
#pragma once

#include <functional>
#include <string>

#include "catalog/catalog.h"
#include "content/store.h"
#include "host/dir.h"
#include "metrics/registry.h"
#include "policy/image_manager.h"
#include "policy/records.h"
#include "pull/observer.h"
#include "pull/puller.h"
#include "reclaim/image_gc.h"
#include "time/clock.h"

namespace berth::berthd {

// Safe for concurrent use. What is attached outlives the last scrape.
class Telemetry final : public pull::Observer {
 public:
  explicit Telemetry(const time::Clock& clock);

  void OnAttempt(const registry::Attempt& attempt) override;
  void OnLayer(std::uint64_t bytes, double seconds) override;
  void OnPull(std::string_view registry, const pull::Pulled& pulled, const Error* error) override;
  void OnPlugin(const std::string& plugin, time::Duration took, bool good);
  void OnReload(bool good);
  void OnFreed(std::string_view reason, std::uint64_t bytes);  // "leftover", "room"
  // At the beginning of a call of the socket; what it returns (nothing for calls that are not CRI's) is called at its end with gRPC's code.
  std::function<void(int code)> OnCall(std::string_view method);

  void Attach(pull::Puller& puller);
  void Attach(catalog::Catalog& catalog, content::Store& content, const host::Dir& root);
  void Attach(policy::ImageManager& images, policy::Records* records);
  void Attach(const reclaim::ImageGc& gc);
  void AttachPods(std::function<std::size_t()> pods);
  void AttachPluginHash(std::function<std::string()> hash);

  metrics::Registry& registry() { return registry_; }

 private:
  const time::Clock& clock_;
  metrics::Registry registry_;
  metrics::Family<metrics::Counter> pulls_, bytes_, requests_, credentials_, freed_, plugin_errors_, cri_calls_;
  metrics::Family<metrics::Histogram> durations_, request_seconds_, plugin_seconds_, cri_seconds_;
  metrics::Counter layers_, layer_bytes_;
  metrics::Histogram layer_seconds_, layer_speed_;
  metrics::Gauge reload_good_, reload_at_;
};

}  // namespace berth::berthd
