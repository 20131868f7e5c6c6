#include "node/admission.h"

#include <algorithm>
#include <set>
#include <string>

namespace berth::node {
namespace {

constexpr const char* kLists[] = {"initContainers", "containers", "ephemeralContainers"};

std::set<std::string> Images(const json::Tree& pod) {
  std::set<std::string> images;
  const json::Tree* spec = pod.Find("spec");
  for (const char* list : kLists)
    if (const json::Tree* containers = spec == nullptr ? nullptr : spec->Find(list))
      for (const auto& c : containers->items()) images.insert(std::string(c.Text("image")));
  return images;
}

}  // namespace

void AlwaysPullImages(json::Tree& pod, const json::Tree* old) {
  if (pod.Text("kind") != "Pod" || pod.Find("spec") == nullptr) return;
  if (old != nullptr && std::ranges::includes(Images(*old), Images(pod))) return;
  json::Tree& spec = *pod.Find("spec");
  for (const char* list : kLists)
    if (json::Tree* containers = spec.Find(list))
      for (auto& c : containers->items()) c["imagePullPolicy"] = json::Tree("Always");
  if (json::Tree* volumes = spec.Find("volumes"))
    for (auto& v : volumes->items())
      if (json::Tree* image = v.Find("image"); image != nullptr && image->IsObject()) (*image)["pullPolicy"] = json::Tree("Always");
}

}  // namespace berth::node
