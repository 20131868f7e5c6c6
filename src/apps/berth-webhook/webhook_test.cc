#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <thread>

#include "apps/berth-webhook/cluster.h"
#include "apps/berth-webhook/service.h"
#include "apps/berth-webhook/settings.h"
#include "bytes/bytes.h"
#include "bytes/encoding.h"
#include "host/dir.h"
#include "host/listen.h"
#include "http/testing/fault_server.h"
#include "httpd/testing/authority.h"
#include "httpd/server.h"
#include "httpd/testing/client.h"

namespace berth::webhook {
namespace {

using httpd::testing::Client;
using std::chrono::hours;
using ::testing::HasSubstr;
using ::testing::Not;

const time::WallTime kNow = std::chrono::system_clock::now();

// Waits until the asker's time is over, unless the image is "quick".
class Slow final : public admission::Resolver {
 public:
  Result<digest::Digest> Resolve(const task::Context& ctx, const admission::Lookup& lookup) override {
    if (lookup.image.ToString().find("quick") == std::string::npos) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, ctx.stop(), [&] { return open_; });
    }
    RETURN_IF_ERROR(ctx.Check());
    return *digest::Digest::Parse("sha256:" + std::string(64, 'a'));
  }
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool open_ = false;
};

std::string Body(const std::string& image, const std::string& more = "") {
  return R"({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","kind":{"group":"","version":"v1","kind":"Pod"},)"
         R"("resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","namespace":"shop","name":"p","object":{"apiVersion":"v1","kind":"Pod",)"
         R"("metadata":{"name":"p","namespace":"shop"},"spec":{"containers":[{"name":"c","imagePullPolicy":"IfNotPresent",)" + more + R"("image":")" + image + R"("}]}}}})";
}
std::string Post(const std::string& target, const std::string& body, const std::string& fields = "Content-Type: application/json\r\n") {
  return "POST " + target + " HTTP/1.1\r\nHost: h\r\n" + fields + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

class WebhookTest : public ::testing::Test {
 protected:
  void Start(admission::Options options, ServiceOptions service = {}, std::optional<httpd::ClientAuthority> clients = std::nullopt) {
    mutating_.emplace(options, admission::Parts{.digests = &digests_});
    options.mutate = false, options.judge = true, options.pin = false;
    validating_.emplace(options, admission::Parts{});
    const unsigned workers = service.workers;
    service_.emplace(*mutating_, *validating_, metrics_, std::move(service));
    server_ = *httpd::Server::Start(*host::ListenTcp({.ip = "127.0.0.1"}),
                                    [this](const task::Context& ctx, const httpd::Request& r) { return service_->Answer(ctx, r); },
                                    {.workers = workers, .body_bytes = 8u << 20, .certificate = Leaf(authority_),
                                     .clients = std::move(clients)});
  }
  static httpd::Certificate Leaf(const httpd::testing::Issued& by) {
    const auto leaf = httpd::testing::Issue(by, {"127.0.0.1"}, digest::Purpose::kServer, kNow, hours(24));
    return *httpd::Certificate::Parse(leaf.certificate_pem, leaf.key_pem);
  }
  std::string Ask(const std::string& request) { return Client(server_->port(), Client::Transport::kTls).Ask(request).value_or("cut"); }
  std::string Counted(const std::string& page, const std::string& result) {
    return "berth_webhook_reviews_total{page=\"" + page + "\",result=\"" + result + "\"} ";
  }

  const httpd::testing::Issued authority_ = httpd::testing::MakeAuthority("test", kNow, hours(48));
  Slow resolver_;
  admission::DigestCache digests_{resolver_, time::SystemClock()};
  metrics::Registry metrics_;
  std::optional<admission::Admission> mutating_, validating_;
  std::optional<Service> service_;
  std::unique_ptr<httpd::Server> server_;
};

TEST_F(WebhookTest, MutatesAndValidates) {
  Start({.always_pull = true, .judge = false});
  const std::string changed = Ask(Post("/mutate?timeout=10s", Body("a:1")));
  EXPECT_TRUE(changed.starts_with("HTTP/1.1 200 ")) << changed;
  EXPECT_THAT(changed, HasSubstr(bytes::ToBase64(bytes::AsView(
                           R"([{"op":"replace","path":"/spec/containers/0/imagePullPolicy","value":"Always"}])"))));
  const std::string denied = Ask(Post("/validate", Body("a:1")));
  EXPECT_THAT(denied, HasSubstr("\"allowed\":false"));
  EXPECT_THAT(denied, Not(HasSubstr("JSONPatch")));
  EXPECT_THAT(metrics_.Text(), HasSubstr(Counted("mutate", "changed") + "1\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr(Counted("validate", "denied") + "1\n"));
}

struct NoReview {
  std::string name, request;
  int status;
};
class RefusedTest : public WebhookTest, public ::testing::WithParamInterface<NoReview> {};
TEST_P(RefusedTest, WithoutAVerdict) {
  Start({.always_pull = true, .judge = false});
  const std::string answer = Ask(GetParam().request);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + std::to_string(GetParam().status) + " ")) << answer.substr(0, 300);
  EXPECT_THAT(answer, Not(HasSubstr("allowed")));
}
INSTANTIATE_TEST_SUITE_P(
    H05, RefusedTest,
    ::testing::Values(NoReview{"get", "GET /mutate HTTP/1.1\r\nHost: h\r\n\r\n", 405}, NoReview{"elsewhere", Post("/other", Body("a")), 404},
                      NoReview{"gzip", Post("/mutate", Body("a"), "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"), 400},
                      NoReview{"text", Post("/mutate", Body("a"), "Content-Type: text/plain\r\n"), 400}, NoReview{"timeout", Post("/mutate?timeout=soon", Body("a")), 400},
                      NoReview{"twice", Post("/mutate", Body("a", "\"image\":\"b\",")), 400}, NoReview{"deep", Post("/mutate", std::string(100'000, '[')), 413},
                      NoReview{"large", "POST /mutate HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 67108864\r\n\r\n", 413}),
    [](const auto& row) { return row.param.name; });

TEST_F(WebhookTest, H05AReviewOfThreeMebibytesIsRead) {
  Start({.always_pull = true, .judge = false});
  const std::string answer = Ask(Post("/mutate", Body("a", R"("args":[")" + std::string(3u << 20, 'x') + "\"],")));
  EXPECT_THAT(answer, HasSubstr("\"allowed\":true"));
}

TEST_F(WebhookTest, H03ARegistryThatIsSilentIsADenialInTime) {
  Start({.pin = true, .pinning = {.label = ""}, .judge = false}, {.workers = 2});
  const std::string answer = Ask(Post("/mutate?timeout=100ms", Body("registry.example/slow:1")));
  EXPECT_THAT(answer, HasSubstr("\"allowed\":false"));
  EXPECT_THAT(answer, HasSubstr("cannot be resolved to a digest"));
  resolver_.Open();
}

// As many clients wait for a registry as there are workers: who finds an answer in the cache gets it all the same.
TEST_F(WebhookTest, H10CachedAnswersDoNotQueueBehindASilentRegistry) {
  Start({.pin = true, .pinning = {.label = ""}, .judge = false},
        {.timeout = std::chrono::minutes(5), .hurried = std::chrono::milliseconds(20), .workers = 4});
  EXPECT_THAT(Ask(Post("/mutate", Body("registry.example/quick:1"))), HasSubstr("JSONPatch"));
  std::vector<std::jthread> waiting;
  std::atomic<int> answered{0};
  for (int i = 0; i < 8; ++i)
    waiting.emplace_back([&, i] {
      const std::string answer = Ask(Post("/mutate", Body("registry.example/slow:" + std::to_string(i))));
      if (answer.find("\"allowed\":") != answer.npos) ++answered;
    });
  for (int i = 0; i < 50; ++i) EXPECT_THAT(Ask(Post("/mutate", Body("registry.example/quick:1"))), HasSubstr("JSONPatch"));
  resolver_.Open();
  waiting.clear();
  EXPECT_EQ(answered, 8);
}

TEST_F(WebhookTest, H07ACertificateIsChangedUnderLoadWithoutAFailure) {
  Start({.always_pull = true, .judge = false});
  std::atomic<bool> stop{false};
  std::atomic<int> failed{0}, served{0};
  std::vector<std::jthread> clients;
  for (int i = 0; i < 3; ++i)
    clients.emplace_back([&, i] {
      Client kept(server_->port(), Client::Transport::kTls);
      while (!stop) {
        const bool good = i == 0 ? Ask(Post("/mutate", Body("a:1"))).starts_with("HTTP/1.1 200 ")
                                 : kept.Ask(Post("/mutate", Body("a:1"))).value_or("").starts_with("HTTP/1.1 200 ");
        ++(good ? served : failed);
      }
    });
  for (int i = 0; i < 20; ++i) {
    server_->SetCertificate(Leaf(authority_));
    EXPECT_TRUE(Ask(Post("/mutate", Body("a:1"))).starts_with("HTTP/1.1 200 "));
  }
  stop = true;
  clients.clear();
  EXPECT_EQ(failed, 0);
  EXPECT_GT(served, 0);
}

TEST_F(WebhookTest, H08APodIsNotTheApiServer) {
  Start({.always_pull = true, .judge = false}, {}, *httpd::ClientAuthority::Parse(authority_.certificate_pem, {"kube-apiserver"}));
  EXPECT_EQ(Ask(Post("/mutate", Body("a:1"))), "cut");
  EXPECT_THAT(metrics_.Text(), HasSubstr(Counted("mutate", "changed") + "0\n")) << "nothing was read";
}

TEST(SettingsTest, WhatIsPrintedReadsBackAsTheSame) {
  const auto settings = ParseSettings("pin:\n  enabled: true\n  registries: [registry.example]\nlog: {level: debug}\n", "x.yaml", {"timeout=5s", "pin.exempt_images=a,b"});
  ASSERT_TRUE(settings) << settings.error().Text();
  EXPECT_TRUE(settings->pin);
  EXPECT_EQ(settings->timeout, std::chrono::seconds(5));
  EXPECT_EQ(settings->pinning.exempt_images, (std::vector<std::string>{"a", "b"}));
  const auto again = ParseSettings(PrintSettings(*settings), "printed", {});
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(PrintSettings(*again), PrintSettings(*settings));
}

// 5.12 has 3 MiB for a review: of one object, and of an update there are two in it.
TEST(SettingsTest, TheLargestReviewIsOne) {
  EXPECT_EQ(ParseSettings("", "x.yaml", {})->review_bytes, 8u << 20);
  EXPECT_EQ(ParseSettings("review_bytes: 3145728", "x.yaml", {})->review_bytes, 3u << 20);
  EXPECT_THAT(PrintSettings(Settings()), HasSubstr("review_bytes: \"8388608\""));
}

struct BadSettings {
  std::string text, says;
};
class BadSettingsTest : public ::testing::TestWithParam<BadSettings> {};
TEST_P(BadSettingsTest, AreRefused) {
  const auto settings = ParseSettings(GetParam().text, "x.yaml", {});
  ASSERT_FALSE(settings);
  EXPECT_THAT(settings.error().Text(), HasSubstr(GetParam().says));
}
INSTANTIATE_TEST_SUITE_P(All, BadSettingsTest,
                         ::testing::Values(BadSettings{"moon: 1", "there is no setting"}, BadSettings{"timeout: -1s", "not a value of timeout"},
                                           BadSettings{"review_bytes: 0", "not a value of review_bytes"},
                                           BadSettings{"on_error: Perhaps", "not a value of on_error"}, BadSettings{"pin: {enabled: true}", "needs pin.registries"},
                                           BadSettings{"always_pull: false", "nothing to do"}, BadSettings{"listen: nowhere", "nowhere"},
                                           BadSettings{"tls: {client_names: [a]}", "needs tls.client_ca"}, BadSettings{"- a", "settings are a mapping"}));

class ClusterTest : public ::testing::Test {
 protected:
  ClusterTest() { EXPECT_NE(::mkdtemp(folder_.data()), nullptr); }
  ~ClusterTest() override { std::filesystem::remove_all(folder_); }
  void Save(const std::string& name, std::string_view text) {
    EXPECT_TRUE((*host::Dir::Open(folder_)).WriteDurably(name, bytes::AsView(text), 0600));
  }
  std::string folder_ = (std::filesystem::temp_directory_path() / "berth-cluster-XXXXXX").string();
};

std::string Kubeconfig(const std::string& server, const std::string& cluster, const std::string& user) {
  return "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: '" + server +
         "', " + cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\n";
}

TEST_F(ClusterTest, AKubeconfigSaysWhereAndWho) {
  Save("config", Kubeconfig("https://10.0.0.1:6443", "certificate-authority: ca.crt", "client-certificate-data: YWJj, client-key: /k"));
  const auto access = ReadKubeconfig(folder_ + "/config");
  ASSERT_TRUE(access) << access.error().Text();
  EXPECT_EQ(access->server.port, 6443);
  EXPECT_EQ(access->tls.ca_paths, (std::vector<std::string>{folder_ + "/ca.crt"}));
  EXPECT_EQ(*host::ReadSmallFile(access->tls.client_cert, 100), "abc");
  EXPECT_EQ(access->tls.client_key, "/k");
  for (const char* user : {"exec: {command: x}", "username: a, password: b"}) {
    Save("config", Kubeconfig("https://10.0.0.1", "a: b", user));
    EXPECT_EQ(ReadKubeconfig(folder_ + "/config").error().reason(), Reason::kConfig) << user;
  }
  Save("config", Kubeconfig("http://10.0.0.1", "a: b", "token: t"));
  EXPECT_EQ(ReadKubeconfig(folder_ + "/config").error().reason(), Reason::kConfig);
}

TEST_F(ClusterTest, SecretsAndLabelsAreReadWithTheAccountsToken) {
  http::testing::Ca ca;
  std::vector<std::string> asked;
  std::mutex mutex;
  http::testing::FaultServer server(
      [&](const http::testing::ServerRequest& r) {
        std::lock_guard lock(mutex);
        asked.push_back(r.target);
        EXPECT_EQ(r.header("authorization"), "Bearer tok");
        if (r.target == "/api/v1/namespaces/shop")
          return http::testing::Reply::Json(200, R"({"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"a":"b"}}})");
        if (r.target == "/api/v1/namespaces/shop/secrets/regcred")
          return http::testing::Reply::Json(200, R"({"apiVersion":"v1","kind":"Secret",)"
                                                 R"("metadata":{"name":"regcred","namespace":"shop"},"type":"t","data":{"k":"djE="}})");
        return http::testing::Reply::Text(r.target.find("broken") != std::string::npos ? 500 : 404, "secret text");
      },
      {.tls = http::testing::ServerTls{.leaf = ca.Issue({"127.0.0.1"})}});
  std::filesystem::copy_file(ca.file(), folder_ + "/ca.crt");
  Save("token", "tok\n");
  const auto variable = [&](std::string_view name) -> std::optional<std::string> {
    return name == "KUBERNETES_SERVICE_HOST" ? "127.0.0.1" : std::to_string(server.port());
  };
  http::Client http;
  Cluster cluster(http, *InClusterAccess(variable, folder_));
  for (int i = 0; i < 2; ++i) {
    const auto labels = cluster.NamespaceLabels({}, "shop");
    ASSERT_TRUE(labels) << labels.error().message;
    EXPECT_EQ(labels->at("a"), "b");
  }
  EXPECT_EQ(asked.size(), 1u) << "labels are kept";
  const auto secret = cluster.FindSecret({}, "shop", "regcred");
  ASSERT_TRUE(secret) << secret.error().message;
  EXPECT_EQ(secret->data.at("k").Reveal(), "v1");
  EXPECT_EQ(cluster.FindSecret({}, "shop", "gone").error().code, 404);
  EXPECT_EQ(cluster.FindSecret({}, "shop", "..").error().code, 404);
  const auto broken = cluster.FindSecret({}, "shop", "broken");
  EXPECT_EQ(broken.error().code, 500);
  EXPECT_THAT(broken.error().message, Not(HasSubstr("secret text")));
}

}  // namespace
}  // namespace berth::webhook
