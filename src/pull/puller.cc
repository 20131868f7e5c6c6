#include "pull/puller.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "host/fault.h"
#include "layer/worker.h"
#include "log/log.h"
#include "pull/layer_job.h"
#include "pull/record.h"
#include "pull/turns.h"

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

// Of one pull at once: many more than there are slots, so that those who sit out a wait of their registry hold up nobody.
constexpr std::size_t kMostJobs = 32;

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
         (request.all_platforms ? "all" : JoinPlatforms(request.platforms)) + (request.before_publish ? "|asks|" : "|") +
         hasher.Finish().Hex();
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
        turns(options.pulls),
        jobs({s.content, s.layers, s.catalog, s.root}, {.slots = options.layers,
                                                        .form = options.form,
                                                        .keep_blobs = options.keep_blobs,
                                                        .keep_blobs_free = options.keep_blobs_free,
                                                        .free_space = options.free_space,
                                                        .observer = options.observer}, turns) {}

  Stores stores;
  const Gate gate;
  PullerOptions options;
  Turns turns;
  std::mutex progress_mutex;
  std::map<std::string, std::weak_ptr<Progress>> progress;  // guarded by progress_mutex: of the flight under that key
  std::mutex drop_mutex;
  std::uint64_t started = 0;                                // guarded by progress_mutex: pulls so far
  LayerJobs jobs;
  std::mutex documents_mutex;
  std::map<Digest, std::weak_ptr<Turns::Work>> document_work;  // guarded by documents_mutex: of the flight under that digest
  task::SingleFlight<Digest, std::string> documents{"berth-document", options.spawn};
  task::SingleFlight<std::string, Pulled> pulls{"berth-pull", options.spawn};  // last: its threads use all of the above
};

// One pull at work, on its own thread.
class Puller::Flight {
 public:
  Flight(State& state, const task::Context& ctx, Request request, std::shared_ptr<Progress> progress)
      : state_(state), stores_(state.stores), ctx_(ctx), request_(std::move(request)), progress_(std::move(progress)),
        turn_(std::make_shared<Turns::Turn>(state.turns, [progress = progress_](const std::string& why) { progress->SetWait(why); })) {
    result_.name = request_.reference.Canonical();
    started_ = ctx_.clock().SteadyNow();
    if (request_.platforms.empty()) request_.platforms.push_back(state.options.host);
  }

  ~Flight() { turn_->End(); }

  Result<Pulled> Run() {
    const auto slot = turn_->Begin(ctx_);
    result_.queue_seconds = Seconds(ctx_.clock().SteadyNow() - started_);
    Result<> done = slot ? Pull() : slot;
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
    if (!present && request_.policy == Policy::kNever)
      return Error(Reason::kNever, local && request_.all_platforms ? "not every image of the index is known to be here, and the policy is Never"
                                                                   : "the image is not here and the policy is Never")
          .Next("pull it first (berth pull --policy IfNotPresent), or use another policy");
    if (present) {
      bool same = true;
      if (request_.policy == Policy::kAlways) {
        // Something is here: one HEAD says whether the name still means the same.
        RETURN_IF_ERROR(Open());
        ASSIGN_OR_RETURN(const auto resolved, repository_->Resolve(ctx_));
        NoteOrigin(resolved.host);
        same = resolved.digest == local->target;
      }
      if (same) RETURN_IF_ERROR(AdmitPresent(*local));
      // Who is asked takes his time; what was removed meanwhile is not here.
      if (same && repository_) {
        ASSIGN_OR_RETURN(const auto now, stores_.catalog.FindName(result_.name));
        ASSIGN_OR_RETURN(const bool still, now && now->target == local->target ? IsPresent(*now) : Result<bool>(false));
        same = still;
      }
      if (same) return Present(*local);
      result_.verdict.reset();
    }
    RETURN_IF_ERROR(Open());
    ASSIGN_OR_RETURN(intent_, stores_.catalog.BeginPull(result_.name));
    BERTH_FAULT_IN(ctx_, kPullIntent);
    return Fetch();
  }

