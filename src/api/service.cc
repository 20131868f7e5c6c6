#include "api/service.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <set>

#include "api/credentials.h"
#include "api/images.h"
#include "api/short_calls.h"
#include "api/render.h"
#include "berth/v1/berth.grpc.pb.h"
#include "host/fault.h"
#include "json/tree.h"
#include "log/log.h"
#include "reclaim/stored_images.h"

namespace berth::api {
namespace {

constexpr std::size_t kPinText = 256;
constexpr std::size_t kDocumentBytes = 64u << 20;  // far above any limit under which one was stored

Error Usage(std::string text) { return Error(Reason::kUsage, std::move(text)); }

Result<pull::Request> Translate(const v1::PullRequest& request) {
  auto credentials = TakeCredentials(*const_cast<v1::PullRequest&>(request).mutable_credentials());  // first: wiped whatever else is wrong
  if (!credentials) return credentials.error();
  auto reference = reference::Reference::Parse(request.image());
  if (!reference) return std::move(reference).error().Next("berth name NAME shows how a name is read");
  pull::Request translated{.reference = *std::move(reference)};
  translated.credentials = *std::move(credentials);
  if (!request.policy().empty()) {
    const auto policy = pull::ParsePolicy(request.policy());
    if (!policy) return Usage("there is no policy " + Quoted(request.policy())).Next("use IfNotPresent, Always or Never");
    translated.policy = *policy;
  }
  for (const auto& text : request.platforms()) {
    auto platform = oci::Platform::Parse(text);
    if (!platform) return std::move(platform).error().Next("write it as os/arch[/variant]: linux/amd64, linux/arm/v7");
    translated.platforms.push_back(*std::move(platform));
  }
  translated.all_platforms = request.all_platforms();
  if (translated.all_platforms && !translated.platforms.empty()) return Usage("all platforms, or some of them, not both").Next("leave one of the two out");
  return translated;
}

// The verdict that is kept with an image is younger than its pull when the rules have changed since.
std::string WithVerdict(const std::string& record, const std::string& verdict) {
  const auto pull = json::Document::Parse(record, Reason::kCorrupt), kept = json::Document::Parse(verdict, Reason::kCorrupt);
  if (!pull || !kept || !pull->root().IsObject()) return record;
  json::Tree all(pull->root());
  all["verification"] = json::Tree(kept->root());
  return all.Dump();
}

std::string HostOf(const std::string& record) {
  const auto pull = json::Document::Parse(record, Reason::kCorrupt);
  const auto host = pull ? pull->root().Find("host") : std::nullopt;
  return host && host->IsString() ? std::string(*host->AsString()) : "";
}

// Whether the image was built with all of these: "KEY", "KEY=VALUE". Read for this alone: what else is wrong with a config does not matter.
bool HasLabels(const std::string& config, const google::protobuf::RepeatedPtrField<std::string>& wanted) {
  const auto document = json::Document::Parse(config, Reason::kInvalidConfig, {.bytes = kDocumentBytes});
  const auto part = document ? document->root().Find("config") : std::nullopt;
  const auto labels = part ? part->Find("Labels") : std::nullopt;
  return labels && std::ranges::all_of(wanted, [&](const std::string& text) {
    const auto equals = text.find('=');
    const auto value = labels->Find(std::string_view(text).substr(0, equals));
    return value && (equals == text.npos || (value->IsString() && *value->AsString() == text.substr(equals + 1)));
  });
}

Result<layer::Depth> DepthOf(const std::string& text) {
  if (text.empty() || text == "data") return layer::Depth::kData;
  if (text == "metadata") return layer::Depth::kMetadata;
  if (text == "descriptor") return layer::Depth::kDescriptor;
  return Usage("there is no depth " + Quoted(text)).Next("use descriptor, metadata or data");
}

}  // namespace

class Service::Impl final : public v1::Berth::CallbackService {
 public:
  Impl(Parts parts, ServiceOptions options, const time::Clock& clock)
      : parts_(parts), options_(std::move(options)), clock_(clock), started_(clock.SteadyNow()),
        mounts_(parts.mounts), streams_(options_.streams, clock),
        short_calls_(stop_.get_token(), options_.workers, options_.queue, clock) {}

