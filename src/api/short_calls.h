// api/short_calls.h: unary calls: gRPC's own threads never block, what may block runs on a pool.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <stop_token>

#include "result/result.h"
#include "task/context.h"
#include "task/pool.h"
#include "time/clock.h"

namespace berth::api {

// Safe for concurrent use. The destructor runs what is queued: declare it after all that work uses.
class ShortCalls {
 public:
  using Call = grpc::CallbackServerContext;
  using Work = std::function<Result<>(const task::Context&)>;

  // From when `stop` is requested on, work is cancelled and calls fail as "berthd is stopping".
  ShortCalls(std::stop_token stop, std::size_t threads, std::size_t queue, const time::Clock& clock);

  // Runs `work` on the pool; the message and the answer live until the call is finished. Its Context is stopped when the caller is
  // gone, cancels, or has waited as long as he would: work that has not begun by then never does. kUnavailable when the queue is full.
  grpc::ServerUnaryReactor* Do(Call* call, Work work);
  // On this very thread: what came out.
  static grpc::ServerUnaryReactor* Finish(Call* call, const Result<>& done);

 private:
  const std::stop_token stop_;
  const time::Clock& clock_;
  task::Pool pool_;
};

}  // namespace berth::api
