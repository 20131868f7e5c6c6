// The acceptance vectors of runtime-registry 4.13 (Vn) and the rows C-nn of reliability-security 3.c that concern a registry client
// above HTTP. What was sent is proven by the server's log, not by the client's word.
#include "registry/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bytes/encoding.h"
#include "http/testing/black_hole.h"
#include "registry/blob_stream.h"
#include "registry/engine.h"
#include "registry/route.h"
#include "registry/testing/fake_registry.h"
#include "time/testing/manual_clock.h"

namespace berth::registry {
namespace {

using http::testing::FaultServer;
using http::testing::Reply;
using http::testing::ServerRequest;
using http::testing::Step;
using std::chrono::milliseconds;
using std::chrono::seconds;
using registry::testing::FakeRegistry;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::string_view kPassword = "pass-canary", kUser = "alice";

credentials::Credential User(std::string_view user, std::string_view password) {
  credentials::Credential c;
  c.username = user;
  c.password = secret::Secret(password);
  c.source = "secret shop/" + std::string(user);
  return c;
}

std::vector<credentials::Credential> List(std::convertible_to<credentials::Credential> auto... all) {
  std::vector<credentials::Credential> list;
  (list.push_back(std::move(all)), ...);
  return list;
}

std::string Noise(std::size_t size, std::uint32_t seed = 1) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return text;
}

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    std::string name = (std::filesystem::temp_directory_path() / "berth-registry-XXXXXX").string();
    root_ = mkdtemp(name.data());
    options_.hosts.roots = {root_};
  }
  ~ClientTest() override {
    // U6: no secret in anything that a person or a log can see; nothing that a client may not do.
    for (const Attempt& a : attempts_)
      for (const std::string* text : {&a.host, &a.what, &a.credential, &a.registry_code, &a.next})
        EXPECT_THAT(*text, Not(HasSubstr("canary")));
    EXPECT_THAT(registry_.violations(), IsEmpty());
    std::filesystem::remove_all(root_);
  }

  Client& client() {
    if (!client_) {
      for (const FakeRegistry* r : plain_) options_.hosts.plain_http.push_back(r->host());
      client_ = std::make_unique<Client>(http_, clock_, [] { return 0.0; }, std::move(options_));
    }
    return *client_;
  }
  std::unique_ptr<Repository> Open(std::vector<credentials::Credential> credentials = {}, const std::string& tail = "team/app:v1") {
    const auto ref = reference::Reference::Parse(registry_.host() + "/" + tail);
    return client().Open(*ref, std::move(credentials),
                         [this](const Attempt& a) {
                           std::lock_guard lock(mutex_);
                           attempts_.push_back(a);
                         });
  }
  // hosts.toml of registry_: mirrors in order, then the registry itself.
  void Mirrors(const std::vector<std::string>& urls, const std::string& fields = "") {
    const auto directory = root_ / registry_.host();
    std::filesystem::create_directories(directory);
    std::ofstream out(directory / "hosts.toml");
    out << "server = \"http://" << registry_.host() << "\"\n";
    for (const std::string& url : urls) out << "[host.\"" << url << "\"]\n" << fields << "\n";
  }
  Result<std::string> ReadBlob(Repository& repo, const oci::Descriptor& layer, std::uint64_t offset = 0, std::string* host = nullptr) {
    ASSIGN_OR_RETURN(const auto blob, repo.OpenBlob(ctx_, layer, offset));
    std::string all;
    std::vector<std::byte> room(16u << 10);
    for (;;) {
      ASSIGN_OR_RETURN(const std::size_t n, blob->Read(room));
      if (host) *host = blob->host();
      received_ = blob->bytes_received();
      resumed_from_ = blob->resumed_from();
      if (n == 0) return all;
      all.append(reinterpret_cast<const char*>(room.data()), n);
    }
  }
  // One pull: the tag, the manifest, the config and the layers.
  Result<> Pull(Repository& repo, const FakeRegistry::Image& image) {
    ASSIGN_OR_RETURN(const auto resolved, repo.Resolve(ctx_));
    ASSIGN_OR_RETURN(const auto manifest, repo.FetchManifest(ctx_, resolved.digest.ToString(), resolved.media_type));
    if (manifest.bytes != image.manifest_bytes) return Error(Reason::kInternal, "wrong manifest");
    ASSIGN_OR_RETURN(const auto config, repo.FetchDocument(ctx_, image.config));
    if (config != image.config_bytes) return Error(Reason::kInternal, "wrong config");
    for (const auto& layer : image.layers) {
      ASSIGN_OR_RETURN(const auto bytes, ReadBlob(repo, layer));
      if (digest::Digest::Of(bytes::AsView(bytes)) != layer.digest) return Error(Reason::kDigestMismatch, "wrong layer");
    }
    return {};
  }
  // "HEAD manifest v1 401 -> authenticate"
  std::vector<std::string> Story() const {
    std::vector<std::string> lines;
    for (const Attempt& a : attempts_)
      lines.push_back(a.method + " " + a.what.substr(0, a.what.find(" sha256:")) + " " +
                      (a.status   ? std::to_string(a.status)
                       : a.reason ? std::string(result::Describe(*a.reason).code)
                                  : "") +
                      (a.next.empty() ? "" : " -> " + a.next));
    return lines;
  }
  static Reply Head(const FakeRegistry::Image& image) {
    return Reply::Text(200, image.manifest_bytes,
                       {{"Content-Type", image.manifest.media_type}, {"Docker-Content-Digest", image.manifest.digest.ToString()}});
  }
  static std::string BlobPath(const oci::Descriptor& d) { return "/v2/team/app/blobs/" + d.digest.ToString(); }

  std::filesystem::path root_;
  time::testing::ManualClock clock_{time::testing::AutoAdvance::kYes};
  task::Context ctx_{std::stop_token(), clock_};
  FakeRegistry registry_;
  std::vector<const FakeRegistry*> plain_{&registry_};
  ClientOptions options_;
  http::Client http_;
  std::unique_ptr<Client> client_;
  std::mutex mutex_;
  std::vector<Attempt> attempts_;
  std::uint64_t received_ = 0, resumed_from_ = 0;
};

#define ASSERT_OK(expr)                                   \
  do {                                                    \
    const auto& ok_ = (expr);                             \
    ASSERT_TRUE(ok_) << ok_.error().Text();               \
  } while (false)

#define EXPECT_REASON(expr, want)                                                     \
  do {                                                                                \
    const auto& ok_ = (expr);                                                         \
    EXPECT_FALSE(ok_);                                                                \
    if (!ok_) {                                                                       \
      EXPECT_EQ(ok_.error().reason(), want) << ok_.error().Text();                    \
      EXPECT_THAT(ok_.error().Text() + ok_.error().next_step(), Not(HasSubstr("canary"))); \
    }                                                                                 \
  } while (false)

// ---- resolving and manifests

TEST_F(ClientTest, APullIsAHeadAManifestAConfigAndTheLayers) {
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  auto repo = Open();
  const auto resolved = repo->Resolve(ctx_);
  ASSERT_OK(resolved);
  EXPECT_EQ(resolved->digest, image.manifest.digest);
  EXPECT_EQ(resolved->size, image.manifest_bytes.size());
  EXPECT_EQ(resolved->media_type, oci::kOciManifest);
  EXPECT_EQ(resolved->host, "http://" + registry_.host());
  ASSERT_OK(Pull(*repo, image));
  EXPECT_EQ(repo->used(), nullptr);
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 200", "HEAD manifest v1 200", "GET manifest 200", "GET blob 200",
                                   "GET blob 200", "GET blob 200"));
  EXPECT_EQ(attempts_[3].bytes, image.config_bytes.size());
  EXPECT_EQ(attempts_[4].bytes, 3u);
  EXPECT_EQ(attempts_[0].credential, "anonymous");
}

TEST_F(ClientTest, V1_V3_BareAnswersAreHashedAndSniffedHere) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.BareAnswers();
  auto repo = Open();
  const auto resolved = repo->Resolve(ctx_);
  ASSERT_OK(resolved);
  EXPECT_EQ(resolved->digest, image.manifest.digest);
  EXPECT_EQ(resolved->media_type, oci::kOciManifest);
  EXPECT_EQ(resolved->size, image.manifest_bytes.size());
  ASSERT_OK(repo->FetchManifest(ctx_, resolved->digest.ToString(), ""));
  EXPECT_THAT(registry_.log(), ElementsAre("HEAD /v2/team/app/manifests/v1", "GET /v2/team/app/manifests/v1"));
}

TEST_F(ClientTest, V2_C28_HeadThatIsNotUnderstood) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  for (const int status : {405, 400, 501}) {
    registry_.On("HEAD", [&](const ServerRequest&) { return Reply::Text(status, ""); }, 1);
    const auto resolved = Open()->Resolve(ctx_);
    ASSERT_OK(resolved);
    EXPECT_EQ(resolved->digest, image.manifest.digest);
  }
}

// runtime-registry 4.3, step 5; a URL that is signed for GET is none for HEAD.
TEST_F(ClientTest, AHeadThatIsDeniedSaysNothingAboutAGet) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("HEAD", [](const ServerRequest&) { return Reply::Text(403, ""); }, 1);
  const auto resolved = Open()->Resolve(ctx_);
  ASSERT_OK(resolved);
  EXPECT_EQ(resolved->digest, image.manifest.digest);
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 403 -> GET", "GET manifest v1 200"));

  std::atomic<int> status = 0;
  FaultServer storage([&](const ServerRequest& r) {
    return r.method == "GET" ? Reply::Text(200, image.manifest_bytes, {{"Content-Type", image.manifest.media_type}})
                             : Reply::Text(status, "");
  }, {.address = "127.0.0.2"});
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  const auto redirect = [&](const ServerRequest& r) {
    if (!r.has("authorization"))
      return Reply::Text(401, "", {{"WWW-Authenticate", "Bearer realm=\"" + registry_.url("/token") + "\",service=\"fake\""}});
    return Reply::Redirect(307, storage.url("/x?sig=1"));
  };
  registry_.On("HEAD /v2", redirect);
  registry_.On("GET /v2", redirect);
  for (const int answer : {403, 401, 400}) {
    status = answer;
    const auto got = Open(List(User(kUser, kPassword)))->Resolve(ctx_);
    ASSERT_OK(got);
    EXPECT_EQ(got->digest, image.manifest.digest);
  }
  EXPECT_THAT(storage.received(), Not(HasSubstr("uthorization")));
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
}

TEST_F(ClientTest, C27_HeadWithALyingOrMalformedDigest) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  for (const char* digest : {"sha256:../../etc/passwd", "sha256:00", "md5:d41d8cd98f00b204e9800998ecf8427e", ""}) {
    registry_.On("HEAD", [&](const ServerRequest&) {
      return Reply::Text(200, image.manifest_bytes, {{"Content-Type", image.manifest.media_type}, {"Docker-Content-Digest", digest}});
    }, 1);
    const auto resolved = Open()->Resolve(ctx_);
    ASSERT_OK(resolved);
    EXPECT_EQ(resolved->digest, image.manifest.digest);
  }
  const std::string lie = digest::Digest::Of(bytes::AsView("x")).ToString();
  registry_.On("", [&](const ServerRequest&) {
    return Reply::Text(200, image.manifest_bytes, {{"Content-Type", image.manifest.media_type}, {"Docker-Content-Digest", lie}});
  });
  auto repo = Open();
  const auto resolved = repo->Resolve(ctx_);
  ASSERT_OK(resolved);
  EXPECT_REASON(repo->FetchManifest(ctx_, resolved->digest.ToString(), ""), Reason::kDigestMismatch);
  const auto by_tag = repo->FetchManifest(ctx_, "v1", "");
  ASSERT_OK(by_tag);
  EXPECT_EQ(by_tag->digest, image.manifest.digest);
}

// The tag is another image at every look: what is pulled is the one whose digest was told.
TEST_F(ClientTest, C29_ATagThatMovesOnEveryRequest) {
  const std::vector<FakeRegistry::Image> images{registry_.PutImage("team/app", "v1", {"one"}), registry_.PutImage("team/app", "v2", {"two"})};
  std::atomic<std::size_t> looks = 0;
  const auto moving = [&](const ServerRequest&) {
    const auto& image = images[looks++ % 2];
    return Reply::Text(200, image.manifest_bytes,
                       {{"Content-Type", image.manifest.media_type}, {"Docker-Content-Digest", image.manifest.digest.ToString()}});
  };
  for (const char* method : {"HEAD", "GET"}) registry_.On(std::string(method) + " /v2/team/app/manifests/v1", moving);
  for (int round = 0; round < 4; ++round) {
    auto repo = Open();
    const auto resolved = repo->Resolve(ctx_);
    ASSERT_OK(resolved);
    const auto manifest = repo->FetchManifest(ctx_, resolved->digest.ToString(), resolved->media_type);
    ASSERT_OK(manifest);
    EXPECT_EQ(manifest->digest, resolved->digest);
    EXPECT_EQ(digest::Digest::Of(bytes::AsView(manifest->bytes)), resolved->digest);
    ++looks;  // so that the other one is first
    const auto by_tag = repo->FetchManifest(ctx_, "v1", "");
    ASSERT_OK(by_tag);
    EXPECT_EQ(digest::Digest::Of(bytes::AsView(by_tag->bytes)), by_tag->digest) << "what it says is what it has";
  }
}

TEST_F(ClientTest, V14_C20_ManifestTooLarge) {
  registry_.PutManifest("team/app", "{" + std::string(5u << 20, ' ') + "}", std::string(oci::kOciManifest), "v1");
  EXPECT_REASON(Open()->Resolve(ctx_), Reason::kLimitExceeded);
  EXPECT_REASON(Open()->FetchManifest(ctx_, "v1", ""), Reason::kLimitExceeded);
  registry_.On("", [](const ServerRequest&) {
    return Reply::Head(200, std::nullopt, {{"Content-Type", std::string(oci::kOciManifest)}})
        .Send("{")
        .Endless(std::string(64u << 10, ' '));
  });
  EXPECT_REASON(Open()->FetchManifest(ctx_, "v1", ""), Reason::kLimitExceeded);
}

