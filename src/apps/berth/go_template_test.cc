// Rows beside which stands (k) are what Go's text/template prints (in kubectl 1.33, of the same document).
#include "apps/berth/go_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::cli {
namespace {

using ::testing::HasSubstr;

const char* const kDocument = R"({"s":"text","n":7,"f":1.5,"big":91226112,"bf":123456789.5,"t":true,"z":null,"e":[],"o":{"b":2,"a":1},
  "items":[{"name":"a","k":[1,2,3]},{"name":"b","k":[]},{"name":"c","k":[9]}],"m":{"a-b":"dashed"}})";

Result<std::string> Print(std::string_view source, std::uint64_t work = kTemplateWork) {
  const auto document = json::Document::Parse(kDocument, Reason::kInternal);
  const json::Tree tree(document->root());
  ASSIGN_OR_RETURN(const GoTemplate parsed, GoTemplate::Parse(source));
  return parsed.Print(tree, work);
}

struct Row { std::string source, want; };
void PrintTo(const Row& row, std::ostream* out) { *out << row.source; }
class Templates : public ::testing::TestWithParam<Row> {};
TEST_P(Templates, Print) {
  const auto got = Print(GetParam().source);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(*got, GetParam().want) << GetParam().source;
}
INSTANTIATE_TEST_SUITE_P(
    Values, Templates,
    ::testing::Values(Row{"", ""}, Row{"plain } {", "plain } {"}, Row{"{{.s}} {{.n}} {{.big}} {{.f}} {{.t}} {{.z}}", "text 7 91226112 1.5 true <no value>"} /*k*/,
                      Row{"{{.bf}}", "1.234567895e+08"} /*k*/, Row{"{{.e}} {{.o}}", R"([] {"a":1,"b":2})"}, Row{"{{.missing}} {{.missing.x}}", "<no value> <no value>"} /*k*/,
                      Row{"{{.z.x}}", "<no value>"}, Row{"{{$.s}}{{ .s }}{{\n.s\n}}", "texttexttext"}, Row{"{{(index .items 0).name}}", "a"} /*k*/, Row{"{{.o.a}}", "1"},
                      Row{"{{`raw\\t`}} {{'a'}} {{0x1F}} {{1.5e3}} {{true}} {{-3}} {{.5}}", "raw\\t 97 31 1500 true -3 0.5"} /*k*/, Row{"{{\"a\\tb\\u00e9\"}}", "a\tb\xc3\xa9"},
                      Row{"{{'\\n'}} {{'\xc3\xa9'}}", "10 233"}, Row{"x  {{- \" y \" -}}  z", "x y z"} /*k*/, Row{"{{/* c */}}x {{- /* c */ -}} y", "xy"} /*k*/,
                      Row{"a {{- .n}} b", "a7 b"}, Row{"a {{.n -}}\n\t b", "a 7b"}, Row{"{{-3}}", "-3"}, Row{"{{\"}}\"}}", "}}"}));