  // Everything the request asks for is here, and the files are. Notes the images.
  Result<bool> IsPresent(const catalog::NameRecord& name) {
    result_.images.clear();
    std::vector<catalog::ImageRecord> images;
    for (const auto& digest : name.images) {
      ASSIGN_OR_RETURN(auto image, stores_.catalog.FindImage(digest));
      if (image) images.push_back(*std::move(image));
    }
    if (request_.all_platforms) {
      std::set<Digest> seen;
      ASSIGN_OR_RETURN(const bool all, IsAllPresent(name.target, name.media_type, images, 1, seen));
      return all && !result_.images.empty();
    }
    for (const auto& platform : request_.platforms) {
      const oci::PlatformMatcher matcher(platform);
      const auto* image = matcher.Best(images);
      if (image == nullptr) return false;
      // It serves where nothing better was to be had; what the registry offers, the kept index tells.
      std::set<Digest> seen;
      const bool exact = matcher.Rank(image->platform) == 0u;
      if (!exact && !IsChosenPresent(name.target, name.media_type, matcher, images, 1, seen).value_or(false)) return false;
      ASSIGN_OR_RETURN(const bool whole, pull::IsWhole(*image, stores_.leases, stores_.layers));  // E-11
      if (!whole) return false;
      result_.images.push_back(*image);
    }
    return true;
  }

  // Builders say "unknown/unknown", or name a kind of artifact, for what lies beside the images.
  static bool IsOfNoPlatform(const oci::Descriptor& entry) {
    return oci::HasPlatform(entry) && entry.platform->os == "unknown" && entry.platform->architecture == "unknown";
  }
  static bool IsArtifact(const oci::Descriptor& entry) {
    return entry.artifact_type && *entry.artifact_type != oci::kOciConfig && *entry.artifact_type != oci::kDockerConfig;
  }

  // Whether what Walk() would choose is one of `images`, as far as the kept indexes tell: an entry that is neither may be the one.
  // Nothing: `digest` leads to no image for this matcher.
  std::optional<bool> IsChosenPresent(const Digest& digest, const std::string& media_type, const oci::PlatformMatcher& matcher,
                                      const std::vector<catalog::ImageRecord>& images, std::size_t depth, std::set<Digest>& seen) {
    if (!seen.insert(digest).second) return std::nullopt;
    if (const auto image = std::ranges::find(images, digest, &catalog::ImageRecord::manifest); image != images.end())
      return matcher.Rank(image->platform) ? std::optional(true) : std::nullopt;
    const auto index = KeptIndex(digest, media_type, depth);
    if (!index) return false;
    for (const auto* entry : index->Select(matcher)) {
      const auto chosen = IsChosenPresent(entry->digest, entry->media_type, matcher, images, depth + 1, seen);
      if (chosen && (*chosen || !(IsArtifact(*entry) || IsOfNoPlatform(*entry)))) return chosen;  // those were passed over
    }
    return std::nullopt;
  }

  std::optional<oci::Index> KeptIndex(const Digest& digest, const std::string& media_type, std::size_t depth) {
    if (depth > state_.options.index_depth) return std::nullopt;
    const auto bytes = stores_.content.ReadDocument(digest, state_.options.limits.document_bytes);
    auto index = bytes ? oci::Index::Parse(*bytes, media_type, state_.options.limits) : Result<oci::Index>(bytes.error());
    return index ? std::optional(*std::move(index)) : std::nullopt;
  }

  // The image itself, or each one that the kept index and those within it lead to. What is neither one of `images` nor a kept index may
  // be an artifact or an image: only the registry can tell.
  Result<bool> IsAllPresent(const Digest& digest, const std::string& media_type, const std::vector<catalog::ImageRecord>& images,
                            std::size_t depth, std::set<Digest>& seen) {
    if (!seen.insert(digest).second) return true;
    if (const auto image = std::ranges::find(images, digest, &catalog::ImageRecord::manifest); image != images.end()) {
      result_.images.push_back(*image);
      return pull::IsWhole(*image, stores_.leases, stores_.layers);  // E-11
    }
    const auto index = KeptIndex(digest, media_type, depth);
    if (!index) return false;
    for (const auto* entry : index->Candidates()) {
      ASSIGN_OR_RETURN(const bool here, IsAllPresent(entry->digest, entry->media_type, images, depth + 1, seen));
      if (!here) return false;
    }
    return true;
  }

