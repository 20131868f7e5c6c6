// Redirects (C-37 … C-44). What the second origin saw is the proof.
#include "http/redirect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "http/testing/fault_server.h"

namespace berth::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using testing::Ca;
using testing::FaultServer;
using testing::Reply;
using testing::ServerRequest;
using testing::ServerTls;

FaultServer::Handler Redirect(int status, std::string location) {
  return [=](const ServerRequest&) { return Reply::Redirect(status, location); };
}
FaultServer::Handler Content(std::string body) {
  return [=](const ServerRequest&) { return Reply::Text(200, body); };
}

Request To(const FaultServer& server, std::string_view target = "/start") {
  Request r{.url = *Url::Parse(server.url(target))};
  r.allow_plain_http = true;
  r.headers = {{"Accept", "a/b"}, {"Range", "bytes=0-"}, {"If-Range", "\"e\""}, {"X-Custom", "header-canary"}, {"X-Meta-Token", "token-canary"}};
  r.authorization.emplace("Bearer auth-canary");
  return r;
}

Result<std::string> Follow(Client& client, const Request& request, const RedirectPolicy& policy = {}) {
  ASSIGN_OR_RETURN(const auto response, SendFollowing(client, {}, request, policy));
  ASSIGN_OR_RETURN(std::string body, ReadAll(*response, 1u << 20, "the body"));
  return std::to_string(response->status()) + " " + body;
}

class Statuses : public ::testing::TestWithParam<int> {};
TEST_P(Statuses, AreFollowedForGetAndHeadOnly) {
  FaultServer server([](const ServerRequest& r) {
    return r.path() == "/end" ? Reply::Text(200, r.method) : Reply::Redirect(GetParam(), "/end");
  });
  Client client;
  Request request = To(server);
  EXPECT_EQ(*Follow(client, request), "200 GET");
  request.method = Method::kHead;
  EXPECT_EQ(*Follow(client, request), "200 ");
  EXPECT_EQ(server.requests().back().method, "HEAD");
  request.method = Method::kPost;
  EXPECT_EQ(*Follow(client, request), std::to_string(GetParam()) + " ");
}
INSTANTIATE_TEST_SUITE_P(C37, Statuses, ::testing::Values(301, 302, 303, 307, 308));

TEST(Redirects, OthersAreTheCallers) {
  for (const int status : {300, 304, 305, 306, 309}) {
    FaultServer server(Redirect(status, "/end"));
    Client client;
    Request request = To(server);
    request.headers.Add("If-None-Match", "x");
    EXPECT_EQ(*Follow(client, request), std::to_string(status) + " ");
  }
  FaultServer nowhere([](const ServerRequest&) { return Reply::Text(307, "no location"); });
  Client client;
  EXPECT_EQ(*Follow(client, To(nowhere)), "307 no location");
}

TEST(Redirects, WithinTheOriginEverythingGoesAlong) {
  FaultServer server([](const ServerRequest& r) { return r.path() == "/a/end" ? Reply::Text(200, "x") : Reply::Redirect(307, "a/end?q"); });
  Client client;
  ASSERT_TRUE(Follow(client, To(server)));
  const auto requests = server.requests();
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(requests[1].target, "/a/end?q");
  EXPECT_EQ(requests[1].headers, requests[0].headers);
  EXPECT_EQ(server.connections(), 1);
}

// C-38: another address, another port of the same address, another name.
struct Elsewhere {
  std::string row, address;
  bool by_name = false;
};
void PrintTo(const Elsewhere& e, std::ostream* out) { *out << e.row; }
class OtherOrigins : public ::testing::TestWithParam<Elsewhere> {};
TEST_P(OtherOrigins, SeeNoSecret) {
  FaultServer storage(Content("blob"), {.address = GetParam().address, .tls = {}});
  const std::string host = GetParam().by_name ? "storage.test:" + std::to_string(storage.port()) : storage.host_port();
  FaultServer registry(Redirect(307, "http://" + host + "/blob?X-Signature=s"));
  Client client({.user_agent = "berth/test"});
  Request request = To(registry);
  request.overrides = {{.host = "storage.test", .port = storage.port(), .address = "127.0.0.1"}};
  std::vector<std::string> hops;
  const auto response = SendFollowing(client, {}, request, {}, [&](const Hop& hop) -> Result<> {
    hops.push_back(std::to_string(hop.number) + " " + std::to_string(hop.status) + (hop.crosses ? " crosses " : " ") + hop.to.Redacted());
    return {};
  });
  ASSERT_TRUE(response) << response.error().Text();
  EXPECT_EQ(*ReadAll(**response, 100, "x"), "blob");
  EXPECT_EQ((*response)->hops(), 1);
  EXPECT_TRUE((*response)->foreign());
  EXPECT_EQ((*response)->url().Redacted(), "http://" + host + "/blob");
  EXPECT_THAT(hops, ElementsAre("1 307 crosses http://" + host + "/blob"));
  EXPECT_EQ(storage.received(), "GET /blob?X-Signature=s HTTP/1.1\r\nHost: " + host +
                                    "\r\nUser-Agent: berth/test\r\nAccept: a/b\r\nRange: bytes=0-\r\nIf-Range: \"e\"\r\n\r\n");
}
INSTANTIATE_TEST_SUITE_P(C38, OtherOrigins,
                         ::testing::Values(Elsewhere{"another address", "127.0.0.2"}, Elsewhere{"another port", "127.0.0.1"},
                                           Elsewhere{"another name of the same address", "127.0.0.1", true}));

