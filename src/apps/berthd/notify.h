// apps/berthd/notify.h: tells systemd how the daemon is (sd_notify's protocol: one datagram to $NOTIFY_SOCKET).
#pragma once

#include <string_view>

namespace berth::berthd {

// "READY=1", "STOPPING=1", "STATUS=…". Does nothing when nobody listens.
void Notify(std::string_view state);

}  // namespace berth::berthd
