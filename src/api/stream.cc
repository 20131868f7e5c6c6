#include "api/stream.h"

#include <vector>

namespace berth::api {

Error Stopping() { return Error(Reason::kUnavailable, "berthd is stopping").Next("try again when it runs again"); }

// --- Call

void Call::OnBeat(std::function<void()> beat) {
  std::lock_guard lock(mutex_);
  beat_ = std::move(beat);
}

Result<> Call::Write(const std::function<void()>& start) {
  RETURN_IF_ERROR(ctx_.Check());
  {
    std::lock_guard lock(mutex_);
    writing_ = true;
    writing_since_ = ctx_.clock().SteadyNow();
  }
  start();  // without the lock: gRPC may react on this very thread
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !writing_; });  // a cancelled call fails its write
  if (!written_) return Error(Reason::kCanceled, "the caller went away");
  return {};
}

void Call::WriteDone(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    written_ = ok;
  }
  if (!ok) stop_.request_stop();
  changed_.notify_all();
}

void Call::Beat(time::SteadyTime now, time::Duration write_timeout) {
  std::function<void()> beat;
  bool cancel = false;
  {
    std::lock_guard lock(mutex_);
    beat = beat_;
    cancel = writing_ && !done_ && now - writing_since_ >= write_timeout;
    if (cancel) cancelling_ = std::this_thread::get_id();
  }
  if (beat) beat();
  if (!cancel) return;
  context_.TryCancel();
  {
    std::lock_guard lock(mutex_);
    cancelling_.reset();
  }
  changed_.notify_all();
}

void Call::Done() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !cancelling_ || *cancelling_ == std::this_thread::get_id(); });
    done_ = true;
  }
  owner_.Forget(shared_from_this());
}

grpc::Status Call::StatusOf(const Result<>& result) {
  if (result) return grpc::Status::OK;
  return owner_.options_.to_status(context_, result.error().cancelled() && owner_.draining() ? Stopping() : result.error());
}

// --- Streams

Streams::Streams(StreamOptions options, const time::Clock& clock)
    : options_(std::move(options)), clock_(clock), beat_([this](std::stop_token stop) { Run(std::move(stop)); }) {}

Streams::~Streams() {
  Drain();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return calls_.empty() && bodies_ == 0; });
}

void Streams::Begin(std::shared_ptr<Call> call, std::function<Result<>()> body) {
  std::optional<Error> refused;
  {
    std::lock_guard lock(mutex_);
    if (draining_) {
      refused = Stopping();
    } else if (calls_.size() >= options_.limit) {
      refused = Error(Reason::kLimitExceeded, std::to_string(options_.limit) + " calls with a stream are running (limit streams)")
                    .Next("wait for one of them");
    }
    calls_.insert(call);
    bodies_ += refused ? 0 : 1;
  }
  changed_.notify_all();
  if (refused) {
    call->Finish(*refused);
    return;
  }
  const auto begun = task::Start(options_.spawn, [this, call, body = std::move(body)]() mutable {
    const Result<> result = body();
    body = nullptr;  // what it holds (a share in a pull) goes before the caller knows
    call->OnBeat(nullptr);
    call->Finish(result);
    call.reset();
    BodyEnded();
  });  // counted in bodies_: the destructor waits for it
  if (begun) return;
  call->Finish(begun.error());
  BodyEnded();
}

void Streams::BodyEnded() {
  // Under the lock: when the destructor sees the count it may return at once.
  std::lock_guard lock(mutex_);
  --bodies_;
  if (bodies_ == 0 && options_.on_idle) options_.on_idle();
  changed_.notify_all();
}

void Streams::Forget(const std::shared_ptr<Call>& call) {
  std::lock_guard lock(mutex_);
  calls_.erase(call);
  changed_.notify_all();
}

void Streams::Drain() {
  std::vector<std::shared_ptr<Call>> running;
  {
    std::lock_guard lock(mutex_);
    draining_ = true;
    running.assign(calls_.begin(), calls_.end());
  }
  for (const auto& call : running) call->stop_.request_stop();
}

bool Streams::draining() const {
  std::lock_guard lock(mutex_);
  return draining_;
}

std::size_t Streams::size() const {
  std::lock_guard lock(mutex_);
  return calls_.size();
}

void Streams::Run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return !calls_.empty(); })) return;
    }
    if (!clock_.SleepFor(stop, options_.interval)) return;
    std::vector<std::shared_ptr<Call>> running;
    {
      std::lock_guard lock(mutex_);
      running.assign(calls_.begin(), calls_.end());
    }
    for (const auto& call : running) call->Beat(clock_.SteadyNow(), options_.write_timeout);
  }
}

}  // namespace berth::api
