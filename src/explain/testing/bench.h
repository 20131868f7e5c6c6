// explain/testing/bench.h: a node without a daemon beside a registry that can be broken: for tests of causes and their cures.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "explain/explainer.h"
#include "host/testing/scratch.h"
#include "pull/puller.h"
#include "pull/record.h"
#include "registry/testing/fake_registry.h"

namespace berth::explain::testing {

using http::testing::Ca;
using http::testing::FaultServer;
using http::testing::ProxyServer;
using http::testing::Reply;
using http::testing::ServerOptions;
using http::testing::ServerRequest;
using http::testing::ServerTls;
using registry::testing::FakeRegistry;

inline constexpr std::string_view kUser = "alice", kPassword = "pass-canary";


class Bench {
 public:
  Bench() {
    BERTH_CHECK(scratch.dir().MakeDir("certs.d", 0755) && scratch.dir().MakeDir("bin", 0755));
    options.registry.hosts.roots = {scratch.path("certs.d")};
    options.registry.retry.rounds = 1;
    options.registry.retry.base = options.registry.retry.cap = std::chrono::milliseconds(1);
    options.registry.http.headers = options.probe.headers = std::chrono::milliseconds(400);
    options.probe.connect = options.probe.tls = options.registry.http.connect = options.registry.http.tls = std::chrono::seconds(2);
    options.host = *oci::Platform::Parse("linux/amd64");
    options.node = "node-7";
    catalog = *catalog::Catalog::Open(scratch.path(), time::SystemClock());
  }

  // "reg.test:PORT" leads to the registry, which has team/app:v1. Plain HTTP is allowed unless it speaks TLS.
  FakeRegistry& Serve(ServerOptions server = {}, bool allow_plain = true) {
    const bool tls = server.tls.has_value();
    registry_ = std::make_unique<FakeRegistry>(std::move(server));
    Lead(registry_->server().port());
    if (!tls && allow_plain) options.registry.hosts.plain_http.push_back(host);
    image_ = registry_->PutImage("team/app", "v1", {"layer"});
    return *registry_;
  }
  FakeRegistry& ServeTls(const std::vector<std::string>& names = {"reg.test"}, Ca::Fault fault = Ca::Fault::kNone, bool trust = true,
                         const std::string& client_ca = "") {
    auto& served = Serve({.tls = ServerTls{.leaf = ca.Issue(names, fault), .client_ca = client_ca}});
    if (trust) TrustCa();
    return served;
  }
  void TrustCa(const std::string& domain = "") { Write("certs.d/" + (domain.empty() ? host : domain) + "/ca.crt", Read(ca.file())); }
  void Lead(std::uint16_t port) {
    host = "reg.test:" + std::to_string(port);
    options.registry.overrides = {{.host = "reg.test", .port = port, .address = "127.0.0.1"}};
  }
  FakeRegistry& registry() { return *registry_; }
  const FakeRegistry::Image& image() const { return image_; }
  std::string name(const std::string& tail = "team/app:v1") const { return host + "/" + tail; }

  void Hosts(const std::string& toml, const std::string& domain = "") { Write("certs.d/" + (domain.empty() ? host : domain) + "/hosts.toml", toml); }
  // The node's config.json: one entry.
  void Login(const std::string& key, std::string_view user = kUser, std::string_view password = kPassword) {
    Write("config.json", R"({"auths":{")" + key + R"(":{"username":")" + std::string(user) + R"(","password":")" + std::string(password) + R"("}}})");
  }
  static std::string SecretYaml(const std::string& ns, const std::string& name, const std::string& server,
                                std::string_view password = kPassword, const std::string& type = "kubernetes.io/dockerconfigjson") {
    return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: " + ns + "}\ntype: " + type +
           "\nstringData:\n  .dockerconfigjson: '{\"auths\":{\"" + server + "\":{\"username\":\"alice\",\"password\":\"" + std::string(password) + "\"}}}'\n---\n";
  }
  std::string PodYaml(const std::string& secret, const std::string& more = "") const {
    return "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec:\n  imagePullSecrets: [{name: " + secret +
           "}]\n  containers: [{name: web, image: '" + name() + "'" + more + "}]\n";
  }
  // One plug-in for *.test, as a shell script.
  void Plugin(const std::string& script) {
    Write("bin/plug", "#!/bin/sh\n" + script, 0755);
    Write("plugins.json", R"({"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"plug","matchImages":[")" + host +
                              R"("],"defaultCacheDuration":"0s","apiVersion":"credentialprovider.kubelet.k8s.io/v1"}]})");
    auto set = credentials::ProviderSet::Load(
        {.config = scratch.path("plugins.json"), .bin_dir = scratch.path("bin"), .limits = {.time = plugin_limit}}, time::SystemClock(),
        nullptr);
    BERTH_CHECK(set.has_value());
    plugins_ = *std::move(set);
  }
  static std::string GoodAnswer(const std::string& server) {
    return R"(cat <<'END'
{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":{")" + server +
           R"(":{"username":"alice","password":"pass-canary"}}}
