// layer/testing/rows.h: the archives that a layer may be, by their rows in reliability-security 3.a (A-) and
// runtime-registry 6.8 (V), with the tree that each becomes (tree_text.h).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "layer/report.h"
#include "tar/testing/tar_builder.h"

namespace berth::layer::testing {

using tar::testing::Builder;
using Lines = std::vector<std::string>;

// l0 -> canary, l1 -> l0, …; then a file below the last.
inline std::string Chain(int links) {
  Builder b;
  b.Dir("canary").Symlink("l1", "canary");
  for (int i = 2; i <= links; ++i) b.Symlink("l" + std::to_string(i), "l" + std::to_string(i - 1));
  return b.File("l" + std::to_string(links) + "/x", "x").Finish();
}

struct Row {
  const char* name;
  std::string archive;
  Lines lines = {};
  Ignored ignored = {};
};

inline const std::string kCap2("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);

inline std::vector<Row> NameRows() {
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

inline std::vector<Row> LinkRows() {
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

inline std::vector<Row> ReplacingRows() {
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
  static std::set<std::string> names;  // rows point into it, also those of later calls
  for (const Kind& below : kinds) {
    for (const Kind& above : kinds) {
      Builder b;
      b.File("first", "1");
      below.add(b);
      above.add(b);
      const bool merge = std::string_view(above.line) == "n/" && std::string_view(below.line) == "n/";
      const bool fresh = std::string_view(above.line) == "n/" && !merge;
      const auto& name = *names.insert(std::string("A55_") + above.name + "Over" + below.name).first;
      rows.push_back({name.c_str(), b.Finish(), {"first=1", above.line + std::string(fresh ? " opaque" : "")}, {.replaced = merge ? 0u : 1u}});
    }
  }
  return rows;
}

inline std::vector<Row> WhiteoutRows() {
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
      {"WhiteoutOfTheLongestName", Builder().File(".wh." + std::string(255, 'n')).Finish(), {std::string(255, 'n') + "!"}},
  };
}

inline std::vector<Row> AttributeRows() {
  const std::string zeros(8192, '\0');
  return {
      {"A50_CharDevice", Builder().CharDevice("null", 1, 3).Mode(0666).Finish(), {"null c1:3 0666"}},
      {"A53_LargestDevice", Builder().CharDevice("c", 0xfff, 0xfffff).Finish(), {"c c4095:1048575"}},
      {"A54_Fifo", Builder().Fifo("p").Fifo("q").File("q", "x").Finish(), {"p|", "q=x"}, {.replaced = 1}},
      {"A56_OddUserDatabase",
       Builder().Fifo("etc/passwd").Dir("etc/group").Finish(),
       {"etc/ implied", "etc/group/", "etc/passwd|"}},
      {"A58_OverlayXattrs",
       Builder()
           .Dir("d")
           .Xattr("trusted.overlay.opaque", "y")
           .Xattr("trusted.overlay.redirect", "/x")
           .Xattr("user.overlay.opaque", "y")
           .File("f")
           .Xattr("trusted.overlay.metacopy", "")
           .Xattr("user.overlay.origin", "x")
           .Finish(),
       {"d/", "f="},
       {.xattrs = 5}},
      {"A59_Capability",
       Builder().File("f").Mode(04755).Uid(1000).Xattr("security.capability", kCap2).Finish(),
       {"f= 4755 1000:0 {security.capability=" + kCap2 + "}"}},
      {"A60_UserXattrOnALink",
       Builder().Symlink("l", "t").Xattr("user.k", "v").CharDevice("c", 1, 3).Xattr("user.k", "v").Finish(),
       {"c c1:3", "l->t"},
       {.xattrs = 2}},
      {"A63_OnlyTheAllowList",
       Builder()
           .File("f")
           .Record("SCHILY.fflags", "immutable")
           .Xattr("security.selinux", "x")
           .Xattr("security.ima", "x")
           .Xattr("system.posix_acl_access", "x")
           .Xattr("trusted.k", "x")
           .Xattr("user.k", "v")
           .Finish(),
       {"f= {user.k=v}"},
       {.xattrs = 4}},
      {"A66_LargeOwners",
       Builder().File("f").Uid(2147483648).Gid(4294967294).Finish(),
       {"f= 2147483648:4294967294"}},
      {"A67_SetIdBits",
       Builder().File("f").Mode(06755).Dir("d").Mode(01777).Dir("e").Mode(02755).Finish(),
       {"d/ 1777", "e/ 2755", "f= 6755"}},
      {"A68_TypeBitsInTheMode", Builder().File("f").Mode(0177777).Finish(), {"f= 7777"}},
      {"A69_Times",
       Builder().File("f").Record("mtime", "1e30").Finish(0).substr(0, 0) +
           Builder()
               .File("a")
               .Record("mtime", "-5.5")
               .File("b")
               .Record("mtime", "99999999999999999999")
               .File("c")
               .Record("mtime", "1.000000009")
               .Finish(),
       {"a=", "b= @9223372036.000000000", "c= @1.000000009"}},
      {"A70_NumbersBeatNames", Builder().File("f").Owner("root", "root").Uid(1234).Finish(), {"f= 1234:0"}},
      {"A80_PaxSizeWins", Builder().Pax({{"size", "3"}}).File("f", "abc").Size(0).Finish(), {"f=abc"}},
      {"A95_Sparse",
       Builder()
               .Pax({{"GNU.sparse.major", "0"},
                     {"GNU.sparse.minor", "1"},
                     {"GNU.sparse.size", "12290"},
                     {"GNU.sparse.numblocks", "2"},
                     {"GNU.sparse.map", "0,2,12288,2"}})
               .File("f", "ab" + std::string())
               .Finish(0)
               .substr(0, 0) +
           Builder()
               .Pax({{"GNU.sparse.major", "1"},
                     {"GNU.sparse.minor", "0"},
                     {"GNU.sparse.realsize", "12290"},
                     {"GNU.sparse.name", "f"}})
               .File("x", tar::testing::Padded("2\n8192\n512\n12288\n2\n") + std::string(512, 'a') + "zz")
               .Finish(),
       {"f=" + zeros + std::string(512, 'a') + std::string(3584, '\0') + "zz"}},
      {"SparseSegmentsInOnePage",
       Builder()
           .Pax({{"GNU.sparse.major", "1"},
                 {"GNU.sparse.minor", "0"},
                 {"GNU.sparse.realsize", "9000"},
                 {"GNU.sparse.name", "f"}})
           .File("x", tar::testing::Padded("2\n512\n512\n1536\n512\n") + std::string(512, 'a') +
                          std::string(512, 'b'))
           .Finish(),
       {"f=" + std::string(512, '\0') + std::string(512, 'a') + std::string(512, '\0') +
        std::string(512, 'b') + std::string(9000 - 2048, '\0')}},
      {"SparseInChunksOfTwoPages",
       Builder()
           .Pax({{"GNU.sparse.major", "1"},
                 {"GNU.sparse.minor", "0"},
                 {"GNU.sparse.realsize", "6291556"},
                 {"GNU.sparse.name", "f"}})
           .File("x", tar::testing::Padded("2\n12288\n512\n6291456\n100\n") + std::string(512, 'a') + std::string(100, 'b')).Finish(),
       {"f=" + std::string(12288, '\0') + std::string(512, 'a') + std::string(6291456 - 12800, '\0') + std::string(100, 'b')}},
      {"SparseAllHole",
       Builder()
           .Pax({{"GNU.sparse.major", "1"},
                 {"GNU.sparse.minor", "0"},
                 {"GNU.sparse.realsize", "5000"},
                 {"GNU.sparse.name", "f"}})
           .File("x", tar::testing::Padded("0\n"))
           .Finish(),
       {"f=" + std::string(5000, '\0')}},
  };
}

inline std::vector<Row> AcceptedRows() {
  std::vector<Row> all;
  for (auto* rows : {&NameRows, &LinkRows, &ReplacingRows, &WhiteoutRows, &AttributeRows}) {
    for (Row& row : rows()) all.push_back(std::move(row));
  }
  return all;
}

}  // namespace berth::layer::testing
