#include "httpd/target.h"

#include <gtest/gtest.h>

namespace berth::httpd {
namespace {

struct Row {
  const char* name;
  std::string_view text;
  std::optional<Target> wanted;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class TargetTest : public ::testing::TestWithParam<Row> {};
TEST_P(TargetTest, IsReadOnceAndStrictly) {
  const auto got = ParseTarget(GetParam().text);
  ASSERT_EQ(got.has_value(), GetParam().wanted.has_value());
  if (!got) return;
  EXPECT_EQ(got->path, GetParam().wanted->path);
  EXPECT_EQ(got->query, GetParam().wanted->query);
}
INSTANTIATE_TEST_SUITE_P(All, TargetTest, ::testing::Values(
    Row{"Root", "/", Target{"/", {}}},
    Row{"Path", "/api/v1/namespaces/default/pods", Target{"/api/v1/namespaces/default/pods", {}}},
    Row{"Query", "/a?watch=true&resourceVersion=12", Target{"/a", {{"watch", "true"}, {"resourceVersion", "12"}}}},
    Row{"Flag", "/readyz?verbose", Target{"/readyz", {{"verbose", ""}}}},
    Row{"EncodedQuery", "/a?labelSelector=app%3Dx%2Cy&q=a+b%2B", Target{"/a", {{"labelSelector", "app=x,y"}, {"q", "a b+"}}}},
    Row{"LineBreakInQuery", "/a?b=%0A", Target{"/a", {{"b", "\n"}}}},
    Row{"EmptyPairs", "/a?&&b=1&", Target{"/a", {{"b", "1"}}}},
    Row{"Repeated", "/a?b=1&b=2", Target{"/a", {{"b", "1"}, {"b", "2"}}}},
    Row{"Utf8", "/%C3%A4", Target{"/\xC3\xA4", {}}},
    Row{"DotsInNames", "/a..b/.c/d.", Target{"/a..b/.c/d.", {}}},
    Row{"Empty", "", std::nullopt}, Row{"Absolute", "http://h/a", std::nullopt}, Row{"Star", "*", std::nullopt},
    Row{"EncodedSlash", "/a%2Fb", std::nullopt}, Row{"Nul", "/a%00", std::nullopt}, Row{"NulInQuery", "/a?b=%00", std::nullopt},
    Row{"Parent", "/a/../b", std::nullopt}, Row{"ParentAtEnd", "/a/..", std::nullopt}, Row{"Self", "/./a", std::nullopt},
    Row{"EncodedParent", "/%2e%2E/b", std::nullopt}, Row{"CutEscape", "/a%4", std::nullopt}, Row{"BadEscape", "/a%zz", std::nullopt},
    Row{"BadEscapeInQuery", "/a?b=%", std::nullopt}, Row{"LineBreak", "/a%0d%0aSet-Cookie:x", std::nullopt},
    Row{"Fragment", "/a#b", std::nullopt}, Row{"Control", "/a\x7f", std::nullopt}),
    [](const auto& row) { return row.param.name; });

TEST(RequestTest, FieldsAreFoundWhateverTheirCase) {
  const Request r{.query = {{"a", "1"}, {"a", "2"}}, .fields = {{"AUTHORIZATION", "bearer t0k"}, {"X", "first"}, {"x", "second"}}};
  EXPECT_EQ(r.Field("x"), "first");
  EXPECT_EQ(r.Field("y"), "");
  EXPECT_EQ(r.BearerToken(), "t0k");
  EXPECT_EQ(r.Query("a"), "1");
  EXPECT_EQ(r.Query("b"), std::nullopt);
  EXPECT_EQ((Request{.fields = {{"Authorization", "Basic x"}}}).BearerToken(), "");
  EXPECT_EQ((Request{.fields = {{"Authorization", "Bearer "}}}).BearerToken(), "");
}

}  // namespace
}  // namespace berth::httpd
