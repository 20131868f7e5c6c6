#include "explain/lint.h"

#include <algorithm>
#include <map>

#include "credentials/pull_secrets.h"
#include "json/document.h"
#include "kube/parse.h"
#include "policy/defaults.h"
#include "reference/reference.h"
#include "yaml/document.h"

namespace berth::explain {
namespace {

using Severity = credentials::LintFinding::Severity;
using policy::PullPolicy;
using SecretKey = std::pair<std::string, std::string>;  // namespace, name

struct PodInFile {
  std::string kind, prefix;  // "spec.", "spec.template.spec.": where its fields are
  kube::Pod pod;
  const yaml::Document* document;
  std::string item;          // "items[2].", of a List
};

std::string TextOf(const json::Value& object, std::string_view key) {
  const auto value = object.Find(key);
  return value && value->IsString() ? std::string(*value->AsString()) : "";
}

class Linter {
 public:
  Linter(std::string file, std::string ns, credentials::Profile profile) : file_(std::move(file)), ns_(std::move(ns)), profile_(profile) {}

  Result<std::vector<Finding>> Run(std::string_view text) {
    ASSIGN_OR_RETURN(const auto documents, yaml::Parse(text, file_, Reason::kUsage));
    for (const auto& document : documents) RETURN_IF_ERROR(Collect(document));
    for (auto& [key, secret] : secrets_) LintSecret(secret);
    for (const auto& pod : pods_) LintPod(pod);
    std::ranges::stable_sort(findings_, {}, &Finding::line);
    return std::move(findings_);
  }

 private:
  struct SecretInFile {
    credentials::PullSecret pull;
    const yaml::Document* document;
    std::string item, object;
  };

  Result<> Collect(const yaml::Document& document) {
    const bool list = TextOf(document.root(), "kind").ends_with("List");
    const auto items = kube::Items(document.root());
    for (std::size_t i = 0; i < items.size(); ++i) {
      const json::Value& value = items[i];
      const std::string at = list ? "items[" + std::to_string(i) + "]." : "", kind = TextOf(value, "kind");
      if (!value.IsObject() || kind.empty()) return Error(Reason::kUsage, document.At(at) + "this is no Kubernetes object: it has no kind");
      const auto metadata = value.Find("metadata");
      const auto ns_of = [&] {
        const std::string given = metadata ? TextOf(*metadata, "namespace") : "";
        return given.empty() ? ns_ : given;
      };
      if (kind == "Secret" || kind == "ServiceAccount") {
        auto parsed = kube::ParseObject(value);
        if (!parsed) return Error(Reason::kUsage, document.At(at) + parsed.error().Text());
        if (kind == "Secret") {
          kube::Secret secret = kube::ReadSecret(parsed->object);
          SecretInFile& in = secrets_[{ns_of(), secret.metadata.name}];
          in.document = &document;
          in.item = at;
          in.object = "Secret " + ns_of() + "/" + secret.metadata.name;
          in.pull.coordinates.namespace_name = ns_of();
          in.pull.coordinates.name = secret.metadata.name;
          in.pull.type = secret.type;
          if (const auto data = secret.data.find(std::string(credentials::kDockerConfigJsonKey)); data != secret.data.end())
            in.pull.docker_config_json = std::move(data->second);
          if (const auto data = secret.data.find(std::string(credentials::kDockerCfgKey)); data != secret.data.end())
            in.pull.docker_cfg = std::move(data->second);
        } else {
          const auto account = kube::ReadServiceAccount(parsed->object);
          accounts_[{ns_of(), account.metadata.name}] = account.image_pull_secrets;
        }
      }
      const auto path = kube::PodSpecPath(kind);
      if (path.empty()) continue;
      PodInFile in{.kind = kind, .document = &document, .item = at};
      std::optional<json::Value> spec = value;
      for (const auto key : path) {
        spec = spec ? spec->Find(key) : std::nullopt;
        in.prefix += std::string(key) + ".";
      }
      if (!spec || !spec->IsObject()) return Error(Reason::kUsage, document.At(at + "spec") + kind + " has no Pod spec");
      if (const auto report = kube::CheckFields(*spec, "PodSpec"); report.wrong)
        return Error(Reason::kUsage, document.At(at + "spec") + report.wrong->message);
      in.pod.spec = kube::ReadPodSpec(*spec);
      in.pod.metadata.ns = ns_of();
      if (metadata) in.pod.metadata.name = TextOf(*metadata, "name");
      pods_.push_back(std::move(in));
    }
    return {};
  }

