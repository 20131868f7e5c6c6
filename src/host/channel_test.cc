#include "host/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include "time/testing/manual_clock.h"

namespace berth::host {
namespace {

constexpr std::size_t kSlot = ChannelWriter::kSlotBytes, kAll = kSlot * ChannelWriter::kSlots;

class Channel : public ::testing::Test {
 protected:
  Channel() {
    std::signal(SIGPIPE, SIG_IGN);
    auto made = *ChannelWriter::Open();
    writer.emplace(std::move(made.first));
    end = std::move(made.second);
    reader.emplace(*ChannelReader::Open(end.memory.get(), end.lengths.get(), end.freed.get()));
  }
  void Give(std::string_view text) {
    while (!text.empty()) {
      const bytes::MutableView room = *writer->Room(ctx);
      ASSERT_FALSE(room.empty());
      const std::size_t count = std::min(room.size(), text.size());
      std::memcpy(room.data(), text.data(), count);
      ASSERT_TRUE(*writer->HandOver(ctx, count));
      text.remove_prefix(count);
    }
  }
  std::string Take(std::size_t room) {
    std::string text(room, '\0');
    text.resize(*reader->Read(std::as_writable_bytes(std::span(text))));
    return text;
  }

  time::testing::ManualClock clock;
  task::Context ctx{{}, clock};
  std::optional<ChannelWriter> writer;
  ChannelWriter::ReaderEnd end;
  std::optional<ChannelReader> reader;
};

TEST_F(Channel, GivesBytesInOrderThenTheEnd) {
  Give("abc");
  Give("de");
  writer->Close();
  EXPECT_EQ(Take(2), "ab");
  EXPECT_EQ(Take(10), "cde");
  EXPECT_EQ(Take(10), "");
}

TEST_F(Channel, RunsAroundTheRing) {
  std::string text(3 * kAll + 12345, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7919 >> 8);
  std::jthread giver([&] {
    for (std::size_t at = 0, piece = 1; at < text.size(); at += piece, piece = piece * 3 % 400'009 + 1)
      Give(std::string_view(text).substr(at, piece));
    writer->Close();
  });
  std::string all;
  for (std::string piece; !(piece = Take(100'003)).empty();) all += piece;
  EXPECT_TRUE(all == text);
}

TEST_F(Channel, WaitsForAFreeSlotUntilTheContextEnds) {
  Give(std::string(kAll, 'x'));
  const task::Context late = ctx.WithTimeout(time::Duration(0));
  EXPECT_EQ(writer->Room(late).error().reason(), Reason::kTimeout);
  for (std::size_t left = kSlot; left > 0;) left -= Take(left).size();
  EXPECT_EQ(writer->Room(ctx)->size(), kSlot);
}

TEST_F(Channel, ManySmallPiecesWaitForTheReader) {
  std::size_t pieces = 0;
  const task::Context late = ctx.WithTimeout(time::Duration(0));
  Result<bool> given = true;
  while (pieces < kSlot && given) {
    ASSERT_FALSE(writer->Room(ctx)->empty());
    if ((given = writer->HandOver(late, 1))) ++pieces;
  }
  ASSERT_FALSE(given);
  EXPECT_EQ(given.error().reason(), Reason::kTimeout);
  EXPECT_GE(pieces, 4096u);
  EXPECT_EQ(Take(1).size(), 1u);
}

TEST_F(Channel, SeesThatTheReaderHasEnded) {
  end = {};
  EXPECT_FALSE(*writer->HandOver(ctx, 1));
  Give("");
  writer->HandOver(ctx, kSlot - 1).value();
  for (std::size_t i = 1; i < ChannelWriter::kSlots; ++i) {
    ASSERT_FALSE(writer->Room(ctx)->empty());
    writer->HandOver(ctx, kSlot).value();
  }
  EXPECT_TRUE(writer->Room(ctx)->empty());
}

TEST_F(Channel, DoesNotWaitForAReaderThatHasAnswered) {
  Pipe answer = *MakePipe();
  writer->AnswersOn(answer.read.get());
  Give(std::string(kAll, 'x'));
  answer.write.reset();
  EXPECT_TRUE(writer->Room(ctx)->empty());
}

TEST_F(Channel, AReaderCannotChangeWhatWasHandedOver) {
  Give("abc");
  EXPECT_LT(::pwrite(end.memory.get(), "z", 1, 0), 0);
  EXPECT_LT(::ftruncate(end.memory.get(), 0), 0);
  EXPECT_EQ(::mmap(nullptr, kSlot, PROT_READ | PROT_WRITE, MAP_SHARED, end.memory.get(), 0), MAP_FAILED);
  const std::string path = "/proc/self/fd/" + std::to_string(end.memory.get());
  const Fd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  EXPECT_TRUE(!again.valid() || ::pwrite(again.get(), "z", 1, 0) < 0);
  EXPECT_EQ(Take(3), "abc");
}

// More slots freed than there are: the writer writes over what the reader has not read.
TEST_F(Channel, AReaderThatLiesAboutSlotsOnlyHarmsItself) {
  ASSERT_TRUE(WriteAll(end.freed.get(), bytes::AsView("lies, lies, lies")));
  for (std::size_t slot = 0; slot < ChannelWriter::kSlots + 2; ++slot) {
    ASSERT_EQ(writer->Room(ctx)->size(), kSlot);
    ASSERT_TRUE(*writer->HandOver(ctx, kSlot));
  }
  std::array<std::byte, 16> room;
  const auto got = reader->Read(room);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kInternal);
}

}  // namespace
}  // namespace berth::host
