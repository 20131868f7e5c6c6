// bytes/encoding.h: hexadecimal, base64 and percent signs, strict.
//
// Decoders of hexadecimal and base64 accept exactly what the encoders produce (base64 also without padding when `Padding::kOptional`), never
// skip characters, and say nothing about the input in their errors: it may be a secret.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bytes/bytes.h"

namespace berth::bytes {

enum class Padding : bool { kRequired, kOptional };

std::string ToHex(View data);                                   // lower case
std::optional<std::string> FromHex(std::string_view text);      // lower case only, even length
// Of one hexadecimal digit, either case; -1 for anything else.
constexpr int HexValue(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}
// RFC 3986 2.1, either case; nullopt where two hexadecimal digits do not follow a '%'.
std::optional<std::string> PercentDecoded(std::string_view text);
std::string ToBase64(View data);                                // RFC 4648 section 4, padded
std::optional<std::string> FromBase64(std::string_view text, Padding padding = Padding::kRequired);

}  // namespace berth::bytes
