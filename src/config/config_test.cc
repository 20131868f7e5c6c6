#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "config/daemon_config.h"
#include "result/testing/dirs.h"

namespace berth::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kHead = "apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\n";

Result<DaemonConfig> Parse(std::string_view body, std::vector<std::string> overrides = {}) {
  return ParseConfig(std::string(kHead) + std::string(body), "f.yaml", overrides);
}

TEST(Config, DefaultsAreTheSpecificationsLimits) {
  const auto config = ParseConfig("", "f", {});
  ASSERT_TRUE(config) << config.error().Text();
  EXPECT_EQ(config->root, "/var/lib/berth");
  EXPECT_EQ(config->pull.limits.layers, 500u);
  EXPECT_EQ(config->pull.limits.document_bytes, 4u << 20);
  EXPECT_EQ(config->registry.document_bytes, 4u << 20);
  EXPECT_EQ(config->unpack.build.depth, 1024u);
  EXPECT_EQ(config->unpack.tar.entries, config->unpack.build.entries);
  EXPECT_EQ(config->registry.redirects, 5);
}

TEST(Config, NestedAndDottedKeysListsUnitsAndChoices) {
  const auto config = Parse(R"(root: /srv/berth
pull: {layers: 6, keepBlobs: Never, partialAge: 90m}
retry.base: 250ms
limits:
  layer_bytes: 3Gi
hostsDirs: [/a, /b]
plainHttp:
- 127.0.0.1:5000
form: tree
log: {format: json, level: debug}
layers: {blockDevices: true}
credentials: {profile: Kubelet, nodeConfig: []}
---
kind: KubeletConfiguration
serializeImagePulls: false
)");
  ASSERT_TRUE(config) << config.error().Text();
  EXPECT_EQ(config->root, "/srv/berth");
  EXPECT_EQ(config->pull.layers, 6u);
  EXPECT_EQ(config->pull.keep_blobs, pull::KeepBlobs::kNever);
  EXPECT_EQ(config->partial_age, std::chrono::minutes(90));
  EXPECT_EQ(config->registry.retry.base, std::chrono::milliseconds(250));
  EXPECT_EQ(config->pull.limits.layer_bytes, 3ull << 30);
  EXPECT_THAT(config->registry.hosts.roots, ElementsAre("/a", "/b"));
  EXPECT_THAT(config->registry.hosts.plain_http, ElementsAre("127.0.0.1:5000"));
  EXPECT_EQ(config->form, FormChoice::kTree);
  EXPECT_EQ(config->log.format, log::Format::kJson);
  EXPECT_TRUE(config->unpack.build.block_devices);
  EXPECT_EQ(config->profile, credentials::Profile::kKubelet);
  EXPECT_TRUE(config->node_config.empty());
  EXPECT_EQ(config->origins.at("retry.base"), "f.yaml:5");
}

TEST(Config, ConnectionsCanBeLedElsewhere) {
  const auto config = Parse("resolve: [\"reg.test:443=127.0.0.1:5000\", \"[2001:db8::1]:443=[::1]:5001\"]\n");
  ASSERT_TRUE(config) << config.error().Text();
  EXPECT_THAT(config->registry.overrides, ElementsAre(http::ResolveOverride{"reg.test", 443, "127.0.0.1", 5000},
                                                      http::ResolveOverride{"2001:db8::1", 443, "::1", 5001}));
  EXPECT_EQ(ParseConfig(PrintConfig(*config), "again", {})->registry.overrides, config->registry.overrides);
}

TEST(Config, SetComesLast) {
  const auto config = Parse("root: /a\n", {"root=/b", "hostsDirs=/x,/y", "pull.layers=1"});
  ASSERT_TRUE(config) << config.error().Text();
  EXPECT_EQ(config->root, "/b");
  EXPECT_THAT(config->registry.hosts.roots, ElementsAre("/x", "/y"));
  EXPECT_EQ(config->origins.at("root"), "--set");
}