TEST(Redirects, SecretsDoNotComeBackWithALaterHop) {
  std::string home;
  FaultServer away([&](const ServerRequest&) { return Reply::Redirect(307, home + "/end"); });
  FaultServer registry([&](const ServerRequest& r) { return r.path() == "/end" ? Reply::Text(200, "x") : Reply::Redirect(307, away.url("/")); });
  home = registry.url("");
  Client client;
  const auto response = SendFollowing(client, {}, To(registry));
  ASSERT_TRUE(response);
  EXPECT_EQ((*response)->hops(), 2);
  EXPECT_FALSE((*response)->foreign());
  EXPECT_THAT(registry.requests().at(1).raw, Not(HasSubstr("canary")));
}

TEST(Redirects, A401OfTheTargetIsMarked) {  // C-40
  FaultServer storage([](const ServerRequest&) { return Reply::Text(401, "", {{"WWW-Authenticate", "Bearer realm=\"https://evil/\""}}); },
                      {.address = "127.0.0.2", .tls = {}});
  FaultServer registry(Redirect(307, storage.url("/")));
  Client client;
  const auto response = SendFollowing(client, {}, To(registry));
  ASSERT_TRUE(response);
  EXPECT_EQ((*response)->status(), 401);
  EXPECT_TRUE((*response)->foreign());
}

TEST(Redirects, HttpsToHttpIsRefused) {  // C-41
  Ca ca;
  FaultServer plain(Content("x"), {.address = "127.0.0.2", .tls = {}});
  FaultServer registry(Redirect(307, plain.url("/?X-Signature=sig-canary")), {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = ""}});
  Client client;
  Request request = To(registry);
  request.tls.ca_paths = {ca.file()};
  const auto got = Follow(client, request);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kInsecureRedirect);
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
  EXPECT_EQ(plain.connections(), 0);
}

TEST(Redirects, AreCounted) {  // C-37, C-42
  FaultServer server([](const ServerRequest& r) {
    const int n = std::stoi(r.path().substr(1));
    return n == 0 ? Reply::Text(200, "x") : Reply::Redirect(307, "/" + std::to_string(n - 1));
  });
  Client client;
  EXPECT_EQ(*Follow(client, To(server, "/5")), "200 x");
  const std::size_t before = server.requests().size();
  EXPECT_EQ(Follow(client, To(server, "/40")).error().reason(), Reason::kTooManyRedirects);
  EXPECT_EQ(server.requests().size() - before, 6u);
  FaultServer loop(Redirect(302, "/start"));
  EXPECT_EQ(Follow(client, To(loop)).error().reason(), Reason::kTooManyRedirects);
}

// C-43
struct BadLocation {
  std::string row, location;
  Reason reason = Reason::kProtocolError;
};
void PrintTo(const BadLocation& b, std::ostream* out) { *out << b.row; }
class BadLocations : public ::testing::TestWithParam<BadLocation> {};
TEST_P(BadLocations, AreNotVisited) {
  FaultServer other(Content("x"), {.address = "127.0.0.2", .tls = {}});
  std::string location = GetParam().location;
  if (const std::size_t at = location.find("OTHER"); at != std::string::npos) location.replace(at, 5, other.host_port());
  FaultServer server(Redirect(307, location));
  Client client;
  // The registry is not on loopback, as far as the rules can see: nothing is excepted from them.
  RedirectPolicy policy;
  const auto got = Follow(client, To(server), policy);
  ASSERT_FALSE(got) << *got;
  EXPECT_EQ(got.error().reason(), GetParam().reason) << got.error().Text();
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
  EXPECT_EQ(other.connections(), 0);
  EXPECT_THAT(server.requests(), SizeIs(1));
}
INSTANTIATE_TEST_SUITE_P(
    C43, BadLocations,
    ::testing::Values(BadLocation{"file", "file:///etc/canary"}, BadLocation{"gopher", "gopher://OTHER/canary"},
                      BadLocation{"data", "data:text/plain,canary"}, BadLocation{"empty", ""},
                      BadLocation{"200 kB", "/" + std::string(200'000, 'x')}, BadLocation{"20 kB", "/" + std::string(20'000, 'x')},
                      BadLocation{"user info", "http://trusted@OTHER/canary"}, BadLocation{"user and password", "http://u:canary@OTHER/"},
                      BadLocation{"number as host", "http://2130706434/"}, BadLocation{"hexadecimal host", "http://0x7f000002/"},
                      BadLocation{"link-local", "http://169.254.169.254/latest/meta-data/", Reason::kPolicy},
                      BadLocation{"IPv6 link-local", "http://[fe80::1]/", Reason::kPolicy},
                      BadLocation{"mapped metadata", "http://[::ffff:169.254.169.254]/", Reason::kPolicy},
                      BadLocation{"this host", "http://0.0.0.0:1/", Reason::kPolicy}));

