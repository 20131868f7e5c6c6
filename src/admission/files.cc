#include "admission/files.h"

#include <algorithm>
#include <set>

#include "kube/parse.h"
#include "yaml/writer.h"

namespace berth::admission {
namespace {

using json::Tree;
using json::Value;

constexpr std::size_t kShown = 160;  // bytes of one value in Describe()

std::string TextOf(const Value& owner, std::string_view key) {
  const auto member = owner.Find(key);
  return member && member->IsString() ? std::string(*member->AsString()) : "";
}

struct Identity {
  std::string api_version, kind, ns, name;
};
bool Namespaced(const Identity& id) { return FindWorkload(id.api_version, id.kind) != nullptr || kube::IsNamespaced(id.kind); }
Identity IdentityOf(const Value& object, std::string_view ns) {
  Identity id{TextOf(object, "apiVersion"), TextOf(object, "kind"), "", ""};
  if (const auto metadata = object.Find("metadata")) {
    id.ns = TextOf(*metadata, "namespace");
    id.name = TextOf(*metadata, "name");
    if (id.name.empty()) id.name = TextOf(*metadata, "generateName");
  }
  if (id.ns.empty() && Namespaced(id)) id.ns = ns;
  return id;
}

bool Ours(const Identity& id) {
  return FindWorkload(id.api_version, id.kind) != nullptr || (id.api_version == "v1" && kube::IsKind(id.kind));
}

// Of a printable document: what a Draft holds was parsed once, so it parses again.
std::string Yaml(const Tree& tree) {
  const auto document = json::Document::Parse(tree.Dump(), Reason::kInternal, {.bytes = 64u << 20, .depth = 128, .values = 5'000'000});
  return document ? yaml::Print(document->root()) : "";
}

std::string Shown(const std::string& value) { return value.size() <= kShown ? value : value.substr(0, kShown) + "..."; }

class Objects {
 public:
  Objects(const Settings& settings, FileFacts& facts) : settings_(settings), facts_(facts) {}

  Admitted Admit(const task::Context& ctx, const Value& object, const Value* old) const {
    const Identity id = IdentityOf(object, settings_.ns);
    Admitted out{.api_version = id.api_version, .kind = id.kind, .ns = id.ns, .name = id.name};
    if (!object.IsObject() || id.kind.empty() || id.api_version.empty()) {
      out.outcome.object = Tree(object);
      out.outcome.denied = kube::Status::BadRequest("it is no Kubernetes object: apiVersion and kind are missing");
      return out;
    }
    if (!Ours(id)) {
      out.outcome.object = Tree(object);
      out.outcome.warnings.push_back("kind " + Quoted(id.kind) + " of " + Quoted(id.api_version) + " is not known here: it passes unchanged");
      return out;
    }
    Request request{.ns = id.ns, .name = id.name};
    Tree before;
    if (old != nullptr) {
      before = Tree(*old);
      request.operation = Request::Operation::kUpdate;
      request.old = &before;
    }
    const Admission admission(settings_.options, {.facts = &facts_, .digests = settings_.options.pin ? settings_.digests() : nullptr});
    out.outcome = admission.Admit(ctx, Tree(object), std::move(request));
    if (const Tree* spec = out.outcome.object.Find("spec"); settings_.options.accounts && id.kind == "Pod" && old == nullptr && spec != nullptr) {
      const std::string_view account = spec->Text("serviceAccountName");
      if (!account.empty() && account != "default" && !facts_.HasAccount(id.ns, account))
        out.outcome.warnings.push_back("service account " + id.ns + "/" + std::string(account) + " is not in these files: its imagePullSecrets are not known");
    }
    return out;
  }

