// bytes/text.h: text cut to a number of bytes, never within a character; text that may go into a line; sizes for people; case
// and likeness of words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace berth::bytes {

// The longest beginning of at most `most` bytes after which no UTF-8 continuation byte follows. Bytes that are no UTF-8 are cut
// somewhere at or before `most`.
std::string_view Utf8Prefix(std::string_view text, std::size_t most);

// `text`, or as much of it as leaves room for "..." in `most` (at least 3) bytes.
std::string Ellipsized(std::string text, std::size_t most);

// A byte below 0x20, or 0x7f.
constexpr bool IsControl(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }
bool HasControls(std::string_view text);

// A number of bytes for people, as the kubelet shows it: "512 B", "1.5 KiB", "10.0 GiB"; TiB at most.
std::string FormatSize(std::uint64_t bytes);

std::string Lower(std::string_view text);  // ASCII; other bytes stay

// Levenshtein's distance, for "did you mean": "regcerd" is 2 from "regcred". Takes the product of the lengths.
std::size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace berth::bytes
