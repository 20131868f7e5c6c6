// http/client.h: one HTTP exchange at a time, driven by the thread that asks.
//
//   http::Client client({.proxies = …});
//   ASSIGN_OR_RETURN(auto response, client.Send(ctx, request));      // headers are here
//   while (…) ASSIGN_OR_RETURN(n, response->Read(room));             // body, straight from the socket's buffer
//
// There is no engine thread. Each exchange runs on a "lane" (a libcurl multi handle with its connections) that belongs
// to the calling thread until the Response goes; idle lanes wait in the Client, and a request prefers the one that
// holds a connection to its origin. A lane serves one set of CA, client certificate, verification, proxy and override
// settings only, so a connection never crosses them. HTTP/1.1; HTTP/2 on request (ClientOptions::http2).
//
// Trust in the other side: none. Redirects are not followed (http/redirect.h), cookies, netrc, .curlrc, environment proxies
// and HSTS are off, bodies are never decoded, framing is checked, header blocks are limited, curl's messages never reach an Error.
// Time: connect, TLS and header budgets, the stall detector and the Context's deadline are all counted on the Context's clock.
// Cancellation: a stop request ends any wait within a millisecond or so, also during name resolution.
//
// Threads: Client is safe for concurrent use; a Response is for one thread at a time and may outlive the Client.
// Rules: reliability-security 3.c (C-01 … C-64), 5.5, 5.6, 5.12.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bytes/bytes.h"
#include "http/address.h"
#include "http/headers.h"
#include "http/proxy.h"
#include "http/url.h"
#include "result/result.h"
#include "secret/secret.h"
#include "task/context.h"

namespace berth::http {

enum class Method : std::uint8_t { kGet, kHead, kPost, kPut };
std::string_view ToString(Method method);

// What to trust and who to be. PEM files; a directory means every *.crt, *.pem, *.cert and *.0 in it. CAs are added to the system's
// (SSL_CERT_FILE and SSL_CERT_DIR count as they do for Go programs). Files are looked at again for every exchange
// (by size and modification time), so a rotated certificate counts at once.
struct TlsOptions {
  std::vector<std::string> ca_paths;   // files or directories
  std::string client_cert, client_key; // both or neither; key may be in the same file
  bool skip_verify = false;

  bool operator==(const TlsOptions&) const = default;
};

// Limits of one exchange. Zero is not "unlimited" anywhere.
struct Limits {
  time::Duration connect = std::chrono::seconds(10);  // name, TCP
  time::Duration tls = std::chrono::seconds(10);      // handshake, and the proxy's CONNECT before it
  time::Duration headers = std::chrono::seconds(30);  // from the request to the last header byte
  std::uint64_t min_rate = 1024;                      // bytes per second …
  time::Duration stall_window = std::chrono::seconds(60);  // … over this much time spent waiting in Read()
  std::size_t header_bytes = 64u << 10;
  std::size_t header_fields = 256;
  int informational = 10;                             // 1xx answers
};

// Connect elsewhere than the URL says; name checks and Host stay those of the URL.
struct ResolveOverride {
  std::string host;         // as in the URL
  std::uint16_t port = 0;
  std::string address;      // IP literal
  std::uint16_t to_port = 0;  // 0 = same
  bool operator==(const ResolveOverride&) const = default;
};

// Made by the Client, or with a field of its own in Request.
inline constexpr std::array<std::string_view, 11> kHeadersOfTheClient{
    "Authorization",   "Proxy-Authorization", "Cookie",  "Host", "Content-Length", "Transfer-Encoding",
    "Accept-Encoding", "Connection",          "Upgrade", "TE",   "Expect"};

struct Request {
  Method method = Method::kGet;
  Url url;
  // kHeadersOfTheClient do not belong here (kInternal).
  Headers headers;
  std::optional<secret::Secret> authorization;  // the complete header value; never logged
  secret::Secret body;                          // of a POST or PUT
  TlsOptions tls;
  Limits limits;
  bool allow_plain_http = false;                // an http:// URL without this is kPlainHttp
  std::vector<ResolveOverride> overrides;
  AddressPolicy addresses;
  std::shared_ptr<const ProxyRules> proxies;    // instead of the Client's
  bool inspect = false;                         // on a connection of its own, that Response::peer() tells about

