// kube/status.h: the answers of a Kubernetes API that are not objects (metav1.Status), and what is wrong with a field.
//
// A Status is how the object store and the API server refuse: NotFound, AlreadyExists, Conflict, Invalid, … with the texts, codes
// and causes that kubectl knows. Machinery fails with an Error as everywhere; at this boundary it becomes an InternalError.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::kube {

struct FieldError {
  enum class Type : std::uint8_t {
    kRequired, kInvalid, kDuplicate, kUnsupported, kForbidden, kNotFound,
    kTooLong, kTooMany
  } type = Type::kInvalid;
  std::string field;   // "spec.containers[0].image"
  std::string value;   // as printed: quoted when it is text; not used for kRequired, kForbidden, kTooLong
  std::string detail;
  std::string Body() const;  // `Invalid value: "x": must be …`
  std::string Text() const { return field + ": " + Body(); }
  // "FieldValueRequired", …: the reason of a Status cause.
  std::string_view Reason() const;
};
using FieldErrors = std::vector<FieldError>;

struct Status {
  std::string reason;  // "NotFound"
  int code = 500;      // HTTP
  std::string message;
  std::string kind, name;  // of details: a resource ("pods"), for Invalid a kind
  struct Cause {
    std::string reason, message, field;
  };
  std::vector<Cause> causes;
  std::int32_t retry_after_seconds = 0;

  static Status NotFound(std::string_view resource, std::string_view name);
  static Status AlreadyExists(std::string_view resource, std::string_view name);
  static Status Conflict(std::string_view resource, std::string_view name, std::string_view why);
  // The object changed since it was read.
  static Status Modified(std::string_view resource, std::string_view name);
  static Status Invalid(std::string_view kind, std::string_view name, const FieldErrors& errors);
  static Status BadRequest(std::string message);
  static Status Forbidden(std::string_view resource, std::string_view name, std::string_view why);
  static Status Expired(std::string message);   // 410: a watch from too long ago
  static Status Internal(const Error& error);

  // {"kind":"Status","apiVersion":"v1",…}
  std::string Json() const;
  // What kubectl prints: `The Pod "x" is invalid: spec.containers: Required value`, several as "\n* …" lines;
  // `Error from server (NotFound): pods "x" not found`.
  std::string ForPeople() const;
  // For callers outside the API (CLI, node): NotFound becomes kNotFound, both 409s kConflict, 410 kLimitExceeded, Internal
  // kInternal, the rest kUsage.
  Error ToError() const;
};

// The Result of the API's side.
template <class T = void>
class [[nodiscard]] Answer : public tl::expected<T, Status> {
  using Base = tl::expected<T, Status>;

 public:
  using Base::Base;
  Answer(Status status) : Base(tl::unexpect, std::move(status)) {}                     // NOLINT: `return Status::…` reads well
  Answer(const Error& error) : Base(tl::unexpect, Status::Internal(error)) {}          // NOLINT: and so does RETURN_IF_ERROR

  // As Result: a refusal that nobody looked at is a mistake of ours, and a value of a temporary comes by value.
  decltype(auto) operator*() & { Check(); return Base::operator*(); }
  decltype(auto) operator*() const& { Check(); return Base::operator*(); }
  T operator*() && { Check(); return std::move(*this).Base::operator*(); }
  auto* operator->() { Check(); return Base::operator->(); }
  const auto* operator->() const { Check(); return Base::operator->(); }

 private:
  void Check() const { if (!this->has_value()) result::DieOnBadDereference(this->error().ToError()); }
};

template <>
class [[nodiscard]] Answer<void> : public tl::expected<void, Status> {
  using Base = tl::expected<void, Status>;

 public:
  using Base::Base;
  Answer(Status status) : Base(tl::unexpect, std::move(status)) {}                     // NOLINT
  Answer(const Error& error) : Base(tl::unexpect, Status::Internal(error)) {}          // NOLINT
};

// `return Refusal(answer)`: the same refusal under another type.
template <class T>
Status Refusal(Answer<T>& answer) { return std::move(answer.error()); }

}  // namespace berth::kube
