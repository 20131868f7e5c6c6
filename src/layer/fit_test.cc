#include "layer/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "layer/testing/tree_text.h"
#include "tar/testing/tar_builder.h"

namespace berth::layer {
namespace {

using tar::testing::Builder;
using testing::Describe;
using testing::MemorySink;

using Lines = std::vector<std::string>;

// Layers of an image bottom first, each fitted to those below it, as the worker does it.
struct Image {
  explicit Image(const std::vector<std::string>& archives) {
    for (std::uint32_t i = 0; i < archives.size(); ++i) {
      MemorySink sink;
      auto made = testing::Build(archives[i], sink);
      BERTH_CHECK(made.has_value());
      data.push_back(sink.data);
      built.push_back(std::move(*made));
      devices.push_back({i});
    }
  }
  // The verdict on the top layer.
  Result<bool> FitAll() {
    for (std::uint32_t i = 0; i < built.size(); ++i) {
      std::vector<LowerTree> lowers;
      for (std::uint32_t below = i; below-- > 0;) lowers.push_back({&built[below].tree, devices[below]});
      ASSIGN_OR_RETURN(std::optional<Fitted> fitted, Fit(built[i].tree, i, built[i].fixups, lowers));
      changed = fitted.has_value();
      if (!changed) continue;
      built[i].tree = std::move(fitted->tree);
      devices[i] = std::move(fitted->devices);
    }
    return changed;
  }
  Lines Top() const {
    std::vector<std::string> contents;
    for (const std::uint32_t device : devices.back()) contents.push_back(data[device]);
    return Describe(built.back().tree, contents);
  }

