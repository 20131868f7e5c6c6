#include "pull/puller.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "host/fault.h"
#include "log/log.h"
#include "pull/layer_job.h"
#include "pull/record.h"

namespace berth::pull {
namespace {

using digest::Digest;

double Seconds(time::Duration d) { return std::chrono::duration<double>(d).count(); }

// One platform's image as the registry describes it.
struct Planned {
  oci::Manifest manifest;
  Digest digest;
  oci::ImageConfig config;
  std::string platform;
};

std::string JoinPlatforms(const std::vector<oci::Platform>& platforms) {
  std::string text;
  for (const auto& platform : platforms) text += (text.empty() ? "" : ", ") + platform.ToString();
  return text;
}

// What makes two pulls the same work. Holds a hash of the credentials, in memory only.
std::string FlightKey(const Request& request) {
  digest::Hasher hasher;
  const auto add = [&](std::string_view text) {
    hasher.Update(bytes::AsView(std::to_string(text.size()) + ":"));
    hasher.Update(bytes::AsView(text));
  };
  for (const auto& credential : request.credentials) {
    add(credential.username);
    add(credential.password.Reveal());
    add(credential.identity_token.Reveal());
    add(credential.registry_token.Reveal());
  }
  return request.reference.ToString() + "|" + std::string(Name(request.policy)) + "|" +
         (request.all_platforms ? "all" : JoinPlatforms(request.platforms)) + "|" + hasher.Finish().Hex();
}

}  // namespace

Result<bool> IsWhole(const catalog::ImageRecord& image, const catalog::Leases& leases, const layer::LayerStore& layers) {
  if (leases.claimed(image.manifest)) return false;
  for (const auto& layer : image.layers) {
    ASSIGN_OR_RETURN(const bool here, layers.Has(layer.blob, layer.variant));
    if (!here) return false;
  }
  return true;
}

std::string_view Name(Policy policy) {
  switch (policy) {
    case Policy::kIfNotPresent: return "IfNotPresent";
    case Policy::kAlways: return "Always";
    case Policy::kNever: return "Never";
  }
  return "IfNotPresent";
}

std::optional<Policy> ParsePolicy(std::string_view text) {
  for (const auto policy : {Policy::kIfNotPresent, Policy::kAlways, Policy::kNever})
    if (Name(policy) == text) return policy;
  return std::nullopt;
}

struct Puller::State {
  State(Stores s, PullerOptions o)
      : stores(s),
        gate(s.verifier, s.catalog),
        options(std::move(o)),
        pull_slots(options.pulls),
        jobs({s.content, s.layers, s.catalog, s.root}, {.slots = options.layers,
                                                        .form = options.form,
                                                        .keep_blobs = options.keep_blobs,
                                                        .keep_blobs_free = options.keep_blobs_free,
                                                        .observer = options.observer}) {}

  Stores stores;
  const Gate gate;
  PullerOptions options;
  task::Limiter pull_slots;
  std::mutex progress_mutex;
  std::map<std::string, std::weak_ptr<Progress>> progress;  // guarded by progress_mutex: of the flight under that key
  LayerJobs jobs;
  task::SingleFlight<Digest, std::string> documents{"berth-document"};
  task::SingleFlight<std::string, Pulled> pulls{"berth-pull"};  // last: its threads use all of the above
};

// One pull at work, on its own thread.
class Puller::Flight {
 public:
  Flight(State& state, const task::Context& ctx, Request request, std::shared_ptr<Progress> progress)
      : state_(state), stores_(state.stores), ctx_(ctx), request_(std::move(request)), progress_(std::move(progress)) {
    result_.name = request_.reference.Canonical();
    started_ = ctx_.clock().SteadyNow();
    if (request_.platforms.empty()) request_.platforms.push_back(state.options.host);
  }

  Result<Pulled> Run() {
    auto slot = state_.pull_slots.Acquire(ctx_);
    result_.queue_seconds = Seconds(ctx_.clock().SteadyNow() - started_);
    Result<> done = slot ? Pull() : Result<>(slot.error());
    progress_->SetPhase(Phase::kEnded);
    result_.total_seconds = Seconds(ctx_.clock().SteadyNow() - started_);
    if (auto* observer = state_.options.observer) observer->OnPull(request_.reference.domain(), result_, done ? nullptr : &done.error());
    if (!done) return Failed(std::move(done).error());
    if (!result_.was_present)
      log::Info("image pulled", {{"image", result_.name}, {"digest", result_.target.ToString()}, {"fetched", result_.fetched_bytes},
                                 {"reused", result_.reused_bytes}, {"resumed", result_.resumed_bytes}, {"seconds", result_.total_seconds}});
    return std::move(result_);
  }