  void Add(const yaml::Document& document, const std::string& item, Severity severity, std::string rule, std::string object,
           std::string field, std::string message) {
    findings_.push_back(
        {file_, document.LineOf(item + field), severity, std::move(rule), std::move(object), std::move(field), std::move(message)});
  }

  void LintSecret(SecretInFile& in) {
    const auto& pull = in.pull;
    const bool typed = pull.type == credentials::kDockerConfigJsonType || pull.type == credentials::kDockerCfgType;
    if (pull.docker_config_json.empty() && pull.docker_cfg.empty() && !typed) return;  // no pull secret
    if (const auto why = credentials::WhyUnusable(pull); !why.empty()) {
      Add(*in.document, in.item, Severity::kError, "secret-type", in.object, "type",
          "ignored as a pull secret: " + why + "; berth secret create docker-registry writes a right one");
      return;
    }
    const bool legacy = pull.type == credentials::kDockerCfgType;
    const std::string field = "data[" + std::string(legacy ? credentials::kDockerCfgKey : credentials::kDockerConfigJsonKey) + "]";
    const auto format = legacy ? credentials::FileFormat::kDockerCfg : credentials::FileFormat::kConfigJson;
    const std::string_view text = (legacy ? pull.docker_cfg : pull.docker_config_json).Reveal();
    if (const auto config = credentials::ParseDockerConfig(text, format, profile_, in.object); !config) {
      Add(*in.document, in.item, Severity::kError, "secret-malformed", in.object, field,
          "fails every pull of every Pod that lists it: " + config.error().message());
      return;
    }
    for (const auto& finding : credentials::LintDockerConfig(text, format, profile_))
      Add(*in.document, in.item, finding.severity, "docker-config", in.object, field, finding.place + ": " + finding.message);
  }

  void LintImage(const PodInFile& in, const std::string& object, const std::string& place, const std::string& field,
                 const std::string& image, const std::string& policy_text) {
    const auto add = [&](Severity severity, std::string rule, const std::string& where, std::string message) {
      Add(*in.document, in.item, severity, std::move(rule), object, place + where, std::move(message));
    };
    if (image.empty()) return;  // validation's to say
    const auto reference = reference::Reference::Parse(image);
    if (!reference) {
      add(Severity::kError, "invalid-image-name", field, reference.error().Text());
      return;
    }
    const auto given = policy::ParsePullPolicy(policy_text);
    if (!policy_text.empty() && !given) {
      add(Severity::kError, "unknown-policy", "imagePullPolicy", Quoted(policy_text) + ": Always, IfNotPresent and Never are known");
      return;
    }
    const auto effective = given.value_or(policy::DefaultPullPolicy(profile_, image));
    const bool digest = reference->digest().has_value(), latest = !digest && reference->tag() == "latest";
    const bool bare = latest && !image.ends_with(":latest");
    if (latest && effective == PullPolicy::kIfNotPresent)
      add(Severity::kWarning, "latest-if-not-present", field, "IfNotPresent never asks for a newer \"latest\": each node keeps the one it got first; name a version");
    else if (bare)
      add(Severity::kWarning, "no-tag", field, Quoted(image) + " means :latest, which changes under a running workload; name a version or a digest");
    if (!given && policy::ProfilesDiffer(image))
      add(Severity::kNote, "profiles-differ", field,
          "the kubelet defaults this to Always, the documentation to IfNotPresent; write imagePullPolicy: IfNotPresent");
    if (effective == PullPolicy::kNever)
      add(Severity::kWarning, "never-needs-preload", "imagePullPolicy", "a node without this image says ErrImageNeverPull; pre-pull it everywhere, or use IfNotPresent");
    if (effective == PullPolicy::kNever && !in.pod.spec.image_pull_secrets.empty())
      add(Severity::kNote, "never-with-secrets", "imagePullPolicy", "Never pulls nothing, so the pull secrets only prove access to what is there");
    if (effective == PullPolicy::kAlways && digest && given)
      add(Severity::kNote, "digest-always", "imagePullPolicy", "a digest cannot change: Always only adds a question to the registry at every start");
    CheckMatch(in, object, place + field, reference->Repository());
  }

