#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/daemon_config.h"
#include "host/testing/scratch.h"
#include "result/testing/dirs.h"

namespace berth::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kHead = "apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\n";

Result<DaemonConfig> Parse(std::string_view body, std::vector<std::string> overrides = {}) {
  return ParseConfig(std::string(kHead) + std::string(body), "f.yaml", overrides);
}

// reliability-security 5.12, cell by cell: each is a setting, has this default, and is printed with the limits.
struct Limit { const char *name, *key, *value; };
class LimitTest : public testing::TestWithParam<Limit> {};
TEST_P(LimitTest, HasTheSpecificationsDefault) {
  const auto& [name, key, value] = GetParam();
  EXPECT_THAT(ListLimits(*ParseConfig("", "", {})), testing::Contains(std::string(key) + "=" + value));
  // And can be changed.
  const std::string text(value), other = text.ends_with('s') || text.ends_with('m') ? "77s" : "77Mi";
  const auto changed = ParseConfig("", "", {std::string(key) + "=" + other});
  ASSERT_TRUE(changed) << changed.error().Text();
  EXPECT_THAT(ListLimits(*changed), testing::Contains(std::string(key) + "=" + (other == "77s" ? "77s" : "77Mi")));
}
INSTANTIATE_TEST_SUITE_P(
    Specification, LimitTest,
    testing::Values(
        Limit{"ManifestIndexConfig", "limits.document_bytes", "4Mi"}, Limit{"DocumentsPerPull", "limits.documents", "64"},
        Limit{"DocumentBytesPerPull", "limits.documents_bytes", "16Mi"},
        Limit{"IndexDepth", "limits.index_depth", "4"}, Limit{"IndexEntries", "limits.index_entries", "50000"},
        Limit{"Layers", "limits.layers", "500"}, Limit{"LayerCompressed", "limits.layer_bytes", "64Gi"},
        Limit{"LayerStream", "limits.output_bytes", "256Gi"}, Limit{"LayerUnpacked", "limits.unpacked_bytes", "256Gi"},
        Limit{"Reserve", "limits.reserve_bytes", "16Mi"},
        Limit{"EntriesPerLayer", "limits.entries", "2000000"}, Limit{"Depth", "limits.depth", "1Ki"},
        Limit{"Extension", "limits.extension_bytes", "1Mi"}, Limit{"ExtensionsInARow", "limits.extensions_in_a_row", "8"},
        Limit{"XattrValue", "limits.xattr_value_bytes", "64Ki"}, Limit{"XattrTotal", "limits.xattr_total_bytes", "256Ki"},
        Limit{"Xattrs", "limits.xattrs", "64"}, Limit{"ZstdWindow", "limits.zstd_window_bytes", "128Mi"},
        Limit{"ZstdBudget", "limits.zstd_budget_bytes", "256Mi"}, Limit{"MemoryOfChild", "limits.worker_bytes", "96Mi"},
        Limit{"HeaderBytes", "limits.header_bytes", "64Ki"}, Limit{"HeaderFields", "limits.header_fields", "256"},
        Limit{"InformationalAnswers", "limits.informational", "10"}, Limit{"TokenBody", "limits.token_body_bytes", "1Mi"},
        Limit{"Token", "limits.token_bytes", "64Ki"}, Limit{"ErrorBody", "limits.error_body_bytes", "64Ki"},
        Limit{"Redirects", "limits.redirects", "5"}, Limit{"AttemptsPerBlob", "retry.rounds", "5"},
        Limit{"Refill", "retry.refill", "1Mi"}, Limit{"Connect", "limits.connect", "10s"}, Limit{"Tls", "limits.tls", "10s"},
        Limit{"Headers", "limits.headers", "30s"}, Limit{"MinimumRate", "limits.min_rate", "1Ki"},
        Limit{"MinimumRateOver", "limits.stall_window", "1m"}, Limit{"RetryAfterCap", "retry.retryAfterCap", "1m"},
        Limit{"ConcurrentPulls", "pull.parallel", "8"}, Limit{"PlugInTime", "limits.plugin_time", "1m"},
        // Of blobs and unpacks at once the table has 12 and the number of cores. Here they are one thing, and 4 has measured best.
        Limit{"ConcurrentBlobsAndUnpacks", "pull.layers", "4"},
        Limit{"PlugInOutput", "limits.plugin_output_bytes", "1Mi"}, Limit{"PlugInErrors", "limits.plugin_error_bytes", "8Ki"},
        Limit{"PlugInsAtOnce", "limits.plugins", "4"}, Limit{"DockerConfig", "limits.docker_config_bytes", "1Mi"},
        Limit{"DockerConfigDepth", "limits.docker_config_depth", "32"}, Limit{"UserDatabase", "limits.account_file_bytes", "1Mi"},
        Limit{"UserDatabaseLine", "limits.account_line_bytes", "64Ki"}, Limit{"RpcMessage", "limits.message_bytes", "16Mi"},
        Limit{"RpcMetadata", "limits.metadata_bytes", "16Ki"}, Limit{"Streams", "limits.streams", "256"},
        Limit{"ConnectionsPerUid", "limits.connections_per_process", "64"}, Limit{"Signatures", "limits.signatures", "64"},
        Limit{"SignatureBytes", "limits.signature_bytes", "4Mi"}),
    [](const auto& i) { return i.param.name; });  // "review" is berth-webhook's

