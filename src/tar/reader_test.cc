// Rows are those of reliability-security 3.a; what a name means (climbing, whiteouts) is tested in layer/.
#include "tar/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "tar/header.h"
#include "tar/testing/recorder.h"
#include "tar/testing/tar_builder.h"

namespace berth::tar {
namespace {

using std::string_literals::operator""s;
using std::string_view_literals::operator""sv;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Builder;
using testing::Format;
using testing::LongNames;
using testing::PaxRecord;
using testing::ReadAll;
using testing::Recorder;
using Runs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

std::string Block(std::string_view text) { return testing::Padded(text); }
std::string Archived(std::string_view name) { return Builder().File(name, "planted").Finish(0); }

// ---- rejected rows

struct Rejected {
  std::string row;
  std::string archive;
  Reason reason = Reason::kInvalidLayer;
  std::string says = "";  // part of the error's text
};
void PrintTo(const Rejected& r, std::ostream* out) { *out << r.row; }

class RejectedRows : public ::testing::TestWithParam<Rejected> {};

TEST_P(RejectedRows, InPiecesOfAnySize) {
  for (const std::size_t piece : {0, 1, 511, 512, 700}) {
    Recorder seen;
    const Result<> result = ReadAll(seen, GetParam().archive, piece);
    ASSERT_FALSE(result) << "piece " << piece;
    EXPECT_EQ(result.error().reason(), GetParam().reason) << result.error().Text();
    EXPECT_THAT(result.error().Text(), HasSubstr(GetParam().says));
    EXPECT_THAT(result.error().Text(), HasSubstr("tar header at byte "));
  }
}

// A GNU sparse header with the map given as raw (offset, length) pairs and `data` behind it.
Builder GnuSparse(std::int64_t real, const Runs& map, std::string_view data) {
  Builder b(Format::kGnu);
  b.Entry('S', "sparse", {}, data).Field(483, testing::Number(real, 12));
  std::size_t at = 386;
  for (const auto& [offset, length] : map) {
    b.Field(at, testing::Number(static_cast<std::int64_t>(offset), 12));
    b.Field(at + 12, testing::Number(static_cast<std::int64_t>(length), 12));
    at += 24;
  }
  return b;
}

std::string PaxSparse(const testing::Records& records, std::string_view data) {
  return Builder().Pax(records).File("GNUSparseFile.1/x", data).Finish();
}

std::vector<Rejected> RejectedTable() {
  const auto pax = [](std::string_view key, std::string_view value) {
    return Builder().Pax({{std::string(key), std::string(value)}}).File("f").Finish();
  };
  const auto raw = [](std::string_view body) { return Builder().PaxRaw(body).File("f").Finish(); };
  const auto typed = [](char type) { return Builder().Entry(type, "f").Finish(); };
  const auto size = [](std::string_view field) { return Builder().File("f").Field(124, field).Finish(); };
  const std::string block(512, 'd');
  std::string many_xattrs;
  for (int i = 0; i < 1000; ++i) many_xattrs += PaxRecord("SCHILY.xattr.user.x" + std::to_string(i), "v");
  Builder names(Format::kGnu);
  for (int i = 0; i < 10'000; ++i) names.GnuLongName("n");
  std::string map_of_many = "1000000000\n0\n1\n";
  return {
      {"A11NulInPaxPath", pax("path", "etc/ok\0../../canary/pwned"s), Reason::kInvalidLayer, "NUL"},
      {"A36NulInPaxLinkpath", Builder().Pax({{"linkpath", "a\0b"s}}).Symlink("l", "t").Finish()},
      {"A53MajorAbove32Bits", Builder().CharDevice("d", (1ll << 32) + 1, 3).Finish(), Reason::kInvalidLayer, "device"},
      {"A53MajorNegative", Builder().CharDevice("d", -1, 3).Finish()},
      {"A53Major4096", Builder().BlockDevice("d", 4096, 3).Finish()},
      {"A53Minor2To20", Builder().BlockDevice("d", 8, 1 << 20).Finish()},
      {"A61LargeXattr", Builder().File("f").Xattr("user.x", std::string(70'000, 'v')).Finish(), Reason::kInvalidLayer,
       "limit xattr_value_bytes"},
      {"A61ManyXattrs", raw(many_xattrs), Reason::kInvalidLayer, "limit xattrs"},
      {"A61XattrsInTotal",
       Builder()
           .File("f")
           .Xattr("user.1", std::string(60'000, 'v'))
           .Xattr("user.2", std::string(60'000, 'v'))
           .Xattr("user.3", std::string(60'000, 'v'))
           .Xattr("user.4", std::string(60'000, 'v'))
           .Xattr("user.5", std::string(60'000, 'v'))
           .Finish(),
       Reason::kInvalidLayer, "limit xattr_total_bytes"},
      {"A62EmptyName", Builder().File("f").Xattr("", "v").Finish(), Reason::kInvalidLayer, "invalid name"},
      {"A62NoNameSpace", Builder().File("f").Xattr("plain", "v").Finish(), Reason::kInvalidLayer, "invalid name"},
      {"A62EmptyNameSpace", Builder().File("f").Xattr(".x", "v").Finish(), Reason::kInvalidLayer, "invalid name"},
      {"A62OnlyNameSpace", Builder().File("f").Xattr("user.", "v").Finish(), Reason::kInvalidLayer, "invalid name"},
      {"A62LongName", Builder().File("f").Xattr("user." + std::string(295, 'x'), "v").Finish()},
      {"A62NulInName", Builder().File("f").Xattr("user.a\0b"s, "v").Finish()},
      {"A62EqualsInName", Builder().File("f").Xattr("=user.a", "v").Finish()},
      {"A64UidMinusOne", Builder().File("f").Uid(4294967295).Finish(), Reason::kInvalidLayer, "uid"},
      {"A64GidMinusOne", Builder().File("f").Gid(4294967295).Finish(), Reason::kInvalidLayer, "gid"},
      {"A64PaxUidMinusOne", pax("uid", "4294967295")},
      {"A65PaxUid2To32", pax("uid", "4294967296")},
      {"A65PaxUid2To63", pax("uid", "9223372036854775808")},
      {"A65PaxUidNegative", pax("uid", "-1")},
      {"A65PaxUidText", pax("uid", "abc")},
      {"A65PaxUidBlank", pax("uid", " 1")},
      {"A65PaxUidHex", pax("gid", "0x1")},
      {"A65UidBase256Negative", Builder().File("f").Uid(-1).Finish()},
      {"A69MtimeExponent", pax("mtime", "1e30")},
      {"A69MtimeNegativeExponent", pax("mtime", "-1e18")},
      {"A69MtimeNan", pax("mtime", "nan")},
      {"A86RecordTooLong", raw("999 path=abc\n")},
      {"A86RecordNegative", raw("-5 path=abc\n")},
      {"A86RecordZero", raw("0 path=abc\n")},
      {"A86Record400Digits", raw(std::string(400, '9') + " path=abc\n")},
      {"A86RecordZeros400Digits", raw(std::string(400, '0') + " path=abc\n")},
      {"A86NoNewline", raw("12 path=abc ")},
      {"A86NoEquals", raw("12 path abc\n")},
      {"A86NoKey", raw("8 =abcd\n")},
      {"A86OnlyDigits", raw("12")},
      {"A86Tail", raw(PaxRecord("path", "x") + "\0\0"s)},
      {"A87PaxOf64MiB", Builder().Extension('x', "").Size(64 << 20).Finish(), Reason::kLimitExceeded,
       "limit extension_bytes"},
      {"A87PaxOf2To62", Builder().Extension('x', "").Size(1ll << 62).Finish(), Reason::kLimitExceeded,
       "limit extension_bytes"},
      {"A87GlobalOf64MiB", Builder().Extension('g', "").Size(64 << 20).Finish(), Reason::kLimitExceeded},
      {"A88NameOf1GiB", Builder().Extension('L', "").Size(1 << 30).Finish(), Reason::kLimitExceeded,
       "limit extension_bytes"},
      {"A88ManyNames", names.File("f").Finish(), Reason::kLimitExceeded, "limit extensions_in_a_row"},
      {"A88NameWithoutHeader", Builder().GnuLongName("n").Finish()},
      {"A88NameThenNothing", Builder().GnuLongName("n").Finish(0)},
      {"A88EmptyName", Builder().GnuLongName("").File("f").Finish()},
      {"TwoNames", Builder().GnuLongName("a").GnuLongName("b").File("f").Finish(), Reason::kInvalidLayer, "two"},
      {"TwoPaxHeaders", Builder().Pax({{"path", "a"}}).Pax({{"path", "b"}}).File("f").Finish(), Reason::kInvalidLayer,
       "two"},
      {"NamesDisagree", Builder().Pax({{"path", "a"}}).GnuLongName("b").File("f").Finish(), Reason::kInvalidLayer,
       "differ"},
      {"LinksDisagree", Builder().Pax({{"linkpath", "a"}}).GnuLongLink("b").Symlink("f", "c").Finish()},
      {"A89ChecksumOffByOne", Builder().File("f").Checksum("0000001 ").Finish(), Reason::kInvalidLayer, "checksum"},
      {"A89ChecksumBlank", Builder().File("f").Checksum("        ").Finish(), Reason::kInvalidLayer, "checksum"},
      {"A90SizeMinusOne", Builder().File("f").Size(-1).Finish(), Reason::kInvalidLayer, "size"},
      {"A90Size2To63", Builder().File("f").Size(kMax).Finish(), Reason::kInvalidLayer, "size"},
      {"A90SizeText", size("ABCDEFGH"), Reason::kInvalidLayer, "size"},
      {"A90SizeSpaces", size("            "), Reason::kInvalidLayer, "size"},
      {"A90SizeNuls", size(std::string(12, '\0')), Reason::kInvalidLayer, "size"},
      {"A90PaxSize2To63", pax("size", "9223372036854775808")},
      {"A90PaxSizeNegative", pax("size", "-1")},
      {"A90FileTooLarge", Builder().File("f").Size((256ll << 30) + 1).Finish(), Reason::kLimitExceeded,
       "limit file_bytes"},
      {"A91EndsInData", Builder().File("f", std::string(1000, 'x')).Finish(0).substr(0, 512 + 999)},
      {"A91EndsBeforeData", Builder().File("f", "x").Finish(0).substr(0, 512)},
      {"A91EndsInHeader", Builder().File("f").Finish(0).substr(0, 511)},
      {"A91EndsInZeroBlock", std::string(100, '\0')},
      {"A91EndsInPax", Builder().Pax({{"path", "abc"}}).Finish(0).substr(0, 515)},
      {"A91EndsInPaxPadding", Builder().Pax({{"path", "abc"}}).Finish(0).substr(0, 700)},
      {"A91EndsAfterPax", Builder().Pax({{"path", "abc"}}).Finish(), Reason::kInvalidLayer, "ends after an extension"},
      {"A91EndsAfterAnEmptyPax", Builder().Extension('x', "").Finish(0), Reason::kInvalidLayer, "ends after an extension"},
      {"A91EndsAfterPaxAndGlobal", Builder().GnuLongName("abc").Global({{"comment", "c"}}).Finish(), Reason::kInvalidLayer, "ends after an extension"},
      {"A91EndsInGlobal", Builder().Global({{"path", "abc"}}).Finish(0).substr(0, 700)},
      {"LoneZeroBlock", Builder().File("a").Raw(std::string(512, '\0')).File("b").Finish()},
      {"A94TypeD", typed('D')},
      {"A94TypeM", typed('M')},
      {"A94TypeN", typed('N')},
      {"A94TypeV", typed('V')},
      {"A94TypeX", typed('X')},
      {"A94TypeA", typed('A')},
      {"A94TypeZ", typed('Z')},
      {"A94Type255", typed('\xff'), Reason::kInvalidLayer, "\\xff"},
      {"A95Sparse1TiB", GnuSparse(1ll << 40, {{0, 1}, {1ll << 40, 0}}, "x").Finish(), Reason::kLimitExceeded,
       "limit file_bytes"},
      {"A95PaxSparse1TiB", PaxSparse({{"GNU.sparse.map", "0,1"}, {"GNU.sparse.size", "1099511627776"}}, "x"),
       Reason::kLimitExceeded, "limit file_bytes"},
      {"A97MapOfMany", PaxSparse({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "9"}},
                                 Block(map_of_many)),
       Reason::kLimitExceeded, "limit sparse_segments"},
      {"A97Overlapping", GnuSparse(4096, {{0, 1024}, {512, 512}}, std::string(1536, 'x')).Finish()},
      {"A97Descending", GnuSparse(4096, {{2048, 512}, {0, 512}}, std::string(1024, 'x')).Finish()},
      {"A97BeyondTheSize", GnuSparse(4096, {{4096, 512}}, block).Finish()},
      {"A97OffsetBeyondTheSize", GnuSparse(4096, {{0, 512}, {8192, 0}}, block).Finish()},
      {"A97LessDataThanMapped", GnuSparse(4096, {{0, 1024}}, block).Finish()},
      {"A97MoreDataThanMapped", GnuSparse(4096, {{0, 512}}, block + block).Finish()},
      {"A97UnevenSegment", GnuSparse(4096, {{0, 1}, {1024, 511}}, block).Finish()},
      {"SparseInUstar", Builder().Entry('S', "s", {}, "x").Finish()},
      {"SparseMapOdd", PaxSparse({{"GNU.sparse.map", "0,1,2"}, {"GNU.sparse.size", "9"}}, "x")},
      {"SparseMapTrailingComma", PaxSparse({{"GNU.sparse.map", "0,1,"}, {"GNU.sparse.size", "9"}}, "x")},
      {"SparseCountWrong",
       PaxSparse({{"GNU.sparse.map", "0,1"}, {"GNU.sparse.numblocks", "2"}, {"GNU.sparse.size", "9"}}, "x")},
      {"A97CountOverTheLimit",
       PaxSparse({{"GNU.sparse.map", "0,1"}, {"GNU.sparse.numblocks", "1000000000"}, {"GNU.sparse.size", "9"}}, "x"), Reason::kLimitExceeded},
      {"SparseWithoutSize", PaxSparse({{"GNU.sparse.map", "0,1"}}, "x")},
      {"SparseTwoSizes",
       PaxSparse({{"GNU.sparse.map", "0,1"}, {"GNU.sparse.size", "9"}, {"GNU.sparse.realsize", "8"}}, "x")},
      {"SparseVersion2", PaxSparse({{"GNU.sparse.major", "2"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.size", "1"}}, "x")},
      {"SparseOffsetAlone", PaxSparse({{"GNU.sparse.size", "9"}, {"GNU.sparse.offset", "0"}}, "x")},
      {"SparseLengthAlone", PaxSparse({{"GNU.sparse.size", "9"}, {"GNU.sparse.numbytes", "1"}}, "x")},
      {"SparseDirectory",
       Builder().Pax({{"GNU.sparse.map", "0,1"}, {"GNU.sparse.size", "9"}}).Dir("d").Finish()},
      {"SparseMapNotDecimal",
       PaxSparse({{"GNU.sparse.major", "1"}, {"GNU.sparse.realsize", "9"}}, Block("1\n-0\n1\n"))},
      {"SparseMapUnfinished", PaxSparse({{"GNU.sparse.major", "1"}, {"GNU.sparse.realsize", "9"}},
                                        std::string(511, '0') + "1")},
      {"SparseMapCut", PaxSparse({{"GNU.sparse.major", "1"}, {"GNU.sparse.realsize", "9"}}, "1\n0\n1\n")},
      {"DirectoryByNameWithContents", Builder(Format::kV7).Entry('\0', "d/", {}, "x").Finish()},
      {"ModeText", Builder().File("f").Field(100, "rwxr-xr-").Finish(), Reason::kInvalidLayer, "mode"},
      {"MtimeText", Builder().File("f").Field(136, "yesterday").Finish(), Reason::kInvalidLayer, "mtime"},
      {"A101Pwb", Block("\1\2pwb"s + std::string(60, '\7'))},
      {"A101Cpio", Block("070701000000010000")},
      {"A109Gzip", Block("\x1f\x8b\x08")},
      {"A109Zip", Block("PK\3\4")},
      {"A109Html", Block("<!DOCTYPE html><html><head>")},
  };
}

INSTANTIATE_TEST_SUITE_P(Tar, RejectedRows, ::testing::ValuesIn(RejectedTable()),
                         [](const auto& p) { return p.param.row; });

// ---- accepted rows

struct Accepted {
  std::string row;
  std::string archive;
  std::function<void(const std::vector<testing::Recorded>&)> check;
};
void PrintTo(const Accepted& a, std::ostream* out) { *out << a.row; }

class AcceptedRows : public ::testing::TestWithParam<Accepted> {};

TEST_P(AcceptedRows, InPiecesOfAnySize) {
  Recorder whole;
  const Result<> result = ReadAll(whole, GetParam().archive);
  ASSERT_TRUE(result) << result.error().Text();
  GetParam().check(whole.entries);
  for (const std::size_t piece : {1, 7, 511, 512, 513, 4096}) {
    Recorder pieces;
    ASSERT_TRUE(ReadAll(pieces, GetParam().archive, piece)) << "piece " << piece;
    EXPECT_TRUE(pieces.entries == whole.entries) << "piece " << piece;
  }
}

using List = std::vector<testing::Recorded>;

std::function<void(const List&)> Only(std::function<void(const testing::Recorded&)> check) {
  return [check](const List& all) {
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].ended, all[0].entry.type == Type::kFile);
    check(all[0]);
  };
}
std::function<void(const List&)> Named(std::string name) {
  return Only([name](const testing::Recorded& r) { EXPECT_EQ(r.entry.name, name); });
}
std::function<void(const List&)> Holding(std::string data) {
  return Only([data](const testing::Recorded& r) { EXPECT_EQ(r.data, data); });
}
std::function<void(const List&)> Linked(std::string link) {
  return Only([link](const testing::Recorded& r) { EXPECT_EQ(r.entry.link, link); });
}
std::function<void(const List&)> Owned(std::uint32_t uid) {
  return Only([uid](const testing::Recorded& r) { EXPECT_EQ(r.entry.uid, uid); });
}
std::function<void(const List&)> At(std::int64_t seconds, std::uint32_t nanos) {
  return Only([=](const testing::Recorded& r) {
    EXPECT_EQ(r.entry.mtime_seconds, seconds);
    EXPECT_EQ(r.entry.mtime_nanos, nanos);
  });
}
std::function<void(const List&)> Sized(std::size_t count) {
  return [count](const List& all) { EXPECT_EQ(all.size(), count); };
}
// Two entries, the second a file of this name: nothing was taken for the contents of the first.
std::function<void(const List&)> ThenPlanted(Type first) {
  return [first](const List& all) {
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[0].entry.type, first);
    EXPECT_EQ(all[0].entry.size, 0u);
    EXPECT_EQ(all[1].entry.name, "planted");
  };
}
std::function<void(const List&)> Sparse(std::string name, std::uint64_t size, Runs runs, std::string data) {
  return Only([=](const testing::Recorded& r) {
    EXPECT_EQ(r.entry.name, name);
    EXPECT_TRUE(r.entry.sparse);
    EXPECT_EQ(r.entry.size, size);
    EXPECT_EQ(r.entry.segments, runs);
    EXPECT_EQ(r.runs, runs);
    EXPECT_EQ(r.data, data);
  });
}

std::vector<Accepted> AcceptedTable() {
  const auto pax = [](std::string_view key, std::string_view value) {
    return Builder().Pax({{std::string(key), std::string(value)}}).File("f").Finish();
  };
  const std::string planted = Archived("planted");
  const std::string long_name = std::string(155, 'p') + '/' + std::string(99, 'n');
  const std::string two(1024, 'd');
  Builder many_segments = GnuSparse(26 * 1024, {{0, 512}, {1024, 512}, {2048, 512}, {3072, 512}}, "");
  many_segments.Size(26 * 512).Field(482, "\1");
  Runs runs;
  for (std::uint64_t i = 0; i < 26; ++i) runs.emplace_back(i * 1024, 512);
  for (std::size_t block = 0; block < 2; ++block) {
    std::string map;
    for (std::size_t i = 0; i < 21 && 4 + block * 21 + i < 26; ++i) {
      map += testing::Number(static_cast<std::int64_t>(runs[4 + block * 21 + i].first), 12) + testing::Number(512, 12);
    }
    map.resize(512, '\0');
    map[504] = block == 0 ? 1 : 0;
    many_segments.Raw(map);
  }
  many_segments.Raw(std::string(26 * 512, 's'));
  return {
      {"A16PrefixClimbs", Builder().File("canary").Prefix("../../..").Finish(), Named("../../../canary")},
      {"A16PrefixAndNameOf255", Builder().File(long_name).Finish(), Named(long_name)},
      {"A17GnuTimesAreNoPrefix", Builder(Format::kGnu).File("etc/x").Field(345, "13746402706\00013746402706\0"sv).Finish(),
       Named("etc/x")},
      {"A13BytesKept", Builder().File("a\xff\xfe\x80").Finish(), Named("a\xff\xfe\x80")},
      {"A37Symlink", Builder().Symlink("l", "t").Size(512).Raw(planted).Finish(), ThenPlanted(Type::kSymlink)},
      {"A37HardLink", Builder().HardLink("l", "t").Size(512).Raw(planted).Finish(), ThenPlanted(Type::kHardLink)},
      {"A37HardLinkWithPaxSize", Builder().HardLink("l", "t").Record("size", "512").Raw(planted).Finish(),
       ThenPlanted(Type::kHardLink)},
      {"A37Directory", Builder().Dir("d").Size(512).Raw(planted).Finish(), ThenPlanted(Type::kDirectory)},
      {"A37Device", Builder().CharDevice("d", 1, 3).Size(512).Raw(planted).Finish(), ThenPlanted(Type::kCharDevice)},
      {"A37Fifo", Builder().Fifo("d").Size(512).Raw(planted).Finish(), ThenPlanted(Type::kFifo)},
      {"A37DirectoryWithoutSize", Builder().Dir("d").Field(124, std::string(12, '\0')).Raw(planted).Finish(),
       ThenPlanted(Type::kDirectory)},
      {"A41Absolute", Builder().HardLink("h", "/canary/secret").Finish(), Linked("/canary/secret")},
      {"A41Relative", Builder().HardLink("h", "../canary").Finish(), Linked("../canary")},
      {"A41PaxLinkpath", Builder().Pax({{"linkpath", "/canary"}}).HardLink("h", "ok").Finish(), Linked("/canary")},
      {"A41GnuK", Builder().GnuLongLink("/canary").HardLink("h", "ok").Finish(), Linked("/canary")},
      {"A53LargestDevice", Builder().BlockDevice("d", 4095, 1048575).Finish(),
       Only([](const testing::Recorded& r) {
         EXPECT_EQ(r.entry.dev_major, 4095u);
         EXPECT_EQ(r.entry.dev_minor, 1048575u);
       })},
      {"DeviceNumbersOfFilesDoNotMatter", Builder().File("f").Device(-1, -1).Finish(),
       Only([](const testing::Recorded& r) { EXPECT_EQ(r.entry.dev_major, 0u); })},
      {"XattrsInOrder",
       Builder().File("f").Xattr("user.b", "1").Xattr("security.capability", "\1\0\n="s).Xattr("user.a", "").Finish(),
       Only([](const testing::Recorded& r) {
         EXPECT_THAT(r.entry.xattrs, ElementsAre(std::pair("user.b"s, "1"s), std::pair("security.capability"s, "\1\0\n="s),
                                                 std::pair("user.a"s, ""s)));
       })},
      {"A62EqualsEndsTheName", Builder().File("f").Xattr("user.a=b", "v").Finish(), Only([](const testing::Recorded& r) {
         EXPECT_THAT(r.entry.xattrs, ElementsAre(std::pair("user.a"s, "b=v"s)));
       })},
      {"A66Uid2To31", Builder().File("f").Uid(2147483648).Finish(), Owned(2147483648)},
      {"A66UidLast", Builder().File("f").Uid(4294967294).Finish(), Owned(4294967294)},
      {"A66PaxUidLast", pax("uid", "4294967294"), Owned(4294967294)},
      {"PaxUidReplacesABrokenField", Builder().Pax({{"uid", "5"}}).File("f").Field(108, "********").Finish(), Owned(5)},
      {"A68ModeWithTypeBits", Builder().File("f").Mode(0177777).Finish(),
       Only([](const testing::Recorded& r) { EXPECT_EQ(r.entry.mode, 07777u); })},
      {"A69MtimeBase256Large", Builder().File("f").Mtime(1ll << 62).Finish(), At(9223372036, 0)},
      {"A69MtimeBase256Negative", Builder().File("f").Mtime(-5).Finish(), At(0, 0)},
      {"A69MtimeNanoseconds", pax("mtime", "1700000000.123456789"), At(1700000000, 123456789)},
      {"A69MtimeShortFraction", pax("mtime", "1.5"), At(1, 500000000)},
      {"A69MtimeLongFraction", pax("mtime", "1.1234567899"), At(1, 123456789)},
      {"A69MtimeNegative", pax("mtime", "-1000000000000000000.5"), At(0, 0)},
      {"A69MtimeHuge", pax("mtime", "1" + std::string(30, '0')), At(9223372036, 0)},
      {"A80UstarZeroPaxLarger", Builder().Pax({{"size", "1024"}}).Raw(Builder().File("f").Finish(0)).Raw(planted).Finish(),
       Only([&](const testing::Recorded& r) { EXPECT_EQ(r.data.size(), 1024u); })},
      {"A80UstarLargerPaxZero", Builder().Pax({{"size", "0"}}).File("f").Size(1024).Raw(planted).Finish(),
       [](const List& all) {
         ASSERT_EQ(all.size(), 2u);
         EXPECT_EQ(all[0].data, "");
         EXPECT_EQ(all[1].entry.name, "planted");
       }},
      {"A81PaxSmaller", Builder().Pax({{"size", "512"}}).File("f", two).Size(1024).Finish().erase(2048, 512),
       Holding(two.substr(0, 512))},
      {"A82PaxSizeBeforeGnuName",
       Builder().Pax({{"size", "700"}}).GnuLongName("long").File("f", std::string(700, 'x')).Size(0).Finish(),
       Only([](const testing::Recorded& r) {
         EXPECT_EQ(r.entry.name, "long");
         EXPECT_EQ(r.data.size(), 700u);
       })},
      {"A83PaxPathWins", pax("path", "../../x"), Named("../../x")},
      {"A83GnuNameWins", Builder().GnuLongName("../../x").File("ok").Finish(), Named("../../x")},
      {"A84LastOfAKeyWins", Builder().Pax({{"path", "a"}, {"path", "b"}}).File("f").Finish(), Named("b")},
      {"A84LastXattrWins", Builder().File("f").Xattr("user.a", "1").Xattr("user.a", "2").Finish(),
       Only([](const testing::Recorded& r) {
         EXPECT_THAT(r.entry.xattrs, ElementsAre(std::pair("user.a"s, "2"s)));
       })},
      {"EmptyValueTakesBack", Builder().Pax({{"path", "a"}, {"path", ""}}).File("f").Finish(), Named("f")},
      {"A85GlobalIsIgnored",
       Builder().Global({{"path", "g"}, {"size", "9"}, {"linkpath", "g"}, {"uid", "9"}}).File("f", "ab").Finish(),
       Only([](const testing::Recorded& r) {
         EXPECT_EQ(r.entry.name, "f");
         EXPECT_EQ(r.entry.uid, 0u);
         EXPECT_EQ(r.data, "ab");
       })},
      {"A85GlobalAtTheEnd", Builder().File("f", "x").Global({{"comment", "c"}}).Finish(), Holding("x")},
      {"A85GlobalAtTheEndWithoutEndBlocks", Builder().File("f", "x").Global({{"comment", "c"}}).Finish(0), Holding("x")},
      {"A85GlobalBetweenPaxAndEntry", Builder().Pax({{"path", "p"}}).Global({{"comment", "c"}}).File("f").Finish(),
       Named("p")},
      {"A88BytesAfterTheNul", Builder().GnuLongName("real\0../../x"sv).File("f").Finish(), Named("real")},
      {"SameNameTwice", Builder().Pax({{"path", "n"}}).GnuLongName("n").File("f").Finish(), Named("n")},
      {"A89SignedChecksum", Builder().File("\xff\xfe\xfd").SignedChecksum().Finish(), Named("\xff\xfe\xfd")},
      {"A92NoEndBlocks", Builder().File("f", "x").Finish(0), Holding("x")},
      {"A92OneEndBlock", Builder().File("f", "x").Finish(1), Holding("x")},
      {"A92MuchPadding", Builder().File("f", "x").Finish(2048), Holding("x")},
      {"A92OnlyZeros", std::string(1024, '\0'), Sized(0)},
      {"A92Nothing", "", Sized(0)},
      {"A92UnpaddedLastFile", Builder().File("f", "xyz").Finish(0).substr(0, 515), Holding("xyz")},
      {"A93SecondArchive", Builder().File("f", "x").Finish() + planted, Holding("x")},
      {"A93Garbage", Builder().File("f", "x").Finish() + "garbage", Holding("x")},
      {"A96SparseNameClimbs",
       PaxSparse({{"GNU.sparse.name", "../x"}, {"GNU.sparse.map", "0,1"}, {"GNU.sparse.size", "1"}}, "d"),
       Sparse("../x", 1, {{0, 1}}, "d")},
      {"A98SameFileManyTimes",
       [] {
         Builder b;
         for (int i = 0; i < 500; ++i) b.File("f", std::to_string(i));
         return b.Finish();
       }(),
       Sized(500)},
      {"A101V7", Builder(Format::kV7).Entry('\0', "f", {}, "x").Finish(),
       Only([](const testing::Recorded& r) { EXPECT_EQ(r.entry.type, Type::kFile); })},
      {"A101V7Directory", Builder(Format::kV7).Entry('\0', "d/").Finish(),
       Only([](const testing::Recorded& r) { EXPECT_EQ(r.entry.type, Type::kDirectory); })},
      {"A101Star", Builder(Format::kStar).File("x").Prefix("pre").Field(476, "13746402706").Finish(), Named("pre/x")},
      {"Contiguous", Builder().Entry('7', "f", {}, "x").Finish(),
       Only([](const testing::Recorded& r) { EXPECT_EQ(r.entry.type, Type::kFile); })},
      {"FileNamedLikeADirectory", Builder().File("d/", "x").Finish(),
       Only([](const testing::Recorded& r) { EXPECT_EQ(r.entry.type, Type::kFile); })},
      {"EmptyFile", Builder().File("f").Finish(), Holding("")},
      {"BlankNumbers", Builder().File("f").Field(100, std::string(24, '\0')).Field(136, "            ").Finish(), Owned(0)},
      {"OldGnuSparse", GnuSparse(8192, {{512, 1024}, {8192, 0}}, two).Finish(), Sparse("sparse", 8192, {{512, 1024}}, two)},
      {"OldGnuSparseManyBlocks", many_segments.Finish(), Sparse("sparse", 26 * 1024, runs, std::string(26 * 512, 's'))},
      {"OldGnuSparseHole", GnuSparse(8192, {{8192, 0}}, "").Finish(), Sparse("sparse", 8192, {}, "")},
      {"PaxSparse00",
       Builder()
           .Pax({{"GNU.sparse.size", "4096"}, {"GNU.sparse.numblocks", "2"}, {"GNU.sparse.offset", "0"},
                 {"GNU.sparse.numbytes", "512"}, {"GNU.sparse.offset", "2048"}, {"GNU.sparse.numbytes", "512"}})
           .File("s", two)
           .Finish(),
       Sparse("s", 4096, {{0, 512}, {2048, 512}}, two)},
      {"PaxSparse01",
       PaxSparse({{"GNU.sparse.size", "4096"}, {"GNU.sparse.numblocks", "2"}, {"GNU.sparse.name", "real"},
                  {"GNU.sparse.map", "0,512,2048,512"}}, two),
       Sparse("real", 4096, {{0, 512}, {2048, 512}}, two)},
      {"PaxSparse10",
       PaxSparse({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", "real"},
                  {"GNU.sparse.realsize", "4096"}}, Block("2\n0\n512\n2048\n512\n") + two),
       Sparse("real", 4096, {{0, 512}, {2048, 512}}, two)},
      {"PaxSparse10EmptyMap",
       PaxSparse({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "4096"}}, Block("0\n")),
       Sparse("GNUSparseFile.1/x", 4096, {}, "")},
  };
}

INSTANTIATE_TEST_SUITE_P(Tar, AcceptedRows, ::testing::ValuesIn(AcceptedTable()),
                         [](const auto& p) { return p.param.row; });

// ---- the rest

TEST(TarReader, A100EntryLimit) {
  Recorder seen;
  const Result<> result = ReadAll(seen, Builder().File("1").File("2").File("3").Finish(), 0, {.entries = 2});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(result.error().Text(), HasSubstr("limit entries"));
  EXPECT_EQ(seen.entries.size(), 2u);
}

TEST(TarReader, ErrorsNameTheByteOfTheHeader) {
  Recorder seen;
  const Result<> result = ReadAll(seen, Builder().File("1", "data").Entry('Z', "2").Finish(), 100);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().Text(), HasSubstr("tar header at byte 1024: "));
}

TEST(TarReader, ContentsAreNotCopied) {
  struct Watcher : Recorder {
    Result<> OnData(std::uint64_t, bytes::View data) override {
      inside = inside && data.data() >= archive.data() && data.data() + data.size() <= archive.data() + archive.size();
      ++calls;
      return {};
    }
    bytes::View archive;
    bool inside = true;
    int calls = 0;
  } watcher;
  const std::string archive = Builder().File("f", std::string(100'000, 'x')).Finish();
  watcher.archive = bytes::AsView(archive);
  ASSERT_TRUE(ReadAll(watcher, archive));
  EXPECT_TRUE(watcher.inside);
  EXPECT_EQ(watcher.calls, 1);
}

TEST(TarReader, AnErrorIsFinal) {
  struct Refuses : Recorder {
    Result<> OnEntry(const Entry&) override { return Error(Reason::kNoSpace, "full"); }
  } handler;
  Reader reader(handler);
  const std::string archive = Builder().File("f").Finish();
  const Result<> first = reader.Feed(bytes::AsView(archive));
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().reason(), Reason::kNoSpace);
  const Result<> again = reader.Feed(bytes::AsView(archive));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().reason(), Reason::kNoSpace);
  EXPECT_FALSE(reader.Finish());
}

TEST(TarHeader, Numbers) {
  const auto value = [](std::string_view field) { return ParseNumeric(field).value().value; };
  EXPECT_EQ(value("0000644\0"sv), 0644);
  EXPECT_EQ(value("   644 \0"sv), 0644);
  EXPECT_EQ(value("77777777"), 077777777);
  EXPECT_EQ(value("12\0junk"sv), 012);
  EXPECT_EQ(value("\x80\0\0\0\0\0\1\0"sv), 256);
  EXPECT_EQ(value("\xff\xff\xff\xff\xff\xff\xff\xfe"sv), -2);
  EXPECT_EQ(value("\xbf\xff"sv), 0x3fff);
  EXPECT_EQ(value("\xc0\0"sv), -0x4000);
  EXPECT_EQ(value("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"sv), kMax);
  EXPECT_TRUE(ParseNumeric("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"sv)->exact);
  EXPECT_FALSE(ParseNumeric("\x80\0\0\0\x80\0\0\0\0\0\0\0"sv)->exact);
  EXPECT_FALSE(ParseNumeric("\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0"sv)->exact);
  EXPECT_TRUE(ParseNumeric("\0\0  "sv)->blank);
  for (const std::string_view broken : {"8", "64x", "-1", "0x1", "+7"}) EXPECT_FALSE(ParseNumeric(broken)) << broken;
}

}  // namespace
}  // namespace berth::tar
