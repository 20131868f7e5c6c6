// Rows beside which stands (k) are what kubectl 1.33 prints of the same document.
#include "apps/berth/json_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::cli {
namespace {

using ::testing::HasSubstr;

const char* const kDocument = R"({"s":"text","n":7,"f":1.5,"big":91226112,"bf":123456789.5,"t":true,"z":null,"e":[],"o":{"b":2,"a":1},
  "items":[{"name":"a","k":[1,2,3]},{"name":"b","k":[]},{"name":"c","k":[9]}],"m":{"x/y.z":"dotted","q\"r":"quo"},
  "deep":{"name":"d","list":[{"name":"x)y"}]}})";

Result<std::string> Print(std::string_view source, std::uint64_t work = kTemplateWork) {
  const auto document = json::Document::Parse(kDocument, Reason::kInternal);
  const json::Tree tree(document->root());
  ASSIGN_OR_RETURN(const JsonPath path, JsonPath::Parse(source));
  return path.Print(tree, work);
}

struct Row { std::string source, want; };
void PrintTo(const Row& row, std::ostream* out) { *out << row.source; }
class Paths : public ::testing::TestWithParam<Row> {};
TEST_P(Paths, Print) {
  const auto got = Print(GetParam().source);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(*got, GetParam().want) << GetParam().source;
}
INSTANTIATE_TEST_SUITE_P(
    Scalars, Paths,
    ::testing::Values(Row{"", ""}, Row{"plain .s", "plain .s"}, Row{"{.s}", "text"} /*k*/, Row{"{ .s }", "text"}, Row{"{$.s}", "text"}, Row{"{.n} {.f} {.t}", "7 1.5 true"} /*k*/,
                      Row{"{.big} {.bf}", "91226112 1.234567895e+08"} /*k*/, Row{"[{.z}]", "[null]"} /*k*/, Row{"{.e}{.o}", R"([]{"a":1,"b":2})"} /*k*/,
                      Row{"{.missing}|{.missing.x}|{.s.x}|{.z.x}", "|||"} /*k*/, Row{"}{.s}", "}text"} /*k*/, Row{"{.s .x}", ""}, Row{"{.o .a}", "1"},
                      Row{"{5} {-5.5} {true}", "5 -5.5 true"} /*k*/, Row{"a{.n}b{.n}c", "a7b7c"}, Row{"\xc3\xa9{.n}", "\xc3\xa9" "7"}));
INSTANTIATE_TEST_SUITE_P(
    Steps, Paths,
    ::testing::Values(Row{"{.items[*].name}", "a b c"} /*k*/, Row{"{.items[0].name}", "a"}, Row{"{.items[-1].name}", "c"} /*k*/, Row{"{.items[-1:].name}", "c"} /*k*/,
                      Row{"{.items[0:2].name}", "a b"} /*k*/, Row{"{.items[::2].name}", "a c"} /*k*/, Row{"{.items[1:1].name}", ""} /*k*/, Row{"{.items[1:9].name}", "b c"},
                      Row{"{.items[-2:].name}", "b c"}, Row{"{.items[2:1].name}", ""}, Row{"{.items[ 0 ].name}", "a"}, Row{"{.items [1].name}", "b"} /*k*/,
                      Row{"{.items[0:9223372036854775807:9223372036854775807].name}", "a"}, Row{"{.items[-9223372036854775807:].name}", "a b c"},
                      Row{"{.items.name}", ""} /*k*/, Row{"{.items[*].k[*]}", "1 2 3 9"}, Row{"{.items[0,2].name}", "a c"} /*k*/, Row{"{.o.*}", "1 2"} /*k*/, Row{"{.o[*]}", "1 2"},
                      Row{"{.items[*]['name','k']}", "a b c [1,2,3] [] [9]"} /*k*/, Row{"{.items[*][\"name\"]}", "a b c"}, Row{"{['s']}", "text"},
                      Row{"{.m['x/y\\.z']}", "dotted"} /*k*/, Row{"{.m.x/y\\.z}", "dotted"}, Row{"{['o.b']}", "2"} /*k: a path*/, Row{"{.o['*']}", "1 2"},
                      Row{"{..name}", "d x)y a b c"}, Row{"{.items..k}", "[1,2,3] [] [9]"} /*k*/, Row{"{..k[0]}", "1 9"}, Row{"{.o..*}", "1 2"}, Row{"{.items[1]name}", "b"}));
INSTANTIATE_TEST_SUITE_P(
    Filters, Paths,
    ::testing::Values(Row{"{.items[?(@.name==\"b\")].k}", "[]"} /*k*/, Row{"{.items[?(@.name=='b')].name}", "b"} /*k*/, Row{"{.items[?( @.name == 'b' )].name}", "b"},
                      Row{"{.items[?(.name=='b')].name}", "b"} /*k*/, Row{"{.items[?(@.name!=\"b\")].name}", "a c"} /*k*/, Row{"{.items[?(@.name>\"a\")].name}", "b c"} /*k*/,
                      Row{"{.items[?(@.name<='b')].name}", "a b"}, Row{"{.items[?(@.name>='b')].name}", "b c"}, Row{"{.items[?(@.name<'b')].name}", "a"},
                      Row{"{.items[0].k[?(@>1)]}", "2 3"} /*k*/, Row{"{.items[0].k[?(@ >= 2.5)]}", "3"}, Row{"{.items[?(@.k[0]==1.0)].name}", "a"},
                      Row{"{.items[?(@.nope)].name}", ""}, Row{"{.items[?(@.nope=='x')].name}", ""} /*k*/, Row{"{.items[?(@.nope!='x')].name}", ""},
                      Row{"{.items[?(@.k[0])].name}", "a c"}, Row{"{.items[?(@.k)].name}", "a b c"} /*k*/, Row{"{..[?(@.name=='x)y')].name}", "x)y"}, Row{"{..k[?(@==9)]}", "9"} /*k*/,
                      Row{"{.items[?(@.name==\"b\" || @.name==\"c\")].name}", "b c"}, Row{"{.items[?(@.name>'a' && @.k[0]==9)].name}", "c"},
                      Row{"{.items[?(@.name==$.items[1].name)].name}", "b"}, Row{"{.items[?(@.name==null)].name}", ""}, Row{"{.items[?(@.name!=null)].name}", "a b c"},
                      Row{"{.z[?(@.x)]}", ""}, Row{"{.items[?(@.k[?(@==9)])].name}", "c"}, Row{"{.items[?(@.name)]..k}", "[1,2,3] [] [9]"} /*k*/));
