#include "apps/berthd/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "host/fd.h"

namespace berth::berthd {

void Notify(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || std::strlen(path) >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (path[0] == '@') address.sun_path[0] = '\0';
  const host::Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  (void)::sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
}

std::jthread FeedWatchdog(const time::Clock& clock, std::function<bool()> alive) {
  const auto number = [](const char* name) {
    const char* text = std::getenv(name);
    std::int64_t value = 0;
    if (text != nullptr) std::from_chars(text, text + std::strlen(text), value);
    return value;
  };
  const auto interval = std::chrono::microseconds(number("WATCHDOG_USEC"));
  const std::int64_t pid = number("WATCHDOG_PID");
  if (interval.count() <= 0 || (pid != 0 && pid != ::getpid())) return {};
  return std::jthread([&clock, alive = std::move(alive), interval](const std::stop_token& stop) {
    do {
      if (alive()) Notify("WATCHDOG=1");
    } while (clock.SleepFor(stop, interval / 2));
  });
}

}  // namespace berth::berthd
