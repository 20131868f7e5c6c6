#include <gtest/gtest.h>

#include "bytes/encoding.h"

namespace berth::bytes {
namespace {

TEST(Hex, RoundTripsAndRefuses) {
  EXPECT_EQ(ToHex(AsView("\x01\xff" "a")), "01ff61");
  EXPECT_EQ(FromHex("01ff61"), "\x01\xff" "a");
  EXPECT_FALSE(FromHex("0"));
  EXPECT_FALSE(FromHex("FF"));
  EXPECT_FALSE(FromHex("0g"));
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

}  // namespace
}  // namespace berth::bytes
