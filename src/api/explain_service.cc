#include "api/explain_service.h"

#include "api/credentials.h"
#include "berth/v1/explain.grpc.pb.h"
#include "secret/secret.h"

namespace berth::api {
namespace {

constexpr std::size_t kQuestions = 1000;

v1::Report ToMessage(const explain::Report& report, bool probe, time::WallTime now) {
  v1::Report message;
  message.set_json(explain::ToJson(report));
  message.set_text(probe ? explain::ProbeText(report, now) : explain::ToText(report, now));
  message.set_code(report.verdict.code);
  message.set_exit_status(report.verdict.exit_status);
  return message;
}

// The message is gRPC's and lives as long as the call; what is secret in it goes at once.
struct Taken {
  v1::ExplainRequest request;
  secret::Secret objects;
  Result<std::vector<credentials::Credential>> credentials = std::vector<credentials::Credential>();
};
std::shared_ptr<Taken> Take(const v1::ExplainRequest& message) {
  auto& from = const_cast<v1::ExplainRequest&>(message);
  auto taken = std::make_shared<Taken>();
  taken->credentials = TakeCredentials(*from.mutable_credentials());
  taken->objects = secret::Secret::Take(*from.mutable_objects());
  from.clear_credentials();
  taken->request = from;
  return taken;
}

}  // namespace

class ExplainService::Impl final : public v1::Explain::CallbackService {
 public:
  Impl(const explain::Explainer& explainer, const explain::Cluster* cluster, StreamOptions streams, const time::Clock& clock)
      : explainer_(explainer), cluster_(cluster), clock_(clock), streams_(std::move(streams), clock) {}
  void Drain() { streams_.Drain(); }

 private:
  using Context = grpc::CallbackServerContext;

  grpc::ServerWriteReactor<v1::Report>* Explain(Context* call, const v1::ExplainRequest* message) override {
    return streams_.Start<v1::Report>(call, [this, taken = Take(*message)](auto& stream) -> Result<> {
      const v1::ExplainRequest& request = taken->request;
      if (request.last()) {
        ASSIGN_OR_RETURN(const auto report, explainer_.Last(request.image()));
        return stream.Send(ToMessage(report, false, clock_.WallNow()));
      }
      ASSIGN_OR_RETURN(auto questions, Questions(*taken));
      if (questions.size() > kQuestions) return Error(Reason::kUsage, "more than " + std::to_string(kQuestions) + " images at once");
      for (auto& question : questions) {
        ASSIGN_OR_RETURN(const auto report, explainer_.Explain(stream.ctx(), std::move(question)));
        RETURN_IF_ERROR(stream.Send(ToMessage(report, false, clock_.WallNow())));
      }
      return {};
    });
  }

  grpc::ServerWriteReactor<v1::Report>* Probe(Context* call, const v1::ProbeRequest* message) override {
    auto credentials = std::make_shared<Result<std::vector<credentials::Credential>>>(
        TakeCredentials(*const_cast<v1::ProbeRequest*>(message)->mutable_credentials()));
    return streams_.Start<v1::Report>(call, [this, credentials, target = message->target()](auto& stream) -> Result<> {
      if (!*credentials) return credentials->error();
      ASSIGN_OR_RETURN(const auto report, explainer_.Probe(stream.ctx(), target, std::move(**credentials)));
      return stream.Send(ToMessage(report, true, clock_.WallNow()));
    });
  }

  Result<std::vector<explain::Question>> Questions(Taken& taken) const {
    const v1::ExplainRequest& request = taken.request;
    const std::string ns = request.namespace_().empty() ? "default" : request.namespace_();
    if (!request.pod().empty()) {
      if (cluster_ == nullptr) return Error(Reason::kUnsupported, "this berthd runs no Pods").Next("berth explain -f FILE, or berth explain IMAGE");
      return explain::AskAboutPod(*cluster_, ns, request.pod());
    }
    if (!taken.objects.empty()) {
      auto questions = explain::AskAboutFile(taken.objects.Reveal(), request.file().empty() ? "-" : request.file(), ns, cluster_);
      for (const auto& plugin : request.admission())
        for (std::size_t i = 0; questions && i < questions->size(); ++i) RETURN_IF_ERROR(explain::Admit(plugin, (*questions)[i]));
      return questions;
    }
    if (!taken.credentials) return taken.credentials.error();
    explain::Question question{.image = request.image()};
    if (!request.policy().empty()) {
      question.policy = policy::ParsePullPolicy(request.policy());
      if (!question.policy) return Error(Reason::kUsage, "there is no policy " + Quoted(request.policy())).Next("use IfNotPresent, Always or Never");
    }
    question.given = *std::move(taken.credentials);
    question.node_credentials = request.node_credentials();
    std::vector<explain::Question> one;
    one.push_back(std::move(question));
    return one;
  }

  const explain::Explainer& explainer_;
  const explain::Cluster* const cluster_;
  const time::Clock& clock_;
  Streams streams_;
};

ExplainService::ExplainService(const explain::Explainer& explainer, const explain::Cluster* cluster, StreamOptions streams,
                               const time::Clock& clock)
    : impl_(std::make_unique<Impl>(explainer, cluster, std::move(streams), clock)) {}
ExplainService::~ExplainService() = default;
void ExplainService::Drain() { impl_->Drain(); }
grpc::Service& ExplainService::grpc() { return *impl_; }

}  // namespace berth::api
