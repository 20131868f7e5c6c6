// api/stream.h: calls that answer with a stream of events, or that wait long for their one answer, each with a thread of its own.
//
//   return streams.Start<PullEvent>(call, [=](Stream<PullEvent>& stream) -> Result<> { … stream.Send(event) … });
//   return streams.StartOne(call, [=](Call& waiting) -> Result<> { … answer->set_… });
//
// The body may block; its Result becomes the call's status. gRPC's reactions only set flags and wake the body: when the
// caller goes away or cancels, the body's Context is stopped within a millisecond. Send() waits until gRPC has taken the
// event, so a slow reader slows its own stream only, with one event in memory; one that takes nothing for
// `write_timeout` is cancelled. All streams together have one beat (`interval`, on the injected clock), which runs only
// while there are any. Drain() refuses new calls and stops the running ones; both then fail as unavailable, as does a call for
// which there is no thread.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>

#include "api/status.h"
#include "result/result.h"
#include "task/context.h"
#include "task/spawn.h"

namespace berth::api {

struct StreamOptions {
  std::size_t limit = 128;  // at once
  time::Duration interval = std::chrono::milliseconds(100);
  time::Duration write_timeout = std::chrono::seconds(30);
  std::function<void()> on_idle;  // the last one has ended
  task::Spawn spawn = task::SpawnDetached;
  std::function<grpc::Status(grpc::CallbackServerContext&, const Error&)> to_status = ToStatus;
};

class Streams;

// What a stream is, whatever its events are.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(Streams& owner, grpc::CallbackServerContext& context, const time::Clock& clock)
      : owner_(owner), context_(context), ctx_(stop_.get_token(), clock) {}
  virtual ~Call() = default;

  const task::Context& ctx() const { return ctx_; }
  // Called at every beat, on the beat's thread, until the body has returned.
  void OnBeat(std::function<void()> beat);

 protected:
  friend class Streams;
  virtual void Finish(const Result<>& result) = 0;
  void Beat(time::SteadyTime now, time::Duration write_timeout);
  void WriteDone(bool ok);
  void Done();
  // Waits for the write that `start` begins.
  Result<> Write(const std::function<void()>& start);
  grpc::Status StatusOf(const Result<>& result);

  Streams& owner_;
  grpc::CallbackServerContext& context_;  // gRPC's, valid until Done() returns
  std::stop_source stop_;
  const task::Context ctx_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> beat_;                      // guarded by mutex_
  bool writing_ = false, written_ = true;           // guarded by mutex_
  time::SteadyTime writing_since_{};                // guarded by mutex_
  bool done_ = false;                               // guarded by mutex_
  std::optional<std::thread::id> cancelling_;       // guarded by mutex_: uses context_ right now
};

template <class Event>
class Stream final : public grpc::ServerWriteReactor<Event>, public Call {
 public:
  using Call::Call;
  Result<> Send(Event event) {
    event_ = std::move(event);
    return Write([this] { this->StartWrite(&event_); });
  }

 private:
  void Finish(const Result<>& result) override { grpc::ServerWriteReactor<Event>::Finish(StatusOf(result)); }
  void OnWriteDone(bool ok) override { WriteDone(ok); }
  void OnCancel() override { stop_.request_stop(); }
  void OnDone() override { Done(); }
  Event event_;
};

// No events, one answer: gRPC sends it when the body has returned.
class Waiting final : public grpc::ServerUnaryReactor, public Call {
 public:
  using Call::Call;

 private:
  void Finish(const Result<>& result) override { grpc::ServerUnaryReactor::Finish(StatusOf(result)); }
  void OnCancel() override { stop_.request_stop(); }
  void OnDone() override { Done(); }
};

// Safe for concurrent use. The destructor drains and waits until gRPC has let go of every call: the server must be shut
// down, or shutting down, by then.
class Streams {
 public:
  Streams(StreamOptions options, const time::Clock& clock);
  ~Streams();

  template <class Event>
  grpc::ServerWriteReactor<Event>* Start(grpc::CallbackServerContext* context, std::function<Result<>(Stream<Event>&)> body) {
    auto stream = std::make_shared<Stream<Event>>(*this, *context, clock_);
    Begin(stream, [body = std::move(body), raw = stream.get()] { return body(*raw); });
    return stream.get();
  }
  grpc::ServerUnaryReactor* StartOne(grpc::CallbackServerContext* context, std::function<Result<>(Call&)> body) {
    auto call = std::make_shared<Waiting>(*this, *context, clock_);
    Begin(call, [body = std::move(body), raw = call.get()] { return body(*raw); });
    return call.get();
  }
  void Drain();
  bool draining() const;
  std::size_t size() const;

 private:
  friend class Call;
  void Begin(std::shared_ptr<Call> call, std::function<Result<>()> body);
  void Forget(const std::shared_ptr<Call>& call);
  void BodyEnded();
  void Run(std::stop_token stop);

  const StreamOptions options_;
  const time::Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::set<std::shared_ptr<Call>> calls_;  // guarded by mutex_: until gRPC is done with them
  std::size_t bodies_ = 0;                 // guarded by mutex_: threads
  bool draining_ = false;                  // guarded by mutex_
  std::jthread beat_;                      // last: uses all of the above
};

// What a call that has to end because the daemon does is told.
Error Stopping();

}  // namespace berth::api
