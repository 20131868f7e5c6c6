// One exchange against a server that misbehaves; rows of reliability-security 3.c.
#include "http/client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <ostream>
#include <thread>

#include "http/testing/black_hole.h"
#include "http/testing/fault_server.h"
#include "time/testing/manual_clock.h"

namespace berth::http {
namespace {

using std::chrono_literals::operator""h;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::string_literals::operator""s;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using testing::BlackHole;
using testing::Ca;
using testing::FaultServer;
using testing::Gate;
using testing::ProxyServer;
using testing::Reply;
using testing::ServerRequest;
using testing::ServerTls;
using testing::Step;
using Sent = Result<std::unique_ptr<Response>>;

constexpr std::string_view kSecret = "Bearer canary-7f3a9c";

Request To(const std::string& url) {
  Request r{.url = *Url::Parse(url)};
  r.allow_plain_http = true;
  return r;
}
Request To(const FaultServer& server, std::string_view target = "/") { return To(server.url(target)); }

FaultServer::Handler Always(Reply reply) {
  return [reply = std::move(reply)](const ServerRequest&) { return reply; };
}

// The whole exchange: error of Send() or of the body, or "status body".
Result<std::string> Fetch(Client& client, const Request& request, const task::Context& ctx = {}) {
  ASSIGN_OR_RETURN(const auto response, client.Send(ctx, request));
  ASSIGN_OR_RETURN(const std::string body, ReadAll(*response, 8u << 20, "the body"));
  return std::to_string(response->status()) + " " + body;
}

// ---- answers that are right (C-01, C-24, C-25)

struct Fine {
  std::string row;
  Reply reply;
  std::string expected;
  Method method = Method::kGet;
};
void PrintTo(const Fine& f, std::ostream* out) { *out << f.row; }
class FineAnswers : public ::testing::TestWithParam<Fine> {};

TEST_P(FineAnswers, AreDelivered) {
  FaultServer server(Always(GetParam().reply));
  Client client;
  Request request = To(server);
  request.method = GetParam().method;
  const auto got = Fetch(client, request);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(*got, GetParam().expected);
}

std::string Many(std::string_view line, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += line;
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    C01, FineAnswers,
    ::testing::Values(
        Fine{"plain", Reply::Text(200, "hello"), "200 hello"}, Fine{"empty", Reply::Text(200, ""), "200 "},
        Fine{"no content", Reply::Text(204, ""), "204 "}, Fine{"404 with a body", Reply::Text(404, "gone"), "404 gone"},
        Fine{"599", Reply::Text(599, "x"), "599 x"}, Fine{"HEAD", Reply::Text(200, "hidden"), "200 ", Method::kHead},
        Fine{"chunked", Reply::Chunked(200, {"hel", "lo"}), "200 hello"},
        Fine{"chunked, empty", Reply::Chunked(200, {}), "200 "},
        Fine{"trailers", Reply::Chunked(200, {"x"}, {}, {{"Digest", "y"}}), "200 x"},
        Fine{"chunk extension", Reply::Head(200, {}, {{"Transfer-Encoding", "chunked"}}).Send("5;a=b\r\nhello\r\n0\r\n\r\n"), "200 hello"},
        Fine{"no length, until close", Reply::Head(200, {}).Send("hello").Close(), "200 hello"},
        Fine{"HTTP/1.0", Reply::Raw("HTTP/1.0 200 OK\r\n\r\nold").Close(), "200 old"},
        Fine{"the same length twice", Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"), "200 x"},
        Fine{"bare newlines", Reply::Raw("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"), "200 hi"},
        Fine{"not decoded (C-25)", Reply::Text(200, "\x1f\x8b not gzip"s, {{"Content-Encoding", "gzip"}}), "200 \x1f\x8b not gzip"s},
        Fine{"ten informational answers", Reply::Raw(Many("HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", 10) + Reply::Text(200, "x").steps()[0].text + "x"), "200 x"},
        Fine{"256 fields", Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + Many("X: y\r\n", 255) + "\r\n"), "200 "}));

// ---- answers that are wrong

struct Fault {
  std::string row;
  Reply reply;
  Reason reason;
  std::string says;
};
void PrintTo(const Fault& f, std::ostream* out) { *out << f.row; }
class Faults : public ::testing::TestWithParam<Fault> {};

TEST_P(Faults, EndInTheRightReasonAndTheClientLivesOn) {
  FaultServer server([&](const ServerRequest& r) { return r.path() == "/good" ? Reply::Text(200, "good") : GetParam().reply; });
  Client client;
  Request request = To(server, "/bad?X-Signature=sig-canary");
  request.authorization.emplace(kSecret);
  const auto got = Fetch(client, request);
  ASSERT_FALSE(got) << *got;
  EXPECT_EQ(got.error().reason(), GetParam().reason) << got.error().Text();
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
  EXPECT_THAT(got.error().Text() + got.error().next_step(), Not(HasSubstr("canary")));
  const auto good = Fetch(client, To(server, "/good"));
  ASSERT_TRUE(good) << good.error().Text();
  EXPECT_EQ(*good, "200 good");
}

std::vector<Fault> FaultTable() {
  const Reply whole = Reply::Text(200, std::string(100'000, 'x'));
  const auto cut = [&](std::size_t n, Step::Kind how) { Reply r = whole; return r.CutBodyAfter(n, how); };
  const auto head = [](std::string_view lines) { return Reply::Raw("HTTP/1.1 200 OK\r\n" + std::string(lines) + "\r\n").Send("0123456789").Close(); };
  const auto chunks = [](std::string_view body) {
    return Reply::Head(200, {}, {{"Transfer-Encoding", "chunked"}}).Send(body).Close();
  };
  const std::string mega(10u << 20, 'a');
  return {
      // C-07: reset in the headers, in the body
      {"C-07 reset at once", Reply::Reset(), Reason::kConnectionReset, "reset"},
      {"C-07 reset in the headers", Reply::Raw("HTTP/1.1 200 O").ResetNow(), Reason::kConnectionReset, "reset"},
      {"C-07 reset in the body", cut(50'000, Step::Kind::kReset), Reason::kConnectionReset, "reset"},
      {"C-05 closed without an answer", Reply().Close(), Reason::kUnexpectedEof, "without an answer"},
      {"C-08 cut at one half", cut(50'000, Step::Kind::kClose), Reason::kUnexpectedEof, "before the end"},
      {"C-08 cut before the body", cut(0, Step::Kind::kClose), Reason::kUnexpectedEof, "before the end"},
      {"C-16 length longer than the body", Reply::Head(200, 1000).Send("short").Close(), Reason::kUnexpectedEof, "before the end"},
      {"C-15 unasked 206", Reply::Text(206, "part", {{"Content-Range", "bytes 0-3/8"}}), Reason::kUnexpectedStatus, "206"},
      {"C-17 two lengths", head("Content-Length: 5\r\nContent-Length: 6\r\n"), Reason::kProtocolError, "length"},
      {"C-17 list of lengths", head("Content-Length: 5, 6\r\n"), Reason::kProtocolError, ""},
      {"C-17 negative length", head("Content-Length: -5\r\n"), Reason::kProtocolError, ""},
      {"C-17 length with a plus", head("Content-Length: +5\r\n"), Reason::kProtocolError, ""},
      {"C-17 length of 2^64", head("Content-Length: 18446744073709551616\r\n"), Reason::kProtocolError, ""},
      {"C-17 empty length", head("Content-Length:\r\n"), Reason::kProtocolError, ""},
      {"C-17 chunked and length", head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Reason::kProtocolError, "both"},
      {"C-17 gzip transfer encoding", head("Transfer-Encoding: gzip\r\n"), Reason::kProtocolError, "transfer encoding"},
      {"C-17 gzip, chunked", head("Transfer-Encoding: gzip, chunked\r\n"), Reason::kProtocolError, "transfer encoding"},
      {"C-18 chunk size is no number", chunks("zz\r\nhello\r\n0\r\n\r\n"), Reason::kProtocolError, "chunk"},
      {"C-18 chunk of 2^64-1", chunks("ffffffffffffffff\r\nhello"), Reason::kProtocolError, "chunk"},
      {"C-18 negative chunk", chunks("-5\r\nhello\r\n0\r\n\r\n"), Reason::kProtocolError, "chunk"},
      {"C-18 no last chunk", chunks("5\r\nhello\r\n"), Reason::kProtocolError, "last chunk"},
      {"C-18 cut in a chunk", chunks("50\r\nhello"), Reason::kProtocolError, "last chunk"},
      {"C-18 chunk longer than it says", chunks("2\r\nhello\r\n0\r\n\r\n"), Reason::kProtocolError, "chunk"},
      {"C-20 endless body", Reply::Head(200, {}).Endless(std::string(65536, 'x')), Reason::kLimitExceeded, "the body is longer than"},
      {"C-20 claimed huge body", Reply::Head(200, 1ull << 40).Endless("x"), Reason::kLimitExceeded, "the body is longer than"},
      {"C-20 endless header block", Reply::Raw("HTTP/1.1 200 OK\r\n").Endless("X-Pad: " + std::string(500, 'p') + "\r\n"), Reason::kProtocolError, "header"},
      {"C-20 endless header line", Reply::Raw("HTTP/1.1 200 OK\r\nX: ").Endless(std::string(4096, 'p')), Reason::kProtocolError, "65536"},
      {"C-21 header of 10 MiB", head("X-Big: " + mega + "\r\n"), Reason::kProtocolError, "65536"},
      {"C-21 header block above 64 KiB", head(Many("X: " + std::string(600, 'y') + "\r\n", 120)), Reason::kProtocolError, "65536"},
      {"C-21 200,000 headers", head(Many("A:b\r\n", 200'000)), Reason::kProtocolError, "256"},
      {"C-21 500 cookies", head(Many("Set-Cookie: a=b\r\n", 500)), Reason::kProtocolError, "256"},
      {"C-21 NUL", head("X: a\0b\r\n"s), Reason::kProtocolError, ""},
      {"C-21 bare CR", head("X: a\rb\r\n"), Reason::kProtocolError, ""},
      {"C-21 escape", head("X: a\x1b[31m\r\n"), Reason::kProtocolError, "control byte"},
      {"C-21 no colon", head("nonsense\r\n"), Reason::kProtocolError, "not HTTP"},
      {"C-21 space before the colon", head("Content-Length : 5\r\n"), Reason::kProtocolError, "malformed header"},
      {"C-21 folded line", head("X: a\r\n b\r\n"), Reason::kProtocolError, ""},
      {"C-21 300 informational answers", Reply::Raw(Many("HTTP/1.1 100 Continue\r\n\r\n", 300)).Send("HTTP/1.1 200 OK\r\n\r\n"), Reason::kProtocolError, "informational"},
      {"C-21 endless informational answers", Reply().Endless("HTTP/1.1 102 Processing\r\n\r\n"), Reason::kProtocolError, "informational"},
      {"C-21 no status line behind an informational one", Reply::Raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/HTTP/1.1 200 OK\r\n\r\n"), Reason::kProtocolError, "not HTTP"},
      {"C-22 random bytes", Reply::Raw("\x93\x12\xfe\x00\x7f random \r\n\r\n"s).Close(), Reason::kProtocolError, "not HTTP"},
      {"C-22 TLS bytes on the plain port", Reply::Raw("\x15\x03\x01\x00\x02\x02\x46"s).Close(), Reason::kProtocolError, "not HTTP"},
      {"C-22 HTTP/0.9", Reply::Raw("<html>old</html>").Close(), Reason::kProtocolError, "not HTTP"},
      {"C-22 status 999", Reply::Text(999, "x"), Reason::kProtocolError, "status line"},
      {"C-22 status 99", Reply::Raw("HTTP/1.1 99 x\r\n\r\n").Close(), Reason::kProtocolError, ""},
      {"C-22 status 2x0", Reply::Raw("HTTP/1.1 2x0 x\r\n\r\n").Close(), Reason::kProtocolError, ""},
      {"C-22 unasked 304", Reply::Text(304, ""), Reason::kProtocolError, "304"},
      {"C-22 unasked 101", Reply::Raw("HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes"), Reason::kProtocolError, ""},
  };
}
INSTANTIATE_TEST_SUITE_P(Rows, Faults, ::testing::ValuesIn(FaultTable()));

TEST(Faults, AResetThatComesOnceIsNotHiddenButTheNextRequestWorks) {
  FaultServer server([](const ServerRequest& r) { return r.index == 0 ? Reply::Reset() : Reply::Text(200, "x"); });
  Client client;
  EXPECT_EQ(Fetch(client, To(server)).error().reason(), Reason::kConnectionReset);
  EXPECT_TRUE(Fetch(client, To(server)).has_value());
}

TEST(Errors, OfTheBodyComeAfterTheBytesAndStay) {
  FaultServer server(Always(Reply::Head(200, 1000).Send("hello").Close()));
  Client client;
  const Sent response = client.Send({}, To(server));
  ASSERT_TRUE(response);
  std::string room(100, '\0'), got;
  for (;;) {
    const auto n = (*response)->Read(std::as_writable_bytes(std::span(room)));
    if (!n) break;
    got += room.substr(0, *n);
  }
  EXPECT_EQ(got, "hello");
  EXPECT_EQ((*response)->Read(std::as_writable_bytes(std::span(room))).error().reason(), Reason::kUnexpectedEof);
}

// ---- what is sent

TEST(Sent, IsExactlyWhatWasAsked) {
  FaultServer server(Always(Reply::Text(200, "")));
  Client client({.user_agent = "berth/test"});
  Request request = To(server, "/v2/a%2Fb/../c?n=1&x");
  request.headers = {{"Accept", "application/json"}, {"Range", "bytes=5-"}, {"X-Empty", ""}};
  request.authorization.emplace(kSecret);
  ASSERT_TRUE(Fetch(client, request));
  EXPECT_EQ(server.received(), "GET /v2/a%2Fb/../c?n=1&x HTTP/1.1\r\nHost: " + server.host_port() +
                                   "\r\nUser-Agent: berth/test\r\nAccept: application/json\r\nRange: bytes=5-\r\nX-Empty:\r\n"
                                   "Authorization: " + std::string(kSecret) + "\r\n\r\n");
}

TEST(Sent, PostCarriesItsBody) {
  FaultServer server(Always(Reply::Json(200, "{}")));
  Client client;
  Request request = To(server, "/token");
  request.method = Method::kPost;
  request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
  request.body = secret::Secret("grant_type=refresh_token&refresh_token=t%3D");
  ASSERT_TRUE(Fetch(client, request));
  const ServerRequest r = server.requests().at(0);
  EXPECT_EQ(r.method, "POST");
  EXPECT_EQ(r.body, "grant_type=refresh_token&refresh_token=t%3D");
  EXPECT_EQ(r.header("content-type"), "application/x-www-form-urlencoded");
  EXPECT_FALSE(r.has("expect"));
  EXPECT_FALSE(r.has("accept"));
}

TEST(Sent, PutWithoutABodySaysSo) {
  FaultServer server(Always(Reply::Text(200, "token")));
  Client client;
  Request request = To(server, "/latest/api/token");
  request.method = Method::kPut;
  const auto got = Fetch(client, request);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(*got, "200 token");
  const ServerRequest r = server.requests().at(0);
  EXPECT_EQ(r.method, "PUT");
  EXPECT_EQ(r.header("content-length"), "0");
  EXPECT_FALSE(r.has("transfer-encoding"));
}

TEST(Sent, CookiesAreNeverStored) {
  FaultServer server(Always(Reply::Text(200, "", {{"Set-Cookie", "id=1"}})));
  Client client;
  ASSERT_TRUE(Fetch(client, To(server)));
  ASSERT_TRUE(Fetch(client, To(server)));
  EXPECT_FALSE(server.requests().at(1).has("cookie"));
}

struct Unsendable {
  std::string row;
  std::function<void(Request&)> spoil;
  Reason reason;
};
void PrintTo(const Unsendable& u, std::ostream* out) { *out << u.row; }
class UnsendableRequests : public ::testing::TestWithParam<Unsendable> {};
TEST_P(UnsendableRequests, NeverReachTheNetwork) {
  FaultServer server(Always(Reply::Text(200, "")));
  Client client;
  Request request = To(server);
  GetParam().spoil(request);
  const auto got = Fetch(client, request);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), GetParam().reason) << got.error().Text();
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
  EXPECT_EQ(server.connections(), 0);
}
INSTANTIATE_TEST_SUITE_P(
    Table, UnsendableRequests,
    ::testing::Values(
        Unsendable{"plain HTTP (C-59)", [](Request& r) { r.allow_plain_http = false; }, Reason::kPlainHttp},
        Unsendable{"header injection", [](Request& r) { r.headers.Add("X", "a\r\nY: canary"); }, Reason::kInternal},
        Unsendable{"bad name", [](Request& r) { r.headers.Add("X Y", "a"); }, Reason::kInternal},
        Unsendable{"authorization as header", [](Request& r) { r.headers.Add("authorization", "canary"); }, Reason::kInternal},
        Unsendable{"cookie", [](Request& r) { r.headers.Add("Cookie", "canary"); }, Reason::kInternal},
        Unsendable{"host", [](Request& r) { r.headers.Add("Host", "canary"); }, Reason::kInternal},
        Unsendable{"token with CRLF (C-56)", [](Request& r) { r.authorization.emplace("Bearer canary\r\nX: y"); }, Reason::kInvalidCredentials},
        Unsendable{"denied literal", [](Request& r) { r.addresses = AddressPolicy::NoLocal(); }, Reason::kPolicy},
        Unsendable{"denied name (C-51)", [](Request& r) { r.url.host = "localhost"; r.addresses = AddressPolicy::NoLocal(); }, Reason::kPolicy},
        Unsendable{"missing CA file", [](Request& r) { r.tls.ca_paths = {"/nonexistent/ca.crt"}; }, Reason::kConfig},
        Unsendable{"CA file without certificate", [](Request& r) { r.tls.ca_paths = {"/etc/hostname"}; }, Reason::kConfig},
        Unsendable{"key without certificate", [](Request& r) { r.tls.client_key = "/x"; }, Reason::kConfig}));

// ---- connections

TEST(Connections, AreKeptPerOriginAndSettings) {
  FaultServer server([](const ServerRequest& r) { return Reply::Text(200, r.path() == "/big" ? std::string(8u << 20, 'x') : "x"); });
  Client client;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Fetch(client, To(server)));
  EXPECT_EQ(server.connections(), 1);
  const Sent reused = client.Send({}, To(server, "/big"));
  ASSERT_TRUE(reused);
  EXPECT_TRUE((*reused)->reused_connection());
  EXPECT_EQ((*reused)->remote_address(), "127.0.0.1");
  // One lane is busy: a second exchange gets a connection of its own.
  ASSERT_TRUE(Fetch(client, To(server)));
  EXPECT_EQ(server.connections(), 2);
  Request other = To(server);
  other.tls.skip_verify = true;
  ASSERT_TRUE(Fetch(client, other));
  EXPECT_EQ(server.connections(), 3);
  client.DropIdle();
  ASSERT_TRUE(Fetch(client, To(server)));
  EXPECT_EQ(server.connections(), 4);
}

TEST(Connections, AreNotReachedThroughAnAddressPolicyThatRefusesThem) {
  FaultServer server(Always(Reply::Text(200, "x")));
  Client client;
  Request named = To("http://registry.test:" + std::to_string(server.port()) + "/");
  named.overrides = {{.host = "registry.test", .port = server.port(), .address = "127.0.0.1"}};
  ASSERT_TRUE(Fetch(client, named));
  named.addresses = AddressPolicy::NoLocal();
  EXPECT_EQ(Fetch(client, named).error().reason(), Reason::kPolicy);
  EXPECT_THAT(server.requests(), SizeIs(1));
}

TEST(Connections, AreClosedWhenTheServerSentMoreThanItSaid) {  // C-16
  FaultServer server([](const ServerRequest& r) {
    return r.index == 0 ? Reply::Head(200, 5).Send("helloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") : Reply::Text(200, "good");
  });
  Client client;
  EXPECT_EQ(*Fetch(client, To(server)), "200 hello");
  EXPECT_EQ(*Fetch(client, To(server)), "200 good");
  EXPECT_EQ(server.connections(), 2);
}

TEST(Connections, ThatTheServerClosedWhileIdleAreReplaced) {
  FaultServer server([](const ServerRequest&) { return Reply::Text(200, "x").Close(); });
  Client client;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Fetch(client, To(server)).has_value());
}

TEST(Connections, SurviveAnAnswerThatNobodyReadsWhenItIsSmall) {
  FaultServer server([](const ServerRequest& r) {
    return r.path() == "/big" ? Reply::Text(200, std::string(4u << 20, 'x')) : Reply::Text(401, "{\"errors\":[]}");
  });
  Client client;
  for (int i = 0; i < 3; ++i) ASSERT_EQ((*client.Send({}, To(server)))->status(), 401);
  EXPECT_EQ(server.connections(), 1);
  ASSERT_EQ((*client.Send({}, To(server, "/big")))->status(), 200);
  ASSERT_EQ((*client.Send({}, To(server)))->status(), 401);
  EXPECT_EQ(server.connections(), 2);
}

TEST(Connections, ResponsesOutliveTheClient) {
  FaultServer server(Always(Reply::Text(200, std::string(1u << 20, 'x'))));
  auto client = std::make_unique<Client>();
  const Sent response = client->Send({}, To(server));
  ASSERT_TRUE(response);
  client.reset();
  EXPECT_THAT(*ReadAll(**response, 1u << 20, "x"), SizeIs(1u << 20));
}

TEST(Connections, ManyThreadsShareAClient) {
  FaultServer server([](const ServerRequest& r) { return Reply::Text(200, std::string(100'000, 'x') + r.target); });
  Client client;
  std::atomic<int> good{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 10; ++i) {
          const std::string target = "/" + std::to_string(t) + "-" + std::to_string(i);
          const auto got = Fetch(client, To(server, target));
          good += got && got->ends_with(target) ? 1 : 0;
        }
      });
  }
  EXPECT_EQ(good, 80);
  EXPECT_LE(server.connections(), 8);
}

// ---- bodies

TEST(Bodies, ComeWholeWhateverTheRoom) {
  std::string body(3'000'001, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 2654435761u >> 13);
  Ca ca;
  FaultServer plain(Always(Reply::Text(200, body)));
  FaultServer tls(Always(Reply::Text(200, body)), {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = ""}});
  Client client;
  for (const FaultServer* server : {&plain, &tls})
    for (const std::size_t size : {std::size_t{997}, std::size_t{65536}, std::size_t{1} << 22}) {
      Request request = To(*server);
      request.tls.ca_paths = {ca.file()};
      const Sent response = client.Send({}, request);
      ASSERT_TRUE(response) << response.error().Text();
      EXPECT_EQ((*response)->content_length(), body.size());
      std::string room(size, '\0'), got;
      for (;;) {
        const auto n = (*response)->Read(std::as_writable_bytes(std::span(room)));
        ASSERT_TRUE(n) << n.error().Text();
        if (*n == 0) break;
        got.append(room, 0, *n);
      }
      EXPECT_EQ(got, body) << size;  // NOLINT
    }
}

TEST(ReadAll, StopsAtItsLimit) {
  FaultServer server([](const ServerRequest& r) { return Reply::Chunked(200, {std::string(r.path() == "/10" ? 10 : 11, 'x')}); });
  Client client;
  const Sent ten = client.Send({}, To(server, "/10"));
  EXPECT_EQ(*ReadAll(**ten, 10, "the manifest"), "xxxxxxxxxx");
  const Sent eleven = client.Send({}, To(server, "/11"));
  const auto refused = ReadAll(**eleven, 10, "the manifest");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kLimitExceeded);
  EXPECT_EQ(refused.error().message(), "the manifest is longer than 10 bytes");
}

// ---- time

// Runs one exchange on a thread of its own and on hands that the test turns.
class Timed {
 public:
  Timed(Client& client, Request request, std::optional<time::Duration> timeout = {})
      : client_(client), thread_([this, r = std::move(request), timeout](std::stop_token stop) {
          task::Context ctx(stop, clock);
          if (timeout) ctx = ctx.WithTimeout(*timeout);
          result = Fetch(client_, r, ctx);
        }) {}
  void Pass(time::Duration d) {
    clock.Advance(d);
    client_.Nudge();
  }
  void Cancel() { thread_.request_stop(); }
  const Result<std::string>& Outcome() {
    if (thread_.joinable()) thread_.join();
    return result;
  }

  time::testing::ManualClock clock;
  Result<std::string> result = Error(Reason::kInternal, "not run");

 private:
  Client& client_;
  std::jthread thread_;
};

TEST(Time, NoAnswerEndsAtTheHeaderBudget) {  // C-05
  FaultServer server(Always(Reply::Silence()));
  Client client;
  Timed timed(client, To(server));
  server.AwaitRequests(1);
  timed.Pass(31s);
  EXPECT_EQ(timed.Outcome().error().reason(), Reason::kTimeout);
  EXPECT_THAT(timed.Outcome().error().Text(), HasSubstr("30 s (headers)"));
}

TEST(Time, SlowlorisEndsAtTheHeaderBudget) {  // C-02
  const auto gate = std::make_shared<Gate>();
  FaultServer server(Always(Reply().Drip("HTTP/1.1 200 OK\r\nX: " + std::string(100, 'x'), gate)));
  Client client;
  Timed timed(client, To(server));
  for (int i = 1; i <= 31; ++i) {
    gate->AwaitWaiters(i);
    gate->LetOnePass();
    timed.Pass(1s);
  }
  EXPECT_EQ(timed.Outcome().error().reason(), Reason::kTimeout);
}

TEST(Time, APauseIsNoStall) {  // C-04
  const auto gate = std::make_shared<Gate>();
  FaultServer server(Always(Reply::Head(200, 2000).Send(std::string(1000, 'x')).WaitFor(gate).Send(std::string(1000, 'x'))));
  Client client;
  Timed timed(client, To(server));
  gate->AwaitWaiters(1);
  timed.Pass(4s);
  gate->Open();
  ASSERT_TRUE(timed.Outcome().has_value()) << timed.result.error().Text();
}

TEST(Time, WorkOfTheConsumerIsNoStall) {
  FaultServer server(Always(Reply::Text(200, std::string(1u << 20, 'x'))));
  Client client;
  time::testing::ManualClock clock;
  const task::Context ctx(std::stop_token(), clock);
  const Sent response = client.Send(ctx, To(server));
  ASSERT_TRUE(response);
  std::string room(50'000, '\0');
  for (std::size_t n = 1; n > 0;) {
    clock.Advance(1h);
    const auto got = (*response)->Read(std::as_writable_bytes(std::span(room)));
    ASSERT_TRUE(got) << got.error().Text();
    n = *got;
  }
}

// A reader may enter its wait before or after the hands move, so they move until it is through.
struct Slow {
  std::string row;
  Reply reply;
  int bytes_per_second;
};
void PrintTo(const Slow& s, std::ostream* out) { *out << s.row; }
const auto kSlowGate = std::make_shared<Gate>();
class SlowBodies : public ::testing::TestWithParam<Slow> {};
TEST_P(SlowBodies, AreStalled) {
  FaultServer server(Always(GetParam().reply));
  Client client;
  time::testing::ManualClock clock;
  const task::Context ctx(std::stop_token(), clock);
  const Sent response = client.Send(ctx, To(server));
  ASSERT_TRUE(response);
  Result<std::string> body = "";
  {
    const std::jthread hands([&](std::stop_token stop) {
      while (!stop.stop_requested()) {
        for (int i = 0; i < GetParam().bytes_per_second; ++i) kSlowGate->LetOnePass();
        clock.Advance(1s);
        client.Nudge();
        std::this_thread::yield();
      }
    });
    body = ReadAll(**response, 4u << 20, "x");
  }
  ASSERT_FALSE(body);
  EXPECT_EQ(body.error().reason(), Reason::kStalled);
  EXPECT_THAT(body.error().Text(), HasSubstr("1024 bytes/s over 60 s (min_rate)"));
}
INSTANTIATE_TEST_SUITE_P(C03AndC05, SlowBodies,
                         ::testing::Values(Slow{"a trickle", Reply::Head(200, 1u << 20).Drip(std::string(1u << 20, 'x'), kSlowGate), 2},
                                           Slow{"half, then silence", Reply::Head(200, 2000).Send(std::string(1000, 'x')).StaySilent(), 0}));

TEST(Time, TheDeadlineOfTheCallerCounts) {
  FaultServer server(Always(Reply::Silence()));
  Client client;
  Timed timed(client, To(server), 5s);
  server.AwaitRequests(1);
  timed.Pass(6s);
  EXPECT_EQ(timed.Outcome().error().reason(), Reason::kTimeout);
  EXPECT_THAT(timed.Outcome().error().Text(), HasSubstr("deadline"));
}

TEST(Time, CancellationEndsTheWaitForHeaders) {
  FaultServer server(Always(Reply::Silence()));
  Client client;
  Timed timed(client, To(server));
  server.AwaitRequests(1);
  timed.Cancel();
  EXPECT_TRUE(timed.Outcome().error().cancelled());
  server.AwaitClosed(1);  // the connection is not kept
}

TEST(Time, CancellationEndsTheWaitForTheBody) {
  FaultServer server(Always(Reply::Head(200, 2000).Send("x").StaySilent()));
  Client client;
  Timed timed(client, To(server));
  server.AwaitRequests(1);
  timed.Cancel();
  EXPECT_TRUE(timed.Outcome().error().cancelled());
  server.AwaitClosed(1);
}

TEST(Time, AStoppedCallerSendsNothing) {
  FaultServer server(Always(Reply::Text(200, "")));
  Client client;
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(Fetch(client, To(server), task::Context(stop.get_token())).error().cancelled());
  EXPECT_EQ(server.connections(), 0);
}

// ---- no connection

TEST(Connect, RefusedAndUnknown) {
  std::string url;
  {
    FaultServer gone(Always(Reply()));
    url = gone.url("/");
  }
  Client client;
  const auto refused = Fetch(client, To(url));
  EXPECT_EQ(refused.error().reason(), Reason::kRefused) << refused.error().Text();
  EXPECT_TRUE(refused.error().transient());
  const auto unknown = Fetch(client, To("http://no-such-name.invalid/x?canary"));
  EXPECT_EQ(unknown.error().reason(), Reason::kDns) << unknown.error().Text();
  EXPECT_THAT(unknown.error().Text(), Not(HasSubstr("canary")));
}

TEST(Connect, ABlackHoleEndsAtTheConnectBudget) {  // C-06
  const BlackHole hole;
  Client client;
  time::testing::ManualClock clock;
  Result<std::string> got = "";
  {
    const std::jthread hands([&](std::stop_token stop) {
      while (!stop.stop_requested()) {
        clock.Advance(1s);
        client.Nudge();
        std::this_thread::yield();
      }
    });
    got = Fetch(client, To(hole.url()), task::Context(std::stop_token(), clock));
  }
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kTimeout);
  EXPECT_THAT(got.error().Text(), HasSubstr("within 10 s (connect)"));
}

TEST(Connect, ABlackHoleCanBeCancelled) {
  const BlackHole hole;
  Client client;
  Timed timed(client, To(hole.url()));
  timed.Cancel();
  EXPECT_TRUE(timed.Outcome().error().cancelled());
}

// ---- TLS (C-58)

struct BadTls {
  std::string row;
  ServerTls::Handshake handshake = ServerTls::Handshake::kGood;
  Ca::Fault fault = Ca::Fault::kNone;
  std::string name = "127.0.0.1";
  bool trusted = true, old_version = false;
  Reason reason = Reason::kTls;
  std::string says = "";
};
void PrintTo(const BadTls& t, std::ostream* out) { *out << t.row; }
class BadTlsServers : public ::testing::TestWithParam<BadTls> {};

TEST_P(BadTlsServers, GetNothingAndNoPlainAttemptFollows) {
  const BadTls& p = GetParam();
  Ca ca;
  FaultServer server(Always(Reply::Text(200, "x")),
                     {.tls = ServerTls{.leaf = ca.Issue({p.name}, p.fault), .client_ca = "", .only_tls11 = p.old_version,
                                       .handshake = p.handshake}});
  Client client;
  Request request = To(server);
  if (p.trusted) request.tls.ca_paths = {ca.file()};
  request.authorization.emplace(kSecret);
  // The handshake does not count as connecting.
  const bool stalls = p.handshake == ServerTls::Handshake::kStall;
  request.limits.connect = stalls ? time::Duration(100ms) : time::Duration(60s);
  request.limits.tls = stalls ? time::Duration(300ms) : time::Duration(60s);
  const auto got = Fetch(client, request);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), p.reason) << got.error().Text();
  EXPECT_THAT(got.error().Text() + got.error().next_step(), HasSubstr(p.says));
  server.AwaitClosed(1);
  EXPECT_EQ(server.connections(), 1);
  EXPECT_THAT(server.received(), Not(HasSubstr("canary")));
  EXPECT_THAT(server.requests(), SizeIs(0));
}

INSTANTIATE_TEST_SUITE_P(
    C58, BadTlsServers,
    ::testing::Values(BadTls{.row = "expired", .fault = Ca::Fault::kExpired, .reason = Reason::kTlsExpired, .says = "expired"},
                      BadTls{.row = "not yet valid", .fault = Ca::Fault::kNotYetValid, .reason = Reason::kTlsExpired, .says = "clock"},
                      BadTls{.row = "wrong host", .name = "other.example", .reason = Reason::kTlsName, .says = "other names"},
                      BadTls{.row = "self-signed", .fault = Ca::Fault::kSelfSigned, .reason = Reason::kTlsCa, .says = "unknown authority"},
                      BadTls{.row = "unknown CA", .trusted = false, .reason = Reason::kTlsCa, .says = "put the certificate of its CA"},
                      BadTls{.row = "weak key", .fault = Ca::Fault::kWeakKey, .says = "weak"},
                      BadTls{.row = "TLS 1.1", .old_version = true, .says = "1.2"},
                      BadTls{.row = "plain text", .handshake = ServerTls::Handshake::kPlainText, .reason = Reason::kHttpOnHttps, .says = "http://"},
                      BadTls{.row = "stalled", .handshake = ServerTls::Handshake::kStall, .says = "(tls)"},
                      BadTls{.row = "reset", .handshake = ServerTls::Handshake::kReset, .says = "handshake"}));

TEST(Tls, GoodWithACaFileAFolderTheEnvironmentOrUnverified) {
  Ca ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = ""}});
  std::string file, folder;
  Client client({.get_env = [&](std::string_view name) -> std::optional<std::string> {
    return name == "SSL_CERT_FILE" ? file : name == "SSL_CERT_DIR" ? folder : "";
  }});
  Request by_file = To(server), by_folder = To(server), unverified = To(server);
  by_file.tls.ca_paths = {ca.file()};
  by_folder.tls.ca_paths = {ca.folder()};
  unverified.tls.skip_verify = true;
  for (const Request* r : {&by_file, &by_folder, &unverified}) EXPECT_TRUE(Fetch(client, *r).has_value());
  EXPECT_EQ(Fetch(client, To(server)).error().reason(), Reason::kTlsCa);
  file = ca.file();
  EXPECT_TRUE(Fetch(client, To(server)).has_value());
  file = "";
  folder = "/nonexistent:" + ca.folder();
  EXPECT_TRUE(Fetch(client, To(server)).has_value());
}

TEST(Tls, ARotatedCaCountsAtOnceAndOldConnectionsAreNotUsed) {
  Ca old_ca, new_ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = new_ca.Issue({"127.0.0.1"}), .client_ca = ""}});
  const std::string path = old_ca.folder() + "/registry.crt";
  const auto install = [&](const std::string& from) {
    std::ifstream in(from);
    std::ofstream(path) << in.rdbuf() << "# " << from << "\n";
  };
  Client client;
  Request request = To(server);
  request.tls.ca_paths = {path};
  install(old_ca.file());
  const auto unknown = Fetch(client, request);
  EXPECT_EQ(unknown.error().reason(), Reason::kTlsCa) << unknown.error().Text();
  install(new_ca.file());
  EXPECT_TRUE(Fetch(client, request).has_value());
  install(old_ca.file() );
  EXPECT_EQ(Fetch(client, request).error().reason(), Reason::kTlsCa);
}