TEST_F(ClientTest, V18_C60_MirrorWithOtherBytesForADigest) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  mirror.PutImage("team/app", "v1", {"one"});
  mirror.Corrupt("team/app", image.manifest.digest, "{\"schemaVersion\":2}");
  mirror.Corrupt("team/app", image.config.digest, image.config_bytes + " ");
  mirror.ExpectNs(registry_.host());
  Mirrors({mirror.url("")});
  auto repo = Open();
  const auto manifest = repo->FetchManifest(ctx_, image.manifest.digest.ToString(), "");
  ASSERT_OK(manifest);
  EXPECT_EQ(manifest->host, "http://" + registry_.host());
  ASSERT_OK(repo->FetchDocument(ctx_, image.config));
  EXPECT_THAT(Story(), ElementsAre("GET manifest 200 -> next host http://" + registry_.host(), "GET manifest 200",
                                   "GET blob 200 -> next host http://" + registry_.host(), "GET blob 200"));
  EXPECT_EQ(attempts_[0].reason, Reason::kDigestMismatch);
  EXPECT_EQ(attempts_[2].reason, Reason::kSizeMismatch);
  // Not asked for that again, by any pull, for ten minutes.
  ASSERT_OK(Open()->FetchManifest(ctx_, image.manifest.digest.ToString(), ""));
  EXPECT_EQ(mirror.Count("GET /v2/team/app/manifests"), 1);
  clock_.Advance(std::chrono::minutes(10));
  ASSERT_OK(Open()->FetchManifest(ctx_, image.manifest.digest.ToString(), ""));
  EXPECT_EQ(mirror.Count("GET /v2/team/app/manifests"), 2);
  EXPECT_THAT(mirror.violations(), IsEmpty());
}

// A mirror of several registries is told whose list it is on every page; a Link that is no next page is none.
TEST_F(ClientTest, PagesOfReferrersComeFromTheSameRegistry) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  std::vector<std::string> targets;
  mirror.On("GET /v2/team/app/referrers/", [&](const ServerRequest& r) {
    targets.push_back(r.target);
    const bool first = r.target.find("last=") == std::string::npos;
    return Reply::Text(200, R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]})",
                       {{"Content-Type", "application/vnd.oci.image.index.v1+json"},
                        {"Link", first ? "<" + r.path() + "?last=a>; rel=\"next\"" : "<https://docs.test/>; rel=\"help\""}});
  });
  Mirrors({mirror.url("")});
  const auto found = Open()->Referrers(ctx_, image.manifest.digest);
  ASSERT_OK(found);
  ASSERT_EQ(targets.size(), 2u);
  for (const auto& target : targets) EXPECT_THAT(target, HasSubstr("ns=" + http::PercentEncode(registry_.host()))) << target;
}

TEST_F(ClientTest, V19_C23_AWebPageIsNoRegistry) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  const auto page = [](const ServerRequest&) {
    return Reply::Text(200, "<html>log in, canary</html>", {{"Content-Type", "text/html; charset=utf-8"}});
  };
  mirror.On("", page);
  Mirrors({mirror.url("")});
  auto repo = Open();
  ASSERT_OK(Pull(*repo, image));
  registry_.On("", page);
  EXPECT_REASON(Open()->Resolve(ctx_), Reason::kInvalidManifest);
  const auto manifest = Open()->FetchManifest(ctx_, image.manifest.digest.ToString(), "");
  EXPECT_REASON(manifest, Reason::kInvalidManifest);
  EXPECT_THAT(manifest.error().Text(), HasSubstr("is not a registry answer (text/html)"));
  EXPECT_REASON(repo->FetchDocument(ctx_, image.config), Reason::kInvalidManifest);
  EXPECT_REASON(ReadBlob(*repo, image.layers[0]), Reason::kInvalidManifest);
}

TEST_F(ClientTest, C24_TextPlainIsReadAsWhatItIs) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("", [&](const ServerRequest&) { return Reply::Text(200, image.manifest_bytes, {{"Content-Type", "text/plain"}}); });
  const auto resolved = Open()->Resolve(ctx_);
  ASSERT_OK(resolved);
  EXPECT_EQ(resolved->media_type, oci::kOciManifest);
}

TEST_F(ClientTest, V25_Sha512) {
  const std::string bytes = registry_.PutImage("team/app", "", {"one"}).manifest_bytes;
  const auto digest = digest::Digest::Of(bytes::AsView(bytes), digest::Algorithm::kSha512);
  registry_.On("", [&](const ServerRequest&) { return Reply::Text(200, bytes, {{"Content-Type", std::string(oci::kOciManifest)}}); });
  auto repo = Open({}, "team/app@" + digest.ToString());
  const auto resolved = repo->Resolve(ctx_);
  ASSERT_OK(resolved);
  const auto manifest = repo->FetchManifest(ctx_, resolved->digest.ToString(), resolved->media_type);
  ASSERT_OK(manifest);
  EXPECT_EQ(manifest->digest, digest);
  EXPECT_THAT(registry_.log(),
              ElementsAre("HEAD /v2/team/app/manifests/" + digest.ToString(), "GET /v2/team/app/manifests/" + digest.ToString()));
}

struct MissingRow {
  const char* name;
  int status;
  const char* code;
  Reason reason;
};
class Missing : public ClientTest, public ::testing::WithParamInterface<MissingRow> {};

TEST_P(Missing, C33_NoRetryStorm) {
  registry_.On("", [](const ServerRequest&) {
    return Reply::Json(GetParam().status,
                       std::string("{\"errors\":[{\"code\":\"") + GetParam().code + "\",\"message\":\"canary\"}]}");
  });
  EXPECT_REASON(Open()->Resolve(ctx_), GetParam().reason);
  EXPECT_LE(registry_.Count(""), 2);
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
  EXPECT_EQ(attempts_.back().reason, GetParam().reason);
}
INSTANTIATE_TEST_SUITE_P(Rows, Missing,
                         ::testing::Values(MissingRow{"tag", 404, "MANIFEST_UNKNOWN", Reason::kNotFound},
                                           MissingRow{"repository", 404, "NAME_UNKNOWN", Reason::kRepositoryNotFound},
                                           MissingRow{"gone", 410, "", Reason::kNotFound},
                                           MissingRow{"odd_code", 404, "canary", Reason::kNotFound},
                                           MissingRow{"teapot", 418, "", Reason::kUnexpectedStatus},
                                           MissingRow{"denied", 403, "DENIED", Reason::kDenied}),
                         [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, TheRegistrysWordIsOneOfTheList) {
  EXPECT_EQ(ErrorCodeOf(R"({"errors":[{"code":"DENIED","message":"x"}]})"), "DENIED");
  EXPECT_EQ(ErrorCodeOf(R"({"errors":[{"code":"secret-canary"}]})"), "other");
  for (const char* body :
       {"", "x", "{}", "[]", R"({"errors":{}})", R"({"errors":[]})", R"({"errors":[1]})", R"({"errors":[{"code":1}]})"})
    EXPECT_EQ(ErrorCodeOf(body), "") << body;
}

TEST_F(ClientTest, NamesFromOutsideNeverBecomePaths) {
  for (const char* name : {"", "../x", "a/b", "sha256:../x", ".a", "a b", "a?b"})
    EXPECT_FALSE(Open()->FetchManifest(ctx_, name, "")) << name;
  EXPECT_EQ(registry_.Count(""), 0);
}

// ---- authentication

struct AuthRow {
  const char* name;
  void (*setup)(FakeRegistry&);
  bool credential;
  std::vector<std::string> first;  // requests of the first HEAD
};
class Always : public ClientTest, public ::testing::WithParamInterface<AuthRow> {};

TEST_P(Always, C45_TheSecondPullCostsOneRequest) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  GetParam().setup(registry_);
  const auto given = [&] { return GetParam().credential ? List(User(kUser, kPassword)) : List(); };
  auto repo = Open(given());
  ASSERT_OK(repo->Resolve(ctx_));
  std::vector<std::string> seen;
  for (const std::string& line : registry_.log()) seen.push_back(line.substr(0, line.find('?')));
  EXPECT_EQ(seen, GetParam().first);
  EXPECT_EQ(repo->used() != nullptr, GetParam().credential);
  ASSERT_OK(Pull(*repo, image));
  registry_.ClearLog();
  auto second = Open(given());
  ASSERT_OK(second->Resolve(ctx_));
  EXPECT_THAT(registry_.log(), ElementsAre("HEAD /v2/team/app/manifests/v1"));
  EXPECT_EQ(second->used() != nullptr, GetParam().credential);
  // Another repository needs its own token, but no refusal to learn that.
  registry_.PutImage("team/other", "v1", {"one"});
  registry_.ClearLog();
  ASSERT_OK(Open(given(), "team/other:v1")->Resolve(ctx_));
  EXPECT_EQ(registry_.Count("HEAD"), 1);
}
const char kHead[] = "HEAD /v2/team/app/manifests/v1";
INSTANTIATE_TEST_SUITE_P(
    Rows, Always,
    ::testing::Values(
        AuthRow{"none", [](FakeRegistry&) {}, false, {kHead}},
        AuthRow{
            "basic", [](FakeRegistry& r) { r.RequireBasic(std::string(kUser), std::string(kPassword)); }, true, {kHead, kHead}},
        AuthRow{"bearer",
                [](FakeRegistry& r) { r.RequireBearer(std::string(kUser), std::string(kPassword)); },
                true,
                {kHead, "GET /token", kHead}},
        AuthRow{"bearer_anonymous", [](FakeRegistry& r) { r.AllowAnonymousTokens(); }, false, {kHead, "GET /token", kHead}},
        AuthRow{"V4_both",
                [](FakeRegistry& r) {
                  r.RequireBearer(std::string(kUser), std::string(kPassword));
                  r.SetChallenges({"Basic realm=\"x\"", "Bearer realm=\"" + r.url("/token") + "\",service=\"fake\""});
                },
                true,
                {kHead, "GET /token", kHead}},
        AuthRow{"V6_access_token",
                [](FakeRegistry& r) {
                  r.RequireBearer(std::string(kUser), std::string(kPassword));
                  r.SetTokenAnswer("{\"access_token\":\"{T}\"}");
                },
                true,
                {kHead, "GET /token", kHead}},
        AuthRow{"C54_null_and_good",
                [](FakeRegistry& r) {
                  r.RequireBearer(std::string(kUser), std::string(kPassword));
                  r.SetTokenAnswer(
                      "{\"access_token\":null,\"token\":\"{T}\",\"issued_at\":\"1970-01-01T00:00:00Z\",\"expires_in\":-1}");
                },
                true,
                {kHead, "GET /token", kHead}},
        AuthRow{"C57_for_ever",
                [](FakeRegistry& r) {
                  r.RequireBearer(std::string(kUser), std::string(kPassword));
                  r.SetTokenAnswer("{\"token\":\"{T}\",\"expires_in\":1000000000000}");
                },
                true,
                {kHead, "GET /token", kHead}}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, AHostThatWantsNoTokensAnyMoreIsAskedAgainWhenItsTokenServiceIsGone) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  ASSERT_OK(Open(List(User(kUser, kPassword)))->Resolve(ctx_));
  registry_.RequireNothing();
  registry_.On("GET /token", [](const ServerRequest&) { return Reply::Text(503, ""); });
  clock_.Advance(std::chrono::hours(1));  // the token has expired, the challenge is remembered
  attempts_.clear();
  ASSERT_OK(Open(List(User(kUser, kPassword)))->Resolve(ctx_));
  EXPECT_THAT(Story(), ElementsAre("GET token 503", "HEAD manifest v1 200"));
}

// What a host asked for in another repository is no 401 of this one: the same pull ends the same whatever was pulled before.
TEST_F(ClientTest, APublicRepositoryNextToAPrivateOneDoesNotDependOnWhatWasPulledBefore) {
  const auto open = registry_.PutImage("public/a", "v1", {"one"});
  registry_.PutImage("priv/a", "v1", {"two"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  std::atomic<int> refusal = 401;
  registry_.On("HEAD /v2/public/a/", [&](const ServerRequest& r) {
    if (r.has("authorization")) return Reply::Text(refusal, "", {{"WWW-Authenticate", "Basic realm=\"fake\""}});
    return Head(open);
  });
  const auto stale = [] { return List(User(kUser, "stale-canary")); };
  const auto open_ok = [&] {
    auto repo = Open(stale(), "public/a:v1");
    ASSERT_OK(repo->Resolve(ctx_));
    EXPECT_EQ(repo->used(), nullptr);
  };
  open_ok();
  ASSERT_OK(Open(List(User(kUser, kPassword)), "priv/a:v1")->Resolve(ctx_));
  attempts_.clear();
  open_ok();
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 401 -> ask without credentials", "HEAD manifest v1 200"));
  open_ok();
  refusal = 403;
  registry_.PutImage("priv/b", "v1", {"three"});
  ASSERT_OK(Open(List(User(kUser, kPassword)), "priv/b:v1")->Resolve(ctx_));
  attempts_.clear();
  open_ok();
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 403 -> ask without credentials", "HEAD manifest v1 200"));
  // The memory was right: the password is shown once, the next one gets its turn, and the error is the usual one.
  ASSERT_OK(Open(List(User(kUser, kPassword)), "priv/a:v1")->Resolve(ctx_));
  attempts_.clear();
  ASSERT_OK(Open(List(User("bob", "wrong-canary"), User(kUser, kPassword)), "priv/a:v1")->Resolve(ctx_));
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 401 -> ask without credentials",
                                   "HEAD manifest v1 401 -> next credential: secret shop/alice (alice)", "HEAD manifest v1 200"));
  attempts_.clear();
  EXPECT_REASON(Open(stale(), "priv/a:v1")->Resolve(ctx_), Reason::kUnauthorized);
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 401 -> ask without credentials", "HEAD manifest v1 401"));
}