  Result<> Recover() {
    ASSIGN_OR_RETURN(const std::size_t gone, mounts_.Recover());
    if (gone > 0) log::Info("mounts on record are gone", {{"count", gone}});
    return {};
  }
  void Drain() {
    stop_.request_stop();
    streams_.Drain();
  }
  std::size_t streams() const { return streams_.size(); }

 private:
  using Context = grpc::CallbackServerContext;

  // --- streams

  grpc::ServerWriteReactor<v1::PullEvent>* Pull(Context* call, const v1::PullRequest* message) override {
    auto translated = Translate(*message);
    // std::function wants something it could copy; the request holds secrets and cannot be.
    auto request = std::make_shared<Result<pull::Request>>(std::move(translated));
    return streams_.Start<v1::PullEvent>(call, [this, request, node = message->node_credentials()](auto& stream) -> Result<> {
      if (!*request) return request->error();
      pull::Request& asked = **request;
      if (node && options_.node_credentials) {
        ASSIGN_OR_RETURN(auto own, options_.node_credentials(stream.ctx(), asked.reference));
        for (auto& credential : own) asked.credentials.push_back(std::move(credential));
      }
      auto pull = parts_.puller.Start(stream.ctx(), std::move(asked));
      return Watch(stream, pull);
    });
  }

  Result<> Watch(Stream<v1::PullEvent>& stream, pull::Puller::Pull& pull) {
    const auto progress = pull.shared_progress();
    stream.OnBeat([progress] { progress->Tick(); });
    pull::Snapshot sent = progress->Take();
    std::uint64_t seen = sent.version;
    time::SteadyTime sent_at = clock_.SteadyNow();
    RETURN_IF_ERROR(stream.Send(EventOf(sent)));
    while (sent.phase != pull::Phase::kEnded) {
      RETURN_IF_ERROR(progress->AwaitChange(stream.ctx(), seen));
      pull::Snapshot now = progress->Take();
      seen = now.version;
      const bool turned = now.phase != sent.phase || now.digest != sent.digest || now.layers.size() != sent.layers.size() ||
                          now.wait != sent.wait || now.warnings.size() != sent.warnings.size();
      if (!turned && (clock_.SteadyNow() - sent_at < options_.streams.interval || !Moved(sent, now))) continue;
      sent = std::move(now);
      sent_at = clock_.SteadyNow();
      if (sent.phase != pull::Phase::kEnded) RETURN_IF_ERROR(stream.Send(EventOf(sent)));
    }
    ASSIGN_OR_RETURN(const pull::Pulled done, pull.Wait(stream.ctx()));
    v1::PullEvent last = EventOf(progress->Take());
    last.set_phase(std::string(Name(pull::Phase::kEnded)));
    Render(done, last.mutable_pulled());
    ASSIGN_OR_RETURN(const LayerUse use, Use());
    for (const auto& image : done.images) {
      v1::Image* to = last.mutable_pulled()->add_images();
      Render(image, use.Unique(image), to);
      to->set_source(done.host);
    }
    auto told = stream.Send(std::move(last));
    BERTH_FAULT_IN(stream.ctx(), kPullAnswered);
    return told;
  }

  static bool Moved(const pull::Snapshot& a, const pull::Snapshot& b) {
    return !std::ranges::equal(a.layers, b.layers, [](const auto& x, const auto& y) {
      return x.current == y.current && x.phase == y.phase && x.resumed_from == y.resumed_from;
    });
  }

  v1::PullEvent EventOf(const pull::Snapshot& snapshot) {
    v1::PullEvent event;
    Render(snapshot, &event);
    event.set_waiting_pulls(static_cast<std::uint32_t>(parts_.puller.waiting()));
    if (const auto space = parts_.root.FreeSpace(); space && space->total_bytes > 0)
      event.set_disk_used_percent(static_cast<std::uint32_t>(100 - space->available_bytes * 100 / space->total_bytes));
    return event;
  }

  grpc::ServerWriteReactor<v1::CheckStoreEvent>* CheckStore(Context* call, const v1::CheckStoreRequest* message) override {
    const bool repair = message->repair();
    return streams_.Start<v1::CheckStoreEvent>(call, [this, repair, depth = message->depth()](auto& stream) -> Result<> {
      fsck::Options options{.repair = repair ? fsck::Repair::kYes : fsck::Repair::kNo, .form = options_.form};
      ASSIGN_OR_RETURN(options.depth, DepthOf(depth));
      if (checking_.exchange(true)) return Error(Reason::kConflict, "the store is being checked already").Next("wait for that to end");
      const auto checked = Check(stream, options);
      checking_ = false;
      return checked;
    });
  }

