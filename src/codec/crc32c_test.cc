#include "codec/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace berth::codec {
namespace {

struct Row {
  const char* name;
  std::string data;
  std::uint32_t crc;
};

class Crc32cTable : public testing::TestWithParam<Row> {};

// RFC 3720 B.4.
INSTANTIATE_TEST_SUITE_P(Rfc3720, Crc32cTable,
                         testing::Values(Row{"Nothing", "", 0}, Row{"Digits", "123456789", 0xE3069283},
                                         Row{"Zeros", std::string(32, '\0'), 0x8A9136AA},
                                         Row{"Ones", std::string(32, '\xff'), 0x62A8AB43}),
                         [](const auto& row) { return row.param.name; });

TEST(Crc32cOfZeros, IsThatOfZeros) {
  const std::string zeros(70'000, '\0');
  for (const std::size_t count : {0, 1, 2, 3, 31, 4096, 65'537, 70'000})
    for (const std::uint32_t before : {0u, 1u, 0x8A9136AAu})
      EXPECT_EQ(Crc32cOfZeros(count, before), Crc32c(bytes::AsView(zeros).first(count), before)) << count;
  constexpr std::uint64_t kMuch = 5ull << 40;
  EXPECT_EQ(Crc32cOfZeros(kMuch, Crc32cOfZeros(kMuch, 7)), Crc32cOfZeros(2 * kMuch, 7));
}

TEST_P(Crc32cTable, InOneAndInAnyTwoPieces) {
  const bytes::View data = bytes::AsView(GetParam().data);
  EXPECT_EQ(Crc32c(data), GetParam().crc);
  for (std::size_t cut = 0; cut <= data.size(); ++cut) {
    EXPECT_EQ(Crc32c(data.subspan(cut), Crc32c(data.first(cut))), GetParam().crc) << cut;
  }
}

}  // namespace
}  // namespace berth::codec