TEST_F(ClientTest, APublicRepositoryThatNeedsNoTokensNextToAPrivateOne) {
  const auto open = registry_.PutImage("public/a", "v1", {"one"});
  registry_.PutImage("priv/a", "v1", {"two"});
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  registry_.On("HEAD /v2/public/a/", [&](const ServerRequest&) { return Head(open); });
  const auto learn = [&] { ASSERT_OK(Open(List(User(kUser, kPassword)), "priv/a:v1")->Resolve(ctx_)); };
  ASSERT_OK(Open({}, "public/a:v1")->Resolve(ctx_));
  learn();
  attempts_.clear();
  ASSERT_OK(Open({}, "public/a:v1")->Resolve(ctx_));
  EXPECT_THAT(Story(), ElementsAre("GET token 401", "HEAD manifest v1 200"));
  learn();
  ASSERT_OK(Open(List(User("bob", "stale-canary")), "public/a:v1")->Resolve(ctx_));
  // Where the host does want a token, the service that refused is not asked a second time.
  for (const auto& given : {std::string(), std::string("stale-canary")}) {
    learn();
    attempts_.clear();
    EXPECT_REASON(Open(given.empty() ? List() : List(User("bob", given)), "priv/a:v1")->Resolve(ctx_), Reason::kTokenError);
    EXPECT_THAT(Story(), ElementsAre("GET token 401", "HEAD manifest v1 401"));
  }
}

// A credential that cannot be sent at all is as good as none where none is wanted.
TEST_F(ClientTest, ACredentialThatFitsNoRememberedChallengeIsNoReasonToFail) {
  const auto open = registry_.PutImage("public/a", "v1", {"one"});
  registry_.PutImage("priv/a", "v1", {"two"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  registry_.On("HEAD /v2/public/a/", [&](const ServerRequest&) { return Head(open); });
  ASSERT_OK(Open(List(User(kUser, kPassword)), "priv/a:v1")->Resolve(ctx_));
  credentials::Credential identity;
  identity.identity_token = secret::Secret("identity-canary");
  ASSERT_OK(Open(List(identity.Clone()), "public/a:v1")->Resolve(ctx_));
  EXPECT_REASON(Open(List(std::move(identity)), "priv/a:v1")->Resolve(ctx_), Reason::kUnauthorized);
}

TEST_F(ClientTest, IdentityTokenAndOAuth2OnlyServices) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.AddIdentityToken("identity+canary/=&");
  credentials::Credential identity;
  identity.identity_token = secret::Secret("identity+canary/=&");
  identity.source = "plugin acr";
  auto repo = Open(List(std::move(identity)));
  ASSERT_OK(repo->Resolve(ctx_));
  EXPECT_EQ(repo->used()->source, "plugin acr");
  EXPECT_EQ(registry_.Count("POST /token"), 1);
  EXPECT_EQ(registry_.Count("GET /token"), 0);
  ASSERT_OK(Open(List(User("<token>", "identity+canary/=&")))->Resolve(ctx_));  // Docker's spelling of the same
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  registry_.On("GET /token", [](const ServerRequest&) { return Reply::Text(405, ""); });
  ASSERT_OK(Open(List(User(kUser, kPassword)))->Resolve(ctx_));
}

TEST_F(ClientTest, RegistryTokenGoesAsItIs) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBearer("x", "y");
  std::atomic<int> right = 0;
  registry_.On("HEAD", [&](const ServerRequest& r) {
    if (r.header("authorization") == "Bearer ready-canary") ++right;
    return r.has("authorization") ? Reply::Text(404, "")
                                  : Reply::Text(401, "", {{"WWW-Authenticate", "Bearer realm=\"http://elsewhere/\""}});
  });
  registry_.On("GET", [](const ServerRequest&) { return Reply::Text(404, ""); });
  credentials::Credential ready;
  ready.registry_token = secret::Secret("ready-canary");
  EXPECT_REASON(Open(List(std::move(ready)))->Resolve(ctx_), Reason::kNotFound);
  EXPECT_EQ(right, 1);
}

TEST_F(ClientTest, CredentialsInTurnAndNoAnonymousAttempt) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  auto repo = Open(List(User("bob", "wrong-canary"), User(kUser, kPassword), User("carol", "unused-canary")));
  ASSERT_OK(Pull(*repo, image));
  ASSERT_NE(repo->used(), nullptr);
  EXPECT_EQ(repo->used()->username, kUser);
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 401 -> authenticate",
                                   "HEAD manifest v1 401 -> next credential: secret shop/alice (alice)", "HEAD manifest v1 200",
                                   "GET manifest 200", "GET blob 200", "GET blob 200"));
  EXPECT_EQ(attempts_[1].credential, "secret shop/bob (bob)");
  EXPECT_THAT(registry_.server().received(), Not(HasSubstr(bytes::ToBase64(bytes::AsView("carol:unused-canary")))));

  registry_.AllowAnonymousTokens();  // would help, but something matched
  const auto refused = Open(List(User("bob", "wrong-canary"), User("carol", "also-canary")))->Resolve(ctx_);
  EXPECT_REASON(refused, Reason::kTokenError);
  EXPECT_THAT(refused.error().Text(), HasSubstr("secret shop/carol (carol)"));
}

TEST_F(ClientTest, C47_AlwaysRefused) {
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  registry_.On("HEAD", [&](const ServerRequest&) {
    return Reply::Text(401, "", {{"WWW-Authenticate", "Bearer realm=\"" + registry_.url("/token") + "\",service=\"fake\""}});
  });
  const auto refused = Open(List(User(kUser, kPassword)))->Resolve(ctx_);
  EXPECT_REASON(refused, Reason::kUnauthorized);
  EXPECT_EQ(registry_.tokens_given(), 2);
  EXPECT_EQ(registry_.Count("HEAD"), 3);
  EXPECT_THAT(refused.error().next_step(), HasSubstr("secret shop/alice (alice)"));
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
}

TEST_F(ClientTest, C47_EveryRefusalWithAnotherChallenge) {
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  std::atomic<int> n = 0;
  registry_.On("HEAD", [&](const ServerRequest&) {
    return Reply::Text(401, "",
                       {{"WWW-Authenticate", "Bearer realm=\"" + registry_.url("/token") + "\",service=\"fake\",scope=\"x" +
                                                 std::to_string(++n) + "\""}});
  });
  EXPECT_REASON(Open(List(User(kUser, kPassword)))->Resolve(ctx_), Reason::kUnauthorized);
  EXPECT_EQ(registry_.tokens_given(), 2);
}

TEST_F(ClientTest, C48_DeniedAfterAGoodToken) {
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("HEAD", [&](const ServerRequest& r) {
    return r.has("authorization")
               ? Reply::Text(403, "")
               : Reply::Text(401, "",
                             {{"WWW-Authenticate", "Bearer realm=\"" + registry_.url("/token") + "\",service=\"fake\""}});
  });
  auto repo = Open(List(User(kUser, kPassword)));
  EXPECT_REASON(repo->Resolve(ctx_), Reason::kDenied);
  EXPECT_EQ(registry_.Count("HEAD"), 2);
  EXPECT_REASON(repo->Resolve(ctx_), Reason::kDenied);  // known by now: nothing is asked again
  EXPECT_EQ(registry_.Count("HEAD"), 2);
}

// D-14: what was granted since is there at the next pull, not when the old token has expired.
TEST_F(ClientTest, D14_ACachedTokenThatIsDeniedAccessIsMadeAnew) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  registry_.SetTokenAnswer("{\"token\":\"{T}\",\"expires_in\":3600}");
  const auto pull = [&] {
    registry_.ClearLog();
    attempts_.clear();
    return Open(List(User(kUser, kPassword)))->Resolve(ctx_);
  };
  std::string denied;  // the header that has no rights
  std::atomic<bool> all = true;
  registry_.On("HEAD", [&](const ServerRequest& r) {
    if (!r.has("authorization"))
      return Reply::Text(401, "", {{"WWW-Authenticate", "Bearer realm=\"" + registry_.url("/token") + "\",service=\"fake\""}});
    return all || r.header("authorization") == denied ? Reply::Text(403, "") : Reply::Text(405, "");
  });
  EXPECT_REASON(pull(), Reason::kDenied);
  EXPECT_EQ(registry_.tokens_given(), 1) << "it is new: another one is no better";
  all = false;
  denied = "Bearer tok-1-canary";
  ASSERT_OK(pull());
  EXPECT_EQ(registry_.tokens_given(), 2);

  ASSERT_OK(pull());
  EXPECT_EQ(registry_.tokens_given(), 2);
  denied = "Bearer tok-2-canary";  // the cached one that was good
  ASSERT_OK(pull());
  EXPECT_EQ(registry_.tokens_given(), 3);
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 403 -> new token", "GET token 200", "HEAD manifest v1 405 -> GET", "GET manifest v1 200"));
  all = true;  // C-48: no loop
  EXPECT_REASON(pull(), Reason::kDenied);
  EXPECT_EQ(registry_.tokens_given(), 4);
  EXPECT_LE(registry_.Count("HEAD"), 3);
}

// Some hosts answer 403 to requests without login, and tell how to log in.
// ECR says 403 where a login of 12 hours is over.
struct OverRow {
  const char* name;
  const char* user;
  const char* message;
  const char* next;
};
class LoginOver : public ClientTest, public ::testing::WithParamInterface<OverRow> {};

TEST_P(LoginOver, TheNextStepIsANewOne) {
  for (const bool late : {false, true}) {  // at the first request, or in the middle of a pull
    FakeRegistry odd;
    const auto image = odd.PutImage("team/app", "v1", {"one"});
    odd.RequireBasic(GetParam().user, std::string(kPassword));
    Client one(http_, clock_, [] { return 0.0; }, {.hosts = {.roots = {}, .plain_http = {odd.host()}}});
    const auto repo = one.Open(*reference::Reference::Parse(odd.host() + "/team/app:v1"), List(User(GetParam().user, kPassword)));
    if (late) ASSERT_OK(repo->Resolve(ctx_));
    odd.On("GET", [](const ServerRequest& r) {
      return r.has("authorization")
                 ? Reply::Json(403, "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"" + std::string(GetParam().message) + "\"}]}")
                 : Reply::Text(401, "", {{"WWW-Authenticate", "Basic realm=\"x\""}});
    });
    const auto got = repo->FetchManifest(ctx_, image.manifest.digest.ToString(), "");
    EXPECT_REASON(got, Reason::kDenied);
    EXPECT_THAT(got.error().next_step(), StartsWith(GetParam().next));
  }
}
INSTANTIATE_TEST_SUITE_P(
    Rows, LoginOver,
    ::testing::Values(OverRow{"expired", "alice", "Your Authorization Token has expired, canary", "get a new login for "},
                      OverRow{"aws", "AWS", "canary", "get a new login for "},
                      OverRow{"not_allowed", "alice", "canary", "ask the owner of the repository"}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, A403ThatTellsHowToLogInIsAnsweredWithTheCredentialThatWasGiven) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  registry_.On("HEAD", [](const ServerRequest& r) {
    return Reply::Text(r.has("authorization") ? 405 : 403, "", {{"WWW-Authenticate", "Basic realm=\"x\""}});
  });
  ASSERT_OK(Open(List(User(kUser, kPassword)))->Resolve(ctx_));
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 403 -> authenticate", "HEAD manifest v1 405 -> GET", "GET manifest v1 200"));
  EXPECT_EQ(attempts_[1].credential, "secret shop/alice (alice)");
}

TEST_F(ClientTest, A403ThatAsksForNothingSaysThatTheCredentialWasNotAskedFor) {
  registry_.On("", [](const ServerRequest&) { return Reply::Text(403, ""); });
  const auto denied = Open(List(User(kUser, kPassword)))->Resolve(ctx_);
  EXPECT_REASON(denied, Reason::kDenied);
  EXPECT_THAT(denied.error().next_step(), HasSubstr("did not ask for the credential that was given, secret shop/alice (alice)"));
  EXPECT_THAT(registry_.server().received(), Not(HasSubstr("uthorization")));
  EXPECT_THAT(Open()->Resolve(ctx_).error().next_step(), HasSubstr("let anonymous pull it"));
}

TEST_F(ClientTest, AnonymousRefusedSaysWhatToGive) {
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  const auto refused = Open()->Resolve(ctx_);
  EXPECT_REASON(refused, Reason::kUnauthorized);
  EXPECT_EQ(registry_.Count(""), 1);
  EXPECT_THAT(refused.error().next_step(), HasSubstr("give credentials for " + registry_.host()));
}

TEST_F(ClientTest, V20_C46_TokensThatDieInTheMiddle) {
  const std::string big = Noise(300000);
  const auto image = registry_.PutImage("team/app", "v1", {big, "two"});
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(repo->Resolve(ctx_));
  for (int i = 0; i < 5; ++i) {  // more often than a refused credential would be given a token
    registry_.RevokeTokens();
    ASSERT_OK(ReadBlob(*repo, image.layers[1]));
  }
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest& r) {
    registry_.RevokeTokens();
    return Reply::Ranged(r, big).CutBodyAfter(100000);
  }, 1);
  const auto got = ReadBlob(*repo, image.layers[0]);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big);
  EXPECT_EQ(resumed_from_, 100000u);
  EXPECT_EQ(received_, big.size()) << "P12: no byte twice";
}

struct TokenRow {
  const char* name;
  int status;
  std::string body;
  Reason reason = Reason::kTokenError;
};
class BadToken : public ClientTest, public ::testing::WithParamInterface<TokenRow> {};

