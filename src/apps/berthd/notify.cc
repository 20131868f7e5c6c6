#include "apps/berthd/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "host/fd.h"
#include "log/log.h"

namespace berth::berthd {
namespace {

constexpr auto kStatusBeat = std::chrono::seconds(10);

}  // namespace

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

void NotifyReloading() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  Notify("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(now.tv_sec * 1'000'000 + now.tv_nsec / 1000));
}

std::jthread KeepInformed(const time::Clock& clock, std::function<Result<>()> alive, std::function<std::string()> status) {
  if (std::getenv("NOTIFY_SOCKET") == nullptr) return {};
  const auto number = [](const char* name) {
    const char* text = std::getenv(name);
    std::int64_t value = 0;
    if (text != nullptr) std::from_chars(text, text + std::strlen(text), value);
    return value;
  };
  const std::int64_t interval = number("WATCHDOG_USEC"), pid = number("WATCHDOG_PID");
  const bool watched = interval > 0 && (pid == 0 || pid == ::getpid());
  const time::Duration beat = watched ? time::Duration(std::chrono::microseconds(interval)) / 2 : kStatusBeat;
  return std::jthread([&clock, alive = std::move(alive), status = std::move(status), watched, beat](const std::stop_token& stop) {
    std::string told;
    do {
      if (watched) {
        if (const auto answer = alive()) Notify("WATCHDOG=1");
        else log::Failure("the daemon's check of itself fails; the service manager will restart it", {{"error", answer.error()}});
      }
      if (std::string now = status(); now != told) Notify("STATUS=" + (told = std::move(now)));
    } while (clock.SleepFor(stop, beat));
  });
}

}  // namespace berth::berthd
