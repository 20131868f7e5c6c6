// host/listen.h: listening sockets: our own, and those that the service manager handed over.
//
// All are non-blocking and close-on-exec. Errors are kSocket with the next step, kUsage for an address that is none.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/fd.h"

namespace berth::host {

// A Unix socket at an absolute path of at most 107 bytes, made with `mode`. A socket that is there already is taken to be
// stale and replaced: the caller holds the lock that proves it. A file that is no socket stays, and is kUsage.
Result<Fd> ListenUnix(const std::string& path, std::uint32_t mode = 0600);
// Removes the socket at `path`, if it is one.
void RemoveSocket(const std::string& path);

// "127.0.0.1:10290", "[::1]:0"; port 0: any that is free (PortOf tells). Numeric addresses only.
struct TcpAddress {
  std::string ip;
  std::uint16_t port = 0;
  bool v6 = false;
  bool loopback = false;
};
Result<TcpAddress> ParseTcpAddress(std::string_view text);
Result<Fd> ListenTcp(const TcpAddress& address);
Result<std::uint16_t> PortOf(int listener);

// Sockets from the service manager (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES): descriptors 3 and on, in order. Takes them over
// and removes the variables: call it once, before there are threads. Empty when LISTEN_PID is not ours; kConfig for what
// is no listening socket.
struct Inherited {
  std::string name;  // FileDescriptorName=, "" when none was told
  Fd fd;
};
Result<std::vector<Inherited>> TakeInheritedSockets();

}  // namespace berth::host
