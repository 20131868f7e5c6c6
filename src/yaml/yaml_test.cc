// The rows of Plain and Printed were made with kubectl 1.32 (label --local -o json, -o yaml).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "yaml/document.h"
#include "yaml/writer.h"

namespace berth::yaml {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Result<std::vector<Document>> Read(std::string_view text, const Limits& limits = {}) { return Parse(text, "f.yaml", Reason::kUsage, limits); }

std::string Json(std::string_view text) {
  const auto documents = Read(text);
  if (!documents) return documents.error().Text();
  std::string out;
  for (const Document& d : *documents) out += (out.empty() ? "" : "\n") + d.root().Dump();
  return out;
}

struct Row {
  std::string name, yaml, json;
};
void PrintTo(const Row& r, std::ostream* out) { *out << r.name; }
std::string NameOf(const ::testing::TestParamInfo<Row>& info) { return info.param.name; }

class PlainScalars : public ::testing::TestWithParam<Row> {};
TEST_P(PlainScalars, MeanWhatTheyMeanToKubectl) { EXPECT_EQ(Json("v: " + GetParam().yaml), "{\"v\":" + GetParam().json + "}"); }

INSTANTIATE_TEST_SUITE_P(
    Rows, PlainScalars,
    ::testing::Values(
        Row{"YIsTrue", "y", "true"}, Row{"NIsFalse", "n", "false"}, Row{"Yes", "yes", "true"}, Row{"On", "on", "true"}, Row{"Off", "OFF", "false"},
        Row{"True", "True", "true"}, Row{"OddCase", "tRue", R"("tRue")"}, Row{"QuotedYes", "\"yes\"", R"("yes")"}, Row{"SingleQuoted", "'123'", R"("123")"},
        Row{"Null", "null", "null"}, Row{"Tilde", "~", "null"}, Row{"Nothing", "", "null"}, Row{"Octal", "010", "8"}, Row{"OctalO", "0o17", "15"},
        Row{"NotOctal", "08", "8"}, Row{"NotOctalReal", "09.5", "9.5"}, Row{"Hex", "-0x1F", "-31"}, Row{"Binary", "+0b11", "3"}, Row{"Underscores", "1__0_", "10"},
        Row{"RealUnderscores", "1_0.5", "10.5"}, Row{"PointUnderscore", ".5_3", "0.53"}, Row{"PointUnderscores", ".5__3", R"(".5__3")"},
        Row{"TrailingUnderscore", ".5_", R"(".5_")"}, Row{"LoneSign", "+", R"("+")"}, Row{"Point", ".", R"(".")"}, Row{"Exponent", "1e3", "1000"},
        Row{"PointNumber", "1.", "1"}, Row{"Tiny", "0.1e-8", "1e-9"}, Row{"Vast", "1e21", "1e+21"}, Row{"TooLarge", "1e999", R"("1e999")"},
        Row{"TooSmall", "1e-999", "0"}, Row{"MinusZero", "-0", "0"}, Row{"Beyond63Bits", "18446744073709551615", "18446744073709551615"},
        Row{"Beyond64Bits", "-21111111111111111111", "-21111111111111110000"}, Row{"NearlyVast", "123456789e12", "123456789000000000000"},
        Row{"EscapesOfLatin1", R"("a\N\_\Lé")", "\"a\xC2\x85\xC2\xA0\xE2\x80\xA8é\""},
        Row{"Date", "2001-01-01", R"("2001-01-01")"}, Row{"Time", "12:30:45", R"("12:30:45")"}, Row{"PrefixOnly", "0x", R"("0x")"}, Row{"TagStr", "!!str 5", R"("5")"},
        Row{"TagInt", "!!int \"0x10\"", "16"}, Row{"TagFloat", "!!float 5", "5"}, Row{"TagBinary", "!!binary aGk=", R"("hi")"}, Row{"TagOwn", "!foo bar", R"("bar")"},
        Row{"TagNone", "! 12", R"("12")"}, Row{"TagBool", "!!bool yes", "true"}, Row{"MergeAsValue", "<<", R"("<<")"}, Row{"Escapes", R"("\x41\u00e9\U0001F600")", R"("Aé😀")"},
        Row{"Folded", ">-\n  a\n  b\n\n  c", R"("a b\nc")"}, Row{"Literal", "|\n  a\n   b\n", R"("a\n b\n")"}),
    NameOf);

class Documents : public ::testing::TestWithParam<Row> {};
TEST_P(Documents, BecomeJson) { EXPECT_EQ(Json(GetParam().yaml), GetParam().json); }

INSTANTIATE_TEST_SUITE_P(
    Rows, Documents,
    ::testing::Values(
        Row{"Empty", "", ""}, Row{"CommentsOnly", "# nothing\n---\n# more\n", ""}, Row{"Several", "---\na: 1\n---\n---\nb: 2\n...\n", "{\"a\":1}\n{\"b\":2}"},
        Row{"Json", R"({"a":[1,2.50,"\ud83d\ude00",null,true],"b":{}})", R"({"a":[1,2.50,"😀",null,true],"b":{}})"}, Row{"JsonInARow", "{\"a\":1}\n {\"b\":2}[]", "{\"a\":1}\n{\"b\":2}\n[]"},
        Row{"FlowThatIsNoJson", "{a: 1, b: [x, 'y']}", R"({"a":1,"b":["x","y"]})"}, Row{"ByteOrderMark", "\xEF\xBB\xBF" "a: 1", R"({"a":1})"}, Row{"Windows", "a: 1\r\nb:\r\n- 2\r\n", R"({"a":1,"b":[2]})"},
        Row{"Keys", "1: a\ntrue: b\n1.5: c\n\"x\": d\n", R"({"1":"a","1.5":"c","true":"b","x":"d"})"},
        Row{"Alias", "a: &x {b: [1]}\nc: *x\nd: [*x, *x]", R"({"a":{"b":[1]},"c":{"b":[1]},"d":[{"b":[1]},{"b":[1]}]})"},
        Row{"Merge", "x: &x {a: 1, b: 1}\nw: &w {b: 2, c: 2}\nz: {<<: [*x, *w], a: 0}", R"({"w":{"b":2,"c":2},"x":{"a":1,"b":1},"z":{"a":0,"b":1,"c":2}})"},
        Row{"MergeBeforeOwn", "x: &x {a: 1}\nz:\n  a: 0\n  <<: *x", R"({"x":{"a":1},"z":{"a":0}})"}, Row{"MergeOfMerged", "x: &x {a: 1}\nw: &w {<<: *x}\nz: {<<: *w}", R"({"w":{"a":1},"x":{"a":1},"z":{"a":1}})"},
        Row{"QuotedMergeIsAKey", "\"<<\": 1", R"({"<<":1})"}, Row{"ListBelowKey", "a:\n- b: 1\n  c: 2\n- - x\n  - w", R"({"a":[{"b":1,"c":2},["x","w"]]})"}),
    NameOf);

struct Refused {
  std::string name, yaml, says;
  Reason reason = Reason::kUsage;
  Limits limits = {};
};
void PrintTo(const Refused& r, std::ostream* out) { *out << r.name; }

class RefusedTexts : public ::testing::TestWithParam<Refused> {};
TEST_P(RefusedTexts, WithTheLine) {
  const auto documents = Read(GetParam().yaml, GetParam().limits);
  ASSERT_FALSE(documents) << (*documents).size();
  EXPECT_EQ(documents.error().reason(), GetParam().reason);
  EXPECT_THAT(documents.error().Text(), StartsWith("f.yaml:"));
  EXPECT_THAT(documents.error().Text(), HasSubstr(GetParam().says));
}

std::string Laughs() {  // each line nine times the one before
  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 9; ++k) text += (k ? "," : "") + before;
    text += "]\n";
  }
  return text;
}
std::string LongAliases() {
  std::string text = "a: &a " + std::string(50'000, 'x') + "\nb: [";
  for (int i = 0; i < 100; ++i) text += (i ? ",*a" : "*a");
  return text + "]";
}
std::string MergesOfNothing() {  // 100 times 100 visits, not one key
  std::string as, cs;
  for (int i = 0; i < 100; ++i) (as += i ? ",*a" : "*a"), (cs += i ? ",*c" : "*c");
  return "a: &a {}\nl: &b [" + as + "]\nm: &c {<<: *b}\no: {<<: [" + cs + "]}\n";
}
std::string Times(std::size_t n, std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += text;
  return out;
}
std::string MergesOfALongKey() {
  std::string text = "a: &a {" + std::string(1000, 'k') + ": 1}\nb: {<<: [";
  for (int i = 0; i < 100; ++i) text += i ? ",*a" : "*a";
  return text + "]}";
}

INSTANTIATE_TEST_SUITE_P(
    Rows, RefusedTexts,
    ::testing::Values(
        Refused{"NoYaml", "a: 1\nb: [1", ":"}, Refused{"NoYaml2", "a: b: c\n", "f.yaml:1: this is no valid YAML"}, Refused{"Endless", ",a?b", "no valid YAML"},
        Refused{"Twice", "a: 1\nb: 2\na: 3\n", "f.yaml:3: key \"a\" is there twice"}, Refused{"TwiceInJson", "{\"a\": 1,\n \"a\": 2}", "f.yaml:2: key \"a\" is there twice"},
        Refused{"TwiceByNumber", "1: a\n\"1\": b", "f.yaml:2: key \"1\" is there twice"}, Refused{"TwiceByEscape", "a: 1\n\"\\x61\": 2", "there twice"}, Refused{"NullKey", "~: 1", "f.yaml:1: a key must be"},
        Refused{"ListAsKey", "? [a]\n: 1", "a key must be"}, Refused{"Infinity", "a:\n  b: .inf", "f.yaml:2: infinity"}, Refused{"Nan", "a: .nan", "NaN"}, Refused{"NotUtf8", "a: 1\nb: \xff", "f.yaml:2: not UTF-8"},
        Refused{"Control", "a: \x01", "f.yaml:1: a control character"}, Refused{"Nul", std::string("a: \0b", 5), "a control character"}, Refused{"SelfAlias", "a: &a [1, *a]", "an alias within what it names"},
        Refused{"UnknownAlias", "a: *b", "no valid YAML"}, Refused{"MergeOfText", "a: &a x\nb:\n  <<: *a", "f.yaml:3: only maps can be merged"}, Refused{"TagMismatch", "a: !!int x", "!!int"},
        Refused{"BinaryNoBase64", "a: !!binary '%'", "not base64"}, Refused{"BinaryNoText", "a: !!binary /w==", "not UTF-8"},
        Refused{"TooLarge", "a: 12345", "larger than 4 bytes (limit: bytes)", Reason::kLimitExceeded, {.bytes = 4}},
        Refused{"TooDeep", "a: [[[1]]]", "f.yaml:1: nested deeper than 3 (limit: depth)", Reason::kLimitExceeded, {.depth = 3}},
        Refused{"FarTooDeep", std::string(100'000, '['), "limit: depth", Reason::kLimitExceeded}, 
        Refused{"DeepJson", "{\"a\":" + std::string(40, '[') + std::string(40, ']') + "}", "limit: depth", Reason::kLimitExceeded},
        Refused{"TooMany", "[1,2,3,4]", "more than 4 values", Reason::kLimitExceeded, {.values = 4}}, Refused{"TooManyDocuments", "--- 1\n--- 2\n--- 3", "more than 2 documents", Reason::kLimitExceeded, {.documents = 2}},
        Refused{"BillionLaughs", Laughs(), "aliases expanded (limit: values)", Reason::kLimitExceeded},
        Refused{"LongAliases", LongAliases(), "limit: bytes", Reason::kLimitExceeded, {.bytes = 60'000}},
        Refused{"MergesOfNothing", MergesOfNothing(), "f.yaml:3: more than 2000 values, aliases expanded (limit: values)", Reason::kLimitExceeded, {.values = 2000}},
        Refused{"MergesOfALongKey", MergesOfALongKey(), "f.yaml:1: aliases make this too large (limit: bytes)", Reason::kLimitExceeded, {.bytes = 2000}},
        Refused{"Aliases", "a: &a 1\nb: {<<: {b: [*a,*a,*a,*a,*a]}, b: 1}", "f.yaml:2: more than 12 values", Reason::kLimitExceeded, {.values = 12}},
        Refused{"ManyInFlow", "a: 1\nb: [[" + Times(200, "[],"), "f.yaml:2: more than 100 values (limit: values)", Reason::kLimitExceeded, {.values = 100}},
        Refused{"ManyColons", "- [" + Times(200, ": "), "f.yaml:1: more than 100 values (limit: values)", Reason::kLimitExceeded, {.values = 100}},
        Refused{"ManyQuoted", "- [" + Times(200, "\"\""), "f.yaml:1: more than 100 values (limit: values)", Reason::kLimitExceeded, {.values = 100}},
        Refused{"ManyTagsOnALine", Times(200, "!a "), "f.yaml:1: more than 100 values (limit: values)", Reason::kLimitExceeded, {.values = 100}},
        Refused{"ManyMarkersInFlow", "[\n" + Times(200, "...\n"), "f.yaml:102: more than 100 values (limit: values)", Reason::kLimitExceeded, {.values = 100}},
        Refused{"ManyBehindABlock", "a:\n  b: |\n  c: [[" + Times(200, "[],"), "f.yaml:3: more than 100 values", Reason::kLimitExceeded, {.values = 100}},
        Refused{"DeepInFlow", "a:\n " + Times(200, "["), "f.yaml:2: nested deeper than 32 (limit: depth)", Reason::kLimitExceeded, {.values = 100}},
        Refused{"DeepAliases", "a: &a [1]\nb: &b [[*a]]\nc: [[*b]]", "limit: depth", Reason::kLimitExceeded, {.depth = 5}}),
    [](const auto& row) { return row.param.name; });

// Brackets that are text: no limit counts them.
class TextOfBrackets : public ::testing::TestWithParam<Row> {};
TEST_P(TextOfBrackets, IsOneValue) {
  const auto documents = Read(GetParam().yaml, {.values = 20});
  ASSERT_TRUE(documents) << documents.error().Text();
  EXPECT_THAT((*documents)[0].root().Dump(), ::testing::EndsWith("\"z\":1}"));
}
const std::string kBrackets = Times(50, "[{ : , \"!a &b ");
INSTANTIATE_TEST_SUITE_P(
    Rows, TextOfBrackets,
    ::testing::Values(
        Row{"Literal", "a:\n  b: |\n    x\n\n    " + kBrackets + "\n   # no more\nz: 1"}, 
        Row{"Folded", "a: >2-\n    x\n  " + kBrackets + "\nz: 1"}, Row{"InAList", "a:\n- |+\n " + kBrackets + "\n\nz: 1"},
        Row{"Commented", "a: | # it\n " + kBrackets + "\nz: 1"}, Row{"Tagged", "a: !!str |\n " + kBrackets + "\nz: 1"},
        Row{"Windows", "a: |\r\n " + kBrackets + "\r\nz: 1\r\n"}, Row{"SingleQuoted", "a: 'it''s\n " + kBrackets + "'\nz: 1"},
        Row{"DoubleQuoted", "a: \"\\\"" + Times(50, "[{ : , ") + "\"\nz: 1"}, Row{"Plain", "a: x\n  " + Times(50, "[{ ,\n  ") + "\nz: 1"},
        Row{"InFlow", "{a: '" + Times(50, "[{,") + "', z: 1}"}, Row{"Comment", "# " + kBrackets + "\nz: 1 # " + kBrackets}),
    NameOf);

TEST(Document, KnowsItsLines) {
  const auto documents = Read("# first\nkind: Pod\nspec:\n  containers:\n  - name: a\n    image: b\n  - name: c\ndata:\n  .dockerconfigjson: x\n---\n\nkind: Two\n");
  ASSERT_TRUE(documents) << documents.error().Text();
  const Document& d = (*documents)[0];
  EXPECT_EQ(d.line(), 2);
  EXPECT_EQ(d.LineOf("spec"), 3);
  EXPECT_EQ(d.LineOf("spec.containers[0].image"), 6);
  EXPECT_EQ(d.LineOf("$.spec.containers[1].name"), 7);
  EXPECT_EQ(d.LineOf("spec.containers[1].image"), 7);  // missing: its container
  EXPECT_EQ(d.LineOf("spec.containers[9]"), 4);
  EXPECT_EQ(d.LineOf("data[.dockerconfigjson]"), 9);
  EXPECT_EQ(d.LineOf("data[\".dockerconfigjson\"]"), 9);
  EXPECT_EQ(d.LineOf("nothing[x"), 2);
  EXPECT_EQ(d.At("spec.containers[0].image"), "f.yaml:6: ");
  EXPECT_EQ((*documents)[1].line(), 12);
}

TEST(Document, KnowsTheLinesOfJson) {
  const auto documents = Read("{\n \"kind\": \"Pod\",\n \"spec\": {\n  \"containers\": [\n   {\"name\": \"a]}\\\"\",\n    \"image\":\n \"b\"}]}}\n{\"x\": 1}");
  ASSERT_TRUE(documents) << documents.error().Text();
  EXPECT_EQ((*documents)[0].LineOf("spec.containers[0].image"), 6);
  EXPECT_EQ((*documents)[0].LineOf("spec.containers[0]"), 5);
  EXPECT_EQ((*documents)[1].LineOf("x"), 8);
}

class Printed : public ::testing::TestWithParam<Row> {};
TEST_P(Printed, AsKubectlPrints) {
  const auto document = json::Document::Parse(GetParam().json, Reason::kUsage);
  ASSERT_TRUE(document) << document.error().Text();
  EXPECT_EQ(Print(document->root()), GetParam().yaml);
  EXPECT_EQ(Print((*Read(GetParam().yaml))[0].root()), GetParam().yaml);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Printed,
    ::testing::Values(
        Row{"Sorted", "X: c\na: b\nx9: \"9\"\nx10: \"10\"\nxa: 1\n", R"({"x10":"10","x9":"9","xa":1,"a":"b","X":"c"})"},
        Row{"Empty", "a: []\nb: {}\nc: \"\"\nd: null\n", R"({"a":[],"b":{},"c":"","d":null})"},
        Row{"Lists", "a:\n- b: 1\n  c:\n  - x\n- - w\n  - z\n", R"({"a":[{"b":1,"c":["x"]},["w","z"]]})"},
        Row{"Quoted", "a: \"yes\"\nb: 'x: y'\nc: '- x'\nd: ' lead'\ne: \"\\t\"\nf: \"010\"\ng: 'it''s: '\nh: it's\ni: '#'\nj: \"12:30:45\"\nk: \"null\"\n",
            R"({"a":"yes","b":"x: y","c":"- x","d":" lead","e":"\t","f":"010","g":"it's: ","h":"it's","i":"#","j":"12:30:45","k":"null"})"},
        Row{"Keys", "\"1\": a\n\"false\": b\nx y: c\n", R"({"false":"b","1":"a","x y":"c"})"},
        Row{"LongKey", "? " + std::string(130, 'k') + "\n: v\n", "{\"" + std::string(130, 'k') + "\":\"v\"}"},
        Row{"Literals", "a: |\n  x\n   y\nb: |-\n  x\n\n  y\nc: |+\n  x\n\nd: |2\n   x\n  y\ne: \"x \\ny\"\n", R"({"a":"x\n y\n","b":"x\n\ny","c":"x\n\n","d":" x\ny\n","e":"x \ny"})"},
        Row{"FoldedPlain", "l: a very long string that has many words and goes on and on beyond eighty columns\n  to see folding happen or not\n",
            R"({"l":"a very long string that has many words and goes on and on beyond eighty columns to see folding happen or not"})"},
        Row{"FoldedInList", "l:\n- 'a: very long string that has many words and goes on and on beyond eighty columns\n  to see folding'\n",
            R"({"l":["a: very long string that has many words and goes on and on beyond eighty columns to see folding"]})"},
        Row{"Numbers", "a: 1\nb: 1.5\nc: 1e-09\nd: 1.234567895e+08\ne: 18446744073709551615\n", R"({"a":1,"b":1.5,"c":1e-9,"d":123456789.5,"e":18446744073709551615})"},
        Row{"WholeReals", "a: 1000000\nb: 9007199254740992\nc: 21111111111111110\nd: 18000000000000000000\ne: 1\nf: 0\ng: 0\n",
            R"({"a":1e6,"b":9007199254740993.0,"c":21111111111111111.111111,"d":1.8e19,"e":1.0,"f":-0.0,"g":1e-999})"},
        Row{"VastReals", "a: 1e+20\nb: -1e+19\nc: 1.0000005e+06\nd: 1e+21\n", R"({"a":1e20,"b":-1e19,"c":1000000.5,"d":1e21})"},
        Row{"MinusZero", "a: 0\n", R"({"a":-0})"}, Row{"Beyond64Bits", "a: 2.111111111111111e+19\n", R"({"a":21111111111111111111})"},
        Row{"Unicode", "a: é\nb: \"\\U0001F600\"\nc: \"\\x7F\\x01\\r\"\nd: \"\\L\"\n", "{\"a\":\"é\",\"b\":\"😀\",\"c\":\"\x7f\\u0001\\r\",\"d\":\"\xE2\x80\xA8\"}"},
        Row{"TopLevelList", "- a\n- b: c\n", R"(["a",{"b":"c"}])"}, Row{"TopLevelText", "hello\n", R"("hello")"}),
    NameOf);

}  // namespace
}  // namespace berth::yaml
