// kube/objects.h: the Kubernetes objects we speak, as plain values.
//
// An Object is what a user sent, whole: its JSON text, with every field, known to us or not, and the metadata every kind has. The
// typed structs (Pod, Secret, …) are views for our own code, read from that text by kube/parse.h; they leave out what we do not
// use and are never written back over it. Our own writing goes the other way: a status becomes JSON (kube/write.h) and replaces
// that one member (objects::Store::UpdateStatus; Events through its Record).
//
// Strings hold what the JSON held; enumerations stay strings (kube/validate.h has checked them). An absent field is "",
// an empty list or nullopt; where absent and empty differ to Kubernetes it is an optional. Field names are Kubernetes' own in
// snake_case; their meaning is the API reference's (v1.36). Quantities and times are read on demand: kube/quantity.h,
// kube/timestamp.h.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "secret/secret.h"
#include "time/clock.h"

namespace berth::kube {

using StringMap = std::map<std::string, std::string>;

struct OwnerReference {
  std::string api_version, kind, name, uid;
  bool controller = false, block_owner_deletion = false;
};

struct ObjectMeta {
  std::string name, generate_name, ns, uid, resource_version;
  std::int64_t generation = 0;
  std::optional<time::WallTime> creation_timestamp, deletion_timestamp;
  std::optional<std::int64_t> deletion_grace_period_seconds;
  StringMap labels, annotations;
  std::vector<std::string> finalizers;
  std::vector<OwnerReference> owner_references;
};

// Any object, whole. `json` is one JSON document (an object with apiVersion and kind, members sorted).
struct Object {
  std::string api_version, kind;
  ObjectMeta metadata;
  std::string json;
  std::vector<std::string> selectable;  // what field selectors of this kind compare (kube/selector.h)
};

// ---- Pod, the wish

struct KeySelector {  // of a ConfigMap or Secret
  std::string name, key;
  bool optional = false;
};
struct FieldSelector {
  std::string api_version, field_path;
};
struct ResourceFieldSelector {
  std::string container_name, resource, divisor;
};
struct EnvVar {
  std::string name, value;
  std::optional<KeySelector> secret_key, config_map_key;
  std::optional<FieldSelector> field;
  std::optional<ResourceFieldSelector> resource_field;
};
struct EnvFrom {
  std::string prefix;
  std::string secret, config_map;  // one of them
  bool optional = false;
};

struct ContainerPort {
  std::string name, protocol, host_ip;
  std::int32_t container_port = 0, host_port = 0;
};

struct ResourceRequirements {
  StringMap limits, requests;  // name -> quantity as written
};

struct VolumeMount {
  std::string name, mount_path, sub_path, sub_path_expr, mount_propagation, recursive_read_only;
  bool read_only = false;
};
struct VolumeDevice {
  std::string name, device_path;
};

struct SeLinuxOptions {
  std::string user, role, type, level;
};
struct SeccompProfile {
  std::string type, localhost_profile;  // also AppArmor's
};
struct SecurityContext {
  std::optional<std::int64_t> run_as_user, run_as_group;
  std::optional<bool> run_as_non_root, read_only_root_filesystem, privileged, allow_privilege_escalation;
  std::vector<std::string> add_capabilities, drop_capabilities;
  std::string proc_mount;
  std::optional<SeLinuxOptions> selinux;
  std::optional<SeccompProfile> seccomp, apparmor;
};
struct PodSecurityContext {
  std::optional<std::int64_t> run_as_user, run_as_group, fs_group;
  std::optional<bool> run_as_non_root;
  std::vector<std::int64_t> supplemental_groups;
  std::string supplemental_groups_policy, fs_group_change_policy;
  std::vector<std::pair<std::string, std::string>> sysctls;
  std::optional<SeLinuxOptions> selinux;
  std::optional<SeccompProfile> seccomp, apparmor;
};

struct LifecycleHandler {
  std::vector<std::string> exec;              // empty: not an exec handler
  std::optional<std::int64_t> sleep_seconds;
  bool other = false;                         // httpGet, tcpSocket: there, not supported
};

// Also an init container (restart_policy "Always": a sidecar) and an ephemeral one (target_container_name).
struct Container {
  std::string name, image, image_pull_policy, working_dir;
  std::vector<std::string> command, args;
  std::vector<EnvVar> env;
  std::vector<EnvFrom> env_from;
  std::vector<ContainerPort> ports;
  ResourceRequirements resources;
  std::vector<VolumeMount> volume_mounts;
  std::vector<VolumeDevice> volume_devices;
  std::optional<SecurityContext> security_context;
  std::optional<LifecycleHandler> post_start, pre_stop;
  std::string stop_signal;                    // lifecycle.stopSignal
  bool has_liveness_probe = false, has_readiness_probe = false, has_startup_probe = false;
  bool in = false, stdin_once = false, tty = false;  // `in`: stdin, which is a macro
  std::string termination_message_path, termination_message_policy;
  std::string restart_policy;
  std::string target_container_name;
};

struct KeyToPath {
  std::string key, path;
  std::optional<std::int32_t> mode;
};
struct DownwardFile {
  std::string path;
  std::optional<FieldSelector> field;
  std::optional<ResourceFieldSelector> resource_field;
  std::optional<std::int32_t> mode;
};
struct FilesSource {  // secret, configMap, downwardAPI, and the parts of projected
  enum class Kind : std::uint8_t { kSecret, kConfigMap, kDownward, kServiceAccountToken } kind = Kind::kSecret;
  std::string name;                           // of the Secret or ConfigMap
  std::vector<KeyToPath> items;               // empty: all keys
  std::vector<DownwardFile> downward;
  bool optional = false;
  std::string audience, path;                 // of a token
  std::optional<std::int64_t> expiration_seconds;
};
struct Volume {
  enum class Kind : std::uint8_t { kEmptyDir, kHostPath, kFiles, kImage, kUnsupported } kind = Kind::kEmptyDir;
  std::string name;
  std::string source;                         // Kubernetes' member name: "emptyDir", "nfs", …
  std::string medium, size_limit;             // emptyDir
  std::string path, type;                     // hostPath
  std::vector<FilesSource> files;             // one, or several of a projected volume
  std::int32_t default_mode = 0644;           // of those files
  std::string reference, pull_policy;         // image
};

struct Toleration {
  std::string key, op, value, effect;
  std::optional<std::int64_t> toleration_seconds;
};
struct HostAlias {
  std::string ip;
  std::vector<std::string> hostnames;
};
struct DnsConfig {
  std::vector<std::string> nameservers, searches;
  std::vector<std::pair<std::string, std::string>> options;
};

struct PodSpec {
  std::vector<Container> init_containers, containers, ephemeral_containers;
  std::vector<Volume> volumes;
  std::vector<std::string> image_pull_secrets;  // names, "" possible
  std::string service_account_name, restart_policy, dns_policy, hostname, subdomain, node_name, runtime_class_name;
  std::string scheduler_name, priority_class_name, preemption_policy;
  std::optional<std::int64_t> termination_grace_period_seconds, active_deadline_seconds;
  std::optional<std::int32_t> priority;
  std::optional<bool> automount_service_account_token, set_hostname_as_fqdn, enable_service_links, host_users;
  bool host_network = false, host_pid = false, host_ipc = false, share_process_namespace = false;
  PodSecurityContext security_context;
  StringMap node_selector, overhead;
  DnsConfig dns_config;
  std::vector<HostAlias> host_aliases;
  std::vector<Toleration> tolerations;
};

// ---- Pod, the truth

struct PodCondition {
  std::string type, status, reason, message;
  std::optional<time::WallTime> last_probe_time, last_transition_time;
  std::int64_t observed_generation = 0;
};
struct ContainerState {  // at most one of them
  struct Waiting { std::string reason, message; };
  struct Running { std::optional<time::WallTime> started_at; };
  struct Terminated {
    std::int32_t exit_code = 0, signal = 0;
    std::string reason, message, container_id;
    std::optional<time::WallTime> started_at, finished_at;
  };
  std::optional<Waiting> waiting;
  std::optional<Running> running;
  std::optional<Terminated> terminated;
};
struct ContainerStatus {
  std::string name, image, image_id, container_id;
  ContainerState state, last_state;
  bool ready = false;
  std::optional<bool> started;
  std::int32_t restart_count = 0;
  struct VolumeImage { std::string name, mount_path, image_ref; bool read_only = false; };
  std::vector<VolumeImage> volume_mounts;     // image_ref "" for other volumes
};
struct PodStatus {
  std::string phase, reason, message, host_ip, pod_ip, qos_class, nominated_node_name;
  std::vector<std::string> host_ips, pod_ips;
  std::vector<PodCondition> conditions;
  std::optional<time::WallTime> start_time;
  std::vector<ContainerStatus> init_container_statuses, container_statuses, ephemeral_container_statuses;
  std::int64_t observed_generation = 0;
};

struct Pod {
  ObjectMeta metadata;
  PodSpec spec;
  PodStatus status;
};

// ---- the others

struct Secret {
  ObjectMeta metadata;
  std::string type;
  std::map<std::string, secret::Secret> data;  // decoded; stringData merged in
  bool immutable = false;
};
struct ConfigMap {
  ObjectMeta metadata;
  StringMap data;
  StringMap binary_data;                       // decoded
  bool immutable = false;
};
struct ServiceAccount {
  ObjectMeta metadata;
  std::vector<std::string> image_pull_secrets, secrets;  // names
  std::optional<bool> automount_service_account_token;
};
struct Namespace {
  ObjectMeta metadata;
  std::string phase;
};
struct ObjectReference {
  std::string api_version, kind, ns, name, uid, resource_version, field_path;
};
struct Event {  // core/v1
  ObjectMeta metadata;
  ObjectReference involved;
  std::string type, reason, message;           // type: Normal, Warning
  std::string component, host;                 // source
  std::string reporting_component, reporting_instance;
  std::int32_t count = 1;
  std::optional<time::WallTime> first_timestamp, last_timestamp;
};
struct Node {  // we show one, ours
  ObjectMeta metadata;
  bool unschedulable = false;
  StringMap capacity, allocatable, node_info;
  std::vector<std::pair<std::string, std::string>> addresses;  // type, address
  std::vector<PodCondition> conditions;
  struct Image { std::vector<std::string> names; std::int64_t size_bytes = 0; };
  std::vector<Image> images;
};

}  // namespace berth::kube
