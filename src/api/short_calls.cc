#include "api/short_calls.h"

#include <memory>
#include <utility>

#include "api/status.h"
#include "api/stream.h"

namespace berth::api {
namespace {

grpc::Status StatusOf(ShortCalls::Call* call, const Result<>& done) { return done ? grpc::Status::OK : ToStatus(*call, done.error()); }

class Reactor final : public grpc::ServerUnaryReactor {
 public:
  static std::shared_ptr<Reactor> Make() {
    auto reactor = std::make_shared<Reactor>();
    reactor->self_ = reactor;
    return reactor;
  }
  std::stop_source stop;  // the caller is gone, or his deadline has passed

 private:
  void OnCancel() override { stop.request_stop(); }
  void OnDone() override { const auto last = std::move(self_); }
  std::shared_ptr<Reactor> self_;  // until gRPC has let go of the call
};

}  // namespace

ShortCalls::ShortCalls(std::stop_token stop, std::size_t threads, std::size_t queue, const time::Clock& clock)
    : stop_(std::move(stop)), clock_(clock), pool_(threads, queue) {}

grpc::ServerUnaryReactor* ShortCalls::Finish(Call* call, const Result<>& done) {
  auto* reactor = call->DefaultReactor();
  reactor->Finish(StatusOf(call, done));
  return reactor;
}

grpc::ServerUnaryReactor* ShortCalls::Do(Call* call, Work work) {
  const auto reactor = Reactor::Make();
  const bool taken = pool_.Post([this, call, reactor, work = std::move(work)] {
    const std::stop_callback with_us(stop_, [&] { reactor->stop.request_stop(); });
    const task::Context ctx(reactor->stop.get_token(), clock_);
    Result<> done = ctx.Check();
    if (done) done = work(ctx);
    if (!done && done.error().cancelled() && stop_.stop_requested()) done = Stopping();
    reactor->Finish(StatusOf(call, done));
  });
  if (!taken) reactor->Finish(StatusOf(call, Error(Reason::kUnavailable, "berthd has too much to do").Next("try again in a moment")));
  return reactor.get();
}

}  // namespace berth::api