 private:
  Result<> Pull() {
    BERTH_FAULT_IN(ctx_, kPullAccepted);
    if (state_.gate.on()) {
      if (auto refusal = state_.gate.Refusal(request_.reference)) return Refuse(*std::move(refusal));
    }
    ASSIGN_OR_RETURN(const auto local, stores_.catalog.FindName(result_.name));
    ASSIGN_OR_RETURN(const bool present, local ? IsPresent(*local) : Result<bool>(false));
    if (request_.policy == Policy::kNever) {
      if (present) return Present(*local);
      return Error(Reason::kNever, "the image is not here and the policy is Never")
          .Next("pull it first (berth pull --policy IfNotPresent), or use another policy");
    }
    if (present && request_.policy == Policy::kIfNotPresent) return Present(*local);

    Open();
    if (present) {
      // Always, and something is here: one HEAD says whether the name still means the same.
      ASSIGN_OR_RETURN(const auto resolved, repository_->Resolve(ctx_));
      NoteOrigin(resolved.host);
      if (resolved.digest == local->target) return Present(*local);
    }
    ASSIGN_OR_RETURN(intent_, stores_.catalog.BeginPull(result_.name));
    BERTH_FAULT_IN(ctx_, kPullIntent);
    return Fetch();
  }

  // Everything the request asks for is here, and the files are.
  Result<bool> IsPresent(const catalog::NameRecord& name) {
    std::vector<catalog::ImageRecord> images;
    for (const auto& digest : name.images) {
      ASSIGN_OR_RETURN(auto image, stores_.catalog.FindImage(digest));
      if (image) images.push_back(*std::move(image));
    }
    if (request_.all_platforms) return false;  // only the index can tell what "all" is
    for (const auto& platform : request_.platforms) {
      const oci::PlatformMatcher matcher(platform);
      const auto fits = [&](const catalog::ImageRecord& image) {
        const auto is = oci::Platform::Parse(image.platform);
        return is && matcher.Rank(*is).has_value();
      };
      const auto image = std::ranges::find_if(images, fits);
      if (image == images.end()) return false;
      ASSIGN_OR_RETURN(const bool whole, pull::IsWhole(*image, stores_.leases, stores_.layers));  // E-11
      if (!whole) return false;
      result_.images.push_back(*image);
    }
    return true;
  }

  void Open() {
    if (repository_) return;
    progress_->SetPhase(Phase::kResolving);
    repository_ = stores_.registry.Open(request_.reference, std::move(request_.credentials),
                                        [record = record_, observer = state_.options.observer](const registry::Attempt& attempt) {
                                          record->Add(attempt);
                                          if (observer != nullptr) observer->OnAttempt(attempt);
                                        });
  }

  // --- verification

  // The digest that the name was resolved to may come here, or may stay. Nothing else of it was asked for so far.
  Result<> Admit(const verify::Subject& subject, bool present) {
    if (!state_.gate.on()) return {};
    ASSIGN_OR_RETURN(auto known, state_.gate.Recall(subject.name, subject.digest));
    if (!known && request_.policy == Policy::kNever) return state_.gate.CheckPresent(subject.name, subject.digest);  // nobody is asked
    if (!known) {
      Open();
      ASSIGN_OR_RETURN(auto verdict, state_.gate.Ask(ctx_, subject, *repository_));
      if (!verdict.admitted()) return Refuse(std::move(verdict));
      if (present) RETURN_IF_ERROR(state_.gate.Keep(subject, verdict));
      known = std::move(verdict);
    }
    if (!known->admitted()) return Refuse(*std::move(known));
    if (!present) verdict_ = state_.gate.RecordOf(subject, *known);
    result_.verdict = std::move(known);
    return {};
  }

