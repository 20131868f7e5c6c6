// http/testing/fault_server.h: an HTTP server that misbehaves on request, byte by byte.
//
//   FaultServer server([](const ServerRequest& r) { return Reply::Text(200, "hello"); });
//   server.url("/v2/")  ->  "http://127.0.0.1:40123/v2/"
//   server.requests()   ->  every request, and every raw byte, that any connection brought
//
// HTTP/1.1 by hand over sockets and OpenSSL, one thread per connection, all joined by the destructor, which also
// breaks every wait. A Reply is a script of steps; nothing sleeps: a pause lasts until the test opens a Gate (or the server goes).
// What the server received is the proof of what was sent: assert on it, not on the client's word.
// A Ca mints certificates for the run. Use 127.0.0.1 and 127.0.0.2 as two origins. Safe for concurrent use.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace berth::http::testing {

// A door that scripts wait at and tests open.
class Gate {
 public:
  void Open();             // for ever
  void LetOnePass();       // one waiter, now or later
  void AwaitWaiters(int n);  // until n threads have arrived since construction
  bool Wait(const std::function<bool()>& giving_up);  // false when the server goes
  void Wake();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int passes_ = 0, arrived_ = 0;
};

struct ServerRequest {
  int connection = 0;      // counts from 0, per server
  int number = 0;          // on this connection, from 0
  int index = 0;           // over all connections, from 0, in order of arrival
  std::string method, target, version;
  std::vector<std::pair<std::string, std::string>> headers;  // names lower case
  std::string body;
  std::string raw;         // every byte of it
  bool tls = false;

  std::string header(std::string_view lower_name) const;  // first value or ""
  bool has(std::string_view lower_name) const;
  std::string path() const;  // target without the query
};

// What a connection does next. Later steps see the connection as earlier ones left it.
struct Step {
  enum class Kind : std::uint8_t {
    kSend,     // text
    kEndless,  // text, again and again, until the peer goes
    kDrip,     // text, one byte per pass of the gate
    kWait,     // at the gate
    kClose,    // orderly: TLS close_notify, FIN, after draining nothing
    kReset,    // RST
    kSilence,  // until the peer or the server goes
  } kind = Kind::kSend;
  std::string text;
  std::shared_ptr<Gate> gate;
};

// A script of bytes. The static makers give well-formed answers; the builders bend them.
class Reply {
 public:
  Reply() = default;
  using Fields = std::vector<std::pair<std::string, std::string>>;

  // Status line, Content-Length and body (no body for HEAD: the server sees to it).
  static Reply Text(int status, std::string_view body, Fields headers = {});
  static Reply Json(int status, std::string_view body, Fields headers = {});
  static Reply Redirect(int status, std::string_view location);
  static Reply Chunked(int status, const std::vector<std::string>& chunks, Fields headers = {}, Fields trailers = {});
  // 206 with what the Range header of `r` asks for, 416 when it asks for nothing there is, 200 without one.
  static Reply Ranged(const ServerRequest& r, std::string_view whole, Fields headers = {});
  // Exactly these bytes.
  static Reply Raw(std::string_view text);
  static Reply Silence();
  static Reply Reset();

  // The head as Text() makes it, `claimed` as Content-Length, then nothing: add steps.
  static Reply Head(int status, std::optional<std::uint64_t> claimed, Fields headers = {});

  Reply& Send(std::string_view text);
  Reply& Endless(std::string_view text);
  Reply& Drip(std::string_view text, std::shared_ptr<Gate> gate);
  Reply& WaitFor(std::shared_ptr<Gate> gate);
  Reply& Close();
  Reply& ResetNow();
  Reply& StaySilent();
  // Keeps the first n bytes of what is to be sent (headers included, or body only) and ends with `how`.
  Reply& CutAfter(std::size_t n, Step::Kind how = Step::Kind::kClose);
  Reply& CutBodyAfter(std::size_t n, Step::Kind how = Step::Kind::kClose);

  const std::vector<Step>& steps() const { return steps_; }

 private:
  friend class FaultServer;
  std::vector<Step> steps_;
  bool hide_body_for_head_ = false;  // step 0 is the head
};

std::string StatusLine(int status);

// A certificate authority made for this run, with key and certificates in PEM files in a folder of its own, removed at the end.
class Ca {
 public:
  Ca();
  ~Ca();
  Ca(const Ca&) = delete;
  Ca& operator=(const Ca&) = delete;

  struct Leaf { std::string cert_file, key_file; };
  enum class Fault : std::uint8_t { kNone, kExpired, kNotYetValid, kSelfSigned, kWeakKey };
  // A leaf for DNS names and IP addresses.
  Leaf Issue(const std::vector<std::string>& names, Fault fault = Fault::kNone);
  Leaf IssueClient(std::string_view common_name);
  const std::string& file() const { return ca_file_; }    // the CA's certificate
  const std::string& folder() const { return folder_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string folder_, ca_file_;
  int serial_ = 1;
};

struct ServerTls {
  Ca::Leaf leaf;
  std::string client_ca;    // PEM file: demand a client certificate signed by it
  bool only_tls11 = false;
  bool h2 = false;          // chooses "h2" by ALPN; the handler then sees the raw preface as one request, and Raw() frames are its answer
  enum class Handshake : std::uint8_t { kGood, kPlainText, kStall, kReset } handshake = Handshake::kGood;
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  std::optional<ServerTls> tls;
};

class FaultServer {
 public:
  using Handler = std::function<Reply(const ServerRequest&)>;

  explicit FaultServer(Handler handler, ServerOptions options = {});
  ~FaultServer();
  FaultServer(const FaultServer&) = delete;
  FaultServer& operator=(const FaultServer&) = delete;

  const std::string& address() const;
  std::uint16_t port() const;
  std::string host_port() const;                      // "127.0.0.1:40123"
  std::string url(std::string_view target = "/") const;

  std::vector<ServerRequest> requests() const;        // complete ones, in order of arrival
  int connections() const;                            // accepted so far
  std::string received() const;                       // every byte (after TLS) of every connection
  // Until n requests have come.
  void AwaitRequests(std::size_t n) const;
  // Until n connections have ended (the peer went, or the script closed).
  void AwaitClosed(int n) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A forward proxy: CONNECT tunnels and absolute-form requests. Answers 407 unless `credentials` ("user:password") match, when set.
class ProxyServer {
 public:
  enum class Mood : std::uint8_t { kGood, kBadGateway, kHang };
  explicit ProxyServer(std::string credentials = "", Mood mood = Mood::kGood);
  ~ProxyServer();
  ProxyServer(const ProxyServer&) = delete;
  ProxyServer& operator=(const ProxyServer&) = delete;

  std::string url() const;             // without credentials
  std::string url_with_credentials() const;
  std::vector<std::string> heads() const;  // request heads it received, raw

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::http::testing