// Written in place: the folder itself stays as it is.
TEST(Tls, ACaThatIsRenewedInAFolderCountsAtOnce) {
  Ca old_ca, new_ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = new_ca.Issue({"127.0.0.1"}), .client_ca = ""}});
  const auto install = [&](const std::string& path, const std::string& from) {
    std::ifstream in(from);
    std::ofstream(path) << in.rdbuf() << "# " << from << "\n";
  };
  for (const bool by_environment : {false, true}) {
    const Ca spare;
    const std::string folder = spare.folder(), path = spare.file();
    Client client({.get_env = [&](std::string_view name) -> std::optional<std::string> {
      return by_environment && name == "SSL_CERT_DIR" ? folder : "";
    }});
    Request request = To(server);
    if (!by_environment) request.tls.ca_paths = {folder};
    install(path, old_ca.file());
    EXPECT_EQ(Fetch(client, request).error().reason(), Reason::kTlsCa) << by_environment;
    install(path, new_ca.file());
    EXPECT_TRUE(Fetch(client, request).has_value()) << by_environment;
    install(path, old_ca.file());
    EXPECT_EQ(Fetch(client, request).error().reason(), Reason::kTlsCa) << by_environment;
  }
}

TEST(Tls, AClientCertificateIsShownWhenConfigured) {
  Ca ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = ca.file()}});
  Client client;
  Request request = To(server);
  request.tls.ca_paths = {ca.file()};
  const auto refused = Fetch(client, request);
  EXPECT_EQ(refused.error().reason(), Reason::kTls) << refused.error().Text();
  EXPECT_THAT(refused.error().next_step(), HasSubstr("client cert"));
  const Ca::Leaf me = ca.IssueClient("node-1");
  request.tls.client_cert = me.cert_file;
  request.tls.client_key = me.key_file;
  EXPECT_TRUE(Fetch(client, request).has_value());
  request.tls.client_key = server.address() == "" ? "" : ca.Issue({"x"}).key_file;
  EXPECT_EQ(Fetch(client, request).error().reason(), Reason::kConfig);
}

