#include "host/listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace berth::host {
namespace {

constexpr int kBacklog = SOMAXCONN;  // a caller that finds no place in it is turned away; the system may allow less
constexpr long kMostInherited = 64;

Error SocketError(int saved_errno, const std::string& what, const char* next) {
  return Error(Reason::kSocket, OsError(saved_errno, what).message()).Next(next);
}

}  // namespace

Result<Fd> ListenUnix(const std::string& path, std::uint32_t mode) {
  constexpr const char* kNext = "check the folder of the socket and its owner";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path || !path.starts_with('/'))
    return Error(Reason::kUsage, "the socket's path " + Quoted(path) + " is not absolute or longer than " +
                                     std::to_string(sizeof address.sun_path - 1) + " bytes");
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0) {
    if (!S_ISSOCK(st.st_mode)) return Error(Reason::kUsage, Quoted(path) + " is there and is no socket").Next("name another path, or remove it");
    if (::unlink(path.c_str()) != 0) return SocketError(errno, "remove the stale socket " + Quoted(path), kNext);
  }
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return SocketError(errno, "make a socket", kNext);
  // bind() makes the file with the mode of the socket less the umask, which belongs to all threads: never with more than `mode`.
  if (::fchmod(fd.get(), mode) != 0 || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::chmod(path.c_str(), mode) != 0)
    return SocketError(errno, "bind the socket " + Quoted(path), kNext);
  if (::listen(fd.get(), kBacklog) != 0) return SocketError(errno, "listen on the socket " + Quoted(path), kNext);
  return fd;
}

void RemoveSocket(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) ::unlink(path.c_str());
}

Result<TcpAddress> ParseTcpAddress(std::string_view text) {
  const Error wrong = Error(Reason::kUsage, Quoted(text) + " is not ADDRESS:PORT, with [ ] around an IPv6 address");
  const auto colon = text.rfind(':');
  if (colon == text.npos) return wrong;
  TcpAddress out;
  std::string_view ip = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (error != std::errc() || end != port.data() + port.size()) return wrong;
  if (ip.starts_with('[') && ip.ends_with(']')) {
    out.v6 = true;
    ip = ip.substr(1, ip.size() - 2);
  }
  out.ip = ip;
  in_addr v4{};
  in6_addr v6{};
  if (::inet_pton(out.v6 ? AF_INET6 : AF_INET, out.ip.c_str(), out.v6 ? static_cast<void*>(&v6) : &v4) != 1) return wrong;
  out.loopback = out.v6 ? IN6_IS_ADDR_LOOPBACK(&v6) : (ntohl(v4.s_addr) >> 24) == 127;
  return out;
}

Result<> CheckListenAddress(std::string_view text) {
  if (text.starts_with("unix://") ? text.substr(7).starts_with('/') : ParseTcpAddress(text).has_value()) return {};
  return Error(Reason::kConfig, Quoted(text) + " is not ADDRESS:PORT and not unix:///PATH");
}

Result<Fd> ListenTcp(const TcpAddress& address) {
  constexpr const char* kNext = "see who listens there (ss -ltnp), or set another address";
  const std::string name = (address.v6 ? "[" + address.ip + "]" : address.ip) + ":" + std::to_string(address.port);
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(address.port);
  (void)::inet_pton(AF_INET, address.ip.c_str(), &v4.sin_addr);
  (void)::inet_pton(AF_INET6, address.ip.c_str(), &v6.sin6_addr);
  Fd fd(::socket(address.v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return SocketError(errno, "make a socket for " + name, kNext);
  const int yes = 1;
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (address.v6) (void)::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  const auto* where = address.v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
  if (::bind(fd.get(), where, address.v6 ? sizeof v6 : sizeof v4) != 0) return SocketError(errno, "bind " + name, kNext);
  if (::listen(fd.get(), kBacklog) != 0) return SocketError(errno, "listen on " + name, kNext);
  return fd;
}

Result<std::uint16_t> PortOf(int listener) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) return OsError(errno, "getsockname");
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return Error(Reason::kUsage, "a Unix socket has no port");
}

Result<std::vector<Inherited>> TakeInheritedSockets() {
  const auto number = [](const char* name) {
    const char* text = std::getenv(name);
    long value = -1;
    if (text != nullptr) std::from_chars(text, text + std::strlen(text), value);
    return value;
  };
  const long pid = number("LISTEN_PID"), count = number("LISTEN_FDS");
  const char* told = std::getenv("LISTEN_FDNAMES");
  std::string names = told == nullptr ? "" : told;
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  std::vector<Inherited> sockets;
  if (pid != ::getpid() || count <= 0) return sockets;
  if (count > kMostInherited) return Error(Reason::kConfig, "the service manager handed over " + std::to_string(count) + " sockets");
  for (int fd = 3; fd < 3 + count; ++fd) {
    const auto colon = names.find(':');
    sockets.push_back({names.substr(0, colon), Fd(fd)});
    names = colon == names.npos ? "" : names.substr(colon + 1);
  }
  for (const auto& [name, fd] : sockets) {
    int listening = 0;
    socklen_t length = sizeof listening;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || listening == 0)
      return Error(Reason::kConfig, "descriptor " + std::to_string(fd.get()) + " (" + Quoted(name) +
                                        "), which the service manager handed over, is no listening socket");
    ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
    RETURN_IF_ERROR(SetNonBlocking(fd.get(), true));
  }
  return sockets;
}

}  // namespace berth::host
