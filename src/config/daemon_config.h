// config/daemon_config.h: every setting of berthd, its default, and the one table that reads, prints and documents it.
//
// A YAML file with a document of kind ImageDaemonConfiguration (apiVersion berth.dev/v1alpha1); a KubeletConfiguration in
// the same file is left alone. Keys nest ("pull: {layers: 4}") or are dotted ("pull.layers: 4"). Precedence: default, file,
// --set key=value. Unknown keys, wrong types and values out of bounds are kConfig with file, line and the nearest key.
// Sizes take Ki, Mi, Gi, Ti; durations take ms, s, m, h (up to 800000h).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "credentials/docker_config.h"
#include "credentials/match.h"
#include "credentials/provider.h"
#include "layer/report.h"
#include "log/log.h"
#include "oci/oci.h"
#include "pull/puller.h"
#include "registry/client.h"
#include "result/result.h"
#include "time/clock.h"
#include "verify/rules.h"
#include "verify/verifier.h"

namespace berth::config {

enum class FormChoice : unsigned char { kAuto, kErofs, kTree };

// Pods on this machine.
struct NodeSettings {
  bool enabled = true;
  std::string name, host_ip;               // name "": the machine's host name
  std::string kubelet_config;              // a file with a KubeletConfiguration; "": the kubelet's defaults
  std::string static_pods;                 // folder of static Pods; "": none
  std::string runtime, shim;               // "": the best that is there; berth-shim beside berthd
  std::string logs;                        // "": logs/ below the store
  bool always_pull_images = false;         // admission
  bool anonymous_fallback = false;         // after all credentials were refused
  std::string api_listen;                  // the Kubernetes API; "": not served
  std::string api_kubeconfig;              // "": kubeconfig below run_dir
  std::vector<std::string> api_names;      // further host names in its certificate
  bool helpers = false;                    // docker credential helpers
  std::string plugin_config, plugin_bin_dir;
  credentials::PluginLimits plugins;
  std::string token_issuer;                // of service account tokens for plug-ins; "": https:// and the node's name
  std::uint64_t account_file_bytes = 1u << 20, account_line_bytes = 64u << 10;  // of /etc/passwd and /etc/group of images
};

struct DaemonConfig {
  std::string root = "/var/lib/berth";
  std::string run_dir = "/run/berth";
  std::string socket = "/run/berth/berth.sock";
  std::string worker;  // "": berth-unpack beside berthd
  FormChoice form = FormChoice::kAuto;
  std::vector<std::string> http_listen;  // metrics and health (web/ops_pages.h)
  log::Options log;

  registry::ClientOptions registry;
  bool http2 = false;                        // http::ClientOptions::http2
  std::vector<std::string> node_config;      // directories of the node's config.json
  credentials::Profile profile = credentials::Profile::kDocumented;
  credentials::DockerConfigLimits docker_config;  // the node's, and pull secrets

  pull::PullerOptions pull;
  layer::UnpackOptions unpack;
  std::uint64_t zstd_budget_bytes = 256ull << 20;       // windows of all workers together
  time::Duration partial_age = std::chrono::hours(72);  // downloads nobody resumed
  time::Duration leftover_age = std::chrono::hours(1);  // objects of failed pulls
  time::Duration sweep_every = std::chrono::minutes(10);
  std::uint64_t streams = 256;                          // calls at once
  std::uint64_t connections = 1024, connections_per_process = 64;
  std::uint64_t message_bytes = 16u << 20;              // of one call
  std::uint64_t metadata_bytes = 16u << 10;
  std::uint64_t journal = 10'000;                       // entries
  time::Duration journal_age = std::chrono::hours(168);

  NodeSettings node;
  std::vector<std::string> runtime_handlers;            // that CRI requests may name
  verify::SignatureLimits signatures;
  verify::Rules verification;                           // docs/verification.md; a section of its own, not in the table

  std::map<std::string, std::string> origins;  // key -> "file:line" or "--set"; keys at their default are not in it
  std::vector<std::string> files;              // that LoadConfig read
};

struct ConfigFile {
  std::string_view text, name;
};
// Each file over those before it, then `overrides` ("key=value").
Result<DaemonConfig> ParseConfig(const std::vector<ConfigFile>& files, const std::vector<std::string>& overrides);
inline Result<DaemonConfig> ParseConfig(std::string_view text, std::string_view name, const std::vector<std::string>& overrides) {
  return ParseConfig(std::vector{ConfigFile{text, name}}, overrides);
}
// The file, then config.d/*.yaml beside it in the order of their names; where there are such, the file need not be there.
// "": /etc/berth/config.yaml, and nothing need be there.
// `before`: the files of the settings in force, at a reload. Each must still be there: a start may do without, a reload that
// comes while somebody replaces a file must not (an empty file takes its settings back).
Result<DaemonConfig> LoadConfig(const std::string& path, const std::vector<std::string>& overrides,
                                const std::vector<std::string>& before = {});

// The effective settings as a configuration file, each with its origin as a comment.
std::string PrintConfig(const DaemonConfig& config);
// The keys whose values differ.
std::vector<std::string> Differences(const DaemonConfig& a, const DaemonConfig& b);
// The limits only, as "name=value", for `berth doctor`.
std::vector<std::string> ListLimits(const DaemonConfig& config);
// docs/config.md: every key with default and meaning.
std::string ConfigReference();

}  // namespace berth::config