TEST(Tls, NamesAreCheckedAgainstTheUrlNotTheAddress) {
  Ca ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = ca.Issue({"registry.test"}), .client_ca = ""}});
  Client client;
  Request request = To("https://registry.test/");
  request.tls.ca_paths = {ca.file()};
  request.overrides = {{.host = "registry.test", .port = 443, .address = "127.0.0.1", .to_port = server.port()}};
  EXPECT_TRUE(Fetch(client, request).has_value());
  EXPECT_EQ(server.requests().at(0).header("host"), "registry.test");
}

TEST(Tls, AnInspectedExchangeTellsWhoAnsweredOnAConnectionOfItsOwn) {
  Ca ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1", "reg.test"}), .client_ca = ""}});
  Client client;
  Request request = To(server);
  request.tls.ca_paths = {ca.file()};
  ASSERT_TRUE(Fetch(client, request).has_value());
  request.inspect = true;
  const auto sent = client.Send(task::Context(), request);
  ASSERT_TRUE(sent) << sent.error().Text();
  EXPECT_FALSE((*sent)->reused_connection());
  const auto peer = (*sent)->peer();
  ASSERT_TRUE(peer);
  EXPECT_THAT(peer->version, ::testing::StartsWith("TLSv1."));
  EXPECT_THAT(peer->names, ::testing::ElementsAre("IP Address:127.0.0.1", "DNS:reg.test"));
  const auto now = time::SystemClock().WallNow();
  EXPECT_TRUE(peer->not_before && *peer->not_before <= now && peer->not_after && *peer->not_after > now);
  EXPECT_NE(peer->issuer, "");
  request.inspect = false;
  EXPECT_FALSE((*client.Send(task::Context(), request))->peer());
}

