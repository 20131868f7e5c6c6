#include "policy/image_manager.h"

#include <algorithm>

#include "bytes/text.h"
#include "log/log.h"
#include "reference/reference.h"
#include "time/go_duration.h"

namespace berth::policy {
namespace {

Outcome Fail(Outcome outcome, std::string_view reason, std::string message) {
  outcome.reason = reason;
  outcome.message = std::move(message);
  return outcome;
}

// An error that has no reason of its own is one.
Outcome FailRaw(Outcome outcome, const Error& error, std::optional<std::string> message = {}) {
  outcome.cancelled = error.cancelled();
  std::string text = error.Text();
  return Fail(std::move(outcome), text, message.value_or(text));
}

}  // namespace

class ImageManager::LazyCredentials {
 public:
  LazyCredentials(const task::Context& ctx, CredentialSource& source, const std::string& repository)
      : ctx_(ctx), source_(source), repository_(repository) {}

  const Result<std::vector<PullCredential>>& Get() {
    if (!found_) found_.emplace(source_.Find(ctx_, repository_));
    return *found_;
  }

  // Every secret, the first service account.
  Result<std::vector<AccessCredential>> OfPod() {
    const auto& found = Get();
    if (!found) return found.error();
    std::vector<AccessCredential> out;
    bool account = false;
    for (const auto& c : *found) {
      const auto kind = c.access.kind;
      if (kind == AccessCredential::Kind::kSecret || (kind == AccessCredential::Kind::kServiceAccount && !std::exchange(account, true)))
        out.push_back(c.access);
    }
    return out;
  }

