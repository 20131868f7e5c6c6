// log/log.h: structured lines for operators.
//
//   log::Info("image pulled", {{"image", name}, {"bytes", n}, {"ms", took}});
//
// A constant message and typed fields; one line per event, in klog text form
//   I1124 08:35:44.123456   21145 pull.cc:88] "image pulled" image="…" bytes=12 ms=41
// or JSON (ts in milliseconds). Levels: error = an operator must act; warning = will retry or is degraded;
// info = one line per finished image event; debug = per request. Remote input alone can never raise the volume
// of info. Field values are escaped and cut at 256 bytes; a Secret does not convert to a Field.
//
// Safe for concurrent use. The process-wide sink is set once by main (Init); before that, lines go to stderr as
// klog text at level info.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "result/result.h"

namespace berth::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarning, kError };
enum class Format : std::uint8_t { kText, kJson };

struct Options {
  Level level = Level::kInfo;
  Format format = Format::kText;
};

class Field {
 public:
  Field(std::string_view key, std::string_view value) : key_(key), text_(value), quoted_(true) {}
  Field(std::string_view key, const char* value) : Field(key, std::string_view(value)) {}
  Field(std::string_view key, const std::string& value) : Field(key, std::string_view(value)) {}
  Field(std::string_view key, bool value) : key_(key), text_(value ? "true" : "false"), quoted_(false) {}
  template <class T>
    requires std::is_arithmetic_v<T>
  Field(std::string_view key, T value) : key_(key), text_(std::to_string(value)), quoted_(false) {}
  // Code, text and next step of an error.
  Field(std::string_view key, const Error& error)
      : key_(key), text_(std::string(error.info().code) + " " + error.Text()), quoted_(true) {}

  std::string_view key() const { return key_; }
  const std::string& text() const { return text_; }
  bool quoted() const { return quoted_; }

 private:
  std::string_view key_;
  std::string text_;
  bool quoted_;
};

using Fields = std::initializer_list<Field>;
// What std::source_location would be if clang 14, which builds the fuzz targets, had it.
class Where {
 public:
  static constexpr Where current(const char* file = __builtin_FILE(), std::uint32_t line = __builtin_LINE()) { return {file, line}; }
  constexpr const char* file_name() const { return file_; }
  constexpr std::uint32_t line() const { return line_; }

 private:
  constexpr Where(const char* file, std::uint32_t line) : file_(file), line_(line) {}
  const char* file_;
  std::uint32_t line_;
};

void Init(const Options& options);
bool Enabled(Level level);
void Write(Level level, std::string_view message, Fields fields, const Where& where);

inline void Debug(std::string_view m, Fields f = {}, const Where& w = Where::current()) { Write(Level::kDebug, m, f, w); }
inline void Info(std::string_view m, Fields f = {}, const Where& w = Where::current()) { Write(Level::kInfo, m, f, w); }
inline void Warning(std::string_view m, Fields f = {}, const Where& w = Where::current()) { Write(Level::kWarning, m, f, w); }
inline void Failure(std::string_view m, Fields f = {}, const Where& w = Where::current()) { Write(Level::kError, m, f, w); }

}  // namespace berth::log
