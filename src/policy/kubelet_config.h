// policy/kubelet_config.h: the part of a KubeletConfiguration (kubelet.config.k8s.io/v1beta1) that is about images.
//
// Rules: kubelet-images 4.8.1, 5.1, 9.1. Parse() takes the document as JSON (YAML becomes JSON elsewhere), fills in the
// kubelet's defaults and does not judge values; Validate() does, with the kubelet's words. A node's own file can be given
// as it is: fields of the kubelet that are not about images are listed as unused, and fields that no kubelet has as
// warnings. null counts as not set.
// Errors of Parse: kConfig; the place and the wanted type ("$.registryBurst must be an integer …"), never the value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "json/document.h"
#include "policy/pull_queue.h"
#include "policy/verification.h"
#include "result/result.h"
#include "time/clock.h"

namespace berth::policy {

struct KubeletConfig {
  bool serialize_image_pulls = true;  // not set: false when max_parallel_image_pulls is 2 or more
  std::optional<std::int64_t> max_parallel_image_pulls;
  std::int64_t registry_pull_qps = 5;  // 0: no limit
  std::int64_t registry_burst = 10;    // 0 in the file means 10
  std::int64_t node_status_max_images = 50;
  std::int64_t max_pods = 110;

  std::optional<std::string> verification_policy;          // as written; not set: NeverVerifyPreloadedImages
  std::vector<std::string> preloaded_images_allowlist;

  std::int64_t image_gc_high_threshold_percent = 85;
  std::int64_t image_gc_low_threshold_percent = 80;
  time::Duration image_minimum_gc_age = std::chrono::minutes(2);  // 0 in the file means 2 min
  time::Duration image_maximum_gc_age{};                          // 0: off

  std::optional<time::Duration> crash_loop_max;  // crashLoopBackOff.maxContainerRestartPeriod; of containers, not of pulls

  // featureGates; others are of no concern here.
  bool ensure_secret_pulled_images = true;   // KubeletEnsureSecretPulledImages
  bool crash_loop_back_off_max = true;       // KubeletCrashLoopBackOffMax

  // Every violation: "invalid configuration: …", in the kubelet's order. Empty: valid.
  std::vector<std::string> Validate() const;
  // kConfig with all of them, one plain, several "[a, b]".
  Result<> Check() const;

  // REQUIRES: Check() was fine.
  VerificationPolicy verification() const;
  AllowList allow_list() const;
  PullQueue::Options queue() const { return {serialize_image_pulls, max_parallel_image_pulls}; }
};

struct ParsedKubeletConfig {
  KubeletConfig config;
  std::vector<std::string> warnings;  // `unknown field "registryQPS"`
  std::vector<std::string> unused;    // fields of the kubelet that are not about images
};
Result<ParsedKubeletConfig> ParseKubeletConfig(const json::Value& root);

}  // namespace berth::policy
