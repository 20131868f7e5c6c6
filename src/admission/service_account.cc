#include "admission/service_account.h"

#include <algorithm>

namespace berth::admission {
namespace {

using json::Tree;

constexpr std::string_view kPlugin = "ServiceAccount";
constexpr std::string_view kEnforce = "kubernetes.io/enforce-mountable-secrets";

const std::vector<Tree>& Items(const Tree& owner, std::string_view key) {
  static const std::vector<Tree> kNone;
  const Tree* list = owner.Find(key);
  return list == nullptr ? kNone : list->items();
}

bool IsMirror(const PodPart& pod) {
  const Tree* metadata = pod.holder->Find("metadata");
  const Tree* annotations = metadata == nullptr ? nullptr : metadata->Find("annotations");
  return annotations != nullptr && annotations->Find(kube::kMirrorAnnotation) != nullptr;
}

bool Has(const std::vector<std::string>& names, std::string_view name) { return std::ranges::find(names, name) != names.end(); }

// {"secretRef": {"name": …}} two levels down; nullptr when any of it is not there.
const Tree* Below(const Tree& at, std::initializer_list<std::string_view> steps) {
  const Tree* here = &at;
  for (const std::string_view step : steps)
    if (here = here->Find(step); here == nullptr || here->IsNull()) return nullptr;
  return here;
}

kube::Answer<kube::ServiceAccount> Account(const task::Context& ctx, std::string_view name, const Request& request, Facts& facts,
                                           const AccountOptions& options) {
  const int tries = name == "default" ? options.tries_of_default : 1;
  for (int i = 1;; ++i) {
    auto found = facts.FindAccount(ctx, request.ns, name);
    if (found) return found;
    if (found.error().code >= 500 && found.error().code != 504) return found;  // ours to say, not the Pod's
    if (i >= tries)
      return request.Forbidden("error looking up service account " + request.ns + "/" + std::string(name) + ": " + found.error().message);
    const auto wait = std::chrono::milliseconds(100 + (options.random ? options.random() % 100 : 0));
    if (const auto slept = ctx.Sleep(wait); !slept) return slept.error();
  }
}

kube::Answer<> CheckMirror(const PodPart& pod, const Request& request) {
  if (!pod.spec->Text("serviceAccountName").empty()) return request.Forbidden("a mirror pod may not reference service accounts");
  bool secrets = std::ranges::any_of(Items(*pod.spec, "imagePullSecrets"), [](const Tree& s) { return !s.Text("name").empty(); });
  bool tokens = false;
  for (const Tree& v : Items(*pod.spec, "volumes")) {
    secrets |= Below(v, {"secret"}) != nullptr;
    if (const Tree* projected = Below(v, {"projected"}))
      for (const Tree& source : Items(*projected, "sources")) {
        secrets |= Below(source, {"secret"}) != nullptr;
        tokens |= Below(source, {"serviceAccountToken"}) != nullptr;
      }
  }
  for (const Image& i : pod.images) {
    if (i.IsVolume()) continue;
    for (const Tree& e : Items(*i.owner, "env")) secrets |= Below(e, {"valueFrom", "secretKeyRef"}) != nullptr;
    for (const Tree& e : Items(*i.owner, "envFrom")) secrets |= Below(e, {"secretRef"}) != nullptr;
  }
  if (secrets) return request.Forbidden("a mirror pod may not reference secrets");
  if (tokens) return request.Forbidden("a mirror pod may not use ServiceAccountToken volume projections");
  return {};
}

std::string NotReferenced(const std::string& account) {
  return " is not allowed because service account " + account + " does not reference that ";
}

kube::Answer<> CheckEnv(const PodPart& pod, const Request& request, const kube::ServiceAccount& account) {
  static constexpr const char* kWords[] = {"init container ", "container ", "ephemeral container "};
  for (const Image& i : pod.images) {
    if (i.IsVolume() || (request.ephemeral() && i.kind != Image::Kind::kEphemeral)) continue;
    const std::string who = kWords[static_cast<int>(i.kind)] + std::string(i.owner_name);
    const auto refuse = [&](std::string_view what, std::string_view name) {
      return request.Forbidden(who + std::string(what) + "referencing secret.secretName=" + Quoted(name) + NotReferenced(account.metadata.name) + "secret");
    };
    for (const Tree& e : Items(*i.owner, "env"))
      if (const Tree* key = Below(e, {"valueFrom", "secretKeyRef"}); key != nullptr && !Has(account.secrets, key->Text("name")))
        return refuse(" with envVar " + std::string(e.Text("name")) + " ", key->Text("name"));
    for (const Tree& e : Items(*i.owner, "envFrom"))
      if (const Tree* all = Below(e, {"secretRef"}); all != nullptr && !Has(account.secrets, all->Text("name"))) return refuse(" with envFrom ", all->Text("name"));
  }
  return {};
}

}  // namespace

kube::Answer<> AdmitAccount(const task::Context& ctx, Draft& draft, const PodPart& pod, const Request& request, Facts& facts,
                            const AccountOptions& options) {
  if (!request.kind->IsPod() || !request.create() || !request.subresource.empty() || pod.spec == nullptr || IsMirror(pod)) return {};
  Tree& spec = *pod.spec;
  if (spec.Text("serviceAccountName").empty()) {
    draft.Set(spec, pod.spec_place, "serviceAccountName", Tree("default"), kPlugin, "a Pod that names no account has default");
    draft.Set(spec, pod.spec_place, "serviceAccount", Tree("default"), kPlugin, "the older name of the same field");
  }
  const std::string name(spec.Text("serviceAccountName"));
  auto account = Account(ctx, name, request, facts, options);
  if (!account) return kube::Refusal(account);
  if (!Items(spec, "imagePullSecrets").empty() || account->image_pull_secrets.empty()) return {};
  Tree secrets = Tree::Array();
  for (const std::string& secret : account->image_pull_secrets) secrets.Append(Tree::Object())["name"] = Tree(secret);
  draft.Set(spec, pod.spec_place, "imagePullSecrets", std::move(secrets), kPlugin,
            "the Pod lists none, so it has those of its service account " + name);
  return {};
}

kube::Answer<> CheckAccount(const task::Context& ctx, const PodPart& pod, const Request& request, Facts& facts,
                            const AccountOptions& options) {
  if (!request.kind->IsPod() || pod.spec == nullptr) return {};
  if (!request.ephemeral() && !(request.create() && request.subresource.empty())) return {};
  if (IsMirror(pod)) return request.create() ? CheckMirror(pod, request) : kube::Answer<>();
  const std::string_view given = pod.spec->Text("serviceAccountName");
  auto account = Account(ctx, given.empty() ? "default" : given, request, facts, options);
  if (!account) return kube::Refusal(account);
  const auto enforce = account->metadata.annotations.find(std::string(kEnforce));
  if (enforce == account->metadata.annotations.end() || enforce->second != "true") return {};
  if (request.ephemeral()) return CheckEnv(pod, request, *account);
  for (const Tree& v : Items(*pod.spec, "volumes")) {
    const Tree* secret = Below(v, {"secret"});
    if (secret != nullptr && !Has(account->secrets, secret->Text("secretName")))
      return request.Forbidden("volume with secret.secretName=" + Quoted(secret->Text("secretName")) + NotReferenced(account->metadata.name) + "secret");
  }
  if (auto fine = CheckEnv(pod, request, *account); !fine) return fine;
  const auto& secrets = Items(*pod.spec, "imagePullSecrets");
  for (std::size_t i = 0; i < secrets.size(); ++i)
    if (!Has(account->image_pull_secrets, secrets[i].Text("name")))
      return request.Forbidden("imagePullSecrets[" + std::to_string(i) + "].name=" + Quoted(secrets[i].Text("name")) +
                               NotReferenced(account->metadata.name) + "imagePullSecret");
  return {};
}

}  // namespace berth::admission
