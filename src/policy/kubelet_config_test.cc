// kubelet-images 4.8.1, 5.1, 9.1.
#include "policy/kubelet_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::policy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Result<ParsedKubeletConfig> Read(const std::string& members) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(R"({"kind":"KubeletConfiguration","apiVersion":"kubelet.config.k8s.io/v1beta1")" +
                                                                  (members.empty() ? "" : "," + members) + "}", Reason::kConfig));
  return ParseKubeletConfig(document.root());
}

struct Invalid { const char *members, *message; };  // message "": valid
class Validation : public testing::TestWithParam<Invalid> {};
TEST_P(Validation, InTheKubeletsWords) {
  const auto read = Read(GetParam().members);
  ASSERT_TRUE(read) << read.error().Text();
  const std::string message = GetParam().message;
  if (message.empty()) EXPECT_THAT(read->config.Validate(), IsEmpty());
  else EXPECT_THAT(read->config.Validate(), ElementsAre("invalid configuration: " + message));
  EXPECT_EQ(read->config.Check().has_value(), message.empty());
}
INSTANTIATE_TEST_SUITE_P(
    Table, Validation,
    testing::Values(
        Invalid{"", ""}, Invalid{R"("registryBurst":-1)", "registryBurst (--registry-burst) -1 must not be a negative number"},
        Invalid{R"("registryPullQPS":-1)", "registryPullQPS (--registry-qps) -1 must not be a negative number"},
        Invalid{R"("maxParallelImagePulls":0)", "maxParallelImagePulls 0 must be a positive number"},
        Invalid{R"("maxParallelImagePulls":-1)", "maxParallelImagePulls -1 must be a positive number"},
        Invalid{R"("maxParallelImagePulls":4,"serializeImagePulls":true)",
                "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false"},
        Invalid{R"("maxParallelImagePulls":2,"serializeImagePulls":true)",
                "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false"},
        Invalid{R"("maxParallelImagePulls":1,"serializeImagePulls":true)", ""}, Invalid{R"("serializeImagePulls":true)", ""},
        Invalid{R"("serializeImagePulls":false)", ""}, Invalid{R"("maxParallelImagePulls":null,"serializeImagePulls":false)", ""},
        Invalid{R"("nodeStatusMaxImages":-1)", ""},
        Invalid{R"("nodeStatusMaxImages":-2)", "nodeStatusMaxImages (--node-status-max-images) -2 must be -1 or greater"},
        Invalid{R"("maxPods":-1)", "maxPods (--max-pods) -1 must not be a negative number"},
        Invalid{R"("imageGCHighThresholdPercent":101)", "imageGCHighThresholdPercent (--image-gc-high-threshold) 101 must be between 0 and 100, inclusive"},
        Invalid{R"("imageGCLowThresholdPercent":-1)", "imageGCLowThresholdPercent (--image-gc-low-threshold) -1 must be between 0 and 100, inclusive"},
        Invalid{R"("imageGCLowThresholdPercent":85)",
                "imageGCLowThresholdPercent (--image-gc-low-threshold) 85 must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) 85"},
        Invalid{R"("imageMinimumGCAge":"-1ns")", "imageMinimumGCAge -1ns must not be negative"},
        Invalid{R"("imageMaximumGCAge":"-1ns")", "imageMaximumGCAge -1ns must not be negative"},
        Invalid{R"("imageMaximumGCAge":"1ns","imageMinimumGCAge":"2ns")", "imageMaximumGCAge 1ns must be greater than imageMinimumGCAge 2ns"},
        Invalid{R"("imageMaximumGCAge":"2m")", "imageMaximumGCAge 2m0s must be greater than imageMinimumGCAge 2m0s"},
        Invalid{R"("imageMaximumGCAge":"2m1s")", ""},
        Invalid{R"("imagePullCredentialsVerificationPolicy":"x")",
                "option \"x\" specified for imagePullCredentialsVerificationPolicy. Valid options are \"NeverVerify\", "
                "\"NeverVerifyPreloadedImages\", \"NeverVerifyAllowlistedImages\" or \"AlwaysVerify\""},
        Invalid{R"("preloadedImagesVerificationAllowlist":["ubuntu"])",
                "can't set `preloadedImagesVerificationAllowlist` if `imagePullCredentialsVertificationPolicy` is not \"NeverVerifyAllowlistedImages\""},
        Invalid{R"("imagePullCredentialsVerificationPolicy":"NeverVerifyAllowlistedImages","preloadedImagesVerificationAllowlist":["ubuntu","*"])",
                "invalid image pattern in `preloadedImagesVerificationAllowlist`: not a valid wildcard pattern, only patterns ending with '/*' are allowed: *"},
        Invalid{R"("imagePullCredentialsVerificationPolicy":"NeverVerifyAllowlistedImages","preloadedImagesVerificationAllowlist":["ubuntu"])", ""},
        Invalid{R"("imagePullCredentialsVerificationPolicy":"AlwaysVerify")", ""},
        Invalid{R"("featureGates":{"KubeletEnsureSecretPulledImages":false})", ""},
        Invalid{R"("imagePullCredentialsVerificationPolicy":"AlwaysVerify","featureGates":{"KubeletEnsureSecretPulledImages":false})",
                "`imagePullCredentialsVerificationPolicy` must not be set if KubeletEnsureSecretPulledImages feature gate is not enabled"},
        Invalid{R"("preloadedImagesVerificationAllowlist":["x"],"featureGates":{"KubeletEnsureSecretPulledImages":false})",
                "`preloadedImagesVerificationAllowlist` must not be set if KubeletEnsureSecretPulledImages feature gate is not enabled"},
        Invalid{R"("crashLoopBackOff":{"maxContainerRestartPeriod":"60s"})", ""},
        Invalid{R"("crashLoopBackOff":{"maxContainerRestartPeriod":"500ms"})",
                "CrashLoopBackOff.MaxContainerRestartPeriod (got: 0.5 seconds) must be set between 1s and 300s"},
        Invalid{R"("crashLoopBackOff":{"maxContainerRestartPeriod":"60s"},"featureGates":{"KubeletCrashLoopBackOffMax":false})",
                "FeatureGate KubeletCrashLoopBackOffMax not enabled, CrashLoopBackOff.MaxContainerRestartPeriod must not be set"}));

