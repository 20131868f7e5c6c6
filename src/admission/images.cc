#include "admission/images.h"

#include <algorithm>
#include <array>

#include "kube/parse.h"

namespace berth::admission {
namespace {

using json::Tree;

constexpr std::array kWorkloads{
    Workload{"", "v1", "Pod", "pods"},
    Workload{"", "v1", "PodTemplate", "podtemplates"},
    Workload{"", "v1", "ReplicationController", "replicationcontrollers"},
    Workload{"apps", "v1", "Deployment", "deployments"},
    Workload{"apps", "v1", "StatefulSet", "statefulsets"},
    Workload{"apps", "v1", "DaemonSet", "daemonsets"},
    Workload{"apps", "v1", "ReplicaSet", "replicasets"},
    Workload{"batch", "v1", "Job", "jobs"},
    Workload{"batch", "v1", "CronJob", "cronjobs"},
};

constexpr std::pair<const char*, Image::Kind> kLists[] = {
    {"initContainers", Image::Kind::kInit}, {"containers", Image::Kind::kContainer}, {"ephemeralContainers", Image::Kind::kEphemeral}};

bool Missing(const Tree* t) { return t == nullptr || t->IsNull(); }

// Absent or a string.
bool Textual(const Tree& owner, std::string_view key) {
  const Tree* member = owner.Find(key);
  return Missing(member) || member->IsString();
}

}  // namespace

const Workload* FindWorkload(std::string_view api_version, std::string_view kind) {
  const auto it = std::ranges::find_if(kWorkloads, [&](const Workload& w) {
    return w.kind == kind && (w.group.empty() ? api_version == w.version : api_version.starts_with(w.group) &&
                                                                               api_version.substr(w.group.size()).starts_with('/') &&
                                                                               api_version.substr(w.group.size() + 1) == w.version);
  });
  return it == kWorkloads.end() ? nullptr : &*it;
}

const Workload* FindResource(std::string_view group, std::string_view resource) {
  const auto it = std::ranges::find_if(kWorkloads, [&](const Workload& w) { return w.group == group && w.resource == resource; });
  return it == kWorkloads.end() ? nullptr : &*it;
}

std::string_view PodPart::Annotation(std::string_view key) const {
  const Tree* metadata = holder == nullptr ? nullptr : holder->Find("metadata");
  const Tree* annotations = metadata == nullptr ? nullptr : metadata->Find("annotations");
  return annotations == nullptr ? std::string_view() : annotations->Text(key);
}

kube::Answer<PodPart> FindPod(Tree& object, const Workload& kind) {
  const auto refuse = [&] {
    return kube::Status::BadRequest("Resource was marked with kind " + std::string(kind.kind) + " but was unable to be converted");
  };
  if (!object.IsObject()) return refuse();
  PodPart pod;
  Tree* at = &object;
  Place place;
  for (const std::string_view step : kube::PodSpecPath(kind.kind)) {
    pod.holder = at;
    pod.place = place;
    at = at->Find(step);
    place = place.Member(step);
    if (Missing(at)) return pod;
    if (!at->IsObject()) return refuse();
  }
  if (const Tree* metadata = pod.holder->Find("metadata"); !Missing(metadata)) {
    if (!metadata->IsObject()) return refuse();
    if (const Tree* annotations = metadata->Find("annotations"); !Missing(annotations) && !annotations->IsObject()) return refuse();
  }
  pod.spec = at;
  pod.spec_place = place;
  for (const auto& [list, list_kind] : kLists) {
    Tree* containers = pod.spec->Find(list);
    if (Missing(containers)) continue;
    if (!containers->IsArray()) return refuse();
    const Place list_place = place.Member(list);
    for (std::size_t i = 0; i < containers->items().size(); ++i) {
      Tree& c = containers->items()[i];
      if (!c.IsObject() || !Textual(c, "name") || !Textual(c, "image") || !Textual(c, "imagePullPolicy")) return refuse();
      const Place here = list_place.Item(i);
      pod.images.push_back({list_kind, &c, here, c.Text("name"), here});
    }
  }
  Tree* volumes = pod.spec->Find("volumes");
  if (Missing(volumes)) return pod;
  if (!volumes->IsArray()) return refuse();
  const Place list_place = place.Member("volumes");
  for (std::size_t i = 0; i < volumes->items().size(); ++i) {
    Tree& v = volumes->items()[i];
    if (!v.IsObject() || !Textual(v, "name")) return refuse();
    Tree* image = v.Find("image");
    if (Missing(image)) continue;
    if (!image->IsObject() || !Textual(*image, "reference") || !Textual(*image, "pullPolicy")) return refuse();
    const Place here = list_place.Item(i);
    pod.images.push_back({Image::Kind::kVolume, image, here.Member("image"), v.Text("name"), here});
  }
  return pod;
}

// Nothing above writes to the object.
kube::Answer<PodPart> FindPod(const Tree& object, const Workload& kind) { return FindPod(const_cast<Tree&>(object), kind); }

}  // namespace berth::admission
