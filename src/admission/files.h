// admission/files.h: admission without a cluster: objects in files, and the KRM function (stdin ResourceList, stdout ResourceList).
//
// What Kubernetes would look up is looked up among the objects given: ServiceAccounts, Secrets, Namespaces. A namespace always has its
// account `default`; another account that is not there gives a warning. Kinds without images get Kubernetes' defaults where we know
// them (kube/defaults.h); kinds that we do not know at all pass unchanged, with a warning. Lists are taken apart.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "admission/admission.h"
#include "result/result.h"
#include "yaml/document.h"

namespace berth::admission {

class FileFacts final : public Facts {
 public:
  // Of any object; `ns`: of those that name none. Not while others read.
  void Add(const json::Value& object, std::string_view ns);
  bool HasAccount(std::string_view ns, std::string_view name) const { return Find("ServiceAccount", ns, name) != nullptr; }

  kube::Answer<kube::ServiceAccount> FindAccount(const task::Context& ctx, std::string_view ns, std::string_view name) override;
  kube::Answer<kube::Secret> FindSecret(const task::Context& ctx, std::string_view ns, std::string_view name) override;
  kube::Answer<kube::StringMap> NamespaceLabels(const task::Context& ctx, std::string_view ns) override;

 private:
  const kube::Object* Find(std::string_view kind, std::string_view ns, std::string_view name) const;
  std::map<std::tuple<std::string, std::string, std::string>, kube::Object, std::less<>> objects_;
};

struct Settings {
  Options options;
  std::string ns = "default";                 // of objects that name none
  std::function<DigestCache*()> digests;      // called when something is to be pinned
};
// What `berth admit` does: everything Kubernetes does to an object before it is stored, but for tokens.
Options FileOptions(bool documented_profile);

struct Admitted {
  std::string file;                           // "pod.yaml"
  int line = 1;
  std::string api_version, kind, ns, name;
  Outcome outcome;
  std::string Title() const { return kind + " " + (ns.empty() ? "" : ns + "/") + name; }
};

// Every object of the documents, in order. `old`: nullptr, or the stored objects of an update, found by kind, namespace and name; one
// without an old self is created, with a warning. `facts` gets all objects first.
std::vector<Admitted> AdmitDocuments(const task::Context& ctx, std::span<const yaml::Document> documents, const std::string& file,
                                     const Settings& settings, FileFacts& facts, const std::vector<yaml::Document>* old = nullptr);

// "spec.containers[0].imagePullPolicy: IfNotPresent -> Always (AlwaysPullImages: …)"; values cut, contents of Secrets hidden.
std::string Describe(const Change& change);
// {"objects":[{"file","line","apiVersion","kind","namespace","name","allowed","object","changes","patch","warnings","status"}]}; "object" of
// what was admitted, "status" of what was not.
std::string ToJson(std::span<const Admitted> admitted);
// The objects that were admitted, as `kubectl -o yaml` prints them, with "---" between them.
std::string ToYaml(std::span<const Admitted> admitted);

// ---- KRM functions (config.kubernetes.io/v1 ResourceList)

bool IsResourceList(const json::Value& value);

struct FunctionReply {
  std::string text;                           // the ResourceList as YAML: items changed in place, results behind those that were there
  std::optional<Error> error;                 // of the first item that was denied; it stands unchanged in the list
};
// functionConfig: none, or a ConfigMap whose data may hold `profile` (Documented, Kubelet), `alwaysPull`, `pin`, `validate` ("true",
// "false") and `defaults` (None, Policies, All). kUsage: not a ResourceList, another functionConfig.
Result<FunctionReply> RunFunction(const task::Context& ctx, const yaml::Document& list, Settings settings, FileFacts& facts);

}  // namespace berth::admission
