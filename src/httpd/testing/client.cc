#include "httpd/testing/client.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

namespace berth::httpd::testing {

struct Client::State {
  int fd = -1;
  gnutls_session_t session = nullptr;
  gnutls_certificate_credentials_t trust = nullptr;
  bool good = true;
};

Client::Client(std::uint16_t port, Transport transport, const std::string& ca_file, const Self& self, const std::string& priority)
    : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int yes = 1;
  (void)::setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (::connect(s.fd, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0) std::abort();
  if (transport == Transport::kPlain) return;
  gnutls_certificate_allocate_credentials(&s.trust);
  gnutls_init(&s.session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL);  // a server that shuts the door must not end the test
  if (priority.empty()) gnutls_set_default_priority(s.session);
  else if (gnutls_priority_set_direct(s.session, priority.c_str(), nullptr) != 0) std::abort();
  if (!self.cert_file.empty() &&
      gnutls_certificate_set_x509_key_file(s.trust, self.cert_file.c_str(), self.key_file.c_str(), GNUTLS_X509_FMT_PEM) < 0)
    std::abort();
  gnutls_credentials_set(s.session, GNUTLS_CRD_CERTIFICATE, s.trust);
  if (!ca_file.empty()) {
    if (gnutls_certificate_set_x509_trust_file(s.trust, ca_file.c_str(), GNUTLS_X509_FMT_PEM) <= 0) std::abort();
    gnutls_session_set_verify_cert(s.session, "127.0.0.1", 0);
  }
  gnutls_transport_set_int(s.session, s.fd);
  gnutls_handshake_set_timeout(s.session, 30'000);
  int error;
  do error = gnutls_handshake(s.session);
  while (error < 0 && gnutls_error_is_fatal(error) == 0);
  s.good = error >= 0;
}

Client::~Client() {
  if (state_->session != nullptr) gnutls_deinit(state_->session);
  if (state_->trust != nullptr) gnutls_certificate_free_credentials(state_->trust);
  ::close(state_->fd);
}

bool Client::ok() const { return state_->good; }

bool Client::Send(const std::string& bytes) {
  State& s = *state_;
  if (!s.good) return false;
  for (std::size_t done = 0; done < bytes.size();) {
    const char* const rest = bytes.data() + done;
    const ssize_t sent = s.session ? gnutls_record_send(s.session, rest, bytes.size() - done)  // one record at most
                                   : ::send(s.fd, rest, bytes.size() - done, MSG_NOSIGNAL);
    if (s.session && (sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED)) continue;
    if (sent <= 0) return false;
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

std::optional<std::string> Client::Ask(const std::string& request) {
  State& s = *state_;
  if (!Send(request)) return std::nullopt;
  std::string got;
  char room[4096];
  for (;;) {
    const ssize_t n = s.session ? gnutls_record_recv(s.session, room, sizeof room) : ::recv(s.fd, room, sizeof room, 0);
    if (s.session && (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)) continue;
    if (n <= 0) return std::nullopt;
    got.append(room, static_cast<std::size_t>(n));
    const auto head = got.find("\r\n\r\n");
    const auto length = got.find("Content-Length: ");
    if (head != got.npos && length < head && got.size() >= head + 4 + std::strtoul(got.c_str() + length + 16, nullptr, 10)) return got;
  }
}

}  // namespace berth::httpd::testing