  std::vector<Built> built;
  std::vector<std::string> data;
  std::vector<std::vector<std::uint32_t>> devices;
  bool changed = false;
};

struct Row {
  const char* name;
  std::vector<std::string> layers;
  Lines top;            // of the last layer
  bool changed = true;
};

class Fits : public ::testing::TestWithParam<Row> {};

TEST_P(Fits, TheTopLayer) {
  Image image(GetParam().layers);
  const Result<bool> changed = image.FitAll();
  ASSERT_TRUE(changed) << changed.error().Text();
  EXPECT_EQ(*changed, GetParam().changed);
  EXPECT_EQ(image.Top(), GetParam().top);
}

std::string Links30() {
  Builder b;
  b.Symlink("l1", "real").Dir("real").Mode(0711);
  for (int i = 2; i <= 30; ++i) b.Symlink("l" + std::to_string(i), "l" + std::to_string(i - 1));
  return b.Finish();
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Fits,
    ::testing::Values(
        Row{"NothingToDo", {Builder().Dir("a").Mode(0700).Finish(), Builder().Dir("./").Dir("a").File("a/f", "x").Finish()}, {"a/", "a/f=x"}, false},
        Row{"NothingBelow", {Builder().Finish(), Builder().File("a/b/f", "x").Finish()}, {"a/", "a/b/", "a/b/f=x"}, false},
        Row{"SameBelow", {Builder().Dir("a").Finish(), Builder().File("a/f", "x").Finish()}, {"a/", "a/f=x"}, false},
        Row{"AttributesFromBelow",
            {Builder().Dir("a").Mode(01777).Uid(1).Gid(2).Mtime(3).Xattr("user.k", "v").Finish(), Builder().File("a/f", "x").Finish()},
            {"a/ 1777 1:2 @3.000000000 {user.k=v}", "a/f=x"}},
        Row{"AttributesOfTheTopmost",
            {Builder().Dir("a").Mode(0700).Finish(), Builder().Dir("a").Mode(0711).Finish(), Builder().File("a/f").Finish()}, {"a/ 0711", "a/f="}},
        Row{"AttributesThroughAnImpliedOne",
            {Builder().Dir("a").Mode(0700).Finish(), Builder().File("a/g").Finish(), Builder().File("a/f").Finish()}, {"a/ 0700", "a/f="}},
        Row{"RootFromBelow", {Builder().Dir(".").Mode(0711).Finish(), Builder().File("f").Finish()}, {"/ 0711", "f="}},
        Row{"HiddenByAWhiteout",
            {Builder().Dir("a").Mode(0700).Finish(), Builder().File(".wh.a").Finish(), Builder().File("a/f").Finish()}, {"a/", "a/f="}, false},
        Row{"HiddenByAnOpaqueFolder",
            {Builder().Dir("a/b").Mode(0700).Finish(), Builder().Dir("a").File("a/.wh..wh..opq").Finish(), Builder().File("a/b/f").Finish()},
            {"a/", "a/b/", "a/b/f="}, false},
        Row{"OpaqueHereKeepsItsOwnAttributesFromBelow",
            {Builder().Dir("a").Mode(0700).Dir("a/b").Mode(0700).Finish(), Builder().File("a/.wh..wh..opq").File("a/b/f").Finish()},
            {"a/ 0700 opaque", "a/b/", "a/b/f="}},
        Row{"AFileBelowIsReplaced", {Builder().File("a").Finish(), Builder().File("a/f").Finish()}, {"a/", "a/f="}, false},

        Row{"A30_LinkBelow", {Builder().Symlink("s", "/canary").Finish(), Builder().File("s/pwned", "x").Finish()}, {"canary/", "canary/pwned=x"}},
        Row{"A30_LinkThatClimbs", {Builder().Symlink("a/s", "../../../canary").Finish(), Builder().File("a/s/pwned", "x").Finish()},
            {"a/", "canary/", "canary/pwned=x"}},
        Row{"A31_DirectoryOverALink", {Builder().Symlink("s", "/canary").Finish(), Builder().Dir("s").Mode(0777).File("s/pwned", "x").Finish()},
            {"s/ 0777", "s/pwned=x"}, false},
        Row{"A32_WhiteoutBelowALink", {Builder().Symlink("s", "/canary").Finish(), Builder().File("s/.wh.victim").Finish()}, {"canary/", "canary/victim!"}},
        Row{"A33_Bin", {Builder().Dir("usr").Mode(0711).Dir("usr/bin").Mode(0701).Symlink("bin", "usr/bin").Finish(), Builder().File("bin/new", "x").Finish()},
            {"usr/ 0711", "usr/bin/ 0701", "usr/bin/new=x"}},
        Row{"BothNames", {Builder().Dir("usr/bin").Symlink("bin", "usr/bin").Finish(),
                          Builder().File("bin/a", "1").File("usr/bin/a", "2").File("bin/d/x", "3").File("usr/bin/d/y", "4").File("bin/.wh.w").Finish()},
            {"usr/", "usr/bin/", "usr/bin/a=2", "usr/bin/d/", "usr/bin/d/x=3", "usr/bin/d/y=4", "usr/bin/w!"}},
        Row{"WhiteoutOfWhatTheLinkBrings", {Builder().Dir("usr/bin").Symlink("bin", "usr/bin").Finish(),
                          Builder().File("bin/a", "1").File("usr/bin/.wh.a").File("bin/d/x", "2").File("usr/bin/.wh.d").Finish()},
            {"usr/", "usr/bin/", "usr/bin/a=1", "usr/bin/d/ opaque", "usr/bin/d/x=2"}},
        Row{"OpaqueThroughALink", {Builder().Dir("usr/bin").Symlink("bin", "usr/bin").Finish(), Builder().File("bin/.wh..wh..opq").File("bin/x").Finish()},
            {"usr/", "usr/bin/ opaque", "usr/bin/x="}},
        Row{"LinksToLinks", {Links30(), Builder().File("l30/f", "x").Finish()}, {"real/ 0711", "real/f=x"}},
        Row{"LinkOfThisLayerOnTheWay", {Builder().Symlink("a", "b/c").Finish(), Builder().Symlink("b", "real").File("a/f", "x").Finish()},
            {"b->real", "real/", "real/c/", "real/c/f=x"}},
        Row{"LinkBelowALink", {Builder().Dir("real").Symlink("a", "real").Symlink("real/in", "/deep").Finish(), Builder().File("a/in/f", "x").Finish()},
            {"deep/", "deep/f=x", "real/"}},
        Row{"WhereTheLinkLeadsIsHidden", {Builder().Symlink("a", "real").Dir("real").Mode(0700).Finish(), Builder().File(".wh.real").File("a/f", "x").Finish()},
            {"real/ opaque", "real/f=x"}},

        Row{"A42_HardLinkToALowerFile", {Builder().File("etc/file", "low").Mode(0600).Uid(1).Xattr("user.k", "v").Finish(),
                                         Builder().HardLink("h", "/etc/file").Mode(0640).Uid(2).Mtime(5).Finish()},
            {"etc/", "etc/file=>h", "h=low 0640 2:0 @5.000000000 {user.k=v}"}},
        Row{"A48_LowerFileReplacedHere", {Builder().File("a", "low").Finish(), Builder().HardLink("b", "a").File("a", "new").Finish()}, {"a=new", "b=low"}},
        Row{"TwoLinksOneInode", {Builder().File("a", "low").HardLink("a2", "a").Finish(), Builder().HardLink("b", "a").HardLink("c", "a2").HardLink("d", "c").Finish()},
            {"a=>b", "a2=>b", "b=low", "c=>b", "d=>b"}},
        Row{"LinkToALowerLink", {Builder().Symlink("s", "t").Finish(), Builder().HardLink("h", "s").Finish()}, {"h->t", "s=>h"}},
        Row{"LinkThroughALowerLink", {Builder().File("real/f", "low").Symlink("s", "real").Finish(), Builder().HardLink("h", "s/f").Finish()}, {"h=low", "real/", "real/f=>h"}},
        Row{"LinkTwoLayersDown", {Builder().File("a", "low").Finish(), Builder().HardLink("b", "a").Finish(), Builder().HardLink("c", "b").Finish()}, {"b=>c", "c=low"}},
        Row{"FromTwoLayers", {Builder().File("a", "one").Finish(), Builder().File("b", "two").Finish(),
                              Builder().File("c", "own").HardLink("x", "a").HardLink("y", "b").Finish()}, {"a=>x", "b=>y", "c=own", "x=one", "y=two"}},
        Row{"LowerDevice", {Builder().CharDevice("n", 1, 3).Finish(), Builder().HardLink("h", "n").Mode(0600).Finish()}, {"h c1:3 0600", "n=>h"}},
        Row{"LinkToALowerFileInAFolderOfThisLayer",
            {Builder().Dir("d").Mode(0711).Dir("d/e").Mode(0701).File("d/e/f", "low").Finish(), Builder().Dir("d").Mode(0700).HardLink("h", "d/e/f").Finish()},
            {"d/ 0700", "d/e/ 0701", "d/e/f=>h", "h=low"}},
        Row{"LinkToALowerFileThatIsHiddenHere",
            {Builder().File("d/f", "low").File("e", "low").Finish(), Builder().HardLink("h", "d/f").HardLink("i", "e").Dir("d").File("d/.wh..wh..opq").File(".wh.e").Finish()},
            {"d/ opaque", "e!", "h=low", "i=low"}},
        Row{"LinkToALowerFileWhoseFolderIsAFileHere", {Builder().File("d/f", "low").Finish(), Builder().HardLink("h", "d/f").File("d", "x").Finish()}, {"d=x", "h=low"}},
        Row{"LinkWhosePlaceAnotherFileHas",
            {Builder().Dir("a").Symlink("b", "a").Finish(), Builder().File("a/x", "1").HardLink("b/x", "nowhere").Finish()}, {"a/", "a/x=1"}},
        Row{"LinkWhoseSecondNameIsLeft",
            {Builder().Dir("a").Symlink("b", "a").File("f", "low").Finish(), Builder().File("a/x", "1").HardLink("b/x", "f").HardLink("c", "b/x").Finish()},
            {"a/", "a/x=1", "c=low", "f=>c"}}),
    [](const auto& row) { return std::string(row.param.name); });

struct Refusal {
  const char* name;
  std::vector<std::string> layers;
  const char* says;
};

class DoesNotFit : public ::testing::TestWithParam<Refusal> {};

TEST_P(DoesNotFit, TheTopLayer) {
  Image image(GetParam().layers);
  const Result<bool> changed = image.FitAll();
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().reason(), Reason::kInvalidLayer);
  EXPECT_THAT(changed.error().Text(), ::testing::HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, DoesNotFit,
    ::testing::Values(Refusal{"A41_Canary", {Builder().HardLink("h", "/canary/secret").Finish()}, "no layer below"},
                      Refusal{"A43_ThroughALink", {Builder().Finish(), Builder().Symlink("s", "/canary").HardLink("h", "s/secret").Finish()}, "no layer below"},
                      Refusal{"A46_WorkingDirectory", {Builder().Finish(), Builder().HardLink("h", "CMakeCache.txt").Finish()}, "no layer below"},
                      Refusal{"A47_LaterEntry", {Builder().HardLink("h", "f").File("f").Finish()}, "no layer below"},
                      Refusal{"A47_Directory", {Builder().Dir("d").Finish(), Builder().HardLink("h", "d").Finish()}, "directory"},
                      Refusal{"BelowAFile", {Builder().File("f").Finish(), Builder().HardLink("h", "f/x").Finish()}, "no layer below"},
                      Refusal{"WhitedOut", {Builder().File("f").Finish(), Builder().File(".wh.f").Finish(), Builder().HardLink("h", "f").Finish()}, "no layer below"},
                      Refusal{"LoopBelow", {Builder().Symlink("a", "b").Symlink("b", "a").Finish(), Builder().File("a/x").Finish()}, "loop"},
                      Refusal{"SelfBelow", {Builder().Symlink("a", "a").Finish(), Builder().File("a/x").Finish()}, "loop"},
                      Refusal{"LoopForAHardLink", {Builder().Symlink("a", "a").Finish(), Builder().HardLink("h", "a/x").Finish()}, "loop"},
                      Refusal{"ToAMarker", {Builder().Symlink("a", ".wh.x/y").Finish(), Builder().File("a/x").Finish()}, "reserved"},
                      Refusal{"LinkToAFile", {Builder().File("f").Symlink("a", "f").Finish(), Builder().File("a/x").Finish()}, "not a directory"}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Fixups, ThereAndBack) {
  MemorySink sink;
  auto built = testing::Build(Builder().File("a/b/f").HardLink("z", "low/1").HardLink("a/y", "low/2").HardLink("c", "z").File("z").Finish(), sink);
  ASSERT_TRUE(built) << built.error().Text();
  ASSERT_EQ(built->fixups.implied.size(), 3u);
  ASSERT_EQ(built->fixups.links.size(), 2u);
  const std::string text = EncodeFixups(built->fixups, built->tree, erofs::ChildrenByName(built->tree));
  const auto again = DecodeFixups(bytes::AsView(text), built->tree);
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(*again, built->fixups);
  for (std::size_t cut = 1; cut < text.size(); ++cut) EXPECT_FALSE(DecodeFixups(bytes::AsView(text).first(cut), built->tree)) << cut;
  for (std::size_t at = 0; at < text.size(); ++at) {  // whatever is read again is written the same way
    std::string other = text;
    other[at] = static_cast<char>(other[at] ^ 1);
    const auto odd = DecodeFixups(bytes::AsView(other), built->tree);
    if (odd) {
      EXPECT_EQ(EncodeFixups(*odd, built->tree, erofs::ChildrenByName(built->tree)), other);
    }
  }
}

}  // namespace
}  // namespace berth::layer
