#include "layer/data_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <deque>
#include <memory>
#include <semaphore>
#include <string>
#include <vector>

#include "codec/crc32c.h"
#include "host/fd.h"

namespace berth::layer {
namespace {

std::string Noise(std::size_t size, std::uint32_t seed) {
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return out;
}

using Buffers = std::deque<std::string>;

// Files of these sizes, each given in pieces of `piece` bytes that are destroyed after every `flush_every` pieces.
struct Row {
  const char* name;
  std::vector<std::size_t> sizes;
  std::size_t piece, flush_every;
};

class DataWriterTable : public ::testing::TestWithParam<Row> {};

TEST_P(DataWriterTable, WritesEachFileAtAPage) {
  const Row& row = GetParam();
  const int fd = memfd_create("data", MFD_CLOEXEC);
  const host::Fd owner(fd);
  DataWriter writer(fd, [](const void* given) {  // what is given back is written over at once
    const std::unique_ptr<Buffers> buffers(static_cast<Buffers*>(const_cast<void*>(given)));  // NOLINT: it is ours
    for (std::string& buffer : *buffers) buffer.assign(buffer.size(), '!');
  });
  const erofs::Tree tree;
  std::string expected;
  auto buffers = std::make_unique<Buffers>();
  std::size_t pieces = 0;
  for (std::size_t i = 0; i < row.sizes.size(); ++i) {
    const std::string file = Noise(row.sizes[i], static_cast<std::uint32_t>(i + 1));
    expected.resize((expected.size() + 4095) / 4096 * 4096);
    const auto at = writer.Start(tree, 0);
    ASSERT_TRUE(at);
    EXPECT_EQ(*at, expected.size());
    expected += file;
    for (std::size_t from = 0; from < file.size(); from += row.piece) {
      buffers->push_back(file.substr(from, row.piece));
      ASSERT_TRUE(writer.Append(bytes::AsView(buffers->back())));
      if (++pieces % row.flush_every == 0) {
        ASSERT_TRUE(writer.Flush(buffers.release()));
        buffers = std::make_unique<Buffers>();
      }
    }
    ASSERT_TRUE(writer.End(tree, 0));
  }
  ASSERT_TRUE(writer.Flush(buffers.release()));
  ASSERT_TRUE(writer.Finish());
  expected.resize((expected.size() + 4095) / 4096 * 4096);
  ASSERT_EQ(writer.bytes(), expected.size());
  std::string written(expected.size(), '\0');
  ASSERT_TRUE(host::PreadExact(fd, std::as_writable_bytes(std::span(written)), 0));
  EXPECT_TRUE(written == expected);
  EXPECT_EQ(host::Stat(fd)->size, expected.size());
  ASSERT_EQ(writer.crcs().size(), (expected.size() + kCrcBlock - 1) / kCrcBlock);
  for (std::size_t i = 0; i < writer.crcs().size(); ++i) {
    EXPECT_EQ(writer.crcs()[i], codec::Crc32c(bytes::AsView(std::string_view(expected).substr(i * kCrcBlock, kCrcBlock)))) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, DataWriterTable,
    ::testing::Values(Row{"Nothing", {}, 1, 1}, Row{"Empty", {0, 0}, 1, 1}, Row{"OneByte", {1}, 1, 1}, Row{"Pages", {4096, 8192, 4096}, 4096, 1},
                      Row{"AroundPages", {4095, 4096, 4097, 1, 8191}, 1000, 3}, Row{"SmallPieces", {10'000, 3, 5'000}, 7, 5},
                      Row{"ManySmallFiles", std::vector<std::size_t>(3'000, 10), 512, 2'500},
                      Row{"Large", {3u << 20, 100, (1u << 20) + 1}, 700'000, 2}, Row{"OnePieceBeyondAWrite", {5u << 20}, 5u << 20, 1},
                      Row{"FlushAtTheEnd", {100, 5000, 100}, 100'000, 100}),
    [](const auto& row) { return std::string(row.param.name); });

// Who waits for a buffer gets it, whatever becomes of the write; the error is not lost.
TEST(DataWriter, FullDisk) {
  const host::Fd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.valid());
  const std::string data(100'000, 'x');
  std::counting_semaphore<> freed(0);
  DataWriter writer(full.get(), [&](const void* buffer) {
    EXPECT_EQ(buffer, &data);
    freed.release();
  });
  ASSERT_TRUE(writer.Append(bytes::AsView(data)));
  ASSERT_TRUE(writer.Flush(&data));
  freed.acquire();
  ASSERT_TRUE(writer.Append(bytes::AsView(data)));
  if (writer.Flush(&data)) freed.acquire();
  const auto finished = writer.Finish();
  ASSERT_FALSE(finished);
  EXPECT_EQ(finished.error().reason(), Reason::kNoSpace);
}

TEST(DataWriter, DropsTheRestWhenItEnds) {
  const host::Fd file(memfd_create("data", MFD_CLOEXEC));
  const std::string data(100'000, 'x');
  int freed = 0;
  {
    DataWriter writer(file.get(), [&](const void*) { ++freed; });
    ASSERT_TRUE(writer.Append(bytes::AsView(data)));
    ASSERT_TRUE(writer.Flush(&data));
  }
  EXPECT_LE(freed, 1);
  EXPECT_LE(host::Stat(file.get())->size, 98'304u);
}

}  // namespace
}  // namespace berth::layer
