// The client against Debian's docker-registry: TLS, htpasswd, ranges, and plain HTTP on loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "host/process.h"
#include "http/testing/fault_server.h"
#include "registry/client.h"
#include "registry/testing/fake_registry.h"

namespace berth::registry {
namespace {

using ::testing::HasSubstr;

constexpr const char* kProgram = "/usr/bin/docker-registry";
constexpr std::string_view kPassword = "pass-canary";
constexpr std::string_view kHash = "$2b$04$qlw5qCYqBngBWkwZCGuPR.B996wAEn7stxSuiaVG/cbNUYYNiyPK.";  // of kPassword

class RealRegistry : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kProgram)) GTEST_SKIP() << "needs the Debian package docker-registry";
    std::string name = (std::filesystem::temp_directory_path() / "berth-real-XXXXXX").string();
    root_ = mkdtemp(name.data());
    image_ = fake_.PutImage("team/app", "v1", {"layer one", std::string(300000, 'x')});
    Put("docker/registry/v2/repositories/team/app/_manifests/tags/v1/current/link", image_.manifest.digest.ToString());
    Store(image_.manifest.digest, image_.manifest_bytes, "_manifests/revisions");
    Store(image_.config.digest, image_.config_bytes, "_layers");
    Store(image_.layers[0].digest, "layer one", "_layers");
    Store(image_.layers[1].digest, std::string(300000, 'x'), "_layers");
  }
  void TearDown() override {
    process_.reset();
    if (reader_.joinable()) reader_.join();
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }

  void Put(const std::string& path, const std::string& text) {
    const auto full = root_ / "data" / path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full, std::ios::binary) << text;
  }
  void Store(const digest::Digest& digest, const std::string& bytes, const std::string& kind) {
    const std::string hex = digest.Hex();
    Put("docker/registry/v2/blobs/sha256/" + hex.substr(0, 2) + "/" + hex + "/data", bytes);
    Put("docker/registry/v2/repositories/team/app/" + kind + "/sha256/" + hex + "/link", digest.ToString());
  }

  // Returns host:port once it listens. The rest of its log is read and dropped so that it never blocks.
  std::string Start(const std::string& more) {
    const auto config = root_ / "config.yml";
    std::ofstream(config) << "version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: "
                          << (root_ / "data").string() << "}}\n" << more;
    auto pipe = host::MakePipe();
    host::ProcessSpec spec;
    spec.program = kProgram;
    spec.argv = {kProgram, "serve", config};
    spec.fds = {{1, pipe->write.get()}, {2, pipe->write.get()}};
    auto process = host::Process::Spawn(spec);
    EXPECT_TRUE(process) << process.error().Text();
    process_ = *std::move(process);
    pipe->write.reset();
    static constexpr std::string_view kSays = "listening on ";
    std::string log;
    std::byte room[4096];
    while (log.find(kSays) == std::string::npos || log.find_first_of(",\" ", log.find(kSays) + kSays.size()) == std::string::npos) {
      const auto n = host::ReadSome(pipe->read.get(), room);
      if (!n || *n == 0) {
        ADD_FAILURE() << "docker-registry does not start: " << log;
        return "";
      }
      log.append(reinterpret_cast<const char*>(room), *n);
    }
    reader_ = std::jthread([end = std::make_shared<host::Fd>(std::move(pipe->read))] {
      std::byte rest[4096];
      for (;;)
        if (const auto n = host::ReadSome(end->get(), rest); !n || *n == 0) return;
    });
    const std::size_t at = log.find(kSays) + kSays.size();
    return log.substr(at, log.find_first_of(",\" ", at) - at);
  }

  std::unique_ptr<Repository> Open(Client& client, const std::string& host, std::string_view password,
                                   const std::string& tail = "/team/app:v1") {
    std::vector<credentials::Credential> list;
    if (!password.empty()) {
      list.emplace_back();
      list[0].username = "alice";
      list[0].password = secret::Secret(password);
      list[0].source = "command line";
    }
    attempts_.clear();
    return client.Open(*reference::Reference::Parse(host + tail), std::move(list), [this](const Attempt& a) { attempts_.push_back(a); });
  }
  void ExpectPull(Repository& repo) {
    const auto resolved = repo.Resolve(ctx_);
    ASSERT_TRUE(resolved) << resolved.error().Text();
    EXPECT_EQ(resolved->digest, image_.manifest.digest);
    const auto manifest = repo.FetchManifest(ctx_, resolved->digest.ToString(), resolved->media_type);
    ASSERT_TRUE(manifest) << manifest.error().Text();
    EXPECT_EQ(manifest->bytes, image_.manifest_bytes);
    const auto config = repo.FetchDocument(ctx_, image_.config);
    ASSERT_TRUE(config) << config.error().Text();
    for (const std::uint64_t offset : {0u, 200000u}) {
      const auto blob = repo.OpenBlob(ctx_, image_.layers[1], offset);
      ASSERT_TRUE(blob) << blob.error().Text();
      std::vector<std::byte> room(1u << 20);
      std::uint64_t total = 0;
      for (;;) {
        const auto n = (*blob)->Read(room);
        ASSERT_TRUE(n) << n.error().Text();
        if (*n == 0) break;
        total += *n;
      }
      EXPECT_EQ(total, 300000 - offset);
      EXPECT_EQ((*blob)->bytes_received(), total);  // a Range that was honoured
    }
  }

  std::filesystem::path root_;
  testing::FakeRegistry fake_;  // makes the image
  testing::FakeRegistry::Image image_;
  std::optional<host::Process> process_;
  std::jthread reader_;
  task::Context ctx_;
  http::Client http_;
  std::vector<Attempt> attempts_;
};

