// The rows of reliability-security 3.a and runtime-registry 6.8 that one layer can show: an archive, and the tree it
// becomes or the reason for which it is refused.
#include "layer/builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "layer/testing/tree_text.h"
#include "tar/testing/tar_builder.h"

namespace berth::layer {
namespace {

using tar::testing::Builder;
using testing::Build;
using testing::Describe;
using testing::MemorySink;

using Lines = std::vector<std::string>;

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
// l0 -> canary, l1 -> l0, …; then a file below the last.
std::string Chain(int links) {
  Builder b;
  b.Dir("canary").Symlink("l1", "canary");
  for (int i = 2; i <= links; ++i) b.Symlink("l" + std::to_string(i), "l" + std::to_string(i - 1));
  return b.File("l" + std::to_string(links) + "/x", "x").Finish();
}
std::string ManyLinks(int count) {
  Builder b;
  b.File("f", "x");
  for (int i = 1; i < count; ++i) b.HardLink("h" + std::to_string(i), "f");
  return b.Finish();
}

struct Row {
  const char* name;
  std::string archive;
  Lines lines = {};
  Ignored ignored = {};
};

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

const std::string kCap2("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);

std::vector<Row> Names() {
  return {
      {"A03_DotsInside", Builder().File("a/../etc/inside", "x").Finish(), {"etc/ implied", "etc/inside=x"}},
      {"A04_Absolute", Builder().File("/etc/abs", "x").Finish(), {"etc/ implied", "etc/abs=x"}},
      {"A10_Untidy", Builder().File(".//etc///x", "1").File("././etc/y", "2").Dir("./etc//d///").Finish(),
       {"etc/ implied", "etc/d/", "etc/x=1", "etc/y=2"}},
      {"A12_ControlCharacters", Builder().File("a\nb\r\x1b[31m", "x").Finish(), {"a\nb\r\x1b[31m=x"}},
      {"A13_NotUtf8", Builder().File("\xff\xfe\x80", "x").Finish(), {"\xff\xfe\x80=x"}},
      {"A14_Component255", Builder().File(std::string(255, 'n')).Finish(), {std::string(255, 'n') + "="}},
      {"A17_GnuTimesAreNoPrefix", Builder(tar::testing::Format::kGnu).File("f", "x").Prefix("../../etc").Finish(), {"f=x"}},
      {"A20_NfcAndNfd", Builder().File("\xc3\xa9", "1").File("e\xcc\x81", "2").Finish(), {"e\xcc\x81=2", "\xc3\xa9=1"}},
      {"A21_OddNames", Builder().File(" ").File("-rf").File("*").File("~").File("$(x)").File("%s%n").File("\\").File("C:").File("CON").Finish(),
       {" =", "$(x)=", "%s%n=", "*=", "-rf=", "C:=", "CON=", "\\=", "~="}},
      {"A99_ChildFirst", Builder().File("d/f", "x").Dir("d").Mode(0700).Uid(3).Finish(), {"d/ 0700 3:0", "d/f=x"}},
      {"A99_ParentNeverListed", Builder().File("a/b/f", "x").Finish(), {"a/ implied", "a/b/ implied", "a/b/f=x"}},
      {"A99_ParentIsAFile", Builder().File("p", "gone").File("p/f", "x").Finish(), {"p/ opaque", "p/f=x"}, {.replaced = 1}},
      {"A99_ParentMode0000", Builder().Dir("d").Mode(0).File("d/f", "x").Finish(), {"d/ 0000", "d/f=x"}},
      {"RootAttributes", Builder().Dir("./").Mode(0711).Uid(5).Mtime(9).File("f").Finish(), {"/ 0711 5:0 @9.000000000", "f="}},
      {"RootSpelledOtherwise", Builder().Dir("/").Mode(0700).Dir("a/..").Gid(2).Finish(), {"/ 0:2"}},
      {"Empty", Builder().Finish(), {}},
      {"NoBytes", "", {}},
      {"A93_NotAppliedAfterTheEnd", Builder().File("a", "1").Finish() + Builder().File("b", "2").Finish(), {"a=1"}},
  };
}

std::vector<Row> Links() {
  return {
      {"A22_ParentIsALink", Builder().Symlink("s", "/canary").File("s/pwned", "x").Finish(),
       {"canary/ implied", "canary/pwned=x", "s->/canary"}},
      {"A23_LinkThatClimbs", Builder().Symlink("s", "../../../canary").File("s/pwned", "x").Finish(),
       {"canary/ implied", "canary/pwned=x", "s->../../../canary"}},
      {"V5_LinkToAbove", Builder().Symlink("d", "../../..").File("d/f", "x").Finish(), {"d->../../..", "f=x"}},
      {"A24_FileOverLink", Builder().Symlink("s", "canary/victim").File("s", "x").Finish(), {"s=x"}, {.replaced = 1}},
      {"A25_Chain30", Chain(3), {"canary/", "canary/x=x", "l1->canary", "l2->l1", "l3->l2"}},
      {"A27_DirectoryOverLink", Builder().Symlink("s", "canary/dir").Dir("s").Mode(0777).Uid(4242).Finish(), {"s/ 0777 4242:0 opaque"}, {.replaced = 1}},
      {"A28_LinkOverDirectory", Builder().Dir("x").Mode(0700).Mtime(5).File("x/f").Symlink("x", "canary").Finish(), {"x->canary"}, {.replaced = 1}},
      {"A29_LinkOverDirectoryThenChild", Builder().Dir("a").File("a/old").Symlink("a", "canary").File("a/y", "x").Finish(),
       {"a->canary", "canary/ implied", "canary/y=x"}, {.replaced = 1}},
      {"A34_ProcLinks", Builder().Symlink("r", "/proc/1/root").File("r/x", "1").Symlink("c", "/proc/self/cwd").File("c/x", "2").Finish(),
       {"c->/proc/self/cwd", "proc/ implied", "proc/1/ implied", "proc/1/root/ implied", "proc/1/root/x=1", "proc/self/ implied",
        "proc/self/cwd/ implied", "proc/self/cwd/x=2", "r->/proc/1/root"}},
      {"A35_SystemFoldersAsLinks", Builder().Symlink("proc", "/canary").Symlink("etc/hosts", "/canary").Finish(),
       {"etc/ implied", "etc/hosts->/canary", "proc->/canary"}},
      {"V4_LinkToEtc", Builder().Symlink("d", "/etc").File("d/f", "x").Dir("etc").Mode(0700).Finish(), {"d->/etc", "etc/ 0700", "etc/f=x"}},
      {"LinkThroughLinkedParent", Builder().Dir("usr/bin").Symlink("bin", "usr/bin").Symlink("bin/sh", "dash").Finish(),
       {"bin->usr/bin", "usr/ implied", "usr/bin/", "usr/bin/sh->dash"}},
      {"DotsInTargets", Builder().Dir("a/b").Symlink("a/b/up", "../.././a/./c").File("a/b/up/f", "x").Finish(),
       {"a/ implied", "a/b/", "a/b/up->../.././a/./c", "a/c/ implied", "a/c/f=x"}},
      {"A42_AbsoluteHardLink", Builder().File("etc/file", "x").HardLink("h", "/etc/file").Finish(), {"etc/ implied", "etc/file=x", "h=>etc/file"}},
      {"A42_InALowerLayer", Builder().HardLink("h", "/etc/file").Finish(), {"h~>etc/file"}},
      {"A43_HardLinkThroughALink", Builder().Symlink("s", "/canary").HardLink("h", "s/secret").Finish(), {"h~>canary/secret", "s->/canary"}},
      {"A44_HardLinkToALink", Builder().Symlink("s", "victim").HardLink("h", "s").Mode(0777).Finish(), {"h=>s", "s->victim"}},
      {"A45_FileOverHardLinkToALink", Builder().Symlink("s", "victim").HardLink("h", "s").File("h", "x").Finish(), {"h=x", "s->victim"}, {.replaced = 1}},
      {"A47_LinkToALaterEntry", Builder().HardLink("h", "f").File("f", "x").Finish(), {"f=x", "h~>f"}},
      {"A48_FileOverHardLink", Builder().File("a", "old").HardLink("b", "a").File("b", "new").Finish(), {"a=old", "b=new"}, {.replaced = 1}},
      {"FirstInodeLives", Builder().File("a", "old").HardLink("b", "a").HardLink("c", "a").File("a", "new").HardLink("d", "b").Finish(),
       {"a=new", "b=old", "c=>b", "d=>b"}, {.replaced = 1}},
      {"FirstInodeLivesInALostFolder", Builder().File("d/a", "old").HardLink("b", "d/a").File("d", "file").Finish(), {"b=old", "d=file"}, {.replaced = 1}},
      {"LinkBackOverItsFirstName", Builder().File("a", "x").HardLink("b", "a").HardLink("a", "b").Finish(), {"a=>b", "b=x"}, {.replaced = 1}},
      {"LinkedOutsideInodeLives", Builder().HardLink("a", "low").HardLink("b", "a").File("a", "new").Finish(), {"a=new", "b~>low"}, {.replaced = 1}},
      {"LinkAppliesItsAttributes", Builder().File("f", "x").Xattr("user.a", "1").HardLink("h", "f").Mode(04755).Uid(7).Mtime(3).Xattr("user.b", "2").Finish(),
       {"f=x 4755 7:0 @3.000000000 {user.a=1} {user.b=2}", "h=>f"}},
  };
}

std::vector<Row> Replacing() {
  std::vector<Row> rows = {
      {"A98_FiveHundredTimes", [] { Builder b; for (int i = 0; i < 500; ++i) b.File("f", std::to_string(i)); return b.Finish(); }(), {"f=499"}, {.replaced = 499}},
      {"DirectoryOverDirectory", Builder().Dir("d").Mode(0700).Xattr("user.a", "1").File("d/f", "x").Dir("d").Mode(0711).Xattr("user.b", "2").Finish(),
       {"d/ 0711 {user.b=2}", "d/f=x"}},
      {"V7_FileOverDirectory", Builder().File("d/a/b", "x").File("d", "f").Finish(), {"d=f"}, {.replaced = 1}},
      {"V7_DirectoryOverFile", Builder().File("d", "f").Dir("d").File("d/x", "1").Finish(), {"d/ opaque", "d/x=1"}, {.replaced = 1}},
      {"V7_LinkOverDirectory", Builder().File("d/x", "1").Symlink("d", "e").Finish(), {"d->e"}, {.replaced = 1}},
      {"LostChildrenStayLost", Builder().File("d/x", "1").File("d", "f").Dir("d").Finish(), {"d/ opaque"}, {.replaced = 2}},
  };
  // every type over every other.
  struct Kind { const char* name; void (*add)(Builder&); const char* line; };
  static constexpr Kind kinds[] = {
      {"File", [](Builder& b) { b.File("n", "x"); }, "n=x"},
      {"Dir", [](Builder& b) { b.Dir("n"); }, "n/"},
      {"Symlink", [](Builder& b) { b.Symlink("n", "t"); }, "n->t"},
      {"HardLink", [](Builder& b) { b.HardLink("n", "first"); }, "n=>first"},
      {"Char", [](Builder& b) { b.CharDevice("n", 1, 3); }, "n c1:3"},
      {"Fifo", [](Builder& b) { b.Fifo("n"); }, "n|"},
  };
  static std::vector<std::string> names;
  names.reserve(64);
  for (const Kind& below : kinds) {
    for (const Kind& above : kinds) {
      Builder b;
      b.File("first", "1");
      below.add(b);
      above.add(b);
      const bool merge = std::string_view(above.line) == "n/" && std::string_view(below.line) == "n/";
      const bool fresh = std::string_view(above.line) == "n/" && !merge;
      names.push_back(std::string("A55_") + above.name + "Over" + below.name);
      rows.push_back({names.back().c_str(), b.Finish(), {"first=1", above.line + std::string(fresh ? " opaque" : "")}, {.replaced = merge ? 0u : 1u}});
    }
  }
  return rows;
}

std::vector<Row> Whiteouts() {
  return {
      {"V1_Whiteout", Builder().File("a/.wh.b").Finish(), {"a/ implied", "a/b!"}},
      {"V2_FileThenWhiteout", Builder().File("a/b", "x").File("a/.wh.b").Finish(), {"a/ implied", "a/b=x"}},
      {"V2_WhiteoutThenFile", Builder().File("a/.wh.b").File("a/b", "x").Finish(), {"a/ implied", "a/b=x"}},
      {"A76_DirectoryAndWhiteout", Builder().Dir("d").File("d/x", "1").File(".wh.d").Finish(), {"d/ opaque", "d/x=1"}},
      {"A76_WhiteoutThenImplied", Builder().File(".wh.d").File("d/x", "1").Finish(), {"d/ opaque", "d/x=1"}},
      {"A76_Twice", Builder().File(".wh.d").File(".wh.d").Finish(), {"d!"}},
      {"V3_OpaqueLast", Builder().File("a/x", "1").File("a/.wh..wh..opq").Finish(), {"a/ implied opaque", "a/x=1"}},
      {"A77_OpaqueFirst", Builder().File("a/.wh..wh..opq").File("a/x", "1").Dir("a").Mode(0700).Finish(), {"a/ 0700 opaque", "a/x=1"}},
      {"A77_OpaqueRoot", Builder().File(".wh..wh..opq").File("a/x", "1").Finish(), {"/ opaque", "a/", "a/x=1"}},
      {"NothingShowsThroughAnOpaqueFolder", Builder().File("a/.wh..wh..opq").File("a/b/c", "1").Finish(), {"a/ implied opaque", "a/b/", "a/b/c=1"}},
      {"A72_WhiteoutBelowALink", Builder().Symlink("s", "/canary").File("s/.wh.victim").File("s/.wh..wh..opq").Finish(),
       {"canary/ implied opaque", "canary/victim!", "s->/canary"}},
      {"A75_MarkerWithContents", Builder().File(".wh.a", "contents").File("b/.wh..wh..opq", "contents").Finish(), {"a!", "b/ implied opaque"}},
      {"A75_MarkerIsAHardLink", Builder().HardLink(".wh.a", ".wh..wh.aufs").Finish(), {"a!"}},
      {"A78_Aufs", Builder().File(".wh..wh.aufs").Dir(".wh..wh.plnk").File(".wh..wh.plnk/1.2", "x").HardLink("h", ".wh..wh.plnk/1.2").Dir("d/.wh..wh.orph").Finish(),
       {}, {.aufs_entries = 5}},
      {"WhiteoutInALostFolder", Builder().File("a/.wh.b").File("a", "x").Finish(), {"a=x"}, {.replaced = 1}},
      {"WhiteoutOfALongName", Builder().File(".wh." + std::string(251, 'n')).Finish(), {std::string(251, 'n') + "!"}},
  };
}

std::vector<Row> Attributes() {
  const std::string zeros(8192, '\0');
  return {
      {"A50_CharDevice", Builder().CharDevice("null", 1, 3).Mode(0666).Finish(), {"null c1:3 0666"}},
      {"A53_LargestDevice", Builder().CharDevice("c", 0xfff, 0xfffff).Finish(), {"c c4095:1048575"}},
      {"A54_Fifo", Builder().Fifo("p").Fifo("q").File("q", "x").Finish(), {"p|", "q=x"}, {.replaced = 1}},
      {"A56_OddUserDatabase", Builder().Fifo("etc/passwd").Dir("etc/group").Finish(), {"etc/ implied", "etc/group/", "etc/passwd|"}},
      {"A58_OverlayXattrs", Builder().Dir("d").Xattr("trusted.overlay.opaque", "y").Xattr("trusted.overlay.redirect", "/x").Xattr("user.overlay.opaque", "y")
           .File("f").Xattr("trusted.overlay.metacopy", "").Xattr("user.overlay.origin", "x").Finish(), {"d/", "f="}, {.xattrs = 5}},
      {"A59_Capability", Builder().File("f").Mode(04755).Uid(1000).Xattr("security.capability", kCap2).Finish(),
       {"f= 4755 1000:0 {security.capability=" + kCap2 + "}"}},
      {"A60_UserXattrOnALink", Builder().Symlink("l", "t").Xattr("user.k", "v").CharDevice("c", 1, 3).Xattr("user.k", "v").Finish(),
       {"c c1:3", "l->t"}, {.xattrs = 2}},
      {"A63_OnlyTheAllowList", Builder().File("f").Record("SCHILY.fflags", "immutable").Xattr("security.selinux", "x").Xattr("security.ima", "x")
           .Xattr("system.posix_acl_access", "x").Xattr("trusted.k", "x").Xattr("user.k", "v").Finish(), {"f= {user.k=v}"}, {.xattrs = 4}},
      {"A66_LargeOwners", Builder().File("f").Uid(2147483648).Gid(4294967294).Finish(), {"f= 2147483648:4294967294"}},
      {"A67_SetIdBits", Builder().File("f").Mode(06755).Dir("d").Mode(01777).Dir("e").Mode(02755).Finish(), {"d/ 1777", "e/ 2755", "f= 6755"}},
      {"A68_TypeBitsInTheMode", Builder().File("f").Mode(0177777).Finish(), {"f= 7777"}},
      {"A69_Times", Builder().File("f").Record("mtime", "1e30").Finish(0).substr(0, 0) + Builder().File("a").Record("mtime", "-5.5").File("b").Record("mtime", "99999999999999999999")
           .File("c").Record("mtime", "1.000000009").Finish(), {"a=", "b= @9223372036.000000000", "c= @1.000000009"}},
      {"A70_NumbersBeatNames", Builder().File("f").Owner("root", "root").Uid(1234).Finish(), {"f= 1234:0"}},
      {"A80_PaxSizeWins", Builder().Pax({{"size", "3"}}).File("f", "abc").Size(0).Finish(), {"f=abc"}},
      {"A95_Sparse", Builder().Pax({{"GNU.sparse.major", "0"}, {"GNU.sparse.minor", "1"}, {"GNU.sparse.size", "12290"}, {"GNU.sparse.numblocks", "2"},
                                    {"GNU.sparse.map", "0,2,12288,2"}}).File("f", "ab" + std::string()).Finish(0).substr(0, 0) +
                         Builder().Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "12290"}, {"GNU.sparse.name", "f"}})
                             .File("x", tar::testing::Padded("2\n8192\n512\n12288\n2\n") + std::string(512, 'a') + "zz").Finish(),
       {"f=" + zeros + std::string(512, 'a') + std::string(3584, '\0') + "zz"}},
      {"SparseSegmentsInOnePage", Builder().Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "9000"}, {"GNU.sparse.name", "f"}})
                             .File("x", tar::testing::Padded("2\n512\n512\n1536\n512\n") + std::string(512, 'a') + std::string(512, 'b')).Finish(),
       {"f=" + std::string(512, '\0') + std::string(512, 'a') + std::string(512, '\0') + std::string(512, 'b') + std::string(9000 - 2048, '\0')}},
      {"SparseAllHole", Builder().Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "5000"}, {"GNU.sparse.name", "f"}})
                             .File("x", tar::testing::Padded("0\n")).Finish(), {"f=" + std::string(5000, '\0')}},
  };
}