  Result<> Check(Stream<v1::CheckStoreEvent>& stream, const fsck::Options& options) {
    const time::SteadyTime start = clock_.SteadyNow();
    time::SteadyTime sent_at = start - options_.streams.interval;
    fsck::Checker::Observer observer;
    // A caller that is gone stops the Context, which ends the check between two objects.
    observer.finding = [&](const fsck::Finding& finding) {
      v1::CheckStoreEvent event;
      Render(finding, event.mutable_finding());
      (void)stream.Send(std::move(event));
    };
    observer.progress = [&](std::uint64_t checked, std::uint64_t total) {
      if (clock_.SteadyNow() - sent_at < options_.streams.interval) return;
      sent_at = clock_.SteadyNow();
      v1::CheckStoreEvent event;
      event.mutable_progress()->set_checked(checked);
      event.mutable_progress()->set_total(total);
      (void)stream.Send(std::move(event));
    };
    fsck::Checker checker({parts_.content, parts_.layers, parts_.catalog, parts_.leases});
    ASSIGN_OR_RETURN(const auto summary, checker.Run(stream.ctx(), options, observer));
    v1::CheckStoreEvent last;
    auto* to = last.mutable_summary();
    to->set_objects(summary.objects);
    to->set_bytes(summary.bytes);
    to->set_findings(summary.findings);
    to->set_repaired(summary.repaired);
    to->set_seconds(std::chrono::duration<double>(clock_.SteadyNow() - start).count());
    return stream.Send(std::move(last));
  }

  // --- short calls

  Result<LayerUse> Use() {
    ASSIGN_OR_RETURN(const auto images, parts_.catalog.ListImages());
    ASSIGN_OR_RETURN(const auto layers, parts_.catalog.ListLayers());
    return LayerUse(images, layers);
  }

