#include "http/client.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "http/failure.h"
#include "http/lane.h"
#include "http/retry.h"
#include "http/stall.h"
#include "log/log.h"

namespace berth::http {
namespace {

constexpr long kBuffer = 64 << 10;  // what curl reads at once: stays in the cache until it is copied into the caller's room
constexpr std::size_t kDrain = 64u << 10;  // an unread rest up to this is thrown away to keep the connection

bool TokenChar(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool Token(std::string_view s) { return !s.empty() && std::all_of(s.begin(), s.end(), TokenChar); }
bool FieldValue(std::string_view s) {
  return std::none_of(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; });
}
std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// A curl list whose bytes are wiped, because one of them holds the Authorization.
class List {
 public:
  List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    for (curl_slist* p = head_; p; p = p->next) explicit_bzero(p->data, std::strlen(p->data));
    curl_slist_free_all(head_);
  }
  void Add(std::string_view name, std::string_view text) {
    std::string line(name);
    line.reserve(name.size() + text.size());
    line += text;
    head_ = curl_slist_append(head_, line.c_str());
    BERTH_CHECK(head_ != nullptr);
    secret::Secret::Wipe(line);
  }
  curl_slist* get() const { return head_; }

 private:
  curl_slist* head_ = nullptr;
};

Result<> CheckRequest(const Request& r) {
  if (!r.url.https() && !r.allow_plain_http)
    return Error(Reason::kPlainHttp, "plain HTTP is not allowed for " + r.url.Authority())
        .Next("configure this host as http:// if that is meant");
  if (r.tls.client_cert.empty() && !r.tls.client_key.empty())
    return Error(Reason::kConfig, "a client key without a client certificate for " + r.url.Authority());
  for (const Header& h : r.headers) {
    for (const std::string_view ours : kHeadersOfTheClient)
      if (EqualNoCase(h.name, ours)) return Error(Reason::kInternal, "a request may not set the header " + std::string(ours));
    if (!Token(h.name) || !FieldValue(h.value)) return Error(Reason::kInternal, "a request header is malformed");
  }
  if (r.authorization && !FieldValue(r.authorization->Reveal()))
    return Error(Reason::kInvalidCredentials, "the credential for " + r.url.Authority() + " holds control bytes");
  return {};
}

std::string LaneKey(const Request& r, const Trust& trust, const Proxy* proxy) {
  std::string key = trust.stamp + (r.tls.skip_verify ? "|skip|" : "|verify|") + r.tls.client_cert + "|" + r.tls.client_key + "|";
  if (proxy)
    key += proxy->ToString() + "|" + proxy->user + "|" +
           std::to_string(std::hash<std::string_view>()(proxy->password.Reveal()));
  for (const ResolveOverride& o : r.overrides)
    key += "|" + o.host + ":" + std::to_string(o.port) + "=" + o.address + ":" + std::to_string(o.to_port);
  return key;
}

// Text of the other side, for people.
std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 256))
    if (c >= ' ' && c < 0x7f) out += c;
  return out;
}

// "Nov 25 12:00:00 2026 GMT": but for the weekday, which nobody checks, one of HTTP's forms.
std::optional<time::WallTime> ParseDate(std::string_view text) {
  if (!text.ends_with(" GMT")) return std::nullopt;
  return ParseHttpDate("Sun " + std::string(text.substr(0, text.size() - 4)), {});
}

// One line of CURLINFO_CERTINFO: "Subject:CN = localhost".
void ReadCertificate(std::string_view line, Peer& peer) {
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return;
  const std::string_view key = line.substr(0, colon), value = line.substr(colon + 1);
  if (key == "Subject") peer.subject = Printable(value);
  else if (key == "Issuer") peer.issuer = Printable(value);
  else if (key == "Start date") peer.not_before = ParseDate(value);
  else if (key == "Expire date") peer.not_after = ParseDate(value);
  else if (key == "X509v3 Subject Alternative Name")
    for (std::string_view rest = value; !rest.empty() && peer.names.size() < 32;) {
      const std::size_t comma = std::min(rest.find(", "), rest.size());
      peer.names.push_back(Printable(rest.substr(0, comma)));
      rest.remove_prefix(std::min(comma + 2, rest.size()));
    }
}

}  // namespace

