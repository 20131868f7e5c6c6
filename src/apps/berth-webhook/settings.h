// apps/berth-webhook/settings.h: what berth-webhook is told: a YAML file, and key=value over it. One table (settings.cc) has every key.
#pragma once

#include <string>
#include <vector>

#include "admission/admission.h"
#include "log/log.h"

namespace berth::webhook {

struct Settings {
  std::string listen = "0.0.0.0:8443";
  std::vector<std::string> ops_listen{"127.0.0.1:8081"};
  std::string certificate = "/etc/berth-webhook/tls/tls.crt", key = "/etc/berth-webhook/tls/tls.key";
  std::string client_ca;                        // "": anybody who reaches the port is answered
  std::vector<std::string> client_names;
  bool always_pull = true;
  bool pin = false;
  admission::PinOptions pinning;
  bool documented = true;                       // profile
  bool deny_on_error = true;
  time::Duration timeout = std::chrono::seconds(10), drain = std::chrono::seconds(5), grace = std::chrono::seconds(20);
  std::uint64_t pollers = 1, workers = 128;
  std::uint64_t review_bytes = 8u << 20;        // an object and its old self, of which the API server lets each have 3 MiB
  std::string kubeconfig;                       // "": the Pod's account
  std::vector<std::string> hosts, plain_http;   // folders of hosts.toml; registries without TLS
  log::Options log;
};

// `text` and `name` of the file, then the overrides. kConfig with the place: an unknown key, a value that is none; pinning without
// a list of registries (H-09).
Result<Settings> ParseSettings(std::string_view text, std::string_view name, const std::vector<std::string>& overrides);
// "" = no file.
Result<Settings> LoadSettings(const std::string& path, const std::vector<std::string>& overrides);
// Every key with its value and meaning: what --print-config prints; a file that reads back as the same.
std::string PrintSettings(const Settings& settings);

}  // namespace berth::webhook