  // From here on the pull speaks with the credentials it was given.
  Result<> Open() {
    if (repository_) return {};
    BERTH_FAULT_IN(ctx_, kPullCredential);
    progress_->SetPhase(Phase::kResolving);
    const auto heed = [record = record_, progress = progress_, observer = state_.options.observer](const registry::Attempt& attempt) {
      record->Add(attempt);
      for (const auto& text : attempt.warnings) {
        log::Warning("a registry has something to say", {{"host", attempt.host}, {"text", Quoted(text)}});
        progress->AddWarning(attempt.host, text);
      }
      if (observer != nullptr) observer->OnAttempt(attempt);
    };
    opened_ = stores_.registry.Open(request_.reference, std::move(request_.credentials), heed);
    repository_ = opened_->WithStandby(*turn_);
    return {};
  }

  // --- verification

  // The digest that the name was resolved to may come here, or may stay. Nothing else of it was asked for so far.
  Result<> Admit(const verify::Subject& subject, bool present) {
    if (!state_.gate.on()) return {};
    ASSIGN_OR_RETURN(auto known, state_.gate.Recall(subject.name, subject.digest));
    if (!known && request_.policy == Policy::kNever) return state_.gate.CheckPresent(subject.name, subject.digest);  // nobody is asked
    if (!known) {
      RETURN_IF_ERROR(Open());
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

  // Layers take their time: the rules may be others now.
  Result<> AdmitAgain() {
    if (!state_.gate.on() || (result_.verdict && state_.gate.Holds(*result_.verdict, subject_->name))) return {};
    return Admit(*subject_, false);
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

  Result<> AdmitPresent(const catalog::NameRecord& local) {
    if (!state_.gate.on()) return {};
    const auto size = stores_.content.Size(local.target);
    auto admitted = Admit({.name = request_.reference, .digest = local.target, .media_type = local.media_type,
                           .size = size ? size->value_or(0) : 0}, true);
    if (admitted || admitted.error().reason() != Reason::kSignature) return admitted;
    if (request_.policy != Policy::kIfNotPresent || request_.reference.digest()) return admitted;
    // Only what is here was judged.
    Error error = std::move(admitted).error();
    std::string next = error.next_step() + "; if the tag may mean another image by now: berth pull --policy Always ";
    return std::move(error).Next(std::move(next) + request_.reference.Familiar());
  }

  Result<> Present(const catalog::NameRecord& local) {
    result_.was_present = true;
    result_.target = local.target;
    if (repository_) {
      // What is on record are changes and failures; a failure that is over is none any more.
      ASSIGN_OR_RETURN(const auto last, stores_.catalog.LastOf(result_.name));
      if (last && last->kind == "failed") RETURN_IF_ERROR(stores_.catalog.NotePull("pulled", result_.name, ToJson(nullptr)));
    }
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
    if (used == nullptr || used->empty()) result_.used = {.source = "anonymous"};
    else if (used->secret) result_.used = {"secret", used->secret->namespace_name, used->secret->name, used->pattern, used->username};
    else result_.used = {used->source, "", "", used->pattern, used->username};
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
    subject_ = {.name = request_.reference, .digest = fetched.digest, .media_type = fetched.media_type, .size = fetched.bytes.size()};
    RETURN_IF_ERROR(Admit(*subject_, false));
    ASSIGN_OR_RETURN(auto document, oci::ParseManifestOrIndex(fetched.bytes, fetched.media_type, state_.options.limits));
    RETURN_IF_ERROR(Keep(fetched.digest, fetched.bytes));
    if (auto* manifest = std::get_if<oci::Manifest>(&document)) {
      media_type_ = manifest->media_type();
      RETURN_IF_ERROR(Plan(std::move(*manifest), fetched.digest, nullptr, nullptr));
    } else {
      auto& index = std::get<oci::Index>(document);
      media_type_ = index.media_type();
      RETURN_IF_ERROR(Choose(index));
    }
    return FetchLayers();
  }

  // What leads to an image, and not what was looked at and passed over.
  Result<> Keep(const Digest& digest, const std::string& bytes) {
    if (std::ranges::any_of(documents_, [&](const auto& d) { return d.first == digest; })) return {};
    kept_bytes_ += bytes.size();
    if (kept_bytes_ > state_.options.documents_bytes)
      return Error(Reason::kLimitExceeded, "the documents of the image have more than " + std::to_string(state_.options.documents_bytes) +
                                               " bytes together (limit documents_bytes)");
    documents_.emplace_back(digest, bytes);
    return {};
  }

  Result<> Choose(const oci::Index& index) {
    std::set<Digest> seen;
    if (request_.all_platforms) {
      ASSIGN_OR_RETURN([[maybe_unused]] const bool any, Walk(index, nullptr, 1, seen));
      return planned_.empty() ? NoMatch("any platform") : Result<>();
    }
    for (const auto& platform : request_.platforms) {
      const oci::PlatformMatcher matcher(platform);
      seen.clear();
      no_image_fits_ = false;
      ASSIGN_OR_RETURN(const bool found, Walk(index, &matcher, 1, seen));
      if (!found) return NoMatch(platform.ToString());
    }
    return {};
  }

  Result<> NoMatch(const std::string& wanted) const {
    if (no_image_ && (offered_.empty() || no_image_fits_)) return *no_image_;
    return Error(Reason::kNoMatch, "the image has no manifest for " + wanted + "; there are: " + oci::DescribePlatforms(offered_))
        .Next("pull another tag, or say --platform with one of those");
  }

  void Offer(std::string platform) {
    if (std::ranges::find(offered_, platform) == offered_.end()) offered_.push_back(std::move(platform));
  }

  // Depth first, best entry first. A matcher stops at the first image that fits; without one every image is taken. `seen`: by this
  // matcher, here and above.
  Result<bool> Walk(const oci::Index& index, const oci::PlatformMatcher* matcher, std::size_t depth, std::set<Digest>& seen) {
    if (depth > state_.options.index_depth)
      return Error(Reason::kLimitExceeded, "indexes are nested deeper than " + std::to_string(state_.options.index_depth) + " (limit index_depth)");
    for (auto& platform : index.Platforms()) Offer(std::move(platform));
    bool found = false;
    for (const auto* entry : matcher != nullptr ? index.Select(*matcher) : index.Candidates()) {
      if (!seen.insert(entry->digest).second) continue;
      visited_.insert(entry->digest);
      if (visited_.size() > state_.options.documents)
        return Error(Reason::kLimitExceeded, "the index leads to more than " + std::to_string(state_.options.documents) + " documents (limit documents)");
      bool fits = false;
      if (const auto known = std::ranges::find(planned_, entry->digest, &Planned::digest); known != planned_.end()) {
        ASSIGN_OR_RETURN(fits, IsFor(known->config, entry, matcher));
      } else {
        ASSIGN_OR_RETURN(const std::string bytes, Document(*entry));
        ASSIGN_OR_RETURN(auto document, oci::ParseManifestOrIndex(bytes, entry->media_type, state_.options.limits));
        if (auto* manifest = std::get_if<oci::Manifest>(&document)) {
          ASSIGN_OR_RETURN(fits, Plan(std::move(*manifest), entry->digest, entry, matcher));
        } else {
          ASSIGN_OR_RETURN(fits, Walk(std::get<oci::Index>(document), matcher, depth + 1, seen));
        }
        if (fits) RETURN_IF_ERROR(Keep(entry->digest, bytes));
      }
      found = found || fits;
      if (found && matcher != nullptr) return true;
    }
    return found;
  }

  // From the store, or once for all pulls from the registry; verified.
  Result<std::string> Document(const oci::Descriptor& descriptor) {
    if (const auto kept = std::ranges::find(documents_, descriptor.digest, [](const auto& d) { return d.first; }); kept != documents_.end())
      return kept->second;
    if (auto stored = stores_.content.ReadDocument(descriptor.digest, state_.options.limits.document_bytes)) return stored;
    if (descriptor.size > state_.options.limits.document_bytes)
      return Error(Reason::kLimitExceeded, "a document of " + std::to_string(descriptor.size) + " bytes is larger than " +
                                               std::to_string(state_.options.limits.document_bytes) + " (limit document_bytes)");
    for (;;) {
      auto ticket = JoinDocument(descriptor);
      turn_->Await(1);
      auto got = ticket.Wait(ctx_);
      RETURN_IF_ERROR(turn_->GoOn(ctx_));
      if (got || ticket.started() || ctx_.stopped()) return got;
    }
  }

  task::SingleFlight<Digest, std::string>::Ticket JoinDocument(const oci::Descriptor& descriptor) {
    auto work = std::make_shared<Turns::Work>(state_.turns);
    std::lock_guard lock(state_.documents_mutex);
    auto ticket = state_.documents.Join(descriptor.digest, ctx_, [repository = opened_, descriptor, work](const task::Context& ctx) {
      return repository->WithStandby(*work)->FetchDocument(ctx, descriptor);
    });
    if (ticket.started()) {
      std::erase_if(state_.document_work, [](const auto& entry) { return entry.second.expired(); });
      state_.document_work[descriptor.digest] = work;
    } else if (auto shared = state_.document_work[descriptor.digest].lock()) {
      work = std::move(shared);
    }
    work->Join(turn_);
    return ticket;
  }

  // Whether the image is for who asks. An entry of an index that says nothing was worth a look; what another says is promised.
  // `entry` null: the image is what the name leads to. `wanted` null: every platform.
  Result<bool> IsFor(const oci::ImageConfig& config, const oci::Descriptor* entry, const oci::PlatformMatcher* wanted) {
    if (wanted == nullptr) return true;
    auto fits = oci::CheckPlatform(config, *wanted);
    if (fits) return true;
    if (entry == nullptr || oci::HasPlatform(*entry))
      return std::move(fits).error().Next("pull an image for this platform, or say --platform " + config.platform.ToString());
    Offer(config.platform.ToString());
    return false;
  }

  // False: passed over. `entry` as above.
  Result<bool> Plan(oci::Manifest manifest, const Digest& digest, const oci::Descriptor* entry, const oci::PlatformMatcher* matcher) {
    const bool of_platform = entry != nullptr && oci::HasPlatform(*entry) && !IsOfNoPlatform(*entry);
    const bool artifact = entry != nullptr && IsArtifact(*entry);
    if (auto image = oci::CheckIsImage(manifest); !image) {
      if (entry == nullptr || (of_platform && !artifact)) return std::move(image).error();
      no_image_fits_ = no_image_fits_ || of_platform || matcher == nullptr;
      if (!no_image_) no_image_ = std::move(image).error();  // an artifact beside the images: a bill of materials, a signature
      return false;
    }
    ASSIGN_OR_RETURN(const std::string bytes, Document(manifest.config()));
    auto parsed = oci::ImageConfig::Parse(bytes, state_.options.limits);
    if (!parsed) return std::move(parsed).error().Context("config " + manifest.config().digest.Short());
    RETURN_IF_ERROR(oci::CheckConfigFits(manifest, *parsed));
    const oci::PlatformMatcher own(request_.platforms.front());
    ASSIGN_OR_RETURN(const bool fits, IsFor(*parsed, entry, matcher != nullptr ? matcher : request_.all_platforms ? nullptr : &own));
    if (!fits) return false;
    RETURN_IF_ERROR(Keep(digest, manifest.raw()));
    RETURN_IF_ERROR(Keep(manifest.config().digest, bytes));
    const auto said = of_platform ? entry->platform : std::nullopt;
    const auto platform = oci::EffectivePlatform(*parsed, said, matcher != nullptr ? *matcher : own);
    planned_.push_back({std::move(manifest), digest, *std::move(parsed), platform.ToString()});
    return true;
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

    RETURN_IF_ERROR(CheckSpace(wanted));
    std::vector<std::size_t> all(wanted.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = i;
    bringing_ = true;
    RETURN_IF_ERROR(Bring(wanted, std::move(all)));
    for (bool again = false;; again = true) {
      const auto variants = Fit();
      if (variants) {
        ASSIGN_OR_RETURN(const bool published, Publish(*variants));
        if (published) return {};
        if (again) return Error(Reason::kConflict, "other pulls keep making layers of the image anew").Next("pull it again");
      } else if (again || (!layer::IsLost(variants.error()) && variants.error().reason() != Reason::kMissing)) {
        return variants.error();
      }
      // Another pull that shares a damaged layer may have dropped it after it was counted as here, or have made it anew by now.
      ASSIGN_OR_RETURN(auto damaged, DropDamaged(wanted));
      RETURN_IF_ERROR(Bring(wanted, std::move(damaged)));
    }
  }

  // Those of `wanted`, to the end, the largest first: they take their slots in this order. Each job has a thread: kMostJobs at once.
  Result<> Bring(const std::vector<Wanted>& wanted, std::vector<std::size_t> order) {
    std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t i) { return wanted[i].descriptor.size; });
    std::vector<LayerJobs::Ticket> tickets(wanted.size());
    const time::SteadyTime began = ctx_.clock().SteadyNow();
    std::set<std::size_t> open;
    auto next = order.begin();
    const auto start = [&] {
      for (; next != order.end() && open.size() < kMostJobs; ++next) {
        tickets[*next] = state_.jobs.Join(ctx_, opened_, wanted[*next].descriptor, wanted[*next].diff_id, {progress_, *next, turn_});
        open.insert(*next);
      }
    };
    start();

    // Meanwhile the documents become durable.
    for (; durable_ < documents_.size(); ++durable_) {
      RETURN_IF_ERROR(stores_.content.Put(documents_[durable_].first, documents_[durable_].second));
      BERTH_FAULT_IN(ctx_, kManifestStored);
    }

    // In the order in which they end: the first failure decides, and ends the others (their tickets go).
    while (!open.empty()) {
      turn_->Await(open.size());
      const auto ended = LayerJobs::Flights::WaitAny(ctx_, tickets, open);
      RETURN_IF_ERROR(turn_->GoOn(ctx_));
      ASSIGN_OR_RETURN(const std::size_t i, ended);
      auto layer = tickets[i].Wait(ctx_);
      if (!layer && !tickets[i].started() && !ctx_.stopped()) {
        // Somebody else's credentials or cancellation are no verdict on ours: do it ourselves.
        tickets[i] = state_.jobs.Join(ctx_, opened_, wanted[i].descriptor, wanted[i].diff_id, {progress_, i, turn_});
        continue;
      }
      if (!layer)
        return std::move(layer).error().Context("layer " + wanted[i].descriptor.digest.Short() + " (" + std::to_string(i + 1) + " of " +
                                                std::to_string(wanted.size()) + ")");
      // Whoever brought it had his own manifest.
      if (const std::uint64_t size = layer->info.report.compressed_bytes; size != wanted[i].descriptor.size)
        return WrongSize(wanted[i].descriptor, size).Context("layer " + wanted[i].descriptor.digest.Short());
      const Digest& is = layer->info.report.diff_id;
      if (const auto asked = wanted[i].diff_id.algorithm(); asked != is.algorithm()) {
        const std::string one(digest::Name(is.algorithm())), other(digest::Name(asked));
        return Error(Reason::kUnsupported, "the layer is here with a " + one + " diff ID, the config has a " + other +
                                               " one: they cannot be compared, and a layer is kept with one only")
            .Context("layer " + wanted[i].descriptor.digest.Short())
            .Next("build the image with " + one + " diff IDs, or remove the images that share the layer (berth rm, berth reclaim) and pull again");
      }
      if (is != wanted[i].diff_id)
        return Error(Reason::kDigestMismatch, "the layer unpacks to " + is.ToString() + ", the config says " +
                                                  wanted[i].diff_id.ToString()).Retryable(false);
      result_.fetched_bytes += layer->fetched;
      result_.resumed_bytes += layer->resumed;
      if (layer->was_present && reused_.insert(i).second) result_.reused_bytes += wanted[i].descriptor.size;
      if (!layer->was_present && reused_.erase(i) > 0) result_.reused_bytes -= wanted[i].descriptor.size;  // it was damaged
      if (!layer->was_present) result_.unpack_seconds = Seconds(ctx_.clock().SteadyNow() - began);
      // A layer that another pull had begun may have come before this one looked.
      if (layer->fetched_at > began) result_.fetch_seconds = std::max(result_.fetch_seconds, Seconds(layer->fetched_at - began));
      progress_->SetLayer(i, layer->was_present ? LayerPhase::kPresent : LayerPhase::kDone);
      open.erase(i);
      start();
    }
    return {};
  }

  // For each planned image, the variants of its layers.
  Result<std::vector<std::vector<std::string>>> Fit() {
    std::vector<std::vector<std::string>> all;
    for (const auto& image : planned_) {
      std::vector<Digest> blobs;
      for (const auto& layer : image.manifest.layers()) blobs.push_back(layer.digest);
      ASSIGN_OR_RETURN(all.emplace_back(), stores_.layers.FitToImage(ctx_, blobs));
    }
    return all;
  }

  // Fitting reads metadata that a look at a layer does not, and found damage: layers that have it go, to be brought anew, as are
  // those that are not there.
  Result<std::vector<std::size_t>> DropDamaged(const std::vector<Wanted>& wanted) {
    std::vector<std::size_t> dropped;
    const std::lock_guard one_at_a_time(state_.drop_mutex);  // what another pull has just made anew stays
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Digest& blob = wanted[i].descriptor.digest;
      const auto whole = stores_.layers.Verify(ctx_, blob, layer::Depth::kMetadata);
      if (whole) continue;
      if (!layer::IsLost(whole.error()) && whole.error().reason() != Reason::kMissing) return whole.error();
      dropped.push_back(i);
      if (whole.error().reason() == Reason::kMissing) continue;  // or brought this very moment by who dropped it
      log::Warning("a stored layer is damaged and is unpacked again", {{"blob", blob.ToString()}, {"error", whole.error()}});
      ASSIGN_OR_RETURN([[maybe_unused]] const bool gone, stores_.layers.RemoveDamaged(ctx_, blob, state_.options.form));
    }
    return dropped;
  }

  std::string PlannedPlatforms() const {
    std::string text;
    for (const auto& image : planned_) text += (text.empty() ? "" : ", ") + image.platform;
    return text;
  }

  // A pull that cannot fit is refused before it fills the disk. Unpacked sizes are unknown yet: the declared compressed
  // ones, less what is here of them, are the least it takes. Asks for room as long as that takes something: the catalog's reserve and
  // other pulls have their share of it.
  Result<> CheckSpace(const std::vector<Wanted>& wanted) {
    for (bool made_room = true;;) {
      ASSIGN_OR_RETURN(const auto begun, stores_.content.Partials());
      std::uint64_t least = 0;
      for (const auto& w : wanted) {
        ASSIGN_OR_RETURN(const auto here, stores_.catalog.FindLayer(w.descriptor.digest));
        if (here) continue;
        const auto partial = std::ranges::find(begun, w.descriptor.digest, &content::Store::Item::digest);
        least += w.descriptor.size - (partial == begun.end() ? 0 : std::min(partial->bytes, w.descriptor.size));
      }
      ASSIGN_OR_RETURN(const auto space, stores_.root.FreeSpace());
      if (space.total_bytes == 0) return {};  // unknown: the writes will tell
      const std::uint64_t reserve = std::min(state_.options.reserve_bytes, space.free_bytes);
      if (least <= space.free_bytes - reserve) return {};
      if (!made_room)
        return Error(Reason::kNoSpace, "the layers need at least " + std::to_string(least) + " bytes, " + std::to_string(space.free_bytes) +
                                           " are free, and " + std::to_string(state_.options.reserve_bytes) +
                                           " of these are kept (limit reserve_bytes)")
            .Next(layer::kFreeSpace);
      made_room = state_.jobs.MakeRoom(ctx_, least - (space.free_bytes - reserve));
      RETURN_IF_ERROR(ctx_.Check());
    }
  }

  // False: something of what was fitted is not here any more.
  Result<bool> Publish(const std::vector<std::vector<std::string>>& variants) {
    progress_->SetPhase(Phase::kPublishing);
    RETURN_IF_ERROR(AdmitAgain());
    catalog::Publication publication{.name = result_.name, .target = result_.target, .media_type = media_type_, .pull = intent_};
    publication.implied_name = request_.reference.Repository() + "@" + result_.target.ToString();
    for (const auto& [digest, bytes] : documents_) publication.documents.push_back({digest, bytes.size(), catalog::BlobKind::kDocument});
    for (std::size_t image_at = 0; image_at < planned_.size(); ++image_at) {
      const Planned& image = planned_[image_at];
      catalog::ImageRecord row{.manifest = image.digest, .config = image.manifest.config().digest, .platform = image.platform,
                               .size = image.manifest.TotalSize()};
      const auto& layers = image.manifest.layers();
      for (std::size_t i = 0; i < layers.size(); ++i)
        row.layers.push_back({layers[i].digest, image.config.diff_ids[i], variants[image_at][i]});
      publication.images.push_back(std::move(row));
    }
    RETURN_IF_ERROR(ctx_.Check());
    if (request_.before_publish && !coming_) {
      std::vector<std::string> ids;
      for (const auto& image : publication.images) ids.push_back(image.config.ToString());
      ASSIGN_OR_RETURN(auto coming, request_.before_publish(ids));
      coming_.emplace(std::move(coming));
    }
    result_.total_seconds = Seconds(ctx_.clock().SteadyNow() - started_);
    for (const auto& image : publication.images) {
      for (const auto& layer : image.layers) {
        ASSIGN_OR_RETURN(const bool here, stores_.layers.Has(layer.blob, layer.variant));
        if (!here) return false;
      }
    }
    publication.verdict = verdict_;
    publication.journal = ToJson(nullptr);
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
    return true;
  }

  std::string ToJson(const Error* error) const { return record_->ToJson(request_.policy, request_.asker, result_, error); }

  Error Failed(Error error) {
    // The tickets are gone: a full disk gets back what came of the other layers, too. Who was refused before has brought nothing.
    if (bringing_ && error.reason() == Reason::kNoSpace)
      for (const auto& image : planned_)
        for (const auto& layer : image.manifest.layers()) state_.jobs.DropPartial(layer.digest);
    const bool told = !error.cancelled() && (intent_ || opened_);  // Never, with nothing here, is no news
    const std::string record = told ? ToJson(&error) : "";
    if (intent_ || told) {
      const auto ended = intent_ ? stores_.catalog.EndPull(*intent_, record) : stores_.catalog.NotePull("failed", result_.name, record);
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
  const std::shared_ptr<Turns::Turn> turn_;
  std::shared_ptr<registry::Repository> opened_;
  std::shared_ptr<registry::Repository> repository_;  // the same, whose waits give our turn back
  time::SteadyTime started_;
  Pulled result_;
  std::optional<std::int64_t> intent_;
  std::optional<verify::Subject> subject_;         // what was fetched
  std::optional<catalog::VerdictRecord> verdict_;  // to be kept with the image
  std::string media_type_;
  std::set<Digest> visited_;
  std::vector<std::string> offered_;    // platforms, each once
  std::optional<Error> no_image_;       // of the first entry that was passed over as none
  bool no_image_fits_ = false;          // one of them was for the platform that is looked for
  std::uint64_t kept_bytes_ = 0;        // of documents_
  std::vector<std::pair<Digest, std::string>> documents_;  // all that the image needs, once each
  std::size_t durable_ = 0;                                // of them
  std::set<std::size_t> reused_;                           // layers
  bool bringing_ = false;                                  // them
  std::vector<Planned> planned_;
  catalog::Leases::Lease lease_;
  std::optional<std::shared_ptr<const void>> coming_;      // of before_publish
};

Puller::Puller(Stores stores, PullerOptions options) : state_(std::make_unique<State>(stores, std::move(options))) {}
Puller::~Puller() = default;

Puller::Pull Puller::Start(const task::Context& ctx, Request request) {
  const std::string key = FlightKey(request);
  // std::function wants something it could copy; the request holds secrets and cannot be.
  auto parcel = std::make_shared<Request>(std::move(request));
  Pull pull;
  std::lock_guard lock(state_->progress_mutex);
  auto progress = std::make_shared<Progress>(parcel->reference.spelling(), state_->started + 1);
  pull.ticket_ = state_->pulls.Join(key, ctx, [state = state_.get(), parcel, progress](const task::Context& own) {
    return Flight(*state, own, std::move(*parcel), progress).Run();
  });
  if (pull.ticket_.started()) {
    ++state_->started;
    std::erase_if(state_->progress, [](const auto& entry) { return entry.second.expired(); });
    state_->progress[key] = progress;
    if (pull.ticket_.refused()) progress->SetPhase(Phase::kEnded);
  } else if (auto shared = state_->progress[key].lock()) {
    progress = std::move(shared);
  } else {
    progress->SetPhase(Phase::kEnded);  // joined in the moment between its end and its answer
  }
  pull.progress_ = std::move(progress);
  return pull;
}

const Gate& Puller::gate() const { return state_->gate; }
std::size_t Puller::running() const { return state_->turns.at_work(); }
std::size_t Puller::waiting() const { return state_->turns.waiting(); }

}  // namespace berth::pull
