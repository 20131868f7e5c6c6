#include "apps/berth-webhook/service.h"

#include <algorithm>

#include "log/log.h"
#include "time/go_duration.h"

namespace berth::webhook {
namespace {

constexpr std::array<std::string_view, 5> kResults{"allowed", "changed", "denied", "failed", "refused"};
constexpr auto kWayBack = std::chrono::seconds(1);

httpd::Response Refuse(int status, const std::string& text) {
  kube::Status answer = kube::Status::BadRequest(text);
  answer.code = status;
  return httpd::Response::Json(status, answer.Json());
}

bool IsJson(std::string_view type) {
  type = type.substr(0, type.find(';'));
  while (type.ends_with(' ')) type.remove_suffix(1);
  return type == "application/json";
}

}  // namespace

Service::Service(const admission::Admission& mutating, const admission::Admission& validating, metrics::Registry& metrics,
                 ServiceOptions options)
    : options_(std::move(options)), mutate_{mutating, {}, {}}, validate_{validating, {}, {}} {
  const auto counters = metrics.Counters("berth_webhook_reviews_total",
                                         "Reviews by their end; failed: denied (or let through) for trouble of our own; refused: no review.",
                                         {{"page", 2}, {"result", kResults.size()}});
  const auto seconds = metrics.Histograms("berth_webhook_review_duration_seconds", "From the whole request to its answer.", {{"page", 2}},
                                          {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30});
  for (auto& [name, page] : {std::pair<const char*, Page&>{"mutate", mutate_}, {"validate", validate_}}) {
    for (std::size_t i = 0; i < kResults.size(); ++i) page.results[i] = counters.With({name, kResults[i]});
    page.seconds = seconds.With({name});
  }
  metrics.Collect("berth_webhook_reviews_running", "Reviews at work.", metrics::Kind::kGauge,
                  [this] { return std::vector<metrics::Sample>{{.labels = {}, .value = static_cast<double>(running_.load())}}; });
}

httpd::Response Service::Answer(const task::Context& ctx, const httpd::Request& request) {
  if (request.path == "/mutate") return Review(ctx, request, mutate_);
  if (request.path == "/validate") return Review(ctx, request, validate_);
  return httpd::Response::Text(404, "there are: /mutate /validate\n");
}

httpd::Response Service::Review(const task::Context& ctx, const httpd::Request& request, const Page& page) {
  const auto refused = [&](httpd::Response answer) {
    page.results[4].Add();
    return answer;
  };
  if (request.method != "POST") {
    auto wrong = Refuse(405, "reviews are posted");
    wrong.fields.emplace_back("Allow", "POST");
    return refused(std::move(wrong));
  }
  if (!IsJson(request.Field("Content-Type"))) return refused(Refuse(400, "an AdmissionReview is application/json"));
  if (const auto encoding = request.Field("Content-Encoding"); !encoding.empty() && encoding != "identity")
    return refused(Refuse(400, "encoded bodies are not read"));
  time::Duration timeout = options_.timeout;
  if (const auto said = request.Query("timeout")) {
    const auto parsed = time::ParseGoDuration(*said);
    if (!parsed || *parsed <= time::Duration::zero()) return refused(Refuse(400, "the time-out is no duration"));
    timeout = std::min(timeout, *parsed);
  }
  timeout = std::max<time::Duration>(timeout - kWayBack, timeout / 2);
  struct Running {
    std::atomic<unsigned>& count;
    const unsigned now = ++count;
    ~Running() { --count; }
  } const running{running_};
  if (options_.workers > 0 && running.now > (options_.workers + 1) / 2) timeout = std::min(timeout, options_.hurried);
  const auto began = ctx.clock().SteadyNow();
  auto reply = admission::Review(ctx.WithTimeout(timeout), request.body, page.admission, options_.review);
  const std::chrono::duration<double> took = ctx.clock().SteadyNow() - began;
  page.seconds.Observe(took.count());
  page.results[reply.status != 200 ? 4 : reply.failed ? 3 : !reply.allowed ? 2 : reply.changed ? 1 : 0].Add();
  if (reply.failed) log::Failure("a review failed", {{"page", request.path}, {"uid", reply.uid}, {"allowed", reply.allowed}});
  else if (log::Enabled(log::Level::kDebug))
    log::Debug("review", {{"page", request.path}, {"uid", reply.uid}, {"status", reply.status}, {"allowed", reply.allowed}, {"changed", reply.changed}});
  return httpd::Response::Json(reply.status, std::move(reply.body));
}

}  // namespace berth::webhook