std::string_view ToString(Method method) {
  switch (method) {
    case Method::kGet: return "GET";
    case Method::kHead: return "HEAD";
    case Method::kPost: return "POST";
    case Method::kPut: return "PUT";
  }
  return "";
}

Request Request::Clone() const {
  return {.method = method, .url = url, .headers = headers,
          .authorization = authorization ? std::optional(authorization->Clone()) : std::nullopt,
          .body = body.Clone(), .tls = tls, .limits = limits, .allow_plain_http = allow_plain_http,
          .overrides = overrides, .addresses = addresses, .proxies = proxies, .inspect = inspect};
}

// One easy handle on one lane, from Send() to the end of the Response.
class Exchange final : public Response {
 public:
  Exchange(std::shared_ptr<Pool> pool, const task::Context& ctx, const Request& r, const Proxy* proxy,
           const std::shared_ptr<const Trust>& trust)
      : pool_(std::move(pool)), ctx_(ctx), method_(r.method), url_(r.url), limits_(r.limits), addresses_(r.addresses),
        body_(r.body.Clone()), proxy_(proxy ? proxy->ToString() : ""), asked_range_(r.headers.Has("Range")),
        conditional_(r.headers.Has("If-None-Match") || r.headers.Has("If-Modified-Since")),
        stall_(r.limits.min_rate, r.limits.stall_window), started_(ctx.clock().SteadyNow()), phase_started_(started_),
        lane_(pool_->Take(LaneKey(r, *trust, proxy), url_.origin(), trust)) {
    Configure(r, proxy);
    BERTH_CHECK(curl_multi_add_handle(lane_->multi, easy_) == CURLM_OK);
  }
  ~Exchange() override {
    if (!done_ && !error_) Drain();
    Release();
  }

  // Until the headers of the final answer are here.
  Result<> Start() {
    while (!headers_done_ && !done_) {
      // An error behind complete headers is the body's: Read() gives it.
      if (auto turned = Turn(); !turned && !headers_done_) return turned;
      if (headers_done_ || done_) break;
      RETURN_IF_ERROR(Wait());
    }
    if (!headers_done_) return Refuse(Error(Reason::kProtocolError, Server() + " sent no header block"));
    phase_ = Phase::kBody;
    ReadInfo();
    if (!proxy_.empty() && status_ == 407)
      return Refuse(Explain({.code = CURLE_RECV_ERROR, .phase = Phase::kHeaders, .server = Server(), .proxy = proxy_,
                             .text = {}, .connect_status = 407}, limits_));
    return {};
  }

  Result<std::size_t> Read(bytes::MutableView room) override {
    if (room.empty()) return Error(Reason::kInternal, "Read() without room");
    if (const std::size_t n = TakeSpill(room)) return n;
    if (error_) return *error_;
    if (done_) return std::size_t{0};
    room_ = room;
    filled_ = 0;
    waited_until_ = ctx_.clock().SteadyNow();
    const auto finish = [&]() -> Result<std::size_t> {
      room_ = {};
      // Bytes before an error are the caller's; the error comes with the next call.
      if (filled_ > 0 || (done_ && !error_)) return filled_;
      return *error_;
    };
    if (paused_) {
      paused_ = false;
      curl_easy_pause(easy_, CURLPAUSE_CONT);
    }
    for (;;) {
      std::size_t before = 0;
      do {  // as long as the socket gives and the room takes
        before = filled_;
        if (!Turn() || done_) return finish();
      } while (filled_ > before && filled_ < room_.size());
      if (filled_ > 0) return finish();
      if (!Wait()) return finish();
    }
  }