// ---- HTTP/2 (C-63)

std::string Frame(int type, int flags, int stream, std::string_view payload) {
  std::string f;
  for (const int shift : {16, 8, 0}) f += static_cast<char>(payload.size() >> shift);
  f += static_cast<char>(type);
  f += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) f += static_cast<char>(stream >> shift);
  return f += payload;
}
// SETTINGS, then ":status: 200" and "content-length: 10".
const std::string kH2Head = Frame(4, 0, 0, "") + Frame(4, 1, 0, "") + Frame(1, 4, 1, "\x88\x0f\x0d\x02" "10"s);

struct H2 {
  std::string row;
  std::string frames;
  bool closes = false;
  std::optional<Reason> reason = {};
};
void PrintTo(const H2& h, std::ostream* out) { *out << h.row; }
class Http2 : public ::testing::TestWithParam<H2> {};

TEST_P(Http2, FramesEndInTheRightReason) {
  Ca ca;
  Reply reply = Reply::Raw(GetParam().frames);
  if (GetParam().closes) reply.Close();
  FaultServer server(Always(reply), {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = "", .h2 = true}});
  Client client({.http2 = true});
  Request request = To(server);
  request.tls.ca_paths = {ca.file()};
  if (GetParam().reason == Reason::kStalled) request.limits.stall_window = 300ms;
  const auto got = Fetch(client, request);
  if (GetParam().reason) {
    ASSERT_FALSE(got) << *got;
    EXPECT_EQ(got.error().reason(), *GetParam().reason) << got.error().Text();
  } else {
    ASSERT_TRUE(got) << got.error().Text();
    EXPECT_EQ(*got, "200 0123456789");
  }
}

