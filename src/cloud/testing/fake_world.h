// cloud/testing/fake_world.h: a machine for one test: its environment, clock, files, and where the clouds' names lead.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cloud/exchange.h"
#include "cloud/exec.h"
#include "http/testing/fault_server.h"
#include "time/testing/manual_clock.h"

namespace berth::cloud::testing {

class FakeWorld {
 public:
  explicit FakeWorld(http::ClientOptions options = {}) : client_(std::move(options)) {
    std::string name = std::filesystem::temp_directory_path() / "berth-cloud-XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~FakeWorld() { std::filesystem::remove_all(folder_); }
  FakeWorld(const FakeWorld&) = delete;
  FakeWorld& operator=(const FakeWorld&) = delete;

  std::map<std::string, std::string, std::less<>> env;
  time::testing::ManualClock clock{time::testing::AutoAdvance::kYes};

  task::Context ctx() const { return task::Context(std::stop_token(), clock); }
  World world() {
    return {.client = &client_,
            .env = [this](std::string_view name) {
              const auto at = env.find(name);
              return at == env.end() ? std::nullopt : std::optional(at->second);
            },
            .random = [] { return 0.5; },
            .tls = tls_,
            .overrides = overrides_};
  }
  // Connections to host:port end at `server`.
  void Lead(std::string host, std::uint16_t port, const http::testing::FaultServer& server) {
    overrides_.push_back({std::move(host), port, server.address(), server.port()});
  }
  void Trust(const http::testing::Ca& ca) { tls_.ca_paths = {ca.file()}; }
  // A file with these contents; its path.
  std::string File(const std::string& name, std::string_view contents) const {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << contents;
    return path;
  }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  http::Client client_;
  http::TlsOptions tls_;
  std::vector<http::ResolveOverride> overrides_;
};

inline ExecRequest RequestFor(std::string_view image, std::string_view token = "",
                              std::map<std::string, std::string, std::less<>> annotations = {}) {
  ExecRequest r;
  r.api_version = "credentialprovider.kubelet.k8s.io/v1";
  r.image = image;
  r.host = r.image.substr(0, r.image.find('/'));
  r.service_account_token = secret::Secret(token);
  r.annotations = std::move(annotations);
  return r;
}

}  // namespace berth::cloud::testing