  int status() const override { return status_; }
  const Headers& headers() const override { return headers_; }
  const Url& url() const override { return url_; }
  std::optional<std::uint64_t> content_length() const override { return length_; }
  int http_version() const override { return version_; }
  const std::string& remote_address() const override { return remote_; }
  bool proxied() const override { return !proxy_.empty(); }
  bool reused_connection() const override { return reused_; }
  const Timing& timing() const override { return timing_; }
  std::optional<Peer> peer() const override { return peer_; }

 private:
  std::string Server() const { return url_.Authority(); }

  template <class T>
  void Set(CURLoption option, T value) {
    const CURLcode code = curl_easy_setopt(easy_, option, value);
    BERTH_CHECK(code == CURLE_OK);
  }

  void Configure(const Request& r, const Proxy* proxy) {
    easy_ = curl_easy_init();
    BERTH_CHECK(easy_ != nullptr);
    Set(CURLOPT_ERRORBUFFER, text_.data());
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_PROTOCOLS_STR, url_.https() ? "https" : "http");
    Set(CURLOPT_URL, url_.ToWire().c_str());
    Set(CURLOPT_PATH_AS_IS, 1L);
    Set(CURLOPT_FOLLOWLOCATION, 0L);
    Set(CURLOPT_UNRESTRICTED_AUTH, 0L);
    Set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    Set(CURLOPT_HTTP09_ALLOWED, 0L);
    Set(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    Set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    Set(CURLOPT_BUFFERSIZE, kBuffer);
    Set(CURLOPT_TCP_KEEPALIVE, 1L);
    // Without it a cancelled exchange waits for getaddrinfo(); the resolver thread is left to end by itself.
    Set(CURLOPT_QUICK_EXIT, 1L);
    // Shares the time among the addresses of a name; our own clock decides (Overdue).
    Set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(limits_.connect).count()));
    Set(CURLOPT_HTTP_VERSION, static_cast<long>(pool_->options.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
    Set(CURLOPT_HEADERFUNCTION, &Exchange::OnHeader);
    Set(CURLOPT_HEADERDATA, this);
    Set(CURLOPT_WRITEFUNCTION, &Exchange::OnBody);
    Set(CURLOPT_WRITEDATA, this);
    Set(CURLOPT_OPENSOCKETFUNCTION, &Exchange::OnOpenSocket);
    Set(CURLOPT_OPENSOCKETDATA, this);
    Set(CURLOPT_CLOSESOCKETFUNCTION, &Lane::OnClose);
    Set(CURLOPT_CLOSESOCKETDATA, lane_.get());
    Set(CURLOPT_PREREQFUNCTION, &Exchange::OnConnected);
    Set(CURLOPT_PREREQDATA, this);
    SetTls(r);
    SetProxy(proxy);
    if (r.inspect) {
      Set(CURLOPT_FRESH_CONNECT, 1L);
      Set(CURLOPT_FORBID_REUSE, 1L);
      if (url_.https()) {
        peer_.emplace();
        Set(CURLOPT_CERTINFO, 1L);
        Set(CURLOPT_VERBOSE, 1L);
        Set(CURLOPT_DEBUGFUNCTION, &Exchange::OnTalk);
        Set(CURLOPT_DEBUGDATA, this);
      }
    }

    for (const ResolveOverride& o : r.overrides) {
      const auto bracketed = [](const std::string& h) { return h.find(':') == std::string::npos ? h : "[" + h + "]"; };
      connect_to_.Add("", bracketed(o.host) + ":" + std::to_string(o.port) + ":" + bracketed(o.address) + ":" +
                              std::to_string(o.to_port == 0 ? o.port : o.to_port));
    }
    Set(CURLOPT_CONNECT_TO, connect_to_.get());

    if (method_ == Method::kHead) Set(CURLOPT_NOBODY, 1L);
    if (method_ == Method::kPost || method_ == Method::kPut) {
      Set(CURLOPT_POST, 1L);
      if (method_ == Method::kPut) Set(CURLOPT_CUSTOMREQUEST, "PUT");  // CURLOPT_UPLOAD would chunk
      Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_.size()));
      Set(CURLOPT_POSTFIELDS, body_.Reveal().data());
      lines_.Add("Expect:", "");
    }
    if (!r.headers.Has("Accept")) lines_.Add("Accept:", "");
    Set(CURLOPT_USERAGENT, pool_->options.user_agent.c_str());
    for (const Header& h : r.headers) lines_.Add(h.name, h.value.empty() ? std::string(";") : ": " + h.value);
    if (r.authorization) lines_.Add("Authorization: ", r.authorization->Reveal());
    Set(CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE));
    Set(CURLOPT_HTTPHEADER, lines_.get());
  }

  void SetTls(const Request& r) {
    const Trust& trust = *lane_->trust;
    curl_blob pem{const_cast<char*>(trust.pem.data()), trust.pem.size(), CURL_BLOB_NOCOPY};
    const char* folder = trust.hashed_folder.empty() ? nullptr : trust.hashed_folder.c_str();
    for (const auto& [info, blob, path, version] :
         {std::tuple{CURLOPT_CAINFO, CURLOPT_CAINFO_BLOB, CURLOPT_CAPATH, CURLOPT_SSLVERSION},
          std::tuple{CURLOPT_PROXY_CAINFO, CURLOPT_PROXY_CAINFO_BLOB, CURLOPT_PROXY_CAPATH, CURLOPT_PROXY_SSLVERSION}}) {
      Set(info, nullptr);
      Set(path, folder);
      if (!trust.pem.empty()) Set(blob, &pem);
      Set(version, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    }
    Set(CURLOPT_SSL_VERIFYPEER, r.tls.skip_verify ? 0L : 1L);
    Set(CURLOPT_SSL_VERIFYHOST, r.tls.skip_verify ? 0L : 2L);
    if (r.tls.client_cert.empty()) return;
    Set(CURLOPT_SSLCERT, r.tls.client_cert.c_str());
    Set(CURLOPT_SSLKEY, (r.tls.client_key.empty() ? r.tls.client_cert : r.tls.client_key).c_str());
    Set(CURLOPT_KEYPASSWD, "");  // else OpenSSL asks the terminal
  }

  void SetProxy(const Proxy* proxy) {
    Set(CURLOPT_NOPROXY, "");
    Set(CURLOPT_PROXY, proxy ? proxy->ToString().c_str() : "");  // "" also keeps curl from the environment
    if (!proxy || (proxy->user.empty() && proxy->password.empty())) return;
    Set(CURLOPT_PROXYAUTH, static_cast<long>(CURLAUTH_BASIC));
    Set(CURLOPT_PROXYUSERNAME, proxy->user.c_str());
    std::string password(proxy->password.Reveal());
    Set(CURLOPT_PROXYPASSWORD, password.c_str());
    secret::Secret::Wipe(password);
  }

  // ---- driving

  // Ends the exchange with an error that every later call repeats.
  Error Refuse(Error e) {
    if (!error_) error_ = std::move(e);
    Release();
    return *error_;
  }

  // One pass of curl over what is ready.
  Result<> Turn() {
    const time::SteadyTime now = ctx_.clock().SteadyNow();
    int running = 0;
    const CURLMcode code = curl_multi_perform(lane_->multi, &running);
    if (refusal_) return Refuse(std::move(*refusal_));
    if (code != CURLM_OK) return Refuse(Error(Reason::kInternal, "libcurl multi code " + std::to_string(code)));
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(lane_->multi, &left))
      if (message->msg == CURLMSG_DONE) return Finish(message->data.result, now);
    if (!headers_done_) NotePhase(now);
    return {};
  }

  Result<> Finish(CURLcode code, time::SteadyTime now) {
    done_ = true;
    ReadInfo();
    if (code == CURLE_OK) {
      if (headers_done_) Release();
      return {};
    }
    if (denied_) return Refuse(Denied());
    headers_done_ ? void(phase_ = Phase::kBody) : NotePhase(now);
    Failure failure = Here();
    failure.code = code;
    failure.text = text_.data();
    failure.chunked = chunked_;
    long os_error = 0;
    curl_easy_getinfo(easy_, failure.AtProxy() && proxy_.starts_with("https:") ? CURLINFO_PROXY_SSL_VERIFYRESULT
                                                                               : CURLINFO_SSL_VERIFYRESULT, &failure.verify);
    curl_easy_getinfo(easy_, CURLINFO_OS_ERRNO, &os_error);
    failure.os_error = static_cast<int>(os_error);
    return Refuse(Explain(failure, limits_));
  }

  // Where the exchange stands.
  Failure Here() const {
    long connect_status = 0;
    curl_easy_getinfo(easy_, CURLINFO_HTTP_CONNECTCODE, &connect_status);
    return {.phase = phase_, .server = Server(), .proxy = proxy_, .text = {}, .connect_status = static_cast<int>(connect_status)};
  }

  curl_off_t Info(CURLINFO info) const {
    curl_off_t value = 0;
    curl_easy_getinfo(easy_, info, &value);
    return value;
  }

  // `now` is from before the step, so that no budget starts late.
  void NotePhase(time::SteadyTime now) {
    const Phase phase = Info(CURLINFO_PRETRANSFER_TIME_T) > 0                                                  ? Phase::kHeaders
                        : phase_ == Phase::kTls || ((url_.https() || !proxy_.empty()) && lane_->TcpConnected()) ? Phase::kTls
                                                                                                               : Phase::kConnect;
    if (phase == phase_) return;
    // curl counts the handshake as connecting.
    if (phase_ == Phase::kConnect) Set(CURLOPT_CONNECTTIMEOUT_MS, 24L * 3600 * 1000);
    phase_ = phase;
    phase_started_ = now;
  }

  time::SteadyTime PhaseEnd(time::SteadyTime now) const {
    switch (phase_) {
      case Phase::kConnect: return phase_started_ + limits_.connect;
      case Phase::kTls: return phase_started_ + limits_.tls;
      case Phase::kHeaders: return phase_started_ + limits_.headers;
      case Phase::kBody: break;
    }
    return now + stall_.until_verdict();
  }

  // Sleeps until a socket, a timer of curl, the stop token, Nudge() or the nearest of our own times.
  Result<> Wait() {
    const time::SteadyTime before = ctx_.clock().SteadyNow();
    if (auto good = ctx_.Check(); !good) return Refuse(std::move(good).error());
    time::SteadyTime until = PhaseEnd(before);
    if (phase_ != Phase::kBody && before >= until) return Refuse(TooLate(Here(), limits_));
    if (ctx_.deadline()) until = std::min(until, *ctx_.deadline());
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(until - before).count();
    {
      const std::stop_callback wake(ctx_.stop(), [multi = lane_->multi] { curl_multi_wakeup(multi); });
      curl_multi_poll(lane_->multi, nullptr, 0, static_cast<int>(std::clamp<std::int64_t>(ms, 0, 3600 * 1000)), nullptr);
    }
    if (auto good = ctx_.Check(); !good) return Refuse(std::move(good).error());
    const time::SteadyTime after = ctx_.clock().SteadyNow();
    if (phase_ == Phase::kBody) {
      stall_.Waited(after - waited_until_);
      waited_until_ = after;
      if (stall_.stalled()) return Refuse(TooLate(Here(), limits_));
    }
    return {};
  }

  void ReadInfo() {
    if (!easy_) return;
    const auto us = [&](CURLINFO info) { return std::chrono::microseconds(Info(info)); };
    timing_ = {us(CURLINFO_NAMELOOKUP_TIME_T), us(CURLINFO_CONNECT_TIME_T), us(CURLINFO_APPCONNECT_TIME_T),
               us(CURLINFO_STARTTRANSFER_TIME_T)};
    long version = 0, connects = 0;
    curl_easy_getinfo(easy_, CURLINFO_HTTP_VERSION, &version);
    version_ = version == CURL_HTTP_VERSION_1_0 ? 10 : version == CURL_HTTP_VERSION_2_0 ? 20 : 11;
    curl_easy_getinfo(easy_, CURLINFO_NUM_CONNECTS, &connects);
    reused_ = connects == 0;
    curl_certinfo* chain = nullptr;
    if (peer_ && peer_->subject.empty() && curl_easy_getinfo(easy_, CURLINFO_CERTINFO, &chain) == CURLE_OK && chain != nullptr &&
        chain->num_of_certs > 0)
      for (const curl_slist* line = chain->certinfo[0]; line != nullptr; line = line->next) ReadCertificate(line->data, *peer_);
  }

  // What is left is thrown away if it is here already and small: the connection can then be used again.
  void Drain() {
    draining_ = true;
    if (paused_) curl_easy_pause(easy_, CURLPAUSE_CONT);
    for (std::size_t before = kDrain + 1; !done_ && !error_ && drained_ != before && drained_ <= kDrain;) {
      before = drained_;
      if (!Turn()) return;
    }
  }

  // The easy handle goes, an unfinished connection with it; the lane goes back.
  void Release() {
    if (!easy_) return;
    curl_multi_remove_handle(lane_->multi, easy_);
    curl_easy_cleanup(easy_);
    easy_ = nullptr;
    pool_->GiveBack(std::move(lane_));
  }

  Error Denied() const {
    return Error(Reason::kPolicy, "the address of " + Server() + " is local to this node or network and may not be visited from here");
  }

  // ---- called by curl, from Turn()

  static curl_socket_t OnOpenSocket(void* self, curlsocktype, curl_sockaddr* a) {
    auto& x = *static_cast<Exchange*>(self);
    if (x.proxy_.empty() && !x.addresses_.empty()) {
      std::array<char, 128> host{};
      if (getnameinfo(&a->addr, a->addrlen, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0 ||
          !x.addresses_.Allows(std::string_view(host.data()).substr(0, std::string_view(host.data()).find('%')))) {
        x.denied_ = true;
        return CURL_SOCKET_BAD;
      }
    }
    const int fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
    if (fd >= 0) x.lane_->Opened(fd);
    return fd;
  }

  // Of curl's talk only the protocol's version is listened to: nothing else tells it.
  static int OnTalk(CURL*, curl_infotype type, char* data, std::size_t n, void* self) {
    constexpr std::string_view kUsing = "SSL connection using ";
    const std::string_view text(data, n);
    if (type == CURLINFO_TEXT && text.starts_with(kUsing))
      static_cast<Exchange*>(self)->peer_->version = Printable(text.substr(kUsing.size(), text.find(" /") - kUsing.size()));
    return 0;
  }

  // Right before the request goes out, also on a kept connection.
  static int OnConnected(void* self, char* remote, char*, int, int) {
    auto& x = *static_cast<Exchange*>(self);
    x.remote_ = remote;
    if (!x.proxy_.empty() || x.addresses_.Allows(x.remote_)) return CURL_PREREQFUNC_OK;
    x.refusal_ = x.Denied();
    return CURL_PREREQFUNC_ABORT;
  }

  static std::size_t OnHeader(char* data, std::size_t, std::size_t n, void* self) {
    auto& x = *static_cast<Exchange*>(self);
    if (auto good = x.HeaderLine({data, n}); !good) {
      x.refusal_ = std::move(good).error();
      return 0;
    }
    return n;
  }

  static std::size_t OnBody(char* data, std::size_t, std::size_t n, void* self) {
    auto& x = *static_cast<Exchange*>(self);
    if (x.draining_) {
      x.drained_ += n;
      return x.drained_ <= kDrain ? n : 0;
    }
    const std::size_t direct = std::min(n, x.room_.size() - x.filled_);
    if (direct == 0) {
      x.paused_ = true;
      return CURL_WRITEFUNC_PAUSE;
    }
    x.stall_.Got(n);
    std::memcpy(x.room_.data() + x.filled_, data, direct);
    x.filled_ += direct;
    x.spill_.append(data + direct, n - direct);
    return n;
  }

  Error Malformed(std::string_view what) const { return Error(Reason::kProtocolError, Server() + " sent " + std::string(what)); }

  Result<> HeaderLine(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > limits_.header_bytes)
      return Malformed("a header block of more than " + std::to_string(limits_.header_bytes) + " bytes (header_bytes)");
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) return EndOfBlock();
    if (!FieldValue(line)) return Malformed("a control byte in its headers");
    if (expect_status_) return StatusLine(line);
    if (++header_fields_ > limits_.header_fields)
      return Malformed("more than " + std::to_string(limits_.header_fields) + " header fields (header_fields)");
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !Token(line.substr(0, colon))) return Malformed("a malformed header field");
    if (!headers_done_) headers_.Add(line.substr(0, colon), Trim(line.substr(colon + 1)));  // later ones are trailers
    return {};
  }

  Result<> StatusLine(std::string_view line) {
    expect_status_ = false;
    headers_ = {};
    // Not less strict than libcurl, which would wait for the status line that we believe we have.
    const auto digit = [&](std::size_t at) { return at < line.size() && line[at] >= '0' && line[at] <= '9'; };
    const std::size_t version = digit(7) && line[6] == '.' ? 8 : 6;  // "HTTP/1.1", "HTTP/2"
    const std::size_t at = version + 1;
    if (!line.starts_with("HTTP/") || !digit(5) || line.size() < at + 3 || line[version] != ' ' || line[at] < '1' || line[at] > '5' ||
        !digit(at + 1) || !digit(at + 2))
      return Malformed("a status line that is not HTTP");
    status_ = (line[at] - '0') * 100 + (line[at + 1] - '0') * 10 + (line[at + 2] - '0');
    return {};
  }

  Result<> EndOfBlock() {
    if (headers_done_) return {};
    if (status_ == 101) return Malformed("a switch of protocols that nobody asked for");
    if (status_ < 200) {
      expect_status_ = true;
      if (++informational_ > limits_.informational)
        return Malformed("more than " + std::to_string(limits_.informational) + " informational answers (informational)");
      return {};
    }
    const auto encodings = headers_.All("Transfer-Encoding");
    const auto lengths = headers_.All("Content-Length");
    chunked_ = !encodings.empty();
    if (encodings.size() > 1 || (chunked_ && !EqualNoCase(encodings[0], "chunked")))
      return Malformed("the body in a transfer encoding that nobody asked for");
    if (chunked_ && !lengths.empty()) return Malformed("both a length and chunks");
    for (const std::string_view text : lengths) {
      std::uint64_t n = 0;
      const auto r = std::from_chars(text.data(), text.data() + text.size(), n);
      if (text.empty() || r.ec != std::errc() || r.ptr != text.data() + text.size() || n > INT64_MAX || (length_ && *length_ != n))
        return Malformed("a body length that is no number, or two of them");
      length_ = n;
    }
    if (status_ == 206 && !asked_range_) return Error(Reason::kUnexpectedStatus, Server() + " sent a part (206) that nobody asked for");
    if (status_ == 304 && !conditional_) return Malformed("\"not modified\" (304) to an unconditional request");
    headers_done_ = true;
    return {};
  }

  std::size_t TakeSpill(bytes::MutableView room) {
    const std::size_t n = std::min(room.size(), spill_.size() - spill_start_);
    if (n > 0) std::memcpy(room.data(), spill_.data() + spill_start_, n);
    spill_start_ += n;
    if (spill_start_ == spill_.size()) {
      spill_.clear();
      spill_start_ = 0;
    }
    return n;
  }

  const std::shared_ptr<Pool> pool_;
  const task::Context ctx_;
  const Method method_;
  const Url url_;
  const Limits limits_;
  const AddressPolicy addresses_;
  const secret::Secret body_;
  const std::string proxy_;
  const bool asked_range_, conditional_;

  List lines_, connect_to_;
  std::array<char, CURL_ERROR_SIZE> text_{};
  Phase phase_ = Phase::kConnect;
  StallDetector stall_;
  const time::SteadyTime started_;
  time::SteadyTime phase_started_, waited_until_{};

  int status_ = 0, version_ = 0, informational_ = 0;
  Headers headers_;
  std::optional<std::uint64_t> length_;
  std::size_t header_bytes_ = 0, header_fields_ = 0;
  bool expect_status_ = true, headers_done_ = false, chunked_ = false;
  std::string remote_;
  bool reused_ = false, denied_ = false;
  Timing timing_;
  std::optional<Peer> peer_;

  bytes::MutableView room_;       // of the Read() in progress
  std::size_t filled_ = 0;
  std::string spill_;             // the end of a piece of curl's (16 KiB at most) for which there was no room
  std::size_t spill_start_ = 0, drained_ = 0;
  bool paused_ = false, draining_ = false, done_ = false;
  std::optional<Error> refusal_;  // set inside a callback
  std::optional<Error> error_;    // the end

  std::unique_ptr<Lane> lane_;    // both gone after Release()
  CURL* easy_ = nullptr;
};

