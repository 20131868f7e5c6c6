// What a server answers, byte by byte, through the client and over real sockets (reliability-security 4.4, http_response): limits hold; what is
// delivered is what a plain reading of the bytes says; credentials never reach another origin, nor come back from there; what lies behind one answer
// is no part of the next; errors quote neither side. The input: a byte of flags, then the answers in order of arrival, "%%" between two;
// in them $A is the origin that is asked, $B the other one.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "http/client.h"
#include "http/redirect.h"

namespace {

using namespace berth;
using namespace berth::http;

constexpr std::string_view kSecret = "canary-7f3a9c", kTheirs = "hunter2canary";
constexpr Limits kLimits{.header_bytes = 2048, .header_fields = 16, .informational = 2};
constexpr std::size_t kBody = 1024;

void Require(bool truth, const char* what) {
  if (truth) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// Two origins. Each request gets the next answer, whichever of the two it came to; after that the connection's sending half is closed, unless `keep`.
class Server {
 public:
  struct Answer {
    std::string bytes;
    bool keep = false;
  };
  struct Asked {
    std::size_t origin = 0;
    std::string head;
  };

  Server() {
    for (std::size_t i = 0; i < fds_.size(); ++i) {
      sockaddr_in at{};
      at.sin_family = AF_INET;
      at.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(i));
      socklen_t length = sizeof at;
      fds_[i] = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      Require(fds_[i] >= 0 && ::bind(fds_[i], reinterpret_cast<sockaddr*>(&at), sizeof at) == 0 && ::listen(fds_[i], 16) == 0 &&
                  ::getsockname(fds_[i], reinterpret_cast<sockaddr*>(&at), &length) == 0,
              "no loopback");
      origins_[i] = {"http", "127.0.0." + std::to_string(i + 1), ntohs(at.sin_port)};
    }
    std::thread([this] { Serve(); }).detach();  // as long as the process
  }

  const Origin& origin(std::size_t i) const { return origins_[i]; }
  std::string Authority(std::size_t i) const { return origins_[i].host + ":" + std::to_string(origins_[i].port); }
  void Begin(std::vector<Answer> answers) {
    const std::lock_guard lock(mutex_);
    answers_ = std::move(answers), asked_.clear();
  }
  std::vector<Asked> asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  struct Connection {
    std::size_t origin = 0;
    std::string received;
    bool closed = false;  // our half: what comes now is read and forgotten
  };

  void Serve() {
    std::map<int, Connection> open;
    for (;;) {
      std::vector<pollfd> wait;
      for (const int fd : fds_) wait.push_back({fd, POLLIN, 0});
      for (const auto& [fd, c] : open) wait.push_back({fd, POLLIN, 0});
      if (::poll(wait.data(), wait.size(), -1) <= 0) continue;
      for (std::size_t i = 0; i < fds_.size(); ++i) {
        if (wait[i].revents == 0) continue;
        if (const int fd = ::accept4(fds_[i], nullptr, nullptr, SOCK_CLOEXEC); fd >= 0) open[fd].origin = i;
      }
      for (std::size_t i = fds_.size(); i < wait.size(); ++i) {
        if (wait[i].revents == 0 || Take(wait[i].fd, open[wait[i].fd])) continue;
        ::close(wait[i].fd);
        open.erase(wait[i].fd);
      }
    }
  }
  bool Take(int fd, Connection& c) {
    std::array<char, 16384> room;
    const ssize_t n = ::recv(fd, room.data(), room.size(), 0);
    if (n <= 0) return false;
    if (c.closed) return true;
    c.received.append(room.data(), static_cast<std::size_t>(n));
    const std::size_t end = c.received.find("\r\n\r\n");
    if (end == std::string::npos) return true;
    Require(end + 4 == c.received.size(), "more than one request went out");
    Answer answer{"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"};
    {
      const std::lock_guard lock(mutex_);
      if (asked_.size() < answers_.size()) answer = answers_[asked_.size()];
      asked_.push_back({c.origin, std::exchange(c.received, {})});
    }
    (void)::send(fd, answer.bytes.data(), answer.bytes.size(), MSG_NOSIGNAL);
    if (!answer.keep) c.closed = true, ::shutdown(fd, SHUT_WR);
    return true;
  }

  std::array<int, 2> fds_{};
  std::array<Origin, 2> origins_;
  mutable std::mutex mutex_;
  std::vector<Answer> answers_;
  std::vector<Asked> asked_;
};

std::string Replace(std::string text, std::string_view from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
  return text;
}

std::string_view Line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  Require(end != std::string_view::npos, "an answer without an end was taken for complete");
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// The body as RFC 9112 6.3 has it, of an answer that the client took for right and complete.
std::string PlainBody(std::string_view answer, bool head) {
  int status = 0;
  bool chunked = false;
  std::optional<std::size_t> length;
  do {
    chunked = false, length.reset();  // those of a 1xx answer say nothing of the one that follows
    const std::string_view first = Line(answer);
    Require(first.starts_with("HTTP/") && first.find(' ') != first.npos, "no status line");
    status = std::atoi(std::string(first.substr(first.find(' ') + 1, 3)).c_str());
    for (std::string_view field = Line(answer); !field.empty(); field = Line(answer)) {
      const std::string_view name = field.substr(0, field.find(':'));
      if (EqualNoCase(name, "Transfer-Encoding")) chunked = true;
      if (EqualNoCase(name, "Content-Length")) length = std::strtoull(std::string(field.substr(name.size() + 1)).c_str(), nullptr, 10);
    }
  } while (status < 200);
  if (head || status == 204 || status == 304) return "";
  if (!chunked) return std::string(answer.substr(0, length.value_or(std::string_view::npos)));
  std::string body;
  for (;;) {
    const std::string_view line = Line(answer);
    std::size_t size = 0;
    const auto read = std::from_chars(line.data(), line.data() + line.size(), size, 16);
    Require(read.ec == std::errc() && read.ptr != line.data(), "a chunk without a size");
    if (size == 0) return body;
    Require(size <= answer.size(), "a chunk that is not all there");
    body += answer.substr(0, size);
    answer.remove_prefix(size);
    Require(Line(answer).empty(), "a chunk longer than its size");
  }
}

void CheckError(const Error& error, bool ours) {
  const std::string text = error.Text() + error.next_step();
  Require(text.find(kSecret) == text.npos, "an error tells the credential");
  Require(!ours || text.find(kTheirs) == text.npos, "an error tells what the server said");
  Require(text.find('?') == text.npos, "an error tells a query");
  Require(std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }), "control bytes in an error");
  Require(text.size() < 8192, "a long error");
  switch (error.reason()) {
    case Reason::kProtocolError: case Reason::kUnexpectedEof: case Reason::kUnexpectedStatus: case Reason::kConnectionReset:
    case Reason::kHttpOnHttps: case Reason::kLimitExceeded:
      return;
    case Reason::kPolicy: case Reason::kTooManyRedirects: case Reason::kInsecureRedirect:
      return Require(!ours, "the reason of a redirect without one");
    default:
      std::fprintf(stderr, "%s\n", text.c_str());
      return Require(false, "a reason that no answer can be");
  }
}

