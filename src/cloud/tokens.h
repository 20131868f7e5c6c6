// cloud/tokens.h: the small formats in which clouds wrap tokens and times. Pure.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bytes/bytes.h"
#include "json/document.h"
#include "result/result.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::cloud {


// "exp" of a JSON web token, which is read without any check of its signature: it only says how long to keep the token.
std::optional<time::WallTime> JwtExpiry(std::string_view token);

// RFC 3339 in UTC, "2026-11-25T14:00:00Z"; a fraction of a second is dropped.
std::optional<time::WallTime> ParseTimestamp(std::string_view text);

// application/x-www-form-urlencoded.
secret::Secret Form(std::initializer_list<std::pair<std::string_view, std::string_view>> fields);

// The JSON of an answer that holds a token: at most 1 MiB and 8 levels. kTokenError.
Result<json::Document> ParseAnswer(std::string_view text);

// A string that must be there, not empty, and free of control bytes (it may become a header).
Result<secret::Secret> SecretField(const json::Value& object, std::string_view key);

// `now` + "expires_in" of an OAuth answer, a number or, as Azure writes it, a string of digits. None when absent or absurd.
std::optional<time::WallTime> ExpiresIn(const json::Value& object, time::WallTime now);

// Without the blanks and line ends around it; a token in a file often ends in a newline.
std::string_view Trimmed(std::string_view text);

// No byte below 0x21, no 0x7f: may stand in a header.
bool IsVisible(std::string_view text);

}  // namespace berth::cloud
