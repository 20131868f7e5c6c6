// The rows of reliability-security 3.a and runtime-registry 6.8 that one layer can show: an archive, and the tree it
// becomes or the reason for which it is refused.
#include "layer/builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "erofs/writer.h"
#include "layer/testing/rows.h"
#include "layer/testing/tree_text.h"
#include "tar/testing/tar_builder.h"

namespace berth::layer {
namespace {

using tar::testing::Builder;
using testing::Build;
using testing::Chain;
using testing::Describe;
using testing::Lines;
using testing::MemorySink;
using testing::Row;

std::string Climbs(int count) {
  std::string path;
  for (int i = 0; i < count; ++i) path += "../";
  return path;
}
std::string Nested(int depth) {
  std::string path;
  for (int i = 0; i < depth; ++i) path += "d/";
  return path;
}
std::string ManyLinks(int count) {
  Builder b;
  b.File("f", "x");
  for (int i = 1; i < count; ++i) b.HardLink("h" + std::to_string(i), "f");
  return b.Finish();
}

class Accepts : public ::testing::TestWithParam<Row> {};

TEST_P(Accepts, TheTree) {
  const Row& row = GetParam();
  for (const std::size_t piece : {0, 1, 700}) {
    MemorySink sink;
    Result<Built> built = Build(row.archive, sink, {}, {}, piece);
    ASSERT_TRUE(built) << built.error().Text();
    EXPECT_EQ(Describe(built->tree, {sink.data}, built->fixups), row.lines);
    EXPECT_EQ(built->ignored, row.ignored) << built->ignored.xattrs << " " << built->ignored.aufs_entries << " " << built->ignored.replaced;
    EXPECT_EQ(built->nodes, CanonicalOrder(built->tree).size());
  }
}

auto RowName = [](const auto& row) { return std::string(row.param.name); };
INSTANTIATE_TEST_SUITE_P(Rows, Accepts, ::testing::ValuesIn(testing::AcceptedRows()), RowName);

struct Refusal {
  const char* name;
  std::string archive;
  Reason reason = Reason::kInvalidLayer;
  const char* says = "";
  BuildOptions options = {};
};

class Refuses : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refuses, TheLayer) {
  const Refusal& row = GetParam();
  for (const std::size_t piece : {0, 700}) {
    MemorySink sink;
    const Result<Built> built = Build(row.archive, sink, row.options, {}, piece);
    ASSERT_FALSE(built);
    EXPECT_EQ(built.error().reason(), row.reason) << built.error().Text();
    const std::string text = built.error().Text();
    EXPECT_THAT(text, ::testing::HasSubstr(row.says));
    EXPECT_LE(text.size(), 1024u);
    EXPECT_TRUE(std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; })) << text;
  }
}