// One setting, two readers; and structs whose own defaults a configuration replaces have the same.
TEST(Config, EveryReaderHasTheSameDefault) {
  const auto config = ParseConfig("", "f", {});
  ASSERT_TRUE(config) << config.error().Text();
  EXPECT_EQ(config->root, "/var/lib/berth");
  EXPECT_EQ(config->registry.document_bytes, config->pull.limits.document_bytes);
  EXPECT_EQ(config->unpack.tar.entries, config->unpack.build.entries);
  EXPECT_EQ(config->zstd_budget_bytes, layer::StoreOptions().zstd_budget_bytes);
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
    BadCase{"SweepsWithoutPause", "pull: {sweepEvery: 0s}\n", "f.yaml:3: pull.sweepEvery: \"0s\" is not at least 1s"},
    BadCase{"SweepsAlmostWithoutPause", "pull: {sweepEvery: 999ms}\n", "at least 1s"},
    BadCase{"LongerThanClocksGo", "pull: {sweepEvery: 2562047h}\n", "\"2562047h\" is not at most 800000h"},
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

TEST(Config, DropInsComeAfterTheFileInTheOrderOfTheirNames) {
  const host::testing::Scratch scratch;
  const std::filesystem::path folder = scratch.path();
  const auto write = [&](const std::string& name, const std::string& body) {
    std::ofstream(folder / name, std::ios::trunc) << "apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\n" << body;
  };
  const std::string file = folder / "config.yaml";
  EXPECT_EQ(LoadConfig(file, {}).error().reason(), Reason::kConfig);
  std::filesystem::create_directory(folder / "config.d");
  EXPECT_EQ(LoadConfig(file, {}).error().reason(), Reason::kConfig) << "an empty folder is no configuration";
  write("config.yaml", "root: /main\nhostsDirs: [/a, /b]\npull: {layers: 2, parallel: 3}\n");
  write("config.d/20-second.yaml", "root: /second\nhostsDirs: [/c]\n");
  write("config.d/10-first.yaml", "root: /first\npull: {layers: 7}\n");
  write("config.d/30-other.txt", "root: /other\n");
  const auto config = LoadConfig(file, {"pull.parallel=9"});
  ASSERT_TRUE(config) << config.error().Text();
  EXPECT_EQ(config->root, "/second");
  EXPECT_THAT(config->registry.hosts.roots, ElementsAre("/c"));
  EXPECT_EQ(config->pull.layers, 7u);
  EXPECT_EQ(config->pull.pulls, 9u);
  EXPECT_THAT(PrintConfig(*config), HasSubstr("root: /second  # " + (folder / "config.d/20-second.yaml").string() + ":3\n"));
  write("config.d/40-bad.yaml", "rot: /x\n");
  EXPECT_THAT(LoadConfig(file, {}).error().Text(), HasSubstr((folder / "config.d/40-bad.yaml").string() + ":3: there is no setting"));
  std::filesystem::remove(folder / "config.d/40-bad.yaml");
  std::filesystem::remove(file);
  EXPECT_EQ(LoadConfig(file, {})->root, "/second") << "the folder alone will do";
}

// What a reload finds gone is no wish to do without it: rules for images may be in there.
TEST(Config, AReloadMissesFilesThatWereReadBefore) {
  const std::vector<std::string> all{"config.yaml", "config.d/10-a.yaml", "config.d/20-b.yaml"};
  struct Row { std::vector<std::string> before; std::string gone; };  // files there, the missing one (or none)
  for (const Row& row : {Row{all, ""}, Row{all, "config.yaml"}, Row{all, "config.d/10-a.yaml"}, Row{{all[1]}, all[1]}, Row{{all[1], all[2]}, all[2]},
                         Row{{all[0]}, all[0]}}) {
    SCOPED_TRACE(std::to_string(row.before.size()) + " files without " + row.gone);
    const host::testing::Scratch scratch;
    const std::filesystem::path folder = scratch.path();
    std::filesystem::create_directory(folder / "config.d");
    std::vector<std::string> names;
    for (const auto& name : row.before) std::ofstream(folder / name) << kHead, names.push_back(folder / name);
    const auto start = LoadConfig(folder / "config.yaml", {});
    ASSERT_TRUE(start) << start.error().Text();
    EXPECT_EQ(start->files, names);
    if (!row.gone.empty()) std::filesystem::remove(folder / row.gone);
    std::ofstream(folder / "config.d/30-new.yaml") << kHead;
    const auto again = LoadConfig(folder / "config.yaml", {}, start->files);
    ASSERT_EQ(static_cast<bool>(again), row.gone.empty());
    if (again) {
      EXPECT_EQ(again->files.size(), names.size() + 1);
      continue;
    }
    EXPECT_EQ(again.error().reason(), Reason::kConfig);
    EXPECT_THAT(again.error().Text(), HasSubstr("the configuration file \"" + (folder / row.gone).string() + "\" was read before and is gone"));
    EXPECT_THAT(again.error().next_step(), HasSubstr("put it back"));
    std::ofstream(folder / row.gone) << "";
    EXPECT_TRUE(LoadConfig(folder / "config.yaml", {}, start->files));
  }
}

TEST(Config, TheReferencePageIsCurrent) {
  std::ifstream file(std::string(berth::result::testing::kSourceDir) + "/docs/config.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), ConfigReference()) << "run: berthd --config-reference > docs/config.md";
}

}  // namespace
}  // namespace berth::config
