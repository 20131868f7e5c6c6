// apps/berth/trace.h: what -v 4 and more tell of the calls to berthd.
#pragma once

#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <string>
#include <vector>

#include "apps/berth/world.h"

namespace berth::cli {

// "12.3ms"
std::string TraceTime(time::Duration duration);

// For a channel: each call's name and duration when it has ended; from -v 6 on its beginning, messages and status, too. Never what is in
// a message. They run on the threads that wait for the calls. `world` outlives the channel.
std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> CallTracers(World& world);

}  // namespace berth::cli
