#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "json/document.h"

namespace berth::json {
namespace {

using namespace std::string_literals;

Result<Document> Read(std::string_view text) { return Document::Parse(text, Reason::kInvalidManifest); }

std::string Times(std::size_t n, std::string_view s) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += s;
  return out;
}

struct Refused {
  std::string name, text;
  Reason reason;
  std::string error;  // a part of the text
};

class Refuses : public testing::TestWithParam<Refused> {};

TEST_P(Refuses, WithReasonAndPlace) {
  const Refused& row = GetParam();
  const auto got = Read(row.text);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), row.reason);
  EXPECT_NE(got.error().Text().find(row.error), std::string::npos) << got.error().Text();
  EXPECT_LE(got.error().Text().size(), 1024u);
}

constexpr Reason kBad = Reason::kInvalidManifest;
constexpr Reason kLimit = Reason::kLimitExceeded;

INSTANTIATE_TEST_SUITE_P(
    Rows, Refuses,
    testing::Values(
        Refused{"B06_duplicate", R"({"a":{"layers":[],"b":1,"layers":[]}})", kBad, "$.a.layers is there twice"},
        Refused{"B07_duplicate_in_element", R"({"m":[1,{},{"digest":"x","digest":"x"}]})", kBad,
                "$.m[2].digest is there"},
        Refused{"B08_duplicate_by_escape", R"({"layers":1,"\u006cayers":2})", kBad, "$.layers is there twice"},
        Refused{"B09_second_document", "{} {}", kBad, "at byte 4"}, Refused{"B09_text", "{}x", kBad, "at byte 3"},
        Refused{"B09_nul", "{}\0"s, kBad, "at byte 3"},
        Refused{"B09_nul_and_more", "{}\0{\"a\":1}"s, kBad, "at byte 3"},
        Refused{"B10_bom", "\xEF\xBB\xBF{}", kBad, "byte order mark"},
        Refused{"B10_half_bom", "\xEF\xBB{}", kBad, "byte"}, Refused{"B10_utf16", "{\0}\0"s, kBad, "byte 2"},
        Refused{"B10_utf16_bom", "\xFF\xFE{\0}\0"s, kBad, "byte"},
        Refused{"B10_bad_utf8", "\"\xC3\x28\"", kBad, "byte"}, Refused{"B10_overlong", "\"\xC0\xAF\"", kBad, "byte"},
        Refused{"B10_raw_surrogate", "\"\xED\xA0\x80\"", kBad, "byte"},
        Refused{"B10_beyond_last", "\"\xF4\x90\x80\x80\"", kBad, "byte"},
        Refused{"B10_high_alone", R"("\ud800")", kBad, "byte"}, Refused{"B10_low_alone", R"("\udc00")", kBad, "byte"},
        Refused{"B10_high_high", R"("\ud800\ud800")", kBad, "byte"}, Refused{"B11_html", "<html>", kBad, "at byte 1"},
        Refused{"B11_empty", "", kBad, "byte"}, Refused{"B11_space", " \n", kBad, "byte"},
        Refused{"B13_arrays", Times(100'000, "["), kLimit, "deeper than 32 levels (limit: depth)"},
        Refused{"B13_objects", Times(100'000, "{\"a\":"), kLimit, "limit: depth"},
        Refused{"B13_depth_33", Times(33, "[") + Times(33, "]"), kLimit, "limit: depth"},
        Refused{"B15_5MiB", "\"" + std::string(5u << 20, 'a') + "\"", kLimit,
                "larger than 4194304 bytes (limit: bytes)"},
        Refused{"B15_one_more", "\"" + std::string((4u << 20) - 1, 'a') + "\"", kLimit, "limit: bytes"},
        Refused{"values", "[" + Times(500'000, "0,") + "0]", kLimit, "more than 500000 values (limit: values)"},
        Refused{"B17_overflow", "[1e400]", kBad, "number out of range at byte"}, Refused{"nan", "NaN", kBad, "byte"},
        Refused{"infinity", "-Infinity", kBad, "byte"}, Refused{"plus", "+1", kBad, "byte"},
        Refused{"leading_zero", "01", kBad, "byte"}, Refused{"bare_dot", "1.", kBad, "byte"},
        Refused{"trailing_comma", "[1,]", kBad, "byte"}, Refused{"comment", "/**/{}", kBad, "byte"},
        Refused{"line_comment", "{}//", kBad, "byte"}, Refused{"single_quotes", "{'a':1}", kBad, "byte"},
        Refused{"control_in_string", "\"a\nb\"", kBad, "byte"}, Refused{"bad_escape", R"("\x41")", kBad, "byte"},
        Refused{"open_string", "\"abc", kBad, "byte"}, Refused{"open_object", "{\"a\":1", kBad, "byte"},
        Refused{"key_number", "{1:2}", kBad, "byte"}, Refused{"other_space", "\x0B{}", kBad, "byte"}),
    [](const auto& row) { return row.param.name; });

TEST(Document, NamesNoValueInErrors) {
  for (const std::string_view text :
       {R"({"auth":"canary")", R"(["canary" x])", R"({"a":canary})", "[\"canary\xFF\"]"}) {
    const auto got = Read(text);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().Text().find("canary"), std::string::npos) << got.error().Text();
  }
}

TEST(Document, TakesTheReasonOfTheCaller) {
  const auto got = Document::Parse("{", Reason::kInvalidConfig);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kInvalidConfig);
  const auto typed = Document::Parse("{}", Reason::kConfig)->root().Get("x");
  ASSERT_FALSE(typed);
  EXPECT_EQ(typed.error().reason(), Reason::kConfig);
  EXPECT_EQ(typed.error().Text(), "$.x is missing");
}

TEST(Document, AcceptsUpToItsLimits) {
  EXPECT_TRUE(Read(Times(32, "[") + Times(32, "]")));
  EXPECT_TRUE(Read("\"" + std::string((4u << 20) - 2, 'a') + "\""));
  EXPECT_TRUE(Read("[" + Times(499'998, "0,") + "0]"));
  EXPECT_FALSE(Document::Parse("[[]]", kBad, Limits{.depth = 1}));
  EXPECT_TRUE(Document::Parse("[1]", kBad, Limits{.depth = 1}));
  EXPECT_FALSE(Document::Parse("[1]", kBad, Limits{.values = 1}));
  EXPECT_FALSE(Document::Parse("[1]", kBad, Limits{.bytes = 2}));
}

TEST(Document, B16ManyKeysAndALongOne) {
  std::string text = "{";
  for (int i = 0; i < 100'000; ++i) text += "\"key" + std::to_string(i) + "\":" + std::to_string(i) + ",";
  text += "\"" + std::string(1u << 20, 'k') + "\":true}";
  const auto got = Read(text);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->root().size(), 100'001u);
  EXPECT_EQ(*got->root().Find("key77777")->AsInt64(), 77777);
  const auto odd = got->root().Find(std::string(1u << 20, 'k'));
  ASSERT_TRUE(odd);
  EXPECT_TRUE(*odd->AsBool());
  EXPECT_LT(odd->path().size(), 100u);
}

struct NumberRow {
  std::string text;
  std::optional<std::int64_t> integer;
  std::optional<double> real;
};

TEST(Value, NumbersKeepTheirExactness) {
  const NumberRow rows[] = {
      {"0", 0, 0},
      {"-1", -1, -1},
      {"9223372036854775807", std::numeric_limits<std::int64_t>::max(), 9223372036854775807.0},
      {"-9223372036854775808", std::numeric_limits<std::int64_t>::min(), -9223372036854775808.0},
      {"9223372036854775808", std::nullopt, 9223372036854775808.0},
      {"-9223372036854775809", std::nullopt, -9223372036854775809.0},
      {"18446744073709551616", std::nullopt, 18446744073709551616.0},
      {"-0", std::nullopt, -0.0},
      {"1.0", std::nullopt, 1},
      {"1e3", std::nullopt, 1000},
      {"12.5", std::nullopt, 12.5},
      {"1e-400", std::nullopt, std::nullopt},
      {"\"12\"", std::nullopt, std::nullopt},
      {"true", std::nullopt, std::nullopt},
  };
  for (const NumberRow& row : rows) {
    const auto got = Read(row.text);
    ASSERT_TRUE(got) << row.text;
    const Value root = got->root();
    const auto integer = root.AsInt64();
    EXPECT_EQ(integer.has_value(), row.integer.has_value()) << row.text;
    EXPECT_EQ(root.kind() == Value::Kind::kInteger, row.integer.has_value()) << row.text;
    if (integer && row.integer) {
      EXPECT_EQ(*integer, *row.integer);
    }
    const auto real = root.AsDouble();
    EXPECT_EQ(real.has_value(), row.real.has_value()) << row.text;
    if (real && row.real) {
      EXPECT_EQ(*real, *row.real) << row.text;
    }
    EXPECT_EQ(root.Dump(), row.text);
  }
}

TEST(Value, TypedAccessNamesThePlaceAndTheType) {
  const auto doc = Read(R"({"layers":[{"size":1},{"size":"1"}],"a b":{"x":null},"":true})");
  ASSERT_TRUE(doc);
  const Value root = doc->root();
  const Value size = *root.Find("layers")->at(1).Find("size");
  EXPECT_EQ(size.path(), "$.layers[1].size");
  EXPECT_EQ(size.AsInt64().error().Text(), "$.layers[1].size must be an integer of at most 63 bits");
  EXPECT_EQ(root.Get("layers")->AsString().error().Text(), "$.layers must be a string");
  EXPECT_EQ(root.AsBool().error().Text(), "$ must be true or false");
  EXPECT_EQ(root.Find("a b")->Find("x")->path(), R"($["a b"].x)");
  EXPECT_EQ(root.Find("a b")->Find("x")->AsDouble().error().Text(), R"($["a b"].x must be a number)");
  EXPECT_EQ(root.Find("")->path(), R"($[""])");
  EXPECT_EQ(root.Get("layers")->Get("x").error().Text(), "$.layers must be an object");
  EXPECT_FALSE(root.Find("Layers"));
  EXPECT_FALSE(size.Find("x"));
  EXPECT_EQ(size.size(), 0u);
  EXPECT_TRUE(size.Members().empty());
}

TEST(Value, PathsAreBoundedAndEscaped) {
  std::string text = "1";
  const std::string key(200, 'k');
  for (int i = 0; i < 30; ++i) text = "{\"" + key + "\":" + text + "}";
  const auto doc = Read(text);
  ASSERT_TRUE(doc);
  Value v = doc->root();
  while (v.IsObject()) v = v.Members().front().second;
  EXPECT_LT(v.path().size(), 500u);
  const auto bell = Read("{\"\\u0007\":{\"a\":1}}");
  EXPECT_EQ(bell->root().Members().front().second.path(), "$[\"\\x07\"]");
}

TEST(Value, MembersAreSortedAndDumpIsCanonical) {
  const auto doc = Read(" { \"b\" : [ 1 , {} , [] , null ] , \"a\" : \"\\u00e9\\n\\/\" , \"B\" : 1.50 } ");
  ASSERT_TRUE(doc);
  std::string keys;
  for (const auto& [key, value] : doc->root().Members()) keys += std::string(key) + " ";
  EXPECT_EQ(keys, "B a b ");
  EXPECT_EQ(doc->root().Dump(), "{\"B\":1.50,\"a\":\"\xC3\xA9\\n/\",\"b\":[1,{},[],null]}");
}

TEST(Value, StringsMayHoldNul) {
  const auto doc = Read(R"(["a\u0000b","\ud83d\ude00"])");
  ASSERT_TRUE(doc);
  EXPECT_EQ(*doc->root().at(0).AsString(), "a\0b"s);
  EXPECT_EQ(*doc->root().at(1).AsString(), "\xF0\x9F\x98\x80");
  EXPECT_EQ(doc->root().Dump(), "[\"a\\u0000b\",\"\xF0\x9F\x98\x80\"]");
}

TEST(Document, ValuesOutliveAMove) {
  auto doc = Read(R"({"name":"x"})");
  ASSERT_TRUE(doc);
  const Value name = *doc->root().Find("name");
  const Document moved = *std::move(doc);
  EXPECT_EQ(*name.AsString(), "x");
  EXPECT_EQ(*moved.root().Find("name")->AsString(), "x");
}

TEST(Writer, WritesWhatReadsBack) {
  Writer w;
  w.BeginObject().Key("n\"\\").String("a\x01\n\r\t\"\\\x7F").Key("i").Int(std::numeric_limits<std::int64_t>::min());
  w.Key("u").Uint(std::numeric_limits<std::uint64_t>::max()).Key("d").Double(0.1).Key("nan").Double(std::nan(""));
  w.Key("list")
      .BeginArray()
      .Bool(true)
      .Bool(false)
      .Null()
      .BeginObject()
      .EndObject()
      .Raw("[1]")
      .EndArray()
      .EndObject();
  const std::string text = std::move(w).Take();
  EXPECT_EQ(text,
            "{\"n\\\"\\\\\":\"a\\u0001\\n\\r\\t\\\"\\\\\x7F\",\"i\":-9223372036854775808,\"u\":18446744073709551615,"
            "\"d\":0.1,\"nan\":null,\"list\":[true,false,null,{},[1]]}");
  EXPECT_TRUE(Read(text));
}

TEST(Writer, BadBytesBecomeReplacementCharacters) {
  const std::string r = "\xEF\xBF\xBD";
  for (const auto& [in, out] :
       {std::pair{"a\xFFz"s, "a" + r + "z"}, std::pair{"\xC3"s, r}, std::pair{"\xC0\xAF"s, r + r},
        std::pair{"\xED\xA0\x80"s, r + r + r}, std::pair{"\xE2\x82\xAC"s, "\xE2\x82\xAC"s}}) {
    Writer w;
    w.String(in);
    EXPECT_EQ(w.text(), "\"" + out + "\"");
    EXPECT_EQ(*Read(w.text())->root().AsString(), out);
  }
}

TEST(Writer, DoublesReadBack) {
  for (const double d : {0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, 1.7976931348623157e308, 123456789.125}) {
    Writer w;
    w.Double(d);
    const auto doc = Read(w.text());
    ASSERT_TRUE(doc) << w.text();
    EXPECT_EQ(*doc->root().AsDouble(), d) << w.text();
  }
}

TEST(Writer, CallsThatDoNotNestDie) {
  EXPECT_DEATH(Writer().EndObject(), "");
  EXPECT_DEATH(Writer().Key("a"), "");
  EXPECT_DEATH(Writer().BeginObject().Key("a").Key("b"), "");
  EXPECT_DEATH(Writer().BeginObject().Key("a").EndObject(), "");
  EXPECT_DEATH(Writer().Int(1).Int(2), "");
}

}  // namespace
}  // namespace berth::json
