#include "json/patch.h"

#include <gtest/gtest.h>

#include "json/pointer.h"

namespace berth::json {
namespace {

Tree Read(const std::string& text) { return Tree(Document::Parse(text, Reason::kUsage)->root()); }

TEST(JsonPointer, TokensAreReadAsTheyAreWritten) {
  for (const char* key : {"", "a", "a/b", "~", "~1", "/~0"}) EXPECT_EQ(ParsePointer("/" + PointerToken(key)), Pointer{key}) << key;
  EXPECT_EQ(ParsePointer(""), Pointer());
  for (const char* bad : {"a", "/~", "/~2", "/a~"}) EXPECT_FALSE(ParsePointer(bad)) << bad;
}

struct Row {
  std::string name, before, patch, after;  // after "": refused
};
std::ostream& operator<<(std::ostream& out, const Row& r) { return out << r.name; }
class JsonPatch : public ::testing::TestWithParam<Row> {};
TEST_P(JsonPatch, Rfc6902) {
  const Row& row = GetParam();
  Tree tree = Read(row.before);
  const auto patch = Document::Parse(row.patch, Reason::kUsage);
  ASSERT_TRUE(patch);
  const auto applied = ApplyPatch(tree, patch->root());
  EXPECT_EQ(applied.has_value(), !row.after.empty()) << (applied ? "" : applied.error().Text());
  EXPECT_EQ(tree.Dump(), row.after.empty() ? Read(row.before).Dump() : row.after) << "after a refusal nothing has changed";
}
INSTANTIATE_TEST_SUITE_P(
    All, JsonPatch,
    ::testing::Values(
        Row{"add_member", R"({"a":1})", R"([{"op":"add","path":"/b","value":2}])", R"({"a":1,"b":2})"},
        Row{"add_item", R"({"a":[1,3]})", R"([{"op":"add","path":"/a/1","value":2}])", R"({"a":[1,2,3]})"},
        Row{"append", R"({"a":[1]})", R"([{"op":"add","path":"/a/-","value":[2]}])", R"({"a":[1,[2]]})"},
        Row{"add_whole", R"({"a":1})", R"([{"op":"add","path":"","value":{"b":1}}])", R"({"b":1})"},
        Row{"add_beyond", R"({"a":[1]})", R"([{"op":"add","path":"/a/3","value":2}])", ""},
        Row{"add_nowhere", R"({})", R"([{"op":"add","path":"/a/b","value":2}])", ""},
        Row{"remove", R"({"a":1,"b":[1,2]})", R"([{"op":"remove","path":"/a"},{"op":"remove","path":"/b/0"}])", R"({"b":[2]})"},
        Row{"remove_nothing", R"({})", R"([{"op":"remove","path":"/a"}])", ""},
        Row{"replace", R"({"a":1})", R"([{"op":"replace","path":"/a","value":null}])", R"({"a":null})"},
        Row{"replace_nothing", R"({})", R"([{"op":"replace","path":"/a","value":1}])", ""},
        Row{"move", R"({"a":{"b":1},"c":{}})", R"([{"op":"move","from":"/a/b","path":"/c/d"}])", R"({"a":{},"c":{"d":1}})"},
        Row{"move_to_itself", R"({"a":1})", R"([{"op":"move","from":"/a","path":"/a"}])", R"({"a":1})"},
        Row{"move_into_itself", R"({"a":{"b":{}}})", R"([{"op":"move","from":"/a","path":"/a/b/c"}])", ""},
        Row{"move_item", R"({"a":[1,2,3]})", R"([{"op":"move","from":"/a/0","path":"/a/2"}])", R"({"a":[2,3,1]})"},
        Row{"copy", R"({"a":[1]})", R"([{"op":"copy","from":"/a","path":"/b"}])", R"({"a":[1],"b":[1]})"},
        Row{"test", R"({"a":[1]})", R"([{"op":"test","path":"/a","value":[1]}])", R"({"a":[1]})"},
        Row{"test_fails", R"({"a":1})", R"([{"op":"replace","path":"/a","value":2},{"op":"test","path":"/a","value":1}])", ""},
        Row{"escapes", R"({"a/b":1,"m~n":2})", R"([{"op":"replace","path":"/a~1b","value":3},{"op":"remove","path":"/m~0n"}])", R"({"a/b":3})"},
        Row{"bad_escape", R"({"~":1})", R"([{"op":"remove","path":"/~2"}])", ""}, Row{"no_slash", R"({"a":1})", R"([{"op":"remove","path":"a"}])", ""},
        Row{"leading_zero", R"({"a":[1,2]})", R"([{"op":"remove","path":"/a/01"}])", ""}, Row{"no_value", R"({})", R"([{"op":"add","path":"/a"}])", ""},
        Row{"no_op", R"({})", R"([{"path":"/a"}])", ""}, Row{"odd_op", R"({})", R"([{"op":"merge","path":"/a"}])", ""},
        Row{"no_array", R"({})", R"({"op":"add"})", ""}, Row{"scalar_step", R"({})", "[1]", ""}),
    [](const auto& row) { return row.param.name; });

// Each step makes a value as deep again: twenty of them would be deeper than any stack.
TEST(JsonPatch, MakesNothingDeeperThanWhatIsRead) {
  Tree tree = Read(R"({"x":{},"y":1})");
  std::string steps, path = "/x/a";
  for (int i = 0; i < 20; ++i, path += path.substr(2)) steps += std::string(i == 0 ? "[" : ",") + R"({"op":"copy","from":"/x","path":")" + path + "\"}";
  const auto bomb = Document::Parse(steps + "]", Reason::kUsage);
  ASSERT_TRUE(bomb);
  const auto applied = ApplyPatch(tree, bomb->root());
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().reason(), Reason::kLimitExceeded);
  EXPECT_EQ(tree.Dump(), R"({"x":{},"y":1})");
  for (const char* step : {R"([{"op":"add","path":"/x/a","value":[[]]}])", R"([{"op":"replace","path":"/y","value":[[[]]]}])",
                           R"([{"op":"add","path":"/z","value":[[]]},{"op":"move","from":"/z","path":"/x/a"}])"}) {
    const auto patch = Document::Parse(step, Reason::kUsage);
    EXPECT_FALSE(ApplyPatch(tree, patch->root(), {.depth = 3})) << step;
    EXPECT_TRUE(ApplyPatch(tree, patch->root(), {.depth = 4})) << step;
    tree = Read(R"({"x":{},"y":1})");
  }
}

TEST(JsonPatch, HasLimits) {
  Tree tree = Read(R"({"a":"0123456789"})");
  const auto bomb = Document::Parse(
      R"([{"op":"copy","from":"","path":"/b"},{"op":"copy","from":"","path":"/c"},{"op":"copy","from":"","path":"/d"}])",
      Reason::kUsage);
  const auto applied = ApplyPatch(tree, bomb->root(), {.operations = 10, .copied = 60});
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().reason(), Reason::kLimitExceeded);
  EXPECT_FALSE(ApplyPatch(tree, bomb->root(), {.operations = 2, .copied = 1000}));
  EXPECT_TRUE(ApplyPatch(tree, bomb->root(), {.operations = 3, .copied = 1000}));
}

}  // namespace
}  // namespace berth::json
