#include "apiserver/request.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "bytes/bytes.h"
#include "bytes/encoding.h"
#include "bytes/text.h"
#include "json/document.h"
#include "kube/parse.h"
#include "kube/timestamp.h"

namespace berth::apiserver {
namespace {

using kube::Answer;
using kube::FieldError;
using kube::Status;

constexpr std::int64_t kLongest = std::int64_t{24} * 3600;  // of a watch, seconds
constexpr std::int64_t kOldest = 1'000'000'000;             // line of a log, seconds; what a clock can count back

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}
std::vector<std::string_view> Split(std::string_view s, char by) {
  std::vector<std::string_view> out;
  for (;;) {
    const auto at = s.find(by);
    out.push_back(s.substr(0, at));
    if (at == s.npos) return out;
    s.remove_prefix(at + 1);
  }
}

std::optional<std::int64_t> Integer(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(n) : std::nullopt;
}
// Absent and "" are nullopt.
Answer<std::optional<std::int64_t>> Number(const httpd::Request& request, std::string_view name) {
  const auto text = request.Query(name);
  if (!text || text->empty()) return std::optional<std::int64_t>();
  const auto n = Integer(*text);
  if (!n || *n < 0) return Status::BadRequest("invalid parameter " + Quoted(name) + ": " + Quoted(*text) + " is not a number from 0 on");
  return n;
}

Status Unsupported(const std::string& what, std::string field, std::string_view value, std::string supported) {
  return Status::Invalid(what + ".meta.k8s.io", "", {{FieldError::Type::kUnsupported, std::move(field), Quoted(value), "supported values: " + std::move(supported)}});
}

bool HasSubresource(std::string_view kind, std::string_view sub) {
  if (sub == "status") return kind == "Pod" || kind == "Namespace" || kind == "Node";
  return kind == "Pod" && (sub == "log" || sub == "ephemeralcontainers");
}

}  // namespace

bool Flag(const httpd::Request& request, std::string_view name) {
  const auto text = request.Query(name);
  return text && *text != "false" && *text != "0";
}

std::optional<Resource> ParseResource(std::string_view path) {
  auto parts = Split(path, '/');
  if (parts.size() > 1 && parts.back().empty()) parts.pop_back();
  if (std::ranges::any_of(parts, &std::string_view::empty)) return std::nullopt;
  Resource out;
  // "namespaces/x/pods/…", but "namespaces/x" and "namespaces/x/status" are a Namespace.
  if (parts.size() >= 3 && parts[0] == "namespaces" && !kube::KindOf(parts[2]).empty()) {
    out.ns = parts[1];
    parts.erase(parts.begin(), parts.begin() + 2);
    if (!kube::IsNamespaced(kube::KindOf(parts[0]))) return std::nullopt;
  }
  out.kind = kube::KindOf(parts[0]);
  if (out.kind.empty() || parts.size() > 3) return std::nullopt;
  if (parts.size() > 1) out.name = parts[1];
  if (parts.size() > 2) {
    out.subresource = parts[2];
    if (!HasSubresource(out.kind, parts[2])) return std::nullopt;
  }
  if (!out.name.empty() && out.ns.empty() && kube::IsNamespaced(out.kind)) return std::nullopt;
  return out;
}

std::string MediaType(std::string_view content_type) { return bytes::Lower(Trim(content_type.substr(0, content_type.find(';')))); }

std::optional<Form> ParseAccept(std::string_view accept) {
  if (Trim(accept).empty()) return Form::kObject;
  for (const std::string_view range : Split(accept, ',')) {
    const auto parts = Split(range, ';');
    const std::string type = bytes::Lower(Trim(parts[0]));
    if (type != "application/json" && type != "*/*" && type != "application/*") continue;
    std::string as, group, version;
    for (const auto part : parts) {
      const auto equals = part.find('=');
      if (equals == part.npos) continue;
      const auto key = Trim(part.substr(0, equals)), value = Trim(part.substr(equals + 1));
      if (key == "as") as = value;
      else if (key == "g") group = value;
      else if (key == "v") version = value;
    }
    if (as.empty()) return Form::kObject;
    if (group != "meta.k8s.io" || version != "v1") continue;
    if (as == "Table") return Form::kTable;
    if (as == "PartialObjectMetadata" || as == "PartialObjectMetadataList") return Form::kMetadata;
  }
  return std::nullopt;
}

