#include <charconv>
#include <cmath>

#include "json/document.h"
#include "json/utf8.h"

namespace berth::json {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

void AppendQuoted(std::string& out, std::string_view value) {
  out += '"';
  std::size_t i = 0;
  while (i < value.size()) {
    const char c = value[i];
    const std::size_t n = Utf8SequenceLength(value.substr(i));
    if (n == 0) {
      out += "\xEF\xBF\xBD";
      ++i;
      continue;
    }
    if (n > 1 || (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\')) {
      out += value.substr(i, n);
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += "\\u00";
      out += kHex[static_cast<unsigned char>(c) >> 4];
      out += kHex[static_cast<unsigned char>(c) & 15];
    }
    i += n;
  }
  out += '"';
}

template <class Number>
void AppendNumber(std::string& out, Number value) {
  char buffer[40];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, value);
  BERTH_CHECK(error == std::errc());
  out.append(buffer, end);
}

}  // namespace

void Writer::Separate() {
  if (after_key_) {
    after_key_ = false;
  } else if (first_.empty()) {
    BERTH_CHECK(out_.empty());  // a second document
  } else if (first_.back()) {
    first_.back() = false;
  } else {
    out_ += ',';
  }
}

Writer& Writer::BeginObject() {
  Separate();
  out_ += '{';
  first_.push_back(true);
  return *this;
}

Writer& Writer::EndObject() {
  BERTH_CHECK(!first_.empty() && !after_key_);
  first_.pop_back();
  out_ += '}';
  return *this;
}

Writer& Writer::BeginArray() {
  Separate();
  out_ += '[';
  first_.push_back(true);
  return *this;
}

Writer& Writer::EndArray() {
  BERTH_CHECK(!first_.empty() && !after_key_);
  first_.pop_back();
  out_ += ']';
  return *this;
}

Writer& Writer::Key(std::string_view key) {
  BERTH_CHECK(!first_.empty() && !after_key_);
  Separate();
  AppendQuoted(out_, key);
  out_ += ':';
  after_key_ = true;
  return *this;
}

Writer& Writer::String(std::string_view value) {
  Separate();
  AppendQuoted(out_, value);
  return *this;
}

Writer& Writer::Int(std::int64_t value) {
  Separate();
  AppendNumber(out_, value);
  return *this;
}

Writer& Writer::Uint(std::uint64_t value) {
  Separate();
  AppendNumber(out_, value);
  return *this;
}

Writer& Writer::Double(double value) {
  if (!std::isfinite(value)) return Null();
  Separate();
  AppendNumber(out_, value);
  return *this;
}

Writer& Writer::Bool(bool value) { return Raw(value ? "true" : "false"); }
Writer& Writer::Null() { return Raw("null"); }

Writer& Writer::Raw(std::string_view json) {
  Separate();
  out_ += json;
  return *this;
}

}  // namespace berth::json