  // On record, so that it can be explained.
  Result<> Refuse(verify::Verdict verdict) {
    if (!intent_) {
      ASSIGN_OR_RETURN(intent_, stores_.catalog.BeginPull(result_.name));
    }
    Error error = verdict.Refusal();
    result_.verdict = std::move(verdict);
    return error;
  }

  Result<> Present(const catalog::NameRecord& local) {
    if (state_.gate.on()) {
      const auto size = stores_.content.Size(local.target);
      RETURN_IF_ERROR(Admit({.name = request_.reference, .digest = local.target, .media_type = local.media_type,
                             .size = size ? size->value_or(0) : 0}, true));
    }
    result_.was_present = true;
    result_.target = local.target;
    progress_->Resolved(local.target.ToString(), Platforms(), result_.credential, result_.host);
    return {};
  }

  std::string Platforms() const {
    std::string text;
    for (const auto& image : result_.images) text += (text.empty() ? "" : ", ") + image.platform;
    return text;
  }

  void NoteOrigin(const std::string& host) {
    result_.host = host;
    const auto* used = repository_->used();
    result_.credential = used != nullptr ? used->Describe() : "anonymous";
    result_.resolve_seconds = Seconds(ctx_.clock().SteadyNow() - started_);
  }

  // --- documents

  Result<> Fetch() {
    result_.images.clear();
    const std::string wanted = request_.reference.digest() ? request_.reference.digest()->ToString() : *request_.reference.tag();
    ASSIGN_OR_RETURN(const auto fetched, repository_->FetchManifest(ctx_, wanted, ""));
    BERTH_FAULT_IN(ctx_, kManifestReceived);
    result_.target = fetched.digest;
    NoteOrigin(fetched.host);
    RETURN_IF_ERROR(Admit({.name = request_.reference,
                           .digest = fetched.digest,
                           .media_type = fetched.media_type,
                           .size = fetched.bytes.size()},
                          false));
    ASSIGN_OR_RETURN(auto document, oci::ParseManifestOrIndex(fetched.bytes, fetched.media_type, state_.options.limits));
    Keep(fetched.digest, fetched.bytes);
    if (auto* manifest = std::get_if<oci::Manifest>(&document)) {
      media_type_ = manifest->media_type();
      RETURN_IF_ERROR(Plan(std::move(*manifest), fetched.digest, std::nullopt));
    } else {
      auto& index = std::get<oci::Index>(document);
      media_type_ = index.media_type();
      RETURN_IF_ERROR(Choose(index));
    }
    return FetchLayers();
  }

  void Keep(const Digest& digest, const std::string& bytes) {
    if (std::ranges::none_of(documents_, [&](const auto& d) { return d.first == digest; })) documents_.emplace_back(digest, bytes);
  }

  Result<> Choose(const oci::Index& index) {
    if (request_.all_platforms) {
      ASSIGN_OR_RETURN([[maybe_unused]] const bool any, Walk(index, nullptr, 1));
      if (planned_.empty()) return NoMatch(index, "any platform");
      return {};
    }
    for (const auto& platform : request_.platforms) {
      const oci::PlatformMatcher matcher(platform);
      ASSIGN_OR_RETURN(const bool found, Walk(index, &matcher, 1));
      if (!found) return NoMatch(index, platform.ToString());
    }
    return {};
  }

  static Error NoMatch(const oci::Index& index, const std::string& wanted) {
    const std::string offered = index.OfferedPlatforms();
    return Error(Reason::kNoMatch, "the image has no manifest for " + wanted + "; there are: " + (offered.empty() ? "none" : offered))
        .Next("pull another tag, or say --platform with one of those");
  }