 private:
  const Settings& settings_;
  FileFacts& facts_;
};

void Write(json::Writer& w, const Admitted& a) {
  w.BeginObject().Key("file").String(a.file).Key("line").Int(a.line).Key("apiVersion").String(a.api_version).Key("kind").String(a.kind);
  w.Key("namespace").String(a.ns).Key("name").String(a.name).Key("allowed").Bool(!a.outcome.denied);
  if (a.outcome.denied) w.Key("status").Raw(a.outcome.denied->Json());
  else w.Key("object").Raw(a.outcome.object.Dump());
  w.Key("changes").BeginArray();
  for (const Change& c : a.outcome.changes) {
    w.BeginObject().Key("field").String(c.place.field).Key("path").String(c.place.pointer).Key("plugin").String(c.plugin).Key("reason").String(c.why);
    const auto value = [&](const char* key, const std::optional<Tree>& v) {
      if (v) c.secret ? w.Key(key).String("<secret contents redacted>") : w.Key(key).Raw(v->Dump());
    };
    value("before", c.before);
    value("after", c.after);
    w.EndObject();
  }
  w.EndArray().Key("patch").Raw(PatchJson(a.outcome.changes)).Key("warnings").BeginArray();
  for (const std::string& warning : a.outcome.warnings) w.String(warning);
  w.EndArray().EndObject();
}

// ---- KRM

Error Usage(std::string text) { return Error(Reason::kUsage, std::move(text)); }

Result<> Configure(const Value& config, Settings& settings) {
  if (TextOf(config, "kind") != "ConfigMap") return Usage("functionConfig must be a ConfigMap, not a " + Quoted(TextOf(config, "kind")));
  const auto data = config.Find("data");
  if (!data || data->IsNull()) return {};
  if (!data->IsObject()) return Usage("functionConfig.data must be an object");
  for (const auto& [key, member] : data->Members()) {
    ASSIGN_OR_RETURN(const std::string_view value, member.AsString());
    Options& o = settings.options;
    const std::string place = "functionConfig.data." + std::string(key);
    const auto one_of = [&](const char* words) { return Usage(place + " is " + Quoted(value) + ", one of " + words + " is wanted"); };
    bool* flag = key == "alwaysPull" ? &o.always_pull : key == "pin" ? &o.pin : key == "validate" ? &o.validate : nullptr;
    if (flag != nullptr) {
      if (value != "true" && value != "false") return one_of("true, false");
      *flag = value == "true";
    } else if (key == "profile") {
      if (value != "Documented" && value != "Kubelet") return one_of("Documented, Kubelet");
      const Options fresh = FileOptions(value == "Documented");
      o.defaults = fresh.defaults, o.always = fresh.always;
    } else if (key == "defaults") {
      if (value == "None") o.fill = Options::Defaults::kNone;
      else if (value == "Policies") o.fill = Options::Defaults::kPolicies;
      else if (value == "All") o.fill = Options::Defaults::kAll;
      else return one_of("None, Policies, All");
    } else {
      return Usage("functionConfig.data has no setting " + Quoted(key)).Next("alwaysPull, defaults, pin, profile and validate are known");
    }
  }
  return {};
}

class Results {
 public:
  explicit Results(Tree& list) : list_(list) {}
  Tree& Add(const Admitted& a, const Tree& item, std::string_view severity, const std::string& message) {
    Tree& r = list_.Append(Tree::Object());
    r["message"] = Tree(message);
    r["severity"] = Tree(severity);
    Tree& ref = r["resourceRef"];
    ref["apiVersion"] = Tree(a.api_version), ref["kind"] = Tree(a.kind), ref["name"] = Tree(a.name);
    if (!a.ns.empty()) ref["namespace"] = Tree(a.ns);
    const Tree* metadata = item.Find("metadata");
    const Tree* annotations = metadata == nullptr ? nullptr : metadata->Find("annotations");
    if (annotations == nullptr) return r;
    for (const char* prefix : {"internal.config.kubernetes.io/", "config.kubernetes.io/"}) {
      const std::string_view path = annotations->Text(std::string(prefix) + "path"), index = annotations->Text(std::string(prefix) + "index");
      if (path.empty()) continue;
      r["file"]["path"] = Tree(path);
      if (!index.empty() && index.size() < 10 && index.find_first_not_of("0123456789") == std::string_view::npos)
        r["file"]["index"] = Tree(static_cast<std::int64_t>(std::stoll(std::string(index))));
      break;
    }
    return r;
  }

