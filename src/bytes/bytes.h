// bytes/bytes.h: spans of bytes, and the two shapes in which they flow.
//
// Sink takes bytes in order; Source gives them. Neither owns the data it is handed: a span is valid during the
// call only. Hex and base64 live in bytes/encoding.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "result/result.h"

namespace berth::bytes {

using View = std::span<const std::byte>;
using MutableView = std::span<std::byte>;

inline View AsView(std::string_view s) { return std::as_bytes(std::span(s.data(), s.size())); }
inline std::string_view AsText(View v) { return {reinterpret_cast<const char*>(v.data()), v.size()}; }

class Sink {
 public:
  virtual ~Sink() = default;
  // Takes all of `chunk` or fails.
  virtual Result<> Write(View chunk) = 0;
};

class Source {
 public:
  virtual ~Source() = default;
  // Fills a prefix of `room` and returns its length; 0 only at the end. Blocks until at least one byte is there.
  virtual Result<std::size_t> Read(MutableView room) = 0;
};

}  // namespace berth::bytes
