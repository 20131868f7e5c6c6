#include "layer/report.h"

#include <gtest/gtest.h>

#include <string>

#include "layer/descriptor.h"

namespace berth::layer {
namespace {

digest::Digest Some(std::string_view text) { return digest::Digest::Of(bytes::AsView(text)); }

UnpackReport Report() {
  return {.blob = Some("blob"),
          .diff_id = digest::Digest::Of(bytes::AsView("tar"), digest::Algorithm::kSha512),
          .form = Form::kTree,
          .format = codec::Format::kZstd,
          .compressed_bytes = 1,
          .uncompressed_bytes = 2,
          .entries = 3,
          .nodes = 4,
          .unpacked_bytes = 1ull << 60,
          .data_bytes = 6,
          .image_bytes = 7,
          .implied = 8,
          .outside_links = 9,
          .image_crc32c = 0xFFFFFFFFu,
          .root = {false, 07777, 0xFFFFFFFEu, 1, 9223372036, 999'999'999, true, true},
          .ignored = {10, 11, 12}};
}

TEST(UnpackOptions, SurviveTheWayToTheWorker) {
  UnpackOptions o{.blob = Some("blob"), .diff_algorithm = digest::Algorithm::kSha384, .form = Form::kTree};
  o.codec = {.output_bytes = 1, .zstd_window_bytes = 2};
  o.tar = {.entries = 3,
           .extension_bytes = 4,
           .extensions_in_a_row = 5,
           .xattr_value_bytes = 6,
           .xattr_total_bytes = 7,
           .xattrs = 8,
           .sparse_segments = 9,
           .file_bytes = 10};
  o.build = {.char_devices = false, .block_devices = true, .entries = 11, .unpacked_bytes = 12, .depth = 13, .hard_links = 14};
  o.worker_bytes = 15;
  const auto again = UnpackOptions::FromJson(o.ToJson());
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(*again, o);
  EXPECT_NE(*again, UnpackOptions());
  EXPECT_EQ(again->build.hard_links, 14u);
  EXPECT_EQ(again->tar.file_bytes, 10u);
  EXPECT_EQ(again->MemoryLimit(), 15u + 2 + 256 * 11);
}

TEST(UnpackReport, ThereAndBack) {
  const UnpackReport report = Report();
  const auto again = UnpackReport::FromJson(report.ToJson());
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(*again, report);
}

TEST(UnpackReport, StrictAboutItsMembers) {
  const std::string json = Report().ToJson();
  const auto with = [&](std::string_view from, std::string_view to) {
    std::string other = json;
    const std::size_t at = other.find(from);
    EXPECT_NE(at, other.npos) << from;
    return other.replace(at, from.size(), to);
  };
  for (const std::string& bad : {with("\"entries\":3", "\"entries\":-3"), with("\"entries\":3", "\"entries\":\"3\""), with("\"entries\":3,", ""),
                                 with("\"entries\":3", "\"entries\":3,\"more\":1"), with("\"form\":\"tree\"", "\"form\":\"forest\""),
                                 with("sha256:", "sha256:0"), with("\"imageCrc32c\":4294967295", "\"imageCrc32c\":4294967296"),
                                 with("\"opaque\":true", "\"opaque\":1"), with("\"replaced\":12", "\"replaced\":12,\"x\":0"), std::string("[]"), std::string()}) {
    const auto report = UnpackReport::FromJson(bad);
    ASSERT_FALSE(report) << bad;
    EXPECT_EQ(report.error().reason(), Reason::kCorrupt) << bad;
  }
}

TEST(VariantReport, ThereAndBack) {
  const VariantReport report{.blob = Some("a"), .devices = {Some("a"), Some("b")}, .image_bytes = 4096, .image_crc32c = 7};
  const auto again = VariantReport::FromJson(report.ToJson());
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(*again, report);
  EXPECT_FALSE(UnpackReport::FromJson(report.ToJson()));
  for (const char* bad : {"{}", "{\"variantOf\":1,\"devices\":[],\"imageBytes\":0,\"imageCrc32c\":0}", "{\"devices\":{}}"}) EXPECT_FALSE(VariantReport::FromJson(bad)) << bad;
}

TEST(Descriptor, ThereAndBackBehindAnImage) {
  const Descriptor d{.json = Report().ToJson(), .fixups = std::string("\0fix", 4), .crcs = {1, 0xFFFFFFFFu}, .image_bytes = 8192};
  const std::string file = std::string(8192, 'i') + EncodeDescriptor(d);
  const auto again = DecodeDescriptor(bytes::AsView(file));
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(*again, d);
}

TEST(Descriptor, NoCutAndNoFlippedBitPasses) {
  const Descriptor d{.json = "{}", .fixups = "fixups", .crcs = {1, 2}, .image_bytes = 0};
  const std::string file = EncodeDescriptor(d);
  for (std::size_t length = 0; length < file.size(); ++length) EXPECT_FALSE(DecodeDescriptor(bytes::AsView(file).first(length))) << length;
  for (std::size_t bit = 0; bit < 8 * file.size(); ++bit) {
    std::string other = file;
    other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << bit % 8));
    const auto read = DecodeDescriptor(bytes::AsView(other));
    ASSERT_FALSE(read) << bit;
    EXPECT_EQ(read.error().reason(), Reason::kCorrupt);
  }
}

}  // namespace
}  // namespace berth::layer