TEST(KubeletConfig, SeveralViolationsAreOneError) {
  const auto checked = Read(R"("registryBurst":-1,"registryPullQPS":-2)")->config.Check();
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().Text(), "[invalid configuration: registryBurst (--registry-burst) -1 must not be a negative number, "
                                    "invalid configuration: registryPullQPS (--registry-qps) -2 must not be a negative number]");
}

struct Serial { const char* members; bool serial; std::optional<std::int64_t> limit; };
class Queueing : public testing::TestWithParam<Serial> {};
TEST_P(Queueing, SerialUnlessSaidOtherwise) {
  const auto queue = Read(GetParam().members)->config.queue();
  EXPECT_EQ(queue.serial, GetParam().serial);
  EXPECT_EQ(queue.limit, GetParam().limit);
}
INSTANTIATE_TEST_SUITE_P(Table, Queueing,
                         testing::Values(Serial{"", true, {}}, Serial{R"("maxParallelImagePulls":1)", true, 1}, Serial{R"("maxParallelImagePulls":2)", false, 2},
                                         Serial{R"("serializeImagePulls":false)", false, {}}, Serial{R"("serializeImagePulls":null)", true, {}}));

TEST(KubeletConfig, Defaults) {
  const auto read = Read("");
  const KubeletConfig& c = read->config;
  EXPECT_EQ(c.registry_pull_qps, 5);
  EXPECT_EQ(c.registry_burst, 10);
  EXPECT_EQ(c.node_status_max_images, 50);
  EXPECT_EQ(c.max_pods, 110);
  EXPECT_EQ(c.image_gc_high_threshold_percent, 85);
  EXPECT_EQ(c.image_gc_low_threshold_percent, 80);
  EXPECT_EQ(c.image_minimum_gc_age, std::chrono::minutes(2));
  EXPECT_EQ(c.image_maximum_gc_age, time::Duration::zero());
  EXPECT_EQ(c.verification(), VerificationPolicy::kNeverVerifyPreloaded);
  EXPECT_TRUE(c.allow_list().empty());
}