  grpc::ServerUnaryReactor* ListImages(Context* call, const v1::ListImagesRequest* message, v1::ListImagesResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
      ASSIGN_OR_RETURN(auto images, parts_.catalog.ListImages());
      ASSIGN_OR_RETURN(const auto layers, parts_.catalog.ListLayers());
      const LayerUse use(images, layers);
      if (!message->filter().empty()) RETURN_IF_ERROR(Filter(message->filter(), images));
      ASSIGN_OR_RETURN(const auto sources, parts_.catalog.Sources());
      answer->set_labels_judged(message->labels_size() > 0);
      for (const auto& image : images) {
        if (message->labels_size() > 0) {
          const auto config = parts_.content.ReadDocument(image.config, kDocumentBytes);
          if (!config && config.error().reason() == Reason::kUnavailable) return config.error();
          if (!config && config.error().reason() != Reason::kMissing)  // missing: removed meanwhile
            log::Warning("an image's labels cannot be read; a listing by label leaves it out",
                         {{"image", image.manifest.ToString()}, {"error", config.error()}});
          if (!config || !HasLabels(*config, message->labels())) continue;
        }
        v1::Image* to = answer->add_images();
        Render(image, use.Unique(image), to);
        for (const auto& name : image.names)
          if (const auto source = sources.find(name); source != sources.end() && to->source().empty()) to->set_source(source->second);
      }
      return {};
    });
  }

  // A name without tag and digest means every image of the repository.
  Result<> Filter(const std::string& filter, std::vector<catalog::ImageRecord>& images) {
    const auto raw = reference::Reference::ParseRaw(filter);
    const auto reference = reference::Reference::Parse(filter);
    const bool repository = raw && reference && !raw->tag() && !raw->digest();
    const auto by_name = [&](const catalog::ImageRecord& image) {
      return reference && std::ranges::any_of(image.names, [&](const std::string& name) {
        if (!repository) return name == reference->Canonical();
        const std::string prefix = reference->Repository();
        return name.starts_with(prefix) && name.size() > prefix.size() && (name[prefix.size()] == ':' || name[prefix.size()] == '@');
      });
    };
    ASSIGN_OR_RETURN(const auto by_id, parts_.catalog.FindImagesById(filter));
    const auto wanted = [&](const catalog::ImageRecord& image) {
      return by_name(image) || std::ranges::any_of(by_id, [&](const auto& other) { return other.manifest == image.manifest; });
    };
    if (!reference && by_id.empty()) return Error(reference.error()).Next("berth name NAME shows how a name is read");
    std::erase_if(images, [&](const auto& image) { return !wanted(image); });
    return {};
  }

  grpc::ServerUnaryReactor* InspectImage(Context* call, const v1::InspectImageRequest* message, v1::InspectImageResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
      ASSIGN_OR_RETURN(const auto match, FindImages(parts_.catalog, message->image()));
      ASSIGN_OR_RETURN(const auto image, Choose(match, message->platform(), options_.host));
      ASSIGN_OR_RETURN(const LayerUse use, Use());
      Render(image, use.Unique(image), answer->mutable_image());
      ASSIGN_OR_RETURN(*answer->mutable_manifest_json(), parts_.content.ReadDocument(image.manifest, kDocumentBytes));
      ASSIGN_OR_RETURN(*answer->mutable_config_json(), parts_.content.ReadDocument(image.config, kDocumentBytes));
      // By id, the image's first name tells where it came from.
      auto name = match.name;
      if (!name && !image.names.empty()) {
        ASSIGN_OR_RETURN(name, parts_.catalog.FindName(image.names.front()));
      }
      if (!name) return {};
      answer->set_target(name->target.ToString());
      answer->set_target_media_type(name->media_type);
      ASSIGN_OR_RETURN(*answer->mutable_target_json(), parts_.content.ReadDocument(name->target, kDocumentBytes));
      ASSIGN_OR_RETURN(const auto last, parts_.catalog.LastOf(name->name));
      ASSIGN_OR_RETURN(const std::string verdict, parts_.puller.gate().Record(*name));
      const bool told = last && last->kind != "removed";
      ASSIGN_OR_RETURN(const auto pulled, parts_.catalog.LastOf(name->name, "pulled"));
      if (pulled) answer->mutable_image()->set_source(HostOf(pulled->record));
      if (told || !verdict.empty()) answer->set_last_pull_json(WithVerdict(told ? last->record : "{}", verdict));
      return {};
    });
  }

  grpc::ServerUnaryReactor* RemoveImage(Context* call, const v1::RemoveImageRequest* message, v1::RemoveImageResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context& ctx) -> Result<> {
      ASSIGN_OR_RETURN(const auto match, FindImages(parts_.catalog, message->image()));
      const catalog::Removal how{.pinned = message->force()};
      const auto note = [&](const reclaim::Removed& removed) {
        for (const auto& name : removed.names) answer->add_names(name);
        for (const auto& manifest : removed.manifests) answer->add_manifests(manifest.ToString());
        answer->set_freed_bytes(answer->freed_bytes() + removed.freed.bytes);
      };
      if (match.name && !message->all_names()) {
        ASSIGN_OR_RETURN(const auto removed, mounts_.Remove([&] { return parts_.reclaimer.RemoveName(ctx, match.name->name, how); }));
        note(removed);
        return {};
      }
      for (const auto& image : match.images) {
        const auto tags = std::ranges::count_if(image.names, [](const std::string& name) { return name.find('@') == name.npos; });
        if (!message->all_names() && tags > 1)
          return Error(Reason::kInUse, "the image has " + std::to_string(tags) + " names, " + image.names.front() + " among them")
              .Next("remove it by name, or with all its names");
      }
      for (const auto& image : match.images) {
        ASSIGN_OR_RETURN(const auto removed, mounts_.Remove([&] { return parts_.reclaimer.RemoveImage(ctx, image.manifest, how); }));
        note(removed);
      }
      return {};
    });
  }

  grpc::ServerUnaryReactor* Mount(Context* call, const v1::MountRequest* message, v1::MountResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context& ctx) -> Result<> {
      ASSIGN_OR_RETURN(auto match, FindImages(parts_.catalog, message->image()));
      if (match.name) {
        ASSIGN_OR_RETURN(const auto name, reference::Reference::Parse(match.name->name));
        RETURN_IF_ERROR(parts_.puller.gate().CheckPresent(name, match.name->target));
      } else {
        RETURN_IF_ERROR(parts_.puller.gate().DropRefused(match.images));
      }
      ASSIGN_OR_RETURN(const auto image, Choose(match, message->platform(), options_.host));
      ASSIGN_OR_RETURN(const std::string target, mounts_.Mount(ctx, image, message->target(),
                                                               message->writable() ? rootfs::Writable::kYes : rootfs::Writable::kNo));
      // Collection looks every few minutes only; a mount that was not written down is no reason to undo it.
      if (const auto marked = parts_.catalog.MarkUsed({image.config}, clock_.WallNow()); !marked)
        log::Warning("the use of an image could not be written down", {{"error", marked.error()}});
      return Describe(target, image, answer);
    });
  }

  Result<> Describe(const std::string& target, const catalog::ImageRecord& image, v1::MountResponse* out) {
    layer::Form form = options_.form;
    if (!image.layers.empty()) {
      if (const auto info = parts_.layers.Find(image.layers.front().blob); info && *info) form = (*info)->report.form;
    }
    out->set_target(target);
    out->set_manifest(image.manifest.ToString());
    out->set_form(std::string(Name(form)));
    return {};
  }

  grpc::ServerUnaryReactor* Unmount(Context* call, const v1::UnmountRequest* message, v1::UnmountResponse*) override {
    return short_calls_.Do(call, [this, message](const task::Context&) { return mounts_.Unmount(message->target()); });
  }

  grpc::ServerUnaryReactor* ListMounts(Context* call, const v1::ListMountsRequest*, v1::ListMountsResponse* answer) override {
    return short_calls_.Do(call, [this, answer](const task::Context&) -> Result<> {
      ASSIGN_OR_RETURN(const auto mounts, parts_.catalog.ListMounts());
      for (const auto& mount : mounts) {
        ASSIGN_OR_RETURN(const auto image, parts_.catalog.FindImage(mount.manifest));
        if (image) RETURN_IF_ERROR(Describe(mount.target, *image, answer->add_mounts()));
      }
      return {};
    });
  }

  grpc::ServerUnaryReactor* DiskUsage(Context* call, const v1::DiskUsageRequest*, v1::DiskUsageResponse* answer) override {
    return short_calls_.Do(call, [this, answer](const task::Context& ctx) -> Result<> {
      ASSIGN_OR_RETURN(const auto usage, parts_.catalog.Measure());
      ASSIGN_OR_RETURN(const auto taken,
                       reclaim::MeasureStore(ctx, parts_.root, {parts_.content, parts_.layers, parts_.catalog, parts_.leases}));
      ASSIGN_OR_RETURN(const auto space, parts_.root.FreeSpace());
      answer->set_images(usage.images);
      answer->set_names(usage.names);
      answer->set_layers(usage.layers);
      answer->set_layer_bytes(taken.layers);
      answer->set_shared_bytes(usage.shared_bytes);
      answer->set_compressed_bytes(taken.compressed);
      answer->set_document_bytes(taken.documents);
      answer->set_partial_bytes(taken.partials);
      answer->set_pod_bytes(taken.pods);
      answer->set_log_bytes(taken.logs);
      answer->set_database_bytes(taken.databases);
      answer->set_other_bytes(taken.other);
      answer->set_store_bytes(taken.total);
      answer->set_unreferenced_bytes(usage.unreferenced_bytes);
      answer->set_disk_total(space.total_bytes);
      answer->set_disk_available(space.available_bytes);
      answer->set_path(options_.root);
      return {};
    });
  }

  grpc::ServerUnaryReactor* CollectImages(Context* call, const v1::CollectImagesRequest* message,
                                          v1::CollectImagesResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context& ctx) -> Result<> {
      reclaim::GcRequest request{.dry_run = message->dry_run() || !message->why().empty(), .unused = message->unused()};
      if (message->target_percent() != 0) request.target = message->target_percent();
      if (request.target && (*request.target < 1 || *request.target > 100)) return Usage("a target is 1 to 100 percent").Next("--target 80%");
      if (request.target && request.unused) return Usage("all unused images, or as many as the target needs, not both").Next("leave one of the two out");
      std::set<std::string> wanted;
      if (!message->why().empty()) {
        ASSIGN_OR_RETURN(const auto match, FindImages(parts_.catalog, message->why()));
        for (const auto& image : match.images) wanted.insert(image.config.ToString());
      }
      auto report = parts_.gc.Collect(ctx, request);
      if (!report.verdict && report.verdict.error().cancelled()) return report.verdict;
      if (!wanted.empty()) std::erase_if(report.rows, [&](const auto& row) { return !wanted.contains(row.id); });
      Render(report, answer);
      return {};
    });
  }

  // The images that a person means, each id once.
  Result<> EachId(const std::string& text, v1::PinImageResponse* answer, const std::function<Result<>(const digest::Digest&)>& work) {
    ASSIGN_OR_RETURN(const auto match, FindImages(parts_.catalog, text));
    std::set<std::string> ids;
    for (const auto& image : match.images) {
      if (!ids.insert(image.config.ToString()).second) continue;
      RETURN_IF_ERROR(work(image.config));
      answer->add_ids(image.config.ToString());
      for (const auto& name : image.names) answer->add_names(name);
    }
    return {};
  }

  grpc::ServerUnaryReactor* PinImage(Context* call, const v1::PinImageRequest* message, v1::PinImageResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
      if (message->owner().size() > kPinText || message->reason().size() > kPinText)
        return Usage("owner and reason of a pin are at most " + std::to_string(kPinText) + " bytes long").Next("shorten them");
      const catalog::Pin pin{message->owner(), message->reason(), clock_.WallNow()};
      return EachId(message->image(), answer, [&](const digest::Digest& id) { return parts_.catalog.SetPin(id, pin); });
    });
  }

  grpc::ServerUnaryReactor* UnpinImage(Context* call, const v1::UnpinImageRequest* message, v1::PinImageResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
      bool any = false;
      const auto lift = [&](const digest::Digest& id) -> Result<> {
        ASSIGN_OR_RETURN(const bool lifted, parts_.catalog.RemovePin(id));
        any = any || lifted;
        return {};
      };
      // A pin may be there without its image.
      if (const auto id = digest::Digest::Parse(message->image())) RETURN_IF_ERROR(lift(*id));
      if (any) {
        answer->add_ids(message->image());
        return {};
      }
      RETURN_IF_ERROR(EachId(message->image(), answer, lift));
      if (!any) return Error(Reason::kNotFound, "the image is not pinned").Next("berth images -o wide shows pins");
      return {};
    });
  }

  grpc::ServerUnaryReactor* Reclaim(Context* call, const v1::ReclaimRequest* message, v1::ReclaimResponse* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context& ctx) -> Result<> {
      constexpr std::uint64_t kCentury = 100ull * 365 * 24 * 3600;
      const auto age = std::chrono::seconds(std::min(message->min_age_seconds(), kCentury));
      ASSIGN_OR_RETURN(const auto freed, parts_.reclaimer.Sweep(ctx, age));
      answer->set_freed_bytes(freed.bytes);
      answer->set_objects(freed.objects.size());
      return {};
    });
  }

  grpc::ServerUnaryReactor* Status(Context* call, const v1::StatusRequest*, v1::StatusResponse* answer) override {
    return short_calls_.Do(call, [this, answer](const task::Context&) -> Result<> {
      answer->set_version(BERTH_VERSION);
      answer->set_root(options_.root);
      answer->set_form(std::string(Name(options_.form)));
      for (const auto& probe : options_.probes) {
        auto* to = answer->add_probes();
        to->set_name(probe.name);
        to->set_verdict(probe.verdict);
        to->set_detail(probe.detail);
      }
      for (const auto& limit : options_.limits) answer->add_limits(limit);
      answer->set_running_pulls(static_cast<std::uint32_t>(parts_.puller.running()));
      answer->set_waiting_pulls(static_cast<std::uint32_t>(parts_.puller.waiting()));
      answer->set_uptime_seconds(std::chrono::duration<double>(clock_.SteadyNow() - started_).count());
      return {};
    });
  }

  Parts parts_;
  const ServiceOptions options_;
  const time::Clock& clock_;
  const time::SteadyTime started_;
  node::Mounts& mounts_;
  std::stop_source stop_;             // of short calls
  std::atomic<bool> checking_{false};
  Streams streams_;
  ShortCalls short_calls_;
};

Service::Service(Parts parts, ServiceOptions options, const time::Clock& clock)
    : impl_(std::make_unique<Impl>(parts, std::move(options), clock)) {}
Service::~Service() = default;
Result<> Service::Recover() { return impl_->Recover(); }
void Service::Drain() { impl_->Drain(); }
std::size_t Service::streams() const { return impl_->streams(); }
grpc::Service& Service::grpc() { return *impl_; }

}  // namespace berth::api