TEST_P(BadToken, C53_C55_C56) {
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  registry_.On("GET /token", [](const ServerRequest&) { return Reply::Text(GetParam().status, GetParam().body); });
  const auto got = Open(List(User(kUser, kPassword)))->Resolve(ctx_);
  EXPECT_REASON(got, GetParam().reason);
  EXPECT_THAT(registry_.server().received(), Not(HasSubstr("Bearer ")));
  EXPECT_LE(registry_.Count(""), GetParam().status == 500 || GetParam().status == 429 ? 10 : 2);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, BadToken,
    ::testing::Values(TokenRow{"s401", 401, "canary"}, TokenRow{"s403", 403, ""}, TokenRow{"s500", 500, ""},
                      TokenRow{"s429", 429, "", Reason::kRateLimited}, TokenRow{"no_token", 200, "{}"},
                      TokenRow{"empty", 200, "{\"token\":\"\"}"}, TokenRow{"html", 200, "<html>canary</html>"},
                      TokenRow{"broken", 200, "{\"token\":\"canary"}, TokenRow{"deep", 200, std::string(100000, '[')},
                      TokenRow{"long", 200, "{\"token\":\"" + std::string(2u << 20, 'a') + "\"}"},
                      TokenRow{"long_token", 200, "{\"token\":\"" + std::string(200000, 'a') + "\"}"},
                      TokenRow{"crlf", 200, "{\"token\":\"a\\r\\nX-Canary: canary\"}"},
                      TokenRow{"non_ascii", 200, "{\"token\":\"\xc3\xa9\"}"}, TokenRow{"number", 200, "{\"token\":7}"}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, C54_TokenServiceBusyOnce) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  registry_.On("GET /token", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "7"}}); }, 1);
  ASSERT_OK(Open(List(User(kUser, kPassword)))->Resolve(ctx_));
  EXPECT_THAT(clock_.sleeps(), ElementsAre(seconds(7)));
}

TEST_F(ClientTest, C49_C50_RealmsThatAreNotTheRegistrys) {
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  FaultServer thief([](const ServerRequest&) { return Reply::Json(200, "{\"token\":\"x\"}"); }, {.address = "127.0.0.2"});
  registry_.SetRealm(thief.url("/token"));
  const auto untrusted = Open(List(User(kUser, kPassword)))->Resolve(ctx_);
  EXPECT_REASON(untrusted, Reason::kUntrustedRealm);
  EXPECT_THAT(untrusted.error().next_step(), HasSubstr("\"" + registry_.host() + "=" + thief.host_port() + "\""));
  registry_.SetRealm("");
  registry_.On("GET /token", [&](const ServerRequest&) { return Reply::Redirect(307, thief.url("/token")); });
  EXPECT_REASON(Open(List(User(kUser, kPassword)))->Resolve(ctx_), Reason::kUntrustedRealm);
  EXPECT_EQ(thief.connections(), 0);
}

TEST_F(ClientTest, C49_RealmByConfiguration) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  FaultServer service([](const ServerRequest&) { return Reply::Json(200, "{\"token\":\"given\"}"); }, {.address = "127.0.0.2"});
  registry_.SetRealm(service.url("/token?keep=1"));
  registry_.On("HEAD", [&](const ServerRequest& r) {
    return r.header("authorization") == "Bearer given"
               ? Reply::Text(405, "")
               : Reply::Text(401, "", {{"WWW-Authenticate", "Bearer realm=\"" + service.url("/token?keep=1") + "\""}});
  });
  registry_.On("GET", [&](const ServerRequest&) { return Reply::Text(404, ""); });
  options_.trusted_realms = {registry_.host() + "=" + service.host_port()};
  EXPECT_REASON(Open(List(User(kUser, kPassword)))->Resolve(ctx_), Reason::kNotFound);
  ASSERT_EQ(service.requests().size(), 1u);
  EXPECT_THAT(service.requests()[0].target, StartsWith("/token?keep=1&service="));
}

TEST_F(ClientTest, C51_RealmThatLeadsToTheMetadataService) {
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  const std::uint16_t port = registry_.server().port();
  const std::string domain = "reg.example.com:" + std::to_string(port);
  options_.overrides = {{.host = "reg.example.com", .port = port, .address = "127.0.0.1", .to_port = port},
                        {.host = "auth.example.com", .port = 80, .address = "169.254.169.254", .to_port = port}};
  options_.hosts.plain_http = {domain};
  registry_.SetRealm("http://auth.example.com/token");
  const auto got = client().Open(*reference::Reference::Parse(domain + "/team/app:v1"), List(User(kUser, kPassword)))->Resolve(ctx_);
  EXPECT_REASON(got, Reason::kUntrustedRealm);
  EXPECT_EQ(registry_.Count(""), 1);
}

TEST_F(ClientTest, C56_CredentialsThatDoNotFitIntoAHeader) {
  registry_.AddIdentityToken("x");
  credentials::Credential ready;
  ready.registry_token = secret::Secret("a\r\nX-Canary: 1");
  EXPECT_REASON(Open(List(std::move(ready)))->Resolve(ctx_), Reason::kInvalidCredentials);
  EXPECT_THAT(registry_.server().received(), Not(HasSubstr("X-Canary")));
}

TEST_F(ClientTest, C52_ChallengesThatCannotBeMet) {
  for (const char* line :
       {"Negotiate", "Bearer", "Bearer realm=\"/relative\"", "Bearer realm=\"file:///etc/passwd\"", "Bearer realm=\"unclosed"}) {
    FakeRegistry odd;
    odd.SetChallenges({line});
    Client one(http_, clock_, [] { return 0.0; }, {.hosts = {.roots = {}, .plain_http = {odd.host()}}});
    const auto got = one.Open(*reference::Reference::Parse(odd.host() + "/a/b:v1"), List(User(kUser, kPassword)))->Resolve(ctx_);
    ASSERT_FALSE(got);
    EXPECT_EQ(result::Describe(got.error().reason()).exit_status, 4) << line << ": " << got.error().Text();
    EXPECT_THAT(odd.server().received(), Not(HasSubstr("uthorization:")));
    EXPECT_EQ(odd.Count(""), 1) << line;
  }
}

TEST_F(ClientTest, TenLayersRefusedAtOnceCostOneToken) {
  std::vector<std::string> layers;
  for (int i = 0; i < 10; ++i) layers.push_back("layer " + std::to_string(i));
  const auto image = registry_.PutImage("team/app", "v1", layers);
  registry_.RequireBearer(std::string(kUser), std::string(kPassword));
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(repo->Resolve(ctx_));
  registry_.RevokeTokens();
  std::atomic<int> good = 0;
  {
    std::vector<std::jthread> threads;
    for (const auto& layer : image.layers)
      threads.emplace_back([&, layer] {
        const auto blob = repo->OpenBlob(ctx_, layer, 0);
        std::byte room[64];
        good += blob && (*blob)->Read(room);
      });
  }
  EXPECT_EQ(good, 10);
  EXPECT_EQ(registry_.tokens_given(), 2);
}

// ---- mirrors

TEST_F(ClientTest, C60_C62_MirrorsGetNamespaceButNoCredential) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  bool known = false;
  std::string asked;
  options_.mirror_credentials = [&](const std::string& repository) {
    asked = repository;
    return known ? List(User("m", "mirror-canary")) : std::vector<credentials::Credential>();
  };
  mirror.PutImage("team/app", "v1", {"one", "two"});
  mirror.ExpectNs(registry_.host());
  registry_.ExpectNs("");
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  mirror.Remove("team/app", image.layers[1].digest);
  Mirrors({mirror.url("")});
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(Pull(*repo, image));
  EXPECT_EQ(mirror.Count(""), 5);
  EXPECT_EQ(registry_.Count(""), 2);  // the blob that the mirror does not have, with its challenge
  EXPECT_TRUE(attempts_[0].mirror);
  mirror.RequireBasic("m", "mirror-canary");
  registry_.ClearLog();
  ASSERT_OK(Open(List(User(kUser, kPassword)))->Resolve(ctx_));  // 401 of the mirror: next host
  EXPECT_EQ(registry_.Count("HEAD"), 1);
  known = true;
  auto own = Open(List(User(kUser, kPassword)));
  ASSERT_OK(own->Resolve(ctx_));
  EXPECT_EQ(asked, mirror.host() + "/team/app");
  EXPECT_EQ(own->used()->username, "m");
  EXPECT_THAT(mirror.server().received(),
              Not(HasSubstr(bytes::ToBase64(bytes::AsView(std::string(kUser) + ":" + std::string(kPassword))))));
  EXPECT_THAT(mirror.violations(), IsEmpty());
}

struct FailoverRow {
  const char* name;
  Reply (*reply)(const ServerRequest&);
};
class Failover : public ClientTest, public ::testing::WithParamInterface<FailoverRow> {};

TEST_P(Failover, C60_NextHostAtOnce) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  mirror.On("", GetParam().reply);
  Mirrors({mirror.url("")});
  ASSERT_OK(Pull(*Open(), image));
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Failover,
    ::testing::Values(
        FailoverRow{"s404", [](const ServerRequest&) { return Reply::Text(404, ""); }},
        FailoverRow{"s401",
                    [](const ServerRequest&) {
                      return Reply::Text(401, "", {{"WWW-Authenticate", "Basic realm=\"x\""}});
                    }},
        FailoverRow{"s403", [](const ServerRequest&) { return Reply::Text(403, ""); }},
        FailoverRow{"s500", [](const ServerRequest&) { return Reply::Text(500, ""); }},
        FailoverRow{"s503_with_a_long_wait",
                    [](const ServerRequest&) {
                      return Reply::Text(503, "", {{"Retry-After", "50"}});
                    }},
        FailoverRow{"s418", [](const ServerRequest&) { return Reply::Text(418, ""); }},
        FailoverRow{"reset", [](const ServerRequest&) { return Reply::Reset(); }},
        FailoverRow{"garbage", [](const ServerRequest&) { return Reply::Raw("\x01\x02 nonsense\r\n\r\n").Close(); }},
        FailoverRow{"V21_realm_unreachable",
                    [](const ServerRequest& r) {
                      return Reply::Text(
                          401, "", {{"WWW-Authenticate", "Bearer realm=\"http://" + r.header("host").substr(0, 9) + ":1/t\""}});
                    }}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, C61_DeadMirrorsAreAskedOnce) {
  std::vector<std::string> dead;
  for (int i = 0; i < 3; ++i) {
    FaultServer gone([](const ServerRequest&) { return Reply::Text(200, ""); });
    dead.push_back(gone.url(""));
  }
  std::vector<std::string> layers;
  for (int i = 0; i < 50; ++i) layers.push_back("layer " + std::to_string(i));
  const auto image = registry_.PutImage("team/app", "v1", layers);
  Mirrors(dead);
  ASSERT_OK(Pull(*Open(), image));
  const auto refused = [&] {
    return std::count_if(attempts_.begin(), attempts_.end(), [](const Attempt& a) { return a.reason == Reason::kRefused; });
  };
  EXPECT_EQ(refused(), 3);
  ASSERT_OK(Open()->Resolve(ctx_));  // another pull knows it too
  EXPECT_EQ(refused(), 3);
  clock_.Advance(seconds(60));
  ASSERT_OK(Open()->Resolve(ctx_));
  EXPECT_EQ(refused(), 6);
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
}

TEST_F(ClientTest, P14_C61_MirrorsThatNeverAnswerHaveThreeSecondsEach) {
  registry_.PutImage("team/app", "v1", {"one"});
  const http::testing::BlackHole one, two, three;
  Mirrors({one.url(), two.url(), three.url()});
  options_.retry.dead_for = std::chrono::hours(24 * 3650);  // however far the clock runs meanwhile
  auto repo = Open();
  {
    std::jthread hands([&] {
      for (;; std::this_thread::yield()) {
        std::lock_guard lock(mutex_);
        if (attempts_.size() >= 3) return;
        clock_.Advance(milliseconds(100));
        http_.Nudge();
      }
    });
    ASSERT_OK(repo->Resolve(ctx_));
  }
  ASSERT_EQ(attempts_.size(), 4u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(attempts_[i].limit, "connect timeout 3 s");
  EXPECT_EQ(attempts_[3].status, 200);
  ASSERT_OK(repo->FetchManifest(ctx_, "v1", ""));
  EXPECT_EQ(attempts_.size(), 5u) << "they are known to be dead";
}

TEST_F(ClientTest, AMirrorWithoutResolveIsAskedByDigestOnly) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  mirror.PutImage("team/app", "v1", {"one"});
  Mirrors({mirror.url("")}, "capabilities = [\"pull\"]");
  ASSERT_OK(Pull(*Open(), image));
  EXPECT_EQ(mirror.Count("HEAD"), 0);
  EXPECT_EQ(mirror.Count("GET"), 3);
  EXPECT_THAT(registry_.log(), ElementsAre(kHead));
}

TEST_F(ClientTest, V23_OverridePathAndHeaders) {
  FakeRegistry mirror;
  mirror.SetPrefix("/api/docker/cache");
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  mirror.PutImage("team/app", "v1", {"one"});
  Mirrors({mirror.url("/api/docker/cache")},
          "override_path = true\nheader = { X-Tenant = \"t1\", Authorization = \"Basic from-file-canary\" }");
  ASSERT_OK(Pull(*Open(), image));
  EXPECT_EQ(registry_.Count(""), 0);
  for (const ServerRequest& r : mirror.server().requests()) {
    EXPECT_EQ(r.header("x-tenant"), "t1");
    EXPECT_EQ(r.header("authorization"), "Basic from-file-canary");
  }
}

TEST_F(ClientTest, TheMostActionableCauseIsToldAndTheOthersNamed) {
  FakeRegistry mirror;
  mirror.On("", [](const ServerRequest&) { return Reply::Text(503, ""); });
  Mirrors({mirror.url("")});
  const auto got = Open()->Resolve(ctx_);
  EXPECT_REASON(got, Reason::kServerError);
  EXPECT_THAT(got.error().Text(), HasSubstr("also tried http://" + registry_.host() + ": not-found"));
  EXPECT_THAT(got.error().Text(), StartsWith("manifest v1 of " + registry_.host() + "/team/app: "));
  EXPECT_EQ(mirror.Count("HEAD"), 1);  // the registry has spoken: no further rounds
}

TEST(Actionability, InTheOrderOfProduct43) {
  const Reason order[] = {Reason::kTlsCa,   Reason::kRefused,      Reason::kRateLimited,
                          Reason::kNoMatch, Reason::kUnauthorized, Reason::kNotFound};
  for (std::size_t i = 0; i + 1 < std::size(order); ++i) EXPECT_LT(Actionability(order[i]), Actionability(order[i + 1])) << i;
}

