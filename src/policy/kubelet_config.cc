#include "policy/kubelet_config.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "policy/messages.h"
#include "time/go_duration.h"

namespace berth::policy {
namespace {

constexpr std::string_view kKind = "KubeletConfiguration", kVersion = "kubelet.config.k8s.io/v1beta1";
constexpr std::string_view kEnsureGate = "KubeletEnsureSecretPulledImages";
constexpr std::string_view kCrashLoopGate = "KubeletCrashLoopBackOffMax";

// The other fields of v1beta1 as of 1.36, sorted.
constexpr std::string_view kUnused[] = {
    "address", "allowedUnsafeSysctls", "authentication", "authorization", "cgroupDriver", "cgroupRoot", "cgroupsPerQOS", "clusterDNS",
    "clusterDomain", "configMapAndSecretChangeDetectionStrategy", "containerLogMaxFiles", "containerLogMaxSize", "containerLogMaxWorkers",
    "containerLogMonitorInterval", "containerRuntimeEndpoint", "contentType", "cpuCFSQuota", "cpuCFSQuotaPeriod", "cpuManagerPolicy",
    "cpuManagerPolicyOptions", "cpuManagerReconcilePeriod", "enableContentionProfiling", "enableControllerAttachDetach", "enableDebugFlagsHandler",
    "enableDebuggingHandlers", "enableProfilingHandler", "enableServer", "enableSystemLogHandler", "enableSystemLogQuery",
    "enforceNodeAllocatable", "eventBurst", "eventRecordQPS", "evictionHard", "evictionMaxPodGracePeriod", "evictionMinimumReclaim",
    "evictionPressureTransitionPeriod", "evictionSoft", "evictionSoftGracePeriod", "failCgroupV1", "failSwapOn", "fileCheckFrequency", "hairpinMode",
    "healthzBindAddress", "healthzPort", "httpCheckFrequency", "imageServiceEndpoint", "iptablesDropBit", "iptablesMasqueradeBit",
    "kernelMemcgNotification", "kubeAPIBurst", "kubeAPIQPS", "kubeReserved", "kubeReservedCgroup", "kubeletCgroups",
    "localStorageCapacityIsolation", "logging", "makeIPTablesUtilChains", "maxOpenFiles", "memoryManagerPolicy", "memoryReservationPolicy",
    "memorySwap", "memoryThrottlingFactor", "mergeDefaultEvictionSettings", "nodeLeaseDurationSeconds", "nodeStatusReportFrequency",
    "nodeStatusUpdateFrequency", "oomScoreAdj", "podCIDR", "podLogsDir", "podPidsLimit", "podsPerCore", "port", "protectKernelDefaults", "providerID",
    "qosReserved", "readOnlyPort", "registerNode", "registerWithTaints", "reservedMemory", "reservedSystemCPUs", "resolvConf", "rotateCertificates",
    "runOnce", "runtimeRequestTimeout", "seccompDefault", "serverTLSBootstrap", "showHiddenMetricsForVersion", "shutdownGracePeriod",
    "shutdownGracePeriodByPodPriority", "shutdownGracePeriodCriticalPods", "singleProcessOOMKill", "staticPodPath", "staticPodURL",
    "staticPodURLHeader", "streamingConnectionIdleTimeout", "syncFrequency", "systemCgroups", "systemReserved", "systemReservedCgroup", "tlsCertFile",
    "tlsCipherSuites", "tlsCurvePreferences", "tlsMinVersion", "tlsPrivateKeyFile", "topologyManagerPolicy", "topologyManagerPolicyOptions",
    "topologyManagerScope", "tracing", "userNamespaces", "volumePluginDir", "volumeStatsAggPeriod"};

constexpr bool Sorted() {
  for (std::size_t i = 1; i < std::size(kUnused); ++i)
    if (!(kUnused[i - 1] < kUnused[i])) return false;
  return true;
}
static_assert(Sorted());

Result<std::int64_t> Int32(const json::Value& value) {
  ASSIGN_OR_RETURN(const std::int64_t n, value.AsInt64());
  if (n < std::numeric_limits<std::int32_t>::min() || n > std::numeric_limits<std::int32_t>::max())
    return Error(Reason::kConfig, value.path() + " must be an integer of 32 bits");
  return n;
}

Result<time::Duration> GoDuration(const json::Value& value) {
  ASSIGN_OR_RETURN(const std::string_view text, value.AsString());
  const auto d = time::ParseGoDuration(text);
  if (!d) return Error(Reason::kConfig, value.path() + " must be a duration like \"2m\" or \"1h30m\"");
  return *d;
}

Result<std::vector<std::string>> Strings(const json::Value& value) {
  if (!value.IsArray()) return Error(Reason::kConfig, value.path() + " must be an array of strings");
  std::vector<std::string> out;
  for (std::size_t i = 0; i < value.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string_view text, value.at(i).AsString());
    out.emplace_back(text);
  }
  return out;
}

template <class T, class Reader>
Result<> Into(T& field, const json::Value& value, Reader read) {
  ASSIGN_OR_RETURN(field, read(value));
  return {};
}

Result<bool> Boolean(const json::Value& value) { return value.AsBool(); }
Result<std::string_view> Text(const json::Value& value) { return value.AsString(); }

struct Draft {
  ParsedKubeletConfig out;
  std::optional<bool> serialize;
};

Result<> ReadGates(const json::Value& value, Draft& d) {
  if (!value.IsObject()) return Error(Reason::kConfig, value.path() + " must be an object of booleans");
  for (const auto& [name, gate] : value.Members()) {
    ASSIGN_OR_RETURN(const bool on, gate.AsBool());
    if (name == kEnsureGate) d.out.config.ensure_secret_pulled_images = on;
    if (name == kCrashLoopGate) d.out.config.crash_loop_back_off_max = on;
  }
  return {};
}

Result<> ReadCrashLoop(const json::Value& value, Draft& d) {
  if (!value.IsObject()) return Error(Reason::kConfig, value.path() + " must be an object");
  for (const auto& [name, v] : value.Members()) {
    if (name != "maxContainerRestartPeriod") d.out.warnings.push_back("unknown field " + Quoted("crashLoopBackOff." + std::string(name)));
    else if (!v.IsNull()) RETURN_IF_ERROR(Into(d.out.config.crash_loop_max, v, GoDuration));
  }
  return {};
}

using V = const json::Value&;
struct Field {
  std::string_view name;
  Result<> (*read)(V, Draft&);
};
constexpr Field kFields[] = {
    {"serializeImagePulls", [](V v, Draft& d) { return Into(d.serialize, v, Boolean); }},
    {"maxParallelImagePulls", [](V v, Draft& d) { return Into(d.out.config.max_parallel_image_pulls, v, Int32); }},
    {"registryPullQPS", [](V v, Draft& d) { return Into(d.out.config.registry_pull_qps, v, Int32); }},
    {"registryBurst", [](V v, Draft& d) { return Into(d.out.config.registry_burst, v, Int32); }},
    {"nodeStatusMaxImages", [](V v, Draft& d) { return Into(d.out.config.node_status_max_images, v, Int32); }},
    {"maxPods", [](V v, Draft& d) { return Into(d.out.config.max_pods, v, Int32); }},
    {"imagePullCredentialsVerificationPolicy", [](V v, Draft& d) { return Into(d.out.config.verification_policy, v, Text); }},
    {"preloadedImagesVerificationAllowlist", [](V v, Draft& d) { return Into(d.out.config.preloaded_images_allowlist, v, Strings); }},
    {"imageGCHighThresholdPercent", [](V v, Draft& d) { return Into(d.out.config.image_gc_high_threshold_percent, v, Int32); }},
    {"imageGCLowThresholdPercent", [](V v, Draft& d) { return Into(d.out.config.image_gc_low_threshold_percent, v, Int32); }},
    {"imageMinimumGCAge", [](V v, Draft& d) { return Into(d.out.config.image_minimum_gc_age, v, GoDuration); }},
    {"imageMaximumGCAge", [](V v, Draft& d) { return Into(d.out.config.image_maximum_gc_age, v, GoDuration); }},
    {"featureGates", ReadGates},
    {"crashLoopBackOff", ReadCrashLoop},
};

std::string Seconds(time::Duration d) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, std::chrono::duration<double>(d).count()).ptr;
  return {text, end};
}

}  // namespace

