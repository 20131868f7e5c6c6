#include "kube/parse.h"

#include <algorithm>
#include <array>
#include <limits>

#include "bytes/encoding.h"
#include "kube/quantity.h"
#include "kube/schema.h"
#include "kube/selector.h"
#include "kube/timestamp.h"

namespace berth::kube {
namespace {

using json::Value;
using JsonKind = Value::Kind;

constexpr std::size_t kUnknownFields = 100;
constexpr json::Limits kLimits{.bytes = 16u << 20, .depth = 64, .values = 500'000};

// ---- fields and types

std::string_view GoWord(const Value& v) {
  switch (v.kind()) {
    case JsonKind::kNull: return "null";
    case JsonKind::kBool: return "bool";
    case JsonKind::kInteger:
    case JsonKind::kReal: return "number";
    case JsonKind::kString: return "string";
    case JsonKind::kArray: return "array";
    case JsonKind::kObject: return "object";
  }
  return "";
}

// "spec.containers[0]" + "image"; odd keys of maps in brackets, as Kubernetes' field paths have them.
std::string Join(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

class FieldChecker {
 public:
  explicit FieldChecker(FieldReport& report) : report_(report) {}

  // `go` is the path as Go's messages have it: no indexes, no keys of maps.
  void Struct(const Value& v, const Type& type, const std::string& path, const std::string& go) {
    for (const auto& [key, member] : v.Members()) {
      if (report_.wrong) return;
      const Field* field = type.Find(key);
      if (field != nullptr) {
        Shaped(member, field->type, type, Join(path, key), Join(go, key));
      } else if (report_.unknown.size() < kUnknownFields) {
        const std::string place = Join(path, key);
        report_.unknown.push_back({place, "unknown field " + Quoted(place)});
      }
    }
  }

 private:
  using Shape = FieldType::Shape;

  void Shaped(const Value& v, const FieldType& type, const Type& owner, const std::string& path, const std::string& go) {
    if (v.IsNull() || report_.wrong) return;
    switch (type.shape) {
      case Shape::kSingle: return Single(v, type, owner, path, go);
      case Shape::kList:
        if (!v.IsArray()) return Wrong(v, "[]" + GoName(type), owner, path, go);
        for (std::size_t i = 0; i < v.size(); ++i)
          if (!v.at(i).IsNull()) Single(v.at(i), type, owner, path + "[" + std::to_string(i) + "]", go);
        return;
      case Shape::kMap:
        if (!v.IsObject()) return Wrong(v, MapName(type), owner, path, go);
        for (const auto& [key, member] : v.Members())
          if (!member.IsNull()) Single(member, type, owner, path + "[" + std::string(key) + "]", go);
        return;
    }
  }

  void Single(const Value& v, const FieldType& type, const Type& owner, const std::string& path, const std::string& go) {
    using Kind = FieldType::Kind;
    if (report_.wrong) return;
    const bool number = v.kind() == JsonKind::kInteger || v.kind() == JsonKind::kReal;
    switch (type.kind) {
      case Kind::kAny: return;
      case Kind::kString:
      case Kind::kDuration:
        if (!v.IsString()) Wrong(v, GoName(type), owner, path, go);
        return;
      case Kind::kBool:
        if (v.kind() != JsonKind::kBool) Wrong(v, GoName(type), owner, path, go);
        return;
      case Kind::kInt32:
      case Kind::kInt64: {
        if (!number) return Wrong(v, GoName(type), owner, path, go);
        const Result<std::int64_t> value = v.AsInt64();
        using Small = std::numeric_limits<std::int32_t>;
        if (!value || (type.kind == Kind::kInt32 && (*value < Small::min() || *value > Small::max())))
          Wrong(v, GoName(type), owner, path, go, "number " + v.Dump().substr(0, 40));
        return;
      }
      case Kind::kTime:
        if (!v.IsString()) return Wrong(v, "string", owner, path, go);
        if (!ParseTime(*v.AsString())) Say(path, path + " must be a time as in RFC 3339 (2006-01-02T15:04:05Z)");
        return;
      case Kind::kQuantity:
        if (!(number || v.IsString()) || !IsQuantity(v.IsString() ? *v.AsString() : v.Dump()))
          Say(path, "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
        return;
      case Kind::kIntOrString:
        if (!v.IsString() && v.kind() != JsonKind::kInteger) Wrong(v, "intstr.IntOrString", owner, path, go);
        return;
      case Kind::kBytes:
        if (!v.IsString()) return Wrong(v, "[]uint8", owner, path, go);
        if (!Decode(*v.AsString())) Say(path, "illegal base64 data in " + path);
        return;
      case Kind::kObject:
        if (!v.IsObject()) Wrong(v, GoName(type), owner, path, go);
        return;
      case Kind::kStruct:
        if (!v.IsObject()) return Wrong(v, GoName(type), owner, path, go);
        return Struct(v, *type.type, path, go);
    }
  }

 public:
  // Base64 as Go decodes it: line breaks do not count.
  static std::optional<std::string> Decode(std::string_view text) {
    if (text.find_first_of("\r\n") == std::string_view::npos) return bytes::FromBase64(text);
    std::string bare(text);
    std::erase_if(bare, [](char c) { return c == '\r' || c == '\n'; });
    auto out = bytes::FromBase64(bare);
    secret::Secret::Wipe(bare);
    return out;
  }

 private:
  static std::string GoName(const FieldType& type) {
    return type.kind == FieldType::Kind::kStruct ? "v1." + std::string(type.type->name) : std::string(type.go);
  }
  static std::string MapName(const FieldType& type) {
    // Two maps have a type of their own.
    return type.kind == FieldType::Kind::kQuantity ? "v1.ResourceList" : "map[string]" + GoName(type);
  }

  void Say(const std::string& path, std::string message) {
    if (!report_.wrong) report_.wrong = Mistake{path, std::move(message)};
  }
  void Wrong(const Value& v, const std::string& wanted, const Type& owner, const std::string& path, const std::string& go,
             std::string found = "") {
    if (found.empty()) found = GoWord(v);
    Say(path, "json: cannot unmarshal " + found + " into Go struct field " + std::string(owner.name) + "." + go + " of type " + wanted);
  }

  FieldReport& report_;
};

// ---- kinds

struct KindRow {
  std::string_view kind, resource;
  bool namespaced;
};
constexpr KindRow kKinds[] = {{"Pod", "pods", true}, {"Secret", "secrets", true}, {"ConfigMap", "configmaps", true},
                              {"ServiceAccount", "serviceaccounts", true}, {"Namespace", "namespaces", false}, {"Event", "events", true},
                              {"Node", "nodes", false}};

// ---- typed views: their input has passed FieldChecker, so that what is there has its type

std::optional<Value> Member(const Value& v, std::string_view key) {
  auto found = v.Find(key);
  if (found && found->IsNull()) found.reset();
  return found;
}
std::string Text(const Value& v, std::string_view key) {
  const auto m = Member(v, key);
  return m && m->IsString() ? std::string(*m->AsString()) : "";
}
std::optional<bool> OptionalBool(const Value& v, std::string_view key) {
  const auto m = Member(v, key);
  const Result<bool> b = m ? m->AsBool() : Result<bool>(false);
  return m && b ? std::optional(*b) : std::nullopt;
}
bool Bool(const Value& v, std::string_view key) { return OptionalBool(v, key).value_or(false); }
std::optional<std::int64_t> OptionalInt(const Value& v, std::string_view key) {
  const auto m = Member(v, key);
  const Result<std::int64_t> n = m ? m->AsInt64() : Result<std::int64_t>(0);
  return m && n ? std::optional(*n) : std::nullopt;
}
std::optional<std::int32_t> OptionalInt32(const Value& v, std::string_view key) {
  const auto n = OptionalInt(v, key);
  return n ? std::optional(static_cast<std::int32_t>(*n)) : std::nullopt;
}
std::int32_t Int32(const Value& v, std::string_view key) { return OptionalInt32(v, key).value_or(0); }
std::optional<time::WallTime> Time(const Value& v, std::string_view key) { return ParseTime(Text(v, key)); }

// Of a number, too: a quantity may be one.
std::string Loose(const Value& v) { return v.IsString() ? std::string(*v.AsString()) : v.Dump(); }
StringMap Map(const Value& v, std::string_view key) {
  StringMap out;
  if (const auto m = Member(v, key))
    for (const auto& [name, value] : m->Members()) out.emplace(name, value.IsNull() ? "" : Loose(value));
  return out;
}

template <class Read>
auto List(const Value& v, std::string_view key, Read read) {
  std::vector<decltype(read(v))> out;
  const auto m = Member(v, key);
  const std::size_t n = m && m->IsArray() ? m->size() : 0;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) out.push_back(read(m->at(i)));
  return out;
}
std::vector<std::string> Texts(const Value& v, std::string_view key) {
  return List(v, key, [](const Value& item) { return item.IsString() ? std::string(*item.AsString()) : ""; });
}
std::vector<std::string> Names(const Value& v, std::string_view key, std::string_view of = "name") {
  return List(v, key, [&](const Value& item) { return Text(item, of); });
}
template <class Read>
auto Optional(const Value& v, std::string_view key, Read read) -> std::optional<decltype(read(v))> {
  if (const auto m = Member(v, key)) return read(*m);
  return std::nullopt;
}
// The member, or an empty object.
Value Part(const Value& v, std::string_view key) {
  static const Result<json::Document> kEmpty = json::Document::Parse("{}", Reason::kUsage);
  return Member(v, key).value_or(kEmpty->root());
}

FieldSelector ReadFieldRef(const Value& v) { return {Text(v, "apiVersion"), Text(v, "fieldPath")}; }
ResourceFieldSelector ReadResourceRef(const Value& v) {
  return {Text(v, "containerName"), Text(v, "resource"), Member(v, "divisor") ? Loose(*Member(v, "divisor")) : ""};
}
KeySelector ReadKeyRef(const Value& v) { return {Text(v, "name"), Text(v, "key"), Bool(v, "optional")}; }

EnvVar ReadEnv(const Value& v) {
  const Value from = Part(v, "valueFrom");
  return {.name = Text(v, "name"), .value = Text(v, "value"), .secret_key = Optional(from, "secretKeyRef", ReadKeyRef),
          .config_map_key = Optional(from, "configMapKeyRef", ReadKeyRef), .field = Optional(from, "fieldRef", ReadFieldRef),
          .resource_field = Optional(from, "resourceFieldRef", ReadResourceRef)};
}
EnvFrom ReadEnvFrom(const Value& v) {
  const Value secret = Part(v, "secretRef"), map = Part(v, "configMapRef");
  return {Text(v, "prefix"), Text(secret, "name"), Text(map, "name"), Bool(secret, "optional") || Bool(map, "optional")};
}
ContainerPort ReadPort(const Value& v) {
  return {Text(v, "name"), Text(v, "protocol"), Text(v, "hostIP"), Int32(v, "containerPort"), Int32(v, "hostPort")};
}
VolumeMount ReadMount(const Value& v) {
  return {Text(v, "name"), Text(v, "mountPath"), Text(v, "subPath"), Text(v, "subPathExpr"), Text(v, "mountPropagation"),
          Text(v, "recursiveReadOnly"), Bool(v, "readOnly")};
}
SeLinuxOptions ReadSeLinux(const Value& v) { return {Text(v, "user"), Text(v, "role"), Text(v, "type"), Text(v, "level")}; }
SeccompProfile ReadProfile(const Value& v) { return {Text(v, "type"), Text(v, "localhostProfile")}; }

SecurityContext ReadSecurity(const Value& v) {
  const Value capabilities = Part(v, "capabilities");
  return {.run_as_user = OptionalInt(v, "runAsUser"), .run_as_group = OptionalInt(v, "runAsGroup"), .run_as_non_root = OptionalBool(v, "runAsNonRoot"),
          .read_only_root_filesystem = OptionalBool(v, "readOnlyRootFilesystem"), .privileged = OptionalBool(v, "privileged"),
          .allow_privilege_escalation = OptionalBool(v, "allowPrivilegeEscalation"), .add_capabilities = Texts(capabilities, "add"),
          .drop_capabilities = Texts(capabilities, "drop"), .proc_mount = Text(v, "procMount"), .selinux = Optional(v, "seLinuxOptions", ReadSeLinux),
          .seccomp = Optional(v, "seccompProfile", ReadProfile), .apparmor = Optional(v, "appArmorProfile", ReadProfile)};
}
std::pair<std::string, std::string> ReadPair(const Value& v) { return {Text(v, "name"), Text(v, "value")}; }
PodSecurityContext ReadPodSecurity(const Value& v) {
  return {.run_as_user = OptionalInt(v, "runAsUser"), .run_as_group = OptionalInt(v, "runAsGroup"), .fs_group = OptionalInt(v, "fsGroup"),
          .run_as_non_root = OptionalBool(v, "runAsNonRoot"),
          .supplemental_groups = List(v, "supplementalGroups", [](const Value& g) { return g.AsInt64().value_or(0); }),
          .supplemental_groups_policy = Text(v, "supplementalGroupsPolicy"), .fs_group_change_policy = Text(v, "fsGroupChangePolicy"),
          .sysctls = List(v, "sysctls", ReadPair), .selinux = Optional(v, "seLinuxOptions", ReadSeLinux),
          .seccomp = Optional(v, "seccompProfile", ReadProfile), .apparmor = Optional(v, "appArmorProfile", ReadProfile)};
}
LifecycleHandler ReadHandler(const Value& v) {
  return {.exec = Texts(Part(v, "exec"), "command"), .sleep_seconds = OptionalInt(Part(v, "sleep"), "seconds"),
          .other = Member(v, "httpGet") || Member(v, "tcpSocket")};
}

Container ReadContainer(const Value& v) {
  const Value resources = Part(v, "resources"), lifecycle = Part(v, "lifecycle");
  Container c;
  c.name = Text(v, "name");
  c.image = Text(v, "image");
  c.image_pull_policy = Text(v, "imagePullPolicy");
  c.working_dir = Text(v, "workingDir");
  c.command = Texts(v, "command");
  c.args = Texts(v, "args");
  c.env = List(v, "env", ReadEnv);
  c.env_from = List(v, "envFrom", ReadEnvFrom);
  c.ports = List(v, "ports", ReadPort);
  c.resources = {Map(resources, "limits"), Map(resources, "requests")};
  c.volume_mounts = List(v, "volumeMounts", ReadMount);
  c.volume_devices = List(v, "volumeDevices", [](const Value& d) { return VolumeDevice{Text(d, "name"), Text(d, "devicePath")}; });
  c.security_context = Optional(v, "securityContext", ReadSecurity);
  c.post_start = Optional(lifecycle, "postStart", ReadHandler);
  c.pre_stop = Optional(lifecycle, "preStop", ReadHandler);
  c.stop_signal = Text(lifecycle, "stopSignal");
  c.has_liveness_probe = Member(v, "livenessProbe").has_value();
  c.has_readiness_probe = Member(v, "readinessProbe").has_value();
  c.has_startup_probe = Member(v, "startupProbe").has_value();
  c.in = Bool(v, "stdin");
  c.stdin_once = Bool(v, "stdinOnce");
  c.tty = Bool(v, "tty");
  c.termination_message_path = Text(v, "terminationMessagePath");
  c.termination_message_policy = Text(v, "terminationMessagePolicy");
  c.restart_policy = Text(v, "restartPolicy");
  c.target_container_name = Text(v, "targetContainerName");
  return c;
}

KeyToPath ReadItem(const Value& v) { return {Text(v, "key"), Text(v, "path"), OptionalInt32(v, "mode")}; }
DownwardFile ReadDownward(const Value& v) {
  return {Text(v, "path"), Optional(v, "fieldRef", ReadFieldRef), Optional(v, "resourceFieldRef", ReadResourceRef), OptionalInt32(v, "mode")};
}
// A source of files by its member's name in a volume or a projection; nullopt: another one.
std::optional<FilesSource> ReadFiles(std::string_view source, const Value& v) {
  using Kind = FilesSource::Kind;
  FilesSource f{.items = List(v, "items", ReadItem), .optional = Bool(v, "optional")};
  if (source == "secret") {
    f.name = Member(v, "secretName") ? Text(v, "secretName") : Text(v, "name");
  } else if (source == "configMap") {
    f.kind = Kind::kConfigMap;
    f.name = Text(v, "name");
  } else if (source == "downwardAPI") {
    f = {.kind = Kind::kDownward, .downward = List(v, "items", ReadDownward)};
  } else if (source == "serviceAccountToken") {
    f = {.kind = Kind::kServiceAccountToken, .audience = Text(v, "audience"), .path = Text(v, "path"), .expiration_seconds = OptionalInt(v, "expirationSeconds")};
  } else {
    return std::nullopt;
  }
  return f;
}

Volume ReadVolume(const Value& v) {
  using Kind = Volume::Kind;
  Volume out{.name = Text(v, "name")};
  for (const auto& [key, source] : v.Members()) {
    if (key == "name" || source.IsNull()) continue;
    out.source = key;
    out.kind = Kind::kUnsupported;
    if (key == "emptyDir") {
      out.kind = Kind::kEmptyDir;
      out.medium = Text(source, "medium");
      if (const auto limit = Member(source, "sizeLimit")) out.size_limit = Loose(*limit);
    } else if (key == "hostPath") {
      out.kind = Kind::kHostPath;
      out.path = Text(source, "path");
      out.type = Text(source, "type");
    } else if (key == "image") {
      out.kind = Kind::kImage;
      out.reference = Text(source, "reference");
      out.pull_policy = Text(source, "pullPolicy");
    } else if (key == "projected") {
      out.kind = Kind::kFiles;
      const auto parts = Member(source, "sources");
      for (std::size_t i = 0; parts && i < parts->size(); ++i)
        for (const auto& [name, part] : parts->at(i).Members()) {
          auto files = ReadFiles(name, part);
          if (files) out.files.push_back(*std::move(files));
          else out.kind = Kind::kUnsupported;
        }
    } else if (auto files = ReadFiles(key, source)) {
      out.kind = Kind::kFiles;
      out.files.push_back(*std::move(files));
    }
    out.default_mode = OptionalInt32(source, "defaultMode").value_or(0644);
  }
  return out;
}

PodCondition ReadCondition(const Value& v) {
  return {Text(v, "type"), Text(v, "status"), Text(v, "reason"), Text(v, "message"), Time(v, Member(v, "lastProbeTime") ? "lastProbeTime" : "lastHeartbeatTime"),
          Time(v, "lastTransitionTime"), OptionalInt(v, "observedGeneration").value_or(0)};
}
ContainerState ReadState(const Value& v) {
  ContainerState s;
  s.waiting = Optional(v, "waiting", [](const Value& w) { return ContainerState::Waiting{Text(w, "reason"), Text(w, "message")}; });
  s.running = Optional(v, "running", [](const Value& r) { return ContainerState::Running{Time(r, "startedAt")}; });
  s.terminated = Optional(v, "terminated", [](const Value& t) {
    return ContainerState::Terminated{Int32(t, "exitCode"), Int32(t, "signal"), Text(t, "reason"), Text(t, "message"),
                                      Text(t, "containerID"), Time(t, "startedAt"), Time(t, "finishedAt")};
  });
  return s;
}
ContainerStatus ReadContainerStatus(const Value& v) {
  return {.name = Text(v, "name"), .image = Text(v, "image"), .image_id = Text(v, "imageID"), .container_id = Text(v, "containerID"),
          .state = ReadState(Part(v, "state")), .last_state = ReadState(Part(v, "lastState")), .ready = Bool(v, "ready"),
          .started = OptionalBool(v, "started"), .restart_count = Int32(v, "restartCount"),
          .volume_mounts = List(v, "volumeMounts", [](const Value& m) {
            return ContainerStatus::VolumeImage{Text(m, "name"), Text(m, "mountPath"), Text(Part(Part(m, "volumeStatus"), "image"), "imageRef"), Bool(m, "readOnly")};
          })};
}
PodStatus ReadStatus(const Value& v) {
  return {.phase = Text(v, "phase"), .reason = Text(v, "reason"), .message = Text(v, "message"), .host_ip = Text(v, "hostIP"),
          .pod_ip = Text(v, "podIP"), .qos_class = Text(v, "qosClass"), .nominated_node_name = Text(v, "nominatedNodeName"),
          .host_ips = Names(v, "hostIPs", "ip"), .pod_ips = Names(v, "podIPs", "ip"), .conditions = List(v, "conditions", ReadCondition),
          .start_time = Time(v, "startTime"), .init_container_statuses = List(v, "initContainerStatuses", ReadContainerStatus),
          .container_statuses = List(v, "containerStatuses", ReadContainerStatus),
          .ephemeral_container_statuses = List(v, "ephemeralContainerStatuses", ReadContainerStatus),
          .observed_generation = OptionalInt(v, "observedGeneration").value_or(0)};
}

json::Document Reread(const Object& object) {
  Result<json::Document> document = json::Document::Parse(object.json, Reason::kCorrupt, kLimits);
  return *std::move(document);  // we wrote it
}

}  // namespace

FieldReport CheckFields(const Value& value, std::string_view type) {
  FieldReport report;
  const Type* known = FindType(type);
  BERTH_CHECK(known != nullptr);
  if (value.IsObject()) FieldChecker(report).Struct(value, *known, "", "");
  else report.wrong = Mistake{"", "json: cannot unmarshal " + std::string(GoWord(value)) + " into Go value of type v1." + std::string(type)};
  return report;
}

bool IsKind(std::string_view kind) { return !ResourceOf(kind).empty(); }
std::string_view ResourceOf(std::string_view kind) {
  for (const KindRow& row : kKinds)
    if (row.kind == kind) return row.resource;
  return "";
}
std::string_view KindOf(std::string_view resource) {
  for (const KindRow& row : kKinds)
    if (row.resource == resource) return row.kind;
  return "";
}
bool IsNamespaced(std::string_view kind) {
  for (const KindRow& row : kKinds)
    if (row.kind == kind) return row.namespaced;
  return false;
}

Result<Parsed> ParseObject(const Value& value) {
  if (!value.IsObject()) return Error(Reason::kUsage, "an object is wanted (apiVersion, kind, metadata, …)");
  const std::string kind = Text(value, "kind"), version = Text(value, "apiVersion");
  if (kind.empty()) return Error(Reason::kUsage, "Object 'Kind' is missing").Next("add kind: Pod, or what it is");
  if (version.empty()) return Error(Reason::kUsage, "Object 'apiVersion' is missing").Next("add apiVersion: v1");
  if (version != "v1" || !IsKind(kind)) {
    return Error(Reason::kUsage, "no matches for kind " + Quoted(kind) + " in version " + Quoted(version))
        .Next("berth takes Pod, Secret, ConfigMap, ServiceAccount, Namespace and Event of apiVersion v1");
  }
  FieldReport report = CheckFields(value, kind);
  if (report.wrong) return Error(Reason::kUsage, kind + " in version \"v1\" cannot be handled as a " + kind + ": " + report.wrong->message);
  Parsed out{{.api_version = version, .kind = kind, .metadata = ReadMeta(Part(value, "metadata")), .json = value.Dump(),
              .selectable = Selectable(value, kind)},
             std::move(report.unknown)};
  return out;
}

Result<Parsed> ParseObject(const json::Tree& tree) {
  ASSIGN_OR_RETURN(const json::Document document, json::Document::Parse(tree.Dump(), Reason::kUsage, kLimits));
  return ParseObject(document.root());
}

std::vector<Value> Items(const Value& value) {
  const auto items = value.Find("items");
  if (!Text(value, "kind").ends_with("List") || !items || !items->IsArray()) return {value};
  std::vector<Value> out;
  for (std::size_t i = 0; i < items->size(); ++i) out.push_back(items->at(i));
  return out;
}

ObjectMeta ReadMeta(const Value& v) {
  return {.name = Text(v, "name"), .generate_name = Text(v, "generateName"), .ns = Text(v, "namespace"), .uid = Text(v, "uid"),
          .resource_version = Text(v, "resourceVersion"), .generation = OptionalInt(v, "generation").value_or(0),
          .creation_timestamp = Time(v, "creationTimestamp"), .deletion_timestamp = Time(v, "deletionTimestamp"),
          .deletion_grace_period_seconds = OptionalInt(v, "deletionGracePeriodSeconds"), .labels = Map(v, "labels"),
          .annotations = Map(v, "annotations"), .finalizers = Texts(v, "finalizers"),
          .owner_references = List(v, "ownerReferences", [](const Value& o) {
            return OwnerReference{Text(o, "apiVersion"), Text(o, "kind"), Text(o, "name"), Text(o, "uid"), Bool(o, "controller"), Bool(o, "blockOwnerDeletion")};
          })};
}

PodSpec ReadPodSpec(const Value& v) {
  PodSpec s;
  s.init_containers = List(v, "initContainers", ReadContainer);
  s.containers = List(v, "containers", ReadContainer);
  s.ephemeral_containers = List(v, "ephemeralContainers", ReadContainer);
  s.volumes = List(v, "volumes", ReadVolume);
  s.image_pull_secrets = Names(v, "imagePullSecrets");
  s.service_account_name = Text(v, "serviceAccountName");
  if (s.service_account_name.empty()) s.service_account_name = Text(v, "serviceAccount");
  s.restart_policy = Text(v, "restartPolicy");
  s.dns_policy = Text(v, "dnsPolicy");
  s.hostname = Text(v, "hostname");
  s.subdomain = Text(v, "subdomain");
  s.node_name = Text(v, "nodeName");
  s.runtime_class_name = Text(v, "runtimeClassName");
  s.scheduler_name = Text(v, "schedulerName");
  s.priority_class_name = Text(v, "priorityClassName");
  s.preemption_policy = Text(v, "preemptionPolicy");
  s.termination_grace_period_seconds = OptionalInt(v, "terminationGracePeriodSeconds");
  s.active_deadline_seconds = OptionalInt(v, "activeDeadlineSeconds");
  s.priority = OptionalInt32(v, "priority");
  s.automount_service_account_token = OptionalBool(v, "automountServiceAccountToken");
  s.set_hostname_as_fqdn = OptionalBool(v, "setHostnameAsFQDN");
  s.enable_service_links = OptionalBool(v, "enableServiceLinks");
  s.host_users = OptionalBool(v, "hostUsers");
  s.host_network = Bool(v, "hostNetwork");
  s.host_pid = Bool(v, "hostPID");
  s.host_ipc = Bool(v, "hostIPC");
  s.share_process_namespace = Bool(v, "shareProcessNamespace");
  s.security_context = ReadPodSecurity(Part(v, "securityContext"));
  s.node_selector = Map(v, "nodeSelector");
  s.overhead = Map(v, "overhead");
  const Value dns = Part(v, "dnsConfig");
  s.dns_config = {Texts(dns, "nameservers"), Texts(dns, "searches"), List(dns, "options", ReadPair)};
  s.host_aliases = List(v, "hostAliases", [](const Value& a) { return HostAlias{Text(a, "ip"), Texts(a, "hostnames")}; });
  s.tolerations = List(v, "tolerations", [](const Value& t) {
    return Toleration{Text(t, "key"), Text(t, "operator"), Text(t, "value"), Text(t, "effect"), OptionalInt(t, "tolerationSeconds")};
  });
  return s;
}

Pod ReadPod(const Object& object) {
  const json::Document document = Reread(object);
  const Value root = document.root();
  return {object.metadata, ReadPodSpec(Part(root, "spec")), ReadStatus(Part(root, "status"))};
}

Secret ReadSecret(const Object& object) {
  const json::Document document = Reread(object);
  const Value root = document.root();
  Secret out{.metadata = object.metadata, .type = Text(root, "type"), .immutable = Bool(root, "immutable")};
  for (const auto& [key, value] : Part(root, "data").Members()) {
    std::string data = value.IsNull() ? "" : FieldChecker::Decode(*value.AsString()).value_or("");
    out.data.insert_or_assign(std::string(key), secret::Secret::Take(data));
  }
  for (const auto& [key, value] : Part(root, "stringData").Members())
    out.data.insert_or_assign(std::string(key), secret::Secret(value.IsNull() ? "" : *value.AsString()));
  return out;
}

ConfigMap ReadConfigMap(const Object& object) {
  const json::Document document = Reread(object);
  const Value root = document.root();
  ConfigMap out{.metadata = object.metadata, .data = Map(root, "data"), .immutable = Bool(root, "immutable")};
  for (const auto& [key, value] : Map(root, "binaryData")) out.binary_data.emplace(key, FieldChecker::Decode(value).value_or(""));
  return out;
}

ServiceAccount ReadServiceAccount(const Object& object) {
  const json::Document document = Reread(object);
  const Value root = document.root();
  return {object.metadata, Names(root, "imagePullSecrets"), Names(root, "secrets"), OptionalBool(root, "automountServiceAccountToken")};
}

Namespace ReadNamespace(const Object& object) {
  const json::Document document = Reread(object);
  return {object.metadata, Text(Part(document.root(), "status"), "phase")};
}

Event ReadEvent(const Object& object) {
  const json::Document document = Reread(object);
  const Value root = document.root();
  const Value about = Part(root, "involvedObject"), source = Part(root, "source");
  return {.metadata = object.metadata,
          .involved = {Text(about, "apiVersion"), Text(about, "kind"), Text(about, "namespace"), Text(about, "name"), Text(about, "uid"),
                       Text(about, "resourceVersion"), Text(about, "fieldPath")},
          .type = Text(root, "type"), .reason = Text(root, "reason"), .message = Text(root, "message"), .component = Text(source, "component"),
          .host = Text(source, "host"), .reporting_component = Text(root, "reportingComponent"), .reporting_instance = Text(root, "reportingInstance"),
          .count = OptionalInt32(root, "count").value_or(1), .first_timestamp = Time(root, "firstTimestamp"), .last_timestamp = Time(root, "lastTimestamp")};
}

Node ReadNode(const Object& object) {
  const json::Document document = Reread(object);
  const Value status = Part(document.root(), "status");
  return {.metadata = object.metadata, .unschedulable = Bool(Part(document.root(), "spec"), "unschedulable"), .capacity = Map(status, "capacity"),
          .allocatable = Map(status, "allocatable"), .node_info = Map(status, "nodeInfo"),
          .addresses = List(status, "addresses", [](const Value& a) { return std::pair(Text(a, "type"), Text(a, "address")); }),
          .conditions = List(status, "conditions", ReadCondition),
          .images = List(status, "images", [](const Value& i) { return Node::Image{Texts(i, "names"), OptionalInt(i, "sizeBytes").value_or(0)}; })};
}

std::vector<std::string_view> PodSpecPath(std::string_view kind) {
  if (kind == "Pod") return {"spec"};
  if (kind == "PodTemplate") return {"template", "spec"};
  if (kind == "CronJob") return {"spec", "jobTemplate", "spec", "template", "spec"};
  for (const char* k : {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"})
    if (kind == k) return {"spec", "template", "spec"};
  return {};
}

}  // namespace berth::kube
