// bytes/encoding.h: hexadecimal and base64, strict.
//
// Decoders accept exactly what the encoders produce (base64 also without padding when `Padding::kOptional`), never
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
std::string ToBase64(View data);                                // RFC 4648 section 4, padded
std::optional<std::string> FromBase64(std::string_view text, Padding padding = Padding::kRequired);

}  // namespace berth::bytes