  // Depth first, best entry first. A matcher stops at the first image that fits; without one every image is taken.
  Result<bool> Walk(const oci::Index& index, const oci::PlatformMatcher* matcher, std::size_t depth) {
    if (depth > state_.options.index_depth)
      return Error(Reason::kLimitExceeded, "indexes are nested deeper than " + std::to_string(state_.options.index_depth) + " (limit index_depth)");
    bool found = false;
    for (const auto* entry : matcher != nullptr ? index.Select(*matcher) : index.Candidates()) {
      if (std::ranges::any_of(planned_, [&](const Planned& p) { return p.digest == entry->digest; })) {
        found = true;
      } else if (visited_.insert(entry->digest).second) {
        if (visited_.size() > state_.options.documents)
          return Error(Reason::kLimitExceeded, "the index leads to more than " + std::to_string(state_.options.documents) + " documents (limit documents)");
        ASSIGN_OR_RETURN(const std::string bytes, Document(*entry));
        ASSIGN_OR_RETURN(auto document, oci::ParseManifestOrIndex(bytes, entry->media_type, state_.options.limits));
        if (auto* manifest = std::get_if<oci::Manifest>(&document)) {
          const std::size_t before = planned_.size();
          RETURN_IF_ERROR(Plan(std::move(*manifest), entry->digest, entry->platform, matcher));
          found = found || planned_.size() > before;
        } else {
          ASSIGN_OR_RETURN(const bool deeper, Walk(std::get<oci::Index>(document), matcher, depth + 1));
          found = found || deeper;
        }
        Keep(entry->digest, bytes);
      }
      if (found && matcher != nullptr) return true;
    }
    return found;
  }

  // From the store, or once for all pulls from the registry; verified.
  Result<std::string> Document(const oci::Descriptor& descriptor) {
    if (auto stored = stores_.content.ReadDocument(descriptor.digest, state_.options.limits.document_bytes)) return stored;
    if (descriptor.size > state_.options.limits.document_bytes)
      return Error(Reason::kLimitExceeded, "a document of " + std::to_string(descriptor.size) + " bytes is larger than " +
                                               std::to_string(state_.options.limits.document_bytes) + " (limit document_bytes)");
    for (;;) {
      auto ticket = state_.documents.Join(descriptor.digest, ctx_, [repository = repository_, descriptor](const task::Context& ctx) {
        return repository->FetchDocument(ctx, descriptor);
      });
      auto got = ticket.Wait(ctx_);
      if (got || ticket.started() || ctx_.stopped()) return got;
    }
  }

  // `expected`: the platform the index promised. With a matcher an image of another platform is passed over when the
  // index said nothing, and an error when the index promised otherwise.
  Result<> Plan(oci::Manifest manifest, const Digest& digest, const std::optional<oci::Platform>& expected,
                const oci::PlatformMatcher* matcher = nullptr) {
    RETURN_IF_ERROR(oci::CheckIsImage(manifest));
    ASSIGN_OR_RETURN(const std::string bytes, Document(manifest.config()));
    auto parsed = oci::ImageConfig::Parse(bytes, state_.options.limits);
    if (!parsed) return std::move(parsed).error().Context("config " + manifest.config().digest.Short());
    RETURN_IF_ERROR(oci::CheckConfigFits(manifest, *parsed));
    const oci::PlatformMatcher own(request_.platforms.front());
    const oci::PlatformMatcher* wanted = matcher != nullptr ? matcher : request_.all_platforms ? nullptr : &own;
    if (wanted != nullptr) {
      if (auto fits = oci::CheckPlatform(*parsed, *wanted); !fits) {
        // An entry without a platform was worth a look; any other promised one.
        if (matcher != nullptr && !expected) return {};
        return std::move(fits).error().Next("pull an image for this platform, or say --platform " + parsed->platform.ToString());
      }
    }
    Keep(digest, manifest.raw());
    Keep(manifest.config().digest, bytes);
    // Builders leave variants out of the config; the index has them.
    std::string platform = (expected && !expected->architecture.empty() ? *expected : parsed->platform).ToString();
    planned_.push_back({std::move(manifest), digest, *std::move(parsed), std::move(platform)});
    return {};
  }

  // --- layers

  struct Wanted {
    oci::Descriptor descriptor;
    Digest diff_id;
  };

