#include "host/poll.h"

#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <thread>
#include <vector>

#include "host/fd.h"

namespace berth::host {

Result<> Poll(const task::Context& ctx, std::span<pollfd> entries) {
  const bool stoppable = ctx.stop().stop_possible();
  const bool foreign_clock = ctx.deadline() && &ctx.clock() != &time::SystemClock();
  Fd event;
  if (stoppable || foreign_clock) {
    event = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event.valid()) return OsError(errno, "make an event descriptor");
  }
  const auto wake = [raw = event.get()] { (void)::eventfd_write(raw, 1); };
  std::optional<std::stop_callback<decltype(wake)>> on_stop;
  if (stoppable) on_stop.emplace(ctx.stop(), wake);
  std::jthread alarm;  // joins before `event` closes
  if (foreign_clock)
    alarm = std::jthread([&ctx, wake](const std::stop_token& gone) {
      if (ctx.clock().SleepUntil(gone, *ctx.deadline())) wake();
    });

  std::vector<pollfd> all(entries.begin(), entries.end());
  if (event.valid()) all.push_back({event.get(), POLLIN, 0});
  while (true) {
    timespec timeout{};
    const timespec* limit = nullptr;
    if (ctx.deadline() && !foreign_clock) {
      const auto left = std::max(*ctx.deadline() - ctx.clock().SteadyNow(), time::Duration::zero());
      timeout = {static_cast<time_t>(left.count() / 1'000'000'000), static_cast<long>(left.count() % 1'000'000'000)};
      limit = &timeout;
    }
    const int n = ::ppoll(all.data(), all.size(), limit, nullptr);
    if (n < 0 && errno != EINTR) return OsError(errno, "poll");
    bool ready = false;
    if (n > 0)
      for (std::size_t i = 0; i < entries.size(); ++i) {
        entries[i].revents = all[i].revents;
        ready |= all[i].revents != 0;
      }
    if (ready) return {};
    RETURN_IF_ERROR(ctx.Check());
  }
}

Result<> AwaitReadable(const task::Context& ctx, int fd) {
  pollfd entry{fd, POLLIN, 0};
  return Poll(ctx, {&entry, 1});
}

}  // namespace berth::host