TEST(KubeletConfig, ZeroMeansNotSetWhereTheKubeletCannotTell) {
  const auto read = Read(R"("registryBurst":0,"registryPullQPS":0,"imageMinimumGCAge":"0s","maxPods":0,"nodeStatusMaxImages":0)");
  const KubeletConfig& c = read->config;
  EXPECT_EQ(c.registry_burst, 10);
  EXPECT_EQ(c.registry_pull_qps, 0);
  EXPECT_EQ(c.image_minimum_gc_age, std::chrono::minutes(2));
  EXPECT_EQ(c.max_pods, 110);
  EXPECT_EQ(c.node_status_max_images, 0);
}

TEST(KubeletConfig, UnknownFieldsWarnOthersOfTheKubeletDoNot) {
  const auto read = Read(R"("registryQPS":1,"address":"0.0.0.0","authentication":{"x509":{}},"crashLoopBackOff":{"max":"1s"},"volumeStatsAggPeriod":"1m")");
  ASSERT_TRUE(read);
  EXPECT_THAT(read->warnings, ElementsAre("unknown field \"crashLoopBackOff.max\"", "unknown field \"registryQPS\""));
  EXPECT_THAT(read->unused, ElementsAre("address", "authentication", "volumeStatsAggPeriod"));
}

struct Wrong { const char *members, *place; };
class WrongTypes : public testing::TestWithParam<Wrong> {};
TEST_P(WrongTypes, AreErrorsWithAPlace) {
  const auto read = Read(GetParam().members);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().reason(), Reason::kConfig);
  EXPECT_THAT(read.error().Text(), HasSubstr(std::string(GetParam().place) + " must be"));
}
INSTANTIATE_TEST_SUITE_P(
    Table, WrongTypes,
    testing::Values(Wrong{R"("registryBurst":"10")", "$.registryBurst"}, Wrong{R"("registryBurst":1.5)", "$.registryBurst"},
                    Wrong{R"("registryPullQPS":2147483648)", "$.registryPullQPS"}, Wrong{R"("serializeImagePulls":"false")", "$.serializeImagePulls"},
                    Wrong{R"("imageMinimumGCAge":120)", "$.imageMinimumGCAge"}, Wrong{R"("imageMinimumGCAge":"2")", "$.imageMinimumGCAge"},
                    Wrong{R"("preloadedImagesVerificationAllowlist":"x")", "$.preloadedImagesVerificationAllowlist"},
                    Wrong{R"("preloadedImagesVerificationAllowlist":["x",1])", "$.preloadedImagesVerificationAllowlist[1]"},
                    Wrong{R"("featureGates":[])", "$.featureGates"}, Wrong{R"("featureGates":{"A":"true"})", "$.featureGates.A"},
                    Wrong{R"("crashLoopBackOff":1)", "$.crashLoopBackOff"}));

TEST(KubeletConfig, OfAnotherKindIsRefused) {
  for (const char* text : {"[]", "{}", R"({"kind":"KubeletConfiguration","apiVersion":"v1"})", R"({"kind":"Pod","apiVersion":"kubelet.config.k8s.io/v1beta1"})"}) {
    const auto document = json::Document::Parse(text, Reason::kConfig);
    EXPECT_FALSE(ParseKubeletConfig(document->root())) << text;
  }
}