INSTANTIATE_TEST_SUITE_P(
    Control, Templates,
    ::testing::Values(Row{"{{range .items}}{{.name}},{{end}}", "a,b,c,"} /*k*/, Row{"{{range $i, $e := .items}}{{$i}}={{$e.name}};{{end}}", "0=a;1=b;2=c;"} /*k*/,
                      Row{"{{range $e := .items}}{{$e.name}}{{.name}}{{end}}", "aabbcc"}, Row{"{{range $k, $v := .o}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"} /*k*/,
                      Row{"{{range .e}}x{{else}}none{{end}}", "none"} /*k*/, Row{"{{range .missing}}x{{else}}none{{end}}", "none"} /*k*/, Row{"{{range .z}}x{{end}}", ""},
                      Row{"{{range .items}}{{range .k}}{{.}}{{$.n}} {{end}}{{end}}", "17 27 37 97 "}, Row{"{{range .items}}{{if eq .name \"b\"}}{{continue}}{{end}}{{.name}}{{end}}", "ac"} /*k*/,
                      Row{"{{range .items}}{{if eq .name \"b\"}}{{break}}{{end}}{{.name}}{{end}}", "a"} /*k*/, Row{"{{with .missing}}x{{else}}no{{end}}", "no"} /*k*/,
                      Row{"{{with .o}}{{.a}}{{end}}{{with $x := .o}}{{$x.b}}{{.a}}{{end}}", "121"}, Row{"{{if and .s .missing}}a{{else if .t}}b{{else}}c{{end}}", "b"} /*k*/,
                      Row{"{{if .z}}a{{else if .e}}b{{else if .o}}c{{else}}d{{end}}!", "c!"}, Row{"{{if .n}}y{{end}}{{if 0}}n{{end}}{{if \"\"}}n{{end}}{{if 0.0}}n{{end}}{{if .f}}y{{end}}", "yy"},
                      Row{"{{with .z}}a{{else with .o}}{{.a}}{{else}}c{{end}}", "1"}, Row{"{{$x := .s}}{{$x}}{{$x = \"n\"}}{{$x}}", "textn"} /*k*/, Row{"{{if $y := .s}}{{$y}}{{end}}", "text"} /*k*/,
                      Row{"{{$n := 0}}{{range .items}}{{$n = .name}}{{end}}{{$n}}", "c"}, Row{"{{$x := 1}}{{if .t}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"},
                      Row{"{{range .items}}{{$n := len .k}}{{$n}}{{end}}", "301"},
                      // What the pipeline declares is known in both lists; before the first element it is what the range goes over.
                      Row{"{{if $y := .z}}a{{else}}{{$y}}{{end}}", "<no value>"}, Row{"{{with $y := .e}}a{{else}}{{$y}}{{end}}", "[]"},
                      Row{"{{if $y := .z}}a{{else if $x := .s}}{{$y}}{{$x}}{{end}}", "<no value>text"},
                      Row{"{{range $i, $e := .e}}x{{else}}{{$i}}{{$e}}{{end}}", "[][]"}, Row{"{{range $e := .missing}}x{{else}}{{$e}}{{end}}", "<no value>"},
                      Row{"{{$e := 1}}{{range $e = .e}}x{{else}}{{$e}}{{end}}{{$e}}", "[][]"}, Row{"{{$e := 1}}{{range $e := .e}}x{{else}}{{$e}}{{end}}{{$e}}", "[]1"},
                      Row{"{{$y := 1}}{{if .z}}{{$y := 2}}{{else}}{{$y}}{{end}}", "1"}, Row{"{{$y := 1}}{{if .s}}{{$y := 2}}{{else}}{{$y}}{{end}}{{$y}}", "1"}));
INSTANTIATE_TEST_SUITE_P(
    Functions, Templates,
    ::testing::Values(Row{"{{len .items}} {{len .s}} {{len .o}}", "3 4 2"} /*k*/, Row{"{{index .items 1 \"name\"}} {{index .o \"zz\"}} {{index .m \"a-b\"}}", "b <no value> dashed"} /*k*/,
                      Row{"{{index .items}}{{index .z 1}}", R"([{"k":[1,2,3],"name":"a"},{"k":[],"name":"b"},{"k":[9],"name":"c"}]<no value>)"},
                      Row{"{{eq .s \"text\"}} {{eq .s \"x\" \"text\"}} {{ne .s \"x\"}} {{lt \"a\" \"b\"}} {{eq .missing \"x\"}} {{eq 1 1}}", "true true true true false true"} /*k*/,
                      Row{"{{eq .n 7}} {{eq .n 7.0}} {{le .n 7}} {{ge .n 8}} {{gt .f 1}} {{eq .z nil}} {{ne .z \"\"}} {{eq true .t}}", "true true true false true true true true"},
                      Row{"{{not .t}} {{or .missing \"d\"}} {{and 1 0 2}} {{or 0 \"\"}}|", "false d 0 |"} /*k*/, Row{"{{or .s (index .items 99)}}", "text"},
                      Row{"{{\"quoted\\t\" | printf \"%s-%s\" \"a\"}}", "a-quoted\t"} /*k*/, Row{"{{.s | len | printf \"%03d\"}}", "004"}, Row{"{{.items | len}}", "3"},
                      Row{"{{print \"a\" \"b\" 1 2 \"c\" 3}}|{{println \"a\" 1}}", "ab1 2c3|a 1\n"} /*k*/, Row{"{{print nil}}{{println}}", "<nil>\n"},
                      Row{"{{json .o}} {{json .s}} {{json .z}} {{json .f}} {{.items | json}}", R"({"a":1,"b":2} "text" null 1.5 [{"k":[1,2,3],"name":"a"},{"k":[],"name":"b"},{"k":[9],"name":"c"}])"},
                      Row{"{{printf (print \"%\" \"s\") (index .items 0).name}}", "a"}));