std::vector<Refusal> BadNames() {
  return {
      {"A01_Climbs1", Builder().File("../canary/pwned", "x").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A01_Climbs40", Builder().File(Climbs(40) + "canary/pwned", "x").Finish(), Reason::kInvalidLayer,
       "climbs"},
      {"A01_Climbs400", Builder().File(Climbs(400) + "canary/pwned", "x").Finish(), Reason::kInvalidLayer,
       "climbs"},
      {"A02_ClimbsAfterComponents", Builder().File("a/b/" + Climbs(40) + "canary/pwned", "x").Finish(),
       Reason::kInvalidLayer, "climbs"},
      {"A06_RootIsALink", Builder().Symlink("./", "/canary").Finish(), Reason::kInvalidLayer, "root"},
      {"A06_RootIsALinkDot", Builder().Symlink(".", "/canary").Finish(), Reason::kInvalidLayer, "root"},
      {"A07_RootIsAFile", Builder().File("/", "x").Finish(), Reason::kInvalidLayer, "root"},
      {"A07_RootIsAHardLink", Builder().File("f").HardLink("/", "f").Finish(), Reason::kInvalidLayer, "root"},
      {"A07_RootIsADevice", Builder().CharDevice("/", 1, 3).Finish(), Reason::kInvalidLayer, "root"},
      {"A08_DotsAsALink", Builder().Symlink("..", "/canary").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A09_DotsAsADirectory", Builder().Dir("..").Mode(0777).Uid(12345).Finish(), Reason::kInvalidLayer,
       "climbs"},
      {"A11_NulInAPaxPath",
       Builder().Pax({{"path", std::string("etc/ok\0../../canary", 19)}}).File("x", "x").Finish()},
      {"A14_Component256", Builder().File(std::string(256, 'n')).Finish(), Reason::kInvalidLayer, "255"},
      {"WhiteoutOfAName256", Builder().File(".wh." + std::string(256, 'n')).Finish(), Reason::kInvalidLayer, "255"},
      {"A14_Component256InALink", Builder().Symlink("s", std::string(256, 'n')).File("s/x").Finish(),
       Reason::kInvalidLayer, "255"},
      {"A15_Path4200",
       Builder()
           .File([] {
             std::string p;
             for (int i = 0; i < 21; ++i) p += std::string(199, 'n') + "/";
             return p + "f";
           }())
           .Finish(),
       Reason::kInvalidLayer, "4,096"},
      {"A16_PrefixClimbs", Builder().File("canary").Prefix("../../..").Finish(), Reason::kInvalidLayer,
       "climbs"},
      {"A18_TooDeep", Builder().Dir(Nested(2000)).Finish(), Reason::kLimitExceeded, "depth"},
      {"A18_TooDeepInSteps",
       [] {
         Builder b;
         b.Dir(Nested(1000)).Symlink("s", Nested(1000)).File("s/" + Nested(30) + "f");
         return b.Finish();
       }(),
       Reason::kLimitExceeded, "depth"},
      {"A83_PaxPathClimbs", Builder().Pax({{"path", "../../x"}}).File("harmless").Finish(),
       Reason::kInvalidLayer, "climbs"},
      {"A83_GnuNameClimbs", Builder().GnuLongName("../../x").File("harmless").Finish(), Reason::kInvalidLayer,
       "climbs"},
      {"A96_SparseNameClimbs",
       Builder()
           .Pax({{"GNU.sparse.major", "1"},
                 {"GNU.sparse.minor", "0"},
                 {"GNU.sparse.realsize", "1"},
                 {"GNU.sparse.name", "../x"}})
           .File("x", tar::testing::Padded("1\n0\n1\n") + "a")
           .Finish(),
       Reason::kInvalidLayer, "climbs"},
  };
}