TEST(Redirects, LocalAddressesAreRefusedByNameToo) {
  FaultServer other(Content("x"), {.address = "127.0.0.2", .tls = {}});
  FaultServer server(Redirect(307, "http://rebound.test:" + std::to_string(other.port()) + "/"));
  Client client;
  Request request = To(server);
  request.overrides = {{.host = "rebound.test", .port = other.port(), .address = "127.0.0.2"}};
  EXPECT_TRUE(Follow(client, request).has_value());  // loopback sends to loopback
  RedirectPolicy policy;
  policy.addresses = AddressPolicy();
  ASSERT_TRUE(policy.addresses.Deny("127.0.0.2"));
  const auto got = Follow(client, request, policy);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kPolicy);
  EXPECT_THAT(other.requests(), SizeIs(1));
}

TEST(Redirects, SeveralLocations) {
  FaultServer server([](const ServerRequest&) { return Reply::Text(307, "", {{"Location", "/a"}, {"Location", "/b"}}); });
  Client client;
  EXPECT_EQ(Follow(client, To(server)).error().reason(), Reason::kProtocolError);
}

TEST(Redirects, OnlyToAllowedOriginsWhenThereIsAList) {
  FaultServer other(Content("x"));
  FaultServer server(Redirect(307, other.url("/")));
  Client client;
  RedirectPolicy policy;
  policy.allowed_origins = {Url::Parse("https://cdn.example/")->origin()};
  EXPECT_EQ(Follow(client, To(server), policy).error().reason(), Reason::kPolicy);
  policy.allowed_origins.push_back(Url::Parse(other.url())->origin());
  EXPECT_TRUE(Follow(client, To(server), policy).has_value());
}

TEST(Redirects, TheCallerMayRefuseAHop) {
  FaultServer server(Redirect(307, "/end"));
  Client client;
  const auto got = SendFollowing(client, {}, To(server), {}, [](const Hop&) -> Result<> { return Error(Reason::kUntrustedRealm, "not there"); });
  EXPECT_EQ(got.error().reason(), Reason::kUntrustedRealm);
}

TEST(Redirects, ClientCertificateAndSkipVerifyStayHome) {
  Ca ca, other_ca;
  const Ca::Leaf me = ca.IssueClient("node-1");
  FaultServer wants_me(Content("x"), {.address = "127.0.0.2", .tls = ServerTls{.leaf = ca.Issue({"127.0.0.2"}), .client_ca = ca.file()}});
  FaultServer unknown(Content("x"), {.address = "127.0.0.2", .tls = ServerTls{.leaf = other_ca.Issue({"127.0.0.2"}), .client_ca = ""}});
  FaultServer registry([&](const ServerRequest& r) { return Reply::Redirect(307, (r.path() == "/1" ? wants_me : unknown).url("/")); },
                       {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = ca.file()}});
  Client client;
  Request request = To(registry, "/1");
  request.tls = {.ca_paths = {ca.file()}, .client_cert = me.cert_file, .client_key = me.key_file};
  EXPECT_EQ(Follow(client, request).error().reason(), Reason::kTls);
  request.url.path = "/2";
  request.tls.skip_verify = true;
  EXPECT_EQ(Follow(client, request).error().reason(), Reason::kTlsCa);
  RedirectPolicy policy;
  policy.tls = [](const Origin&) { return TlsOptions{.ca_paths = {}, .client_cert = "", .client_key = "", .skip_verify = true}; };
  EXPECT_EQ(*Follow(client, request, policy), "200 x");
}

TEST(Redirects, ErrorsNameTheHopWithoutItsQuery) {  // C-44
  std::string gone;
  { FaultServer dead(Content("")); gone = dead.url("/blob?X-Signature=sig-canary"); }
  FaultServer registry(Redirect(307, gone));
  Client client;
  const auto got = Follow(client, To(registry));
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().Text(), HasSubstr("after 1 redirects: GET " + gone.substr(0, gone.find('?'))));
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
}

}  // namespace
}  // namespace berth::http
