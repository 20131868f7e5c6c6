#include <grpcpp/completion_queue.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "apps/berth/commands.h"
#include "apps/berth/format.h"
#include "apps/berth/json.h"
#include "apps/berth/progress.h"
#include "apps/berth/render.h"
#include "json/document.h"
#include "reference/reference.h"

namespace berth::cli {
namespace {

constexpr std::string_view kTtyLayers = "tty,layers";

ProgressMode ModeOf(const Session& session, std::string_view word) {
  const World& world = session.world();
  if (session.globals().quiet || word == "none") return ProgressMode::kNone;
  if (word == "json") return ProgressMode::kJson;
  if (word == "tty" || word == kTtyLayers) return ProgressMode::kTty;
  if (word == "plain" || !world.SmartTerminal() || !world.Variable("CI").empty()) return ProgressMode::kPlain;
  return ProgressMode::kTty;
}

v1::PullRequest RequestFor(const PullOptions& options, const reference::Reference& image,
                           const std::vector<credentials::Credential>& credentials, bool exclusive) {
  v1::PullRequest request;
  request.set_image(image.spelling());
  request.set_policy(options.policy);
  for (const auto& platform : options.platforms) request.add_platforms(platform);
  request.set_all_platforms(options.all_platforms);
  request.set_node_credentials(!exclusive);
  for (const auto& credential : credentials) FillCredential(credential, *request.add_credentials());
  return request;
}

// One streaming call; exactly one operation of it is under way at any time, so the call is its own tag.
struct Call {
  Call(std::string image, std::string policy, time::SteadyTime now) : tracker(std::move(image), std::move(policy), now) {}
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientAsyncReader<v1::PullEvent>> reader;
  v1::PullEvent event;
  grpc::Status status;
  Tracker tracker;
  bool finishing = false;
  std::size_t warned = 0;  // warnings that were shown
};

// "registry/repository@digest"
std::string Line(const v1::Pulled& pulled) {
  const auto name = reference::Reference::Parse(pulled.name());
  return Escape((name ? name->Repository() : pulled.name()) + "@" + pulled.digest());
}

// Calls under way. The daemon refuses more than 256 that last, of all its callers together, and does a few pulls at a time anyway.
constexpr std::size_t kAtOnce = 64;

class Pulls {
 public:
  Pulls(Session& session, std::string_view progress)
      : session_(session), reporter_(MakeReporter(ModeOf(session, progress), {.size = session.world().size,
                                                                             .colour = session.colour(session.world().err),
                                                                             .json_failures = session.json_errors(),
                                                                             .layers = progress == kTtyLayers})) {}

  int Run(v1::Berth::Stub& stub, const std::vector<v1::PullRequest>& requests) {
    for (const auto& request : requests)
      calls_.push_back(std::make_unique<Call>(request.image(), request.policy(), Now().steady));
    for (const auto& call : calls_) views_.push_back(call->tracker.view());
    Show();
    {
      const std::stop_callback cancel(session_.world().stop, [&] {
        for (const auto& call : calls_) call->context.TryCancel();
      });
      std::size_t started = 0, running = 0;
      const auto start = [&] {
        for (; started < calls_.size() && running < kAtOnce; ++started, ++running) {
          Call& call = *calls_[started];
          session_.Prepare(call.context);
          call.reader = stub.PrepareAsyncPull(&call.context, requests[started], &queue_);
          call.reader->StartCall(&call);
        }
      };
      for (start(); running > 0; start()) {
        void* tag = nullptr;
        bool ok = false;
        // The frame clock: the queue's own timer, so that one thread draws and listens.
        const auto beat = std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::milliseconds>(kBeat);
        if (queue_.AsyncNext(&tag, &ok, beat) == grpc::CompletionQueue::GOT_EVENT && Step(*static_cast<Call*>(tag), ok)) --running;
        Show();
      }
    }
    queue_.Shutdown();
    for (auto [tag, ok] = std::pair<void*, bool>(); queue_.Next(&tag, &ok);) {}
    if (session_.json()) WriteJson();
    std::vector<int> statuses;
    for (const auto& view : views_) statuses.push_back(view.failure ? view.failure->exit_status : 0);
    return MostActionable(statuses);
  }

