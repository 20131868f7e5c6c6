#include "bytes/encoding.h"

#include <array>

namespace berth::bytes {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::string_view kB64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::int8_t, 256> Reverse(std::string_view alphabet) {
  std::array<std::int8_t, 256> table{};
  for (auto& v : table) v = -1;
  for (std::size_t i = 0; i < alphabet.size(); ++i) table[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
  return table;
}
constexpr auto kFromHex = Reverse(kHex);
constexpr auto kFromB64 = Reverse(kB64);

int Value(const std::array<std::int8_t, 256>& table, char c) { return table[static_cast<unsigned char>(c)]; }

}  // namespace

std::string ToHex(View data) {
  std::string out;
  out.reserve(data.size() * 2);
  for (auto b : data) {
    out += kHex[static_cast<unsigned>(b) >> 4];
    out += kHex[static_cast<unsigned>(b) & 15];
  }
  return out;
}

std::optional<std::string> FromHex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int hi = Value(kFromHex, text[i]), lo = Value(kFromHex, text[i + 1]);
    if (hi < 0 || lo < 0) return std::nullopt;
    out += static_cast<char>(hi * 16 + lo);
  }
  return out;
}

std::optional<std::string> PercentDecoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = HexValue(text[i + 1]), low = HexValue(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::string ToBase64(View data) {
  std::string out;
  out.reserve((data.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < data.size(); i += 3) {
    const auto at = [&](std::size_t k) { return i + k < data.size() ? static_cast<unsigned>(data[i + k]) : 0u; };
    const unsigned word = at(0) << 16 | at(1) << 8 | at(2);
    out += kB64[word >> 18];
    out += kB64[(word >> 12) & 63];
    out += i + 1 < data.size() ? kB64[(word >> 6) & 63] : '=';
    out += i + 2 < data.size() ? kB64[word & 63] : '=';
  }
  return out;
}

std::optional<std::string> FromBase64(std::string_view text, Padding padding) {
  std::size_t pads = 0;
  while (pads < 2 && !text.empty() && text.back() == '=') {
    text.remove_suffix(1);
    ++pads;
  }
  const std::size_t rest = text.size() % 4;
  if (rest == 1) return std::nullopt;
  const std::size_t wanted = rest == 0 ? 0 : 4 - rest;
  if (pads != wanted && (padding == Padding::kRequired || pads != 0)) return std::nullopt;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  unsigned word = 0, bits = 0;
  for (char c : text) {
    const int v = Value(kFromB64, c);
    if (v < 0) return std::nullopt;
    word = word << 6 | static_cast<unsigned>(v);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(word >> bits & 0xFF);
    }
  }
  if ((word & ((1u << bits) - 1)) != 0) return std::nullopt;  // left-over bits must be zero: one spelling only
  return out;
}

}  // namespace berth::bytes
