// http/testing/black_hole.h: an address that never answers, for tests of connect limits.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string>

namespace berth::http::testing {

// A port that answers no SYN: its queue of connections is full and nobody accepts.
class BlackHole {
 public:
  BlackHole() {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof a;
    auto* address = reinterpret_cast<sockaddr*>(&a);
    EXPECT_EQ(bind(fds_[0], address, length), 0);
    EXPECT_EQ(listen(fds_[0], 0), 0);
    getsockname(fds_[0], address, &length);
    port_ = ntohs(a.sin_port);
    for (std::size_t i = 1; i < fds_.size(); ++i) (void)connect(fds_[i], address, length);
  }
  ~BlackHole() {
    for (const int fd : fds_) close(fd);
  }
  std::string url() const { return "https://127.0.0.1:" + std::to_string(port_) + "/"; }

 private:
  static int Open() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }
  std::array<int, 5> fds_{Open(), Open(), Open(), Open(), Open()};
  std::uint16_t port_ = 0;
};

}  // namespace berth::http::testing