auto RowName = [](const auto& row) { return std::string(row.param.name); };
INSTANTIATE_TEST_SUITE_P(Names, Accepts, ::testing::ValuesIn(Names()), RowName);
INSTANTIATE_TEST_SUITE_P(Links, Accepts, ::testing::ValuesIn(Links()), RowName);
INSTANTIATE_TEST_SUITE_P(Replacing, Accepts, ::testing::ValuesIn(Replacing()), RowName);
INSTANTIATE_TEST_SUITE_P(Whiteouts, Accepts, ::testing::ValuesIn(Whiteouts()), RowName);
INSTANTIATE_TEST_SUITE_P(Attributes, Accepts, ::testing::ValuesIn(Attributes()), RowName);

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
      {"A01_Climbs40", Builder().File(Climbs(40) + "canary/pwned", "x").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A01_Climbs400", Builder().File(Climbs(400) + "canary/pwned", "x").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A02_ClimbsAfterComponents", Builder().File("a/b/" + Climbs(40) + "canary/pwned", "x").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A06_RootIsALink", Builder().Symlink("./", "/canary").Finish(), Reason::kInvalidLayer, "root"},
      {"A06_RootIsALinkDot", Builder().Symlink(".", "/canary").Finish(), Reason::kInvalidLayer, "root"},
      {"A07_RootIsAFile", Builder().File("/", "x").Finish(), Reason::kInvalidLayer, "root"},
      {"A07_RootIsAHardLink", Builder().File("f").HardLink("/", "f").Finish(), Reason::kInvalidLayer, "root"},
      {"A07_RootIsADevice", Builder().CharDevice("/", 1, 3).Finish(), Reason::kInvalidLayer, "root"},
      {"A08_DotsAsALink", Builder().Symlink("..", "/canary").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A09_DotsAsADirectory", Builder().Dir("..").Mode(0777).Uid(12345).Finish(), Reason::kInvalidLayer, "climbs"},
      {"A11_NulInAPaxPath", Builder().Pax({{"path", std::string("etc/ok\0../../canary", 19)}}).File("x", "x").Finish()},
      {"A14_Component256", Builder().File(std::string(256, 'n')).Finish(), Reason::kInvalidLayer, "255"},
      {"A14_Component256InALink", Builder().Symlink("s", std::string(256, 'n')).File("s/x").Finish(), Reason::kInvalidLayer, "255"},
      {"A15_Path4200", Builder().File([] { std::string p; for (int i = 0; i < 21; ++i) p += std::string(199, 'n') + "/"; return p + "f"; }()).Finish(), Reason::kInvalidLayer, "4,096"},
      {"A16_PrefixClimbs", Builder().File("canary").Prefix("../../..").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A18_TooDeep", Builder().Dir(Nested(2000)).Finish(), Reason::kLimitExceeded, "depth"},
      {"A18_TooDeepInSteps", [] { Builder b; b.Dir(Nested(1000)).Symlink("s", Nested(1000)).File("s/" + Nested(30) + "f"); return b.Finish(); }(), Reason::kLimitExceeded, "depth"},
      {"A83_PaxPathClimbs", Builder().Pax({{"path", "../../x"}}).File("harmless").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A83_GnuNameClimbs", Builder().GnuLongName("../../x").File("harmless").Finish(), Reason::kInvalidLayer, "climbs"},
      {"A96_SparseNameClimbs", Builder().Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "1"}, {"GNU.sparse.name", "../x"}})
                                   .File("x", tar::testing::Padded("1\n0\n1\n") + "a").Finish(), Reason::kInvalidLayer, "climbs"},
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
  rows.push_back({"A75_MarkerIsADevice", Builder().CharDevice(".wh.a", 1, 3).Finish(), Reason::kInvalidLayer, "not a regular file"});
  rows.push_back({"A75_MarkerIsAFifo", Builder().Fifo(".wh.a").Finish(), Reason::kInvalidLayer, "not a regular file"});
  return rows;
}

