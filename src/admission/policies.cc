#include "admission/policies.h"

#include <algorithm>
#include <set>

#include "reference/reference.h"

namespace berth::admission {
namespace {

std::string WhyDefault(std::string_view image, const kube::DefaultOptions& options) {
  const auto name = reference::Reference::Parse(image);
  if (!name) return "the image is no name";
  const bool given = image.substr(image.rfind('/') + 1).find(':') != std::string_view::npos;
  if (name->digest() && name->tag() == "latest") return options.digest_beats_latest ? "a digest is given" : "the tag is latest (a digest does not count)";
  if (name->digest()) return "a digest is given";
  if (name->tag() == "latest") return given ? "the tag is latest" : "no tag means latest";
  return "the tag is " + name->tag().value_or("") + ", not latest";
}

void SetPolicy(Draft& draft, const Image& image, std::string_view policy, std::string_view plugin, std::string why) {
  draft.Set(*image.owner, image.place, image.policy_key(), json::Tree(policy), plugin, std::move(why));
}

// New ephemeral containers: those whose names the old Pod does not have. (What was there may not be changed.)
bool Covered(const Image& image, const Request& request, const std::set<std::string_view>& old_names) {
  return !request.ephemeral() || (image.kind == Image::Kind::kEphemeral && !old_names.contains(image.owner_name));
}

kube::Answer<std::set<std::string_view>> OldNames(const Request& request) {
  std::set<std::string_view> names;
  if (!request.ephemeral() || request.old == nullptr) return names;
  auto old = FindPod(*request.old, *request.kind);
  if (!old) return kube::Refusal(old);
  for (const Image& i : old->images)
    if (i.kind == Image::Kind::kEphemeral) names.insert(i.owner_name);
  return names;
}

}  // namespace

void DefaultPolicies(Draft& draft, const PodPart& pod, const kube::DefaultOptions& options) {
  for (const Image& i : pod.images)
    if (i.policy().empty()) SetPolicy(draft, i, kube::DefaultPullPolicy(i.name(), options), "Defaults", WhyDefault(i.name(), options));
}

kube::Answer<bool> AlwaysPullApplies(const PodPart& pod, const Request& request, const AlwaysPullOptions& options) {
  if (request.kind == nullptr || !request.kind->IsPod()) return false;
  if (request.ephemeral()) return options.ephemeral_containers;
  if (!request.subresource.empty()) return false;
  if (request.create() || request.old == nullptr) return true;
  auto old = FindPod(*request.old, *request.kind);
  if (!old) return true;  // cannot be compared: not exempt
  std::set<std::string_view> known;
  for (const Image& i : old->images)
    if (!i.IsVolume()) known.insert(i.name());
  return !std::ranges::all_of(pod.images, [&](const Image& i) { return i.IsVolume() || known.contains(i.name()); });
}

kube::Answer<> AlwaysPull(Draft& draft, const PodPart& pod, const Request& request) {
  auto old = OldNames(request);
  if (!old) return kube::Refusal(old);
  for (const Image& i : pod.images)
    if (Covered(i, request, *old)) SetPolicy(draft, i, "Always", "AlwaysPullImages", "every image is asked for with the Pod's own credentials");
  return {};
}

kube::Answer<> CheckAlwaysPull(const PodPart& pod, const Request& request) {
  auto old = OldNames(request);
  if (!old) return kube::Refusal(old);
  std::vector<kube::Status> refused;
  for (const Image& i : pod.images) {
    if (!Covered(i, request, *old) || i.policy() == "Always") continue;
    const kube::FieldError error{kube::FieldError::Type::kUnsupported, i.place.Member(i.policy_key()).field, Quoted(i.policy()),
                                 "supported values: \"Always\""};
    refused.push_back(request.Forbidden(error.Text()));
    refused.back().causes.push_back({std::string(error.Reason()), error.Body(), error.field});
  }
  if (refused.empty()) return {};
  // As Kubernetes aggregates them.
  kube::Status all = refused.front();
  for (std::size_t i = 1; i < refused.size(); ++i) {
    all.message += ", " + refused[i].message;
    all.causes.push_back(refused[i].causes.front());
  }
  if (refused.size() > 1) all.message = "[" + all.message + "]";
  return all;
}

}  // namespace berth::admission
