// node/static_pods.h: Pods from files in a folder of the node, as the kubelet's staticPodPath.
//
// Every file that does not begin with a dot is one Pod as YAML or JSON. Its name gets the node's as suffix ("web-node-7"), its UID is
// a hash of node, file and contents: a changed file is another Pod, and the old one is stopped. It may refer to no objects:
// `static pods may not reference serviceaccounts`, `static pods may not reference secrets` (kubelet-images 8.1); such a file and one
// that cannot be read is logged and left out. The API sees them through mirror Pods (annotation kubernetes.io/config.mirror), which
// node/node.h keeps.
// The folder is watched (inotify); it may appear later than we do, then a scan each `look_again` finds it.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kube/defaults.h"
#include "kube/objects.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::node {

inline constexpr std::string_view kConfigHashAnnotation = "kubernetes.io/config.hash";
inline constexpr std::string_view kConfigSourceAnnotation = "kubernetes.io/config.source";

struct StaticPodOptions {
  std::string folder;
  std::string node;
  kube::DefaultOptions defaults;
  std::size_t file_bytes = 1u << 20, files = 1000;
  time::Duration look_again = std::chrono::seconds(20);
};

// Pure. kUsage with Kubernetes' words.
Result<kube::Object> ReadStaticPod(std::string_view text, const std::string& file, const StaticPodOptions& options);

// By UID. Files that are wrong are logged, once per contents, and left out.
class StaticPods {
 public:
  explicit StaticPods(StaticPodOptions options) : options_(std::move(options)) {}
  std::vector<kube::Object> Scan();
  // Calls `changed` with Scan() now and after every change of the folder, until `ctx` is stopped.
  void Run(const task::Context& ctx, const std::function<void(std::vector<kube::Object>)>& changed);

 private:
  const StaticPodOptions options_;
  std::map<std::string, std::string> complaints_;  // file -> the last one
};

}  // namespace berth::node