std::vector<Refusal> BadLinks() {
  return {
      {"A25_FortyOneLinks", Chain(41), Reason::kInvalidLayer, "40 links"},
      {"A26_LoopOfTwo", Builder().Symlink("a", "b").Symlink("b", "a").File("a/x").Finish(), Reason::kInvalidLayer, "loop"},
      {"A26_LoopOfOne", Builder().Symlink("self", "self").File("self/x").Finish(), Reason::kInvalidLayer, "loop"},
      {"A36_EmptyTarget", Builder().Symlink("s", "").Finish(), Reason::kInvalidLayer, "target"},
      {"A36_LongTarget", Builder().Symlink("s", std::string(5000, 't')).Finish(), Reason::kInvalidLayer, "target"},
      {"A36_NulInTheTarget", Builder().Pax({{"linkpath", std::string("a\0b", 3)}}).Symlink("s", "x").Finish()},
      {"ParentLinksToAFile", Builder().File("f").Symlink("s", "f").File("s/x").Finish(), Reason::kInvalidLayer, "not a directory"},
      {"V6_HardLinkClimbs", Builder().HardLink("h", "../../host").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A41_PaxLinkClimbs", Builder().Pax({{"linkpath", "../canary/secret"}}).HardLink("h", "x").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A41_GnuLinkClimbs", Builder().GnuLongLink("../canary/secret").HardLink("h", "x").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A47_ToADirectory", Builder().Dir("d").HardLink("h", "d").Finish(), Reason::kInvalidLayer, "directory"},
      {"A47_ToTheRoot", Builder().HardLink("h", "/").Finish(), Reason::kInvalidLayer, "directory"},
      {"A47_ToItself", Builder().File("f").HardLink("f", "./f").Finish(), Reason::kInvalidLayer, "itself"},
      {"HardLinkBelowAFile", Builder().File("f").HardLink("h", "f/x").Finish(), Reason::kInvalidLayer, "not a directory"},
      {"HardLinkToAParent", Builder().File("f", "x").HardLink("f/h", "f").Finish(), Reason::kInvalidLayer, "parent"},
      {"HardLinkOverItsOwnDirectory", Builder().Dir("d").File("d/t", "hi").HardLink("d", "d/t").Finish(), Reason::kInvalidLayer, "replaces"},
      {"HardLinkOverADirectoryAboveIts",
       Builder().File("d/e/t", "hi").HardLink("d/e/u", "d/e/t").Symlink("s", "d").HardLink("d", "s/e/u").Finish(), Reason::kInvalidLayer, "replaces"},
      {"A49_TooManyNames", ManyLinks(70), Reason::kLimitExceeded, "hard_links", {.hard_links = 64}},
      {"ManyStepsThroughLinks", [] {
         Builder b;
         std::string dots;
         for (int i = 0; i < 600; ++i) dots += "d/../";
         b.Dir("d").Symlink("s0", dots + "d");
         for (int i = 1; i < 30; ++i) b.Symlink("s" + std::to_string(i), dots + "s" + std::to_string(i - 1));
         return b.File("s29/x").Finish();
       }(), Reason::kInvalidLayer, "too many directories"},
  };
}

std::vector<Refusal> BadMarkers() {
  std::vector<Refusal> rows;
  static constexpr std::pair<const char*, const char*> kHideNothing[] = {
      {"A71_Bare", ".wh."}, {"A71_Dot", ".wh.."}, {"A71_Dots", ".wh..."}, {"A71_BareBelow", "d/.wh."}, {"A71_DotBelow", "d/.wh.."}, {"A71_DotsBelow", "d/.wh..."}};
  for (const auto& [name, path] : kHideNothing) rows.push_back({name, Builder().File(path).Finish(), Reason::kInvalidLayer, "hides no name"});
  rows.push_back({"V14_BelowAMarker", Builder().File(".wh.../x").Finish(), Reason::kInvalidLayer, "reserved"});
  rows.push_back({"A74_WhiteoutThatClimbs", Builder().File(".wh.../../../canary/victim").Finish(), Reason::kInvalidLayer, "climbs"});
  rows.push_back({"A75_MarkerIsALink", Builder().Symlink(".wh.a", "x").Finish(), Reason::kInvalidLayer, "not a regular file"});
  rows.push_back({"A75_MarkerIsADirectory", Builder().Dir(".wh.a").File(".wh.a/x").Finish(), Reason::kInvalidLayer, "not a regular file"});
  rows.push_back({"A75_MarkerHasChildren", Builder().File(".wh.a/x").Finish(), Reason::kInvalidLayer, "reserved"});
  rows.push_back({"A75_OpaqueIsADirectory", Builder().Dir("d/.wh..wh..opq").Finish(), Reason::kInvalidLayer, "not a regular file"});
  rows.push_back({"MarkerThroughALink", Builder().Symlink("s", ".wh.foo/bar").File("s/f", "hi").Finish(), Reason::kInvalidLayer, "reserved"});
  rows.push_back({"MarkerThroughALinkToAFolder", Builder().Dir("d").Symlink("s", "d/.wh.foo").Dir("s/f").Finish(), Reason::kInvalidLayer, "reserved"});
  rows.push_back({"OpaqueThroughALink", Builder().Symlink("s", ".wh..wh..opq").File("s/.wh.f").Finish(), Reason::kInvalidLayer, "reserved"});
  rows.push_back({"A75_MarkerIsADevice", Builder().CharDevice(".wh.a", 1, 3).Finish(), Reason::kInvalidLayer, "not a regular file"});
  rows.push_back({"A75_MarkerIsAFifo", Builder().Fifo(".wh.a").Finish(), Reason::kInvalidLayer, "not a regular file"});
  return rows;
}

std::vector<Refusal> BadAttributes() {
  return {
      {"A50_CharDeviceByPolicy",
       Builder().CharDevice("c", 1, 3).Finish(),
       Reason::kPolicy,
       "character devices",
       {.char_devices = false}},
      {"A51_BlockDevice", Builder().BlockDevice("b", 8, 0).Mode(0666).Finish(), Reason::kPolicy,
       "block devices"},
      {"A52_RawWhiteout", Builder().CharDevice("etc/passwd", 0, 0).Finish(), Reason::kPolicy, "0:0"},
      {"A53_Major4096", Builder().CharDevice("c", 4096, 0).Finish(), Reason::kInvalidLayer, "device number"},
      {"A53_Minor2To20", Builder().CharDevice("c", 1, 1 << 20).Finish(), Reason::kInvalidLayer,
       "device number"},
      {"A53_MajorMinus1", Builder().CharDevice("c", -1, 0).Finish()},
      {"A53_Major2To32", Builder().CharDevice("c", (1ll << 32) + 1, 3).Finish()},
      {"A61_LargeXattr", Builder().File("f").Xattr("user.k", std::string(70000, 'v')).Finish()},
      {"A62_NoNamespace", Builder().File("f").Xattr("nodot", "v").Finish()},
      {"A62_LongName", Builder().File("f").Xattr("user." + std::string(300, 'n'), "v").Finish()},
      {"A64_OwnerMinus1", Builder().File("f").Uid(4294967295).Finish()},
      {"A65_PaxOwner", Builder().File("f").Record("uid", "4294967296").Finish()},
      {"CapabilityOfNoVersion", Builder().File("f").Xattr("security.capability", "x").Finish(),
       Reason::kInvalidLayer, "security.capability"},
      {"CapabilityOfUnknownFlags", Builder().File("f").Xattr("security.capability", "\3" + testing::kCap2.substr(1)).Finish(),
       Reason::kInvalidLayer, "security.capability"},
      {"CapabilityOfUnknownBytes", Builder().File("f").Xattr("security.capability", "\1\1" + testing::kCap2.substr(2)).Finish(),
       Reason::kInvalidLayer, "security.capability"},
      {"CapabilityOfUnknownUpperBytes", Builder().File("f").Xattr("security.capability", testing::kCap2.substr(0, 2) + "\1" + testing::kCap2.substr(3)).Finish(),
       Reason::kInvalidLayer, "security.capability"},
      {"A94_UnknownType", Builder().Entry('Z', "f").Finish()},
      {"A95_ApparentBytes",
       Builder().File("a", std::string(600, 'x')).File("b", std::string(600, 'x')).Finish(),
       Reason::kLimitExceeded,
       "unpacked_bytes",
       {.unpacked_bytes = 1000}},
      {"A100_Entries",
       [] {
         Builder b;
         for (int i = 0; i < 20; ++i) b.File("f" + std::to_string(i));
         return b.Finish();
       }(),
       Reason::kLimitExceeded,
       "limit entries",
       {.entries = 10}},
      {"A100_ImpliedCountToo",
       Builder().File(Nested(20) + "f").Finish(),
       Reason::kLimitExceeded,
       "limit entries",
       {.entries = 10}},
      {"A100_WhiteoutsCountToo",
       [] {
         Builder b;
         for (int i = 0; i < 20; ++i) b.File(".wh.f" + std::to_string(i));
         return b.Finish();
       }(),
       Reason::kLimitExceeded,
       "limit entries",
       {.entries = 10}},
      {"A91_EndsInData", Builder().File("f", std::string(5000, 'x')).Finish().substr(0, 2000)},
      {"A12_ErrorsEscape", Builder().File("../a\nb\x1b[31m\xff").Finish(), Reason::kInvalidLayer, "\\x0a"},
  };
}

INSTANTIATE_TEST_SUITE_P(Names, Refuses, ::testing::ValuesIn(BadNames()), RowName);
INSTANTIATE_TEST_SUITE_P(Links, Refuses, ::testing::ValuesIn(BadLinks()), RowName);
INSTANTIATE_TEST_SUITE_P(Markers, Refuses, ::testing::ValuesIn(BadMarkers()), RowName);
INSTANTIATE_TEST_SUITE_P(Attributes, Refuses, ::testing::ValuesIn(BadAttributes()), RowName);

TEST(TreeBuilder, ThirtyLinksLeadOn) {
  MemorySink sink;
  const Result<Built> built = Build(Chain(30), sink);
  ASSERT_TRUE(built) << built.error().Text();
  EXPECT_THAT(Describe(built->tree, {sink.data}), ::testing::Contains("canary/x=x"));
}

TEST(TreeBuilder, DepthOf1024IsFine) {
  MemorySink sink;
  const Result<Built> built = Build(Builder().Dir(Nested(1024)).Finish(), sink);
  ASSERT_TRUE(built) << built.error().Text();
  EXPECT_EQ(built->nodes, 1025u);
}

TEST(TreeBuilder, BlockDevicesIfAllowed) {
  MemorySink sink;
  const Result<Built> built = Build(Builder().BlockDevice("b", 8, 0).Finish(), sink, {.block_devices = true});
  ASSERT_TRUE(built) << built.error().Text();
  EXPECT_EQ(Describe(built->tree, {sink.data}), Lines{"b b8:0"});
}

TEST(TreeBuilder, HolesStayHoles) {
  MemorySink sink;
  const Result<Built> built = Build(
      Builder().Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "1048577"}, {"GNU.sparse.name", "f"}})
          .File("x", tar::testing::Padded("2\n0\n512\n1048576\n1\n") + std::string(512, 'a') + "z").Finish(), sink);
  ASSERT_TRUE(built) << built.error().Text();
  ASSERT_TRUE(built->tree.nodes[1].sparse);
  EXPECT_EQ(built->tree.nodes[1].sparse->size(), 2u);
  EXPECT_LE(sink.data.size(), 8192u);
  EXPECT_EQ(built->unpacked_bytes, 1048577u);
}