 private:
  Moment Now() const { return {session_.world().clock.SteadyNow(), session_.world().clock.WallNow()}; }

  // True when the call has ended.
  bool Step(Call& call, bool ok) {
    const auto now = Now().steady;
    if (call.finishing) {
      if (!call.status.ok()) call.tracker.Fail(Judge(call), now);
      else if (!call.tracker.view().pulled)
        call.tracker.Fail(FromError(Error(Reason::kSocket, "berthd ended the pull without a result")), now);
      Ended(call);
      return true;
    }
    if (call.event.ByteSizeLong() > 0 && ok) call.tracker.Apply(call.event, now);
    const PullView& view = call.tracker.view();
    for (; call.warned < view.warnings.size(); ++call.warned)
      session_.world().err.Write(reporter_->Warned(view, view.warnings[call.warned].first, view.warnings[call.warned].second, Now()));
    call.event.Clear();
    call.finishing = !ok;
    if (ok) call.reader->Read(&call.event, &call);
    else call.reader->Finish(&call.status, &call);
    return false;
  }

  Failure Judge(const Call& call) const {
    Failure failure = session_.Judge(call.status, call.context);
    if (failure.exit_status == kTimeoutStatus || (failure.next.empty() && failure.code == "E-CANCELED"))
      failure.next = "what was fetched stays: the same command goes on from there";
    return failure;
  }

  void Show() {
    const Moment now = Now();
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (!views_[i].ended()) calls_[i]->tracker.Sample(now.steady);
      views_[i] = calls_[i]->tracker.view();
    }
    session_.world().err.Write(reporter_->Update(views_, now));
  }

  void Ended(Call& call) {
    session_.world().err.Write(reporter_->Ended(call.tracker.view(), Now()));
    if (session_.json()) return;
    // In the order of the arguments, each as soon as those before it have ended.
    for (; printed_ < calls_.size() && calls_[printed_]->tracker.view().ended(); ++printed_)
      if (const auto& pulled = calls_[printed_]->tracker.view().pulled) session_.Out(Line(*pulled) + "\n");
  }

  void WriteJson() const {
    Documents documents(session_, views_.size() > 1);
    for (const auto& view : views_) {
      if (!view.pulled) continue;
      json::Writer w;
      WritePulled(w, view.image, *view.pulled);
      documents.Add(std::move(w).Take());
    }
    documents.End();
  }

  Session& session_;
  std::unique_ptr<Reporter> reporter_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Call>> calls_;
  Snapshot views_;
  std::size_t printed_ = 0;
};

}  // namespace

void FillCredential(const credentials::Credential& credential, v1::Credential& row) {
  row.set_username(credential.username);
  row.set_password(std::string(credential.password.Reveal()));
  row.set_identity_token(std::string(credential.identity_token.Reveal()));
  row.set_registry_token(std::string(credential.registry_token.Reveal()));
  row.set_source(credential.source);
  row.set_pattern(credential.pattern);
}

int Pull(Session& session, PullOptions options) {
  // Every name is read before anything starts: a typing error in the last one should not cost ten minutes.
  std::vector<reference::Reference> images;
  for (const auto& text : options.images) {
    auto image = reference::Reference::Parse(text);
    if (!image) return session.Fail(FromError(std::move(image).error().Next("berth name NAME shows how a name is read")));
    images.push_back(*std::move(image));
  }
  if (auto one = OneRegistry(options.auth, images); !one) return session.Fail(FromError(one.error()));
  const auto stub = session.Stub();  // before anybody types a password in vain
  if (!stub) return session.Fail(FromError(stub.error()));
  const auto warn = [&](std::string_view text) { session.Warn(text); };
  const auto auth = Auth::Load(session.context(), session.world(), std::move(options.auth), warn);
  if (!auth) return session.Fail(session.Judge(auth.error()));
  std::vector<v1::PullRequest> requests;
  for (const auto& image : images) requests.push_back(RequestFor(options, image, auth->For(image, warn), auth->exclusive()));
  return Pulls(session, options.progress).Run(**stub, requests);
}

}  // namespace berth::cli