void CheckAnswer(const Response& r, const Request& request) {
  Require(r.status() >= 200 && r.status() <= 599, "status");
  Require(r.status() != 206 || request.headers.Has("Range"), "a part that nobody asked for");
  Require(r.headers().size() <= kLimits.header_fields, "header_fields");
  std::size_t bytes = 0;
  for (const Header& h : r.headers()) {
    bytes += h.name.size() + h.value.size();
    Require(!h.name.empty() && h.name.find_first_of(" \t:\r\n") == std::string::npos, "a name that is no token");
    Require(std::ranges::none_of(h.value, [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }), "a control byte");
  }
  Require(bytes <= kLimits.header_bytes, "header_bytes");
}

// To its end, or to its first error, in pieces of `room`.
Result<std::string> Body(Response& r, std::size_t room) {
  std::string body, piece(room, '\0');
  for (;;) {
    const auto n = r.Read(std::as_writable_bytes(std::span(piece)));
    if (!n) {
      const auto again = r.Read(std::as_writable_bytes(std::span(piece)));
      Require(!again && again.error().reason() == n.error().reason() && again.error().Text() == n.error().Text(), "another error afterwards");
      return n.error();
    }
    if (*n == 0) return body;
    Require(*n <= room, "more than there was room for");
    body.append(piece, 0, *n);
    Require(body.size() <= r.content_length().value_or(body.size()), "more than Content-Length");
  }
}