Result<std::string> ReadAll(Response& response, std::size_t limit, std::string_view what) {
  const auto too_long = [&] {
    return Error(Reason::kLimitExceeded, std::string(what) + " is longer than " + std::to_string(limit) + " bytes");
  };
  if (response.content_length().value_or(0) > limit) return too_long();
  std::string all;
  for (std::size_t have = 0;; all.resize(have)) {
    // One byte more than allowed shows that there is more.
    all.resize(std::min(limit + 1, std::max<std::size_t>(have * 2, 16u << 10)));
    ASSIGN_OR_RETURN(const std::size_t n, response.Read(std::as_writable_bytes(std::span(all)).subspan(have)));
    have += n;
    if (n == 0) {
      all.resize(have);
      return all;
    }
    if (have > limit) return too_long();
  }
}

Client::Client(ClientOptions options) : pool_(std::make_shared<Pool>(std::move(options))) {}
Client::~Client() { pool_->Close(); }
void Client::DropIdle() { pool_->DropIdle(); }
void Client::Nudge() { pool_->Nudge(); }

Result<std::unique_ptr<Response>> Client::Send(const task::Context& ctx, const Request& request) {
  const auto place = [&] { return std::string(ToString(request.method)) + " " + request.url.Redacted(); };
  const auto run = [&]() -> Result<std::unique_ptr<Response>> {
    RETURN_IF_ERROR(ctx.Check());
    RETURN_IF_ERROR(CheckRequest(request));
    const auto& rules = request.proxies ? request.proxies : pool_->options.proxies;
    const Proxy* proxy = rules ? rules->For(request.url) : nullptr;
    if (!AddressBytes(request.url.host).empty() && !request.addresses.Allows(request.url.host))
      return Error(Reason::kPolicy, request.url.host + " is local to this node or network and may not be visited from here");
    static const auto kNoTls = std::make_shared<const Trust>(Trust{.stamp = "plain"});
    const bool tls = request.url.scheme == "https" || (proxy && proxy->scheme == "https");
    const bool names_files = !request.tls.ca_paths.empty() || !request.tls.client_cert.empty() || !request.tls.client_key.empty();
    std::shared_ptr<const Trust> trust = kNoTls;
    if (tls || names_files) {  // a file that is not there is told in any case
      ASSIGN_OR_RETURN(auto found, pool_->trust.Get(request.tls));
      if (tls) trust = std::move(found);
    }
    auto exchange = std::make_unique<Exchange>(pool_, ctx, request, proxy, trust);
    RETURN_IF_ERROR(exchange->Start());
    return std::unique_ptr<Response>(std::move(exchange));
  };
  auto result = run();
  if (!result) {
    if (log::Enabled(log::Level::kDebug)) log::Debug("http request failed", {{"request", place()}, {"error", result.error()}});
    return std::move(result).error().Context(place());
  }
  if (log::Enabled(log::Level::kDebug))
    log::Debug("http answer", {{"request", place()}, {"status", (*result)->status()}, {"reused", (*result)->reused_connection()}});
  return result;
}

}  // namespace berth::http