INSTANTIATE_TEST_SUITE_P(
    Printf, Templates,
    ::testing::Values(Row{"{{printf \"%s|%5s|%-5s|%q|%v|%d\" .s .s .s .s .s .s}}", "text| text|text |\"text\"|text|%!d(string=text)"} /*k*/,
                      Row{"{{printf \"%d %d %5.2f %x %t %v %s\" 3 .n .f 255 .t .z .z}}", "3 7  1.50 ff true <nil> %!s(<nil>)"} /*k*/,
                      Row{"{{printf \"%s\" }}{{printf \"a\" 1 \"b\"}}", "%!s(MISSING)a%!(EXTRA int=1, string=b)"} /*k*/,
                      Row{"{{printf \"%05d|%+d|%x|%X|%c|%U|%o|%b|%e|%g|%T|%%\" 42 42 \"hi\" \"hi\" 65 65 8 5 1.5 1e21 .s}}", "00042|+42|6869|6869|A|U+0041|10|101|1.500000e+00|1e+21|string|%"} /*k*/,
                      Row{"{{printf \"%6.2f|%-8v|%8v|%08.3f|%.2s|%q\" 3.14159 true \"\xc3\xa9\" 3.14159 \"h\xc3\xa9llo\" 65}}", "  3.14|true    |       \xc3\xa9|0003.142|h\xc3\xa9|'A'"},
                      Row{"{{printf \"%.1f %f\" .n .n}} {{printf \"%-6d|%06d|% d\" -7 -7 7}}", "7.0 7.000000 -7    |-00007| 7"}, Row{"{{printf \"%v %s\" .o .e}}", R"({"a":1,"b":2} [])"},
                      Row{"{{printf \"%z %t\" 1 2}}{{printf \"%\"}}", "%!z(int=1) %!t(int=2)%!(NOVERB)"}, Row{"{{printf \"%#x %#o\" 255 8}}", "0xff 010"}, Row{"{{printf \"%d\" -9223372036854775807}}", "-9223372036854775807"}));