  // Only when every secret that the Pod lists is in this file is it known that none matches.
  void CheckMatch(const PodInFile& in, const std::string& object, const std::string& field, const std::string& repository) {
    std::vector<credentials::PullSecret> listed;
    for (const auto& name : in.pod.spec.image_pull_secrets) {
      const auto found = secrets_.find({in.pod.metadata.ns, name});
      if (found == secrets_.end()) return;
      const auto& from = found->second.pull;
      listed.push_back({.coordinates = from.coordinates,
                        .type = from.type,
                        .docker_config_json = from.docker_config_json.Clone(),
                        .docker_cfg = from.docker_cfg.Clone()});
    }
    if (listed.empty()) return;
    const auto keyring = credentials::ReadPullSecrets(profile_, listed);
    if (!keyring || !*keyring || !(*keyring)->Find(repository).empty()) return;
    std::vector<credentials::MatchReport> reports;
    (*keyring)->Explain(repository, reports);
    std::string why;
    for (const auto& report : reports)
      if (why.size() < 160) why += (why.empty() ? "" : "; ") + Quoted(report.pattern) + " " + report.reason;
    Add(*in.document, in.item, Severity::kWarning, "pull-secret-no-match", object, field, "none of the Pod's pull secrets is for " + repository + ": " + why);
  }

  void LintPod(const PodInFile& in) {
    const std::string object = in.kind + " " + in.pod.metadata.ns + "/" + in.pod.metadata.name;
    const auto& spec = in.pod.spec;
    const auto all = [&](const char* list, const std::vector<kube::Container>& containers) {
      for (std::size_t i = 0; i < containers.size(); ++i)
        LintImage(in, object, in.prefix + list + "[" + std::to_string(i) + "].", "image", containers[i].image, containers[i].image_pull_policy);
    };
    all("initContainers", spec.init_containers);
    all("containers", spec.containers);
    for (std::size_t i = 0; i < spec.volumes.size(); ++i)
      if (spec.volumes[i].kind == kube::Volume::Kind::kImage)
        LintImage(in, object, in.prefix + "volumes[" + std::to_string(i) + "].image.", "reference", spec.volumes[i].reference, spec.volumes[i].pull_policy);
    for (std::size_t i = 0; i < spec.image_pull_secrets.size(); ++i) LintListed(in, object, i);
    const std::string account = spec.service_account_name.empty() ? "default" : spec.service_account_name;
    if (const auto found = accounts_.find({in.pod.metadata.ns, account}); found != accounts_.end() && !spec.image_pull_secrets.empty())
      for (const auto& name : found->second)
        if (std::ranges::find(spec.image_pull_secrets, name) == spec.image_pull_secrets.end())
          Add(*in.document, in.item, Severity::kWarning, "account-secrets-dropped", object, in.prefix + "imagePullSecrets",
              "secret " + Quoted(name) + " of service account " + Quoted(account) + " is not used: a Pod that lists secrets does not get the account's; list it, too");
  }