std::vector<Refusal> BadAttributes() {
  return {
      {"A50_CharDeviceByPolicy", Builder().CharDevice("c", 1, 3).Finish(), Reason::kPolicy, "character devices", {.char_devices = false}},
      {"A51_BlockDevice", Builder().BlockDevice("b", 8, 0).Mode(0666).Finish(), Reason::kPolicy, "block devices"},
      {"A52_RawWhiteout", Builder().CharDevice("etc/passwd", 0, 0).Finish(), Reason::kPolicy, "0:0"},
      {"A53_Major4096", Builder().CharDevice("c", 4096, 0).Finish(), Reason::kInvalidLayer, "device number"},
      {"A53_Minor2To20", Builder().CharDevice("c", 1, 1 << 20).Finish(), Reason::kInvalidLayer, "device number"},
      {"A53_MajorMinus1", Builder().CharDevice("c", -1, 0).Finish()},
      {"A53_Major2To32", Builder().CharDevice("c", (1ll << 32) + 1, 3).Finish()},
      {"A61_LargeXattr", Builder().File("f").Xattr("user.k", std::string(70000, 'v')).Finish()},
      {"A62_NoNamespace", Builder().File("f").Xattr("nodot", "v").Finish()},
      {"A62_LongName", Builder().File("f").Xattr("user." + std::string(300, 'n'), "v").Finish()},
      {"A64_OwnerMinus1", Builder().File("f").Uid(4294967295).Finish()},
      {"A65_PaxOwner", Builder().File("f").Record("uid", "4294967296").Finish()},
      {"CapabilityOfNoVersion", Builder().File("f").Xattr("security.capability", "x").Finish(), Reason::kInvalidLayer, "security.capability"},
      {"A94_UnknownType", Builder().Entry('Z', "f").Finish()},
      {"A95_ApparentBytes", Builder().File("a", std::string(600, 'x')).File("b", std::string(600, 'x')).Finish(), Reason::kLimitExceeded, "unpacked_bytes", {.unpacked_bytes = 1000}},
      {"A100_Entries", [] { Builder b; for (int i = 0; i < 20; ++i) b.File("f" + std::to_string(i)); return b.Finish(); }(), Reason::kLimitExceeded, "limit entries", {.entries = 10}},
      {"A100_ImpliedCountToo", Builder().File(Nested(20) + "f").Finish(), Reason::kLimitExceeded, "limit entries", {.entries = 10}},
      {"A100_WhiteoutsCountToo", [] { Builder b; for (int i = 0; i < 20; ++i) b.File(".wh.f" + std::to_string(i)); return b.Finish(); }(), Reason::kLimitExceeded, "limit entries", {.entries = 10}},
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
