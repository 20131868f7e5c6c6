#include "registry/warning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::registry {
namespace {

struct Row {
  const char* name;
  std::vector<std::string> fields, texts;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
class Warnings : public ::testing::TestWithParam<Row> {};

TEST_P(Warnings, AreTexts) {
  const std::vector<std::string_view> fields(GetParam().fields.begin(), GetParam().fields.end());
  EXPECT_EQ(ParseWarnings(fields), GetParam().texts);
}

const std::string kMost(kWarningBytes, 'x');
INSTANTIATE_TEST_SUITE_P(
    Rows, Warnings,
    ::testing::Values(
        Row{"of_the_specification", {R"(299 - "Your auth token will expire in 30 seconds.")"}, {"Your auth token will expire in 30 seconds."}},
        Row{"an_agent_and_a_date", {R"(299 reg.test:5000 "gone" "Sat, 25 Aug 2012 23:34:45 GMT")"}, {"gone"}},
        Row{"several_in_one_field", {R"(299 - "one, two" ,299	-	"three")"}, {"one, two", "three"}},
        Row{"several_fields", {R"(299 - "one")", R"(299 - "two")"}, {"one", "two"}},
        Row{"quoted_pairs", {R"(299 - "a \"b\" \\ \c")"}, {R"(a "b" \ c)"}},
        Row{"other_codes_are_about_caches", {R"(110 - "stale", 299 - "ours", 199 - "any")"}, {"ours"}},
        Row{"no_text", {R"(299 - "")", "299 -", "299", ""}, {}},
        Row{"no_quotes", {"299 - word"}, {}},
        Row{"never_closed", {R"(299 - "open)", R"(299 - "open\)"}, {}},
        Row{"what_cannot_be_read_ends_its_field", {R"(299 - "one" more, 299 - "two")", R"(299 - "three")"}, {"three"}},
        Row{"an_open_date", {R"(299 - "one" "Sat, 299 - "two)"}, {}},
        Row{"a_longer_number", {R"(2990 - "x", 99 - "y")"}, {}},
        Row{"as_long_as_may_be", {"299 - \"" + kMost + "\""}, {kMost}},
        Row{"too_long", {"299 - \"" + kMost + "x\"", R"(299 - "short")"}, {"short"}},
        Row{"all_together", {"299 - \"" + kMost.substr(1) + "\"", R"(299 - "ab")", R"(299 - "c")"}, {kMost.substr(1), "c"}},
        Row{"not_utf8", {"299 - \"\xff\", 299 - \"\xc3\xa9\""}, {"\xc3\xa9"}},
        Row{"control_characters_are_for_whoever_shows_it", {"299 - \"\x1b[31m\""}, {"\x1b[31m"}}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace berth::registry
