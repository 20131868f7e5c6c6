#include "layer/data_writer.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "codec/crc32c.h"
#include "host/fd.h"

namespace berth::layer {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kWritebackBytes = 8u << 20;
constexpr std::uint64_t kReserveFrom = 1u << 20, kReserveBytes = 64u << 20;
constexpr std::array<std::byte, kPage> kZeros{};

}  // namespace

DataWriter::DataWriter(int fd, std::function<void(const void*)> free)
    : fd_(fd), free_(std::move(free)), thread_([this](const std::stop_token& stop) { Run(stop); }) {}

DataWriter::~DataWriter() = default;

Result<std::uint64_t> DataWriter::Start(const erofs::Tree&, std::uint32_t) {
  if (const std::uint64_t gap = -end_ % kPage) Put(bytes::View(kZeros).first(gap));
  return end_;
}

Result<> DataWriter::Append(bytes::View data) {
  if (!data.empty()) Put(data);
  return {};
}

void DataWriter::Put(bytes::View piece) {
  next_->pieces.push_back(piece);
  next_->size += piece.size();
  end_ += piece.size();
}

Result<> DataWriter::Flush(const void* buffer) {
  // What is left of the last page moves out of the caller's buffer, to the front of the next batch.
  auto after = std::make_unique<Batch>();
  for (std::uint64_t left = end_ % kPage, at = left; left > 0;) {
    bytes::View& last = next_->pieces.back();
    const std::size_t count = std::min<std::uint64_t>(left, last.size());
    at -= count;
    std::memcpy(after->head.data() + at, last.last(count).data(), count);
    last = last.first(last.size() - count);
    if (last.empty()) next_->pieces.pop_back();
    left -= count;
    next_->size -= count;
  }
  if (const std::uint64_t rest = end_ % kPage) {
    after->pieces.push_back(bytes::View(after->head).first(rest));
    after->size = rest;
  }
  next_->buffer = buffer;
  return Hand(std::exchange(next_, std::move(after)));
}

Result<> DataWriter::Hand(std::unique_ptr<Batch> batch) {
  const std::lock_guard lock(mutex_);
  if (failed_) return *failed_;
  queue_.push_back(std::move(batch));
  changed_.notify_one();
  return {};
}

Result<> DataWriter::Finish() {
  if (const std::uint64_t gap = -end_ % kPage) Put(bytes::View(kZeros).first(gap));
  if (next_->size > 0) RETURN_IF_ERROR(Hand(std::move(next_)));
  {
    const std::lock_guard lock(mutex_);
    last_ = true;
    changed_.notify_one();
  }
  thread_.join();
  if (failed_) return *std::move(failed_);
  if (reserved_ > written_) RETURN_IF_ERROR(host::Truncate(fd_, written_));
  return written_ > writeback_ ? host::StartWriteback(fd_, writeback_, written_ - writeback_) : Result<>{};
}

void DataWriter::Run(const std::stop_token& stop) {
  for (std::unique_lock lock(mutex_);;) {
    changed_.wait(lock, stop, [&] { return last_ || !queue_.empty(); });
    if (stop.stop_requested() || queue_.empty()) return;
    const std::unique_ptr<Batch> batch = std::move(queue_.front());
    queue_.pop_front();
    const bool failed = failed_.has_value();  // then buffers are given back, so that nobody waits for one
    lock.unlock();
    Result<> written = failed ? Result<>{} : Write(*batch);
    if (batch->buffer) free_(batch->buffer);
    lock.lock();
    if (!written) failed_ = std::move(written).error();
  }
}

Result<> DataWriter::Write(const Batch& batch) {
  if (batch.size == 0) return {};
  for (const bytes::View piece : batch.pieces) AddCrc(piece);
  Reserve(written_ + batch.size);
  RETURN_IF_ERROR(host::PwritevAll(fd_, batch.pieces, written_));
  written_ += batch.size;
  if (written_ - writeback_ < kWritebackBytes) return {};
  const std::uint64_t from = std::exchange(writeback_, written_);
  return host::StartWriteback(fd_, from, written_ - from);
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

}  // namespace berth::layer
