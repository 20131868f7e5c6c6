#include "layer/data_writer.h"

#include <algorithm>
#include <cstring>

#include "codec/crc32c.h"
#include "host/fd.h"

namespace berth::layer {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kWriteBytes = 1u << 20;      // never more in one go
constexpr std::size_t kWritePieces = 1000;           // of IOV_MAX 1024
constexpr std::uint64_t kWritebackBytes = 8u << 20;
constexpr std::uint64_t kReserveFrom = 1u << 20, kReserveBytes = 64u << 20;
constexpr std::array<std::byte, kPage> kZeros{};

}  // namespace

Result<std::uint64_t> DataWriter::Start(const erofs::Tree&, std::uint32_t) {
  if (const std::uint64_t gap = -end_ % kPage) RETURN_IF_ERROR(Put(bytes::View(kZeros).first(gap)));
  return end_;
}

Result<> DataWriter::Append(bytes::View data) {
  while (!data.empty()) {
    const bytes::View piece = data.first(std::min<std::uint64_t>(data.size(), kWriteBytes));
    RETURN_IF_ERROR(Put(piece));
    data = data.subspan(piece.size());
  }
  return {};
}

Result<> DataWriter::Put(bytes::View piece) {
  if (pieces_.size() >= kWritePieces || end_ - written_ >= kWriteBytes) RETURN_IF_ERROR(Flush());
  pieces_.push_back(piece);
  end_ += piece.size();
  return {};
}

Result<> DataWriter::Flush() {
  const std::uint64_t whole = end_ / kPage * kPage;
  if (whole > written_) RETURN_IF_ERROR(Write(whole));
  // What is left of the last page moves out of the caller's buffer. It may be here already, in front.
  std::size_t length = 0;
  for (const bytes::View piece : pieces_) {
    std::memmove(tail_.data() + length, piece.data(), piece.size());
    length += piece.size();
  }
  pieces_.clear();
  if (length > 0) pieces_.push_back(bytes::View(tail_).first(length));
  return {};
}

Result<> DataWriter::Write(std::uint64_t until) {
  std::uint64_t left = until - written_;
  std::size_t count = 0;
  bytes::View rest;
  for (; left > 0; ++count) {
    bytes::View& piece = pieces_[count];
    if (piece.size() > left) {
      rest = piece.subspan(left);
      piece = piece.first(left);
    }
    left -= piece.size();
    AddCrc(piece);
  }
  Reserve(until);
  RETURN_IF_ERROR(host::PwritevAll(fd_, std::span(pieces_).first(count), written_));
  if (!rest.empty()) pieces_[--count] = rest;
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(count));
  written_ = until;
  if (written_ - writeback_ >= kWritebackBytes) {
    RETURN_IF_ERROR(host::StartWriteback(fd_, writeback_, written_ - writeback_));
    writeback_ = written_;
  }
  return {};
}

void DataWriter::Reserve(std::uint64_t until) {
  if (until < kReserveFrom || until <= reserved_) return;
  reserved_ = until + std::min(until, kReserveBytes);
  // A disk that has not as much may still have enough; the writes will tell.
  if (!host::Preallocate(fd_, reserved_)) reserved_ = ~std::uint64_t{0};
}

void DataWriter::AddCrc(bytes::View piece) {
  while (!piece.empty()) {
    if (crc_room_ == 0) {
      crcs_.push_back(0);
      crc_room_ = kCrcBlock;
    }
    const bytes::View part = piece.first(std::min<std::uint64_t>(piece.size(), crc_room_));
    crcs_.back() = codec::Crc32c(part, crcs_.back());
    crc_room_ -= part.size();
    piece = piece.subspan(part.size());
  }
}

Result<> DataWriter::Finish() {
  if (const std::uint64_t gap = -end_ % kPage) RETURN_IF_ERROR(Put(bytes::View(kZeros).first(gap)));
  RETURN_IF_ERROR(Flush());
  if (reserved_ > written_) RETURN_IF_ERROR(host::Truncate(fd_, written_));
  return written_ > writeback_ ? host::StartWriteback(fd_, writeback_, written_ - writeback_) : Result<>{};
}

}  // namespace berth::layer