INSTANTIATE_TEST_SUITE_P(
    C63, Http2,
    ::testing::Values(H2{"good", kH2Head + Frame(0, 1, 1, "0123456789")},
                      H2{"two pieces and a ping", kH2Head + Frame(0, 0, 1, "01234") + Frame(6, 0, 0, "12345678") + Frame(0, 1, 1, "56789")},
                      H2{"reset", kH2Head + Frame(0, 0, 1, "01234") + Frame(3, 0, 1, "\0\0\0\x8"s), false, Reason::kConnectionReset},
                      H2{"refused", Frame(4, 0, 0, "") + Frame(3, 0, 1, "\0\0\0\x7"s), false, Reason::kConnectionReset},
                      H2{"goaway in the body", kH2Head + Frame(0, 0, 1, "01234") + Frame(7, 0, 0, "\0\0\0\0\0\0\0\0"s), true, Reason::kProtocolError},
                      H2{"closed in the body", kH2Head + Frame(0, 0, 1, "01234"), true, Reason::kUnexpectedEof},
                      H2{"short of its length", kH2Head + Frame(0, 1, 1, "01234"), false, Reason::kProtocolError},
                      H2{"longer than its length", kH2Head + Frame(0, 1, 1, "0123456789x"), false, Reason::kProtocolError},
                      // curl 7.88 stays silent after these: the stall detector ends them.
                      H2{"pushed stream", kH2Head + Frame(5, 4, 1, "\0\0\0\x2\x82"s), false, Reason::kStalled},
                      H2{"no end in sight", kH2Head + Frame(0, 0, 1, "01234"), false, Reason::kStalled},
                      H2{"not HTTP/2", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, Reason::kUnexpectedEof},
                      H2{"data on no stream", kH2Head + Frame(0, 0, 0, "x"), false, Reason::kStalled}));

