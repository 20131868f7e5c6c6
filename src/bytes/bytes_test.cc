#include <gtest/gtest.h>

#include "bytes/encoding.h"
#include "bytes/text.h"

namespace berth::bytes {
namespace {

TEST(Hex, RoundTripsAndRefuses) {
  EXPECT_EQ(ToHex(AsView("\x01\xff" "a")), "01ff61");
  EXPECT_EQ(FromHex("01ff61"), "\x01\xff" "a");
  EXPECT_FALSE(FromHex("0"));
  EXPECT_FALSE(FromHex("FF"));
  EXPECT_FALSE(FromHex("0g"));
}

TEST(Percent, DecodesOrRefuses) {
  EXPECT_EQ(PercentDecoded(""), "");
  EXPECT_EQ(PercentDecoded("a+b%20c%2f%C3%a9"), "a+b c/\u00e9");
  EXPECT_EQ(PercentDecoded("%00"), std::string(1, '\0'));
  for (const char* bad : {"%", "%2", "a%", "%g0", "%0g", "%-1", "%+1", "% 1", "%%20"}) EXPECT_FALSE(PercentDecoded(bad)) << bad;
}

struct B64Case { const char *raw, *text; };
TEST(Base64, Rfc4648Vectors) {
  for (auto [raw, text] : {B64Case{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}}) {
    EXPECT_EQ(ToBase64(AsView(raw)), text);
    EXPECT_EQ(FromBase64(text), raw);
  }
}

TEST(Base64, OneSpellingOnly) {
  for (const char* bad : {"Zg", "Zg=", "Zh==", "Z", "Zm9v=", "Zm 9v", "Zg==\n", "=", "====", "Zm9_"}) EXPECT_FALSE(FromBase64(bad)) << bad;
  EXPECT_EQ(FromBase64("Zg", Padding::kOptional), "f");
}

TEST(Controls, AreFound) {
  for (const std::string_view text : {std::string_view("a\0", 2), std::string_view("\n"), std::string_view("a\x1f"), std::string_view("\x7f")})
    EXPECT_TRUE(HasControls(text)) << text;
  for (const char* text : {"", " ~", "\u00e9"}) EXPECT_FALSE(HasControls(text)) << text;
}

// kubelet-images 9.5
struct SizeCase { std::uint64_t bytes; const char* text; };
TEST(Size, IsShownAsTheKubeletDoes) {
  constexpr std::uint64_t kGiB = 1ull << 30;
  for (const auto& [bytes, text] : {SizeCase{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {10 * kGiB, "10.0 GiB"},
                                    {5000 * kGiB, "4.9 TiB"}, {5000 * 1024 * kGiB, "5000.0 TiB"}})
    EXPECT_EQ(FormatSize(bytes), text);
}

TEST(Words, LowerIsOfAsciiOnly) { EXPECT_EQ(Lower("AZaz@[`{09 \u00c9-Registry.TEST"), "azaz@[`{09 \u00c9-registry.test"); }

TEST(Words, EditDistance) {
  struct Row { const char *a, *b; std::size_t distance; };
  for (const auto& [a, b, distance] : {Row{"", "", 0}, Row{"", "abc", 3}, Row{"regcred", "regcred", 0}, Row{"regcerd", "regcred", 2}, Row{"pull", "pul", 1},
                                       Row{"kitten", "sitting", 3}, Row{"ab", "xaby", 2}}) {
    EXPECT_EQ(EditDistance(a, b), distance) << a << " " << b;
    EXPECT_EQ(EditDistance(b, a), distance) << b << " " << a;
  }
}

struct CutCase { const char *name, *text; std::size_t most; const char *prefix, *ellipsized; };
void PrintTo(const CutCase& c, std::ostream* out) { *out << c.name; }
class Cut : public ::testing::TestWithParam<CutCase> {};
TEST_P(Cut, NeverWithinACharacter) {
  const CutCase& c = GetParam();
  EXPECT_EQ(Utf8Prefix(c.text, c.most), c.prefix);
  EXPECT_EQ(Ellipsized(c.text, c.most), c.ellipsized);
}
INSTANTIATE_TEST_SUITE_P(Texts, Cut, ::testing::Values(
    CutCase{"Empty", "", 3, "", ""}, CutCase{"Fits", "abcdef", 6, "abcdef", "abcdef"}, CutCase{"Longer", "abcdefg", 6, "abcdef", "abc..."},
    CutCase{"CharacterBefore", "ab\u00e9cdef", 4, "ab\u00e9", "a..."}, CutCase{"CharacterAcross", "ab\u00e9\U0001F6A2x", 6, "ab\u00e9", "ab..."},
    CutCase{"WholeCharacterKept", "\U0001F6A2\U0001F6A2", 7, "\U0001F6A2", "\U0001F6A2..."},
    CutCase{"FirstCharacterTooLong", "\U0001F6A2", 3, "", "..."}, CutCase{"NoUtf8", "\x80\x80\x80\x80\x80", 4, "", "..."}),
    [](const auto& c) { return c.param.name; });

}  // namespace
}  // namespace berth::bytes