 private:
  Tree& list_;
};

}  // namespace

Options FileOptions(bool documented_profile) {
  Options o;
  o.fill = Options::Defaults::kAll;
  o.defaults.digest_beats_latest = documented_profile;
  o.always.ephemeral_containers = documented_profile;
  o.validate = o.accounts = true;
  o.account.tries_of_default = 1;
  o.pinning.label.clear();  // whoever asks for it means it
  o.pinning.exempt_namespaces.clear();
  return o;
}

void FileFacts::Add(const Value& object, std::string_view ns) {
  const Identity id = IdentityOf(object, ns);
  if (id.kind != "ServiceAccount" && id.kind != "Secret" && id.kind != "Namespace") return;
  auto parsed = kube::ParseObject(object);
  if (!parsed) return;  // its own admission says why
  const bool cluster = id.kind == "Namespace";
  objects_.insert_or_assign({id.kind, cluster ? "" : id.ns, id.name}, std::move(parsed->object));
}

const kube::Object* FileFacts::Find(std::string_view kind, std::string_view ns, std::string_view name) const {
  const auto it = objects_.find(std::tuple(std::string(kind), std::string(ns), std::string(name)));
  return it == objects_.end() ? nullptr : &it->second;
}

kube::Answer<kube::ServiceAccount> FileFacts::FindAccount(const task::Context&, std::string_view ns, std::string_view name) {
  if (const kube::Object* found = Find("ServiceAccount", ns, name)) return kube::ReadServiceAccount(*found);
  kube::ServiceAccount unknown;
  unknown.metadata.ns = ns;
  unknown.metadata.name = name;
  return unknown;
}
kube::Answer<kube::Secret> FileFacts::FindSecret(const task::Context&, std::string_view ns, std::string_view name) {
  if (const kube::Object* found = Find("Secret", ns, name)) return kube::ReadSecret(*found);
  return kube::Status::NotFound("secrets", name);
}
kube::Answer<kube::StringMap> FileFacts::NamespaceLabels(const task::Context&, std::string_view ns) {
  const kube::Object* found = Find("Namespace", "", ns);
  return found == nullptr ? kube::StringMap() : found->metadata.labels;
}

std::vector<Admitted> AdmitDocuments(const task::Context& ctx, std::span<const yaml::Document> documents, const std::string& file,
                                     const Settings& settings, FileFacts& facts, const std::vector<yaml::Document>* old) {
  using Key = std::tuple<std::string, std::string, std::string>;
  std::map<Key, Value> before;
  const auto key_of = [&](const Value& v) {
    Identity id = IdentityOf(v, settings.ns);
    return Key{std::move(id.kind), std::move(id.ns), std::move(id.name)};
  };
  if (old != nullptr)
    for (const yaml::Document& d : *old)
      for (const Value& item : kube::Items(d.root())) before.emplace(key_of(item), item);
  for (const yaml::Document& d : documents)
    for (const Value& item : kube::Items(d.root())) facts.Add(item, settings.ns);
  const Objects objects(settings, facts);
  std::vector<Admitted> out;
  for (const yaml::Document& d : documents)
    for (const Value& item : kube::Items(d.root())) {
      const auto stored = before.find(key_of(item));
      Admitted& a = out.emplace_back(objects.Admit(ctx, item, stored == before.end() ? nullptr : &stored->second));
      a.file = file;
      a.line = d.LineOf(item.path());
      if (old != nullptr && stored == before.end()) a.outcome.warnings.push_back("no old object of this name is given: it is created");
    }
  return out;
}

std::string Describe(const Change& c) {
  const std::string before = Shown(ShowBefore(c)), after = Shown(ShowAfter(c));
  std::string out = c.place.field + ": ";
  if (!c.after) out += "removed";
  else out += c.before && !before.empty() ? before + " -> " + after : after;
  return out + " (" + std::string(c.plugin) + ": " + c.why + ")";
}

std::string ToJson(std::span<const Admitted> admitted) {
  json::Writer w;
  w.BeginObject().Key("objects").BeginArray();
  for (const Admitted& a : admitted) Write(w, a);
  w.EndArray().EndObject();
  return std::move(w).Take();
}

std::string ToYaml(std::span<const Admitted> admitted) {
  std::string out;
  for (const Admitted& a : admitted) {
    if (a.outcome.denied) continue;
    if (!out.empty()) out += "---\n";
    out += Yaml(a.outcome.object);
  }
  return out;
}

bool IsResourceList(const Value& value) {
  return TextOf(value, "kind") == "ResourceList" && TextOf(value, "apiVersion").starts_with("config.kubernetes.io/");
}

Result<FunctionReply> RunFunction(const task::Context& ctx, const yaml::Document& list, Settings settings, FileFacts& facts) {
  const Value root = list.root();
  if (!IsResourceList(root) || TextOf(root, "apiVersion") != "config.kubernetes.io/v1") return Usage("a ResourceList of config.kubernetes.io/v1 is wanted");
  settings.options.fill = Options::Defaults::kPolicies;  // files that people keep stay readable
  settings.options.accounts = false;                     // that belongs to the cluster, at run time
  if (const auto config = root.Find("functionConfig"); config && !config->IsNull()) RETURN_IF_ERROR(Configure(*config, settings));
  const auto items = root.Find("items");
  if (items && !items->IsNull() && !items->IsArray()) return Usage("items must be a list");
  const std::size_t count = items ? items->size() : 0;
  for (std::size_t i = 0; i < count; ++i) facts.Add(items->at(i), settings.ns);

  Tree out(root);
  Tree results = Tree::Array();
  if (const Tree* there = out.Find("results"); there != nullptr && there->IsArray()) results = *there;
  Results said(results);
  FunctionReply reply;
  const Objects objects(settings, facts);
  for (std::size_t i = 0; i < count; ++i) {
    Tree& item = out["items"].items()[i];
    const Admitted a = objects.Admit(ctx, items->at(i), nullptr);
    for (const std::string& warning : a.outcome.warnings) said.Add(a, item, "warning", warning);
    if (a.outcome.denied) {
      Error error = a.outcome.ToError();
      said.Add(a, item, "error", error.message());
      if (!reply.error) reply.error = std::move(error).Context(a.Title());
      continue;
    }
    for (const Change& c : a.outcome.changes) {
      Tree& r = said.Add(a, item, "info", std::string(c.plugin) + ": " + c.why);
      r["field"]["path"] = Tree(c.place.field);
      if (c.before && !c.secret) r["field"]["currentValue"] = *c.before;
      if (c.after && !c.secret) r["field"]["proposedValue"] = *c.after;
    }
    item = a.outcome.object;
  }
  if (!results.items().empty()) out["results"] = std::move(results);
  reply.text = Yaml(out);
  return reply;
}

}  // namespace berth::admission