  Request Clone() const;
};

// Who answered over TLS, as the leaf of its certificate says. Texts are the other side's: control bytes are taken out, at
// most 256 bytes each, 32 names.
struct Peer {
  std::string version;              // "TLSv1.3"
  std::string subject, issuer;      // "CN = localhost"
  std::vector<std::string> names;   // subjectAltName: "DNS:localhost", "IP Address:127.0.0.1"
  std::optional<time::WallTime> not_before, not_after;
};

// Durations since the start of the exchange; zero for a step that did not happen (a kept connection).
struct Timing { time::Duration dns{}, connect{}, tls{}, first_byte{}; };

// A Response that goes before the end of its body costs the connection, unless the rest is small and has arrived.
class Response : public bytes::Source {
 public:
  virtual int status() const = 0;                  // 200..599
  virtual const Headers& headers() const = 0;
  virtual const Url& url() const = 0;              // of the last hop
  virtual std::optional<std::uint64_t> content_length() const = 0;  // none for HEAD without one, chunked, until-close
  virtual int http_version() const = 0;            // 10, 11, 20
  virtual const std::string& remote_address() const = 0;  // IP of the server, or of the proxy
  virtual bool proxied() const = 0;
  virtual bool reused_connection() const = 0;
  virtual const Timing& timing() const = 0;
  // Of a request with `inspect` to an https URL, else nothing.
  virtual std::optional<Peer> peer() const { return std::nullopt; }
  // Redirects that led here (http/redirect.h); foreign: this origin is not the one that was asked. A 401 of a foreign
  // answer must never be met with credentials (C-40).
  int hops() const { return hops_; }
  bool foreign() const { return foreign_; }

  // Body bytes as sent (no decoding). 0 only at a proven end: kUnexpectedEof when the connection closed before
  // Content-Length, kProtocolError for bad chunks, kStalled below the minimum rate. Time the caller spends elsewhere is not
  // counted as waiting. After an error every Read gives the same error.
  Result<std::size_t> Read(bytes::MutableView room) override = 0;

 private:
  friend class Follower;
  int hops_ = 0;
  bool foreign_ = false;
};

// The whole body, at most `limit` bytes: kLimitExceeded naming `what` and the limit.
Result<std::string> ReadAll(Response& response, std::size_t limit, std::string_view what);

struct ClientOptions {
  std::string user_agent = "berth/" BERTH_VERSION;
  std::shared_ptr<const ProxyRules> proxies;  // null = none
  // Offer HTTP/2 by ALPN. Off: with one exchange per connection (parallel blobs are to have separate congestion windows)
  // it wins nothing, and curl 7.88 waits in silence after some protocol errors until the stall detector ends it (C-63).
  bool http2 = false;
  std::size_t idle_lanes = 32;                // kept with their connections; the longest idle goes first
  ProxyRules::GetEnv get_env;                 // for SSL_CERT_FILE, SSL_CERT_DIR; null = neither is set
};

class Client {
 public:
  explicit Client(ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Returns when the headers of the final answer are complete, whatever its status. `ctx` also governs the Response.
  //   kPlainHttp, kDns, kRefused, kUnavailable (no route, the proxy refuses), kTimeout, kTls*, kHttpOnHttps,
  //   kConnectionReset, kUnexpectedEof, kProtocolError, kUnexpectedStatus (206 nobody asked for), kPolicy (address
  //   refused), kConfig (certificate files), kCanceled.
  // Each names the redacted URL. transient() says whether the same request may work later.
  Result<std::unique_ptr<Response>> Send(const task::Context& ctx, const Request& request);

  // Closes idle connections (after a network change, before a fork).
  void DropIdle();
  // Makes every exchange that waits look at its clock again: for tests that turn the hands.
  void Nudge();

 private:
  std::shared_ptr<class Pool> pool_;
};

}  // namespace berth::http
