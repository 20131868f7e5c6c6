// apps/berthd/notify.h: tells systemd how the daemon is (sd_notify's protocol: one datagram to $NOTIFY_SOCKET).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "result/result.h"
#include "time/clock.h"

namespace berth::berthd {

// "READY=1", "STOPPING=1", "STATUS=…". Does nothing when nobody listens.
void Notify(std::string_view state);

// "RELOADING=1" with the time that Type=notify-reload wants to know. READY=1 ends it.
void NotifyReloading();

// Keeps the service manager informed, when there is one: at half of WATCHDOG_USEC asks `alive`, and says WATCHDOG=1 if it
// succeeds; a daemon whose `alive` hangs or fails is silent, and is then restarted. At the same beat (every ten seconds without a
// watchdog) sends STATUS= with what `status` says, when that has changed. Idle without NOTIFY_SOCKET.
std::jthread KeepInformed(const time::Clock& clock, std::function<Result<>()> alive, std::function<std::string()> status);

}  // namespace berth::berthd