INSTANTIATE_TEST_SUITE_P(
    Loops, Paths,
    ::testing::Values(Row{R"({range .items[*]}{.name}{"\t"}{.k}{"\n"}{end})", "a\t[1,2,3]\nb\t[]\nc\t[9]\n"} /*k*/,
                      Row{"{range .items[*]}[{.name}:{range .k[*]}{@},{end}]{end}!", "[a:1,2,3,][b:][c:9,]!"} /*k*/, Row{"{range .missing[*]}x{end}y", "y"} /*k*/,
                      Row{"{range .items[?(@.k[0])]}{.name} {end}", "a c "}, Row{"{range .items}x{.name}{end}", "x"} /*k*/, Row{"{range .items[*]}{$.n}{end}", "777"},
                      Row{"{range .o.*}{@};{end}", "1;2;"}, Row{R"({"a\tb\x41\u00e9\101"})", "a\tbA\xc3\xa9" "A"} /*k*/, Row{"{'a\\'b'}", "a'b"} /*k*/, Row{"{\"{\"}", "{"}, Row{"{'\"'}", "\""}));

struct Bad { std::string source, says; };
void PrintTo(const Bad& row, std::ostream* out) { *out << row.source; }
class BadPaths : public ::testing::TestWithParam<Bad> {};
TEST_P(BadPaths, SayWhereAndWhatToDo) {
  const auto got = Print(GetParam().source);
  ASSERT_FALSE(got) << *got;
  EXPECT_EQ(got.error().reason(), Reason::kUsage);
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
  EXPECT_FALSE(got.error().next_step().empty());
}
INSTANTIATE_TEST_SUITE_P(
    Table, BadPaths,
    ::testing::Values(Bad{"{.s", "jsonpath, column 1: this { is never closed"}, Bad{"\xc3\xa9\xc3\xa9{foo}", "jsonpath, column 4: there is no word \"foo\""},
                      Bad{"a\nb{foo}", "jsonpath, line 2, column 3: "}, Bad{"{.items[9].name}", "column 8: there is no item 9 in a list of 3"} /*k*/,
                      Bad{"{.items[-4].name}", "there is no item -4"} /*k*/, Bad{"{.items[*].k[0]}", "there is no item 0 in a list of 0"} /*k*/, Bad{"{.s[0]}", "column 4: this is a string, not a list"} /*k*/,
                      Bad{"{.o[0]}", "this is a map"} /*k*/, Bad{"{.o[?(@.a)]}", "this is a map"}, Bad{"{.items[]}", "no index"}, Bad{"{.items[x]}", "no index"} /*k*/,
                      Bad{"{.items[0}", "a ] is wanted"}, Bad{"{.items[0:1:0]}", "at least 1"} /*k*/, Bad{"{.items[99999999999999999999]}", "no index"}, Bad{"{.items['a]}", "does not end"},
                      Bad{"{end}", "{end} without"} /*k*/, Bad{"{range .items[*]}x", "column 2: {range …} without its {end}"}, Bad{"{....name}", "\"..\" follows another"},
                      Bad{"{\"x}", "does not end"}, Bad{"{\"\\y\"}", "means nothing"}, Bad{"{.s \"x\"}", "stands alone"}, Bad{"{.s}{\"x\" .s}", "not expected"}, Bad{"{5x}", "no number"},
                      Bad{"{.items[?(@.name=='b'].name}", "not closed"}, Bad{"{.items[?(@.name=~'b')]}", "no such operator"}, Bad{"{.items[?(@.name)}", "] is wanted"},
                      Bad{"{.items[?(@.name===1)]}", "no such operator"}, Bad{"{.items[?()]}", "a value is wanted"}, Bad{"{.items[?(@.name==5)]}", "a string cannot be compared with a number"} /*k*/,
                      Bad{"{.items[?(@.k==1)]}", "a list cannot be compared"}, Bad{"{.items[?(@.k[*]>1)]}", "values cannot be compared at once"}, Bad{"{.s%}{", "never closed"},
                      Bad{std::string(65537, 'x'), "more than 64 KiB"}));

TEST(Bounds, OfNesting) {
  std::string loops, filters = "{.items";
  for (int i = 0; i < 200; ++i) loops += "{range .items[*]}", filters += "[?(@.k";
  EXPECT_THAT(Print(loops).error().Text(), HasSubstr("nest too deep"));
  EXPECT_THAT(Print(filters).error().Text(), HasSubstr("nest too deep"));
}
TEST(Bounds, OfWork) {
  std::string loops;
  for (int i = 0; i < 30; ++i) loops += "{range $.items[*]}";
  loops += "x";
  for (int i = 0; i < 30; ++i) loops += "{end}";
  EXPECT_THAT(Print(loops, 100'000).error().Text(), HasSubstr("too much"));
}

}  // namespace
}  // namespace berth::cli
