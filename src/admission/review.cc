#include "admission/review.h"

#include <algorithm>
#include <exception>
#include <optional>

#include "bytes/encoding.h"
#include "bytes/text.h"

namespace berth::admission {
namespace {

using json::Tree;
using json::Value;

constexpr std::string_view kVersion = "admission.k8s.io/v1", kKind = "AdmissionReview";
constexpr std::size_t kUidBytes = 256;

Error Bad(std::string text) { return Error(Reason::kUsage, std::move(text)); }

// "" when absent or null.
Result<std::string_view> Text(const Value& owner, std::string_view key) {
  const auto member = owner.Find(key);
  if (!member || member->IsNull()) return std::string_view();
  return member->AsString();
}

struct Envelope {
  std::string uid;
  std::string group, version, kind;                     // request.kind
  std::string resource_group, resource_version, resource, subresource;
  std::string operation, ns, name;
  std::optional<Value> object, old;
};

Result<Envelope> Read(const Value& root) {
  ASSIGN_OR_RETURN(const std::string_view version, Text(root, "apiVersion"));
  ASSIGN_OR_RETURN(const std::string_view kind, Text(root, "kind"));
  if (version != kVersion || kind != kKind)
    return Bad("an AdmissionReview of admission.k8s.io/v1 is wanted, not a " + Quoted(kind) + " of " + Quoted(version));
  ASSIGN_OR_RETURN(const Value request, root.Get("request"));
  if (!request.IsObject()) return Bad("$.request must be an object");
  Envelope e;
  const auto read = [](const Value& owner, std::initializer_list<std::pair<const char*, std::string*>> members) -> Result<> {
    if (!owner.IsObject()) return Bad(owner.path() + " must be an object");
    for (const auto& [key, to] : members) {
      ASSIGN_OR_RETURN(*to, Text(owner, key));
    }
    return {};
  };
  ASSIGN_OR_RETURN(const Value gvk, request.Get("kind"));
  ASSIGN_OR_RETURN(const Value gvr, request.Get("resource"));
  RETURN_IF_ERROR(read(gvk, {{"group", &e.group}, {"version", &e.version}, {"kind", &e.kind}}));
  RETURN_IF_ERROR(read(gvr, {{"group", &e.resource_group}, {"version", &e.resource_version}, {"resource", &e.resource}}));
  RETURN_IF_ERROR(read(request, {{"uid", &e.uid}, {"subResource", &e.subresource}, {"operation", &e.operation}, {"namespace", &e.ns}, {"name", &e.name}}));
  if (e.uid.empty() || e.uid.size() > kUidBytes) return Bad("$.request.uid must be 1 to 256 bytes long");
  if (e.kind.empty() || e.version.empty()) return Bad("$.request.kind names no kind and version");
  if (e.resource.empty() || e.resource_version.empty()) return Bad("$.request.resource names no resource and version");
  if (e.operation != "CREATE" && e.operation != "UPDATE" && e.operation != "DELETE" && e.operation != "CONNECT")
    return Bad("$.request.operation is none of CREATE, UPDATE, DELETE, CONNECT");
  e.object = request.Find("object");
  e.old = request.Find("oldObject");
  return e;
}

// For people and kubectl: one line, printable, short.
std::string Line(std::string_view text, std::size_t most) {
  std::string out;
  const auto shown = [](char c) { return c == '\n' || c == '\t' ? ' ' : bytes::IsControl(c) ? '?' : c; };
  for (const char c : bytes::Utf8Prefix(text, most)) out += shown(c);
  if (text.size() > most) out += "...";
  return out;
}

std::string Answer(const Envelope& e, const std::optional<kube::Status>& denied, const std::vector<Change>& changes,
                   const std::vector<std::string>& warnings, const ReviewOptions& options, bool& changed) {
  const std::string patch = denied || changes.empty() ? "[]" : PatchJson(changes);
  changed = patch != "[]";
  json::Writer w;
  w.BeginObject().Key("apiVersion").String(kVersion).Key("kind").String(kKind).Key("response").BeginObject();
  w.Key("uid").String(e.uid).Key("allowed").Bool(!denied);
  if (changed) w.Key("patchType").String("JSONPatch").Key("patch").String(bytes::ToBase64(bytes::AsView(patch)));
  if (denied) w.Key("status").Raw(denied->Json());
  if (!warnings.empty()) {
    w.Key("warnings").BeginArray();
    const std::size_t shown = warnings.size() > options.warnings ? options.warnings - 1 : warnings.size();
    for (std::size_t i = 0; i < shown; ++i) w.String(Line(warnings[i], options.warning_bytes));
    if (shown < warnings.size()) w.String("and " + std::to_string(warnings.size() - shown) + " more warnings");
    w.EndArray();
  }
  w.EndObject().EndObject();
  return std::move(w).Take();
}

// The workload that is asked about; nullptr: nothing of ours. An error: of ours, but not to be understood.
kube::Answer<const Workload*> Which(const Envelope& e) {
  const Workload* workload = FindResource(e.resource_group, e.resource);
  if (workload == nullptr) return nullptr;
  if (e.resource_version != workload->version)
    return kube::Status::BadRequest("version " + Quoted(e.resource_version) + " of " + e.resource + " is not understood; " + std::string(workload->version) +
                                    " is (matchPolicy: Equivalent asks for it)");
  // A subresource has an object of its own kind (Scale, Binding, Eviction) or its parent's.
  if (!e.subresource.empty() && e.subresource != "ephemeralcontainers") return nullptr;
  if (e.kind != workload->kind || e.group != workload->group || e.version != workload->version)
    return kube::Status::BadRequest("Resource was marked with kind " + std::string(workload->kind) + " but was unable to be converted");
  return workload;
}

kube::Answer<Tree> ObjectOf(const std::optional<Value>& value, const Workload& workload) {
  const auto refuse = [&] {
    return kube::Status::BadRequest("Resource was marked with kind " + std::string(workload.kind) + " but was unable to be converted");
  };
  if (!value || !value->IsObject()) return refuse();
  const auto kind = Text(*value, "kind"), version = Text(*value, "apiVersion");
  if (!kind || !version || FindWorkload(*version, *kind) != &workload) return refuse();
  return Tree(*value);
}

Outcome Judge(const task::Context& ctx, const Envelope& e, const Admission& admission) {
  Outcome out;
  const auto deny = [&](kube::Status status) {
    out.denied = std::move(status);
    return std::move(out);
  };
  if (e.operation != "CREATE" && e.operation != "UPDATE") return out;
  auto workload = Which(e);
  if (!workload) return deny(std::move(workload.error()));
  if (*workload == nullptr) return out;
  auto object = ObjectOf(e.object, **workload);
  if (!object) return deny(std::move(object.error()));
  Request request{.operation = e.operation == "CREATE" ? Request::Operation::kCreate : Request::Operation::kUpdate,
                  .kind = *workload,
                  .subresource = e.subresource,
                  .ns = e.ns,
                  .name = e.name};
  Tree old;
  if (!request.create()) {
    auto before = ObjectOf(e.old, **workload);
    if (!before) return deny(std::move(before.error()));
    old = *std::move(before);
    request.old = &old;
  }
  return admission.Admit(ctx, *std::move(object), std::move(request));
}

}  // namespace

Reply Review(const task::Context& ctx, std::string_view body, const Admission& admission, const ReviewOptions& options) {
  Reply reply;
  const auto refuse = [&](int status, const std::string& text) {
    reply.status = status;
    kube::Status answer = kube::Status::BadRequest(text);
    if (status == 413) answer.reason = "RequestEntityTooLarge", answer.code = 413;
    reply.body = answer.Json();
    return reply;
  };
  const auto document = json::Document::Parse(body, Reason::kUsage, options.limits);
  if (!document) return refuse(document.error().reason() == Reason::kLimitExceeded ? 413 : 400, document.error().Text());
  const auto envelope = Read(document->root());
  if (!envelope) return refuse(400, envelope.error().Text());
  reply.uid = envelope->uid;
  Outcome out;
  try {
    out = Judge(ctx, *envelope, admission);
  } catch (const std::exception&) {  // memory, threads
    out = {};
    out.denied = kube::Status::Internal(Error(Reason::kInternal, "the object could not be judged"));
  }
  if (out.denied && out.denied->code >= 500) {
    reply.failed = true;
    if (!options.deny_on_error) {
      out.warnings.push_back("berth admitted this unseen: " + out.denied->message);
      out.denied.reset();
      out.changes.clear();
    }
  }
  reply.allowed = !out.denied;
  reply.body = Answer(*envelope, out.denied, out.changes, out.warnings, options, reply.changed);
  return reply;
}

}  // namespace berth::admission