TEST_F(RealRegistry, TlsAndHtpasswd) {
  http::testing::Ca ca;
  const auto leaf = ca.Issue({"127.0.0.1"});
  std::ofstream(root_ / "htpasswd") << "alice:" << kHash << "\n";
  const std::string host =
      Start("http: {addr: \"127.0.0.1:0\", tls: {certificate: " + leaf.cert_file + ", key: " + leaf.key_file + "}}\n" +
            "auth: {htpasswd: {realm: real, path: " + (root_ / "htpasswd").string() + "}}\n");
  ASSERT_FALSE(host.empty());
  const auto certs = root_ / "certs.d" / host;
  ClientOptions options;
  options.hosts.roots = {root_ / "certs.d"};
  options.retry.base = std::chrono::milliseconds(1);
  Client client(http_, time::SystemClock(), [] { return 0.0; }, options);

  const auto unknown = Open(client, host, kPassword)->Resolve(ctx_);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().reason(), Reason::kTlsCa) << unknown.error().Text();

  std::filesystem::create_directories(certs);
  std::filesystem::copy_file(ca.file(), certs / "ca.crt");
  auto repo = Open(client, host, kPassword);
  ExpectPull(*repo);
  ASSERT_NE(repo->used(), nullptr);
  EXPECT_EQ(repo->used()->Describe(), "command line (alice)");

  ASSERT_TRUE(Open(client, host, kPassword)->Resolve(ctx_));
  EXPECT_EQ(attempts_.size(), 1u);  // the second pull of an unchanged tag

  const auto wrong = Open(client, host, "wrong")->Resolve(ctx_);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().reason(), Reason::kUnauthorized) << wrong.error().Text();
  EXPECT_THAT(wrong.error().next_step(), HasSubstr("command line (alice)"));
  const auto none = Open(client, host, "")->Resolve(ctx_);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().reason(), Reason::kUnauthorized);

  const auto tag = Open(client, host, kPassword, "/team/app:nope")->Resolve(ctx_);
  ASSERT_FALSE(tag);
  EXPECT_EQ(tag.error().reason(), Reason::kNotFound) << tag.error().Text();
  EXPECT_EQ(attempts_.back().registry_code, "MANIFEST_UNKNOWN");
}

TEST_F(RealRegistry, PlainOnLoopbackWithoutConfiguration) {
  const std::string host = Start("http: {addr: \"127.0.0.1:0\"}\n");
  ASSERT_FALSE(host.empty());
  ClientOptions options;
  options.hosts.roots = {};
  Client client(http_, time::SystemClock(), [] { return 0.0; }, options);
  auto repo = Open(client, host, "");
  ExpectPull(*repo);
  ASSERT_GE(attempts_.size(), 2u);
  EXPECT_EQ(attempts_[0].host, "https://" + host);
  EXPECT_EQ(attempts_[0].reason, Reason::kHttpOnHttps);
  EXPECT_EQ(attempts_[1].host, "http://" + host);
}

}  // namespace
}  // namespace berth::registry
