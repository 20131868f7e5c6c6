#include "admission/admission.h"

#include "kube/parse.h"
#include "kube/validate.h"

namespace berth::admission {
namespace {

using json::Tree;

constexpr json::Limits kReread{.bytes = 16u << 20, .depth = 64, .values = 500'000};

std::string Join(const std::vector<std::string_view>& steps) {
  std::string out;
  for (const std::string_view step : steps) out.append(out.empty() ? "" : ".").append(step);
  return out;
}

// What the API server says to the object's values: all of a Pod and of the kinds in kube/parse.h, the Pod part of a template.
kube::Answer<> Validate(const Tree& object, const Request& request, std::vector<std::string>& warnings) {
  const std::string kind(object.Text("kind"));
  const bool spoken = kube::IsKind(kind) && object.Text("apiVersion") == "v1";
  if (!spoken && request.kind == nullptr) return {};
  auto read = json::Document::Parse(object.Dump(), Reason::kUsage, kReread);
  if (!read) return kube::Status::BadRequest(read.error().Text());
  const json::Value root = read->root();
  kube::FieldErrors errors;
  std::vector<kube::Mistake> unknown;
  if (spoken) {
    auto parsed = kube::ParseObject(root);
    if (!parsed) return kube::Status::BadRequest(parsed.error().message());
    unknown = std::move(parsed->unknown);
    if (request.create() || request.old == nullptr) {
      errors = kube::Validate(root);
    } else {
      auto old = json::Document::Parse(request.old->Dump(), Reason::kUsage, kReread);
      if (!old) return kube::Status::BadRequest(old.error().Text());
      errors = request.ephemeral() ? kube::ValidateEphemeralUpdate(root, old->root()) : kube::ValidateUpdate(root, old->root());
    }
  } else {
    const auto steps = kube::PodSpecPath(kind);
    std::optional<json::Value> spec = root;
    for (const std::string_view step : steps) spec = spec ? spec->Find(step) : std::nullopt;
    const std::string path = Join(steps);
    if (!spec || spec->IsNull()) {
      errors.push_back({kube::FieldError::Type::kRequired, path + ".containers", "", ""});
    } else {
      auto report = kube::CheckFields(*spec, "PodSpec");
      if (report.wrong)
        return kube::Status::BadRequest(kind + " in version " + Quoted(request.kind->version) + " cannot be handled as a " + kind + ": " + report.wrong->message);
      for (kube::Mistake& m : report.unknown) unknown.push_back({path + "." + m.field, m.message});
      errors = kube::ValidatePodSpec(*spec, path, kube::PodPlace::kTemplate);
    }
  }
  for (const kube::Mistake& m : unknown) warnings.push_back(m.message);
  if (errors.empty()) return {};
  return kube::Status::Invalid(kind, request.name, errors);
}

}  // namespace

Error Outcome::ToError() const {
  if (!denied) return Error(Reason::kInternal, "it was not denied");
  const std::string text = denied->reason == "Invalid" ? denied->ForPeople() : denied->message;
  if (cause) return Error(*cause, text);
  if (denied->code == 403) return Error(Reason::kPolicy, text);
  return Error(denied->code >= 500 ? Reason::kInternal : Reason::kUsage, text);
}

Outcome Admission::Admit(const task::Context& ctx, Tree object, Request request) const {
  Outcome out;
  if (request.kind == nullptr) request.kind = FindWorkload(object.Text("apiVersion"), object.Text("kind"));
  const Tree* metadata = object.Find("metadata");
  if (request.name.empty() && metadata != nullptr)
    request.name = metadata->Text(metadata->Text("name").empty() ? "generateName" : "name");
  Draft draft(std::move(object));
  kube::Answer<> answer;
  if (options_.mutate) answer = Mutate(ctx, draft, request, out);
  if (answer && options_.judge) answer = Judge(ctx, draft.object(), request, out);
  if (!answer) out.denied = std::move(answer.error());
  std::tie(out.object, out.changes) = std::move(draft).Take();
  return out;
}

kube::Answer<> Admission::Mutate(const task::Context& ctx, Draft& draft, const Request& request, Outcome& out) const {
  PodPart pod;
  const auto find = [&]() -> kube::Answer<> {
    if (request.kind == nullptr) return {};
    auto found = FindPod(draft.object(), *request.kind);
    if (!found) return kube::Refusal(found);
    pod = *std::move(found);
    return {};
  };
  if (auto found = find(); !found) return found;
  if (options_.fill != Options::Defaults::kNone) DefaultPolicies(draft, pod, options_.defaults);
  if (options_.fill == Options::Defaults::kAll) {
    const std::string kind(draft.object().Text("kind"));
    Tree* metadata = draft.object().Find("metadata");
    if (metadata != nullptr && metadata->IsObject() && metadata->Text("namespace").empty() && !request.ns.empty() &&
        (request.kind != nullptr || kube::IsNamespaced(kind)))
      draft.Set(*metadata, Place{}.Member("metadata"), "namespace", Tree(request.ns), "Defaults", "the namespace it is applied to");
    draft.Rewrite("Defaults", "what Kubernetes fills in", [&](Tree& object) { kube::DefaultObject(object, options_.defaults); });
    if (auto found = find(); !found) return found;
  }
  if (request.kind == nullptr || pod.spec == nullptr) return {};
  if (options_.accounts)
    if (auto fine = AdmitAccount(ctx, draft, pod, request, *parts_.facts, options_.account); !fine) return fine;
  if (options_.always_pull) {
    auto applies = AlwaysPullApplies(pod, request, options_.always);
    if (!applies) return kube::Refusal(applies);
    if (*applies)
      if (auto fine = AlwaysPull(draft, pod, request); !fine) return fine;
  }
  if (options_.pin) {
    Pinned notes;
    auto fine = Pin(ctx, draft, pod, request, parts_.facts, *parts_.digests, options_.pinning, notes);
    out.warnings.insert(out.warnings.end(), notes.warnings.begin(), notes.warnings.end());
    out.cause = notes.cause;
    if (!fine) return fine;
  }
  return {};
}

kube::Answer<> Admission::Judge(const task::Context& ctx, const Tree& object, const Request& request, Outcome& out) const {
  if (request.kind != nullptr) {
    auto pod = FindPod(object, *request.kind);
    if (!pod) return kube::Refusal(pod);
    if (pod->spec != nullptr) {
      if (options_.accounts)
        if (auto fine = CheckAccount(ctx, *pod, request, *parts_.facts, options_.account); !fine) return fine;
      if (options_.always_pull) {
        auto applies = AlwaysPullApplies(*pod, request, options_.always);
        if (!applies) return kube::Refusal(applies);
        if (*applies)
          if (auto fine = CheckAlwaysPull(*pod, request); !fine) return fine;
      }
    }
  }
  return options_.validate ? Validate(object, request, out.warnings) : kube::Answer<>();
}

}  // namespace berth::admission
