#include "kube/validate.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "bytes/encoding.h"
#include "bytes/text.h"
#include "json/tree.h"
#include "kube/parse.h"
#include "kube/quantity.h"

namespace berth::kube {
namespace {

using json::Tree;
using json::Value;
using Type = FieldError::Type;
using Words = std::initializer_list<std::string_view>;

constexpr std::size_t kAnnotationBytes = 256u << 10;
constexpr std::size_t kSecretBytes = 1u << 20;
constexpr std::size_t kLabelBytes = 63;  // of a value, and of the name part of a key
constexpr std::int64_t kMaxId = 2147483647;

bool Lower(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool Alnum(char c) { return Lower(c) || (c >= 'A' && c <= 'Z'); }

std::string TooLongText(std::size_t most) { return "must be no more than " + std::to_string(most) + " bytes"; }
std::string Between(std::int64_t low, std::int64_t high) {
  return "must be between " + std::to_string(low) + " and " + std::to_string(high) + ", inclusive";
}

bool IsLabelPart(std::string_view s) {
  return !s.empty() && Lower(s.front()) && Lower(s.back()) && std::all_of(s.begin(), s.end(), [](char c) { return Lower(c) || c == '-'; });
}

// The name part of a label's key, or its value.
bool IsNamePart(std::string_view s) {
  const auto inner = [](char c) { return Alnum(c) || c == '-' || c == '_' || c == '.'; };
  return !s.empty() && Alnum(s.front()) && Alnum(s.back()) && std::all_of(s.begin(), s.end(), inner);
}

std::vector<std::string> QualifiedName(std::string_view key) {
  std::vector<std::string> out;
  const std::size_t slash = key.find('/');
  std::string_view name = key;
  if (slash != std::string_view::npos) {
    const std::string_view prefix = key.substr(0, slash);
    name = key.substr(slash + 1);
    if (name.find('/') != std::string_view::npos) {
      return {"a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
              "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an "
              "optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"};
    }
    if (prefix.empty()) out.push_back("prefix part must be non-empty");
    else if (const std::string why = Dns1123Subdomain(prefix); !why.empty()) out.push_back("prefix part " + why);
  }
  if (name.empty()) out.push_back("name part must be non-empty");
  else if (name.size() > kLabelBytes) out.push_back("name part " + TooLongText(kLabelBytes));
  if (!IsNamePart(name)) {
    out.push_back("name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
                  "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')");
  }
  return out;
}

std::string ConfigKey(std::string_view key) {
  if (key.size() > 253) return TooLongText(253);
  const auto fine = [](char c) { return Alnum(c) || c == '-' || c == '_' || c == '.'; };
  if (key.empty() || !std::all_of(key.begin(), key.end(), fine)) {
    return "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex "
           "used for validation is '[-._a-zA-Z0-9]+')";
  }
  if (key == ".") return "must not be '.'";
  if (key == "..") return "must not be '..'";
  if (key.starts_with("..")) return "must not start with '..'";
  return "";
}

bool IsIp(std::string_view s) {
  if (s.find(':') != std::string_view::npos) {
    return s.size() <= 45 && std::count(s.begin(), s.end(), ':') >= 2 && s.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos;
  }
  int parts = 0;
  for (;; ++parts) {
    const std::size_t n = std::min(s.find_first_not_of("0123456789"), s.size());
    if (n == 0 || n > 3 || (n > 1 && s[0] == '0')) return false;
    int value = 0;
    for (const char c : s.substr(0, n)) value = value * 10 + (c - '0');
    if (value > 255) return false;
    s.remove_prefix(n);
    if (s.empty()) return parts == 3;
    if (s[0] != '.') return false;
    s.remove_prefix(1);
  }
}

// ---- reading: types were checked before

std::optional<Value> Member(const Value& v, std::string_view key) {
  auto m = v.Find(key);
  if (m && m->IsNull()) m.reset();
  return m;
}
std::string Text(const Value& v, std::string_view key) {
  const auto m = Member(v, key);
  return m && m->IsString() ? std::string(*m->AsString()) : "";
}
std::optional<std::int64_t> Int(const Value& v, std::string_view key) {
  const auto m = Member(v, key);
  const Result<std::int64_t> n = m ? m->AsInt64() : Result<std::int64_t>(0);
  return m && n ? std::optional(*n) : std::nullopt;
}
bool True(const Value& v, std::string_view key) {
  const auto m = Member(v, key);
  return m && m->Dump() == "true";
}
std::string Spelling(const Value& v) { return v.IsString() ? std::string(*v.AsString()) : v.Dump(); }

std::string At(const std::string& path, std::string_view member) {
  return path.empty() ? std::string(member) : path + "." + std::string(member);
}
std::string At(const std::string& path, std::size_t index) { return path + "[" + std::to_string(index) + "]"; }
std::string Key(const std::string& path, std::string_view key) { return path + "[" + std::string(key) + "]"; }

class Judge {
 public:
  FieldErrors Take() && { return std::move(errors_); }

  void Add(Type type, std::string field, std::string value = "", std::string detail = "") {
    errors_.push_back({type, std::move(field), std::move(value), std::move(detail)});
  }
  void Required(std::string field, std::string detail = "") { Add(Type::kRequired, std::move(field), "", std::move(detail)); }
  void Invalid(std::string field, std::string_view value, std::string detail) {
    Add(Type::kInvalid, std::move(field), Quoted(value), std::move(detail));
  }
  void Forbidden(std::string field, std::string detail) { Add(Type::kForbidden, std::move(field), "", std::move(detail)); }
  void OneOf(const std::string& field, std::string_view value, Words allowed) {
    if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return;
    std::string list;
    for (const std::string_view word : allowed) list += (list.empty() ? "" : ", ") + Quoted(word);
    Add(Type::kUnsupported, field, Quoted(value), "supported values: " + list);
  }
  void Named(const std::string& field, std::string_view name, std::string (*check)(std::string_view)) {
    if (const std::string why = check(name); !why.empty()) Invalid(field, name, why);
  }
  void InRange(const Value& v, const std::string& path, std::string_view key, std::int64_t low, std::int64_t high, std::string text = "") {
    const auto n = Int(v, key);
    if (n && (*n < low || *n > high))
      Add(Type::kInvalid, At(path, key), std::to_string(*n), text.empty() ? Between(low, high) : std::move(text));
  }

  template <class Each>
  void ForEach(const Value& v, const std::string& path, std::string_view key, Each each) {
    const auto list = Member(v, key);
    for (std::size_t i = 0; list && i < list->size(); ++i) each(list->at(i), At(At(path, key), i));
  }

  // ---- metadata

  void Metadata(const Value& object, std::string_view kind) {
    const auto meta = Member(object, "metadata");
    const std::string path = "metadata";
    auto* const check = kind == "Namespace" ? Dns1123Label : Dns1123Subdomain;
    const std::string name = meta ? Text(*meta, "name") : "", prefix = meta ? Text(*meta, "generateName") : "";
    if (!prefix.empty()) {
      // A trailing dash is fine: something comes behind it.
      const std::string whole = prefix.ends_with('-') ? prefix.substr(0, prefix.size() - 1) + "a" : prefix;
      if (const std::string why = check(whole); !why.empty()) Invalid("metadata.generateName", prefix, why);
    }
    if (name.empty()) Required("metadata.name", "name or generateName is required");
    else Named("metadata.name", name, check);
    if (!meta) return;
    if (const std::string ns = Text(*meta, "namespace"); IsNamespaced(kind)) {
      if (ns.empty()) Required("metadata.namespace");
      else Named("metadata.namespace", ns, Dns1123Label);
    } else if (!ns.empty()) {
      Forbidden("metadata.namespace", "not allowed on this type");
    }
    if (const auto labels = Member(*meta, "labels")) Labels(*labels, "metadata.labels");
    if (const auto annotations = Member(*meta, "annotations")) {
      std::size_t bytes = 0;
      for (const auto& [key, value] : annotations->Members()) {
        for (const std::string& why : QualifiedName(bytes::Lower(key))) Invalid("metadata.annotations", key, why);
        bytes += key.size() + (value.IsString() ? (*value.AsString()).size() : 0);
      }
      if (bytes > kAnnotationBytes) Add(Type::kTooLong, "metadata.annotations", "", "may not be more than " + std::to_string(kAnnotationBytes) + " bytes");
    }
    ForEach(*meta, path, "finalizers", [&](const Value& f, const std::string& field) {
      for (const std::string& why : QualifiedName(Spelling(f))) Invalid("metadata.finalizers", Spelling(f), why);
      if (Spelling(f).find('/') == std::string::npos) Invalid(field, Spelling(f), "name is neither a standard finalizer name nor is it fully qualified");
    });
  }

  void Labels(const Value& labels, const std::string& path) {
    for (const auto& [key, value] : labels.Members()) {
      for (const std::string& why : QualifiedName(key)) Invalid(path, key, why);
      const std::string text = value.IsNull() ? "" : Spelling(value);
      if (text.size() > kLabelBytes) Invalid(path, text, TooLongText(kLabelBytes));
      if (!text.empty() && !IsNamePart(text)) {
        Invalid(path, text, "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with "
                            "an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
                            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')");
      }
    }
  }

  // ---- Pod

  void PodSpec(const Value& spec, const std::string& path, PodPlace place) {
    std::set<std::string> volumes, names;
    ForEach(spec, path, "volumes", [&](const Value& v, const std::string& field) { Volume(v, field, place, volumes); });
    const auto name = [&](const Value& c, const std::string& field) {
      const std::string text = Text(c, "name");
      if (text.empty()) return Required(field + ".name");
      Named(field + ".name", text, Dns1123Label);
      if (!names.insert(text).second) Add(Type::kDuplicate, field + ".name", Quoted(text));
    };
    const bool host_network = True(spec, "hostNetwork");
    std::set<std::string> host_ports;
    const auto containers = Member(spec, "containers");
    if (!containers || containers->size() == 0) Required(At(path, "containers"));
    ForEach(spec, path, "containers", [&](const Value& c, const std::string& field) {
      name(c, field);
      Container(c, field, place, volumes, host_network, &host_ports);
      Handlers(c, field);
      if (Member(c, "restartPolicy") && !Text(c, "restartPolicy").empty()) OneOf(field + ".restartPolicy", Text(c, "restartPolicy"), {"Always", "OnFailure", "Never"});
    });
    ForEach(spec, path, "initContainers", [&](const Value& c, const std::string& field) {
      name(c, field);
      Container(c, field, place, volumes, host_network, nullptr);
      const std::string restart = Text(c, "restartPolicy");
      if (!restart.empty()) OneOf(field + ".restartPolicy", restart, {"Always", "OnFailure", "Never"});
      if (restart == "Always") return Handlers(c, field);
      for (const char* key : {"lifecycle", "livenessProbe", "readinessProbe", "startupProbe"})
        if (Member(c, key)) Forbidden(At(field, key), "may not be set for init containers without restartPolicy=Always");
    });
    ForEach(spec, path, "ephemeralContainers", [&](const Value& c, const std::string& field) {
      name(c, field);
      Container(c, field, place, volumes, false, nullptr);
      for (const char* key : {"ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy", "restartPolicy"})
        if (Member(c, key)) Forbidden(At(field, key), "cannot be set for an Ephemeral Container");
      if (Member(c, "resources") && Member(c, "resources")->size() > 0) Forbidden(At(field, "resources"), "cannot be set for an Ephemeral Container");
      const std::string target = Text(c, "targetContainerName");
      if (!target.empty() && !names.contains(target)) Add(Type::kNotFound, field + ".targetContainerName", Quoted(target));
    });
    if (const std::string restart = Text(spec, "restartPolicy"); restart.empty()) Required(At(path, "restartPolicy"));
    else OneOf(At(path, "restartPolicy"), restart, {"Always", "OnFailure", "Never"});
    if (const std::string dns = Text(spec, "dnsPolicy"); dns.empty()) Required(At(path, "dnsPolicy"));
    else OneOf(At(path, "dnsPolicy"), dns, {"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"});
    InRange(spec, path, "activeDeadlineSeconds", 1, kMaxId);
    for (const char* key : {"hostname", "subdomain"})
      if (const std::string text = Text(spec, key); !text.empty()) Named(At(path, key), text, Dns1123Label);
    for (const char* key : {"serviceAccountName", "nodeName", "runtimeClassName", "priorityClassName"})
      if (const std::string text = Text(spec, key); !text.empty()) Named(At(path, key), text, Dns1123Subdomain);
    if (const auto selector = Member(spec, "nodeSelector")) Labels(*selector, At(path, "nodeSelector"));
    if (True(spec, "shareProcessNamespace") && True(spec, "hostPID"))
      Add(Type::kInvalid, At(path, "securityContext.shareProcessNamespace"), "true", "ShareProcessNamespace and HostPID cannot both be enabled");
    if (const auto security = Member(spec, "securityContext")) {
      const std::string field = At(path, "securityContext");
      for (const char* key : {"runAsUser", "runAsGroup", "fsGroup"}) InRange(*security, field, key, 0, kMaxId);
      ForEach(*security, field, "supplementalGroups", [&](const Value& group, const std::string& place_of) {
        const auto id = group.AsInt64();
        if (id && (*id < 0 || *id > kMaxId)) Add(Type::kInvalid, place_of, std::to_string(*id), Between(0, kMaxId));
      });
    }
    ForEach(spec, path, "hostAliases", [&](const Value& alias, const std::string& field) {
      if (!IsIp(Text(alias, "ip"))) Invalid(field + ".ip", Text(alias, "ip"), "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
      ForEach(alias, field, "hostnames", [&](const Value& host, const std::string& at) { Named(at, Spelling(host), Dns1123Subdomain); });
    });
    ForEach(spec, path, "tolerations", [&](const Value& t, const std::string& field) {
      if (const std::string op = Text(t, "operator"); !op.empty()) OneOf(field + ".operator", op, {"Equal", "Exists", "Lt", "Gt"});
      if (const std::string effect = Text(t, "effect"); !effect.empty()) OneOf(field + ".effect", effect, {"NoSchedule", "PreferNoSchedule", "NoExecute"});
    });
    if (place == PodPlace::kStatic) Static(spec, path);
  }

  // kubelet-images 8.1: a static Pod names nothing that lives in an API.
  void Static(const Value& spec, const std::string& path) {
    if (!Text(spec, "serviceAccountName").empty()) Forbidden(At(path, "serviceAccountName"), "static pods may not reference serviceaccounts");
    ForEach(spec, path, "imagePullSecrets", [&](const Value& s, const std::string& field) {
      if (!Text(s, "name").empty()) Forbidden(field, "static pods may not reference secrets");
    });
    ForEach(spec, path, "volumes", [&](const Value& v, const std::string& field) {
      if (Member(v, "secret")) Forbidden(field, "static pods may not reference secrets");
      if (Member(v, "configMap")) Forbidden(field, "static pods may not reference configmaps");
    });
    if (Member(spec, "ephemeralContainers")) Forbidden(At(path, "ephemeralContainers"), "static pods do not support ephemeral containers");
  }

  void PullPolicy(const std::string& field, const std::string& policy) {
    if (policy.empty()) Required(field);
    else OneOf(field, policy, {"Always", "IfNotPresent", "Never"});
  }

  void Container(const Value& c, const std::string& path, PodPlace place, const std::set<std::string>& volumes,
                 bool host_network, std::set<std::string>* host_ports) {
    const std::string image = Text(c, "image");
    const auto white = [](char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r'); };
    if (image.empty()) Required(path + ".image");
    else if (place != PodPlace::kTemplate && (white(image.front()) || white(image.back())))
      Invalid(path + ".image", image, "must not have leading or trailing whitespace");
    if (const std::string message = Text(c, "terminationMessagePolicy"); message.empty()) Required(path + ".terminationMessagePolicy");
    else OneOf(path + ".terminationMessagePolicy", message, {"FallbackToLogsOnError", "File"});
    std::set<std::string> port_names;
    ForEach(c, path, "ports", [&](const Value& p, const std::string& field) { Port(p, field, port_names, host_network, host_ports); });
    ForEach(c, path, "env", [&](const Value& e, const std::string& field) { Env(e, field); });
    ForEach(c, path, "envFrom", [&](const Value& e, const std::string& field) {
      const auto secret = Member(e, "secretRef"), map = Member(e, "configMapRef");
      if (!secret && !map) Invalid(field, "", "must specify one of: `configMapRef` or `secretRef`");
      else if (secret && map) Invalid(field, "", "may not have more than one field specified at a time");
      if (secret && Text(*secret, "name").empty()) Required(field + ".secretRef.name");
      if (map && Text(*map, "name").empty()) Required(field + ".configMapRef.name");
    });
    std::set<std::string> paths;
    ForEach(c, path, "volumeMounts", [&](const Value& m, const std::string& field) { Mount(m, field, volumes, paths, c); });
    PullPolicy(path + ".imagePullPolicy", Text(c, "imagePullPolicy"));
    if (const auto resources = Member(c, "resources")) Resources(*resources, path + ".resources");
    if (const auto security = Member(c, "securityContext")) {
      const std::string field = path + ".securityContext";
      for (const char* key : {"runAsUser", "runAsGroup"}) InRange(*security, field, key, 0, kMaxId);
      const auto escalation = Member(*security, "allowPrivilegeEscalation");
      if (True(*security, "privileged") && escalation && escalation->Dump() == "false")
        Add(Type::kInvalid, field, "\"\"", "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
      if (const std::string proc = Text(*security, "procMount"); !proc.empty()) OneOf(field + ".procMount", proc, {"Default", "Unmasked"});
    }
  }

  void Port(const Value& p, const std::string& path, std::set<std::string>& names, bool host_network, std::set<std::string>* host_ports) {
    if (const std::string name = Text(p, "name"); !name.empty()) {
      const bool letters = std::any_of(name.begin(), name.end(), [](char ch) { return ch >= 'a' && ch <= 'z'; });
      if (name.size() > 15) Invalid(path + ".name", name, TooLongText(15));
      else if (!IsLabelPart(name)) Invalid(path + ".name", name, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
      else if (!letters) Invalid(path + ".name", name, "must contain at least one letter (a-z)");
      else if (!names.insert(name).second) Add(Type::kDuplicate, path + ".name", Quoted(name));
    }
    const std::int64_t inner = Int(p, "containerPort").value_or(0), outer = Int(p, "hostPort").value_or(0);
    if (inner == 0) Required(path + ".containerPort");
    else InRange(p, path, "containerPort", 1, 65535);
    if (outer != 0) InRange(p, path, "hostPort", 1, 65535);
    const std::string protocol = Text(p, "protocol");
    if (protocol.empty()) Required(path + ".protocol");
    else OneOf(path + ".protocol", protocol, {"SCTP", "TCP", "UDP"});
    if (host_network && outer != inner)
      Add(Type::kInvalid, path + ".hostPort", std::to_string(outer), "must match `containerPort` when `hostNetwork` is set to true");
    if (outer != 0 && host_ports != nullptr) {
      const std::string taken = std::to_string(outer) + "/" + protocol + "/" + Text(p, "hostIP");
      if (!host_ports->insert(taken).second)
        Add(Type::kDuplicate, path + ".hostPort", Quoted(Text(p, "hostIP") + "/" + std::to_string(outer) + "/" + protocol));
    }
  }

  void Env(const Value& e, const std::string& path) {
    const std::string name = Text(e, "name");
    const auto printable = [](char ch) { return ch >= 0x20 && ch <= 0x7e && ch != '='; };
    if (name.empty()) Required(path + ".name");
    else if (!std::all_of(name.begin(), name.end(), printable))
      Invalid(path + ".name", name, "a valid environment variable name must consist only of printable ASCII characters other than '='");
    const auto from = Member(e, "valueFrom");
    if (!from) return;
    const std::string field = path + ".valueFrom";
    std::size_t sources = 0;
    for (const auto& [key, source] : from->Members()) sources += !source.IsNull();
    if (sources == 0) Invalid(field, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`");
    if (!Text(e, "value").empty()) Invalid(field, "", "may not be specified when `value` is not empty");
    else if (sources > 1) Invalid(field, "", "may not have more than one field specified at a time");
    for (const char* key : {"secretKeyRef", "configMapKeyRef"}) {
      const auto ref = Member(*from, key);
      if (!ref) continue;
      if (Text(*ref, "name").empty()) Required(At(field, key) + ".name");
      if (Text(*ref, "key").empty()) Required(At(field, key) + ".key");
      else Named(At(field, key) + ".key", Text(*ref, "key"), ConfigKey);
    }
    if (const auto ref = Member(*from, "fieldRef")) FieldRef(*ref, field + ".fieldRef");
  }

  void FieldRef(const Value& ref, const std::string& path) {
    const std::string what = Text(ref, "fieldPath");
    if (what.empty()) return Required(path + ".fieldPath");
    for (const char* keyed : {"metadata.annotations['", "metadata.labels['"})
      if (what.starts_with(keyed) && what.ends_with("']")) return;
    OneOf(path + ".fieldPath", what, {"metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations", "spec.hostName", "spec.nodeName",
                                      "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"});
  }

  void LocalPath(const std::string& field, const std::string& path) {
    if (path.starts_with('/')) Invalid(field, path, "must be a relative path");
    NoBacksteps(field, path);
  }
  void NoBacksteps(const std::string& field, const std::string& path) {
    for (std::size_t start = 0; start <= path.size();) {
      const std::size_t end = std::min(path.find('/', start), path.size());
      if (path.substr(start, end - start) == "..") return Invalid(field, path, "must not contain '..'");
      start = end + 1;
    }
  }

  void Mount(const Value& m, const std::string& path, const std::set<std::string>& volumes, std::set<std::string>& paths,
             const Value& container) {
    const std::string name = Text(m, "name"), where = Text(m, "mountPath"), sub = Text(m, "subPath"), expr = Text(m, "subPathExpr");
    if (name.empty()) Required(path + ".name");
    else if (!volumes.contains(name)) Add(Type::kNotFound, path + ".name", Quoted(name));
    if (where.empty()) Required(path + ".mountPath");
    else if (!paths.insert(where).second) Invalid(path + ".mountPath", where, "must be unique");
    if (!sub.empty()) LocalPath(path + ".subPath", sub);
    if (!sub.empty() && !expr.empty()) Invalid(path + ".subPathExpr", expr, "subPathExpr and subPath are mutually exclusive");
    if (!expr.empty()) LocalPath(path + ".subPathExpr", expr);
    if (const std::string propagation = Text(m, "mountPropagation"); !propagation.empty()) {
      OneOf(path + ".mountPropagation", propagation, {"Bidirectional", "HostToContainer", "None"});
      const auto security = Member(container, "securityContext");
      if (propagation == "Bidirectional" && !(security && True(*security, "privileged")))
        Forbidden(path + ".mountPropagation", "Bidirectional mount propagation is available only to privileged containers");
    }
  }

  void Resources(const Value& resources, const std::string& path) {
    std::map<std::string, std::pair<std::string, std::int64_t>> limits;
    const auto read = [&](const char* key, auto each) {
      const auto list = Member(resources, key);
      if (!list) return;
      for (const auto& [name, value] : list->Members()) {
        const std::string text = value.IsNull() ? "0" : Spelling(value);
        const std::int64_t milli = Milli(text).value_or(0);
        const std::string field = Key(At(path, key), name);
        if (milli < 0) Invalid(field, text, "must be greater than or equal to 0");
        each(std::string(name), text, milli);
      }
    };
    read("limits", [&](const std::string& name, const std::string& text, std::int64_t milli) { limits[name] = {text, milli}; });
    read("requests", [&](const std::string& name, const std::string& text, std::int64_t milli) {
      const auto limit = limits.find(name);
      if (limit != limits.end() && milli > limit->second.second)
        Invalid(At(path, "requests"), text, "must be less than or equal to " + name + " limit of " + limit->second.first);
    });
  }

  void Handlers(const Value& c, const std::string& path) {
    const auto lifecycle = Member(c, "lifecycle");
    for (const char* when : {"postStart", "preStop"}) {
      const auto handler = lifecycle ? Member(*lifecycle, when) : std::nullopt;
      if (!handler) continue;
      const std::string field = path + ".lifecycle." + when;
      std::size_t kinds = 0;
      for (const auto& [key, value] : handler->Members()) kinds += !value.IsNull();
      if (kinds == 0) Required(field, "must specify a handler type");
      if (kinds > 1) Forbidden(field, "may not specify more than 1 handler type");
      if (const auto exec = Member(*handler, "exec"); exec && (!Member(*exec, "command") || Member(*exec, "command")->size() == 0)) Required(field + ".exec.command");
    }
  }

  void Volume(const Value& v, const std::string& path, PodPlace place, std::set<std::string>& names) {
    const std::string name = Text(v, "name");
    if (name.empty()) {
      Required(path + ".name");
    } else {
      Named(path + ".name", name, Dns1123Label);
      if (!names.insert(name).second) Add(Type::kDuplicate, path + ".name", Quoted(name));
    }
    std::size_t sources = 0;
    for (const auto& [key, source] : v.Members()) {
      if (key == "name" || source.IsNull()) continue;
      const std::string field = At(path, key);
      if (++sources > 1) {
        Forbidden(field, "may not specify more than 1 volume type");
        continue;
      }
      if (key == "emptyDir") {
        const auto limit = Member(source, "sizeLimit");
        if (limit && Milli(Spelling(*limit)).value_or(0) < 0) Forbidden(field + ".sizeLimit", "SizeLimit field must be a valid resource quantity");
      } else if (key == "hostPath") {
        if (Text(source, "path").empty()) Required(field + ".path");
        else NoBacksteps(field + ".path", Text(source, "path"));
        OneOf(field + ".type", Text(source, "type"), {"", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"});
      } else if (key == "secret") {
        if (Text(source, "secretName").empty()) Required(field + ".secretName");
        Files(source, field);
      } else if (key == "configMap") {
        if (Text(source, "name").empty()) Required(field + ".name");
        Files(source, field);
      } else if (key == "downwardAPI") {
        Downward(source, field);
      } else if (key == "projected") {
        InRange(source, field, "defaultMode", 0, 0777, "must be a number between 0 and 0777 (octal), both inclusive");
        ForEach(source, field, "sources", [&](const Value& s, const std::string& at) { Projection(s, at); });
      } else if (key == "image") {
        // Templates are let through by 1.36 (2.2).
        if (Text(source, "reference").empty() && place != PodPlace::kTemplate) Required(field + ".reference");
        PullPolicy(field + ".pullPolicy", Text(source, "pullPolicy"));
      }
    }
    if (sources == 0) Required(path, "must specify a volume type");
  }

  void Files(const Value& source, const std::string& path) {
    constexpr const char* kMode = "must be a number between 0 and 0777 (octal), both inclusive";
    InRange(source, path, "defaultMode", 0, 0777, kMode);
    ForEach(source, path, "items", [&](const Value& item, const std::string& field) {
      if (Text(item, "key").empty()) Required(field + ".key");
      if (Text(item, "path").empty()) Required(field + ".path");
      else LocalPath(field + ".path", Text(item, "path"));
      InRange(item, field, "mode", 0, 0777, kMode);
    });
  }
  void Downward(const Value& source, const std::string& path) {
    InRange(source, path, "defaultMode", 0, 0777, "must be a number between 0 and 0777 (octal), both inclusive");
    ForEach(source, path, "items", [&](const Value& item, const std::string& field) {
      if (Text(item, "path").empty()) Required(field + ".path");
      else LocalPath(field + ".path", Text(item, "path"));
      const auto ref = Member(item, "fieldRef"), resource = Member(item, "resourceFieldRef");
      if (ref && resource) Invalid(field, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
      if (!ref && !resource) Required(field, "one of fieldRef and resourceFieldRef is required");
      if (ref) FieldRef(*ref, field + ".fieldRef");
    });
  }
  void Projection(const Value& source, const std::string& path) {
    std::size_t kinds = 0;
    for (const auto& [key, part] : source.Members()) {
      if (part.IsNull()) continue;
      const std::string field = At(path, key);
      if (++kinds > 1) {
        Forbidden(field, "may not specify more than 1 volume type per source");
      } else if (key == "secret" || key == "configMap") {
        if (Text(part, "name").empty()) Required(field + ".name");
        Files(part, field);
      } else if (key == "downwardAPI") {
        Downward(part, field);
      } else if (key == "serviceAccountToken") {
        const auto seconds = Int(part, "expirationSeconds");
        if (seconds && *seconds < 600) Add(Type::kInvalid, field + ".expirationSeconds", std::to_string(*seconds), "may not specify a duration less than 10 minutes");
        if (Text(part, "path").empty()) Required(field + ".path");
        else LocalPath(field + ".path", Text(part, "path"));
      }
    }
    if (kinds == 0) Required(path, "must specify exactly one projection type");
  }

  // ---- Secret, ConfigMap

  void SecretData(const Value& secret) {
    std::size_t total = 0;
    std::map<std::string, std::string_view, std::less<>> data;
    if (const auto members = Member(secret, "data")) {
      for (const auto& [key, value] : members->Members()) {
        if (const std::string why = ConfigKey(key); !why.empty()) Invalid(Key("data", key), key, why);
        const std::string_view text = value.IsString() ? *value.AsString() : std::string_view();
        total += text.size() / 4 * 3;
        data.emplace(key, text);
      }
    }
    if (total > kSecretBytes) Add(Type::kTooLong, "data", "", "may not be more than " + std::to_string(kSecretBytes) + " bytes");
    const std::string type = Text(secret, "type");
    const auto required = [&](std::string_view key) {
      if (!data.contains(key)) Required(Key("data", key));
    };
    if (type == "kubernetes.io/dockercfg") DockerJson(data, ".dockercfg");
    else if (type == "kubernetes.io/dockerconfigjson") DockerJson(data, ".dockerconfigjson");
    else if (type == "kubernetes.io/ssh-auth") required("ssh-privatekey");
    else if (type == "kubernetes.io/tls") required("tls.crt"), required("tls.key");
    else if (type == "kubernetes.io/basic-auth" && !data.contains("username") && !data.contains("password"))
      required("username"), required("password");
    else if (type == "kubernetes.io/service-account-token") {
      const auto meta = Member(secret, "metadata");
      const auto annotations = meta ? Member(*meta, "annotations") : std::nullopt;
      if (!annotations || Text(*annotations, "kubernetes.io/service-account.name").empty())
        Required("metadata.annotations[kubernetes.io/service-account.name]");
    }
  }

  void DockerJson(const std::map<std::string, std::string_view, std::less<>>& data, std::string_view key) {
    const std::string field = Key("data", key);
    const auto it = data.find(key);
    if (it == data.end()) return Required(field);
    std::string text = bytes::FromBase64(it->second).value_or("");
    const bool empty = text.empty();
    const auto document = json::Document::Parse(text, Reason::kUsage, {.bytes = kSecretBytes * 2, .depth = 64, .values = 500'000});
    std::string why;
    if (!document) why = empty ? "unexpected end of JSON input" : "it is not valid JSON";
    else if (!document->root().IsObject() && !document->root().IsNull())
      why = std::string("json: cannot unmarshal ") + (document->root().IsArray() ? "array" : document->root().IsString() ? "string" : "value") +
            " into Go value of type map[string]interface {}";
    for (char& c : text) c = 0;
    if (!why.empty()) Invalid(field, "<secret contents redacted>", why);
  }

  void ConfigMapData(const Value& map) {
    std::size_t total = 0;
    std::set<std::string> seen;
    for (const char* part : {"data", "binaryData"}) {
      const auto members = Member(map, part);
      if (!members) continue;
      for (const auto& [key, value] : members->Members()) {
        if (const std::string why = ConfigKey(key); !why.empty()) Invalid(Key(part, key), key, why);
        if (!seen.insert(std::string(key)).second) Invalid(Key("data", key), key, "duplicate of key present in binaryData");
        total += value.IsString() ? (*value.AsString()).size() : 0;
      }
    }
    if (total > kSecretBytes) Add(Type::kTooLong, "", "", "may not be more than " + std::to_string(kSecretBytes) + " bytes");
  }

  void Event(const Value& event) {
    const auto about = Member(event, "involvedObject"), meta = Member(event, "metadata");
    const std::string ns = meta ? Text(*meta, "namespace") : "", other = about ? Text(*about, "namespace") : "";
    if (!other.empty() && other != ns) Invalid("involvedObject.namespace", other, "does not match event.namespace");
  }

 private:
  FieldErrors errors_;
};

// Everything an update may not touch, copied over; what still differs then was touched.
const Tree& Null() {
  static const Tree kNull;
  return kNull;
}
const Tree& Get(const Tree& t, std::string_view key) {
  const Tree* m = t.Find(key);
  return m == nullptr ? Null() : *m;
}
std::size_t Count(const Tree& spec, std::string_view key) { return Get(spec, key).items().size(); }

// "spec.containers[0].imagePullPolicy" for each leaf that differs; values are not shown.
void Differences(const Tree& a, const Tree& b, const std::string& path, std::string& out, int& room) {
  if (a == b || room <= 0) return;
  if (a.IsObject() && b.IsObject()) {
    std::set<std::string> keys;
    for (const auto& m : a.members()) keys.insert(m.first);
    for (const auto& m : b.members()) keys.insert(m.first);
    for (const std::string& key : keys) Differences(Get(a, key), Get(b, key), At(path, key), out, room);
  } else if (a.IsArray() && b.IsArray() && a.items().size() == b.items().size()) {
    for (std::size_t i = 0; i < a.items().size(); ++i) Differences(a.items()[i], b.items()[i], At(path, i), out, room);
  } else {
    --room;
    out += "  " + path + "\n";
  }
}

std::int64_t Number(const Tree& t) {
  const auto text = t.Dump();
  return t.kind() == Tree::Kind::kInteger ? std::stoll(text) : 0;
}

void PodUpdate(Judge& judge, const Tree& spec, const Tree& old) {
  for (const char* list : {"containers", "initContainers"}) {
    if (Count(spec, list) != Count(old, list)) return judge.Forbidden(At("spec", list), "pod updates may not add or remove containers");
  }
  Tree rest = spec;
  for (const char* list : {"containers", "initContainers"})
    for (std::size_t i = 0; i < Count(spec, list); ++i)
      if (const Tree* image = old.Find(list)->items()[i].Find("image")) rest[list].items()[i]["image"] = *image;
  const auto keep = [&](std::string_view key) {
    if (const Tree* before = old.Find(key)) rest[key] = *before;
    else rest.Erase(key);
  };
  if (const Tree* deadline = spec.Find("activeDeadlineSeconds"); deadline != nullptr && !deadline->IsNull()) {
    const Tree* before = old.Find("activeDeadlineSeconds");
    if (before != nullptr && !before->IsNull() && Number(*deadline) > Number(*before))
      judge.Add(Type::kInvalid, "spec.activeDeadlineSeconds", deadline->Dump(), "must be less than or equal to previous value");
    keep("activeDeadlineSeconds");
  } else if (old.Find("activeDeadlineSeconds") != nullptr && !old.Find("activeDeadlineSeconds")->IsNull()) {
    judge.Add(Type::kInvalid, "spec.activeDeadlineSeconds", "null", "must not update from a positive integer to nil value");
    keep("activeDeadlineSeconds");
  }
  const auto& tolerations = Get(spec, "tolerations").items();
  const bool only_added =
      std::all_of(Get(old, "tolerations").items().begin(), Get(old, "tolerations").items().end(),
                  [&](const Tree& t) { return std::find(tolerations.begin(), tolerations.end(), t) != tolerations.end(); });
  if (only_added) keep("tolerations");
  if (Number(Get(old, "terminationGracePeriodSeconds")) < 0 && Number(Get(spec, "terminationGracePeriodSeconds")) == 1) keep("terminationGracePeriodSeconds");
  if (rest == old) return;
  std::string list;
  int room = 20;
  Differences(rest, old, "spec", list, room);
  judge.Forbidden("spec",
                  "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
                  "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
                  "previously negative)\n" + list);
}

}  // namespace

std::string Dns1123Label(std::string_view name) {
  if (name.size() > 63) return TooLongText(63);
  if (IsLabelPart(name)) return "";
  return "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character "
         "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
}

bool IsLabelKey(std::string_view key) { return QualifiedName(key).empty(); }
bool IsLabelValue(std::string_view value) { return value.empty() || (value.size() <= kLabelBytes && IsNamePart(value)); }

std::string Dns1123Subdomain(std::string_view name) {
  if (name.size() > 253) return TooLongText(253);
  bool fine = true;
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find('.', start), name.size());
    fine &= IsLabelPart(name.substr(start, end - start));
    start = end + 1;
  }
  if (fine) return "";
  return "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
         "character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
}

FieldErrors ValidatePodSpec(const Value& spec, std::string_view path, PodPlace place) {
  Judge judge;
  judge.PodSpec(spec, std::string(path), place);
  return std::move(judge).Take();
}

FieldErrors Validate(const Value& object, PodPlace place) {
  Judge judge;
  const std::string kind = Text(object, "kind");
  judge.Metadata(object, kind);
  if (kind == "Pod") {
    const auto spec = Member(object, "spec");
    if (spec) judge.PodSpec(*spec, "spec", place);
    else judge.Required("spec.containers");
  } else if (kind == "Secret") {
    judge.SecretData(object);
  } else if (kind == "ConfigMap") {
    judge.ConfigMapData(object);
  } else if (kind == "Event") {
    judge.Event(object);
  }
  return std::move(judge).Take();
}

FieldErrors ValidateUpdate(const Value& object, const Value& old) {
  FieldErrors errors = Validate(object);
  Judge judge;
  const std::string kind = Text(object, "kind");
  const auto meta = Member(object, "metadata"), before = Member(old, "metadata");
  for (const char* key : {"name", "namespace", "uid", "creationTimestamp"})
    if (meta && before && Text(*meta, key) != Text(*before, key)) judge.Invalid(At("metadata", key), Text(*meta, key), "field is immutable");
  const Tree now(object), then(old);
  if (kind == "Pod") {
    PodUpdate(judge, Get(now, "spec"), Get(then, "spec"));
  } else if (kind == "Secret" || kind == "ConfigMap") {
    if (kind == "Secret" && Text(object, "type") != Text(old, "type")) judge.Invalid("type", Text(object, "type"), "field is immutable");
    if (True(old, "immutable")) {
      if (!True(object, "immutable")) judge.Forbidden("immutable", "field is immutable when `immutable` is set");
      for (const char* part : {"data", "binaryData"})
        if (Get(now, part) != Get(then, part)) judge.Forbidden(part, "field is immutable when `immutable` is set");
    }
  }
  for (FieldError& e : std::move(judge).Take()) errors.push_back(std::move(e));
  return errors;
}

FieldErrors ValidateEphemeralUpdate(const Value& object, const Value& old) {
  FieldErrors errors;
  if (const auto spec = Member(object, "spec")) errors = ValidatePodSpec(*spec, "spec", PodPlace::kPod);
  Judge judge;
  const Tree now(object), then(old);
  const Tree* mirror = Get(Get(then, "metadata"), "annotations").Find(kMirrorAnnotation);
  const std::string path = "spec.ephemeralContainers";
  if (mirror != nullptr) judge.Forbidden("", "static pods do not support ephemeral containers");
  const auto& added = Get(Get(now, "spec"), "ephemeralContainers").items();
  for (const Tree& c : Get(Get(then, "spec"), "ephemeralContainers").items()) {
    const auto it = std::find_if(added.begin(), added.end(), [&](const Tree& n) { return n.Text("name") == c.Text("name"); });
    if (it == added.end()) {
      judge.Forbidden(path, "existing ephemeral containers " + Quoted(c.Text("name")) + " may not be removed\n");
    } else if (*it != c) {
      std::string list;
      int room = 20;
      Differences(*it, c, path, list, room);
      judge.Forbidden(path, "existing ephemeral containers " + Quoted(c.Text("name")) + " may not be changed\n" + list);
    }
  }
  for (FieldError& e : std::move(judge).Take()) errors.push_back(std::move(e));
  return errors;
}

}  // namespace berth::kube