TEST(Http2, IsNotOfferedUnlessAskedFor) {
  Ca ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = ca.Issue({"127.0.0.1"}), .client_ca = "", .h2 = true}});
  Client client;
  Request request = To(server);
  request.tls.ca_paths = {ca.file()};
  const Sent response = client.Send({}, request);
  ASSERT_TRUE(response) << response.error().Text();
  EXPECT_EQ((*response)->http_version(), 11);
}

// ---- proxies (C-64)

std::shared_ptr<const ProxyRules> Through(const std::string& url, std::string_view no_proxy = "") {
  return std::make_shared<const ProxyRules>(*ProxyRules::Make(url, url, no_proxy));
}

TEST(ThroughAProxy, TunnelsAndKeepsSecretsApart) {
  Ca ca;
  FaultServer server(Always(Reply::Text(200, "x")), {.tls = ServerTls{.leaf = ca.Issue({"registry.test"}), .client_ca = ""}});
  ProxyServer proxy("user:proxy-canary");
  Client client({.proxies = Through(proxy.url_with_credentials())});
  Request request = To("https://registry.test:" + std::to_string(server.port()) + "/v2/?sig=url-canary");
  request.tls.ca_paths = {ca.file()};
  request.authorization.emplace(kSecret);
  request.headers = {{"X-Custom", "mine"}};
  for (int i = 0; i < 2; ++i) {
    const auto got = Fetch(client, request);
    ASSERT_TRUE(got) << got.error().Text();
  }
  ASSERT_THAT(proxy.heads(), SizeIs(1));  // one tunnel, used again
  EXPECT_THAT(proxy.heads()[0], HasSubstr("CONNECT registry.test:"));
  EXPECT_THAT(proxy.heads()[0], HasSubstr("Proxy-Authorization: Basic "));
  EXPECT_THAT(proxy.heads()[0], Not(HasSubstr("canary")));
  EXPECT_THAT(proxy.heads()[0], Not(HasSubstr("X-Custom")));
  EXPECT_THAT(server.received(), Not(HasSubstr("roxy-")));
  EXPECT_EQ(server.requests().at(0).header("authorization"), kSecret);
}

