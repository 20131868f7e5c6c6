// apps/berth/datum.h: a value inside -o go-template= and -o jsonpath=, and Go's text for it.
//
// Scalars of a JSON document become values of their own, lists and maps stay views into it. Numbers that are written as whole ones
// are integers, all others are floats. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "json/tree.h"
#include "result/result.h"

namespace berth::cli {

struct Datum {
  enum class Kind : std::uint8_t { kNone, kBool, kInt, kReal, kString, kList, kMap };  // kNone: null, or nothing there
  Kind kind = Kind::kNone;
  std::int64_t number = 0;           // of kInt; kBool: 0, 1
  double real = 0;
  std::string text;
  const json::Tree* tree = nullptr;  // of kList and kMap

  Datum() = default;
  explicit Datum(const json::Tree& tree);
  explicit Datum(std::string value) : kind(Kind::kString), text(std::move(value)) {}
  explicit Datum(std::int64_t value) : kind(Kind::kInt), number(value) {}
  explicit Datum(double value) : kind(Kind::kReal), real(value) {}
  explicit Datum(bool value) : kind(Kind::kBool), number(value ? 1 : 0) {}
  bool is(Kind k) const { return kind == k; }
  bool IsNumber() const { return is(Kind::kInt) || is(Kind::kReal); }
  double AsReal() const { return is(Kind::kInt) ? static_cast<double>(number) : real; }
};

// "string", "number", …: for sentences.
std::string_view KindName(const Datum& datum);
// As Go's %v has scalars (1.5, 1e+06, true); lists and maps as compact JSON; kNone: `none`.
std::string GoText(const Datum& datum, std::string_view none);
std::string GoReal(double value);
std::string ToJson(const Datum& datum);
// Below, at or above 0; nullopt when they cannot be compared: of different kinds (but for numbers), lists, maps.
std::optional<int> Compare(const Datum& a, const Datum& b);

// A whole or broken number as Go writes it (-5, 0x1F, 0b1, 0o7, 1.5e3).
std::optional<Datum> ParseNumber(std::string_view text);
// The end of a quoted text that begins at `at`: behind its closing quote; npos when there is none on this line ('`': anywhere).
std::size_t QuotedEnd(std::string_view text, std::size_t at);
// Of a text with its quotes (" or '): the text, with Go's escapes (\n \t \\ \" \x41 \101 \u00e9 …); '`': as it is.
std::optional<std::string> GoUnquote(std::string_view quoted);
void AppendUtf8(std::string& out, std::uint32_t code);  // U+FFFD for what is no character

// What a template may cost: one for each step, and for each byte it makes. Data cannot exceed it by being large, only loops in loops can.
class Budget {
 public:
  explicit Budget(std::uint64_t limit) : left_(limit) {}
  bool Take(std::uint64_t n) {
    if (n > left_) return false;
    left_ -= n;
    return true;
  }

 private:
  std::uint64_t left_;
};

inline constexpr std::uint64_t kTemplateWork = 512u << 20;
inline constexpr std::size_t kTemplateBytes = 64u << 10, kTemplateDepth = 100;

// kUsage: "go-template, column 7: …"; the line too when there are several. Columns count characters from 1.
Error TemplateError(std::string_view form, std::string_view source, std::size_t at, const std::string& what);

}  // namespace berth::cli
