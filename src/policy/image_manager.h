// policy/image_manager.h: from "this container wants this image, by this policy" to an image id, or a waiting reason.
//
// Rules: kubelet-images 4.3, 4.4, 4.6, 4.9; product 3.4, 3.5. Decides whether to look, to pull or to refuse, who may use
// what is there, when to try again, in which order to show credentials; emits the kubelet's events, counts its metrics and
// tells explain what it decided and why. Its only I/O of its own are the access records.
//
//   ImageManager manager(options, {service, events, records, clock});
//   Outcome o = manager.EnsureImageExists(ctx, {.pod_uid = …, .image = "shop/web:1", .policy = …}, credentials);
//
// Where it differs from the kubelet:
//   - A cancelled pull (`ctx`) is neither failure nor back-off: no event, no reason to remember; the request leaves the queue.
//   - The intent is known to this process before the back-off check, as there, but written only when a pull begins: a Pod
//     in back-off costs no disk writes.
//   - Options::anonymous_fallback tries without credentials when the registry refused all that matched (off by default).
// One caller at a time for one Pod (its worker); otherwise safe for concurrent use. Blocks in the calling thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "credentials/credential.h"
#include "policy/backoff.h"
#include "policy/defaults.h"
#include "policy/messages.h"
#include "policy/metrics.h"
#include "policy/pull_queue.h"
#include "policy/records.h"
#include "policy/throttle.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::policy {

// What the CRI's image service does. `image` is the user's spelling with the default tag ("busybox:latest"). The texts of
// errors go into events and the Pod's status as they are; one that begins with "RegistryUnavailable" or
// "SignatureValidationFailed" gets that reason (messages.h).
class ImageService {
 public:
  virtual ~ImageService() = default;
  virtual Result<std::string> ImageRef(const task::Context& ctx, const std::string& image) = 0;  // its id, "" when absent
  // The id that a name (or an id) stands for here, whether or not the image can be used now; "": it stands for none.
  virtual Result<std::string> KnownId(const std::string& image) = 0;
  // Asked with the ids of images before a pull makes them visible; on an error it must not. What it returns is kept until they are.
  using BeforeVisible = std::function<Result<std::shared_ptr<const void>>(const std::vector<std::string>& ids)>;
  // The id under which ImageRef() finds it. `credential`: nullptr means anonymous. A pull that `ctx` has stopped may still end with a
  // visible image, after the return: `before` is asked all the same. It may be empty.
  virtual Result<std::string> Pull(const task::Context& ctx, const std::string& image, const credentials::Credential* credential,
                                   const BeforeVisible& before) = 0;
  virtual Result<std::uint64_t> Size(const task::Context& ctx, const std::string& image_ref) = 0;
};

struct ObjectRef {
  std::string space, name, uid;
  std::string field_path;  // "spec.containers{web}"; "" for image volumes: the Pod itself
};

class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Emit(const ObjectRef& object, const Event& event) = 0;
};

struct PullCredential {
  credentials::Credential credential;
  AccessCredential access;
};

class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  // All that match, in the order in which they are tried; none: the pull is anonymous. Asked at most once for each
  // EnsureImageExists(), and only when they matter. `repository`: normalised, "docker.io/library/busybox". An error ends
  // the attempt, and its text is the waiting reason.
  virtual Result<std::vector<PullCredential>> Find(const task::Context& ctx, const std::string& repository) = 0;
};

struct Request {
  ObjectRef object;
  std::string pod_uid;
  std::string image;                 // as the user wrote it
  std::optional<PullPolicy> policy;  // nothing: a value that nobody knows; pulled without looking
  bool announce_present = true;      // false: no "already present" event (image volumes after their first sync)
};

// What was decided, for explain.
struct Trace {
  enum class Presence : unsigned char { kNotAsked, kAbsent, kPresent, kUnknown };
  struct Attempt {
    std::string credential;              // "secret shop/regcred (alice)", "anonymous"
    std::string pattern;                 // that matched
    AccessCredential access;
    std::optional<Error> error;          // nothing: this one worked
  };
  std::string cri_image, repository;     // "busybox:latest", "docker.io/library/busybox"
  Presence presence = Presence::kNotAsked;
  std::optional<AccessDecision> access;  // when present and verification is on
  bool pull_required = false;
  bool pulled = false;
  std::vector<Attempt> attempts;
  bool throttled = false;
  std::optional<Backoff::State> backoff; // that blocked it, or that its failure led to
  time::Duration waited{}, pull{};       // for a turn; in the puller
  std::uint64_t bytes = 0;
};

struct Outcome {
  std::string image_ref;
  std::string reason;   // "" when there is an image_ref
  std::string message;
  bool cancelled = false;
  Trace trace;
  bool ok() const { return reason.empty() && !cancelled; }
};

struct VolumeRequest {
  std::string name, image;
  std::optional<PullPolicy> policy;
};

class ImageManager {
 public:
  struct Options {
    PullQueue::Options queue;
    std::int64_t registry_pull_qps = 5, registry_burst = 10;
    Backoff::Options backoff;
    bool anonymous_fallback = false;
  };
  struct Parts {
    ImageService& service;
    EventSink& events;
    Records* records;  // nullptr: KubeletEnsureSecretPulledImages is off
    const time::Clock& clock;
  };
  ImageManager(const Options& options, Parts parts);

  Outcome EnsureImageExists(const task::Context& ctx, const Request& request, CredentialSource& credentials);
  // Image volumes, before any container, one after the other; `pod` gives object, UID and announce_present. By volume name.
  std::map<std::string, Outcome> EnsureVolumes(const task::Context& ctx, const Request& pod, std::span<const VolumeRequest> volumes,
                                               CredentialSource& credentials);

  Backoff& backoff() { return backoff_; }
  const PullQueue& queue() const { return queue_; }
  const Throttle& throttle() const { return throttle_; }
  Metrics::Snapshot metrics() const { return metrics_.snapshot(); }

 private:
  class LazyCredentials;
  struct Pulled {
    std::string image_ref;
    AccessCredential access;
  };
  Outcome Ensure(const task::Context& ctx, const Request& request, LazyCredentials& credentials, Metrics::Request& labels, Outcome outcome);
  Outcome Pull(const task::Context& ctx, const Request& request, std::span<const PullCredential> credentials, Outcome outcome);
  Result<Pulled> TryAll(const task::Context& ctx, std::span<const PullCredential> credentials, Trace& trace);

  const Options options_;
  const Parts parts_;
  Backoff backoff_;
  PullQueue queue_;
  Throttle throttle_;
  Metrics metrics_;
};

// A failing image volume keeps only those containers from starting that mount it: the first of `mounts` (names of volumes,
// in the container's order) that failed.
std::optional<Failure> VolumeFailure(const std::map<std::string, Outcome>& volumes, std::span<const std::string> mounts);

}  // namespace berth::policy