TEST(ThroughAProxy, PlainRequestsAreForwarded) {
  FaultServer server(Always(Reply::Text(200, "x")));
  ProxyServer proxy("user:proxy-canary");
  Client client({.proxies = Through(proxy.url_with_credentials())});
  const Request request = To("http://registry.test:" + std::to_string(server.port()) + "/v2/");
  const Sent response = client.Send({}, request);
  ASSERT_TRUE(response) << response.error().Text();
  EXPECT_TRUE((*response)->proxied());
  EXPECT_THAT(proxy.heads().at(0), HasSubstr("GET http://registry.test:"));
  EXPECT_FALSE(server.requests().at(0).has("proxy-authorization"));
}

struct ProxyFault {
  std::string row, scheme;
  bool known = true;
  ProxyServer::Mood mood = ProxyServer::Mood::kGood;
  Reason reason = Reason::kUnavailable;
  std::string says = "";
};
void PrintTo(const ProxyFault& f, std::ostream* out) { *out << f.row; }
class ProxyFaults : public ::testing::TestWithParam<ProxyFault> {};
TEST_P(ProxyFaults, AreNamed) {
  ProxyServer proxy(GetParam().known ? "" : "user:right", GetParam().mood);
  Client client({.proxies = Through("http://user:proxy-canary@" + proxy.url().substr(7))});
  Request request = To(GetParam().scheme + "://registry.test/");
  request.limits.tls = request.limits.headers = GetParam().mood == ProxyServer::Mood::kHang ? time::Duration(200ms) : time::Duration(60s);
  const auto got = Fetch(client, request);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), GetParam().reason) << got.error().Text();
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
  EXPECT_THAT(got.error().Text() + got.error().next_step(), Not(HasSubstr("canary")));
}
INSTANTIATE_TEST_SUITE_P(
    C64, ProxyFaults,
    ::testing::Values(ProxyFault{.row = "407", .scheme = "https", .known = false, .says = "407"},
                      ProxyFault{.row = "407 without a tunnel", .scheme = "http", .known = false, .says = "407"},
                      ProxyFault{.row = "502", .scheme = "https", .mood = ProxyServer::Mood::kBadGateway, .says = "502"},
                      ProxyFault{.row = "hang", .scheme = "https", .mood = ProxyServer::Mood::kHang, .reason = Reason::kTimeout,
                                 .says = "the proxy http://127.0.0.1"},
                      ProxyFault{.row = "hang without a tunnel", .scheme = "http", .mood = ProxyServer::Mood::kHang, .reason = Reason::kTimeout, .says = "(headers)"}));

