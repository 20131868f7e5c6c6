#include "kube/status.h"

#include "json/document.h"

namespace berth::kube {
namespace {

struct TypeRow {
  std::string_view text, reason;
  bool shows_value;
};
// In the order of FieldError::Type.
constexpr TypeRow kTypes[] = {{"Required value", "FieldValueRequired", false}, {"Invalid value", "FieldValueInvalid", true},
                              {"Duplicate value", "FieldValueDuplicate", true}, {"Unsupported value", "FieldValueNotSupported", true},
                              {"Forbidden", "FieldValueForbidden", false}, {"Not found", "FieldValueNotFound", true},
                              {"Too long", "FieldValueTooLong", false}, {"Too many", "FieldValueTooMany", true}};

std::string Named(std::string_view resource, std::string_view name) { return std::string(resource) + " " + Quoted(name); }

}  // namespace

std::string FieldError::Body() const {
  const TypeRow& row = kTypes[static_cast<std::size_t>(type)];
  std::string out(row.text);
  if (row.shows_value) out += ": " + value;
  if (!detail.empty()) out += ": " + detail;
  return out;
}
std::string_view FieldError::Reason() const { return kTypes[static_cast<std::size_t>(type)].reason; }

Status Status::NotFound(std::string_view resource, std::string_view name) {
  return {.reason = "NotFound", .code = 404, .message = Named(resource, name) + " not found", .kind = std::string(resource), .name = std::string(name)};
}
Status Status::AlreadyExists(std::string_view resource, std::string_view name) {
  return {.reason = "AlreadyExists", .code = 409, .message = Named(resource, name) + " already exists", .kind = std::string(resource), .name = std::string(name)};
}
Status Status::Conflict(std::string_view resource, std::string_view name, std::string_view why) {
  return {.reason = "Conflict", .code = 409, .message = "Operation cannot be fulfilled on " + Named(resource, name) + ": " + std::string(why),
          .kind = std::string(resource), .name = std::string(name)};
}
Status Status::Modified(std::string_view resource, std::string_view name) {
  return Conflict(resource, name, "the object has been modified; please apply your changes to the latest version and try again");
}
Status Status::Invalid(std::string_view kind, std::string_view name, const FieldErrors& errors) {
  Status out{.reason = "Invalid", .code = 422, .kind = std::string(kind), .name = std::string(name)};
  std::string list;
  for (const FieldError& e : errors) {
    out.causes.push_back({std::string(e.Reason()), e.Body(), e.field});
    list += (list.empty() ? "" : ", ") + e.Text();
  }
  out.message = Named(kind, name) + " is invalid: " + (errors.size() > 1 ? "[" + list + "]" : list);
  return out;
}
Status Status::BadRequest(std::string message) { return {.reason = "BadRequest", .code = 400, .message = std::move(message)}; }
Status Status::Forbidden(std::string_view resource, std::string_view name, std::string_view why) {
  return {.reason = "Forbidden", .code = 403, .message = Named(resource, name) + " is forbidden: " + std::string(why), .kind = std::string(resource),
          .name = std::string(name)};
}
Status Status::Expired(std::string message) { return {.reason = "Expired", .code = 410, .message = std::move(message)}; }
Status Status::Internal(const Error& error) {
  return {.reason = "InternalError", .code = 500, .message = "Internal error occurred: " + error.Text()};
}

std::string Status::Json() const {
  json::Writer w;
  w.BeginObject().Key("apiVersion").String("v1").Key("code").Int(code);
  if (!kind.empty() || !name.empty() || !causes.empty() || retry_after_seconds > 0) {
    w.Key("details").BeginObject();
    if (!causes.empty()) {
      w.Key("causes").BeginArray();
      for (const Cause& c : causes)
        w.BeginObject().Key("field").String(c.field).Key("message").String(c.message).Key("reason").String(c.reason).EndObject();
      w.EndArray();
    }
    if (!kind.empty()) w.Key("kind").String(kind);
    if (!name.empty()) w.Key("name").String(name);
    if (retry_after_seconds > 0) w.Key("retryAfterSeconds").Int(retry_after_seconds);
    w.EndObject();
  }
  w.Key("kind").String("Status").Key("message").String(message).Key("metadata").BeginObject().EndObject();
  w.Key("reason").String(reason).Key("status").String("Failure").EndObject();
  return std::move(w).Take();
}

std::string Status::ForPeople() const {
  if (reason != "Invalid") return "Error from server (" + reason + "): " + message;
  std::string out = "The " + Named(kind, name) + " is invalid: ";
  for (const Cause& c : causes) out += (causes.size() > 1 ? "\n* " : "") + c.field + ": " + c.message;
  return out;
}

Error Status::ToError() const {
  const std::string text = reason == "Invalid" ? ForPeople() : message;
  if (code == 404) return Error(Reason::kNotFound, text);
  if (code == 409) return Error(Reason::kConflict, text);
  if (code == 410) return Error(Reason::kLimitExceeded, text);
  return Error(code >= 500 ? Reason::kInternal : Reason::kUsage, text);
}

}  // namespace berth::kube