TEST_F(ClientTest, AHostsFileThatCannotBeReadStopsThePull) {
  registry_.PutImage("team/app", "v1", {"one"});
  Mirrors({"https://x"}, "capabilities = [\"fly\"]");
  const auto got = Open()->Resolve(ctx_);
  EXPECT_REASON(got, Reason::kConfig);
  EXPECT_THAT(got.error().Text(), HasSubstr("hosts.toml:3: unknown capability"));
  EXPECT_EQ(registry_.Count(""), 0);
  ASSERT_EQ(attempts_.size(), 1u);
  EXPECT_EQ(attempts_[0].what, "hosts");
}

// ---- retries and waiting

TEST_F(ClientTest, C36_RoundsWithBackOff) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("HEAD", [](const ServerRequest&) { return Reply::Text(500, ""); });
  const auto got = Open()->Resolve(ctx_);
  EXPECT_REASON(got, Reason::kServerError);
  EXPECT_EQ(registry_.Count("HEAD"), 5);
  EXPECT_THAT(clock_.sleeps(), ElementsAre(milliseconds(500), seconds(1), seconds(2), seconds(4)));
  EXPECT_THAT(got.error().Text(), HasSubstr("tried 5 times (retry.rounds)"));
}

TEST_F(ClientTest, C36_EverySecondRequestFails) {
  std::vector<std::string> layers;
  for (int i = 0; i < 10; ++i) layers.push_back("layer " + std::to_string(i));
  const auto image = registry_.PutImage("team/app", "v1", layers);
  std::atomic<int> n = 0;
  // On() answers; nothing means: as usual. The rule re-arms itself by counting.
  for (int i = 0; i < 13; ++i)
    registry_.On(
        i == 0   ? "HEAD"
        : i == 1 ? "GET /v2/team/app/manifests"
                 : "GET " + BlobPath(i == 2 ? image.config : image.layers[i - 3]),
        [&](const ServerRequest&) {
          ++n;
          return Reply::Text(502, "");
        },
        1);
  ASSERT_OK(Pull(*Open(), image));
  EXPECT_EQ(n, 13);
}

struct WaitRow {
  const char* name;
  int status;
  const char* retry_after;
  time::Duration waits;
};
class Waits : public ClientTest, public ::testing::WithParamInterface<WaitRow> {};

TEST_P(Waits, V12_C34_C36) {
  registry_.PutImage("team/app", "v1", {"one"});
  std::string value = GetParam().retry_after;
  if (value == "DATE") {  // 40 s ahead of the test's clock
    const auto then = std::chrono::floor<seconds>(clock_.WallNow() + seconds(40));
    const auto day = std::chrono::floor<std::chrono::days>(then);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time_of_day(then - day);
    static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char text[64];
    std::snprintf(text, sizeof text, "%s, %02u %s %d %02d:%02d:%02d GMT", kDays[std::chrono::weekday(day).c_encoding()],
                  static_cast<unsigned>(date.day()), kMonths[static_cast<unsigned>(date.month()) - 1],
                  static_cast<int>(date.year()), static_cast<int>(time_of_day.hours().count()),
                  static_cast<int>(time_of_day.minutes().count()), static_cast<int>(time_of_day.seconds().count()));
    value = text;
  }
  registry_.On("HEAD", [&](const ServerRequest&) { return Reply::Text(GetParam().status, "", {{"Retry-After", value}}); }, 1);
  ASSERT_OK(Open()->Resolve(ctx_));
  EXPECT_THAT(clock_.sleeps(), ElementsAre(GetParam().waits));
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Waits,
    ::testing::Values(WaitRow{"seconds", 429, "3", seconds(3)}, WaitRow{"date", 429, "DATE", seconds(40)},
                      WaitRow{"C35_far_too_long", 429, "999999999", seconds(60)}, WaitRow{"C35_negative", 429, "-5", seconds(2)},
                      WaitRow{"C35_word", 429, "soon", seconds(2)}, WaitRow{"zero", 429, "0", seconds(2)},
                      WaitRow{"past", 429, "Thu, 01 Jan 1970 00:00:00 GMT", seconds(2)}, WaitRow{"C35_float", 429, "1e9", seconds(2)},
                      WaitRow{"unavailable", 503, "5", seconds(5)}, WaitRow{"too_late", 408, "", milliseconds(500)}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, C35_RateLimitedForEver) {
  registry_.On("", [](const ServerRequest&) {
    return Reply::Json(429, R"({"errors":[{"code":"TOOMANYREQUESTS"}]})", {{"Retry-After", "999999999"}});
  });
  const auto got = Open()->Resolve(ctx_);
  EXPECT_REASON(got, Reason::kRateLimited);
  EXPECT_TRUE(got.error().retry_after());
  EXPECT_EQ(clock_.sleeps(), std::vector<time::Duration>(4, seconds(60)));
}

TEST_F(ClientTest, RateLimitOfAMirrorIsNotMovedToTheRegistry) {
  FakeRegistry mirror;
  mirror.PutImage("team/app", "v1", {"one"});
  mirror.On("HEAD", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "9"}}); }, 2);
  Mirrors({mirror.url("")});
  ASSERT_OK(Open()->Resolve(ctx_));
  EXPECT_EQ(mirror.Count("HEAD"), 3);
  EXPECT_EQ(registry_.Count(""), 0);
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 429 -> wait 9.0 s", "HEAD manifest v1 429 -> wait 9.0 s", "HEAD manifest v1 200"));
}

struct JitterRow {
  const char* name;
  time::Duration wait;
  double random;
  time::Duration more;
};
class Jitter : public ::testing::TestWithParam<JitterRow> {};
TEST_P(Jitter, P13_AtMostAFifth) {
  EXPECT_EQ(RetryJitter(GetParam().wait, milliseconds(500), GetParam().random), GetParam().more);
  EXPECT_LE(GetParam().more, GetParam().wait / 5);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Jitter,
    ::testing::Values(JitterRow{"second_none", seconds(1), 0.0, milliseconds(0)}, JitterRow{"second_half", seconds(1), 0.5, milliseconds(100)},
                      JitterRow{"second_most", seconds(1), 0.99, milliseconds(198)}, JitterRow{"two", seconds(2), 0.5, milliseconds(200)},
                      JitterRow{"base_is_the_most", seconds(60), 0.99, milliseconds(495)}, JitterRow{"minute_half", seconds(60), 0.5, milliseconds(250)},
                      JitterRow{"nothing", seconds(0), 0.99, milliseconds(0)}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, P13_JitterOfARealWait) {
  registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("HEAD", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "1"}}); }, 1);
  options_.hosts.plain_http = {registry_.host()};
  Client client(http_, clock_, [] { return 0.99; }, options_);
  ASSERT_OK(client.Open(*reference::Reference::Parse(registry_.host() + "/team/app:v1"), {})->Resolve(ctx_));
  EXPECT_THAT(clock_.sleeps(), ElementsAre(milliseconds(1198)));
}

// Gives back before it waits and takes again after it, whatever ended the wait.
class Diary final : public Standby {
 public:
  void GiveBack(time::Duration wait, const std::string& why) override {
    lines.push_back("back for " + std::to_string(wait / milliseconds(1)) + " ms: " + why);
  }
  Result<> TakeAgain(const task::Context& ctx) override {
    lines.push_back("again");
    return ctx.Check();
  }
  std::vector<std::string> lines;
};

// A host that tells one layer to wait is asked by no other layer of the image before that time.
class P13 : public ClientTest, public ::testing::WithParamInterface<int> {};

TEST_P(P13, OneRequestPerWaitAndImage) {
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two", "three", "four"});
  registry_.On("GET /v2/team/app/blobs/", [](const ServerRequest&) { return Reply::Text(GetParam(), "", {{"Retry-After", "60"}}); }, 2);
  time::testing::ManualClock still;
  std::stop_source stop;
  const task::Context ctx(stop.get_token(), still);
  options_.hosts.plain_http = {registry_.host()};
  Client client(http_, still, [] { return 0.0; }, options_);
  const auto repo = client.Open(*reference::Reference::Parse(registry_.host() + "/team/app:v1"), {});
  std::vector<std::jthread> layers;
  std::atomic<int> opened = 0;
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    layers.emplace_back([&, i] { opened += repo->OpenBlob(ctx, image.layers[i], 0).has_value() ? 1 : 0; });
    still.AwaitSleeps(i + 1);
    EXPECT_EQ(registry_.Count("GET /v2/team/app/blobs/"), 1);
  }
  EXPECT_THAT(still.sleeps(), Each(time::Duration(seconds(60))));
  still.Advance(seconds(60));
  still.AwaitSleeps(8);
  EXPECT_EQ(registry_.Count("GET /v2/team/app/blobs/"), 2) << "one asks, and all wait again";
  still.Advance(seconds(60));
  layers.clear();
  EXPECT_EQ(opened, 4) << "one asks, and its answer lets the others go, too";
  EXPECT_EQ(registry_.Count("GET /v2/team/app/blobs/"), 6);
}
INSTANTIATE_TEST_SUITE_P(Rows, P13, ::testing::Values(429, 503));

TEST_F(ClientTest, P13_AMirrorThatFailsAndSaysForHowLongIsPassedOverByTheWholePull) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  mirror.PutImage("team/app", "v1", {"one", "two"});
  mirror.On("", [](const ServerRequest&) { return Reply::Text(503, "", {{"Retry-After", "50"}}); }, 1);
  Mirrors({mirror.url("")});
  const auto repo = Open();
  ASSERT_OK(Pull(*repo, image));
  EXPECT_EQ(mirror.Count(""), 1);
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
  clock_.Advance(seconds(50));
  ASSERT_OK(ReadBlob(*repo, image.layers[0]));
  EXPECT_EQ(mirror.Count(""), 2) << "and asked again after that";
}

TEST_F(ClientTest, P13_AllHostsFailAndTheFirstIsWaitedFor) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  mirror.PutImage("team/app", "v1", {"one"});
  for (FakeRegistry* one : {&mirror, &registry_})
    one->On("", [](const ServerRequest&) { return Reply::Text(503, "", {{"Retry-After", "50"}}); }, 1);
  Mirrors({mirror.url("")});
  const auto plain = Open();
  Diary diary;
  const auto repo = plain->WithStandby(diary);
  ASSERT_OK(Pull(*repo, image));
  EXPECT_EQ(registry_.Count(""), 1);
  EXPECT_THAT(diary.lines, ElementsAre("back for 50000 ms: waiting 50.0 s for http://" + mirror.host() + " (unavailable)", "again"));
}

TEST_F(ClientTest, P13_AHostThatIsFreeSoonIsNotLeftForOneThatLimitsOurRateForLonger) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  mirror.PutImage("team/app", "v1", {"one", "two"});
  mirror.On("", [](const ServerRequest&) { return Reply::Text(503, "", {{"Retry-After", "5"}}); }, 1);
  registry_.On("", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "60"}}); }, 1);
  Mirrors({mirror.url("")});
  time::testing::ManualClock still;
  const task::Context ctx(std::stop_token(), still);
  Client client(http_, still, [] { return 0.0; }, options_);
  const auto repo = client.Open(*reference::Reference::Parse(registry_.host() + "/team/app:v1"), {});
  std::vector<std::jthread> layers;
  std::atomic<int> opened = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    layers.emplace_back([&, i] { opened += repo->OpenBlob(ctx, image.layers[i], 0).has_value() ? 1 : 0; });
    still.AwaitSleeps(i + 1);
  }
  EXPECT_THAT(still.sleeps(), ElementsAre(seconds(60), seconds(5)));
  still.Advance(seconds(60));
  layers.clear();
  EXPECT_EQ(opened, 2);
  EXPECT_EQ(mirror.Count(""), 2);
}

TEST_F(ClientTest, P13_ADeadlineOfOneThatOnlyWaitedTellsWhatTheOthersWereTold) {
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  registry_.On("", [](const ServerRequest&) { return Reply::Text(503, "", {{"Retry-After", "50"}}); });
  const auto repo = Open();
  EXPECT_REASON(repo->OpenBlob(ctx_.WithTimeout(seconds(10)), image.layers[0], 0), Reason::kServerError);
  EXPECT_REASON(repo->OpenBlob(ctx_.WithTimeout(seconds(10)), image.layers[1], 0), Reason::kServerError);
  EXPECT_EQ(registry_.Count(""), 1);
}

// However many layers wait, the rounds are those of the host.
struct RoundsRow {
  int status;
  const char* retry_after;
  std::vector<int> waits;  // seconds
};
class RoundsOfAHost : public ClientTest, public ::testing::WithParamInterface<RoundsRow> {};

