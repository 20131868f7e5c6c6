#include "httpd/server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>

#include "digest/signature.h"
#include "digest/x509.h"
#include "host/dir.h"
#include "host/listen.h"
#include "http/testing/fault_server.h"
#include "httpd/testing/client.h"
#include "task/pool.h"
#include "time/testing/manual_clock.h"

namespace berth::httpd {
namespace {

using http::testing::Ca;
using http::testing::Gate;
using testing::Client;
using time::testing::ManualClock;

// A client that sends any bytes. Every wait ends after half a minute: then the test fails.
class Raw {
 public:
  explicit Raw(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  }
  explicit Raw(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::strncpy(a.sun_path, path.c_str(), sizeof a.sun_path - 1);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  }
  Raw& Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) break;  // the server may close on us
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return *this;
  }
  // Until `part` has come (again), or the end.
  std::string Until(std::string_view part) {
    std::string got = std::exchange(rest_, {});
    for (;;) {
      if (const auto at = got.find(part); !part.empty() && at != got.npos) {
        rest_ = got.substr(at + part.size());
        return got.substr(0, at + part.size());
      }
      pollfd p{fd_.get(), POLLIN, 0};
      if (::poll(&p, 1, 30'000) != 1) {
        ADD_FAILURE() << "nothing came after: " << got;
        return got;
      }
      char room[4096];
      const ssize_t n = ::recv(fd_.get(), room, sizeof room, 0);
      if (n <= 0) return got;
      got.append(room, static_cast<std::size_t>(n));
    }
  }
  std::string All() { return Until(""); }
  void Close() { fd_.reset(); }

 private:
  host::Fd fd_;
  std::string rest_;
};

host::Fd Loopback() { return *host::ListenTcp({.ip = "127.0.0.1"}); }
std::unique_ptr<Server> Serve(Handler handler, ServerOptions options = {}) {
  auto server = Server::Start(Loopback(), std::move(handler), std::move(options));
  EXPECT_TRUE(server) << server.error().Text();
  return *std::move(server);
}
std::string Get(std::string_view target, std::string_view more = "") {
  return "GET " + std::string(target) + " HTTP/1.1\r\nHost: h\r\n" + std::string(more) + "\r\n";
}
Response Echo(const task::Context&, const Request& r) { return Response::Text(200, r.method + " " + r.path + " [" + r.body + "]\n"); }

TEST(ServerTest, AHandlerSeesTheRequestAndIsHeard) {
  const auto server = Serve([](const task::Context&, const Request& r) {
    EXPECT_EQ(r.method, "POST");
    EXPECT_EQ(r.path, "/api/v1/x y");
    EXPECT_EQ(r.Query("watch"), "true");
    EXPECT_EQ(r.BearerToken(), "abc");
    EXPECT_EQ(r.body, "hello");
    return Response{201, {{"X-One", "1"}, {"X-Two", "2"}}, "made\n", {}};
  });
  Raw client(server->port());
  client.Send("POST /api/v1/x%20y?watch=true HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer abc\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
  const std::string answer = client.All();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 201 Created\r\n")) << answer;
  EXPECT_NE(answer.find("X-One: 1\r\nX-Two: 2\r\n"), answer.npos) << answer;
  EXPECT_TRUE(answer.ends_with("Content-Length: 5\r\n\r\nmade\n") || answer.ends_with("\r\n\r\nmade\n")) << answer;
}

TEST(ServerTest, ManyRequestsOnOneConnectionAndAllAtOnce) {
  const auto server = Serve(Echo);
  Raw client(server->port());
  for (int i = 0; i < 3; ++i) {
    client.Send(Get("/" + std::to_string(i)));
    EXPECT_NE(client.Until("]\n").find("GET /" + std::to_string(i) + " []"), std::string::npos);
  }
  client.Send(Get("/a") + "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy" + Get("/c"));
  EXPECT_NE(client.Until("]\n").find("GET /a []"), std::string::npos);
  EXPECT_NE(client.Until("]\n").find("POST /b [xy]"), std::string::npos);
  EXPECT_NE(client.Until("]\n").find("GET /c []"), std::string::npos);
  EXPECT_EQ(server->stats().connections, 1u);
}

TEST(ServerTest, PipelinedRequestsKeepTheirOrderWithWorkers) {
  const auto server = Serve(Echo, {.workers = 3});
  Raw client(server->port());
  std::string all;
  for (int i = 0; i < 20; ++i) all += Get("/" + std::to_string(i));
  client.Send(all);
  for (int i = 0; i < 20; ++i) EXPECT_NE(client.Until("]\n").find("GET /" + std::to_string(i) + " []"), std::string::npos);
}

TEST(ServerTest, AUnixSocketIsServed) {
  std::string folder = (std::filesystem::temp_directory_path() / "berth-httpd-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  {
    auto server = Server::Start(*host::ListenUnix(folder + "/s"),
                                [](const task::Context&, const Request&) { return Response::Text(200, "ok\n"); }, {});
    ASSERT_TRUE(server);
    EXPECT_EQ((*server)->port(), 0);
    EXPECT_TRUE(Raw(folder + "/s").Send(Get("/", "Connection: close\r\n")).All().ends_with("ok\n"));
  }
  std::filesystem::remove_all(folder);
}

// What a stranger may send, and the status it gets; 0: the connection ends without an answer. The handler must not see it.
struct HostileRow {
  const char* name;
  std::string text;
  std::vector<int> statuses;
};
void PrintTo(const HostileRow& row, std::ostream* out) { *out << row.name; }
class HostileTest : public ::testing::TestWithParam<HostileRow> {};
TEST_P(HostileTest, IsTurnedAway) {
  std::atomic<int> handled{0};
  const auto server = Serve([&](const task::Context&, const Request&) { ++handled; return Response::Text(200, "ok\n"); },
                            {.head_bytes = 4096, .body_bytes = 1000});
  Raw client(server->port());
  client.Send(GetParam().text);
  const std::string answer = client.All();
  const int status = answer.starts_with("HTTP/1.1 ") ? std::stoi(answer.substr(9, 3)) : 0;
  EXPECT_NE(std::find(GetParam().statuses.begin(), GetParam().statuses.end(), status), GetParam().statuses.end()) << answer;
  EXPECT_EQ(handled, 0);
  // And the next one is served.
  EXPECT_TRUE(Raw(server->port()).Send(Get("/", "Connection: close\r\n")).All().ends_with("ok\n"));
}
TEST(ServerTest, ABodyThatIsTooLargeIsToldTheLimit) {
  const auto server = Serve(Echo, {.body_bytes = 1000, .body_limit = "review_bytes"});
  EXPECT_TRUE(Raw(server->port()).Send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n").All()
                  .ends_with("the request body is larger than 1000 bytes (limit review_bytes)\n"));
}

std::string Post(std::string_view fields, std::string_view body) {
  return "POST / HTTP/1.1\r\nHost: h\r\n" + std::string(fields) + "\r\n" + std::string(body);
}
INSTANTIATE_TEST_SUITE_P(All, HostileTest, ::testing::Values(
    HostileRow{"HugeField", Get("/", "X: " + std::string(100'000, 'x') + "\r\n"), {431, 413}},
    HostileRow{"ManyFields", Get("/", [] { std::string s; for (int i = 0; i < 5000; ++i) s += "A: b\r\n"; return s; }()), {431, 413}},
    HostileRow{"HugeTarget", Get("/" + std::string(100'000, 'x')), {414, 431, 413}},
    HostileRow{"NoHost", "GET / HTTP/1.1\r\n\r\n", {400}},
    HostileRow{"BadTarget", Get("/a/%2e%2e/b", "Connection: close\r\n"), {400}},
    HostileRow{"NulInTarget", Get("/a%00b", "Connection: close\r\n"), {400}},
    HostileRow{"ProxyTarget", Get("http://other/", "Connection: close\r\n"), {400}},
    HostileRow{"LargeBody", Post("Content-Length: 1001\r\n", ""), {413}},
    HostileRow{"LargeChunks",
               Post("Transfer-Encoding: chunked\r\nConnection: close\r\n", "5dc\r\n" + std::string(1500, 'x') + "\r\n0\r\n\r\n"), {413}},
    HostileRow{"EndlessChunks", Post("Transfer-Encoding: chunked\r\n", "fffff\r\n" + std::string(100'000, 'x')), {0, 400}},
    HostileRow{"BadChunkSize", Post("Transfer-Encoding: chunked\r\n", "zz\r\nhello\r\n0\r\n\r\n"), {0, 400}},
    HostileRow{"NegativeChunkSize", Post("Transfer-Encoding: chunked\r\n", "-1\r\nhello\r\n0\r\n\r\n"), {0, 400}},
    HostileRow{"OverflowingChunkSize", Post("Transfer-Encoding: chunked\r\n", "ffffffffffffffffff\r\nhello\r\n"), {0, 400, 413}},
    HostileRow{"ChunkWithoutItsEnd", Post("Transfer-Encoding: chunked\r\n", "5\r\nhelloXX\r\n0\r\n\r\n"), {0, 400}},
    HostileRow{"NegativeLength", Post("Content-Length: -5\r\n", "hello"), {0, 400}},
    HostileRow{"NoNumber", Post("Content-Length: five\r\n", "hello"), {0, 400}},
    HostileRow{"OverflowingLength", Post("Content-Length: 99999999999999999999999\r\n", "hello"), {0, 400, 413}},
    HostileRow{"Garbage", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + "\r\n\r\n", {0, 400, 505}}),
    [](const auto& row) { return row.param.name; });

// RFC 9112 6.3: a request with both is handled by its chunks, or not at all; what follows must not become a second request.
TEST(ServerTest, LengthAndChunksTogetherSmuggleNothing) {
  std::atomic<int> handled{0};
  const auto server = Serve([&](const task::Context&, const Request& r) {
    ++handled;
    EXPECT_EQ(r.path, "/");
    return Response::Text(200, "ok\n");
  });
  Raw client(server->port());
  client.Send(Post("Content-Length: 60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n", "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"));
  (void)client.All();
  EXPECT_LE(handled, 1);
}

TEST(ServerTest, ABodyAtItsLimitIsTaken) {
  const auto server = Serve(Echo, {.body_bytes = 1000});
  const std::string body(1000, 'x');
  EXPECT_TRUE(Raw(server->port()).Send(Post("Connection: close\r\nContent-Length: 1000\r\n", body)).All().ends_with("[" + body + "]\n"));
  EXPECT_TRUE(Raw(server->port()).Send(Post("Connection: close\r\nTransfer-Encoding: chunked\r\n", "1F4\r\n" + body.substr(500) + "\r\n1f4;x=y\r\n" +
                                            body.substr(500) + "\r\n0\r\n\r\n")).All().ends_with("[" + body + "]\n"));
}

TEST(ServerTest, AnAnswerWithALineBreakInAFieldIsNone) {
  const auto server = Serve([](const task::Context&, const Request&) { return Response{200, {{"X", "a\r\nSet-Cookie: b"}}, "x", {}}; });
  const std::string answer = Raw(server->port()).Send(Get("/", "Connection: close\r\n")).All();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << answer;
  EXPECT_EQ(answer.find("Set-Cookie"), answer.npos);
}

// The watcher asks the clock for one sleep per deadline it waits for; `n` of them have begun since the start.
struct SlowRow {
  const char* name;
  std::vector<std::string> parts;  // one every four seconds
  const char* answers;             // what comes back before the end
};
void PrintTo(const SlowRow& row, std::ostream* out) { *out << row.name; }
class SlowTest : public ::testing::TestWithParam<SlowRow> {};
TEST_P(SlowTest, IsCutOff) {
  ManualClock clock;
  constexpr auto kLimit = std::chrono::seconds(10);
  const auto server = Serve(Echo, {.head = kLimit, .body = kLimit, .idle = kLimit, .clock = &clock});
  Raw client(server->port());
  client.Send(GetParam().parts[0]);
  clock.AwaitSleeps(1);
  if (*GetParam().answers) (void)client.Until(GetParam().answers);
  for (std::size_t i = 1; i < GetParam().parts.size(); ++i) {
    clock.Advance(std::chrono::seconds(4));
    client.Send(GetParam().parts[i]);
  }
  // Wherever the watcher stands: time goes on until it has seen the end.
  std::jthread hands([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      clock.Advance(std::chrono::seconds(10));
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(client.All(), "");
}
INSTANTIATE_TEST_SUITE_P(All, SlowTest, ::testing::Values(
    SlowRow{"Silence", {""}, ""},
    SlowRow{"HeadInDrops", {"G", "E", "T", " ", "/ HTTP/1.1\r\n", "A: b\r\n", "C: d\r\n"}, ""},
    SlowRow{"BodyInDrops", {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n", "a", "b", "c", "d"}, ""},
    SlowRow{"Idle", {Get("/")}, "[]\n"},
    SlowRow{"SecondHeadInDrops", {Get("/"), "GE", "T", " "}, "[]\n"}),
    [](const auto& row) { return row.param.name; });

TEST(ServerTest, AStreamIsDeliveredAsItIsWritten) {
  std::optional<StreamWriter> writer;
  Gate made;
  const auto server = Serve([&](const task::Context&, const Request&) {
    auto [w, body] = MakeStream();
    writer = std::move(w);
    made.Open();
    return Response::Streamed(200, {{"Content-Type", "application/json"}}, std::move(body));
  });
  Raw client(server->port());
  client.Send(Get("/watch", "Connection: close\r\n"));
  made.Wait([] { return false; });
  for (int i = 0; i < 20; ++i) {
    const std::string line = "event " + std::to_string(i) + "\n";
    ASSERT_TRUE(writer->TryWrite(line));
    EXPECT_TRUE(client.Until(line).ends_with(line));
  }
  EXPECT_FALSE(writer->gone().stop_requested());
  writer->End();
  EXPECT_FALSE(writer->TryWrite("late"));
  EXPECT_TRUE(client.All().ends_with("0\r\n\r\n"));
}

// Waits for a stop token.
void Await(const std::stop_token& token) {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::unique_lock lock(mutex);
  (void)changed.wait_for(lock, token, std::chrono::seconds(30), [] { return false; });
  EXPECT_TRUE(token.stop_requested());
}

TEST(ServerTest, AWriterHearsThatASilentStreamsClientWent) {
  std::optional<StreamWriter> writer;
  const auto server = Serve([&](const task::Context&, const Request&) {
    auto [w, body] = MakeStream();
    writer = std::move(w);
    writer->TryWrite("hello\n");
    return Response::Streamed(200, {}, std::move(body));
  });
  Raw client(server->port());
  client.Send(Get("/"));
  (void)client.Until("hello\n");
  client.Close();
  Await(writer->gone());
  EXPECT_EQ(writer->Write({}, "x").error().reason(), Reason::kCanceled);
}

TEST(ServerTest, ASlowReaderHoldsItsWriterUpAndNobodyElse) {
  constexpr std::size_t kRoom = 64u << 10;
  std::optional<StreamWriter> writer;
  Gate made;
  const auto server = Serve([&](const task::Context&, const Request& r) {
    if (r.path != "/slow") return Response::Text(200, "quick\n");
    auto [w, body] = MakeStream(kRoom);
    writer = std::move(w);
    made.Open();
    return Response::Streamed(200, {}, std::move(body));
  });
  Raw slow(server->port());
  slow.Send(Get("/slow", "Connection: close\r\n"));
  made.Wait([] { return false; });
  // The kernel takes some megabytes; then there is no room.
  const std::string block(kRoom, 'x');
  std::size_t sent = 0;
  const task::Context soon = task::Context().WithTimeout(std::chrono::seconds(1));
  Result<> wrote;
  while ((wrote = writer->Write(soon, block))) sent += block.size();
  EXPECT_EQ(wrote.error().reason(), Reason::kTimeout);
  EXPECT_FALSE(writer->TryWrite(block));
  EXPECT_TRUE(Raw(server->port()).Send(Get("/", "Connection: close\r\n")).All().ends_with("quick\n"));
  std::jthread reader([&] { EXPECT_GE(slow.All().size(), sent); });
  EXPECT_TRUE(writer->Write({}, block));
  writer->End();
}

TEST(ServerTest, AWriterThatGoesWithoutAnEndCutsTheAnswer) {
  const auto server = Serve([&](const task::Context&, const Request&) {
    auto [w, body] = MakeStream();
    w.TryWrite("half");
    return Response::Streamed(200, {}, std::move(body));
  });
  const std::string answer = Raw(server->port()).Send(Get("/")).All();
  EXPECT_FALSE(answer.ends_with("0\r\n\r\n")) << answer;
}

TEST(ServerTest, WorkersMayBlockAndHearThatTheirClientWent) {
  Gate entered;
  const auto server = Serve([&](const task::Context& ctx, const Request& r) {
    if (r.path == "/block") {
      entered.Open();
      Await(ctx.stop());
    }
    return Response::Text(200, "ok\n");
  }, {.workers = 2});
  Raw blocked(server->port());
  blocked.Send(Get("/block"));
  entered.Wait([] { return false; });
  EXPECT_TRUE(Raw(server->port()).Send(Get("/", "Connection: close\r\n")).All().ends_with("ok\n"));
  blocked.Close();
}

TEST(ServerTest, AFullQueueSaysSo) {
  Gate entered, leave;
  const auto server = Serve([&](const task::Context&, const Request&) {
    entered.Wait([] { return false; });
    leave.Wait([] { return false; });
    return Response::Text(200, "ok\n");
  }, {.workers = 1, .queue = 1});
  Raw a(server->port()), b(server->port()), c(server->port());
  entered.Open();
  a.Send(Get("/", "Connection: close\r\n"));
  leave.AwaitWaiters(1);  // the worker is taken
  b.Send(Get("/", "Connection: close\r\n"));
  c.Send(Get("/", "Connection: close\r\n"));
  // One of the two waits, the other is refused.
  std::string first;
  std::jthread read_b([&] { EXPECT_NE(b.All().find(" 200 OK"), std::string::npos) << "b"; });
  const std::string of_c = c.Until("Retry-After: 1\r\n");
  EXPECT_TRUE(of_c.starts_with("HTTP/1.1 503 ")) << of_c;
  leave.Open();
  EXPECT_NE(a.All().find(" 200 OK"), std::string::npos);
}

TEST(ServerTest, StopEndsStreamsHandlersAndIdleConnections) {
  std::optional<StreamWriter> writer;
  Gate entered;
  auto server = Serve([&](const task::Context& ctx, const Request& r) {
    if (r.path == "/stream") {
      auto [w, body] = MakeStream();
      writer = std::move(w);
      writer->TryWrite("hello\n");
      return Response::Streamed(200, {}, std::move(body));
    }
    if (r.path == "/block") {
      entered.Open();
      Await(ctx.stop());
    }
    return Response::Text(200, "ok\n");
  }, {.pollers = 2, .workers = 2});
  Raw stream(server->port()), block(server->port()), idle(server->port());
  stream.Send(Get("/stream"));
  (void)stream.Until("hello\n");
  block.Send(Get("/block"));
  entered.Wait([] { return false; });
  idle.Send(Get("/"));
  (void)idle.Until("ok\n");
  server->Stop(std::chrono::milliseconds(10));
  EXPECT_TRUE(writer->gone().stop_requested());
  (void)stream.All();
  (void)block.All();
  EXPECT_EQ(idle.All(), "");
}

TEST(ServerTest, StopLetsAnAnswerFinishWithinTheGrace) {
  Gate entered, leave;
  auto server = Serve([&](const task::Context&, const Request&) {
    entered.Open();
    leave.Wait([] { return false; });
    return Response::Text(200, "whole\n");
  }, {.workers = 1});
  Raw client(server->port());
  client.Send(Get("/"));
  entered.Wait([] { return false; });
  std::jthread stopper([&] { server->Stop(std::chrono::seconds(20)); });
  leave.Open();
  EXPECT_TRUE(client.All().ends_with("whole\n"));
}

TEST(ServerTest, ConnectionsAboveTheLimitWait) {
  const auto server = Serve(Echo, {.connections = 2});
  Raw a(server->port());
  {
    Raw b(server->port());
    a.Send(Get("/"));
    b.Send(Get("/"));
    (void)a.Until("]\n");
    (void)b.Until("]\n");
  }
  EXPECT_TRUE(Raw(server->port()).Send(Get("/c", "Connection: close\r\n")).All().ends_with("GET /c []\n"));
}

TEST(ServerTest, ManyClientsAtOnce) {
  const auto server = Serve([](const task::Context&, const Request& r) {
    if (r.path != "/stream") return Response::Text(200, r.body + "\n");
    auto [w, body] = MakeStream();
    w.TryWrite("s\n");
    w.End();
    return Response::Streamed(200, {}, std::move(body));
  }, {.pollers = 2, .workers = 4});
  std::vector<std::jthread> clients;
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&, i] {
      Raw client(server->port());
      for (int n = 0; n < 50; ++n) {
        const std::string body = std::to_string(i * 1000 + n);
        client.Send(Post("Content-Length: " + std::to_string(body.size()) + "\r\n", body));
        EXPECT_TRUE(client.Until("\r\n\r\n" + body + "\n").ends_with(body + "\n"));
        client.Send(Get("/stream"));
        EXPECT_TRUE(client.Until("0\r\n\r\n").find("s\n") != std::string::npos);
        if (n % 10 == 9) {  // goes while something is under way
          client.Send(Get("/stream"));
          client = Raw(server->port());
        }
      }
    });
}

// --- TLS
struct Pem { std::string chain; secret::Secret key; };
Pem Read(const Ca::Leaf& leaf) {
  return {*host::ReadSmallFile(leaf.cert_file, 1u << 20), secret::Secret(*host::ReadSmallFile(leaf.key_file, 1u << 20))};
}
Certificate Issue(Ca& ca) {
  const Pem pem = Read(ca.Issue({"127.0.0.1"}));
  auto certificate = Certificate::Parse(pem.chain, pem.key);
  EXPECT_TRUE(certificate) << certificate.error().Text();
  return *std::move(certificate);
}
const std::string kAsk = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
bool Answers(Client& client) {
  const auto answer = client.Ask(kAsk);
  return answer && answer->ends_with("\r\n\r\ntls");
}

TEST(TlsTest, ACertificateIsChangedWithoutAnyConnectionBeingLost) {
  Ca old_ca, new_ca;
  const auto server = Serve([](const task::Context&, const Request&) { return Response::Text(200, "tls"); },
                            {.certificate = Issue(old_ca)});
  Client before(server->port(), Client::Transport::kTls, old_ca.file());
  ASSERT_TRUE(before.ok());
  EXPECT_TRUE(Answers(before));
  EXPECT_FALSE(Client(server->port(), Client::Transport::kTls, new_ca.file()).ok());
  server->SetCertificate(Issue(new_ca));
  Client after(server->port(), Client::Transport::kTls, new_ca.file());
  ASSERT_TRUE(after.ok());
  EXPECT_TRUE(Answers(after));
  EXPECT_TRUE(Answers(before)) << "on the connection that there was";
  EXPECT_FALSE(Client(server->port(), Client::Transport::kTls, old_ca.file()).ok());
}

TEST(TlsTest, PlainTextAndHalfHandshakesHurtNobody) {
  Ca ca;
  const auto server = Serve([](const task::Context&, const Request&) { return Response::Text(200, "tls"); }, {.certificate = Issue(ca)});
  Raw plain(server->port());
  plain.Send(Get("/"));
  EXPECT_EQ(plain.All().find("HTTP/1.1 200"), std::string::npos);
  Raw half(server->port());
  half.Send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  Client client(server->port(), Client::Transport::kTls, ca.file());
  ASSERT_TRUE(client.ok());
  EXPECT_TRUE(Answers(client));
}

TEST(TlsTest, ACertificateAndAKeyThatDoNotFitAreRefused) {
  Ca ca;
  const Pem a = Read(ca.Issue({"a"})), b = Read(ca.Issue({"b"}));
  EXPECT_EQ(Certificate::Parse(a.chain, b.key).error().reason(), Reason::kConfig);
  EXPECT_EQ(Certificate::Parse("", a.key).error().reason(), Reason::kConfig);
  EXPECT_EQ(Certificate::Parse(a.chain, secret::Secret("no key")).error().reason(), Reason::kConfig);
  EXPECT_EQ(Certificate::Parse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", a.key).error().reason(), Reason::kConfig);
  const auto good = Certificate::Parse(a.chain, a.key);
  ASSERT_TRUE(good);
  EXPECT_GT(good->not_after(), time::SystemClock().WallNow());
}

// RFC 5280 4.1.2.5: this date is how a certificate says that it has no end. A clock that counts nanoseconds ends before it.
TEST(TlsTest, ACertificateWithoutAnEndHasNotExpired) {
  const secret::Secret key(digest::MakeEcKey());
  const auto pem = digest::MakeAuthority(key.Reveal(), "for ever", {0, 253'402'300'799});
  ASSERT_TRUE(pem) << pem.error().Text();
  const auto certificate = Certificate::Parse(*pem, key);
  ASSERT_TRUE(certificate) << certificate.error().Text();
  EXPECT_EQ(certificate->not_after(), time::FromUnix(253'402'300'799));
  EXPECT_GT(certificate->not_after(), time::SystemClock().WallNow());
}

}  // namespace
}  // namespace berth::httpd
