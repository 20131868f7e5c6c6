#include "apps/berthd/telemetry.h"

#include <array>
#include <memory>
#include <mutex>
#include <optional>

#include "metrics/process.h"
#include "policy/metrics.h"

namespace berth::berthd {
namespace {

using metrics::Kind;
using metrics::Sample;

constexpr std::size_t kHosts = 50;

// Of a description ("secret shop/regcred (alice)", "plug-in ecr (AWS)"): its first word says what kind of source it is.
std::string_view SourceOf(std::string_view credential) {
  const std::string_view word = credential.substr(0, credential.find(' '));
  if (word == "secret" || word == "plug-in" || word == "anonymous" || word == "helper") return word;
  return word == "config.json" || word == ".dockercfg" ? "file" : "other";
}

std::string_view AnswerOf(const registry::Attempt& attempt) {
  if (!attempt.reason) return "accepted";
  if (attempt.status == 401) return "unauthorized";
  if (attempt.status == 403) return "denied";
  return "other";
}

// gRPC's, in its order.
constexpr std::array<std::string_view, 17> kCodes{
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};

std::vector<double> PullBuckets() { return {policy::kPullSecondsBuckets.begin(), policy::kPullSecondsBuckets.end()}; }

std::vector<Sample> One(double value) { return {{.labels = {}, .value = value}}; }

}  // namespace

Telemetry::Telemetry(const time::Clock& clock) : clock_(clock) {
  pulls_ = registry_.Counters("berth_pulls_total", "Pulls that ended. result: pulled, present, failed, canceled; reason: why it failed.",
                              {{"registry", kHosts}, {"result", 4}, {"reason", 64}});
  durations_ = registry_.Histograms("berth_pull_duration_seconds", "Of pulls that fetched something: waiting for a slot, until it was resolved, in all.",
                                    {{"phase", 3}, {"image_size_in_bytes", 16}}, PullBuckets());
  bytes_ = registry_.Counters("berth_registry_bytes_total", "Compressed bytes of layers: fetched, resumed from an earlier pull, reused.",
                              {{"registry", kHosts}, {"host", kHosts}, {"kind", 3}});
  requests_ = registry_.Counters("berth_registry_requests_total", "Requests to registries and token services; code none: no answer.",
                                 {{"host", kHosts}, {"method", 6}, {"code", 40}});
  request_seconds_ = registry_.Histograms("berth_registry_request_duration_seconds", "Their time, bodies included.", {{"host", kHosts}},
                                          {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300});
  credentials_ = registry_.Counters("berth_credential_attempts_total", "Requests by the kind of credential they carried, and what was said to it.",
                                    {{"source", 8}, {"result", 4}});
  layers_ = registry_.MakeCounter("berth_layers_unpacked_total", "Layers that were fetched and unpacked.");
  layer_bytes_ = registry_.MakeCounter("berth_layer_unpacked_bytes_total", "Of their tar streams.");
  layer_seconds_ = registry_.MakeHistogram("berth_layer_duration_seconds", "From a layer's first byte to its place in the store.",
                                           metrics::Exponential(0.01, 2.5, 12));
  layer_speed_ = registry_.MakeHistogram("berth_layer_unpack_bytes_per_second", "Tar bytes per second of each layer, network included.",
                                         metrics::Exponential(1 << 20, 2, 12));
  plugin_errors_ = registry_.Counters("kubelet_credential_provider_plugin_errors_total", "Number of errors from credential provider plugin",
                                      {{"plugin_name", kHosts}});
  plugin_seconds_ = registry_.Histograms("kubelet_credential_provider_plugin_duration", "Duration of execution in seconds for credential provider plugin",
                                         {{"plugin_name", kHosts}}, {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10});
  cri_calls_ = registry_.Counters("berth_cri_requests_total", "Calls of CRI that ended, by gRPC's status code.", {{"method", 16}, {"code", kCodes.size()}});
  cri_seconds_ = registry_.Histograms("berth_cri_request_seconds", "Their time, answers included.", {{"method", 16}}, metrics::Exponential(0.0005, 4, 10));
  freed_ = registry_.Counters("berth_gc_freed_bytes_total", "Bytes given back, by why they went.", {{"reason", 8}});
  reload_good_ = registry_.MakeGauge("berth_config_reload_success", "1: the settings in force are those of the file as it was read last.");
  reload_at_ = registry_.MakeGauge("berth_config_last_reload_timestamp_seconds", "When they were last read without an error.");
  registry_.Collect("berth_build_info", "The version that runs.", Kind::kGauge,
                    [] { return std::vector<Sample>{{.labels = {{"version", BERTH_VERSION}}, .value = 1}}; });
  metrics::AddProcess(registry_);
  OnReload(true);
}

void Telemetry::OnAttempt(const registry::Attempt& attempt) {
  requests_.With({attempt.host, attempt.method, attempt.status == 0 ? "none" : std::to_string(attempt.status)}).Add();
  request_seconds_.With({attempt.host}).Observe(std::chrono::duration<double>(attempt.took).count());
  if (!attempt.credential.empty()) credentials_.With({SourceOf(attempt.credential), AnswerOf(attempt)}).Add();
}

void Telemetry::OnLayer(std::uint64_t bytes, double seconds) {
  layers_.Add();
  layer_bytes_.Add(static_cast<double>(bytes));
  layer_seconds_.Observe(seconds);
  if (seconds > 0) layer_speed_.Observe(static_cast<double>(bytes) / seconds);
}

void Telemetry::OnPull(std::string_view registry, const pull::Pulled& pulled, const Error* error) {
  const std::string_view result = error == nullptr ? pulled.was_present ? "present" : "pulled" : error->cancelled() ? "canceled" : "failed";
  pulls_.With({registry, result, error == nullptr || error->cancelled() ? "" : error->info().klass}).Add();
  for (const auto& [kind, bytes] : {std::pair("fetched", pulled.fetched_bytes), {"resumed", pulled.resumed_bytes}, {"reused", pulled.reused_bytes}})
    if (bytes > 0) bytes_.With({registry, pulled.host, kind}).Add(static_cast<double>(bytes));
  if (error != nullptr || pulled.was_present) return;
  std::uint64_t size = 0;
  for (const auto& image : pulled.images) size += image.size;
  for (const auto& [phase, seconds] : {std::pair("queue", pulled.queue_seconds), {"resolve", pulled.resolve_seconds}, {"total", pulled.total_seconds}})
    durations_.With({phase, policy::SizeLabel(size)}).Observe(seconds);
}

void Telemetry::OnPlugin(const std::string& plugin, time::Duration took, bool good) {
  plugin_seconds_.With({plugin}).Observe(std::chrono::duration<double>(took).count());
  if (!good) plugin_errors_.With({plugin}).Add();
}

void Telemetry::OnReload(bool good) {
  reload_good_.Set(good ? 1 : 0);
  if (good) reload_at_.Set(std::chrono::duration<double>(clock_.WallNow().time_since_epoch()).count());
}

std::function<void(int)> Telemetry::OnCall(std::string_view method) {
  if (!method.starts_with("/runtime.v1.")) return {};
  return [this, name = std::string(method.substr(method.rfind('/') + 1)), began = clock_.SteadyNow()](int code) {
    const auto at = static_cast<std::size_t>(code);
    cri_calls_.With({name, at < kCodes.size() ? kCodes[at] : "UNKNOWN"}).Add();
    cri_seconds_.With({name}).Observe(std::chrono::duration<double>(clock_.SteadyNow() - began).count());
  };
}

void Telemetry::OnFreed(std::string_view reason, std::uint64_t bytes) { freed_.With({reason}).Add(static_cast<double>(bytes)); }

void Telemetry::Attach(pull::Puller& puller) {
  registry_.Collect("berth_pulls_in_progress", "Pulls at work.", Kind::kGauge, [&puller] { return One(static_cast<double>(puller.running())); });
  registry_.Collect("berth_pull_queue_length", "Pulls that wait for a slot.", Kind::kGauge, [&puller] { return One(static_cast<double>(puller.waiting())); });
}

void Telemetry::Attach(catalog::Catalog& catalog, content::Store& content, const host::Dir& root) {
  // Once for each change, not for each scrape and metric.
  struct Measured { std::mutex mutex; std::uint64_t version = 0; std::optional<catalog::Usage> usage; };
  const auto measure = [&catalog, kept = std::make_shared<Measured>()]() -> std::optional<catalog::Usage> {
    const std::lock_guard hold(kept->mutex);
    const std::uint64_t version = catalog.version();  // before: what changes meanwhile is measured at the next scrape
    if (kept->usage && kept->version == version) return kept->usage;
    kept->usage.reset();
    if (auto now = catalog.Measure()) kept->usage = *now;
    kept->version = version;
    return kept->usage;
  };
  registry_.Collect("berth_images", "Images in the store.", Kind::kGauge, [measure] {
    const auto usage = measure();
    return usage ? One(static_cast<double>(usage->images)) : std::vector<Sample>{};
  });
  registry_.Collect("berth_store_bytes", "What the store holds: unpacked layers, those that no image has (yet), compressed blobs, documents, partial downloads.",
                    Kind::kGauge, [measure, &content] {
    std::vector<Sample> samples;
    const auto add = [&](const char* kind, std::uint64_t bytes) {
      samples.push_back({.labels = {{"kind", kind}}, .value = static_cast<double>(bytes)});
    };
    if (const auto usage = measure()) {
      add("unpacked", usage->layer_bytes);
      add("unneeded", usage->unreferenced_bytes);
      add("blobs", usage->compressed_bytes);
      add("documents", usage->document_bytes);
    }
    if (const auto partials = content.Partials()) {
      std::uint64_t bytes = 0;
      for (const auto& partial : *partials) bytes += partial.bytes;
      add("partial", bytes);
    }
    return samples;
  });
  registry_.Collect("berth_imagefs_used_ratio", "Of the file system that holds the store, 0 to 1.", Kind::kGauge, [&root] {
    const auto space = root.FreeSpace();
    if (!space || space->total_bytes == 0) return std::vector<Sample>{};
    return One(1 - static_cast<double>(space->available_bytes) / static_cast<double>(space->total_bytes));
  });
}

void Telemetry::Attach(policy::ImageManager& images, policy::Records* records) {
  registry_.Collect("berth_backoff_images", "Images of Pods that failed lately and are not asked for again before their time.", Kind::kGauge,
                    [&images] { return One(static_cast<double>(images.backoff().size())); });
  registry_.Collect("kubelet_image_manager_ensure_image_requests_total", "Number of ensure-image requests processed by the kubelet.", Kind::kCounter, [&images] {
    std::vector<Sample> samples;
    for (const auto& [labels, count] : images.metrics().ensure_requests)
      samples.push_back({.labels = {{"pull_policy", std::get<0>(labels)}, {"present_locally", std::get<1>(labels)}, {"pull_required", std::get<2>(labels)}},
                         .value = static_cast<double>(count)});
    return samples;
  });
  registry_.Collect("kubelet_imagemanager_image_mustpull_checks_total", "Counter for how many times kubelet checked whether credentials need to be re-verified to access an image",
                    Kind::kCounter, [&images] {
    std::vector<Sample> samples;
    for (const auto& [result, count] : images.metrics().must_pull_checks)
      samples.push_back({.labels = {{"result", result}}, .value = static_cast<double>(count)});
    return samples;
  });
  registry_.Collect("kubelet_image_pull_duration_seconds", "Duration in seconds to pull an image.", Kind::kHistogram, [&images] {
    std::vector<Sample> samples;
    for (const auto& [size, durations] : images.metrics().pull_durations) {
      Sample sample{.labels = {{"image_size_in_bytes", size}}, .value = durations.sum_seconds, .count = durations.count};
      for (std::size_t i = 0; i < policy::kPullSecondsBuckets.size(); ++i)
        sample.buckets.emplace_back(policy::kPullSecondsBuckets[i], durations.buckets[i]);
      samples.push_back(std::move(sample));
    }
    return samples;
  });
  if (records == nullptr) return;
  registry_.Collect("kubelet_imagemanager_ondisk_pullintents", "Number of ImagePullIntents stored on disk.", Kind::kGauge,
                    [records] { return One(static_cast<double>(records->intents_on_disk())); });
  registry_.Collect("kubelet_imagemanager_ondisk_pulledrecords", "Number of ImagePulledRecords stored on disk.", Kind::kGauge,
                    [records] { return One(static_cast<double>(records->records_on_disk())); });
}

void Telemetry::Attach(const reclaim::ImageGc& gc) {
  const auto number = [](auto value) { return static_cast<double>(value); };
  registry_.Collect("kubelet_image_garbage_collected_total", "Images that garbage collection removed, because of their age or for space.", Kind::kCounter,
                    [&gc, number] {
                      const auto c = gc.counters();
                      return std::vector<Sample>{{.labels = {{"reason", "age"}}, .value = number(c.images_by_age)},
                                                 {.labels = {{"reason", "space"}}, .value = number(c.images_by_space)}};
                    });
  registry_.Collect("berth_image_gc_freed_bytes_total", "Bytes that it gave back: of images, and of what no image needed.", Kind::kCounter, [&gc, number] {
    const auto c = gc.counters();
    return std::vector<Sample>{{.labels = {{"kind", "image"}}, .value = number(c.image_bytes)},
                               {.labels = {{"kind", "unneeded"}}, .value = number(c.unneeded_bytes)}};
  });
  registry_.Collect("berth_image_gc_rounds_total", "Rounds of it, by how they ended.", Kind::kCounter, [&gc, number] {
    const auto c = gc.counters();
    return std::vector<Sample>{{.labels = {{"result", "done"}}, .value = number(c.rounds - c.failures)},
                               {.labels = {{"result", "failed"}}, .value = number(c.failures)}};
  });
  registry_.Collect("berth_image_gc_seconds_total", "Time that its rounds took.", Kind::kCounter,
                    [&gc] { return One(std::chrono::duration<double>(gc.counters().total).count()); });
}

void Telemetry::AttachPods(std::function<std::size_t()> pods) {
  registry_.Collect("berth_pods", "Pods on this node.", Kind::kGauge, [pods = std::move(pods)] { return One(static_cast<double>(pods())); });
}

void Telemetry::AttachPluginHash(std::function<std::string()> hash) {
  registry_.Collect("kubelet_credential_provider_config_info", "Information about the last applied credential provider configuration with hash as label", Kind::kGauge,
                    [hash = std::move(hash)] { return std::vector<Sample>{{.labels = {{"hash", hash()}}, .value = 1}}; });
}

}  // namespace berth::berthd
