// api/pool.h: threads for the short calls: gRPC's own threads never block.
#pragma once

#include "task/pool.h"

namespace berth::api {
using task::Pool;
}  // namespace berth::api
