#include "kube/schema.h"

#include <algorithm>
#include <map>
#include <utility>

#include "result/result.h"

namespace berth::kube {
namespace {

// Type, then its fields: "name type". [] is a list, {} a map with text keys, @key how a list merges (@ alone: by value), ! the name
// Go has for a text type, + all fields of a type above. Order of the fields: Go's, which is the order in which a wrong type is found.
constexpr std::string_view kTable = R"(
OwnerReference
 apiVersion string
 kind string
 name string
 uid string!types.UID
 controller bool
 blockOwnerDeletion bool
ObjectMeta
 name string
 generateName string
 namespace string
 selfLink string
 uid string!types.UID
 resourceVersion string
 generation int64
 creationTimestamp time
 deletionTimestamp time
 deletionGracePeriodSeconds int64
 labels {}string
 annotations {}string
 ownerReferences []OwnerReference@uid
 finalizers []string@
 managedFields []object
LocalObjectReference
 name string
ObjectReference
 kind string
 namespace string
 name string
 uid string!types.UID
 apiVersion string
 resourceVersion string
 fieldPath string
KeyToPath
 key string
 path string
 mode int32
HostPathVolumeSource
 path string
 type string!v1.HostPathType
EmptyDirVolumeSource
 medium string!v1.StorageMedium
 sizeLimit quantity
SecretVolumeSource
 secretName string
 items []KeyToPath
 defaultMode int32
 optional bool
ConfigMapVolumeSource
 name string
 items []KeyToPath
 defaultMode int32
 optional bool
ObjectFieldSelector
 apiVersion string
 fieldPath string
ResourceFieldSelector
 containerName string
 resource string
 divisor quantity
DownwardAPIVolumeFile
 path string
 fieldRef ObjectFieldSelector
 resourceFieldRef ResourceFieldSelector
 mode int32
DownwardAPIVolumeSource
 items []DownwardAPIVolumeFile
 defaultMode int32
SecretProjection
 name string
 items []KeyToPath
 optional bool
ConfigMapProjection
 name string
 items []KeyToPath
 optional bool
DownwardAPIProjection
 items []DownwardAPIVolumeFile
ServiceAccountTokenProjection
 audience string
 expirationSeconds int64
 path string
VolumeProjection
 secret SecretProjection
 downwardAPI DownwardAPIProjection
 configMap ConfigMapProjection
 serviceAccountToken ServiceAccountTokenProjection
 clusterTrustBundle object
 podCertificate object
ProjectedVolumeSource
 sources []VolumeProjection
 defaultMode int32
ImageVolumeSource
 reference string
 pullPolicy string!v1.PullPolicy
Volume
 name string
 hostPath HostPathVolumeSource
 emptyDir EmptyDirVolumeSource
 gcePersistentDisk object
 awsElasticBlockStore object
 gitRepo object
 secret SecretVolumeSource
 nfs object
 iscsi object
 glusterfs object
 persistentVolumeClaim object
 rbd object
 flexVolume object
 cinder object
 cephfs object
 flocker object
 downwardAPI DownwardAPIVolumeSource
 fc object
 azureFile object
 configMap ConfigMapVolumeSource
 vsphereVolume object
 quobyte object
 azureDisk object
 photonPersistentDisk object
 projected ProjectedVolumeSource
 portworxVolume object
 scaleIO object
 storageos object
 csi object
 ephemeral object
 image ImageVolumeSource
ContainerPort
 name string
 hostPort int32
 containerPort int32
 protocol string!v1.Protocol
 hostIP string
SecretEnvSource
 name string
 optional bool
ConfigMapEnvSource
 name string
 optional bool
EnvFromSource
 prefix string
 configMapRef ConfigMapEnvSource
 secretRef SecretEnvSource
ConfigMapKeySelector
 name string
 key string
 optional bool
SecretKeySelector
 name string
 key string
 optional bool
EnvVarSource
 fieldRef ObjectFieldSelector
 resourceFieldRef ResourceFieldSelector
 configMapKeyRef ConfigMapKeySelector
 secretKeyRef SecretKeySelector
 fileKeyRef object
EnvVar
 name string
 value string
 valueFrom EnvVarSource
ResourceClaim
 name string
 request string
ResourceRequirements
 limits {}quantity
 requests {}quantity
 claims []ResourceClaim@name
VolumeMount
 name string
 readOnly bool
 recursiveReadOnly string!v1.RecursiveReadOnlyMode
 mountPath string
 subPath string
 mountPropagation string!v1.MountPropagationMode
 subPathExpr string
VolumeDevice
 name string
 devicePath string
ExecAction
 command []string
SleepAction
 seconds int64
HTTPHeader
 name string
 value string
HTTPGetAction
 path string
 port intOrString
 host string
 scheme string!v1.URIScheme
 httpHeaders []HTTPHeader
TCPSocketAction
 port intOrString
 host string
GRPCAction
 port int32
 service string
Probe
 exec ExecAction
 httpGet HTTPGetAction
 tcpSocket TCPSocketAction
 grpc GRPCAction
 initialDelaySeconds int32
 timeoutSeconds int32
 periodSeconds int32
 successThreshold int32
 failureThreshold int32
 terminationGracePeriodSeconds int64
LifecycleHandler
 exec ExecAction
 httpGet HTTPGetAction
 tcpSocket TCPSocketAction
 sleep SleepAction
Lifecycle
 postStart LifecycleHandler
 preStop LifecycleHandler
 stopSignal string!v1.Signal
Capabilities
 add []string
 drop []string
SELinuxOptions
 user string
 role string
 type string
 level string
SeccompProfile
 type string!v1.SeccompProfileType
 localhostProfile string
AppArmorProfile
 type string!v1.AppArmorProfileType
 localhostProfile string
SecurityContext
 capabilities Capabilities
 privileged bool
 seLinuxOptions SELinuxOptions
 windowsOptions object
 runAsUser int64
 runAsGroup int64
 runAsNonRoot bool
 readOnlyRootFilesystem bool
 allowPrivilegeEscalation bool
 procMount string!v1.ProcMountType
 seccompProfile SeccompProfile
 appArmorProfile AppArmorProfile
ContainerResizePolicy
 resourceName string!v1.ResourceName
 restartPolicy string!v1.ResourceResizeRestartPolicy
Container
 name string
 image string
 command []string
 args []string
 workingDir string
 ports []ContainerPort@containerPort
 envFrom []EnvFromSource
 env []EnvVar@name
 resources ResourceRequirements
 resizePolicy []ContainerResizePolicy
 restartPolicy string!v1.ContainerRestartPolicy
 restartPolicyRules []object
 volumeMounts []VolumeMount@mountPath
 volumeDevices []VolumeDevice@devicePath
 livenessProbe Probe
 readinessProbe Probe
 startupProbe Probe
 lifecycle Lifecycle
 terminationMessagePath string
 terminationMessagePolicy string!v1.TerminationMessagePolicy
 imagePullPolicy string!v1.PullPolicy
 securityContext SecurityContext
 stdin bool
 stdinOnce bool
 tty bool
EphemeralContainer
 +Container
 targetContainerName string
Sysctl
 name string
 value string
PodSecurityContext
 seLinuxOptions SELinuxOptions
 windowsOptions object
 runAsUser int64
 runAsGroup int64
 runAsNonRoot bool
 supplementalGroups []int64
 supplementalGroupsPolicy string!v1.SupplementalGroupsPolicy
 fsGroup int64
 sysctls []Sysctl
 fsGroupChangePolicy string!v1.PodFSGroupChangePolicy
 seccompProfile SeccompProfile
 appArmorProfile AppArmorProfile
 seLinuxChangePolicy string!v1.PodSELinuxChangePolicy
Toleration
 key string
 operator string!v1.TolerationOperator
 value string
 effect string!v1.TaintEffect
 tolerationSeconds int64
HostAlias
 ip string
 hostnames []string
PodDNSConfigOption
 name string
 value string
PodDNSConfig
 nameservers []string
 searches []string
 options []PodDNSConfigOption
PodReadinessGate
 conditionType string!v1.PodConditionType
PodOS
 name string!v1.OSName
PodSchedulingGate
 name string
PodResourceClaim
 name string
 resourceClaimName string
 resourceClaimTemplateName string
PodSpec
 volumes []Volume@name
 initContainers []Container@name
 containers []Container@name
 ephemeralContainers []EphemeralContainer@name
 restartPolicy string!v1.RestartPolicy
 terminationGracePeriodSeconds int64
 activeDeadlineSeconds int64
 dnsPolicy string!v1.DNSPolicy
 nodeSelector {}string
 serviceAccountName string
 serviceAccount string
 automountServiceAccountToken bool
 nodeName string
 hostNetwork bool
 hostPID bool
 hostIPC bool
 shareProcessNamespace bool
 securityContext PodSecurityContext
 imagePullSecrets []LocalObjectReference@name
 hostname string
 subdomain string
 affinity object
 schedulerName string
 tolerations []Toleration
 hostAliases []HostAlias@ip
 priorityClassName string
 priority int32
 dnsConfig PodDNSConfig
 readinessGates []PodReadinessGate
 runtimeClassName string
 enableServiceLinks bool
 preemptionPolicy string!v1.PreemptionPolicy
 overhead {}quantity
 topologySpreadConstraints []object@topologyKey
 setHostnameAsFQDN bool
 os PodOS
 hostUsers bool
 schedulingGates []PodSchedulingGate@name
 resourceClaims []PodResourceClaim@name
 resources ResourceRequirements
 hostnameOverride string
 workloadRef object
PodCondition
 type string!v1.PodConditionType
 observedGeneration int64
 status string!v1.ConditionStatus
 lastProbeTime time
 lastTransitionTime time
 reason string
 message string
IP
 ip string
ContainerStateWaiting
 reason string
 message string
ContainerStateRunning
 startedAt time
ContainerStateTerminated
 exitCode int32
 signal int32
 reason string
 message string
 startedAt time
 finishedAt time
 containerID string
ContainerState
 waiting ContainerStateWaiting
 running ContainerStateRunning
 terminated ContainerStateTerminated
ImageVolumeStatus
 imageRef string
VolumeStatus
 image ImageVolumeStatus
VolumeMountStatus
 name string
 mountPath string
 readOnly bool
 recursiveReadOnly string!v1.RecursiveReadOnlyMode
 volumeStatus VolumeStatus
ContainerStatus
 name string
 state ContainerState
 lastState ContainerState
 ready bool
 restartCount int32
 image string
 imageID string
 containerID string
 started bool
 allocatedResources {}quantity
 resources ResourceRequirements
 volumeMounts []VolumeMountStatus@mountPath
 user object
 allocatedResourcesStatus []object
 stopSignal string
PodStatus
 observedGeneration int64
 phase string!v1.PodPhase
 conditions []PodCondition@type
 message string
 reason string
 nominatedNodeName string
 hostIP string
 hostIPs []IP
 podIP string
 podIPs []IP@ip
 startTime time
 initContainerStatuses []ContainerStatus
 containerStatuses []ContainerStatus
 qosClass string!v1.PodQOSClass
 ephemeralContainerStatuses []ContainerStatus
 resize string
 resourceClaimStatuses []object@name
 extendedResourceClaimStatus object
 allocatedResources {}quantity
 resources ResourceRequirements
Pod
 kind string
 apiVersion string
 metadata ObjectMeta
 spec PodSpec
 status PodStatus
Secret
 kind string
 apiVersion string
 metadata ObjectMeta
 immutable bool
 data {}bytes
 stringData {}string
 type string!v1.SecretType
ConfigMap
 kind string
 apiVersion string
 metadata ObjectMeta
 immutable bool
 data {}string
 binaryData {}bytes
ServiceAccount
 kind string
 apiVersion string
 metadata ObjectMeta
 secrets []ObjectReference@name
 imagePullSecrets []LocalObjectReference
 automountServiceAccountToken bool
NamespaceSpec
 finalizers []string
NamespaceStatus
 phase string!v1.NamespacePhase
 conditions []object@type
Namespace
 kind string
 apiVersion string
 metadata ObjectMeta
 spec NamespaceSpec
 status NamespaceStatus
EventSource
 component string
 host string
EventSeries
 count int32
 lastObservedTime time
Event
 kind string
 apiVersion string
 metadata ObjectMeta
 involvedObject ObjectReference
 reason string
 message string
 source EventSource
 firstTimestamp time
 lastTimestamp time
 count int32
 type string
 eventTime time
 series EventSeries
 action string
 related ObjectReference
 reportingComponent string
 reportingInstance string
NodeSpec
 podCIDR string
 podCIDRs []string@
 providerID string
 unschedulable bool
 taints []object
 configSource object
 externalID string
NodeAddress
 type string!v1.NodeAddressType
 address string
NodeCondition
 type string!v1.NodeConditionType
 status string!v1.ConditionStatus
 lastHeartbeatTime time
 lastTransitionTime time
 reason string
 message string
ContainerImage
 names []string
 sizeBytes int64
NodeStatus
 capacity {}quantity
 allocatable {}quantity
 phase string
 conditions []NodeCondition@type
 addresses []NodeAddress@type
 daemonEndpoints object
 nodeInfo {}any
 images []ContainerImage
 volumesInUse []string
 volumesAttached []object
 config object
 runtimeHandlers []object
 features object
 declaredFeatures []string
Node
 kind string
 apiVersion string
 metadata ObjectMeta
 spec NodeSpec
 status NodeStatus
)";

std::string_view Cut(std::string_view& text, char end) {
  const std::size_t n = std::min(text.find(end), text.size());
  const std::string_view head = text.substr(0, n);
  text.remove_prefix(std::min(n + 1, text.size()));
  return head;
}

using Types = std::map<std::string_view, Type, std::less<>>;

FieldType ReadType(std::string_view text, const Types& types) {
  using Kind = FieldType::Kind;
  FieldType out;
  if (text.starts_with("[]")) out.shape = FieldType::Shape::kList;
  if (text.starts_with("{}")) out.shape = FieldType::Shape::kMap;
  if (out.shape != FieldType::Shape::kSingle) text.remove_prefix(2);
  if (text.find('@') != std::string_view::npos) {
    std::string_view rest = text;
    text = Cut(rest, '@');
    out.merge = rest;
  }
  std::string_view go = text;
  const std::string_view word = Cut(go, '!');
  struct Word {
    std::string_view word;
    Kind kind;
    std::string_view go;
  };
  static constexpr Word kWords[] = {{"string", Kind::kString, "string"}, {"bool", Kind::kBool, "bool"}, {"int32", Kind::kInt32, "int32"},
                                    {"int64", Kind::kInt64, "int64"}, {"time", Kind::kTime, "v1.Time"}, {"quantity", Kind::kQuantity, "resource.Quantity"},
                                    {"intOrString", Kind::kIntOrString, "intstr.IntOrString"}, {"bytes", Kind::kBytes, "[]uint8"},
                                    {"any", Kind::kAny, ""}, {"object", Kind::kObject, "map[string]interface {}"}};
  for (const Word& w : kWords)
    if (w.word == word) {
      out.kind = w.kind;
      out.go = go.empty() ? w.go : go;
      return out;
    }
  const auto it = types.find(word);
  BERTH_CHECK(it != types.end());
  out.kind = Kind::kStruct;
  out.type = &it->second;
  return out;
}

Types Build() {
  Types types;
  std::string_view text = kTable.substr(1);
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view line = Cut(rest, '\n');
    if (line[0] != ' ') types[line].name = line;
  }
  Type* type = nullptr;
  while (!text.empty()) {
    std::string_view line = Cut(text, '\n');
    if (line[0] != ' ') {
      type = &types[line];
      continue;
    }
    line.remove_prefix(1);
    if (line[0] == '+') {
      const auto above = types.find(line.substr(1));
      BERTH_CHECK(above != types.end() && !above->second.fields.empty());
      type->fields.insert(type->fields.end(), above->second.fields.begin(), above->second.fields.end());
      continue;
    }
    const std::string_view name = Cut(line, ' ');
    type->fields.push_back({name, ReadType(line, types)});
  }
  return types;
}

}  // namespace

const Field* Type::Find(std::string_view field) const {
  const auto it = std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == field; });
  return it == fields.end() ? nullptr : &*it;
}

const Type* FindType(std::string_view name) {
  static const Types kTypes = Build();
  const auto it = kTypes.find(name);
  return it == kTypes.end() ? nullptr : &it->second;
}

}  // namespace berth::kube