Result<ParsedKubeletConfig> ParseKubeletConfig(const json::Value& root) {
  if (!root.IsObject()) return Error(Reason::kConfig, root.path() + " must be a KubeletConfiguration object");
  const auto is = [&](std::string_view key, std::string_view wanted) {
    const auto value = root.Find(key);
    return value && value->IsString() && *value->AsString() == wanted;
  };
  if (!is("kind", kKind)) return Error(Reason::kConfig, root.path() + ".kind must be " + std::string(kKind));
  if (!is("apiVersion", kVersion)) return Error(Reason::kConfig, root.path() + ".apiVersion must be " + std::string(kVersion));
  Draft d;
  for (const auto& [name, value] : root.Members()) {
    const auto* field = std::find_if(std::begin(kFields), std::end(kFields), [n = name](const Field& f) { return f.name == n; });
    if (field != std::end(kFields)) {
      if (!value.IsNull()) RETURN_IF_ERROR(field->read(value, d));
    } else if (std::binary_search(std::begin(kUnused), std::end(kUnused), name)) {
      d.out.unused.emplace_back(name);
    } else if (name != "kind" && name != "apiVersion") {
      d.out.warnings.push_back("unknown field " + Quoted(name));
    }
  }
  KubeletConfig& c = d.out.config;
  // Where the kubelet cannot tell "not set" from zero, or from empty.
  const KubeletConfig defaults;
  if (c.registry_burst == 0) c.registry_burst = defaults.registry_burst;
  if (c.max_pods == 0) c.max_pods = defaults.max_pods;
  if (c.image_minimum_gc_age == time::Duration::zero()) c.image_minimum_gc_age = defaults.image_minimum_gc_age;
  if (c.verification_policy && c.verification_policy->empty()) c.verification_policy.reset();
  c.serialize_image_pulls = d.serialize.value_or(c.max_parallel_image_pulls.value_or(0) < 2);
  return std::move(d.out);
}

