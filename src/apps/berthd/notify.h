// apps/berthd/notify.h: tells systemd how the daemon is (sd_notify's protocol: one datagram to $NOTIFY_SOCKET).
#pragma once

#include <functional>
#include <string_view>
#include <thread>

#include "time/clock.h"

namespace berth::berthd {

// "READY=1", "STOPPING=1", "STATUS=…". Does nothing when nobody listens.
void Notify(std::string_view state);

// When the service manager wants to hear (WATCHDOG_USEC): at half that interval asks `alive`, and says so if it answers
// true. A daemon whose `alive` hangs is silent, and is then restarted. Idle otherwise.
std::jthread FeedWatchdog(const time::Clock& clock, std::function<bool()> alive);

}  // namespace berth::berthd
