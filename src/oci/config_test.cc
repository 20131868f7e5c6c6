#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "oci/oci.h"
#include "oci/testing/documents.h"

namespace berth::oci {
namespace {

using namespace oci::testing;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

struct Row {
  std::string name, text;
  std::optional<Reason> reason;  // nullopt: accepted
  std::string words = {};
};
std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.text.substr(0, 200); }

class Configs : public ::testing::TestWithParam<Row> {};

TEST_P(Configs, GetTheVerdictOfTheTable) {
  const Row& row = GetParam();
  const Result<ImageConfig> got = ImageConfig::Parse(row.text);
  ASSERT_EQ(got.has_value(), !row.reason) << (got ? "accepted" : got.error().Text());
  if (got) {
    EXPECT_EQ(got->raw, row.text);
    return;
  }
  EXPECT_EQ(got.error().reason(), *row.reason) << got.error().Text();
  EXPECT_THAT(got.error().Text(), HasSubstr(row.words));
  EXPECT_LE(got.error().Text().size(), 1024u);
}

std::string Times(std::size_t n, std::string_view piece) {
  std::string out;
  while (n-- > 0) out += piece;
  return out;
}
std::string DiffIds(std::size_t n) { return List(std::vector<std::string>(n, '"' + DigestOf('d') + '"')); }
std::string DiffId(const std::string& text) { return ConfigText("{}", List({'"' + text + '"'})); }
std::string Env(const std::string& variable) { return ConfigText(R"({"Env":[")" + variable + "\"]}"); }
std::string Volume(const std::string& path) { return ConfigText(R"({"Volumes":{")" + path + "\":{}}}"); }
std::string Many(std::size_t n, std::string_view before, std::string_view after) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < n; ++i) all.push_back(std::string(before) + std::to_string(i) + std::string(after));
  const std::string list = List(all);
  return list.substr(1, list.size() - 2);
}

constexpr Reason kInvalid = Reason::kInvalidConfig;