TEST(ThroughAProxy, ADeadProxyIsNamed) {
  std::string url;
  { ProxyServer gone; url = gone.url(); }
  Client client({.proxies = Through(url)});
  const auto got = Fetch(client, To("https://registry.test/"));
  EXPECT_EQ(got.error().reason(), Reason::kRefused);
  EXPECT_THAT(got.error().Text(), HasSubstr("the proxy " + url));
  EXPECT_THAT(got.error().next_step(), HasSubstr("HTTPS_PROXY"));
}

struct TlsProxyFault {
  std::string row;
  ServerTls::Handshake handshake = ServerTls::Handshake::kGood;
  std::string name = "127.0.0.1";
  bool trusted = true;
  Reply answer = Reply::Silence();  // to CONNECT
  Reason reason = Reason::kTls;
  std::string says, next = "";
  bool of_proxy = true;             // or of the registry behind it
  std::string scheme = "https";
};
void PrintTo(const TlsProxyFault& f, std::ostream* out) { *out << f.row; }
class TlsProxyFaults : public ::testing::TestWithParam<TlsProxyFault> {};
TEST_P(TlsProxyFaults, NameWhoseFaultItIs) {
  const TlsProxyFault& p = GetParam();
  Ca ca;
  FaultServer proxy(Always(p.answer), {.tls = ServerTls{.leaf = ca.Issue({p.name}), .client_ca = "", .handshake = p.handshake}});
  const std::string url = "https://" + proxy.host_port();
  Client client({.proxies = Through(url)});
  Request request = To(p.scheme + "://registry.test/");
  if (p.trusted) request.tls.ca_paths = {ca.file()};
  request.limits.tls = p.says.ends_with("(tls)") ? time::Duration(300ms) : time::Duration(60s);
  const auto got = Fetch(client, request);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), p.reason) << got.error().Text();
  const std::string peer = p.of_proxy ? "the proxy " + url : "registry.test";
  EXPECT_THAT(got.error().message(), HasSubstr(p.says.substr(0, p.says.find('@')) + peer + p.says.substr(p.says.find('@') + 1)));
  EXPECT_THAT(got.error().next_step(), HasSubstr(p.next));
  EXPECT_THAT(got.error().next_step(), Not(HasSubstr(p.of_proxy ? "registry" : "proxy")));
}
const Reply kOpened = Reply::Raw("HTTP/1.1 200 Connected\r\n\r\n");
INSTANTIATE_TEST_SUITE_P(
    C64, TlsProxyFaults,
    ::testing::Values(
        TlsProxyFault{.row = "unknown CA", .trusted = false, .reason = Reason::kTlsCa, .says = "the certificate of @ is signed by an unknown authority", .next = "CA"},
        TlsProxyFault{.row = "unknown CA without a tunnel", .trusted = false, .reason = Reason::kTlsCa, .says = "the certificate of @ is signed", .scheme = "http"},
        TlsProxyFault{.row = "wrong host", .name = "other.example", .reason = Reason::kTlsName, .says = "the certificate of @ is for other names"},
        TlsProxyFault{.row = "plain text", .handshake = ServerTls::Handshake::kPlainText, .says = "@ does not speak TLS on this port", .next = "write it as http://"},
        TlsProxyFault{.row = "stalled", .handshake = ServerTls::Handshake::kStall, .says = "@ did not open the way within 300 ms (tls)"},
        TlsProxyFault{.row = "silent", .says = "@ did not open the way within 300 ms (tls)"},
        TlsProxyFault{.row = "reset", .handshake = ServerTls::Handshake::kReset, .says = "the TLS handshake with @ broke"},
        TlsProxyFault{.row = "reset behind the handshake", .answer = Reply::Reset(), .reason = Reason::kConnectionReset, .says = "the connection to @ was reset"},
        TlsProxyFault{.row = "plain text behind it", .answer = Reply(kOpened).Send("this is no TLS at all\r\n"), .reason = Reason::kHttpOnHttps,
                      .says = "@ does not speak TLS", .next = "http://", .of_proxy = false},
        TlsProxyFault{.row = "stalled behind it", .answer = Reply(kOpened).StaySilent(), .says = "the TLS handshake with @ did not end within 300 ms (tls)", .of_proxy = false}));

TEST(ThroughAProxy, ExceptionsAndRequestsGoStraight) {
  FaultServer server(Always(Reply::Text(200, "x")));
  ProxyServer proxy;
  Client client({.proxies = Through(proxy.url(), ".test:" + std::to_string(server.port()))});
  Request request = To("http://registry.test:" + std::to_string(server.port()) + "/");
  request.overrides = {{.host = "registry.test", .port = server.port(), .address = "127.0.0.1"}};
  ASSERT_TRUE(Fetch(client, request));
  EXPECT_THAT(proxy.heads(), SizeIs(0));
  request.proxies = Through(proxy.url());
  request.overrides.clear();
  ASSERT_TRUE(Fetch(client, request));
  EXPECT_THAT(proxy.heads(), SizeIs(1));
}

}  // namespace
}  // namespace berth::http