  Result<> FetchLayers() {
    std::vector<Wanted> wanted;  // each blob once
    std::vector<Digest> objects;
    for (const auto& image : planned_) {
      const auto& layers = image.manifest.layers();
      for (std::size_t i = 0; i < layers.size(); ++i) {
        const auto known = std::ranges::find(wanted, layers[i].digest, [](const Wanted& w) { return w.descriptor.digest; });
        if (known == wanted.end()) {
          wanted.push_back({layers[i], image.config.diff_ids[i]});
          objects.push_back(layers[i].digest);
        } else if (known->diff_id != image.config.diff_ids[i] || known->descriptor.size != layers[i].size) {
          return Error(Reason::kInvalidManifest, "one layer blob is listed with two sizes or diff IDs").Context("layer " + layers[i].digest.Short());
        }
      }
    }
    for (const auto& [digest, bytes] : documents_) objects.push_back(digest);
    ASSIGN_OR_RETURN(lease_, stores_.leases.Acquire(ctx_, objects));

    std::vector<LayerProgress> shown;
    for (const auto& w : wanted) shown.push_back({.blob = w.descriptor.digest, .total = w.descriptor.size});
    progress_->Resolved(result_.target.ToString(), PlannedPlatforms(), result_.credential, result_.host);
    progress_->SetLayers(std::move(shown));
    progress_->SetPhase(Phase::kFetching);

    // All jobs are started, the largest first: they take their slots in this order.
    std::vector<std::size_t> order(wanted.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t i) { return wanted[i].descriptor.size; });
    RETURN_IF_ERROR(CheckSpace(wanted));
    std::vector<LayerJobs::Ticket> tickets(wanted.size());
    for (const std::size_t i : order)
      tickets[i] = state_.jobs.Join(ctx_, repository_, wanted[i].descriptor, wanted[i].diff_id, {progress_, i});

    // Meanwhile the documents become durable.
    for (const auto& [digest, bytes] : documents_) {
      RETURN_IF_ERROR(stores_.content.Put(digest, bytes));
      BERTH_FAULT_IN(ctx_, kManifestStored);
    }

    // In the order in which they end: the first failure decides, and ends the others (their tickets go).
    std::set<std::size_t> open(order.begin(), order.end());
    while (!open.empty()) {
      ASSIGN_OR_RETURN(const std::size_t i, LayerJobs::Flights::WaitAny(ctx_, tickets, open));
      auto layer = tickets[i].Wait(ctx_);
      if (!layer && !tickets[i].started() && !ctx_.stopped()) {
        // Somebody else's credentials or cancellation are no verdict on ours: do it ourselves.
        tickets[i] = state_.jobs.Join(ctx_, repository_, wanted[i].descriptor, wanted[i].diff_id, {progress_, i});
        continue;
      }
      if (!layer)
        return std::move(layer).error().Context("layer " + wanted[i].descriptor.digest.Short() + " (" + std::to_string(i + 1) + " of " +
                                                std::to_string(wanted.size()) + ")");
      if (layer->info.report.diff_id != wanted[i].diff_id)
        return Error(Reason::kDigestMismatch, "the layer unpacks to " + layer->info.report.diff_id.ToString() + ", the config says " +
                                                  wanted[i].diff_id.ToString()).Retryable(false);
      result_.fetched_bytes += layer->fetched;
      result_.resumed_bytes += layer->resumed;
      if (layer->was_present) result_.reused_bytes += wanted[i].descriptor.size;
      progress_->SetLayer(i, layer->was_present ? LayerPhase::kPresent : LayerPhase::kDone);
      open.erase(i);
    }
    return Publish();
  }

  std::string PlannedPlatforms() const {
    std::string text;
    for (const auto& image : planned_) text += (text.empty() ? "" : ", ") + image.platform;
    return text;
  }

  // A pull that cannot fit is refused before it fills the disk. Unpacked sizes are unknown yet: the declared compressed
  // ones are the least it takes.
  Result<> CheckSpace(const std::vector<Wanted>& wanted) {
    std::uint64_t least = 0;
    for (const auto& w : wanted) {
      ASSIGN_OR_RETURN(const auto here, stores_.catalog.FindLayer(w.descriptor.digest));
      if (!here) least += w.descriptor.size;
    }
    ASSIGN_OR_RETURN(const auto space, stores_.root.FreeSpace());
    if (least > space.free_bytes)
      return Error(Reason::kNoSpace, "the layers need at least " + std::to_string(least) + " bytes, " + std::to_string(space.free_bytes) + " are free")
          .Next("free space: berth df, berth rm");
    return {};
  }

