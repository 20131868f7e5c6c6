#include "result/result.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace berth::result {
namespace {

// Length of the valid UTF-8 sequence at the start of `s`, 0 if there is none.
std::size_t Utf8Length(std::string_view s) {
  const auto b0 = static_cast<unsigned char>(s[0]);
  if (b0 < 0x80) return 1;
  const std::size_t n = b0 >= 0xC2 && b0 < 0xE0 ? 2 : b0 >= 0xE0 && b0 < 0xF0 ? 3 : b0 >= 0xF0 && b0 < 0xF5 ? 4 : 0;
  if (n == 0 || s.size() < n) return 0;
  for (std::size_t i = 1; i < n; ++i)
    if ((static_cast<unsigned char>(s[i]) & 0xC0) != 0x80) return 0;
  const auto b1 = static_cast<unsigned char>(s[1]);
  if ((b0 == 0xE0 && b1 < 0xA0) || (b0 == 0xED && b1 > 0x9F) || (b0 == 0xF0 && b1 < 0x90) || (b0 == 0xF4 && b1 > 0x8F))
    return 0;
  return n;
}

}  // namespace

std::string Quoted(std::string_view raw) {
  constexpr std::size_t kMax = 256;
  std::string out = "\"";
  std::size_t i = 0;
  while (i < raw.size() && i < kMax) {
    const auto c = static_cast<unsigned char>(raw[i]);
    const std::size_t n = Utf8Length(raw.substr(i));
    // C1 controls (U+0080..U+009F) steer terminals as well as C0 does.
    const bool c1 = n == 2 && c == 0xC2 && static_cast<unsigned char>(raw[i + 1]) < 0xA0;
    if (n == 0 || c < 0x20 || c == 0x7F || c1) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "\\x%02x", c);
      out += hex;
      ++i;
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
      ++i;
    } else {
      out += raw.substr(i, n);
      i += n;
    }
  }
  if (i < raw.size()) out += "...";
  out += '"';
  return out;
}

std::string Error::Text() const {
  std::string out;
  for (auto it = contexts_.rbegin(); it != contexts_.rend(); ++it) {
    out += *it;
    out += ": ";
  }
  return out + message_;
}

Error FromErrno(int saved_errno, std::string_view what) {
  char buffer[128];
  const char* text = ::strerror_r(saved_errno, buffer, sizeof buffer);
  const bool full = saved_errno == ENOSPC || saved_errno == EDQUOT;
  Error error(full ? Reason::kNoSpace : Reason::kIo, std::string(what) + ": " + text);
  if (full) return std::move(error).Next("free space on this file system, or move the store (berth df shows what is used)");
  return error;
}

void DieOnBadDereference(const Error& error) {
  std::fprintf(stderr, "berth: a Result that holds an error was dereferenced: %s %s\n",
               std::string(error.info().code).c_str(), error.Text().c_str());
  std::abort();
}

void DieOnCheck(const char* expression, const char* file, int line) {
  std::fprintf(stderr, "berth: invariant broken: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace berth::result
