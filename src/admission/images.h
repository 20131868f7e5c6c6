// admission/images.h: where the images of a Kubernetes object are: in the containers of all three lists and in image volumes, of a Pod
// or of the template of one.
//
//   const Workload* kind = FindWorkload("apps/v1", "Deployment");
//   ASSIGN(pod, FindPod(object, *kind));  for (const Image& i : pod.images) i.name() …   // "nginx:1.27" at i.place.field
//
// A list that is no list or a container that is no object is refused, not passed over: what we cannot read is not admitted.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "admission/draft.h"
#include "json/tree.h"
#include "kube/status.h"

namespace berth::admission {

// A kind with a Pod in it.
struct Workload {
  std::string_view group, version, kind, resource;  // "apps", "v1", "Deployment", "deployments"
  bool IsPod() const { return kind == "Pod"; }
};
const Workload* FindWorkload(std::string_view api_version, std::string_view kind);  // nullptr: none
const Workload* FindResource(std::string_view group, std::string_view resource);    // of any version

struct Image {
  enum class Kind : std::uint8_t { kInit, kContainer, kEphemeral, kVolume } kind = Kind::kContainer;
  json::Tree* owner = nullptr;  // the container; the volume's `image`
  Place place;                  // of the owner: "spec.volumes[0].image"
  std::string_view owner_name;  // the container's or the volume's
  Place owner_place;            // of the container or the volume

  bool IsVolume() const { return kind == Kind::kVolume; }
  std::string_view image_key() const { return IsVolume() ? "reference" : "image"; }
  std::string_view policy_key() const { return IsVolume() ? "pullPolicy" : "imagePullPolicy"; }
  std::string_view name() const { return owner->Text(image_key()); }
  std::string_view policy() const { return owner->Text(policy_key()); }
};

struct PodPart {
  json::Tree* holder = nullptr;  // what has the Pod's metadata: the object, or the template
  Place place;                   // of the holder
  json::Tree* spec = nullptr;
  Place spec_place;
  std::vector<Image> images;     // init, ordinary, ephemeral containers, volumes: the order of Kubernetes' own messages

  std::string_view Annotation(std::string_view key) const;  // "" when it is not there
};

// Valid while nothing is added to or taken from the object's lists. A Pod part that is missing altogether: no images, spec == nullptr.
kube::Answer<PodPart> FindPod(json::Tree& object, const Workload& kind);
// To look at only.
kube::Answer<PodPart> FindPod(const json::Tree& object, const Workload& kind);

}  // namespace berth::admission
