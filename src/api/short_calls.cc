#include "api/short_calls.h"

#include "api/status.h"
#include "api/stream.h"

namespace berth::api {
namespace {

grpc::Status StatusOf(ShortCalls::Call* call, const Result<>& done) { return done ? grpc::Status::OK : ToStatus(*call, done.error()); }

}  // namespace

ShortCalls::ShortCalls(std::stop_token stop, std::size_t threads, std::size_t queue, const time::Clock& clock)
    : stop_(std::move(stop)), clock_(clock), pool_(threads, queue) {}

grpc::ServerUnaryReactor* ShortCalls::Finish(Call* call, const Result<>& done) {
  auto* reactor = call->DefaultReactor();
  reactor->Finish(StatusOf(call, done));
  return reactor;
}

grpc::ServerUnaryReactor* ShortCalls::Do(Call* call, Work work) {
  auto* reactor = call->DefaultReactor();  // once: each time makes it anew
  const bool taken = pool_.Post([this, call, reactor, work = std::move(work)] {
    const task::Context ctx(stop_, clock_);
    Result<> done = ctx.stopped() ? Result<>(Stopping()) : work(ctx);
    if (!done && done.error().cancelled() && ctx.stopped()) done = Stopping();
    reactor->Finish(StatusOf(call, done));
  });
  if (!taken) reactor->Finish(StatusOf(call, Error(Reason::kUnavailable, "berthd has too much to do").Next("try again in a moment")));
  return reactor;
}

}  // namespace berth::api