TEST_P(RoundsOfAHost, AllLayersFailWithTheOneThatAsked) {
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two", "three", "four", "five"});
  const std::string blobs = "GET /v2/team/app/blobs/";
  registry_.On(blobs, [](const ServerRequest&) {
    return Reply::Text(GetParam().status, "", {{"Retry-After", GetParam().retry_after}});
  });
  time::testing::ManualClock still;
  std::stop_source stop;
  const task::Context ctx(stop.get_token(), still);
  options_.hosts.plain_http = {registry_.host()};
  Client client(http_, still, [] { return 0.0; }, options_);
  const auto repo = client.Open(*reference::Reference::Parse(registry_.host() + "/team/app:v1"), {});
  const Reason expected = GetParam().status == 429 ? Reason::kRateLimited : Reason::kServerError;
  std::vector<std::jthread> layers;
  std::atomic<std::size_t> failed = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    layers.emplace_back([&, i] {
      const auto blob = repo->OpenBlob(ctx, image.layers[i], 0);
      EXPECT_REASON(blob, expected);
      EXPECT_THAT(blob.error().Text(), HasSubstr("tried 5 times (retry.rounds)"));
      EXPECT_EQ(blob.error().retry_after().has_value(), *GetParam().retry_after != '\0');
      ++failed;
    });
    still.AwaitSleeps(i + 1);
  }
  for (std::size_t period = 2; period <= 4; ++period) {
    still.Advance(seconds(GetParam().waits[period - 2]));
    still.AwaitSleeps(5 * period);
    EXPECT_EQ(registry_.Count(blobs), static_cast<int>(period));
  }
  still.Advance(seconds(GetParam().waits[3]));
  while (failed < 5 && still.sleeps().size() < 25) std::this_thread::yield();  // or all would wait once more
  EXPECT_EQ(failed, 5u) << "none waits any more";
  stop.request_stop();
  layers.clear();
  EXPECT_EQ(registry_.Count(blobs), 5);
  EXPECT_REASON(repo->OpenBlob(task::Context(std::stop_token(), still), image.layers[0], 0), expected);
  EXPECT_EQ(registry_.Count(blobs), 5) << "nor asks";
}
INSTANTIATE_TEST_SUITE_P(Rows, RoundsOfAHost,
                         ::testing::Values(RoundsRow{429, "60", {60, 60, 60, 60}}, RoundsRow{503, "60", {60, 60, 60, 60}},
                                           RoundsRow{429, "", {2, 4, 8, 16}}, RoundsRow{429, "0", {2, 4, 8, 16}},
                                           RoundsRow{503, "1", {1, 1, 2, 4}}),
                         [](const auto& row) { return "s" + std::to_string(row.param.status) + "_" + row.param.retry_after; });

TEST_F(ClientTest, AWaitOfNothingIsNoRoundOfThePull) {
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  const auto repo = Open();
  registry_.On("GET /v2/team/app/blobs/", [](const ServerRequest&) { return Reply::Text(503, "", {{"Retry-After", "0"}}); }, 9);
  EXPECT_FALSE(repo->OpenBlob(ctx_, image.layers[0], 0));
  ASSERT_OK(repo->OpenBlob(ctx_, image.layers[1], 0));  // which has rounds of its own
  EXPECT_EQ(registry_.Count("GET"), 10);
}

TEST_F(ClientTest, AMirrorThatLimitsOurRateForEverCostsItsRoundsOncePerPull) {
  FakeRegistry mirror;
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  mirror.On("", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "9"}}); });
  Mirrors({mirror.url("")});
  ASSERT_OK(Pull(*Open(), image));
  EXPECT_EQ(mirror.Count(""), 5);
  EXPECT_EQ(registry_.Count(""), 5);
  EXPECT_THAT(clock_.sleeps(), ElementsAre(seconds(9), seconds(9), seconds(9), seconds(9)));
}

TEST_F(ClientTest, AGoodAnswerGivesAHostThatLimitsOurRateItsRoundsBack) {
  const auto image = registry_.PutImage("team/app", "v1", {"one", "two"});
  for (const auto& path : {std::string("HEAD"), std::string("GET /v2/team/app/manifests/"), "GET " + BlobPath(image.config),
                           "GET " + BlobPath(image.layers[0]), "GET " + BlobPath(image.layers[1])})
    registry_.On(path, [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "9"}}); }, 4);
  ASSERT_OK(Pull(*Open(), image));
  EXPECT_EQ(clock_.sleeps().size(), 20u);
}

TEST_F(ClientTest, C35_WhatAStandbyHoldsIsNotHeldWhileWaiting) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("HEAD", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "60"}}); }, 1);
  registry_.On("GET /v2/team/app/blobs/", [](const ServerRequest&) { return Reply::Text(503, ""); }, 1);
  const auto plain = Open();
  Diary diary;
  const auto repo = plain->WithStandby(diary);
  ASSERT_OK(Pull(*repo, image));
  const std::string host = "http://" + registry_.host();
  EXPECT_THAT(diary.lines, ElementsAre("back for 60000 ms: waiting 60.0 s for " + host + " (429)", "again",
                                       "back for 500 ms: waiting 0.5 s for " + host + " (unavailable)", "again"));
}

TEST_F(ClientTest, C35_AStandbyIsToldTheEndOfAWaitThatWasCancelled) {
  registry_.On("", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "9"}}); });
  time::testing::ManualClock still;
  std::stop_source stop;
  task::Context ctx(stop.get_token(), still);
  const auto plain = Open();
  Diary diary;
  const auto repo = plain->WithStandby(diary);
  std::jthread breaker([&] {
    still.AwaitSleeps(1);
    stop.request_stop();
  });
  EXPECT_REASON(repo->Resolve(ctx), Reason::kCanceled);
  EXPECT_THAT(diary.lines, ElementsAre(HasSubstr("back for "), "again"));
}

// ---- what the registry wants users to know

TEST_F(ClientTest, WarningsAreRecordedOnceAndHoldNoSecret) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  const auto warn = [](const ServerRequest& r) {
    const std::string token = r.header("authorization").substr(std::string_view("Basic ").size());
    return Reply::Text(502, "", {{"Warning", R"(299 - "moves to \"new\" soon", 299 - "yours is pass-canary", 299 - ")" + token + "\""},
                                 {"Warning", "110 - \"stale\""}});
  };
  registry_.On("GET /v2/team/app/manifests/", warn, 2);  // the HEAD before it has found the credential
  ASSERT_OK(Pull(*Open(List(User(kUser, kPassword))), image));
  std::vector<std::string> told;
  for (const Attempt& a : attempts_) told.insert(told.end(), a.warnings.begin(), a.warnings.end());
  EXPECT_THAT(told, ElementsAre("moves to \"new\" soon"));
}

TEST_F(ClientTest, CancelEndsTheWaiting) {
  registry_.On("", [](const ServerRequest&) { return Reply::Text(429, "", {{"Retry-After", "9"}}); });
  time::testing::ManualClock still;
  std::stop_source stop;
  task::Context ctx(stop.get_token(), still);
  auto repo = Open();
  std::jthread breaker([&] {
    still.AwaitSleeps(1);
    stop.request_stop();
  });
  EXPECT_REASON(repo->Resolve(ctx), Reason::kCanceled);
}

TEST_F(ClientTest, ADeadlineTellsWhatWentWrongBefore) {
  registry_.On("", [](const ServerRequest&) { return Reply::Text(503, "", {{"Retry-After", "50"}}); });
  EXPECT_REASON(Open()->Resolve(ctx_.WithTimeout(seconds(10))), Reason::kServerError);
}

// ---- blobs

TEST_F(ClientTest, V9_C08_CutInTheMiddleAndResumed) {
  const std::string big = Noise(400000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest& r) { return Reply::Ranged(r, big).CutBodyAfter(200000); }, 1);
  const auto got = ReadBlob(*Open(), image.layers[0]);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big);
  EXPECT_EQ(resumed_from_, 200000u);
  EXPECT_EQ(received_, big.size());
  EXPECT_THAT(Story(), ElementsAre("GET blob 200 -> resume", "GET blob 206"));
  EXPECT_EQ(registry_.server().requests().back().header("range"), "bytes=200000-");
}

TEST_F(ClientTest, C09_ProgressKeepsItAlive) {
  const std::string big = Noise(2u << 20);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET " + BlobPath(image.layers[0]),
               [&](const ServerRequest& r) { return Reply::Ranged(r, big).CutBodyAfter(100u << 10); });
  const auto got = ReadBlob(*Open(), image.layers[0]);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big);
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
  EXPECT_LE(received_, big.size() * 105 / 100);  // P12
  std::set<std::string> ranges;
  for (const ServerRequest& request : registry_.server().requests())
    EXPECT_TRUE(request.method != "GET" || ranges.insert(request.header("range")).second) << "asked for twice: " << request.header("range");
  EXPECT_EQ(ranges.size(), 21u);  // one for each 100 KiB
}

// As Reply::Ranged(), but without a length: one chunk, of which at most `bytes` come.
Reply CutChunk(const ServerRequest& r, const std::string& whole, std::size_t bytes) {
  const std::string range = r.header("range");
  const std::size_t from = range.empty() ? 0 : std::stoul(range.substr(std::string_view("bytes=").size()));
  const std::size_t left = whole.size() - from;
  char size[20];
  std::snprintf(size, sizeof size, "%zx\r\n", left);
  const std::string head = range.empty() ? "200 OK\r\n"
                                         : "206 Partial Content\r\nContent-Range: bytes " + std::to_string(from) + "-" +
                                               std::to_string(whole.size() - 1) + "/" + std::to_string(whole.size()) + "\r\n";
  return Reply::Raw("HTTP/1.1 " + head + "Transfer-Encoding: chunked\r\n\r\n" + size + whole.substr(from, bytes) +
                    (left <= bytes ? "\r\n0\r\n\r\n" : ""))
      .Close();
}

TEST_F(ClientTest, C09_ProgressKeepsItAliveWithoutALengthToo) {
  const std::string big = Noise(2u << 20);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest& r) { return CutChunk(r, big, 300u << 10); });
  const auto got = ReadBlob(*Open(), image.layers[0]);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big);
  EXPECT_EQ(received_, big.size());
  EXPECT_EQ(registry_.Count("GET"), 7);
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
}

TEST_F(ClientTest, C18_TinyProgressDoesNotKeepItAliveWithoutALength) {
  const std::string big = Noise(400000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest& r) { return CutChunk(r, big, 10); });
  EXPECT_REASON(ReadBlob(*Open(), image.layers[0]), Reason::kProtocolError);
  EXPECT_EQ(registry_.Count("GET"), 2);
}

TEST_F(ClientTest, C10_AlwaysCutWithoutRanges) {
  const std::string big = Noise(400000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest&) { return Reply::Text(200, big).CutBodyAfter(200000); });
  EXPECT_REASON(ReadBlob(*Open(), image.layers[0]), Reason::kUnexpectedEof);
  EXPECT_EQ(registry_.Count("GET"), 5);
}

TEST_F(ClientTest, TinyProgressDoesNotKeepItAlive) {
  const std::string big = Noise(400000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest& r) { return Reply::Ranged(r, big).CutBodyAfter(10); });
  EXPECT_REASON(ReadBlob(*Open(), image.layers[0]), Reason::kUnexpectedEof);
  EXPECT_EQ(registry_.Count("GET"), 5);
}

struct RangeRow {
  const char* name;
  Reply (*reply)(const ServerRequest&, const std::string& whole);  // of a request with Range
};
class OddRanges : public ClientTest, public ::testing::WithParamInterface<RangeRow> {};

Reply Part(const std::string& whole, const char* content_range, std::size_t from, const char* type = "application/octet-stream") {
  return Reply::Text(206, whole.substr(from), {{"Content-Range", content_range}, {"Content-Type", type}});
}

TEST_P(OddRanges, V10_V11_C11_C12_C13_TheWholeIsTakenAndSkipped) {
  const std::string big = Noise(1000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest& r) {
    return r.has("range") ? GetParam().reply(r, big) : Reply::Text(200, big);
  });
  auto repo = Open();
  const auto got = ReadBlob(*repo, image.layers[0], 300);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big.substr(300));
  EXPECT_EQ(received_, 1000u);
  EXPECT_LE(registry_.Count("GET"), 2);
  EXPECT_THAT(clock_.sleeps(), IsEmpty());
}
INSTANTIATE_TEST_SUITE_P(
    Rows, OddRanges,
    ::testing::Values(
        RangeRow{"ignored", [](const ServerRequest&, const std::string& w) { return Reply::Text(200, w); }},
        RangeRow{"other_offset", [](const ServerRequest&, const std::string& w) { return Part(w, "bytes 200-999/1000", 200); }},
        RangeRow{"other_total", [](const ServerRequest&, const std::string& w) { return Part(w, "bytes 300-999/2000", 300); }},
        RangeRow{"beyond_the_end", [](const ServerRequest&, const std::string& w) { return Part(w, "bytes 300-1000/*", 300); }},
        RangeRow{"garbage", [](const ServerRequest&, const std::string& w) { return Part(w, "bytes all", 300); }},
        RangeRow{"missing", [](const ServerRequest&, const std::string& w) { return Reply::Text(206, w.substr(300)); }},
        RangeRow{"length_disagrees",
                 [](const ServerRequest&, const std::string& w) { return Part(w, "bytes 300-998/1000", 300); }},
        RangeRow{"multipart",
                 [](const ServerRequest&,
                    const std::string& w) { return Part(w, "bytes 300-999/1000", 300, "multipart/byteranges; boundary=x"); }},
        RangeRow{"not_satisfiable", [](const ServerRequest&, const std::string&) { return Reply::Text(416, ""); }},
        RangeRow{"only_the_rest", [](const ServerRequest&, const std::string& w) { return Reply::Text(200, w.substr(300)); }},
        RangeRow{"s400", [](const ServerRequest&, const std::string&) { return Reply::Text(400, ""); }},
        RangeRow{"s403", [](const ServerRequest&, const std::string&) { return Reply::Text(403, ""); }},
        RangeRow{"s404", [](const ServerRequest&, const std::string&) { return Reply::Text(404, ""); }},
        RangeRow{"s405", [](const ServerRequest&, const std::string&) { return Reply::Text(405, ""); }},
        RangeRow{"s501", [](const ServerRequest&, const std::string&) { return Reply::Text(501, ""); }}),
    [](const auto& row) { return row.param.name; });

// What may pass by itself is asked for the part as long as it is asked at all, then for the whole.
struct RefusedRangeRow {
  const char* name;
  int status;
  bool storage;
  std::vector<std::string> story;
};
class RefusedRanges : public ClientTest, public ::testing::WithParamInterface<RefusedRangeRow> {};