std::string ContinueToken(std::int64_t version, const kube::Object& last) {
  json::Writer w;
  w.BeginObject().Key("after").BeginArray().String(last.metadata.ns).String(last.metadata.name).EndArray().Key("rv").Int(version).EndObject();
  return bytes::ToBase64(bytes::AsView(w.text()));
}

Answer<ListQuery> ParseList(const httpd::Request& request, std::string_view kind) {
  ListQuery out;
  out.watch = Flag(request, "watch");
  out.bookmarks = Flag(request, "allowWatchBookmarks");
  auto labels = kube::LabelSelector::Parse(request.Query("labelSelector").value_or(""));
  if (!labels) return kube::Refusal(labels);
  out.labels = *std::move(labels);
  auto fields = kube::FieldQuery::Parse(request.Query("fieldSelector").value_or(""), kind);
  if (!fields) return kube::Refusal(fields);
  out.fields = *std::move(fields);
  auto limit = Number(request, "limit"), version = Number(request, "resourceVersion"), timeout = Number(request, "timeoutSeconds");
  for (auto* number : {&limit, &version, &timeout})
    if (!*number) return kube::Refusal(*number);
  out.limit = limit->value_or(0);
  out.version = *version;
  out.timeout_seconds = *timeout;
  if (out.timeout_seconds) out.timeout_seconds = std::min(*out.timeout_seconds, kLongest);
  if (out.watch && Flag(request, "sendInitialEvents")) {
    return Status::Invalid("ListOptions.meta.k8s.io", "",
                           {{FieldError::Type::kForbidden, "sendInitialEvents", "", "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"}});
  }
  const auto match = request.Query("resourceVersionMatch").value_or("");
  if (!match.empty() && match != "Exact" && match != "NotOlderThan") return Unsupported("ListOptions", "resourceVersionMatch", match, "\"Exact\", \"NotOlderThan\"");
  if (!match.empty() && !out.version) {
    return Status::Invalid("ListOptions.meta.k8s.io", "",
                           {{FieldError::Type::kForbidden, "resourceVersionMatch", "", "resourceVersionMatch is forbidden unless resourceVersion is provided"}});
  }
  out.exact = match == "Exact";
  if (const auto token = request.Query("continue").value_or(""); !token.empty()) {
    const auto text = bytes::FromBase64(token);
    const auto document = text ? json::Document::Parse(*text, Reason::kUsage) : Result<json::Document>(Error(Reason::kUsage, ""));
    const auto after = document ? document->root().Find("after") : std::nullopt;
    const auto rv = document ? document->root().Find("rv") : std::nullopt;
    if (!after || !rv || !after->IsArray() || after->size() != 2 || !after->at(0).IsString() || !after->at(1).IsString() || !rv->AsInt64())
      return Status::BadRequest("continue key is not valid: it was not made by this server");
    out.after_ns = *after->at(0).AsString();
    out.after_name = *after->at(1).AsString();
    out.continued = *rv->AsInt64();
    if (out.version && *out.version != 0) return Status::BadRequest("specifying resource version is not allowed when using continue");
    if (*out.continued < 0) return Status::BadRequest("continue key is not valid: it was not made by this server");
  }
  return out;
}

Answer<WriteQuery> ParseWrite(const httpd::Request& request, const std::string& what) {
  WriteQuery out;
  using Validation = WriteQuery::Validation;
  if (const auto text = request.Query("fieldValidation").value_or(""); !text.empty()) {
    if (text == "Strict") out.validation = Validation::kStrict;
    else if (text == "Ignore") out.validation = Validation::kIgnore;
    else if (text != "Warn") return Unsupported(what, "fieldValidation", text, "\"Ignore\", \"Warn\", \"Strict\"");
  }
  for (const auto& [key, value] : request.query) {
    if (key != "dryRun") continue;
    if (value != "All") return Unsupported(what, "dryRun", value, "\"All\"");
    out.options.dry_run = true;
  }
  if (const auto manager = request.Query("fieldManager").value_or(""); manager.size() > 128)
    return Status::Invalid(what + ".meta.k8s.io", "", {{FieldError::Type::kTooLong, "fieldManager", "", "may not be more than 128 bytes"}});
  return out;
}