  Result<> Publish() {
    progress_->SetPhase(Phase::kPublishing);
    catalog::Publication publication{.name = result_.name, .target = result_.target, .media_type = media_type_, .pull = intent_};
    publication.implied_name = request_.reference.Repository() + "@" + result_.target.ToString();
    for (const auto& [digest, bytes] : documents_) publication.documents.push_back({digest, bytes.size(), catalog::BlobKind::kDocument});
    for (const auto& image : planned_) {
      catalog::ImageRecord row{.manifest = image.digest, .config = image.manifest.config().digest, .platform = image.platform,
                               .size = image.manifest.TotalSize()};
      std::vector<Digest> blobs;
      for (const auto& layer : image.manifest.layers()) blobs.push_back(layer.digest);
      ASSIGN_OR_RETURN(const auto variants, stores_.layers.FitToImage(ctx_, blobs));
      for (std::size_t i = 0; i < blobs.size(); ++i) row.layers.push_back({blobs[i], image.config.diff_ids[i], variants[i]});
      publication.images.push_back(std::move(row));
    }
    RETURN_IF_ERROR(ctx_.Check());
    result_.total_seconds = Seconds(ctx_.clock().SteadyNow() - started_);
    publication.verdict = verdict_;
    publication.journal = record_->ToJson(request_.policy, request_.asker, result_, nullptr);
    RETURN_IF_ERROR(stores_.catalog.PublishImage(publication));
    // One transaction makes both durable.
    BERTH_FAULT_IN(ctx_, kImageRecorded);
    BERTH_FAULT_IN(ctx_, kPullRecorded);
    intent_.reset();
    result_.images = std::move(publication.images);
    for (auto& image : result_.images) {
      ASSIGN_OR_RETURN(auto stored, stores_.catalog.FindImage(image.manifest));
      if (stored) image = *std::move(stored);
    }
    lease_.Release();
    BERTH_FAULT_IN(ctx_, kLeaseReleased);
    return {};
  }

  Error Failed(Error error) {
    if (intent_) {
      const auto ended = stores_.catalog.EndPull(
          *intent_, error.cancelled() ? "" : record_->ToJson(request_.policy, request_.asker, result_, &error));
      if (!ended) log::Warning("the end of a pull could not be recorded", {{"image", result_.name}, {"error", ended.error()}});
    }
    if (!error.cancelled()) log::Warning("image not pulled", {{"image", result_.name}, {"error", error}});
    return error;
  }

  State& state_;
  Stores& stores_;
  const task::Context ctx_;
  Request request_;
  std::shared_ptr<Progress> progress_;
  std::shared_ptr<Record> record_ = std::make_shared<Record>();
  std::shared_ptr<registry::Repository> repository_;
  time::SteadyTime started_;
  Pulled result_;
  std::optional<std::int64_t> intent_;
  std::optional<catalog::VerdictRecord> verdict_;  // to be kept with the image
  std::string media_type_;
  std::set<Digest> visited_;
  std::vector<std::pair<Digest, std::string>> documents_;  // all that the image needs, once each
  std::vector<Planned> planned_;
  catalog::Leases::Lease lease_;
};

Puller::Puller(Stores stores, PullerOptions options) : state_(std::make_unique<State>(stores, std::move(options))) {}
Puller::~Puller() = default;

Puller::Pull Puller::Start(const task::Context& ctx, Request request) {
  const std::string key = FlightKey(request);
  auto progress = std::make_shared<Progress>(request.reference.spelling());
  // std::function wants something it could copy; the request holds secrets and cannot be.
  auto parcel = std::make_shared<Request>(std::move(request));
  Pull pull;
  std::lock_guard lock(state_->progress_mutex);
  pull.ticket_ = state_->pulls.Join(key, ctx, [state = state_.get(), parcel, progress](const task::Context& own) {
    return Flight(*state, own, std::move(*parcel), progress).Run();
  });
  if (pull.ticket_.started()) {
    std::erase_if(state_->progress, [](const auto& entry) { return entry.second.expired(); });
    state_->progress[key] = progress;
  } else if (auto shared = state_->progress[key].lock()) {
    progress = std::move(shared);
  } else {
    progress->SetPhase(Phase::kEnded);  // joined in the moment between its end and its answer
  }
  pull.progress_ = std::move(progress);
  return pull;
}

const Gate& Puller::gate() const { return state_->gate; }
std::size_t Puller::running() const { return state_->pull_slots.in_use(); }
std::size_t Puller::waiting() const { return state_->pull_slots.waiting(); }

}  // namespace berth::pull