struct BadCase { const char *name, *body, *want; };
class BadConfigTest : public testing::TestWithParam<BadCase> {};
TEST_P(BadConfigTest, SaysWhereAndWhat) {
  const auto config = Parse(GetParam().body);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().reason(), Reason::kConfig);
  EXPECT_THAT(config.error().Text(), HasSubstr(GetParam().want));
  EXPECT_THAT(config.error().Text(), HasSubstr("f.yaml:"));
}
INSTANTIATE_TEST_SUITE_P(Bad, BadConfigTest, testing::Values(
    BadCase{"UnknownKey", "rot: /a\n", "f.yaml:3: there is no setting \"rot\"; did you mean \"root\"?"},
    BadCase{"UnknownNestedKey", "pull: {layer: 3}\n", "did you mean \"pull.layers\"?"},
    BadCase{"NothingNear", "zzzzzzzzzzzzzzzzzz: 1\n", "there is no setting"},
    BadCase{"NoNumber", "pull: {layers: many}\n", "pull.layers: \"many\" is not a whole number"},
    BadCase{"Zero", "pull: {layers: 0}\n", "at least 1"},
    BadCase{"Negative", "pull: {layers: -1}\n", "whole number"},
    BadCase{"TooLarge", "limits: {layer_bytes: 99999999999Ti}\n", "whole number"},
    BadCase{"NoUnit", "retry: {base: 5}\n", "a duration such as"},
    BadCase{"BadChoice", "form: erof\n", "one of auto, erofs, tree"},
    BadCase{"ListForScalar", "root: [/a]\n", "must be one value"},
    BadCase{"ScalarForList", "hostsDirs: /a\n", "must be a list"},
    BadCase{"ListOfMaps", "hostsDirs: [{a: b}]\n", "plain values"},
    BadCase{"BrokenYaml", "root: [\n", "no valid YAML"},
    BadCase{"NoLimitIsOff", "limits: {connect: 0s}\n", "no limit can be switched off"},
    BadCase{"ResolveWithoutPort", "resolve: [\"a=b:1\"]\n", "host:port=address:port"},
    BadCase{"ResolveBareIpv6", "resolve: [\"::1:2=b:1\"]\n", "host:port=address:port"},
    BadCase{"OtherKind", "---\nkind: Pod\n", "kind is \"Pod\""},
    BadCase{"AliasOfNothing", "root: /x\nsocket: *a\n", "no valid YAML"},
    BadCase{"TooDeep", "a: [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]\n", "nested deeper than 16"},
    BadCase{"TrailingGarbage", "root: /x\n}\n", "no valid YAML"},
    BadCase{"NoMap", "---\n- a\n", "must be a map"}),
  [](const auto& i) { return i.param.name; });

// yaml-cpp 0.7 gives empty documents without end for these (found by config_fuzz).
TEST(Config, MalformedTextEnds) {
  for (const char* text : {",piVersionaai?er", ",", "?,", "]"}) {
    const auto config = ParseConfig(text, "f.yaml", {});
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().reason(), Reason::kConfig);
  }
}

TEST(Config, AddressesAreChecked) {
  EXPECT_THAT(Parse("", {"apiserver.listen=localhost:6443"}).error().Text(), HasSubstr("apiserver.listen: \"localhost:6443\" is not ADDRESS:PORT"));
  EXPECT_TRUE(Parse("", {"apiserver.listen=127.0.0.1:6443"}));
}
TEST(Config, RelativePathsAreRefused) { EXPECT_THAT(Parse("", {"root=store"}).error().Text(), HasSubstr("absolute path")); }

TEST(Config, WhatIsPrintedReadsBack) {
  const auto config = Parse("root: \"/a b\"\nhostsDirs: [\"x\\\"y\", /z]\npull: {layers: 6}\n");
  ASSERT_TRUE(config);
  const std::string printed = PrintConfig(*config);
  EXPECT_THAT(printed, HasSubstr("pull.layers: 6  # f.yaml:5"));
  EXPECT_THAT(printed, HasSubstr("# default"));
  const auto again = ParseConfig(printed, "again", {});
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(again->root, "/a b");
  EXPECT_EQ(again->registry.hosts.roots, config->registry.hosts.roots);
}

TEST(Config, TheRulesForImagesAreASectionOfTheirOwn) {
  EXPECT_FALSE(Parse("")->verification.enabled());
  EXPECT_THAT(PrintConfig(*Parse("")), HasSubstr("# verification off"));
  const auto config = Parse("verification:\n  default: Warn\n  rules: [{match: [a.example], action: Deny}]\n");
  ASSERT_TRUE(config) << config.error().Text();
  EXPECT_EQ(config->verification.rules().size(), 1u);
  const auto again = ParseConfig(PrintConfig(*config), "again", {});
  ASSERT_TRUE(again) << again.error().Text();
  EXPECT_EQ(again->verification.text(), config->verification.text());
  const auto bad = Parse("verification: {rules: [{match: [busybox], action: Deny}]}\n");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().reason(), Reason::kConfig);
  EXPECT_THAT(bad.error().Text(), HasSubstr("never matches"));
  EXPECT_FALSE(Parse("", {"verification.default=Allow"})) << "not from the command line";
}

TEST(Config, LimitsAreListed) {
  const auto limits = ListLimits(*ParseConfig("", "", {}));
  EXPECT_THAT(limits, testing::Contains("limits.layers=500"));
  EXPECT_GT(limits.size(), 20u);
}

TEST(Config, TheReferencePageIsCurrent) {
  std::ifstream file(std::string(berth::result::testing::kSourceDir) + "/docs/config.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), ConfigReference()) << "run: berthd --config-reference > docs/config.md";
}

}  // namespace
}  // namespace berth::config
