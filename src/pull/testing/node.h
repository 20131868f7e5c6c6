// pull/testing/node.h: a node with a store, the real unpack worker and a puller, beside a registry, for tests.
//
//   Node node;
//   node.registry.PutImage("app", "1", {Tar("a", "x")});
//   auto done = node.Pull(node.Ask("app:1"));
//
// Retries wait a millisecond. The store's clock is a manual one (ages), the network's is the system's, or another one given.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "http/client.h"
#include "pull/puller.h"
#include "reclaim/testing/stores.h"
#include "registry/testing/fake_registry.h"

namespace berth::pull::testing {

using reclaim::testing::Tar;

inline credentials::Credential Login(const std::string& user, const std::string& password) {
  credentials::Credential c;
  c.username = user;
  c.password = secret::Secret(password);
  c.source = "test";
  return c;
}

class Node {
 public:
  explicit Node(PullerOptions options = {}, layer::UnpackOptions unpack = {}, const verify::Verifier* verifier = nullptr,
                const time::Clock& clock = time::SystemClock())
      : stores(unpack), options_(std::move(options)), verifier_(verifier), clock_(clock) {
    options_.host = *oci::Platform::Parse("linux/amd64");
    Start();
  }
  ~Node() { puller.reset(); }

  void Start() {
    registry::ClientOptions client;
    client.hosts.roots = {hosts.path()};
    client.hosts.plain_http = {registry.host(), "127.0.0.1"};
    client.retry.rounds = 2;
    client.retry.base = client.retry.cap = std::chrono::milliseconds(1);
    client_ = std::make_unique<registry::Client>(http_, clock_, [] { return 0.5; }, client);
    puller = std::make_unique<Puller>(
        Puller::Stores{*client_, *stores.content, *stores.layers, *stores.catalog, *stores.leases, stores.root, verifier_}, options_);
  }
  // As after the end of the daemon: what is in memory is gone.
  void Restart() {
    puller.reset();
    stores.Reopen();
    Start();
  }

  // "app:1" of our registry.
  Request Ask(const std::string& name, Policy policy = Policy::kIfNotPresent) const {
    Request request{.reference = *reference::Reference::Parse(registry.host() + "/" + name), .policy = policy};
    return request;
  }
  Request Ask(const std::string& name, Policy policy, const std::string& user, const std::string& password) const {
    Request request = Ask(name, policy);
    request.credentials.push_back(Login(user, password));
    return request;
  }
  Result<Pulled> Pull(Request request) { return puller->Start({}, std::move(request)).Wait({}); }
  std::string Name(const std::string& name) const { return registry.host() + "/" + name; }
  bool Has(const std::string& name) { return stores.catalog->FindName(Name(name))->has_value(); }

  registry::testing::FakeRegistry registry;
  reclaim::testing::Folder hosts;  // of hosts.toml files
  reclaim::testing::Stores stores;
  std::unique_ptr<Puller> puller;

 private:
  PullerOptions options_;
  const verify::Verifier* verifier_;
  const time::Clock& clock_;
  http::Client http_;
  std::unique_ptr<registry::Client> client_;
};

}  // namespace berth::pull::testing
