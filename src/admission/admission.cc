#include "admission/admission.h"

#include "kube/parse.h"
#include "kube/validate.h"

namespace berth::admission {
namespace {

using json::Tree;

std::string Join(const std::vector<std::string_view>& steps) {
  std::string out;
  for (const std::string_view step : steps) out.append(out.empty() ? "" : ".").append(step);
  return out;
}

bool Spoken(const Tree& object) { return kube::IsKind(object.Text("kind")) && object.Text("apiVersion") == "v1"; }

Result<json::Document> Reread(const Tree& object) { return json::Document::Parse(object.Dump(), Reason::kUsage, kube::kObjectLimits); }

std::optional<json::Value> SpecOf(const json::Value& root, const std::vector<std::string_view>& steps) {
  std::optional<json::Value> spec = root;
  for (const std::string_view step : steps) spec = spec ? spec->Find(step) : std::nullopt;
  return spec && !spec->IsNull() ? spec : std::nullopt;
}

// Fields and their types, before anybody relies on them: all of the kinds in kube/parse.h, the Pod part of a template.
kube::Answer<> CheckTypes(const Tree& object, const Request& request, std::vector<std::string>& warnings) {
  if (!Spoken(object) && request.kind == nullptr) return {};
  auto read = Reread(object);
  if (!read) return kube::Status::BadRequest(read.error().Text());
  if (Spoken(object)) {
    auto parsed = kube::ParseObject(read->root());
    if (!parsed) return kube::Status::BadRequest(parsed.error().message());
    for (const kube::Mistake& m : parsed->unknown) warnings.push_back(m.message);
    return {};
  }
  const std::string kind(request.kind->kind);
  const auto steps = kube::PodSpecPath(kind);
  const auto spec = SpecOf(read->root(), steps);
  if (!spec) return {};
  const auto report = kube::CheckFields(*spec, "PodSpec");
  if (report.wrong)
    return kube::Status::BadRequest(kind + " in version " + Quoted(request.kind->version) + " cannot be handled as a " + kind + ": " +
                                    report.wrong->message);
  for (const kube::Mistake& m : report.unknown) warnings.push_back(Join(steps) + ": " + m.message);
  return {};
}

// What the API server says to the values. It looks at objects with all their defaults, so that is what is judged.
kube::Answer<> CheckValues(const Tree& object, const Request& request, const kube::DefaultOptions& defaults) {
  if (!Spoken(object) && request.kind == nullptr) return {};
  const std::string kind(object.Text("kind"));
  Tree whole = object;
  kube::DefaultObject(whole, defaults);
  if (kube::IsNamespaced(kind) && whole["metadata"].Text("namespace").empty()) whole["metadata"]["namespace"] = Tree(request.ns);
  auto read = Reread(whole);
  if (!read) return kube::Status::BadRequest(read.error().Text());
  kube::FieldErrors errors;
  if (!Spoken(object)) {
    const auto steps = kube::PodSpecPath(kind);
    const auto spec = SpecOf(read->root(), steps);
    if (spec) errors = kube::ValidatePodSpec(*spec, Join(steps), kube::PodPlace::kTemplate);
    else errors.push_back({kube::FieldError::Type::kRequired, Join(steps) + ".containers", "", ""});
  } else if (request.create() || request.old == nullptr) {
    errors = kube::Validate(read->root());
  } else {
    auto old = Reread(*request.old);
    if (!old) return kube::Status::BadRequest(old.error().Text());
    errors = request.ephemeral() ? kube::ValidateEphemeralUpdate(read->root(), old->root())
                                 : kube::ValidateUpdate(read->root(), old->root());
  }
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
  if (options_.validate) answer = CheckTypes(draft.object(), request, out.warnings);
  if (answer && options_.mutate) answer = Mutate(ctx, draft, request, out);
  if (answer && options_.judge) answer = Judge(ctx, draft.object(), request);
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

kube::Answer<> Admission::Judge(const task::Context& ctx, const Tree& object, const Request& request) const {
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
  return options_.validate ? CheckValues(object, request, options_.defaults) : kube::Answer<>();
}

}  // namespace berth::admission
