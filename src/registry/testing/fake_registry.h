// registry/testing/fake_registry.h: a small, strict OCI registry for tests, with faults on demand.
//
//   FakeRegistry registry;
//   const auto image = registry.PutImage("team/app", "v1", {"layer one", "layer two"});
//   registry.RequireBearer("alice", "secret");
//   registry.On("GET /v2/team/app/blobs/", [](const ServerRequest&) { return Reply::Text(503, ""); }, 1);
//   … pull registry.host() + "/team/app:v1" …
//   EXPECT_EQ(registry.Count("HEAD"), 1);  EXPECT_THAT(registry.violations(), IsEmpty());
//
// Serves reading only: manifests and blobs by GET and HEAD, with Range; a token endpoint at /token (GET with Basic or
// anonymous, POST with OAuth2 password and refresh_token forms). Notes what no client of ours may ever do (cookies,
// Referer, an undecoded Accept-Encoding, wrong `ns`, a token for another repository). Safe for concurrent use.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "digest/digest.h"
#include "http/testing/fault_server.h"
#include "oci/oci.h"

namespace berth::registry::testing {

class FakeRegistry {
 public:
  using Handler = http::testing::FaultServer::Handler;
  static constexpr int kAlways = -1;

  explicit FakeRegistry(http::testing::ServerOptions options = {});

  std::string host() const { return server_->host_port(); }  // "127.0.0.1:40123": the domain of references
  std::string url(std::string_view target = "/") const { return server_->url(target); }
  http::testing::FaultServer& server() { return *server_; }

  // Content. Digests are computed; a tag is optional.
  oci::Descriptor PutBlob(const std::string& repository, std::string bytes,
                          std::string media_type = "application/vnd.oci.image.layer.v1.tar");
  oci::Descriptor PutManifest(const std::string& repository, std::string bytes, std::string media_type, const std::string& tag = "");
  struct Image {
    oci::Descriptor manifest, config;
    std::vector<oci::Descriptor> layers;
    std::string manifest_bytes, config_bytes;
  };
  // One OCI image; the layers are what they are, diff IDs are their digests.
  Image PutImage(const std::string& repository, const std::string& tag, const std::vector<std::string>& layers,
                 std::string_view architecture = "amd64");
  void Tag(const std::string& repository, const std::string& tag, const digest::Digest& manifest);
  void Remove(const std::string& repository, const digest::Digest& digest);
  // Serves these bytes under a digest that is not theirs.
  void Corrupt(const std::string& repository, const digest::Digest& digest, std::string bytes);

  // Access. Users may be added; the last Require decides the kind.
  void RequireNothing() { Set(auth_, Auth::kNone); }
  void RequireBasic(const std::string& user, const std::string& password);
  void RequireBearer(const std::string& user, const std::string& password);
  void AllowAnonymousTokens();                 // Bearer is still asked for
  void AddIdentityToken(const std::string& token);
  void RevokeTokens();                         // what was handed out so far is no good any more
  void SetRealm(std::string url) { Set(realm_, std::move(url)); }        // instead of our own /token
  void SetChallenges(std::vector<std::string> lines);                    // instead of the right ones
  void SetTokenAnswer(std::string json) { Set(token_answer_, std::move(json)); }  // "{T}" becomes a good token
  void ExpectNs(std::string ns) { Set(ns_, std::move(ns)); }             // "" = must not be there; unset = anything
  void SetPrefix(std::string prefix) { Set(prefix_, std::move(prefix)); }  // instead of "/v2"
  void BareAnswers() { Set(bare_, true); }     // no Docker-Content-Digest, no Content-Type of manifests

  // The next `times` requests that begin with `match` ("GET /v2/a/blobs/sha256:…", "HEAD", "") are answered by
  // `handler`. The oldest rule that matches and is not used up counts. Comes before access control.
  void On(std::string match, Handler handler, int times = kAlways);

  std::vector<std::string> log() const;        // "GET /v2/team/app/manifests/v1", queries included
  int Count(std::string_view match) const;     // requests that begin with it
  void ClearLog();
  std::vector<std::string> violations() const;
  int tokens_given() const;

 private:
  struct Stored { std::string bytes, media_type; };
  struct Rule { std::string match; Handler handler; int left; };

  template <class T, class V>
  void Set(T& field, V value) { std::lock_guard lock(mutex_); field = std::move(value); }
  http::testing::Reply Handle(const http::testing::ServerRequest& r);
  http::testing::Reply Serve(const http::testing::ServerRequest& r, const std::string& path, const std::string& query);
  http::testing::Reply GiveToken(const http::testing::ServerRequest& r, const std::string& query);
  std::optional<http::testing::Reply> Deny(const http::testing::ServerRequest& r, const std::string& repository);
  void Violation(const http::testing::ServerRequest& r, const std::string& what);

  mutable std::mutex mutex_;  // guards all below
  std::map<std::pair<std::string, std::string>, Stored> manifests_, blobs_;    // repository, digest
  std::map<std::pair<std::string, std::string>, std::string> tags_;            // repository, tag -> digest
  std::map<std::string, std::string> users_;
  std::set<std::string> identity_tokens_;
  std::map<std::string, std::string> tokens_;                                  // token -> its scopes
  enum class Auth : std::uint8_t { kNone, kBasic, kBearer } auth_ = Auth::kNone;
  bool anonymous_tokens_ = false, bare_ = false;
  std::string realm_, token_answer_, prefix_ = "/v2";
  std::optional<std::string> ns_;
  std::optional<std::vector<std::string>> challenges_;
  std::vector<Rule> rules_;
  std::vector<std::string> log_, violations_;
  int tokens_given_ = 0;
  std::unique_ptr<http::testing::FaultServer> server_;  // last: its threads use all of the above
};

}  // namespace berth::registry::testing
