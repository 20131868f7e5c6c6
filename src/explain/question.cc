#include "explain/question.h"

#include <algorithm>

#include "bytes/text.h"
#include "kube/parse.h"
#include "yaml/document.h"

namespace berth::explain {
namespace {

using ObjectPtr = Cluster::ObjectPtr;

secret::Secret Take(std::map<std::string, secret::Secret>& data, std::string_view key) {
  const auto found = data.find(std::string(key));
  return found == data.end() ? secret::Secret() : std::move(found->second);
}

credentials::PullSecret Pullable(const kube::Object& object) {
  kube::Secret secret = kube::ReadSecret(object);
  credentials::PullSecret pull;
  pull.coordinates.uid = secret.metadata.uid;
  pull.coordinates.namespace_name = object.metadata.ns;  // of a file: the text may name none
  pull.coordinates.name = secret.metadata.name;
  pull.type = secret.type;
  pull.docker_config_json = Take(secret.data, credentials::kDockerConfigJsonKey);
  pull.docker_cfg = Take(secret.data, credentials::kDockerCfgKey);
  return pull;
}

MissingSecret Miss(const Cluster& cluster, const std::string& ns, const std::string& name) {
  MissingSecret missing{.ns = ns, .name = name};
  std::size_t best = std::max<std::size_t>(2, name.size() / 4) + 1;
  for (const auto& object : cluster.List("Secret")) {
    const auto& meta = object->metadata;
    if (meta.name == name && meta.ns != ns) missing.elsewhere.push_back(meta.ns);
    if (meta.ns != ns || meta.name == name) continue;
    if (const std::size_t far = bytes::EditDistance(meta.name, name); far < best) {
      best = far;
      missing.similar = meta.name;
    }
  }
  return missing;
}

// `pod`: its metadata and spec; for a template, of the object that has it.
void Ask(const Cluster& cluster, const kube::Pod& pod, std::vector<Question>& out) {
  const std::string& ns = pod.metadata.ns;
  const std::string account = pod.spec.service_account_name.empty() ? "default" : pod.spec.service_account_name;
  const ObjectPtr service = cluster.Find("ServiceAccount", ns, account);
  const auto theirs = service ? kube::ReadServiceAccount(*service).image_pull_secrets : std::vector<std::string>();
  // Admission copies the account's list into a Pod that lists none; a file has not been through it.
  const bool own = std::ranges::any_of(pod.spec.image_pull_secrets, [](const auto& name) { return !name.empty(); });
  std::vector<std::string> names = own ? pod.spec.image_pull_secrets : theirs, notes;
  std::erase(names, "");
  if (own)
    for (const auto& name : theirs)
      if (std::ranges::find(names, name) == names.end())
        notes.push_back("service account \"" + account + "\" also lists " + ns + "/" + name + "; ignored because the Pod lists its own secrets");

  const auto add = [&](const std::string& container, const std::string& image, const std::string& policy,
                       const kube::ContainerStatus* status) {
    Question q{.image = image, .policy = policy::ParsePullPolicy(policy), .ns = ns, .pod = pod.metadata.name, .container = container};
    q.identity = {ns, pod.metadata.name, pod.metadata.uid, account};
    q.notes = notes;
    for (const auto& name : names) {
      if (const ObjectPtr object = cluster.Find("Secret", ns, name))
        q.secrets.push_back(Pullable(*object));
      else
        q.missing.push_back(Miss(cluster, ns, name));
    }
    if (!pod.metadata.uid.empty()) q.backoff = cluster.BackoffOf(pod.metadata.uid, image);
    if (status != nullptr && status->state.waiting) {
      q.waiting_reason = status->state.waiting->reason;
      q.waiting_message = status->state.waiting->message;
    }
    q.running = status != nullptr && (status->state.running || status->state.terminated);
    out.push_back(std::move(q));
  };
  const auto containers = [&](const std::vector<kube::Container>& all, const std::vector<kube::ContainerStatus>& statuses) {
    for (const auto& c : all) {
      const auto status = std::ranges::find(statuses, c.name, &kube::ContainerStatus::name);
      add(c.name, c.image, c.image_pull_policy, status == statuses.end() ? nullptr : &*status);
    }
  };
  for (const auto& volume : pod.spec.volumes)
    if (volume.kind == kube::Volume::Kind::kImage && !volume.reference.empty())
      add("(volume " + volume.name + ")", volume.reference, volume.pull_policy, nullptr);
  containers(pod.spec.init_containers, pod.status.init_container_statuses);
  containers(pod.spec.containers, pod.status.container_statuses);
  containers(pod.spec.ephemeral_containers, pod.status.ephemeral_container_statuses);
}

// The objects of a file, and behind them those of the node.
class FileCluster final : public Cluster {
 public:
  explicit FileCluster(const Cluster* behind) : behind_(behind) {}
  void Add(kube::Object object) { objects_.push_back(std::make_shared<const kube::Object>(std::move(object))); }
  ObjectPtr Find(std::string_view kind, std::string_view ns, std::string_view name) const override {
    for (const auto& o : objects_)
      if (o->kind == kind && o->metadata.ns == ns && o->metadata.name == name) return o;
    return behind_ ? behind_->Find(kind, ns, name) : nullptr;
  }
  std::vector<ObjectPtr> List(std::string_view kind) const override {
    std::vector<ObjectPtr> all = behind_ ? behind_->List(kind) : std::vector<ObjectPtr>();
    std::ranges::copy_if(objects_, std::back_inserter(all), [&](const auto& o) { return o->kind == kind; });
    return all;
  }
  std::optional<policy::Backoff::State> BackoffOf(std::string_view, std::string_view) const override { return std::nullopt; }