INSTANTIATE_TEST_SUITE_P(
    ReliabilitySecurity3b, Configs,
    ::testing::Values(
        Row{"B58_plain", ConfigText(), {}}, Row{"B21_diff_id", DiffId("sha256:../../x"), Reason::kInvalidDigest, "$.rootfs.diff_ids[0]"},
        Row{"B23_diff_id", DiffId("md5:" + std::string(32, 'a')), Reason::kInvalidDigest},
        Row{"B22_diff_id_upper", DiffId(DigestOf('A')), Reason::kInvalidDigest}, Row{"diff_id_number", ConfigText("{}", "[7]"), kInvalid},
        Row{"B31_500", ConfigText("{}", DiffIds(500)), {}}, Row{"B31_501", ConfigText("{}", DiffIds(501)), Reason::kLimitExceeded, "limit: layers"},
        Row{"B45_other_type", R"({"rootfs":{"type":"x","diff_ids":[]}})", kInvalid, "$.rootfs.type"},
        Row{"B45_no_type", R"({"rootfs":{"diff_ids":[]}})", kInvalid}, Row{"B45_type_number", R"({"rootfs":{"type":1,"diff_ids":[]}})", kInvalid},
        Row{"B45_no_rootfs", R"({"os":"linux"})", kInvalid, "$.rootfs is missing"}, Row{"B45_rootfs_null", R"({"rootfs":null})", kInvalid},
        Row{"B45_no_diff_ids", R"({"rootfs":{"type":"layers"}})", kInvalid}, Row{"diff_ids_object", ConfigText("{}", "{}"), kInvalid},
        Row{"diff_ids_null_of_go", ConfigText("{}", "null"), {}}, Row{"B30_empty_config_of_artifacts", "{}", kInvalid},
        Row{"B46_binary", std::string("\x1f\x8b\x08\x00", 4), kInvalid}, Row{"B46_empty", "", kInvalid}, Row{"B46_array", "[]", kInvalid},
        Row{"B46_null", "null", kInvalid}, Row{"B46_deep", Times(100'000, "["), kInvalid, "depth"},
        Row{"B47_9_MiB", ConfigText() + std::string(9u << 20, ' '), Reason::kLimitExceeded, "document_bytes"},
        Row{"B06_twice", R"({"rootfs":{},"rootfs":{}})", kInvalid, "twice"}, Row{"B09_trailing", ConfigText() + "x", kInvalid},
        Row{"B08_case", R"({"RootFS":{},"rootfs":{"type":"layers","diff_ids":[]}})", kInvalid},
        Row{"B08_case_inside", ConfigText(R"({"entrypoint":["/x"]})"), kInvalid, "$.config.entrypoint"},
        Row{"B52_home_with_newline", Env(R"(HOME=/root\nx:0:0)"), kInvalid, "HOME"}, Row{"B52_home_with_backslash", Env(R"(HOME=/root\\nx)"), {}},
        Row{"newline_elsewhere", Env(R"(CERT=a\nb)"), {}},
        Row{"B53_up", Volume("/../../etc"), kInvalid, "Volumes"}, Row{"B53_up_at_the_end", Volume("/a/.."), kInvalid},
        Row{"B53_dots_in_a_name", Volume("/a..b/...c"), {}}, Row{"B53_empty", Volume(""), kInvalid}, Row{"B53_nul", Volume(R"(/a\u0000)"), kInvalid},
        Row{"B53_10000", ConfigText(R"({"Volumes":{)" + Many(10'000, "\"/v", "\":{}") + "}}"), {}},
        Row{"B53_array", ConfigText(R"({"Volumes":["/a"]})"), kInvalid},
        Row{"B54_proc", ConfigText(R"({"WorkingDir":"/proc/self/fd/8"})"), {}}, Row{"B54_relative", ConfigText(R"({"WorkingDir":"a"})"), {}},
        Row{"B54_100_KiB", ConfigText(R"({"WorkingDir":")" + std::string(100u << 10, 'a') + "\"}"), kInvalid},
        Row{"B54_nul", ConfigText(R"({"WorkingDir":"/\u0000"})"), kInvalid},
        Row{"B55_labels", ConfigText(R"({"Labels":{"io.kubernetes.pod.name":"x","big":")" + std::string(1u << 20, 'a') + "\"}}"), {}},
        Row{"B55_label_number", ConfigText(R"({"Labels":{"a":1}})"), kInvalid},
        Row{"B56_20000_variables", ConfigText(R"({"Env":[)" + Many(20'000, "\"V", "=x\"") + "]}"), {}}, Row{"B56_no_equals", Env("A"), {}},
        Row{"B56_twice", ConfigText(R"({"Env":["A=1","A=2"]})"), {}}, Row{"B56_env_nul", Env(R"(A=\u0000)"), kInvalid, "$.config.Env"},
        Row{"B56_entrypoint_nul", ConfigText(R"({"Entrypoint":["a\u0000b"]})"), kInvalid}, Row{"B56_cmd_nul", ConfigText(R"({"Cmd":["\u0000"]})"), kInvalid},
        Row{"B56_ports", ConfigText(R"({"ExposedPorts":{"../x":{},"99999/sctp":{}}})"), {}}, Row{"cmd_text", ConfigText(R"({"Cmd":"sh"})"), kInvalid},
        Row{"env_of_numbers", ConfigText(R"({"Env":[1]})"), kInvalid}, Row{"config_null", ConfigText("null"), {}},
        Row{"nulls_are_absent", ConfigText(R"({"Cmd":null,"Entrypoint":null,"Env":null,"Labels":null,"Volumes":null,"User":null})"), {}},
        Row{"config_array", ConfigText("[]"), kInvalid}),
    [](const auto& row) { return row.param.name; });

TEST(ImageConfig, KeepsWhatItSays) {
  const Result<ImageConfig> got = ImageConfig::Parse(ConfigText(
      R"({"User":"app:users","Env":["A=1","B=2"],"Entrypoint":["/e"],"Cmd":["x","y"],"WorkingDir":"/w","StopSignal":"SIGINT",)"
      R"("Labels":{"l":"m"},"Volumes":{"/v":{},"/a":{}},"ExposedPorts":{"80/tcp":{}}})",
      List({'"' + DigestOf('1') + '"', '"' + DigestOf('2') + '"'}),
      R"("os":"linux","architecture":"arm","variant":"v6","os.version":"1","os.features":["f"],"created":"2026-01-01T00:00:00Z","history":[{}])"));
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->platform, (Platform{"linux", "arm", "v6", "1", {"f"}}));
  ASSERT_EQ(got->diff_ids.size(), 2u);
  EXPECT_EQ(got->diff_ids[1].ToString(), DigestOf('2'));
  EXPECT_EQ(got->user, "app:users");
  EXPECT_THAT(got->env, ElementsAre("A=1", "B=2"));
  EXPECT_THAT(got->entrypoint, ElementsAre("/e"));
  EXPECT_THAT(got->cmd, ElementsAre("x", "y"));
  EXPECT_EQ(got->working_dir, "/w");
  EXPECT_EQ(got->stop_signal, "SIGINT");
  EXPECT_EQ(got->created, "2026-01-01T00:00:00Z");
  EXPECT_EQ(got->labels.at("l"), "m");
  EXPECT_THAT(got->volumes, ElementsAre("/a", "/v"));
  EXPECT_THAT(got->exposed_ports, ElementsAre("80/tcp"));
}

struct User {
  std::string name, text;
  bool accepted;
  std::optional<std::int64_t> uid = {};
  std::string username = {};
};
class Users : public ::testing::TestWithParam<User> {};

TEST_P(Users, AreNeverReadAsAnotherNumber) {
  const User& row = GetParam();
  const Result<ImageConfig> got = ImageConfig::Parse(ConfigText(R"({"User":")" + row.text + "\"}"));
  ASSERT_EQ(got.has_value(), row.accepted);
  if (got) {
    EXPECT_EQ(got->Uid(), row.uid);
    EXPECT_EQ(got->Username(), row.username);
  } else {
    EXPECT_EQ(got.error().reason(), kInvalid);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Critest, Users,
    ::testing::Values(User{"uid", "1002", true, 1002}, User{"name", "www-data", true, {}, "www-data"},
                      User{"uid_and_group", "1003:group", true, 1003}, User{"name_and_group", "www-data:group", true, {}, "www-data"},
                      User{"none", "", true}, User{"zero", "0", true, 0}, User{"zeros", "0:0", true, 0}, User{"group_only", ":1000", true},
                      User{"empty_group", "5:", true, 5}),
    [](const auto& row) { return row.param.name; });
INSTANTIATE_TEST_SUITE_P(
    B49_B51, Users,
    ::testing::Values(User{"B49_2_32", "4294967296:0", false}, User{"B49_2_31", "2147483648", false}, User{"B49_minus_1_unsigned", "4294967295", false},
                      User{"B49_most", "2147483647", true, 2147483647}, User{"B49_huge", std::string(200, '9'), false},
                      User{"B49_group", "0:4294967296", false}, User{"B50_minus", "-1:-1", false}, User{"B50_plus", "+0", false},
                      User{"B50_hex_is_a_name", "0x0", true, {}, "0x0"}, User{"B50_space", " 0", false}, User{"B50_space_after", "0 ", false},
                      User{"B50_two_zeros", "00", false}, User{"B50_group", "a:-1", false}, User{"B51_newline", R"(a\nroot:x:0:0)", false},
                      User{"B51_two_colons", "a:b:c", false}, User{"B51_nul", R"(0\u0000)", false}, User{"B51_1_MiB", std::string(1u << 20, 'a'), false},
                      User{"windows", R"(NT AUTHORITY\\SYSTEM)", true, {}, R"(NT AUTHORITY\SYSTEM)"}),
    [](const auto& row) { return row.param.name; });

TEST(CheckConfigFits, CountsLayers) {
  const Manifest two = *Manifest::Parse(ManifestText({DescriptorText(kLayerGzip), DescriptorText(kLayerGzip)}), "");
  EXPECT_TRUE(CheckConfigFits(two, *ImageConfig::Parse(ConfigText("{}", DiffIds(2)))));
  for (const std::size_t n : {0u, 1u, 3u}) {  // B-44, fewer and more
    const Result<> got = CheckConfigFits(two, *ImageConfig::Parse(ConfigText("{}", DiffIds(n))));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().reason(), Reason::kDigestMismatch);
  }
  EXPECT_TRUE(CheckConfigFits(*Manifest::Parse(ManifestText({}), ""), *ImageConfig::Parse(ConfigText("{}", "null"))));
}

TEST(CheckPlatform, B48_TheConfigMayContradictTheIndex) {
  const auto verdict = [](std::string_view platform, std::string_view host) {
    return CheckPlatform(*ImageConfig::Parse(ConfigText("{}", "[]", platform)), PlatformMatcher(*Platform::Parse(host)));
  };
  EXPECT_TRUE(verdict(R"("os":"linux","architecture":"amd64")", "linux/amd64"));
  EXPECT_TRUE(verdict(R"("os":"linux","architecture":"386")", "linux/amd64"));
  EXPECT_TRUE(verdict(R"("os":"linux","architecture":"arm")", "linux/arm/v6"));  // builders leave the variant out
  EXPECT_TRUE(verdict(R"("created":"")", "linux/amd64"));
  for (const Result<>& no : {verdict(R"("os":"windows","architecture":"amd64")", "linux/amd64"),
                             verdict(R"("os":"linux","architecture":"s390x")", "linux/amd64")}) {
    ASSERT_FALSE(no);
    EXPECT_EQ(no.error().reason(), Reason::kNoMatch);
    EXPECT_THAT(no.error().Text(), EndsWith(", not linux/amd64"));  // what was asked for, be it this host's or not
  }
}

TEST(EffectivePlatform, IsFoundAgainByWhoAccepted) {
  struct Case { std::string_view config, promised, host, is; };
  for (const Case& row : {Case{R"("os":"linux","architecture":"amd64")", "", "linux/amd64", "linux/amd64"},
                         Case{R"("created":"")", "", "linux/amd64", "linux/amd64"}, Case{R"("os":"linux")", "", "linux/arm64", "linux/arm64"},
                         Case{R"("architecture":"386")", "", "linux/amd64", "linux/386"},
                         Case{R"("os":"linux","architecture":"amd64","variant":"v3")", "", "linux/amd64", "linux/amd64"},
                         Case{R"("os":"linux","architecture":"arm")", "", "linux/arm/v6", "linux/arm/v6"},
                         Case{R"("os":"linux","architecture":"arm")", "linux/arm/v6", "linux/arm/v7", "linux/arm/v6"},
                         Case{R"("os":"linux","architecture":"s390x")", "", "linux/amd64", "linux/s390x"}}) {
    const auto config = ImageConfig::Parse(ConfigText("{}", "[]", row.config));
    const PlatformMatcher host(*Platform::Parse(row.host));
    const auto promised = row.promised.empty() ? std::optional<Platform>() : *Platform::Parse(row.promised);
    const Platform is = EffectivePlatform(*config, promised, host);
    EXPECT_EQ(is.ToString(), row.is) << row.config;
    EXPECT_EQ(CheckPlatform(*config, host).has_value(), host.Rank(*Platform::Parse(is.ToString())).has_value()) << row.config;
  }
}

TEST(ChainIds, HashTheTextOfTheOneBelowAndTheDiffId) {
  const digest::Digest a = *digest::Digest::Parse(DigestOf('a')), b = *digest::Digest::Parse(DigestOf('b'));
  EXPECT_TRUE(ChainIds({}).empty());
  EXPECT_THAT(ChainIds({a}), ElementsAre(a));
  const digest::Digest ab = digest::Digest::Of(bytes::AsView(DigestOf('a') + " " + DigestOf('b')));
  const digest::Digest aba = digest::Digest::Of(bytes::AsView(ab.ToString() + " " + DigestOf('a')));
  EXPECT_THAT(ChainIds({a, b, a}), ElementsAre(a, ab, aba));
  // Known answer, from sha256sum.
  EXPECT_EQ(ab.ToString(), "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c");
}

}  // namespace
}  // namespace berth::oci
