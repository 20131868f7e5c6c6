#include "json/tree.h"

#include <gtest/gtest.h>

#include <ostream>

namespace berth::json {
namespace {

Tree Read(std::string_view text) {
  const auto document = Document::Parse(text, Reason::kUsage);
  EXPECT_TRUE(document) << text;
  return Tree(document->root());
}

TEST(Tree, KeepsWhatItRead) {
  for (const char* text : {"null", "true", "1.50", "18446744073709551616", "\"a\\nb\"", "[]", "{}", R"({"a":[1,{"b":null}],"c":"é"})"})
    EXPECT_EQ(Read(text).Dump(), text);
  EXPECT_EQ(Read(R"({"b":1,"a":2})").Dump(), R"({"a":2,"b":1})");
}

TEST(Tree, Changes) {
  Tree t;
  t["b"]["c"] = Tree("x");
  t["a"].Append(Tree(1));
  t["a"].Append(Tree(true));
  EXPECT_EQ(t.Dump(), R"({"a":[1,true],"b":{"c":"x"}})");
  EXPECT_EQ(t.Find("b")->Text("c"), "x");
  EXPECT_EQ(t.Text("a"), "");
  EXPECT_EQ(t.Find("d"), nullptr);
  EXPECT_TRUE(t.Erase("a"));
  EXPECT_FALSE(t.Erase("a"));
  EXPECT_EQ(t, Read(R"({"b":{"c":"x"}})"));
  EXPECT_FALSE(t == Read(R"({"b":{"c":"y"}})"));
}

struct Patch {
  const char *target, *patch, *result;
};
void PrintTo(const Patch& p, std::ostream* out) { *out << p.target << " + " << p.patch; }
class MergePatches : public ::testing::TestWithParam<Patch> {};
TEST_P(MergePatches, OfTheRfc) {
  Tree target = Read(GetParam().target);
  MergePatch(target, Read(GetParam().patch));
  EXPECT_EQ(target.Dump(), GetParam().result);
}
// RFC 7386, appendix A.
INSTANTIATE_TEST_SUITE_P(
    Rows, MergePatches,
    ::testing::Values(Patch{R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"}, Patch{R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
                      Patch{R"({"a":"b"})", R"({"a":null})", "{}"}, Patch{R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
                      Patch{R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"}, Patch{R"({"a":"c"})", R"({"a":["b"]})", R"({"a":["b"]})"},
                      Patch{R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
                      Patch{R"({"a":[{"b":"c"}]})", R"({"a":[1]})", R"({"a":[1]})"}, Patch{R"(["a","b"])", R"(["c","d"])", R"(["c","d"])"},
                      Patch{R"({"a":"b"})", R"(["c"])", R"(["c"])"}, Patch{R"({"a":"foo"})", "null", "null"}, Patch{R"({"a":"foo"})", R"("bar")", R"("bar")"},
                      Patch{R"({"e":null})", R"({"a":1})", R"({"a":1,"e":null})"}, Patch{"[1,2]", R"({"a":"b","c":null})", R"({"a":"b"})"},
                      Patch{"{}", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"}));

}  // namespace
}  // namespace berth::json