TEST(TreeBuilder, AnOddExtentOfAVastFileTakesLittle) {
  constexpr std::uint64_t kSize = 255ull << 30, kMiB = 1u << 20;
  MemorySink sink;
  Result<Built> built = Build(
      Builder().Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", std::to_string(kSize)}, {"GNU.sparse.name", "f"}})
          .File("x", tar::testing::Padded("1\n4096\n4096\n") + std::string(4096, 'x')).Finish(), sink);
  ASSERT_TRUE(built) << built.error().Text();
  const auto& extents = *built->tree.nodes[1].sparse;
  ASSERT_EQ(extents.size(), 1u);
  EXPECT_EQ(extents[0].file_offset, 0u);
  EXPECT_EQ(extents[0].length, kMiB);
  EXPECT_EQ(sink.data, std::string(4096, '\0') + std::string(4096, 'x') + std::string(kMiB - 8192, '\0'));
  const auto image = erofs::WriteImage(built->tree, {.device_bytes = {sink.data.size()}});
  ASSERT_TRUE(image) << image.error().Text();
  EXPECT_LE(image->size(), 3 * kMiB);
}

TEST(TreeBuilder, TheRootSaysWhatUpperLayersNeed) {
  MemorySink sink;
  const Result<Built> none = Build(Builder().File("f").Finish(), sink);
  ASSERT_TRUE(none);
  EXPECT_EQ(none->root, RootAttributes{});
  const Result<Built> given = Build(Builder().Dir(".").Mode(0700).Uid(1).Gid(2).Mtime(3).Xattr("user.k", "v").File(".wh..wh..opq").Finish(), sink);
  ASSERT_TRUE(given);
  EXPECT_EQ(given->root, (RootAttributes{false, 0700, 1, 2, 3, 0, true, true}));
  EXPECT_TRUE(given->fixups.empty());
}

}  // namespace
}  // namespace berth::layer
