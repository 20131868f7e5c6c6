// codec/testing/raw_deflate.h: what our inflate and zlib make of a raw deflate stream, in a form that compares.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "codec/inflate.h"

namespace berth::codec::testing {

// Gives `rest`, at most `most` bytes a call.
class Pieces : public bytes::Source {
 public:
  Pieces(std::string_view rest, std::size_t most) : rest_(rest), most_(most) {}
  Result<std::size_t> Read(bytes::MutableView room) override {
    const std::size_t count = std::min({room.size(), rest_.size(), most_});
    if (count > 0) std::memcpy(room.data(), rest_.data(), count);
    rest_.remove_prefix(count);
    return count;
  }
  std::size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
  std::size_t most_;
};

struct Inflated {
  std::string out;
  std::size_t used = 0;  // bytes of the stream up to its end
  bool operator==(const Inflated&) const = default;
};

// An Error also for more than `most` bytes. Aborts where inflate.h breaks its word, a byte written behind the room included.
inline Result<Inflated> Ours(std::string_view stream, std::size_t piece, std::size_t room, std::size_t most = 64u << 20) {
  constexpr char kCanary = '\x5a';
  Pieces source(stream, piece);
  InputBuffer input(source);
  Inflate inflate;
  inflate.Start();
  Inflated inflated;
  std::string buffer(room + 64, kCanary);
  while (!inflate.ended()) {
    ASSIGN_OR_RETURN(const std::size_t got, inflate.Read(input, std::as_writable_bytes(std::span(buffer).first(room))));
    if (got < room && !inflate.ended()) std::abort();
    if (std::ranges::any_of(std::string_view(buffer).substr(room), [](char c) { return c != kCanary; })) std::abort();
    inflated.out.append(buffer, 0, got);
    if (inflated.out.size() > most) return Error(Reason::kLimitExceeded, "more output than the test wants");
  }
  inflated.used = stream.size() - source.left() - input.size();
  const auto* const out = reinterpret_cast<const Bytef*>(inflated.out.data());
  if (inflate.crc() != crc32_z(0, out, inflated.out.size()) || inflate.size() != inflated.out.size()) std::abort();
  return inflated;
}

// nullopt: zlib refuses, finds no end, or gives more than `most` bytes.
inline std::optional<Inflated> Zlib(std::string_view stream, std::size_t most = 64u << 20) {
  z_stream z{};
  if (inflateInit2(&z, -15) != Z_OK) std::abort();
  Inflated inflated;
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(stream.data()));
  z.avail_in = static_cast<uInt>(stream.size());
  int status = Z_OK;
  while (status == Z_OK && inflated.out.size() <= most) {
    char buffer[16384];
    z.next_out = reinterpret_cast<Bytef*>(buffer);
    z.avail_out = sizeof buffer;
    status = inflate(&z, Z_NO_FLUSH);
    inflated.out.append(buffer, sizeof buffer - z.avail_out);
  }
  inflated.used = z.total_in;
  inflateEnd(&z);
  if (status != Z_STREAM_END || inflated.out.size() > most) return std::nullopt;
  return inflated;
}

}  // namespace berth::codec::testing