// --- 4.8.1: patterns

struct PatternCase { const char *pattern, *error; };
class Patterns : public testing::TestWithParam<PatternCase> {};
TEST_P(Patterns, AreChecked) {
  const auto list = AllowList::Parse(std::vector<std::string>{GetParam().pattern});
  EXPECT_EQ(list ? "" : list.error().Text(), GetParam().error);
}
#define NOT_A_WILDCARD "not a valid wildcard pattern, only patterns ending with '/*' are allowed: "
#define NO_TAG "neither tag nor digest is accepted in an image reference: "
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
INSTANTIATE_TEST_SUITE_P(
    Table, Patterns,
    testing::Values(PatternCase{"image.repo/pokus/*", ""}, PatternCase{"image.repo/pokus", ""}, PatternCase{"ubuntu", ""}, PatternCase{"image.repo/*", ""},
                    PatternCase{"image.repo/pokus*/imagename", NOT_A_WILDCARD "image.repo/pokus*/imagename"},
                    PatternCase{"image.repo/pokus*", NOT_A_WILDCARD "image.repo/pokus*"},
                    PatternCase{"image.repo/*/imagename", NOT_A_WILDCARD "image.repo/*/imagename"}, PatternCase{"*", NOT_A_WILDCARD "*"},
                    PatternCase{"image.repo/*/*", NOT_A_WILDCARD "image.repo/*/*"}, PatternCase{"/*", "at least registry hostname is required"},
                    PatternCase{"", "the supplied pattern is too short: "}, PatternCase{"image.repo/", "failed to parse as an image name: invalid reference format"},
                    PatternCase{"image.repo/x:tag", NO_TAG "image.repo/x:tag"}, PatternCase{"image.repo/x@sha256:" ZEROS, NO_TAG "image.repo/x@sha256:" ZEROS},
                    PatternCase{"image.repo/x ", "leading/trailing spaces are not allowed: image.repo/x "},
                    PatternCase{" image.repo/x", "leading/trailing spaces are not allowed:  image.repo/x"},
                    PatternCase{"Not A Name/*", ""}));  // what stands before a wildcard is not checked

struct MatchCase { const char *pattern, *image; bool matches; };
class Matches : public testing::TestWithParam<MatchCase> {};
TEST_P(Matches, TheUsersSpelling) {
  const auto list = AllowList::Parse(std::vector<std::string>{GetParam().pattern});
  ASSERT_TRUE(list);
  EXPECT_EQ(list->Matches(GetParam().image), GetParam().matches);
}
INSTANTIATE_TEST_SUITE_P(Table, Matches,
                         testing::Values(MatchCase{"ubuntu", "ubuntu:22.04", true}, MatchCase{"ubuntu", "ubuntu", true},
                                         MatchCase{"docker.io/library/ubuntu", "ubuntu", false}, MatchCase{"docker.io/library/*", "ubuntu", false},
                                         MatchCase{"docker.io/library/*", "docker.io/library/ubuntu:1", true}, MatchCase{"ubuntu", "docker.io/library/ubuntu", false},
                                         MatchCase{"image.repo/pokus/*", "image.repo/pokus/a/b:1", true}, MatchCase{"image.repo/pokus/*", "image.repo/pokusx/a", false},
                                         MatchCase{"image.repo/pokus/*", "image.repo/pokus", false}, MatchCase{"image.repo/x", "image.repo/x@sha256:" ZEROS, true},
                                         MatchCase{"image.repo/*", "image.repo/Not Parsed", true}));

TEST(VerificationPolicies, ExactSpellingOnly) {
  for (const char* text : {"NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"})
    EXPECT_EQ(Name(ParseVerificationPolicy(text).value()), text);
  EXPECT_FALSE(ParseVerificationPolicy("alwaysVerify"));
}

}  // namespace
}  // namespace berth::policy