Answer<objects::DeleteOptions> ParseDelete(const httpd::Request& request) {
  objects::DeleteOptions out;
  auto grace = Number(request, "gracePeriodSeconds");
  if (!grace) return kube::Refusal(grace);
  out.grace_seconds = *grace;
  std::string propagation(request.Query("propagationPolicy").value_or(""));
  for (const auto& [key, value] : request.query) {
    if (key != "dryRun") continue;
    if (value != "All") return Unsupported("DeleteOptions", "dryRun", value, "\"All\"");
    out.dry_run = true;
  }
  if (!request.body.empty()) {
    const auto document = json::Document::Parse(request.body, Reason::kUsage);
    if (!document || !document->root().IsObject()) return Status::BadRequest("the body of the request is no DeleteOptions: " + (document ? "not an object" : document.error().message()));
    const json::Value root = document->root();
    const auto member = [](const json::Value& v, std::string_view key) {
      auto m = v.Find(key);
      return m && m->IsNull() ? std::nullopt : m;
    };
    const auto wrong = [](std::string_view field) { return Status::BadRequest("DeleteOptions: the field " + Quoted(field) + " has another type"); };
    if (const auto kind = member(root, "kind"); kind && (!kind->IsString() || *kind->AsString() != "DeleteOptions")) return Status::BadRequest("the body of the request is no DeleteOptions");
    if (const auto m = member(root, "gracePeriodSeconds")) {
      const auto seconds = m->AsInt64();
      if (!seconds) return wrong("gracePeriodSeconds");
      out.grace_seconds = *seconds;
    }
    if (const auto m = member(root, "propagationPolicy")) {
      if (!m->IsString()) return wrong("propagationPolicy");
      propagation = *m->AsString();
    }
    if (const auto m = member(root, "dryRun")) {
      if (!m->IsArray()) return wrong("dryRun");
      for (std::size_t i = 0; i < m->size(); ++i) {
        if (!m->at(i).IsString()) return wrong("dryRun");
        if (*m->at(i).AsString() != "All") return Unsupported("DeleteOptions", "dryRun", *m->at(i).AsString(), "\"All\"");
        out.dry_run = true;
      }
    }
    if (const auto m = member(root, "preconditions")) {
      if (!m->IsObject()) return wrong("preconditions");
      for (const auto& [key, to] : {std::pair("uid", &out.uid), {"resourceVersion", &out.resource_version}}) {
        const auto text = member(*m, key);
        if (text && !text->IsString()) return wrong(key);
        if (text) *to = *text->AsString();
      }
    }
  }
  if (!propagation.empty() && propagation != "Background" && propagation != "Foreground" && propagation != "Orphan")
    return Unsupported("DeleteOptions", "propagationPolicy", propagation, "\"Background\", \"Foreground\", \"Orphan\"");
  return out;
}

Answer<Include> ParseInclude(const httpd::Request& request) {
  const auto text = request.Query("includeObject").value_or("");
  if (text.empty() || text == "Metadata") return Include::kMetadata;
  if (text == "Object") return Include::kObject;
  if (text == "None") return Include::kNone;
  return Status::BadRequest("unrecognized includeObject value: " + Quoted(text));
}

Answer<node::LogQuery> ParseLog(const httpd::Request& request, const std::string& pod, time::WallTime now) {
  using Type = FieldError::Type;
  kube::FieldErrors errors;
  const auto number = [&](const char* name, std::int64_t least) -> std::optional<std::int64_t> {
    const auto text = request.Query(name);
    if (!text || text->empty()) return std::nullopt;
    if (const auto n = Integer(*text); n && *n >= least) return n;
    errors.push_back({Type::kInvalid, name, std::string(*text), "must be greater than or equal to " + std::to_string(least)});
    return std::nullopt;
  };
  node::LogQuery out{.container = std::string(request.Query("container").value_or("")), .previous = Flag(request, "previous"), .options = {}};
  out.options.follow = Flag(request, "follow");
  out.options.timestamps = Flag(request, "timestamps");
  out.options.tail = number("tailLines", 0);
  out.options.limit_bytes = number("limitBytes", 1);
  if (const auto seconds = number("sinceSeconds", 1)) out.options.since = now - std::chrono::seconds(std::min(*seconds, kOldest));
  if (const auto text = request.Query("sinceTime"); text && !text->empty()) {
    const auto since = kube::ParseTime(*text);
    if (!since) errors.push_back({Type::kInvalid, "sinceTime", Quoted(*text), "must be a time of RFC 3339"});
    else if (out.options.since) errors.push_back({Type::kForbidden, "sinceSeconds", "", "at most one of `sinceTime` or `sinceSeconds` may be specified"});
    else out.options.since = since;
  }
  if (!errors.empty()) return Status::Invalid("PodLogOptions", pod, errors);
  return out;
}

}  // namespace berth::apiserver