 private:
  const Cluster* const behind_;
  std::vector<ObjectPtr> objects_;
};

std::string TextOf(const json::Value& object, std::string_view key) {
  const auto value = object.Find(key);
  return value && value->IsString() ? std::string(*value->AsString()) : "";
}

}  // namespace

Result<std::vector<Question>> AskAboutPod(const Cluster& cluster, const std::string& ns, const std::string& name) {
  const ObjectPtr object = cluster.Find("Pod", ns, name);
  if (!object)
    return Error(Reason::kUsage, "there is no Pod " + Quoted(name) + " in namespace " + Quoted(ns)).Next("berth get pods -A lists those of this node");
  std::vector<Question> questions;
  Ask(cluster, kube::ReadPod(*object), questions);
  return questions;
}

Result<std::vector<Question>> AskAboutFile(std::string_view text, const std::string& file, const std::string& ns, const Cluster* cluster) {
  ASSIGN_OR_RETURN(const auto documents, yaml::Parse(text, file, Reason::kUsage));
  FileCluster objects(cluster);
  std::vector<kube::Pod> pods;
  for (const auto& document : documents) {
    for (const json::Value& item : kube::Items(document.root())) {
      const std::string kind = TextOf(item, "kind");
      std::optional<kube::Object> whole;
      if (kube::IsKind(kind)) {
        auto parsed = kube::ParseObject(item);
        if (!parsed) return std::move(parsed).error().Context(file);
        whole = std::move(parsed->object);
        if (whole->metadata.ns.empty() && kube::IsNamespaced(kind)) whole->metadata.ns = ns;
      }
      const auto path = kube::PodSpecPath(kind);
      if (!path.empty()) {
        std::optional<json::Value> spec = item;
        for (const auto key : path) spec = spec ? spec->Find(key) : std::nullopt;
        if (!spec || !spec->IsObject()) return Error(Reason::kUsage, document.At("spec") + kind + " has no Pod spec");
        if (const auto report = kube::CheckFields(*spec, "PodSpec"); report.wrong)
          return Error(Reason::kUsage, document.At("spec") + report.wrong->message);
        kube::Pod& pod = pods.emplace_back();
        if (const auto metadata = item.Find("metadata"); whole) pod.metadata = whole->metadata;
        else if (metadata && metadata->IsObject()) pod.metadata = kube::ReadMeta(*metadata);
        if (pod.metadata.ns.empty()) pod.metadata.ns = ns;
        if (pod.metadata.name.empty()) pod.metadata.name = pod.metadata.generate_name + "*";
        pod.metadata.uid.clear();
        pod.spec = kube::ReadPodSpec(*spec);
      }
      if (whole) objects.Add(*std::move(whole));
    }
  }
  if (pods.empty()) return Error(Reason::kUsage, file + " holds no Pod and nothing with a Pod template");
  std::vector<Question> questions;
  for (const auto& pod : pods) Ask(objects, pod, questions);
  return questions;
}

Result<> Admit(std::string_view plugin, Question& question) {
  if (plugin == "AlwaysPullImages") {
    if (question.policy == policy::PullPolicy::kAlways) return {};
    question.notes.push_back("admission AlwaysPullImages sets imagePullPolicy: Always" +
                             (question.policy ? " (it is " + std::string(Name(*question.policy)) + ")" : std::string()));
    question.policy = policy::PullPolicy::kAlways;
  } else if (plugin == "digest") {
    question.pin = true;
  } else {
    return Error(Reason::kUsage, "there is no admission " + Quoted(plugin) + " to preview").Next("use AlwaysPullImages or digest");
  }
  return {};
}

}  // namespace berth::explain