std::vector<std::string> KubeletConfig::Validate() const {
  std::vector<std::string> out;
  const auto bad = [&](bool violated, const std::string& text) {
    if (violated) out.push_back("invalid configuration: " + text);
  };
  const auto n = [](std::int64_t v) { return std::to_string(v); };
  const auto percent = [&](const std::string& name, std::int64_t v) { bad(v < 0 || v > 100, name + " " + n(v) + " must be between 0 and 100, inclusive"); };
  const auto natural = [&](const std::string& name, std::int64_t v) { bad(v < 0, name + " " + n(v) + " must not be a negative number"); };
  const std::string high = "imageGCHighThresholdPercent (--image-gc-high-threshold)", low = "imageGCLowThresholdPercent (--image-gc-low-threshold)";
  percent(high, image_gc_high_threshold_percent);
  percent(low, image_gc_low_threshold_percent);
  bad(image_gc_low_threshold_percent >= image_gc_high_threshold_percent,
      low + " " + n(image_gc_low_threshold_percent) + " must be less than " + high + " " + n(image_gc_high_threshold_percent));
  const std::string min_age = "imageMinimumGCAge " + time::FormatGoDuration(image_minimum_gc_age);
  const std::string max_age = "imageMaximumGCAge " + time::FormatGoDuration(image_maximum_gc_age);
  bad(image_minimum_gc_age < time::Duration::zero(), min_age + " must not be negative");
  bad(image_maximum_gc_age < time::Duration::zero(), max_age + " must not be negative");
  bad(image_maximum_gc_age > time::Duration::zero() && image_maximum_gc_age <= image_minimum_gc_age, max_age + " must be greater than " + min_age);
  bad(node_status_max_images < -1, "nodeStatusMaxImages (--node-status-max-images) " + n(node_status_max_images) + " must be -1 or greater");
  natural("maxPods (--max-pods)", max_pods);
  natural("registryBurst (--registry-burst)", registry_burst);
  natural("registryPullQPS (--registry-qps)", registry_pull_qps);
  const std::int64_t parallel = max_parallel_image_pulls.value_or(1);
  bad(parallel < 1, "maxParallelImagePulls " + n(parallel) + " must be a positive number");
  bad(serialize_image_pulls && parallel > 1,
      "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false");

  const std::string crash_loop = "CrashLoopBackOff.MaxContainerRestartPeriod";
  if (crash_loop_max) {
    bad(!crash_loop_back_off_max, "FeatureGate " + std::string(kCrashLoopGate) + " not enabled, " + crash_loop + " must not be set");
    bad(crash_loop_back_off_max && (*crash_loop_max < std::chrono::seconds(1) || *crash_loop_max > std::chrono::seconds(300)),
        crash_loop + " (got: " + Seconds(*crash_loop_max) + " seconds) must be set between 1s and 300s");
  }

  if (!ensure_secret_pulled_images) {
    const auto gated = [&](bool set, const std::string& field) {
      bad(set, "`" + field + "` must not be set if " + std::string(kEnsureGate) + " feature gate is not enabled");
    };
    gated(verification_policy.has_value(), "imagePullCredentialsVerificationPolicy");
    gated(!preloaded_images_allowlist.empty(), "preloadedImagesVerificationAllowlist");
    return out;
  }
  const auto policy = ParseVerificationPolicy(verification_policy.value_or(std::string(Name(VerificationPolicy::kNeverVerifyPreloaded))));
  bad(!policy, "option " + Quoted(verification_policy.value_or("")) + " specified for imagePullCredentialsVerificationPolicy. Valid options are "
               "\"NeverVerify\", \"NeverVerifyPreloadedImages\", \"NeverVerifyAllowlistedImages\" or \"AlwaysVerify\"");
  bad(!preloaded_images_allowlist.empty() && policy != VerificationPolicy::kNeverVerifyAllowlisted,
      "can't set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` is not \"NeverVerifyAllowlistedImages\"");
  if (policy == VerificationPolicy::kNeverVerifyAllowlisted)
    if (const auto list = AllowList::Parse(preloaded_images_allowlist); !list)
      bad(true, "invalid image pattern in `preloadedImagesVerificationAllowlist`: " + list.error().Text());
  return out;
}

Result<> KubeletConfig::Check() const {
  const auto problems = Validate();
  if (problems.empty()) return {};
  return Error(Reason::kConfig, AggregateErrors(problems));
}

VerificationPolicy KubeletConfig::verification() const {
  if (!verification_policy) return VerificationPolicy::kNeverVerifyPreloaded;
  return ParseVerificationPolicy(*verification_policy).value_or(VerificationPolicy::kAlwaysVerify);
}

AllowList KubeletConfig::allow_list() const {
  auto list = AllowList::Parse(preloaded_images_allowlist);
  return list ? *std::move(list) : AllowList();
}

}  // namespace berth::policy