  void LintListed(const PodInFile& in, const std::string& object, std::size_t i) {
    const std::string& name = in.pod.spec.image_pull_secrets[i];
    const std::string field = in.prefix + "imagePullSecrets[" + std::to_string(i) + "]";
    if (name.empty()) return;
    if (const auto found = secrets_.find({in.pod.metadata.ns, name}); found != secrets_.end()) {
      const auto& pull = found->second.pull;
      if (pull.type != credentials::kDockerConfigJsonType && pull.type != credentials::kDockerCfgType)
        Add(*in.document, in.item, Severity::kError, "pull-secret-not-a-pull-secret", object, field,
            "secret " + Quoted(name) + " is of type " + Quoted(pull.type.empty() ? "Opaque" : pull.type) + " and is ignored; make it with berth secret create docker-registry");
      return;
    }
    for (const auto& [key, secret] : secrets_)
      if (key.second == name)
        return Add(*in.document, in.item, Severity::kError, "pull-secret-other-namespace", object, field,
                   "secret " + Quoted(name) + " is in namespace " + Quoted(key.first) + "; only those of " + Quoted(in.pod.metadata.ns) + " count");
    Add(*in.document, in.item, Severity::kNote, "pull-secret-not-here", object, field,
        "secret " + Quoted(name) + " is not in this file; it has to be in namespace " + Quoted(in.pod.metadata.ns) + " before the Pod starts");
  }

  const std::string file_, ns_;
  const credentials::Profile profile_;
  std::map<SecretKey, SecretInFile> secrets_;
  std::map<SecretKey, std::vector<std::string>> accounts_;
  std::vector<PodInFile> pods_;
  std::vector<Finding> findings_;
};

std::size_t Count(const std::vector<Finding>& findings, Severity severity) {
  return static_cast<std::size_t>(std::ranges::count(findings, severity, &Finding::severity));
}

}  // namespace

Result<std::vector<Finding>> LintObjects(std::string_view text, const std::string& file, const std::string& ns,
                                         credentials::Profile profile) {
  return Linter(file, ns, profile).Run(text);
}

std::string LintText(const std::vector<Finding>& findings) {
  std::size_t place = 0, field = 0;
  const auto at = [](const Finding& f) { return f.file + ":" + std::to_string(f.line); };
  for (const auto& f : findings) {
    place = std::max(place, at(f).size());
    field = std::max(field, std::min<std::size_t>((f.object + " " + f.field).size(), 60));
  }
  const auto padded = [](std::string text, std::size_t width) {
    if (text.size() < width) text.append(width - text.size(), ' ');
    return text;
  };
  std::string out;
  for (const auto& f : findings)
    out += padded(at(f), place) + "  " + padded(f.object + " " + f.field, field) + "  " + padded(std::string(Name(f.severity)), 7) +
           "  " + f.message + "  [" + f.rule + "]\n";
  const std::size_t warnings = Count(findings, Severity::kWarning), errors = Count(findings, Severity::kError);
  return out + std::to_string(warnings) + (warnings == 1 ? " warning, " : " warnings, ") + std::to_string(errors) + (errors == 1 ? " error\n" : " errors\n");
}

std::string LintJson(const std::vector<Finding>& findings) {
  json::Writer w;
  w.BeginObject().Key("findings").BeginArray();
  for (const auto& f : findings) {
    w.BeginObject().Key("file").String(f.file).Key("line").Int(f.line).Key("severity").String(Name(f.severity)).Key("rule").String(f.rule);
    w.Key("object").String(f.object).Key("field").String(f.field).Key("message").String(f.message).EndObject();
  }
  w.EndArray();
  w.Key("notes").Uint(Count(findings, Severity::kNote)).Key("warnings").Uint(Count(findings, Severity::kWarning));
  w.Key("errors").Uint(Count(findings, Severity::kError)).EndObject();
  return std::move(w).Take();
}

int LintStatus(const std::vector<Finding>& findings) {
  return Count(findings, Severity::kError) > 0 ? 21 : Count(findings, Severity::kWarning) > 0 ? 20 : 0;
}

}  // namespace berth::explain