 private:
  const task::Context& ctx_;
  CredentialSource& source_;
  const std::string& repository_;
  std::optional<Result<std::vector<PullCredential>>> found_;
};

ImageManager::ImageManager(const Options& options, Parts parts)
    : options_(options),
      parts_(parts),
      backoff_(parts.clock, options.backoff),
      queue_(options.queue),
      throttle_(parts.clock, options.registry_pull_qps, options.registry_burst) {}

Outcome ImageManager::EnsureImageExists(const task::Context& ctx, const Request& request, CredentialSource& credentials) {
  Metrics::Request labels{request.policy ? bytes::Lower(Name(*request.policy)) : "other", "unknown", "unknown"};
  const auto reference = reference::Reference::Parse(request.image);
  Outcome outcome;
  if (reference) {
    outcome.trace.cri_image = reference->CriSpelling();
    const std::string repository = outcome.trace.repository = reference->Repository();
    LazyCredentials lazy(ctx, credentials, repository);
    outcome = Ensure(ctx, request, lazy, labels, std::move(outcome));
  } else {
    const Event event = InspectFailed(TagFailure(request.image, reference.error().Text()));
    parts_.events.Emit(request.object, event);
    outcome = Fail({}, kInvalidImageName, event.message);
  }
  metrics_.CountRequest(std::move(labels));
  return outcome;
}

Outcome ImageManager::Ensure(const task::Context& ctx, const Request& request, LazyCredentials& credentials, Metrics::Request& labels,
                             Outcome outcome) {
  auto& [policy_label, present_label, required_label] = labels;
  const auto emit = [&](const Event& event) { parts_.events.Emit(request.object, event); };
  const bool never = request.policy == PullPolicy::kNever;
  Trace& trace = outcome.trace;
  const auto refuse = [&] {
    const Event event = NeverPull(request.image);
    emit(event);
    return Fail(std::move(outcome), kErrImageNeverPull, event.message);
  };
  if (never || request.policy == PullPolicy::kIfNotPresent) {
    const auto ref = parts_.service.ImageRef(ctx, trace.cri_image);
    if (!ref) {
      trace.presence = Trace::Presence::kUnknown;
      if (ref.error().cancelled()) return FailRaw(std::move(outcome), ref.error());
      const Event event = InspectFailed(InspectFailure(ref.error().Text()));
      emit(event);
      return Fail(std::move(outcome), kImageInspectError, event.message);
    }
    present_label = ref->empty() ? "false" : "true";
    trace.presence = ref->empty() ? Trace::Presence::kAbsent : Trace::Presence::kPresent;
    if (ref->empty() && never) return refuse();
    if (!ref->empty()) {
      if (parts_.records != nullptr) {
        trace.access = parts_.records->MustAttemptPull(request.image, *ref, [&] { return credentials.OfPod(); });
        metrics_.CountCheck(Name(trace.access->check));
        if (const auto error = trace.access->error) return FailRaw(std::move(outcome), *error);
      }
      if (!trace.access || !trace.access->must_pull) {
        required_label = "false";
        if (request.announce_present) emit(AlreadyPresent(request.image, parts_.records != nullptr));
        outcome.image_ref = *ref;
        return outcome;
      }
    }
  }

  required_label = "true";
  trace.pull_required = true;
  if (never) return refuse();  // present, but not for this Pod: said in the words of absence
  const auto& found = credentials.Get();
  if (!found) return FailRaw(std::move(outcome), found.error());
  return Pull(ctx, request, *found, std::move(outcome));
}

Outcome ImageManager::Pull(const task::Context& ctx, const Request& request, std::span<const PullCredential> credentials, Outcome outcome) {
  const auto emit = [&](const Event& event) { parts_.events.Emit(request.object, event); };
  Trace& trace = outcome.trace;
  std::optional<Records::Intent> intent;
  if (parts_.records != nullptr) intent.emplace(parts_.records->Begin(request.image));

  const std::string key = Backoff::Key(request.pod_uid, request.image);
  trace.backoff = backoff_.Blocked(key);
  if (trace.backoff) {
    emit(BackingOff(request.image));
    std::string message = BackOffMessage(request.image, trace.backoff->failure);
    return Fail(std::move(outcome), kImagePullBackOff, std::move(message));
  }
  if (intent) {
    if (const auto durable = intent->MakeDurable(); !durable)
      return FailRaw(std::move(outcome), durable.error(), IntentFailure(request.image, durable.error().Text()));
  }

  backoff_.ForgetFailure(key);
  emit(Pulling(request.image));
  const auto started = parts_.clock.SteadyNow();
  auto slot = queue_.Enter(ctx, {request.pod_uid, request.image});
  if (!slot && slot.error().cancelled()) return FailRaw(std::move(outcome), slot.error());
  const auto turn = parts_.clock.SteadyNow();
  trace.waited = turn - started;
  trace.throttled = slot && !throttle_.TryTake();
  auto pulled = !slot            ? Result<Pulled>(slot.error())
                : trace.throttled ? Result<Pulled>(Error(Reason::kPolicy, std::string(kQpsExceeded)))
                                  : TryAll(ctx, credentials, trace);
  if (pulled) trace.bytes = parts_.service.Size(ctx, pulled->image_ref).value_or(0);
  const auto ended = parts_.clock.SteadyNow();
  trace.pull = ended - turn;
  if (slot) slot->Release();

  if (!pulled) {
    if (pulled.error().cancelled()) return FailRaw(std::move(outcome), pulled.error());
    const std::string text = pulled.error().Text();
    emit(FailedToPull(request.image, text));
    Failure failure = MapPullError(request.image, text);
    backoff_.Failed(key, failure.reason + ": " + failure.message);
    trace.backoff = backoff_.Peek(key);
    return Fail(std::move(outcome), failure.reason, std::move(failure.message));
  }
  trace.pulled = true;
  // Before anybody hears of it: from here on the Pod may die, and the image stays.
  if (intent) {
    if (const auto recorded = intent->Succeeded(pulled->image_ref, pulled->access); !recorded)
      log::Warning("who may use an image could not be recorded: other Pods must prove themselves", {{"image", request.image}, {"error", recorded.error()}});
  }
  emit(policy::Pulled(request.image, trace.pull, ended - started, trace.bytes));
  metrics_.ObservePull(trace.bytes, time::TruncateToMillis(ended - started));
  backoff_.CollectExpired();
  outcome.image_ref = std::move(pulled->image_ref);
  return outcome;
}

Result<ImageManager::Pulled> ImageManager::TryAll(const task::Context& ctx, std::span<const PullCredential> credentials, Trace& trace) {
  std::vector<std::string> texts;
  std::optional<Error> last;
  // Whatever becomes of us, an image that this pull makes visible is not taken for a preloaded one.
  ImageService::BeforeVisible before;
  if (parts_.records != nullptr)
    before = [records = parts_.records->shared_from_this()](const std::vector<std::string>& ids) { return records->RecordComing(ids); };
  const auto attempt = [&](const PullCredential* c) -> std::optional<Pulled> {
    const credentials::Credential* credential = c != nullptr ? &c->credential : nullptr;
    trace.attempts.push_back({credential != nullptr ? credential->Describe() : "anonymous", credential != nullptr ? credential->pattern : "",
                              c != nullptr ? c->access : AccessCredential(), {}});
    auto ref = parts_.service.Pull(ctx, trace.cri_image, credential, before);
    if (ref && ref->empty()) ref = Error(Reason::kInternal, "imageRef of image " + Quoted(trace.cri_image) + " is not set");
    if (ref) return Pulled{*std::move(ref), trace.attempts.back().access};
    trace.attempts.back().error = last = ref.error();
    texts.push_back(last->Text());
    return std::nullopt;
  };
  for (const auto& credential : credentials) {
    if (auto pulled = attempt(&credential)) return *std::move(pulled);
    if (last->cancelled()) return *std::move(last);
  }
  const auto refused = [](const Trace::Attempt& a) {
    return a.error && (a.error->reason() == Reason::kUnauthorized || a.error->reason() == Reason::kInvalidCredentials);
  };
  const bool fall_back = options_.anonymous_fallback && std::all_of(trace.attempts.begin(), trace.attempts.end(), refused);
  if (credentials.empty() || fall_back) {
    if (auto pulled = attempt(nullptr)) return *std::move(pulled);
    if (last->cancelled()) return *std::move(last);
  }
  return Error(last->reason(), AggregateErrors(texts));
}

std::map<std::string, Outcome> ImageManager::EnsureVolumes(const task::Context& ctx, const Request& pod,
                                                           std::span<const VolumeRequest> volumes, CredentialSource& credentials) {
  std::map<std::string, Outcome> out;
  for (const auto& volume : volumes) {
    Request request = pod;
    request.image = volume.image;
    request.policy = volume.policy;
    out[volume.name] = EnsureImageExists(ctx, request, credentials);
  }
  return out;
}

std::optional<Failure> VolumeFailure(const std::map<std::string, Outcome>& volumes, std::span<const std::string> mounts) {
  for (const auto& mount : mounts)
    if (const auto it = volumes.find(mount); it != volumes.end() && !it->second.ok()) return Failure{it->second.reason, it->second.message};
  return std::nullopt;
}

}  // namespace berth::policy
