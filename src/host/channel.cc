#include "host/channel.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "host/poll.h"

namespace berth::host {
namespace {

constexpr std::size_t kSlotBytes = ChannelWriter::kSlotBytes, kSlots = ChannelWriter::kSlots, kBytes = kSlots * kSlotBytes;
constexpr std::array<std::byte, 1> kFreed{};

}  // namespace

Mapping::~Mapping() {
  if (!view_.empty()) ::munmap(view_.data(), view_.size());
}

Result<Mapping> Mapping::Open(int fd, std::size_t size, bool writable) {
  void* const at = ::mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return OsError(errno, "map a file");
  Mapping mapping;
  mapping.view_ = {static_cast<std::byte*>(at), size};
  return mapping;
}

// ---- ChannelWriter

Result<std::pair<ChannelWriter, ChannelWriter::ReaderEnd>> ChannelWriter::Open() {
  Fd memory(::memfd_create("channel", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid()) return OsError(errno, "make a memory file");
  RETURN_IF_ERROR(Truncate(memory.get(), kBytes));
  ChannelWriter writer;
  ASSIGN_OR_RETURN(writer.memory_, Mapping::Open(memory.get(), kBytes, /*writable=*/true));
  // From now on no descriptor of it can be written to or mapped for writing.
  if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE) != 0)
    return OsError(errno, "seal a memory file");
  ASSIGN_OR_RETURN(Pipe lengths, MakePipe());
  ASSIGN_OR_RETURN(Pipe freed, MakePipe());
  RETURN_IF_ERROR(SetNonBlocking(lengths.write.get(), true));
  RETURN_IF_ERROR(SetNonBlocking(freed.read.get(), true));
  writer.lengths_ = std::move(lengths.write);
  writer.freed_ = std::move(freed.read);
  return std::pair(std::move(writer), ReaderEnd{std::move(memory), std::move(lengths.read), std::move(freed.write)});
}

// Whether `fd` is worth another try.
Result<bool> ChannelWriter::Await(const task::Context& ctx, int fd, short events) {
  std::array wait{pollfd{fd, events, 0}, pollfd{answer_, POLLIN, 0}};
  RETURN_IF_ERROR(Poll(ctx, wait));
  return wait[1].revents == 0;
}

Result<bytes::MutableView> ChannelWriter::Room(const task::Context& ctx) {
  RETURN_IF_ERROR(ctx.Check());
  if (filled_ == kSlotBytes) {
    while (taken_ == kSlots) {
      std::array<std::byte, kSlots> freed;
      const ssize_t count = ::read(freed_.get(), freed.data(), freed.size());
      if (count == 0) return bytes::MutableView();
      if (count > 0) {
        taken_ -= std::min(static_cast<std::size_t>(count), taken_ - 1);
      } else if (errno == EAGAIN) {
        ASSIGN_OR_RETURN(const bool more, Await(ctx, freed_.get(), POLLIN));
        if (!more) return bytes::MutableView();
      } else if (errno != EINTR) {
        return OsError(errno, "read from a channel");
      }
    }
    ++taken_;
    slot_ = (slot_ + 1) % kSlots;
    filled_ = 0;
  }
  return memory_.view().subspan(slot_ * kSlotBytes + filled_, kSlotBytes - filled_);
}

Result<bool> ChannelWriter::HandOver(const task::Context& ctx, std::size_t count) {
  const auto length = static_cast<std::uint32_t>(count);
  filled_ += count;
  for (;;) {
    if (::write(lengths_.get(), &length, sizeof length) == sizeof length) return true;  // so few bytes go whole or not at all
    if (errno == EPIPE) return false;
    if (errno == EAGAIN) {  // many small pieces
      ASSIGN_OR_RETURN(const bool more, Await(ctx, lengths_.get(), POLLOUT));
      if (!more) return false;
    } else if (errno != EINTR) {
      return OsError(errno, "write to a channel");
    }
  }
}

// ---- ChannelReader

Result<ChannelReader> ChannelReader::Open(int memory_fd, int lengths_fd, int freed_fd) {
  ChannelReader reader(lengths_fd, freed_fd);
  ASSIGN_OR_RETURN(reader.memory_, Mapping::Open(memory_fd, kBytes, /*writable=*/false));
  return reader;
}

Result<std::size_t> ChannelReader::Read(bytes::MutableView room) {
  while (available_ == 0) {
    std::array<std::uint32_t, 64> lengths;
    ASSIGN_OR_RETURN(const std::size_t got, ReadSome(lengths_, std::as_writable_bytes(std::span(lengths))));
    if (got == 0) return std::size_t{0};
    for (const std::uint32_t length : std::span(lengths).first(got / sizeof lengths[0])) available_ += length;
    if (available_ > kBytes) return Error(Reason::kInternal, "a channel claims more bytes than it holds");
  }
  const std::size_t slot_end = (at_ / kSlotBytes + 1) * kSlotBytes;
  const std::size_t count = std::min({room.size(), available_, slot_end - at_});
  std::memcpy(room.data(), memory_.view().data() + at_, count);
  available_ -= count;
  at_ += count;
  if (at_ < slot_end) return count;
  at_ %= kBytes;
  // A writer that has closed its end wants no slot back.
  auto freed = WriteAll(freed_, bytes::View(kFreed));
  if (!freed && freed.error().reason() != Reason::kConnectionReset) return std::move(freed).error();
  return count;
}

}  // namespace berth::host