TEST_P(RefusedRanges, TheWholeIsTakenWhereThePartIsRefusedAgain) {
  const std::string big = Noise(1000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  const auto answer = [&](const ServerRequest& r) {
    return r.has("range") ? Reply::Text(GetParam().status, "") : Reply::Text(200, big);
  };
  FaultServer storage(answer, {.address = "127.0.0.2"});
  registry_.On("GET", [&](const ServerRequest& r) { return GetParam().storage ? Reply::Redirect(307, storage.url("/x")) : answer(r); });
  const auto got = ReadBlob(*Open(), image.layers[0], 300);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big.substr(300));
  auto story = Story();
  std::erase_if(story, [](const std::string& line) { return line.find("redirect") != line.npos; });
  EXPECT_EQ(story, GetParam().story);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, RefusedRanges,
    ::testing::Values(
        RefusedRangeRow{"s500", 500, false, {"GET blob 500 -> wait 0.5 s", "GET blob 500 -> wait 1.0 s", "GET blob 500 -> wait 2.0 s",
                                             "GET blob 500 -> again, from the start", "GET blob 200"}},
        RefusedRangeRow{"storage_403", 403, true, {"GET blob 403 -> wait 0.5 s", "GET blob 403 -> again, from the start", "GET blob 200"}},
        RefusedRangeRow{"storage_400", 400, true, {"GET blob 400 -> wait 0.5 s", "GET blob 400 -> again, from the start", "GET blob 200"}}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, AServerThatFailedIsAskedForTheRestOnly) {
  const std::string big = Noise(1000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  struct Row { int status, times; Reply::Fields headers; };
  for (const Row& row : {Row{500, 1, {}}, Row{502, 3, {}}, Row{503, 3, {{"Retry-After", "5"}}}}) {
    registry_.On("GET", [&](const ServerRequest&) { return Reply::Text(row.status, "", row.headers); }, row.times);
    received_ = 0;
    ASSERT_OK(ReadBlob(*Open(), image.layers[0], 300));
    EXPECT_EQ(received_, 700u) << row.status;
  }
}

// It had refused the part only because it was ill.
TEST_F(ClientTest, AWholeThatBreaksIsFollowedByThePart) {
  const std::string big = Noise(1000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET", [](const ServerRequest&) { return Reply::Text(403, ""); }, 1);
  registry_.On("GET", [&](const ServerRequest& r) { return Reply::Ranged(r, big).CutBodyAfter(100); }, 1);
  const auto got = ReadBlob(*Open(), image.layers[0], 300);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big.substr(300));
  EXPECT_EQ(received_, 800u);
}

// Some give at most so much at once.
struct PartsRow {
  std::size_t bytes;
  bool works;
  int requests;
};
class Parts : public ClientTest, public ::testing::WithParamInterface<PartsRow> {};

Reply AtMost(std::size_t bytes, const ServerRequest& r, const std::string& whole) {
  const std::size_t from = std::stoul(r.header("range").substr(std::string_view("bytes=").size()));
  const std::string part = whole.substr(from, bytes);
  return Reply::Text(206, part, {{"Content-Range", "bytes " + std::to_string(from) + "-" + std::to_string(from + part.size() - 1) + "/" + std::to_string(whole.size())}});
}

TEST_P(Parts, OneAfterTheOtherIsNoFailure) {
  const std::string big = Noise(600000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  registry_.On("GET", [&](const ServerRequest& r) { return AtMost(GetParam().bytes, r, big); });
  const auto got = ReadBlob(*Open(), image.layers[0], 300000);
  EXPECT_EQ(got.has_value(), GetParam().works);
  if (got) {
    EXPECT_EQ(*got, big.substr(300000));
    EXPECT_THAT(clock_.sleeps(), IsEmpty());
    EXPECT_THAT(Story(), Contains("GET blob 206 -> next part"));
  } else {
    EXPECT_REASON(got, Reason::kUnexpectedEof);
  }
  EXPECT_EQ(registry_.Count("GET"), GetParam().requests);
}
INSTANTIATE_TEST_SUITE_P(Rows, Parts, ::testing::Values(PartsRow{30000, true, 10}, PartsRow{4096, true, 74}, PartsRow{4095, false, 5}, PartsRow{1, false, 5}),
                         [](const auto& row) { return "of_" + std::to_string(row.param.bytes); });

TEST_F(ClientTest, PartsGiveTriesBackAsAnyProgressDoes) {
  const std::string big = Noise(9u << 20);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  int asked = 0;
  registry_.On("GET", [&](const ServerRequest& r) { return ++asked % 2 == 1 ? Reply::Text(502, "") : AtMost(1u << 20, r, big); });
  const auto got = ReadBlob(*Open(), image.layers[0], 1u << 20);
  ASSERT_OK(got);
  EXPECT_EQ(registry_.Count("GET"), 16);
}

struct RefusedRow {
  int status;
  int requests;  // of which one is without Range, of what may pass two
};
class Refused : public ClientTest, public ::testing::WithParamInterface<RefusedRow> {};

TEST_P(Refused, WhatIsRefusedAsAWholeTooIsTheSameErrorAsEver) {
  const auto image = registry_.PutImage("team/app", "v1", {Noise(1000)});
  registry_.On("GET", [](const ServerRequest&) { return Reply::Text(GetParam().status, ""); });
  const auto whole = ReadBlob(*Open(), image.layers[0]);
  registry_.ClearLog();
  const auto rest = ReadBlob(*Open(), image.layers[0], 300);
  ASSERT_FALSE(whole);
  ASSERT_FALSE(rest);
  EXPECT_EQ(rest.error().reason(), whole.error().reason());
  EXPECT_EQ(rest.error().Text(), whole.error().Text());
  EXPECT_EQ(rest.error().next_step(), whole.error().next_step());
  EXPECT_EQ(registry_.Count("GET"), GetParam().requests);
}
INSTANTIATE_TEST_SUITE_P(Rows, Refused,
                         ::testing::Values(RefusedRow{400, 2}, RefusedRow{403, 2}, RefusedRow{404, 2}, RefusedRow{501, 2}, RefusedRow{500, 7}),
                         [](const auto& row) { return "s" + std::to_string(row.param.status); });

TEST(ContentRange, Grammar) {
  const auto range = [](const char* text) {
    const auto r = ParseContentRange(text);
    return !r ? std::string("-")
              : std::to_string(r->first) + "," + std::to_string(r->last) + "," + (r->total ? std::to_string(*r->total) : "*");
  };
  EXPECT_EQ(range("bytes 0-9/10"), "0,9,10");
  EXPECT_EQ(range("bytes 5-9/*"), "5,9,*");
  for (const char* bad : {"", "bytes", "bytes 0-9", "bytes 9-0/10", "bytes 0-10/10", "bytes -9/10", "bytes 0-/10", "items 0-9/10",
                          "bytes 0-9/10 ", "bytes */10", "bytes 0-99999999999999999999/*", "bytes  0-9/10"})
    EXPECT_EQ(range(bad), "-") << bad;
}

// RFC 9110 15.3.4: as 200, says a proxy that changed something.
TEST_F(ClientTest, A203IsAnAnswer) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  const std::string challenge = "Bearer realm=\"" + registry_.url("/token") + "\",service=\"fake\"";
  registry_.On("GET /token", [](const ServerRequest&) { return Reply::Json(203, "{\"token\":\"given\"}"); });
  registry_.On("", [&](const ServerRequest& r) {
    if (r.header("authorization") != "Bearer given") return Reply::Text(401, "", {{"WWW-Authenticate", challenge}});
    if (r.path() == BlobPath(image.layers[0])) return Reply::Text(203, "one");
    return Reply::Text(203, image.manifest_bytes,
                       {{"Content-Type", image.manifest.media_type}, {"Docker-Content-Digest", image.manifest.digest.ToString()}});
  });
  auto repo = Open();
  ASSERT_OK(repo->Resolve(ctx_));
  ASSERT_OK(repo->FetchManifest(ctx_, image.manifest.digest.ToString(), ""));
  for (const std::uint64_t offset : {0u, 1u}) {
    const auto got = ReadBlob(*repo, image.layers[0], offset);
    ASSERT_OK(got);
    EXPECT_EQ(*got, std::string("one").substr(offset));
  }
}

TEST_F(ClientTest, C13_NothingLeftToAskFor) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  auto repo = Open();
  const auto got = ReadBlob(*repo, image.layers[0], 3);
  ASSERT_OK(got);
  EXPECT_EQ(*got, "");
  EXPECT_EQ(registry_.Count(""), 0);
  EXPECT_REASON(repo->OpenBlob(ctx_, image.layers[0], 4), Reason::kRange);
}

struct LengthRow {
  const char* name;
  Reply (*reply)(const std::string& whole);
  Reason reason;
  int requests;
};
class Lengths : public ClientTest, public ::testing::WithParamInterface<LengthRow> {};

TEST_P(Lengths, V15_C16_C19) {
  const std::string whole = Noise(1000);
  const auto image = registry_.PutImage("team/app", "v1", {whole});
  registry_.On("GET", [&](const ServerRequest&) { return GetParam().reply(whole); });
  auto repo = Open();
  EXPECT_REASON(ReadBlob(*repo, image.layers[0]), GetParam().reason);
  EXPECT_LE(received_, 1000u + (64u << 10));
  EXPECT_EQ(registry_.Count("GET"), GetParam().requests);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Lengths,
    ::testing::Values(
        LengthRow{"longer", [](const std::string& w) { return Reply::Text(200, w + "x"); }, Reason::kSizeMismatch, 2},
        LengthRow{"shorter", [](const std::string& w) { return Reply::Text(200, w.substr(1)); }, Reason::kSizeMismatch, 2},
        LengthRow{"empty", [](const std::string&) { return Reply::Text(200, ""); }, Reason::kSizeMismatch, 2},
        LengthRow{"longer_chunked",
                  [](const std::string& w) {
                    return Reply::Chunked(200, {w, "x"});
                  },
                  Reason::kSizeMismatch, 1},
        LengthRow{"shorter_chunked", [](const std::string& w) { return Reply::Chunked(200, {w.substr(1)}); },
                  Reason::kUnexpectedEof, 5},
        LengthRow{"endless", [](const std::string& w) { return Reply::Head(200, std::nullopt, {}).Send(w).Endless("xxxxxxxx"); },
                  Reason::kSizeMismatch, 1}),
    [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, C25_BytesAreTakenAsTheyAre) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("GET", [](const ServerRequest&) { return Reply::Text(200, "one", {{"Content-Encoding", "gzip"}}); });
  const auto got = ReadBlob(*Open(), image.layers[0]);
  ASSERT_OK(got);
  EXPECT_EQ(*got, "one");
}

TEST_F(ClientTest, V7_V8_C37_C38_Redirects) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  FaultServer storage([](const ServerRequest& r) { return Reply::Ranged(r, "one"); }, {.address = "127.0.0.2"});
  registry_.On("GET /storage",
               [](const ServerRequest& r) { return r.has("authorization") ? Reply::Text(200, "one") : Reply::Text(401, ""); });
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(repo->Resolve(ctx_));
  registry_.On("GET /v2", [](const ServerRequest&) { return Reply::Redirect(307, "../../../../storage/x"); }, 1);
  ASSERT_OK(ReadBlob(*repo, image.layers[0]));  // the same origin: as before
  registry_.On("GET /v2", [&](const ServerRequest&) { return Reply::Redirect(307, storage.url("/x?X-Signature=canary")); }, 1);
  std::string host;
  const auto got = ReadBlob(*repo, image.layers[0], 1, &host);
  ASSERT_OK(got);
  EXPECT_EQ(*got, "ne");
  EXPECT_EQ(host, "http://" + registry_.host());
  ASSERT_EQ(storage.requests().size(), 1u);
  EXPECT_FALSE(storage.requests()[0].has("authorization"));
  EXPECT_EQ(storage.requests()[0].header("range"), "bytes=1-");
  EXPECT_THAT(storage.received(), Not(HasSubstr(bytes::ToBase64(bytes::AsView(std::string(kUser) + ":" + std::string(kPassword))))));
  EXPECT_THAT(Story(), Contains("GET blob 307 -> redirect to http://" + storage.host_port()));
  EXPECT_EQ(attempts_.back().credential, "");
}

TEST_F(ClientTest, C39_AManifestThatIsElsewhere) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  std::atomic<bool> lies = false;
  FaultServer storage([&](const ServerRequest&) {
    return Reply::Text(200, lies ? "{}" : image.manifest_bytes, {{"Content-Type", image.manifest.media_type}});
  }, {.address = "127.0.0.2"});
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(repo->Resolve(ctx_));
  registry_.On("GET /v2/team/app/manifests", [&](const ServerRequest&) { return Reply::Redirect(307, storage.url("/m?X-Signature=canary")); });
  const std::string digest = image.manifest.digest.ToString();
  const auto manifest = repo->FetchManifest(ctx_, digest, image.manifest.media_type);
  ASSERT_OK(manifest);
  EXPECT_EQ(manifest->bytes, image.manifest_bytes);
  lies = true;
  EXPECT_EQ(storage.requests().size(), 1u);
  EXPECT_REASON(Open(List(User(kUser, kPassword)))->FetchManifest(ctx_, digest, image.manifest.media_type), Reason::kDigestMismatch);
  EXPECT_THAT(storage.received(), Not(HasSubstr("uthorization")));
}

// Names that lead to the registry's own address are other registries: what it was given is not shown to them.
TEST_F(ClientTest, C65_ACredentialIsForAName) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  const auto port = registry_.server().port();
  for (const char* name : {"localhost", "other.test", "registry.test."}) options_.overrides.push_back({name, port, "127.0.0.1", port});
  std::vector<std::string> shown;
  registry_.On("GET /elsewhere", [&](const ServerRequest& r) {
    shown.emplace_back(r.header("host"));
    EXPECT_FALSE(r.has("authorization")) << r.header("host");
    return Reply::Text(200, "one");
  });
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(repo->Resolve(ctx_));
  for (const char* name : {"localhost", "other.test", "registry.test."}) {
    registry_.On("GET /v2/team/app/blobs", [&](const ServerRequest&) {
      return Reply::Redirect(307, "http://" + std::string(name) + ":" + std::to_string(port) + "/elsewhere");
    }, 1);
    const auto got = ReadBlob(*repo, image.layers[0]);
    if (got) {
      EXPECT_EQ(*got, "one");
    } else {
      EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
    }
  }
  EXPECT_THAT(shown, Contains(StartsWith("localhost")));
}

