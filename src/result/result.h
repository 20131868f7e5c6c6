// result/result.h: the one way a berth function fails.
//
//   Result<Manifest> m = Manifest::Parse(bytes);
//   if (!m) return tl::unexpected(m.error());          // or ASSIGN_OR_RETURN(auto m, Manifest::Parse(bytes));
//
// Error: a Reason (closed list, reason.h), one sentence in our own words, the places it passed through
// (innermost first), and the next step for the person who reads it.
// - The callee gives the reason, the caller gives the place: `return std::move(e).Context("layer 3 of 7")`.
// - Text from outside (bodies, URLs with queries, plug-in output) never becomes part of an Error; names from
//   outside go through Quoted(), which escapes control characters and cuts at 256 bytes.
// - Cancelled is its own predicate: no retry loop and no back-off may treat it as failure.
//
// Dereferencing a Result that holds an error aborts, in every build. An ignored Result is a compile error.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "result/reason.h"

namespace berth::result {

class [[nodiscard]] Error {
 public:
  Error(Reason reason, std::string message) : reason_(reason), message_(std::move(message)) {}

  Reason reason() const { return reason_; }
  const ReasonInfo& info() const { return Describe(reason_); }
  bool cancelled() const { return reason_ == Reason::kCanceled; }
  // Trying again may help: the table's word unless Retryable() said otherwise.
  bool transient() const { return transient_.value_or(info().transient); }
  // How long the other side asked us to wait (Retry-After), if it did.
  std::optional<std::chrono::milliseconds> retry_after() const { return retry_after_; }

  const std::string& message() const { return message_; }
  const std::vector<std::string>& contexts() const { return contexts_; }  // innermost first
  const std::string& next_step() const { return next_; }

  Error&& Context(std::string place) && { contexts_.push_back(std::move(place)); return std::move(*this); }
  Error&& Next(std::string step) && { next_ = std::move(step); return std::move(*this); }
  Error&& Retryable(bool yes) && { transient_ = yes; return std::move(*this); }
  Error&& RetryAfter(std::chrono::milliseconds d) && { retry_after_ = d; return std::move(*this); }

  // "place: place: message", outermost place first; one line, no code, no next step.
  std::string Text() const;

 private:
  Reason reason_;
  std::string message_;
  std::vector<std::string> contexts_;
  std::string next_;
  std::optional<bool> transient_;
  std::optional<std::chrono::milliseconds> retry_after_;
};

// A name from outside, fit for an error or a log line: in double quotes, control bytes and non-UTF-8 as
// \xNN, at most 256 bytes of it.
std::string Quoted(std::string_view raw);

// The error of a failed system call: ENOSPC/EDQUOT become kNoSpace, the rest kIo. `what` names the operation
// and the object ("write layer data"). Capture errno before anything else can change it.
Error FromErrno(int saved_errno, std::string_view what);

[[noreturn]] void DieOnBadDereference(const Error& error);
[[noreturn]] void DieOnCheck(const char* expression, const char* file, int line);

template <class T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
  using Base = tl::expected<T, Error>;

 public:
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}  // NOLINT: `return Error(...)` reads well

  decltype(auto) operator*() & { Check(); return Base::operator*(); }
  decltype(auto) operator*() const& { Check(); return Base::operator*(); }
  // By value: `for (auto& x : *List())` would otherwise walk a dead temporary.
  T operator*() && { Check(); return std::move(*this).Base::operator*(); }
  auto* operator->() { Check(); return Base::operator->(); }
  const auto* operator->() const { Check(); return Base::operator->(); }

 private:
  void Check() const { if (!this->has_value()) DieOnBadDereference(this->error()); }
};

template <>
class [[nodiscard]] Result<void> : public tl::expected<void, Error> {
  using Base = tl::expected<void, Error>;

 public:
  using Base::Base;
  Result(Error error) : Base(tl::unexpect, std::move(error)) {}  // NOLINT
};

}  // namespace berth::result

namespace berth {
using result::Error;
using result::Quoted;
using result::Reason;
using result::Result;
}  // namespace berth

#define BERTH_CONCAT_(a, b) a##b
#define BERTH_CONCAT(a, b) BERTH_CONCAT_(a, b)

// ASSIGN_OR_RETURN(auto m, Parse(x));  statements only: the expression form leaks (style 4.5).
#define ASSIGN_OR_RETURN(decl, expr) ASSIGN_OR_RETURN_(BERTH_CONCAT(berth_result_, __COUNTER__), decl, expr)
#define ASSIGN_OR_RETURN_(tmp, decl, expr)              \
  auto tmp = (expr);                                    \
  if (!tmp) return ::berth::Error(std::move(tmp).error()); \
  decl = *std::move(tmp)

#define RETURN_IF_ERROR(expr)                                       \
  do {                                                              \
    if (auto berth_r_ = (expr); !berth_r_) return ::berth::Error(std::move(berth_r_).error()); \
  } while (false)

// An invariant of ours: dies in every build. Never for input.
#define BERTH_CHECK(cond) \
  do { if (!(cond)) ::berth::result::DieOnCheck(#cond, __FILE__, __LINE__); } while (false)
