// admission/pin.h: tags become digests: what was reviewed is what every replica runs.
//
// "app:v1" becomes "app:v1@sha256:…" in containers and image volumes of Pods and templates, and the name as it was written is kept
// in an annotation beside it: pinned-from.berth.dev/CONTAINER (of a volume: pinned-volume.berth.dev/VOLUME). Names that have a
// digest are left alone, so admitting twice changes nothing. On an update only images that changed are looked at; one that is written as
// its pinned predecessor was keeps that digest (applying the same manifest again is no roll-out). Ephemeral containers are pinned, too,
// without an annotation (their subresource cannot carry one).
//
// Not pinned: objects of namespaces without the label, of exempt namespaces, mirror Pods, exempt images, texts that are no image names
// (a warning; the node refuses them). A registry is asked only if `registries` names it (H-09).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "admission/draft.h"
#include "admission/request.h"
#include "admission/resolver.h"
#include "kube/status.h"

namespace berth::admission {

inline constexpr std::string_view kPinnedFrom = "pinned-from.berth.dev/";
inline constexpr std::string_view kPinnedVolume = "pinned-volume.berth.dev/";
// On the Pod or template: the policy of what is pinned on creation. A pinned "latest" is otherwise still Always (product 3.4).
inline constexpr std::string_view kPinnedPolicy = "berth.dev/pinned-pull-policy";

enum class OnFailure : std::uint8_t { kRefuse, kAllow };  // kAllow: the tag stays, with a warning

struct PinOptions {
  // Label of the namespace: "Enforce", or "DryRun" (a warning says what would be). "": every namespace enforces; who is asked about is
  // then somebody else's choice (a namespaceSelector, a command line).
  std::string label = "berth.dev/pin-images";
  bool dry_run = false;                                  // for all
  std::vector<std::string> exempt_namespaces{"kube-system", "kube-public", "kube-node-lease"};
  std::vector<std::string> exempt_images;                // patterns as of credentials/match.h: "registry.k8s.io", "*.corp.example/base"
  std::optional<std::vector<std::string>> registries;    // patterns; nullopt: any
  OnFailure unavailable = OnFailure::kRefuse;            // the registry does not answer
  OnFailure unresolved = OnFailure::kRefuse;             // it answers: no such tag, no access
  std::size_t images = 64;                               // different ones to look up for one object; 403 beyond
};

struct Pinned {
  std::vector<std::string> warnings;
  std::optional<Reason> cause;  // of a refusal: why the first image could not be resolved
};
// The refusal is 403 with the field and the cause. `facts` is asked for the namespace's label only.
kube::Answer<> Pin(const task::Context& ctx, Draft& draft, const PodPart& pod, const Request& request, Facts* facts, DigestCache& digests,
                   const PinOptions& options, Pinned& notes);

}  // namespace berth::admission