void Leftovers(Server& server, Request request, std::string_view rest) {
  const auto answer = [](std::string_view body) {
    return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
  };
  server.Begin({{answer("first") + std::string(rest), true}, {answer("second")}, {answer("second")}});
  Client client;
  for (const std::string_view expected : {"first", "second"}) {
    const auto response = client.Send({}, request);
    Require(response.has_value(), "an answer was not understood");
    const auto body = ReadAll(**response, kBody, "the body");
    Require(body && *body == expected, "bytes behind one answer became another");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Server& server = *new Server;
  if (size == 0 || size > 8192) return 0;
  const std::uint8_t flags = data[0];
  const bool head = flags & 1, range = flags & 2, conditional = flags & 4, follow = flags & 8, leftovers = flags & 16;
  std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
  Request request{.method = head ? Method::kHead : Method::kGet, .url = *Url::Parse(server.origin(0).ToString() + "/v2/a"), .limits = kLimits};
  request.allow_plain_http = true;
  if (leftovers) {
    request.method = Method::kGet;
    Leftovers(server, std::move(request), text);
    return 0;
  }
  if (text.find(kSecret) != text.npos) return 0;  // who guesses it may say it
  text = Replace(Replace(std::move(text), "$A", server.Authority(0)), "$B", server.Authority(1));
  std::vector<Server::Answer> answers;
  for (std::size_t at = 0, end = 0; end != text.npos; at = end + 2) {
    end = text.find("%%", at);
    answers.push_back({text.substr(at, end == text.npos ? end : end - at)});
  }
  request.authorization = secret::Secret("Bearer " + std::string(kSecret));
  request.headers.Add("X-Token", kSecret);
  if (range) request.headers.Add("Range", "bytes=2-");
  if (conditional) request.headers.Add("If-None-Match", "\"x\"");
  const std::string first = answers[0].bytes;
  server.Begin(std::move(answers));
  {
    Client client;
    RedirectPolicy policy{.allowed_origins = {server.origin(0), server.origin(1)}};
    const auto response = follow ? SendFollowing(client, {}, request, policy) : client.Send({}, request);
    if (!response) {
      CheckError(response.error(), !follow);
    } else {
      CheckAnswer(**response, request);
      Require((*response)->foreign() == ((*response)->url().origin() != server.origin(0)), "foreign");
      Require((*response)->hops() <= policy.max_hops && (follow || (*response)->hops() == 0), "hops");
      if (flags & 32) {
        const auto body = ReadAll(**response, kBody, "the body");
        body ? Require(body->size() <= kBody, "limit of the body") : CheckError(body.error(), !follow);
      } else {
        const auto body = Body(**response, flags & 64 ? 7 : 4096);
        if (!body) CheckError(body.error(), !follow);
        else if ((*response)->hops() == 0) Require(*body == PlainBody(first, head), "the body is another");
      }
    }
  }
  bool crossed = false;
  for (const auto& [origin, sent] : server.asked()) {
    crossed |= origin != 0;
    Require((sent.find(kSecret) == sent.npos) == crossed, "who may see the credential");
    Require(sent.find("\r\nHost: " + server.Authority(origin) + "\r\n") != sent.npos, "Host");
    Require(sent.starts_with(head ? "HEAD /" : "GET /"), "the method changed");
  }
  Require(server.asked().size() <= (follow ? 6u : 1u), "asked more often than allowed");
  return 0;
}
