// Accepted exactly when a second, naive reader of RFC 8259 accepts; what was read and written again is the same tree
// for a third one (nlohmann's), and writing is canonical: reading it and writing it again changes nothing.
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "json/document.h"
#include "json/utf8.h"
#include "result/result.h"

namespace {

using namespace berth;

constexpr json::Limits kLimits{.bytes = 1u << 16, .depth = 16, .values = 4096};

// Recursive and slow on purpose: nothing in it is shared with the library but the UTF-8 table.
class Naive {
 public:
  explicit Naive(std::string_view text) : s_(text) {}
  bool Accepts() {
    if (s_.size() > kLimits.bytes || !Element(0)) return false;
    return at_ == s_.size() && values_ <= kLimits.values;
  }

 private:
  char Peek() const { return at_ < s_.size() ? s_[at_] : '\0'; }
  bool Take(char c) { return at_ < s_.size() && s_[at_] == c ? (++at_, true) : false; }
  bool Take(std::string_view w) { return s_.substr(at_).starts_with(w) ? (at_ += w.size(), true) : false; }
  void Space() {
    while (at_ < s_.size() && std::string_view(" \t\r\n").find(s_[at_]) != std::string_view::npos) ++at_;
  }
  bool Digits() {
    const std::size_t from = at_;
    while (Peek() >= '0' && Peek() <= '9') ++at_;
    return at_ > from;
  }

  bool Element(std::size_t depth) {
    Space();
    ++values_;
    const char c = Peek();
    bool good = false;
    if (c == '{' || c == '[') {
      good = depth < kLimits.depth && Container(c == '{', depth + 1);
    } else if (c == '"') {
      std::string ignored;
      good = String(ignored);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      good = Number();
    } else {
      good = Take("true") || Take("false") || Take("null");
    }
    Space();
    return good;
  }

  bool Container(bool object, std::size_t depth) {
    const char close = object ? '}' : ']';
    std::set<std::string> keys;
    ++at_;
    Space();
    if (Take(close)) return true;
    for (;;) {
      if (object) {
        std::string key;
        Space();
        if (!String(key) || !keys.insert(key).second) return false;
        Space();
        if (!Take(':')) return false;
      }
      if (!Element(depth)) return false;
      if (Take(close)) return true;
      if (!Take(',')) return false;
    }
  }

  bool Number() {
    const std::size_t from = at_;
    Take('-');
    if (!Take('0') && !Digits()) return false;
    if (Take('.') && !Digits()) return false;
    if (Take('e') || Take('E')) {
      if (!Take('+')) Take('-');
      if (!Digits()) return false;
    }
    return std::isfinite(std::strtod(std::string(s_.substr(from, at_ - from)).c_str(), nullptr));
  }

  bool Hex4(unsigned& out) {
    out = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const std::size_t digit = std::string_view("0123456789abcdef").find(static_cast<char>(std::tolower(Peek())));
      if (at_ >= s_.size() || digit == std::string_view::npos) return false;
      out = out * 16 + static_cast<unsigned>(digit);
    }
    return true;
  }

  bool String(std::string& out) {
    if (!Take('"')) return false;
    while (at_ < s_.size()) {
      if (Take('"')) return true;
      if (Take('\\')) {
        const char c = Peek();
        ++at_;
        if (c == 'u') {
          unsigned code = 0, low = 0;
          if (!Hex4(code) || (code >= 0xDC00 && code < 0xE000)) return false;
          if (code >= 0xD800 && code < 0xDC00) {
            if (!Take("\\u") || !Hex4(low) || low < 0xDC00 || low >= 0xE000) return false;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
          }
          Append(out, code);
        } else {
          const std::size_t which = std::string_view("\"\\/bfnrt").find(c);
          if (which == std::string_view::npos || at_ > s_.size()) return false;
          out += "\"\\/\b\f\n\r\t"[which];
        }
        continue;
      }
      const std::size_t n = json::Utf8SequenceLength(s_.substr(at_));
      if (n == 0 || static_cast<unsigned char>(s_[at_]) < 0x20) return false;
      out += s_.substr(at_, n);
      at_ += n;
    }
    return false;
  }

  static void Append(std::string& out, unsigned code) {
    const auto put = [&](unsigned byte) { out += static_cast<char>(byte); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xC0 | code >> 6), put(0x80 | (code & 63));
    } else if (code < 0x10000) {
      put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    } else {
      put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    }
  }

  std::string_view s_;
  std::size_t at_ = 0, values_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<json::Document> got = json::Document::Parse(text, Reason::kInvalidManifest, kLimits);
  BERTH_CHECK(got.has_value() == Naive(text).Accepts());
  if (!got) {
    const Error& e = got.error();
    BERTH_CHECK(e.reason() == Reason::kInvalidManifest || e.reason() == Reason::kLimitExceeded);
    BERTH_CHECK(e.Text().size() <= 1024);
    return 0;
  }
  const std::string dump = got->root().Dump();
  const Result<json::Document> again = json::Document::Parse(dump, Reason::kInvalidManifest);
  BERTH_CHECK(again.has_value() && again->root().Dump() == dump);
  BERTH_CHECK(nlohmann::json::parse(text) == nlohmann::json::parse(dump));
  return 0;
}