TEST_F(ClientTest, C40_StorageThatAsksForCredentialsGetsNone) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  FaultServer storage(
      [](const ServerRequest&) {
        return Reply::Text(401, "", {{"WWW-Authenticate", "Basic realm=\"x\""}});
      },
      {.address = "127.0.0.2"});
  registry_.On("GET /v2", [&](const ServerRequest&) { return Reply::Redirect(302, storage.url("/x")); });
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(repo->Resolve(ctx_));
  EXPECT_REASON(ReadBlob(*repo, image.layers[0]), Reason::kUnauthorized);
  EXPECT_EQ(storage.requests().size(), 1u);
  EXPECT_THAT(storage.received(), Not(HasSubstr("uthorization")));
}

TEST_F(ClientTest, SignedAddressesThatExpireAreMadeAnew) {
  const std::string big = Noise(200000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  std::atomic<int> signature = 0;
  FaultServer storage([&](const ServerRequest& r) {
    if (r.target == "/x?sig=1") return Reply::Ranged(r, big).CutBodyAfter(100000);
    if (r.target == "/x?sig=2") return Reply::Text(403, "<Error><Code>AccessDenied</Code></Error>");
    return Reply::Ranged(r, big);
  }, {.address = "127.0.0.2"});
  registry_.On("GET /v2",
               [&](const ServerRequest&) { return Reply::Redirect(307, storage.url("/x?sig=" + std::to_string(++signature))); });
  const auto got = ReadBlob(*Open(), image.layers[0]);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big);
  EXPECT_EQ(signature, 3);
  EXPECT_EQ(resumed_from_, 100000u);
}

TEST_F(ClientTest, C44_NothingOfTheAnswerIsQuoted) {
  registry_.RequireBasic(std::string(kUser), std::string(kPassword));
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  auto repo = Open(List(User(kUser, kPassword)));
  ASSERT_OK(repo->Resolve(ctx_));
  registry_.On(
      "GET",
      [](const ServerRequest& r) {
        return Reply::Json(418, "{\"errors\":[{\"code\":\"" + r.header("authorization") + "-canary\"}]}");
      },
      1);
  const auto got = ReadBlob(*repo, image.layers[0]);
  EXPECT_REASON(got, Reason::kUnexpectedStatus);
  EXPECT_EQ(attempts_.back().registry_code, "other");
  EXPECT_THAT(got.error().Text(), Not(HasSubstr(bytes::ToBase64(bytes::AsView(std::string(kUser) + ":" + std::string(kPassword))))));
  FaultServer gone([](const ServerRequest&) { return Reply::Reset(); }, {.address = "127.0.0.2"});
  registry_.On("GET", [&](const ServerRequest&) { return Reply::Redirect(307, gone.url("/x?X-Signature=canary")); });
  EXPECT_REASON(ReadBlob(*repo, image.layers[0]), Reason::kConnectionReset);
}

TEST_F(ClientTest, C26_C60_ALiarIsLeftAndTheBlobStartsAtZero) {
  FakeRegistry mirror;
  const std::string good = Noise(1000, 1), bad = Noise(1000, 2);
  const auto image = registry_.PutImage("team/app", "v1", {good});
  mirror.PutImage("team/app", "v1", {good});
  mirror.Corrupt("team/app", image.layers[0].digest, bad);
  Mirrors({mirror.url("")});
  auto repo = Open();
  std::string host;
  const auto first = ReadBlob(*repo, image.layers[0], 0, &host);
  ASSERT_OK(first);
  EXPECT_EQ(*first, bad);
  EXPECT_EQ(host, "http://" + mirror.host());
  repo->ReportMismatch(image.layers[0].digest, host);
  {
    const auto blob = repo->OpenBlob(ctx_, image.layers[0], 600);
    ASSERT_OK(blob);
    EXPECT_TRUE((*blob)->restarted());
    EXPECT_EQ((*blob)->host(), "http://" + registry_.host());
    std::byte room[2000];
    const auto n = (*blob)->Read(room);
    ASSERT_OK(n);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(room), *n), std::string_view(good).substr(0, *n));
  }
  const auto again = Open()->OpenBlob(ctx_, image.layers[0], 600);  // another pull: its own bytes are not known to be bad
  ASSERT_OK(again);
  EXPECT_FALSE((*again)->restarted());
  EXPECT_EQ((*again)->host(), "http://" + registry_.host());
}

TEST_F(ClientTest, C26_AMixOfHostsBansThemAllAndTheRegistryIsAskedFirst) {
  FakeRegistry mirror;
  const std::string good = Noise(400000, 1), bad = Noise(400000, 2);
  const auto image = registry_.PutImage("team/app", "v1", {good});
  mirror.On("GET", [&](const ServerRequest& r) { return Reply::Ranged(r, bad).CutBodyAfter(1000); });
  Mirrors({mirror.url("")});
  auto repo = Open();
  std::string host;
  const auto mixed = ReadBlob(*repo, image.layers[0], 0, &host);
  ASSERT_OK(mixed);
  EXPECT_EQ(*mixed, bad.substr(0, 1000) + good.substr(1000));
  EXPECT_EQ(host, "http://" + registry_.host());
  repo->ReportMismatch(image.layers[0].digest, host);
  const auto whole = ReadBlob(*repo, image.layers[0], 1000, &host);
  ASSERT_OK(whole);
  EXPECT_EQ(*whole, good);
  EXPECT_EQ(mirror.Count("GET"), 1);
}

TEST_F(ClientTest, C26_TheOnlyHostGetsASecondChance) {
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.On(
      "GET " + BlobPath(image.config),
      [&](const ServerRequest&) { return Reply::Text(200, std::string(image.config_bytes.size(), 'x')); }, 1);
  auto repo = Open();
  ASSERT_OK(repo->FetchDocument(ctx_, image.config));
  registry_.On("GET " + BlobPath(image.config),
               [&](const ServerRequest&) { return Reply::Text(200, std::string(image.config_bytes.size(), 'x')); });
  EXPECT_REASON(repo->FetchDocument(ctx_, image.config), Reason::kDigestMismatch);
  EXPECT_EQ(registry_.Count("GET"), 4);
}

TEST_F(ClientTest, ABlobMovesToTheNextHostInTheMiddle) {
  FakeRegistry mirror;
  const std::string big = Noise(400000);
  const auto image = registry_.PutImage("team/app", "v1", {big});
  mirror.On("GET", [&](const ServerRequest& r) { return Reply::Ranged(r, big).CutBodyAfter(30000, Step::Kind::kReset); });
  Mirrors({mirror.url("")});
  std::string host;
  const auto got = ReadBlob(*Open(), image.layers[0], 0, &host);
  ASSERT_OK(got);
  EXPECT_EQ(*got, big);
  EXPECT_EQ(host, "http://" + registry_.host());
  EXPECT_GT(resumed_from_, 0u);
}

TEST_F(ClientTest, AReaderThatLeavesEarlyIsNoFailure) {
  const auto image = registry_.PutImage("team/app", "v1", {Noise(3u << 20)});
  {
    const auto blob = Open()->OpenBlob(ctx_, image.layers[0], 0);
    ASSERT_OK(blob);
    std::byte room[10];
    ASSERT_OK((*blob)->Read(room));
  }
  EXPECT_THAT(Story(), ElementsAre("GET blob 200 -> given up by us"));
}

// ---- schemes

TEST_F(ClientTest, LoopbackWithoutConfigurationTriesTlsFirst) {
  plain_.clear();
  registry_.PutImage("team/app", "v1", {"one"});
  ASSERT_OK(Open()->Resolve(ctx_));
  EXPECT_THAT(Story(), ElementsAre("HEAD manifest v1 E-HTTP-ON-HTTPS -> plain HTTP, as this host allows", "HEAD manifest v1 200"));
  EXPECT_EQ(attempts_[0].host, "https://" + registry_.host());
  EXPECT_EQ(attempts_[1].host, "http://" + registry_.host());
  ASSERT_OK(Open()->Resolve(ctx_));  // known by now
  EXPECT_EQ(attempts_.size(), 3u);
}

// What a plain server that speaks TLS by now may do to a plain request; 400 is what Go's says.
struct NowTlsRow {
  const char* name;
  Reply (*reply)();
  const char* code;
};
class NowTls : public ClientTest, public ::testing::WithParamInterface<NowTlsRow> {};

TEST_P(NowTls, PlainHttpIsForgotten) {
  plain_.clear();
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  ASSERT_OK(Open()->Resolve(ctx_));
  attempts_.clear();
  registry_.On("", [&](const ServerRequest&) {
    std::lock_guard lock(mutex_);
    return attempts_.empty() ? GetParam().reply() : Head(image);
  });
  ASSERT_OK(Open()->Resolve(ctx_));
  EXPECT_THAT(Story(), ElementsAre(std::string("HEAD manifest v1 ") + GetParam().code + " -> wait 0.5 s",
                                   "HEAD manifest v1 E-HTTP-ON-HTTPS -> plain HTTP, as this host allows", "HEAD manifest v1 200"));
}
INSTANTIATE_TEST_SUITE_P(Rows, NowTls,
                         ::testing::Values(NowTlsRow{"reset", [] { return Reply::Reset(); }, "E-RESET"},
                                           NowTlsRow{"closed", [] { return Reply::Raw("").Close(); }, "E-EOF"},
                                           NowTlsRow{"alert", [] { return Reply::Raw("\x15\x03\x01\x02\x02\x02\x46").Close(); }, "E-PROTOCOL"}),
                         [](const auto& row) { return row.param.name; });

TEST_F(ClientTest, A400OfAPlainHostNamesTheSchemeThatWasSpoken) {
  plain_.clear();
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  auto repo = Open();
  ASSERT_OK(repo->Resolve(ctx_));
  std::string body;
  registry_.On("GET", [&](const ServerRequest&) { return Reply::Text(400, body); });
  const auto got = ReadBlob(*repo, image.layers[0]);
  EXPECT_REASON(got, Reason::kUnexpectedStatus);
  EXPECT_THAT(got.error().Text(), HasSubstr("http://" + registry_.host()));
  EXPECT_THAT(got.error().next_step(), HasSubstr("if it speaks TLS by now"));
  body = R"({"errors":[{"code":"NAME_INVALID"}]})";
  EXPECT_EQ(ReadBlob(*repo, image.layers[0]).error().next_step(), "") << "a registry said that";
}

TEST(HostMemory, TheLastPlainHostIsRememberedHoweverManyThereAre) {
  const time::testing::ManualClock clock;
  HostMemory memory(clock);
  const auto host = [](int i) { return "https://127.0.0.1:" + std::to_string(i); };
  for (int i = 0; i < 5000; ++i) {
    memory.SetPlain(host(i), true);
    ASSERT_TRUE(memory.Plain(host(i))) << "or it is asked by TLS again and again";
  }
  int known = 0;
  for (int i = 0; i < 5000; ++i) known += memory.Plain(host(i));
  EXPECT_EQ(known, 4096);
}

TEST_F(ClientTest, WhatStorageDoesIsNoReasonToForgetPlainHttp) {
  plain_.clear();
  FaultServer storage([](const ServerRequest&) { return Reply::Reset(); });
  const auto image = registry_.PutImage("team/app", "v1", {"one"});
  registry_.On("GET " + BlobPath(image.layers[0]), [&](const ServerRequest&) { return Reply::Redirect(307, storage.url("/x")); }, 1);
  ASSERT_OK(ReadBlob(*Open(), image.layers[0]));
  EXPECT_EQ(std::ranges::count_if(attempts_, [](const Attempt& a) { return a.reason == Reason::kHttpOnHttps; }), 1);
}

TEST_F(ClientTest, C58_C59_NoOtherHostIsEverDowngraded) {
  plain_.clear();
  options_.overrides = {
      {.host = "reg.test", .port = registry_.server().port(), .address = "127.0.0.1", .to_port = registry_.server().port()}};
  const auto ref = reference::Reference::Parse("reg.test:" + std::to_string(registry_.server().port()) + "/team/app:v1");
  const auto got = client().Open(*ref, List(User(kUser, kPassword)))->Resolve(ctx_);
  EXPECT_REASON(got, Reason::kHttpOnHttps);
  EXPECT_EQ(registry_.Count(""), 0);
}

TEST_F(ClientTest, C58_ACertificateOfAnUnknownAuthorityIsNoReasonForPlainHttp) {
  http::testing::Ca ca;
  FakeRegistry secure({.address = "127.0.0.1", .tls = http::testing::ServerTls{.leaf = ca.Issue({"127.0.0.1"})}});
  secure.PutImage("team/app", "v1", {"one"});
  const auto ref = reference::Reference::Parse(secure.host() + "/team/app:v1");
  const auto unknown = client().Open(*ref, List(User(kUser, kPassword)))->Resolve(ctx_);
  EXPECT_REASON(unknown, Reason::kTlsCa);
  EXPECT_THAT(unknown.error().next_step(), HasSubstr("into " + (root_ / secure.host() / "ca.crt").string() + " ")) << "the place that is read below";
  EXPECT_EQ(secure.Count(""), 0);
  std::filesystem::create_directories(root_ / secure.host());
  std::filesystem::copy_file(ca.file(), root_ / secure.host() / "ca.crt");
  ASSERT_OK(client().Open(*ref, List(User(kUser, kPassword)))->Resolve(ctx_));
  EXPECT_EQ(secure.Count(""), 1);
}

TEST_F(ClientTest, V22_Ipv6Literal) {
  registry_.PutImage("team/app", "v1", {"one"});
  const std::uint16_t port = registry_.server().port();
  const std::string domain = "[2001:db8::7]:" + std::to_string(port);
  options_.overrides = {{.host = "2001:db8::7", .port = port, .address = "127.0.0.1", .to_port = port}};
  options_.hosts.plain_http = {domain};
  const auto ref = reference::Reference::Parse(domain + "/team/app:v1");
  ASSERT_OK(ref);
  ASSERT_OK(client().Open(*ref, {})->Resolve(ctx_));
  EXPECT_EQ(registry_.server().requests().back().header("host"), domain);
}

}  // namespace
}  // namespace berth::registry