struct Bad { std::string source, says; };
void PrintTo(const Bad& row, std::ostream* out) { *out << row.source; }
class BadTemplates : public ::testing::TestWithParam<Bad> {};
TEST_P(BadTemplates, SayWhereAndWhatToDo) {
  const auto got = Print(GetParam().source);
  ASSERT_FALSE(got) << *got;
  EXPECT_EQ(got.error().reason(), Reason::kUsage);
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
  EXPECT_FALSE(got.error().next_step().empty());
}
INSTANTIATE_TEST_SUITE_P(
    Table, BadTemplates,
    ::testing::Values(Bad{"ab{{.s", "go-template, column 3: this {{ is never closed"}, Bad{"\n{{foo}}", "go-template, line 2, column 3: there is no function \"foo\""} /*k*/,
                      Bad{"{{.a-b}}", "column 5: \"-\" is not expected"} /*k*/, Bad{"{{}}", "a value is missing"}, Bad{"{{if .s}}x", "column 3: this block has no end"}, Bad{"{{end}}", "without an if"},
                      Bad{"{{else}}", "without an if"}, Bad{"{{if .s}}{{else}}{{else}}{{end}}", "second {{else}}"}, Bad{"{{range .s}}x{{end}}", "a string has nothing to range over"},
                      Bad{"{{range 5}}x{{end}}", "a number has nothing"}, Bad{"{{.s.x}}", "column 3: a string has no field \"x\""} /*k*/, Bad{"{{.items.name}}", "a list has no field"} /*k*/,
                      Bad{"{{index .items 7}}", "column 3: there is no item 7 in a list of 3"} /*k*/, Bad{"{{index .items \"a\"}}", "a list has no index that is a string"}, Bad{"{{index .s 1}}", "a string has no index"},
                      Bad{"{{eq .s 7}}", "a string cannot be compared with a number by eq"} /*k*/, Bad{"{{lt .s 7}}", "cannot be compared"} /*k*/, Bad{"{{lt .z 7}}", "nothing cannot be compared"},
                      Bad{"{{eq .o .o}}", "a map cannot be compared"}, Bad{"{{lt true false}}", "cannot be compared"}, Bad{"{{len .missing}}", "nothing has no length"}, Bad{"{{len 5}}", "a number has no length"},
                      Bad{"{{\"x}}", "does not end"}, Bad{"{{'ab'}}", "one character"}, Bad{"{{\"\\y\"}}", "means nothing"}, Bad{"{{5x}}", "no number"}, Bad{"{{.s .n}}", "only a function takes arguments"},
                      Bad{"{{\"a\"\"b\"}}", "a blank is missing"}, Bad{"{{.s | .n}}", "behind | a function is wanted"}, Bad{"{{1 | 2}}", "behind | a function"}, Bad{"{{(.s}}", "never closed"},
                      Bad{"{{$x}}", "there is no variable \"$x\""}, Bad{"{{$x = 1}}", "there is no variable"}, Bad{"{{range $i, $e := .items}}{{end}}{{$i}}", "there is no variable"},
                      Bad{"{{if .z}}{{$y := 1}}{{else}}{{$y}}{{end}}", "column 31: there is no variable \"$y\""}, Bad{"{{if .z}}{{$y := 1}}{{else if $y}}{{end}}", "there is no variable"},
                      Bad{"{{with .z}}{{$y := 1}}{{else}}{{$y = 2}}{{end}}", "there is no variable"}, Bad{"{{range .e}}{{$y := 1}}{{else}}{{$y}}{{end}}", "there is no variable"}, Bad{"{{$ := 1}}", "$ is the document"},
                      Bad{"{{if $i, $e := .s}}{{end}}", "too many variables"}, Bad{"{{break}}", "outside of a range"}, Bad{"{{not 1 2}}", "not takes 1 argument, not 2"}, Bad{"{{and}}", "at least 1 argument"},
                      Bad{"{{eq 1}}", "at least 2 arguments"}, Bad{"{{printf 5}}", "begins with a text"}, Bad{"{{printf}}", "at least 1"}, Bad{"{{printf \"%1001d\" 1}}", "above 1000"}, Bad{"{{/* x }}", "comment does not end"},
                      Bad{"{{define \"x\"}}{{end}}", "\"define\" is not offered"}, Bad{"{{.s.}}", "name is missing"}, Bad{std::string(65537, 'x'), "more than 64 KiB"}));

TEST(TemplateBounds, OfNesting) {
  std::string blocks, parentheses = "{{", chain = "{{if .z}}";
  for (int i = 0; i < 200; ++i) blocks += "{{if .s}}", parentheses += "(", chain += "{{else if .z}}";
  for (const std::string& source : {blocks, parentheses, chain + "{{end}}"}) EXPECT_THAT(Print(source).error().Text(), HasSubstr("nest too deep"));
}
TEST(TemplateBounds, OfWork) {
  std::string loops;
  for (int i = 0; i < 30; ++i) loops += "{{range $.items}}";
  loops += "x";
  for (int i = 0; i < 30; ++i) loops += "{{end}}";
  EXPECT_THAT(Print(loops, 100'000).error().Text(), HasSubstr("too much"));
  EXPECT_THAT(Print("{{$x := \"ab\"}}{{range .items}}{{range $.items}}{{range $.items}}{{$x = print $x $x}}{{end}}{{end}}{{end}}", 100'000).error().Text(), HasSubstr("too much"));
}

}  // namespace
}  // namespace berth::cli
