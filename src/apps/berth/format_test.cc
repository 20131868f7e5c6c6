#include "apps/berth/format.h"

#include <gtest/gtest.h>
#include <stdlib.h>

namespace berth::cli {
namespace {

using std::chrono::seconds;

struct Text { std::string name, got, want; };
std::ostream& operator<<(std::ostream& out, const Text& row) { return out << row.name; }
class Formats : public testing::TestWithParam<Text> {};
TEST_P(Formats, AsPeopleReadIt) { EXPECT_EQ(GetParam().got, GetParam().want); }

time::WallTime Second(std::int64_t s) { return time::WallTime(seconds(s)); }
const time::WallTime kNow = Second(1'000'000'000);

INSTANTIATE_TEST_SUITE_P(
    Values, Formats,
    testing::Values(
        Text{"bytes_0", Size(0), "0 B"}, Text{"bytes_999", Size(999), "999 B"}, Text{"bytes_1000", Size(1000), "1.0 KiB"},
        Text{"bytes_MiB", Size(91'099'833), "86.9 MiB"}, Text{"bytes_GiB", Size(20ull << 30), "20.0 GiB"},
        Text{"bytes_most", Size(UINT64_MAX), "16.0 EiB"},
        Text{"bytes_rounding_moves_up", Size(1'048'524'000), "1.0 GiB"},  // 999.95 MiB
        Text{"pair", SizePair(12'687'769, 29'989'273), " 12.1/ 28.6 MiB"}, Text{"pair_bytes", SizePair(5, 900), "    5/  900 B  "},
        Text{"pair_beyond_total", SizePair(2048, 1024), "  2.0/  1.0 KiB"},
        Text{"rate", Rate(40'055'603.2), "38.2 MiB/s"}, Text{"rate_negative", Rate(-1), "0 B/s"},
        Text{"rate_absurd", Rate(1e300), "888.2 PiB/s"}, Text{"percent", std::to_string(Percent(999, 1000)), "99"},
        Text{"percent_huge", std::to_string(Percent(UINT64_MAX, UINT64_MAX)), "100"}, Text{"percent_none", std::to_string(Percent(5, 0)), "0"},
        Text{"took_ms", Took(0.041), "41ms"}, Text{"took_s", Took(1.34), "1.3s"}, Text{"took_just_below_a_second", Took(0.9996), "1s"},
        Text{"took_m", Took(125), "2m05s"}, Text{"took_h", Took(3 * 3600 + 7 * 60 + 9), "3h07m"}, Text{"took_59_96", Took(59.96), "1m00s"},
        Text{"one", Count(1, "layer"), "1 layer"}, Text{"many", Count(0, "layer"), "0 layers"},
        Text{"digest_cut", Digest("sha256:0123456789abcdef0123", false), "sha256:0123456789ab"},
        Text{"digest_whole", Digest("sha256:0123456789abcdef0123", true), "sha256:0123456789abcdef0123"},
        Text{"digest_hostile", Digest("sha256:\x1b[2J", false), "sha256:\\x1b[2J"},
        Text{"ago_seconds", Ago(Second(1'000'000'000 - 89), kNow), "89 seconds ago"},
        Text{"ago_minutes", Ago(Second(1'000'000'000 - 90), kNow), "1 minute ago"},
        Text{"ago_hours", Ago(Second(1'000'000'000 - 7200), kNow), "2 hours ago"},
        Text{"ago_days", Ago(Second(1'000'000'000 - 3 * 86400), kNow), "3 days ago"},
        Text{"ago_future", Ago(Second(2'000'000'000), kNow), "0 seconds ago"},
        Text{"cut", Cut("abcdef", 3), "abc"}, Text{"cut_wide", Cut("a\u4e2db", 2), "a"}, Text{"cut_nothing", Cut("ab", 9), "ab"},
        Text{"indent", Indent(R"({"a":[1,2],"b":{},"c":"x:{,\"y"})"),
             "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": \"x:{,\\\"y\"\n}\n"}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Escapes, Formats,
    testing::Values(Text{"plain", Escape("reg.test:5712/team/app:v1"), "reg.test:5712/team/app:v1"},
                    Text{"escape_sequence", Escape("\x1b]0;x\x07"), "\\x1b]0;x\\x07"},
                    Text{"line_break", Escape("a\r\nb\tc"), "a\\x0d\\x0ab\\x09c"}, Text{"del", Escape("\x7f"), "\\x7f"},
                    Text{"c1", Escape("\xc2\x9b"), "\\xc2\\x9b"}, Text{"right_to_left_override", Escape("\u202e"), "\\xe2\\x80\\xae"},
                    Text{"broken_utf8", Escape("\xff\xc3"), "\\xff\\xc3"}, Text{"letters", Escape("\u00e9\u4e2d"), "\u00e9\u4e2d"},
                    Text{"nul", Escape(std::string_view("\0", 1)), "\\x00"}),
    [](const auto& row) { return row.param.name; });

struct Period { std::string name, text; std::int64_t want; };  // -1: refused
std::ostream& operator<<(std::ostream& out, const Period& row) { return out << row.text; }
class Durations : public testing::TestWithParam<Period> {};
TEST_P(Durations, AreRead) {
  const auto got = ParseDuration(GetParam().text);
  EXPECT_EQ(got ? std::chrono::duration_cast<seconds>(*got).count() : -1, GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(Table, Durations,
                         testing::Values(Period{"plain", "90", 90}, Period{"s", "90s", 90}, Period{"m", "15m", 900},
                                         Period{"both", "1h30m", 5400}, Period{"days", "7d", 604800}, Period{"zero", "0s", 0},
                                         Period{"empty", "", -1}, Period{"word", "soon", -1}, Period{"negative", "-5s", -1},
                                         Period{"wrong_order", "5m1h", -1}, Period{"twice", "1m1m", -1}, Period{"open", "1h30", -1},
                                         Period{"fraction", "1.5h", -1}, Period{"space", " 5s", -1}, Period{"huge", "99999999999d", -1},
                                         Period{"overflow", "99999999999999999999", -1}),
                         [](const auto& row) { return row.param.name; });

TEST(Period, HasMilliseconds) {
  EXPECT_EQ(ParseDuration("500ms"), std::chrono::milliseconds(500));
  EXPECT_EQ(ParseDuration("1m2s30ms"), std::chrono::milliseconds(62'030));
  EXPECT_EQ(ParseDuration("5ms1s"), std::nullopt);
}

TEST(Time, RoundTrip) {
  const auto t = ParseTime("2026-11-23T06:37:46.113Z");
  ASSERT_TRUE(t);
  EXPECT_EQ(t->time_since_epoch(), std::chrono::milliseconds(1'795'415'866'113));
  EXPECT_EQ(Timestamp(*t), "2026-11-23T06:37:46.113Z");
  EXPECT_TRUE(ParseTime("2026-11-23T06:37:46Z"));
  for (const char* bad : {"", "yesterday", "2026-11-23T06:37:46", "2026-11-23 06:37:46Z", "2026-11-23T06:37:46.Z1Z", "2026-13-23T06:37:46Z"})
    EXPECT_FALSE(ParseTime(bad)) << bad;
}

TEST(Tables, AlignEscapeAndEndWithoutBlanks) {
  Table table({"NAME", "SIZE", "NOTE"});
  table.Row({"a", "1.0 MiB", ""});
  table.Row({"long\x1bname", "2 B", "x"});
  table.Row({"\u4e2d\u4e2d", "", "y"});
  EXPECT_EQ(table.Text(),
            "NAME          SIZE     NOTE\n"
            "a             1.0 MiB\n"
            "long\\x1bname  2 B      x\n"
            "\u4e2d\u4e2d                   y\n");
  EXPECT_EQ(table.Text(false).find("NAME"), std::string::npos);
}

}  // namespace
}  // namespace berth::cli
