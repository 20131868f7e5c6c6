// explain/question.h: what is to be explained: an image, a Pod's containers, or those in a file.
//
// One Question is one container (or image volume) and its image, with everything the Pod brings along: policy, pull secrets, the
// secrets it lists in vain, its back-off. Objects come from a Cluster: the node's object store, the file that is being looked
// at, or both. Secrets' contents live in the Question only. Pure but for the Cluster.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "credentials/provider.h"
#include "credentials/pull_secrets.h"
#include "explain/facts.h"
#include "kube/objects.h"
#include "policy/record.h"
#include "result/result.h"

namespace berth::explain {

// The Kubernetes objects there are. Safe for concurrent use.
class Cluster {
 public:
  using ObjectPtr = std::shared_ptr<const kube::Object>;
  virtual ~Cluster() = default;
  virtual ObjectPtr Find(std::string_view kind, std::string_view ns, std::string_view name) const = 0;  // nullptr: not there
  virtual std::vector<ObjectPtr> List(std::string_view kind) const = 0;                                 // of all namespaces
  virtual std::optional<policy::Backoff::State> BackoffOf(std::string_view pod_uid, std::string_view image) const = 0;
};

struct Question {
  std::string image;
  std::optional<policy::PullPolicy> policy;
  std::string ns, pod, container;
  credentials::PodIdentity identity;
  std::vector<credentials::PullSecret> secrets;
  std::vector<MissingSecret> missing;
  std::vector<std::string> notes;
  std::optional<policy::Backoff::State> backoff;
  std::string waiting_reason, waiting_message;
  bool running = false;
  bool pin = false;                            // by admission: the digest is written into the name
  std::vector<credentials::Credential> given;  // of the command line: tried first
  bool node_credentials = true;                // the node's file and plug-ins, too
};

// Every container (init ones first) and image volume of a Pod of this node. kNotFound.
Result<std::vector<Question>> AskAboutPod(const Cluster& cluster, const std::string& ns, const std::string& name);

// Of every Pod, and every object with a Pod template, in YAML or JSON `text`. Secrets and service accounts are looked for in the
// text first, then in `cluster` (nullptr: there is none). `ns`: for objects that name none. kUsage: no such object, malformed.
Result<std::vector<Question>> AskAboutFile(std::string_view text, const std::string& file, const std::string& ns, const Cluster* cluster);

// What admission would make of it: "AlwaysPullImages" sets the policy, "digest" writes the digest into the name. Each change becomes a
// note. kUsage: another name.
Result<> Admit(std::string_view plugin, Question& question);

}  // namespace berth::explain
