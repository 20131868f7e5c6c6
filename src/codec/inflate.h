// codec/inflate.h: a deflate stream (RFC 1951) decoded straight into the caller's bytes. Private to codec/.
//
// Refuses what zlib refuses: over-subscribed and incomplete codes (except zlib's own exception, a literal or distance
// code of at most one symbol), a block without an end symbol, distances before the start of the stream.
// Speed: one table look-up gives a whole literal or a length with its extra bits; 56 bits are kept ready by unaligned
// 8-byte loads; the loop has no other path for the ends of its buffers. It stays kReserve bytes away from the end of
// the input, and the last bytes of the input are decoded from a copy with zeros behind it, where reading a zero means
// the input was truncated. It stays kSlack bytes away from the end of its output: a room's first 32 KiB (matches reach
// back into what earlier calls gave) and last kSlack bytes are decoded in a window of our own and copied.
// Reads only input.data(), writes only `room` (also behind what it returns) and the window, whatever the stream says.
// One thread at a time. Memory: 116 KiB.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "bytes/bytes.h"
#include "codec/decoder_impl.h"
#include "result/result.h"

namespace berth::codec {

class Inflate {
 public:
  Inflate();
  // A stream starts at the next byte of the input; nothing of an earlier one is left.
  void Start();
  // Fills `room`, less of it only at the end of the stream: then ended(), and the input stands behind the stream's last
  // byte. Decodes up to 33 KiB ahead; waits for no input that `room` does not need, but for 640 bytes of it. An error
  // (kInvalidLayer, or the source's) drops what was not given yet; only Start() may follow it.
  Result<std::size_t> Read(InputBuffer& input, bytes::MutableView room);
  bool ended() const { return state_ == State::kDone && given_ == end_; }
  // CRC-32 and length of the stream; true at its end.
  std::uint32_t crc() const { return crc_; }
  std::uint64_t size() const { return size_; }

 private:
  static constexpr unsigned kSymbolBits = 11, kDistanceBits = 8;
  // A second-level table of 2^n entries holds a complete code, so at least n+1 symbols: 15-bit codes need at most
  // 16/5 entries a symbol behind 11 bits (288 symbols: 922) and 128/8 behind 8 bits (32 symbols: 512).
  static constexpr std::size_t kSymbolEntries = (1u << kSymbolBits) + 922, kDistanceEntries = (1u << kDistanceBits) + 512;
  static constexpr std::size_t kHistory = 32u << 10;  // the farthest distance
  static constexpr std::size_t kAhead = kHistory + 1024;
  // A block header takes at most 563 bytes, one turn of the loop 24; refills look 15 bytes ahead.
  static constexpr std::size_t kReserve = 640;
  // One turn writes two literals, a match of 258, and 39 bytes too many.
  static constexpr std::size_t kSlack = 320;
  static constexpr std::size_t kWindow = kHistory + 2 * (kAhead + kSlack);

  enum class State : std::uint8_t { kHeader, kStored, kSymbols, kDone };
  // The next bits of the input, the lowest first. Only the low byte of `count` counts: entries are subtracted whole.
  // Between calls fewer than eight bits are held, so `in` is where the input stands.
  struct Bits {
    const std::uint8_t* in = nullptr;
    std::uint64_t bits = 0;
    std::uint32_t count = 0;
    void Refill();
    std::uint32_t Take(unsigned width);
    void Drop(std::uint32_t entry);
    void GiveBack();
    void Align();
  };
  struct Tables {
    std::array<std::uint32_t, kSymbolEntries> symbol;
    std::array<std::uint32_t, kDistanceEntries> distance;
  };
  // Output from `at` on, with history from `begin` on; stops at or up to 260 bytes behind `limit`.
  struct Target {
    const std::uint8_t* begin;
    std::uint8_t* at;
    std::uint8_t* limit;
  };
  enum class Stop : std::uint8_t { kLimit, kEndOfBlock, kBroken };

  Result<> Decode(InputBuffer& input, std::size_t wanted, Target& to);
  bool Run(const std::uint8_t* in_end, const std::uint8_t* safe, const std::uint8_t* in_limit, Target& to);
  Stop DecodeSymbols(const std::uint8_t* in_limit, Target& to);
  bool Header();
  void EndBlock();
  bool DynamicTables();
  bool FixedTables();
  std::size_t Give(bytes::MutableView room);

  State state_ = State::kDone;
  bool last_block_ = false;
  bool tables_fixed_ = false;
  std::uint32_t stored_left_ = 0;
  std::uint32_t crc_ = 0;
  std::uint64_t size_ = 0;
  Bits bits_;
  Tables tables_;
  // window_[0, end_) ends with the newest output while in_window_; [given_, end_) is not yet with the caller.
  std::unique_ptr<std::uint8_t[]> window_;
  std::size_t given_ = 0;
  std::size_t end_ = 0;
  bool in_window_ = true;
  std::array<std::uint8_t, 2 * kReserve> tail_;
};

}  // namespace berth::codec
