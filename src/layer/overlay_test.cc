#include "layer/overlay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "layer/testing/tree_text.h"
#include "layer/unpacker.h"
#include "tar/testing/tar_builder.h"

namespace berth::layer {
namespace {

using tar::testing::Builder;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Paths = std::vector<std::string>;

struct Case {
  const char* name;
  std::string archive;
  Paths origin, opaque;
};
class MarkedDirectories : public ::testing::TestWithParam<Case> {};

TEST_P(MarkedDirectories, AreThoseThatHoldWhiteouts) {
  testing::MemorySink sink;
  Result<Built> built = testing::Build(GetParam().archive, sink, {}, {}, 0);
  ASSERT_TRUE(built) << built.error().Text();
  for (int round = 0; round < 2; ++round) {  // the second changes nothing
    ASSERT_TRUE(MakeImage(built->tree, erofs::ChildrenByName(built->tree), digest::Digest::Of({}), {4096}));
    const Result<Marks> marks = MarksOf(built->tree);
    ASSERT_TRUE(marks) << marks.error().Text();
    EXPECT_EQ(marks->origin, GetParam().origin);
    EXPECT_EQ(marks->opaque, GetParam().opaque);
  }
  for (const erofs::Node& n : built->tree.nodes) {
    EXPECT_LE(n.xattrs ? n.xattrs->size() : 0u, 2u);
    EXPECT_TRUE(!n.xattrs || S_ISDIR(n.mode));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, MarkedDirectories,
    ::testing::Values(Case{"None", Builder().Dir("d").File("d/f", "x").CharDevice("null", 1, 3).Finish()},
                      Case{"Root", Builder().File(".wh.a").Finish(), {""}},
                      Case{"ImpliedFolder", Builder().File("a/b/.wh.c").File("z/.wh.y").Finish(), {"a/b", "z"}},
                      Case{"OnlyWhereNothingTookItsPlace", Builder().File("a/.wh.b").File("a/b", "x").Dir("c").File(".wh.c").Finish(), {}, {"c"}},
                      Case{"OpaqueToo", Builder().File("a/.wh..wh..opq").File("a/.wh.b").Finish(), {"a"}, {"a"}},
                      Case{"NotWhatWasReplaced", Builder().File("a/.wh.b").File("a", "x").File("c/.wh.d").Finish(), {"c"}},
                      Case{"ThroughALink", Builder().Symlink("s", "/t").File("s/.wh.v").Finish(), {"t"}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Marks, HaveALimit) {
  erofs::Tree tree;
  tree.nodes.emplace_back().mode = S_IFDIR | 0755;
  const auto add = [&](std::uint32_t parent, std::uint32_t mode) {
    erofs::Node& n = tree.nodes.emplace_back();
    n.name = std::string(200, 'n') + std::to_string(tree.nodes.size());
    n.parent = parent;
    n.mode = static_cast<std::uint16_t>(mode);
  };
  for (std::size_t paths = 0; paths <= kMarkBytes; paths += 200 + kMarkBytesEach) {
    add(0, S_IFDIR | 0755);
    add(static_cast<std::uint32_t>(tree.nodes.size() - 1), S_IFCHR);
  }
  EXPECT_THAT(MarksOf(tree)->origin, IsEmpty());
  MarkWhiteouts(tree);
  const Result<Marks> marks = MarksOf(tree);
  ASSERT_FALSE(marks);
  EXPECT_EQ(marks.error().reason(), Reason::kLimitExceeded);
}

}  // namespace
}  // namespace berth::layer