END
)";
  }
  // As if it had been pulled: no layers, the registry's digest.
  void Publish() {
    catalog::ImageRecord record{.manifest = image_.manifest.digest, .config = image_.config.digest, .platform = "linux/amd64", .size = 10};
    const auto reference = *reference::Reference::Parse(name());
    const auto done = catalog->PublishImage({.name = reference.Canonical(),
                                             .target = image_.manifest.digest,
                                             .media_type = image_.manifest.media_type,
                                             .documents = {{image_.manifest.digest, 7}, {image_.config.digest, 8}},
                                             .images = {record},
                                             .journal = "{}"});
    BERTH_CHECK(done.has_value());
  }
  // As if a pull had ended like this.
  void Journal(const std::string& image, Error error, const std::vector<registry::Attempt>& attempts = {},
               std::optional<verify::Verdict> verdict = std::nullopt) {
    const std::string canonical = reference::Reference::Parse(image)->Canonical();
    pull::Record record;
    for (const auto& attempt : attempts) record.Add(attempt);
    const auto id = *catalog->BeginPull(canonical);
    BERTH_CHECK(catalog
                    ->EndPull(id, record.ToJson(pull::Policy::kIfNotPresent, {},
                                                pull::Pulled{.name = canonical,
                                                             .target = digest::Digest::Of(bytes::AsView(std::string_view("x"))),
                                                             .verdict = std::move(verdict)},
                                                &error))
                    .has_value());
  }

  Report Ask(Question question) {
    http::Client http({.proxies = proxies});
    credentials::NodeConfig node({.config_json = {scratch.path()}, .profile = options.profile}, time::SystemClock());
    auto ways = options.registry;
    ways.mirror_credentials = [&node](const std::string& repository) { return node.Get()->Find(repository); };
    registry::Client client(http, time::SystemClock(), [] { return 0.0; }, std::move(ways));
    const credentials::Sources sources(options.profile, {.node = &node, .plugins = plugins_.get()});
    const Explainer explainer({client, http, catalog.get(), sources, proxies.get(), records.get()}, options);
    auto report = explainer.Explain(task::Context(), std::move(question));
    BERTH_CHECK(report.has_value());
    return *std::move(report);
  }
  Report Ask() { return Ask(Question{.image = image_name.empty() ? name() : image_name, .policy = policy}); }
  Report AskFile(const std::string& text) {
    auto questions = AskAboutFile(text, "pod.yaml", "default", nullptr);
    if (!questions) BERTH_CHECK(questions.error().Text().empty());
    return Ask(std::move(questions->at(0)));
  }
  Report AskLast(const std::string& image) {
    http::Client http;
    registry::Client client(http, time::SystemClock(), [] { return 0.0; }, options.registry);
    const credentials::Sources sources(options.profile, {});
    auto report = Explainer({client, http, catalog.get(), sources, nullptr, nullptr}, options).Last(image);
    BERTH_CHECK(report.has_value());
    return *std::move(report);
  }
  Report Probe(const std::string& what) {
    http::Client http({.proxies = proxies});
    registry::Client client(http, time::SystemClock(), [] { return 0.0; }, options.registry);
    const credentials::Sources sources(options.profile, {});
    auto report = Explainer({client, http, catalog.get(), sources, proxies.get(), nullptr}, options).Probe(task::Context(), what, {});
    BERTH_CHECK(report.has_value());
    return *std::move(report);
  }

  void Write(const std::string& path, std::string_view text, std::uint32_t mode = 0644) {
    host::Dir dir(*scratch.dir().Duplicate());
    std::string rest = path;
    for (auto slash = rest.find('/'); slash != rest.npos; slash = rest.find('/')) {
      const std::string part = rest.substr(0, slash);
      (void)dir.MakeDir(part, 0755);
      dir = *dir.OpenDir(part);
      rest.erase(0, slash + 1);
    }
    BERTH_CHECK(dir.WriteDurably(rest, bytes::AsView(text), mode).has_value());
  }
  static std::string Read(const std::string& path) { return *host::ReadSmallFile(path, 1u << 20); }

  host::testing::Scratch scratch;
  Ca ca;
  ExplainerOptions options;
  std::string host = "reg.test", image_name, yaml;
  std::optional<policy::PullPolicy> policy;
  std::shared_ptr<const http::ProxyRules> proxies;
  std::unique_ptr<catalog::Catalog> catalog;
  std::shared_ptr<policy::Records> records;
  time::Duration plugin_limit = std::chrono::minutes(1);
  std::unique_ptr<ProxyServer> proxy;
  std::unique_ptr<FaultServer> other;

 private:
  std::unique_ptr<FakeRegistry> registry_;
  FakeRegistry::Image image_;
  std::unique_ptr<credentials::ProviderSet> plugins_;
};

}  // namespace berth::explain::testing
