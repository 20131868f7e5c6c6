#include "kube/defaults.h"

#include "bytes/encoding.h"
#include "kube/parse.h"
#include "reference/reference.h"
#include "secret/secret.h"

namespace berth::kube {
namespace {

using json::Tree;

bool Absent(const Tree& object, std::string_view key) {
  const Tree* member = object.Find(key);
  return member == nullptr || member->IsNull() || (member->IsString() && member->text().empty());
}

// Kubernetes takes an empty enumeration for an absent one.
template <class T>
void Default(Tree& object, std::string_view key, const T& value) {
  if (Absent(object, key)) object[key] = Tree(value);
}

template <class Each>
void ForEach(Tree& object, std::string_view key, Each each) {
  if (Tree* list = object.Find(key))
    for (Tree& item : list->items())
      if (item.IsObject()) each(item);
}

Tree* Child(Tree& object, std::string_view key) {
  Tree* member = object.Find(key);
  return member != nullptr && member->IsObject() ? member : nullptr;
}

void DefaultProbe(Tree& container, std::string_view key) {
  Tree* probe = Child(container, key);
  if (probe == nullptr) return;
  const auto number = [&](std::string_view field, int value) {
    const Tree* member = probe->Find(field);
    if (member == nullptr || member->IsNull() || member->Dump() == "0") (*probe)[field] = Tree(value);
  };
  number("timeoutSeconds", 1);
  number("periodSeconds", 10);
  number("successThreshold", 1);
  number("failureThreshold", 3);
  if (Tree* http = Child(*probe, "httpGet")) {
    Default(*http, "path", "/");
    Default(*http, "scheme", "HTTP");
  }
  if (Tree* grpc = Child(*probe, "grpc"); grpc != nullptr && grpc->Find("service") == nullptr) (*grpc)["service"] = Tree("");
}

void DefaultContainer(Tree& c, const DefaultOptions& options) {
  Default(c, "imagePullPolicy", DefaultPullPolicy(c.Text("image"), options));
  Default(c, "terminationMessagePath", "/dev/termination-log");
  Default(c, "terminationMessagePolicy", "File");
  if (c.Find("resources") == nullptr) c["resources"] = Tree::Object();
  ForEach(c, "ports", [](Tree& port) { Default(port, "protocol", "TCP"); });
  ForEach(c, "env", [](Tree& env) {
    Tree* from = Child(env, "valueFrom");
    Tree* field = from == nullptr ? nullptr : Child(*from, "fieldRef");
    if (field != nullptr) Default(*field, "apiVersion", "v1");
  });
  for (const char* probe : {"livenessProbe", "readinessProbe", "startupProbe"}) DefaultProbe(c, probe);
  // A limit without a request is a request, too.
  if (Tree* resources = Child(c, "resources")) {
    const Tree* limits = resources->Find("limits");
    const Tree::Members members = limits == nullptr ? Tree::Members() : limits->members();
    for (const Tree::Member& m : members) {
      Tree* requests = Child(*resources, "requests");
      if (requests == nullptr || requests->Find(m.first) == nullptr) (*resources)["requests"][m.first] = m.second;
    }
  }
}

void DefaultMode(Tree& volume, std::string_view source) {
  if (Tree* s = Child(volume, source)) Default(*s, "defaultMode", 0644);
}
void DefaultDownward(Tree& source) {
  ForEach(source, "items", [](Tree& item) {
    if (Tree* field = Child(item, "fieldRef")) Default(*field, "apiVersion", "v1");
  });
}

void DefaultVolume(Tree& v, const DefaultOptions& options) {
  bool sourced = false;
  for (const Tree::Member& m : v.members()) sourced |= m.first != "name" && !m.second.IsNull();
  if (!sourced) v["emptyDir"] = Tree::Object();
  for (const char* source : {"secret", "configMap", "downwardAPI", "projected"}) DefaultMode(v, source);
  if (Tree* downward = Child(v, "downwardAPI")) DefaultDownward(*downward);
  if (Tree* host = Child(v, "hostPath"); host != nullptr && (host->Find("type") == nullptr || host->Find("type")->IsNull())) (*host)["type"] = Tree("");
  if (Tree* image = Child(v, "image")) Default(*image, "pullPolicy", DefaultPullPolicy(image->Text("reference"), options));
  if (Tree* projected = Child(v, "projected"))
    ForEach(*projected, "sources", [](Tree& source) {
      if (Tree* token = Child(source, "serviceAccountToken")) Default(*token, "expirationSeconds", 3600);
      if (Tree* downward = Child(source, "downwardAPI")) DefaultDownward(*downward);
    });
}

void DefaultSecret(Tree& secret) {
  Default(secret, "type", "Opaque");
  // Base64 in lines, as kustomize writes it, is stored as one.
  if (Tree* data = secret.Find("data"))
    for (auto& [key, value] : data->members())
      if (value.text().find_first_of("\r\n") != std::string_view::npos) {
        std::string one(value.text());
        std::erase_if(one, [](char c) { return c == '\r' || c == '\n'; });
        value = Tree(one);
      }
  const Tree* strings = secret.Find("stringData");
  if (strings == nullptr) return;
  const Tree moved = *strings;
  for (const Tree::Member& m : moved.members()) secret["data"][m.first] = Tree(bytes::ToBase64(bytes::AsView(m.second.text())));
  secret.Erase("stringData");
}

void DefaultNamespace(Tree& ns) {
  Tree& metadata = ns["metadata"];
  if (!metadata.Text("name").empty()) metadata["labels"]["kubernetes.io/metadata.name"] = Tree(metadata.Text("name"));
  if (Absent(ns["spec"], "finalizers")) ns["spec"]["finalizers"].Append(Tree("kubernetes"));
  Default(ns["status"], "phase", "Active");
}

}  // namespace

std::string_view DefaultPullPolicy(std::string_view image, const DefaultOptions& options) {
  const auto name = reference::Reference::Parse(image);
  if (!name || name->tag() != "latest") return "IfNotPresent";
  return name->digest() && options.digest_beats_latest ? "IfNotPresent" : "Always";
}

void DefaultPodSpec(Tree& spec, const DefaultOptions& options) {
  Default(spec, "restartPolicy", "Always");
  Default(spec, "terminationGracePeriodSeconds", 30);
  Default(spec, "dnsPolicy", "ClusterFirst");
  Default(spec, "schedulerName", "default-scheduler");
  Default(spec, "enableServiceLinks", true);
  if (Absent(spec, "securityContext")) spec["securityContext"] = Tree::Object();
  // Two names for one thing.
  if (Absent(spec, "serviceAccountName") && !spec.Text("serviceAccount").empty()) spec["serviceAccountName"] = Tree(spec.Text("serviceAccount"));
  if (!spec.Text("serviceAccountName").empty()) spec["serviceAccount"] = Tree(spec.Text("serviceAccountName"));
  for (const char* list : {"initContainers", "containers", "ephemeralContainers"})
    ForEach(spec, list, [&](Tree& c) { DefaultContainer(c, options); });
  const Tree* network = spec.Find("hostNetwork");
  if (network != nullptr && network->Dump() == "true")
    for (const char* list : {"initContainers", "containers"})
      ForEach(spec, list, [&](Tree& c) {
        ForEach(c, "ports", [](Tree& port) {
          if (const Tree* inner = port.Find("containerPort"); inner != nullptr && port.Find("hostPort") == nullptr) port["hostPort"] = Tree(*inner);
        });
      });
  ForEach(spec, "volumes", [&](Tree& v) { DefaultVolume(v, options); });
}

void DefaultObject(Tree& object, const DefaultOptions& options) {
  const std::string kind(object.Text("kind"));
  if (kind == "Secret") return DefaultSecret(object);
  if (kind == "Namespace") return DefaultNamespace(object);
  Tree* part = &object;
  const auto path = PodSpecPath(kind);
  if (path.empty()) return;
  for (const std::string_view step : path) {
    part = Child(*part, step);
    if (part == nullptr) return;
  }
  DefaultPodSpec(*part, options);
}

}  // namespace berth::kube
