#include "oci/platform.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace berth::oci {
namespace {

Platform Of(std::string os, std::string architecture, std::string variant = "") {
  return {std::move(os), std::move(architecture), std::move(variant), "", {}};
}

struct Normal {
  std::string name;
  Platform from;
  std::string want;
};
class Normalises : public ::testing::TestWithParam<Normal> {};

TEST_P(Normalises, ToOneSpelling) {
  EXPECT_EQ(GetParam().from.ToString(), GetParam().want);
  EXPECT_EQ(GetParam().from.Normalized().Normalized(), GetParam().from.Normalized());
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages11_2, Normalises,
    ::testing::Values(
        Normal{"macos", Of("macos", "amd64"), "darwin/amd64"}, Normal{"x86_64", Of("linux", "x86_64"), "linux/amd64"},
        Normal{"x86_hyphen", Of("linux", "x86-64"), "linux/amd64"}, Normal{"aarch64", Of("linux", "aarch64"), "linux/arm64"},
        Normal{"i386", Of("linux", "i386"), "linux/386"}, Normal{"armhf", Of("linux", "armhf"), "linux/arm/v7"},
        Normal{"armel", Of("linux", "armel"), "linux/arm/v6"}, Normal{"arm", Of("linux", "arm"), "linux/arm/v7"},
        Normal{"arm_5", Of("linux", "arm", "5"), "linux/arm/v5"}, Normal{"arm_6", Of("linux", "arm", "6"), "linux/arm/v6"},
        Normal{"arm_7", Of("linux", "arm", "7"), "linux/arm/v7"}, Normal{"arm_8", Of("linux", "arm", "8"), "linux/arm/v8"},
        Normal{"arm64_8", Of("linux", "arm64", "8"), "linux/arm64"}, Normal{"arm64_v8", Of("linux", "arm64", "v8"), "linux/arm64"},
        Normal{"arm64_v8_0", Of("linux", "arm64", "v8.0"), "linux/arm64"}, Normal{"arm64_v8_1", Of("linux", "arm64", "v8.1"), "linux/arm64/v8.1"},
        Normal{"arm64_9", Of("linux", "arm64", "9"), "linux/arm64/v9"}, Normal{"arm64_9_0", Of("linux", "arm64", "9.0"), "linux/arm64/v9"},
        Normal{"arm64_v9_0", Of("linux", "arm64", "v9.0"), "linux/arm64/v9"}, Normal{"amd64_v1", Of("linux", "amd64", "v1"), "linux/amd64"},
        Normal{"amd64_v2", Of("linux", "amd64", "v2"), "linux/amd64/v2"}, Normal{"upper_case", Of("Linux", "ARM64", "V8"), "linux/arm64"},
        Normal{"hostile", Of("a\nb", "c\x1b[0m", ""), R"(a\x0ab/c\x1b[0m)"}),
    [](const auto& row) { return row.param.name; });

struct Host {
  std::string host, accepts;  // best first; "os/" left out
};
std::ostream& operator<<(std::ostream& out, const Host& row) { return out << row.host; }
class Hosts : public ::testing::TestWithParam<Host> {};

TEST_P(Hosts, AcceptInThisOrder) {
  const Host& row = GetParam();
  const PlatformMatcher matcher(*Platform::Parse("linux/" + row.host));
  std::string got;
  for (const Platform& p : matcher.acceptable()) got += (got.empty() ? "" : " ") + p.ToString().substr(6);
  EXPECT_EQ(got, row.accepts);
  for (std::size_t i = 0; i < matcher.acceptable().size(); ++i) EXPECT_EQ(matcher.Rank(matcher.acceptable()[i]), i);
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages11_2, Hosts,
    ::testing::Values(
        Host{"amd64", "amd64 386"}, Host{"amd64/v1", "amd64 386"}, Host{"amd64/v2", "amd64/v2 amd64 386"},
        Host{"amd64/v3", "amd64/v3 amd64/v2 amd64 386"}, Host{"amd64/v4", "amd64/v4 amd64/v3 amd64/v2 amd64 386"},
        Host{"amd64/v5", "amd64/v5 amd64/v4 amd64/v3 amd64/v2 amd64 386"}, Host{"arm/v8", "arm/v8 arm/v7 arm/v6 arm/v5"},
        Host{"arm/v9", "arm/v9 arm/v8 arm/v7 arm/v6 arm/v5"}, Host{"arm/v7", "arm/v7 arm/v6 arm/v5"}, Host{"arm", "arm/v7 arm/v6 arm/v5"},
        Host{"arm/v6", "arm/v6 arm/v5"}, Host{"arm/v5", "arm/v5"}, Host{"arm64", "arm64 arm/v8 arm/v7 arm/v6 arm/v5"},
        Host{"arm64/v8", "arm64 arm/v8 arm/v7 arm/v6 arm/v5"},
        Host{"arm64/v8.2", "arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5"},
        Host{"arm64/v8.9",
             "arm64/v8.9 arm64/v8.8 arm64/v8.7 arm64/v8.6 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 "
             "arm/v6 arm/v5"},
        Host{"arm64/v9", "arm64/v9 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5"},
        Host{"arm64/v9.1",
             "arm64/v9.1 arm64/v9 arm64/v8.6 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5"},
        Host{"arm64/v9.7",
             "arm64/v9.7 arm64/v9.6 arm64/v9.5 arm64/v9.4 arm64/v9.3 arm64/v9.2 arm64/v9.1 arm64/v9 arm64/v8.9 arm64/v8.8 arm64/v8.7 "
             "arm64/v8.6 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5"},
        Host{"arm64/v9.8", ""}, Host{"arm64/v7", ""}, Host{"arm64/v8.10", ""}, Host{"arm64/x", ""}, Host{"386", "386"},
        Host{"ppc64le", "ppc64le"}, Host{"s390x", "s390x"}, Host{"riscv64", "riscv64"}));

TEST(PlatformMatcher, RefusesWhatTheHostCannotRun) {
  const PlatformMatcher amd64(Of("linux", "amd64"));
  EXPECT_EQ(amd64.Rank(Of("linux", "amd64", "v2")), std::nullopt);
  EXPECT_EQ(amd64.Rank(Of("windows", "amd64")), std::nullopt);
  EXPECT_EQ(amd64.Rank(Of("unknown", "unknown")), std::nullopt);
  EXPECT_EQ(amd64.Rank(Of("linux", "")), std::nullopt);
  EXPECT_EQ(amd64.Rank(Of("", "x86_64")), 0u);  // a missing os is the host's
  EXPECT_EQ(PlatformMatcher(Of("linux", "arm64", "v7")).Rank(Of("linux", "arm64", "v7")), std::nullopt);
}

TEST(PlatformMatcher, TheBestOfTextsIsTheFirstThatRanksBest) {
  struct Item {
    std::string platform;
    int number;
  };
  const PlatformMatcher amd64(Of("linux", "amd64"));
  EXPECT_EQ(amd64.Rank("linux/386"), amd64.Rank(Of("linux", "386")));
  EXPECT_EQ(amd64.Rank("no/platform/at/all"), std::nullopt);
  const std::vector<Item> items{{"", 0}, {"linux/s390x", 1}, {"linux/386", 2}, {"linux/amd64", 3}, {"linux/amd64", 4}};
  EXPECT_EQ(amd64.Best(items)->number, 3);
  EXPECT_EQ(PlatformMatcher(Of("linux", "386")).Best(items)->number, 2);
  EXPECT_EQ(PlatformMatcher(Of("linux", "riscv64")).Best(items), nullptr);
  EXPECT_EQ(amd64.Best(std::vector<Item>()), nullptr);
}

TEST(PlatformMatcher, FeaturesMustBeTheHostsAndMoreOfThemAreBetter) {
  Platform host = Of("windows", "amd64"), none = host, one = host, other = host, older = Of("windows", "386");
  host.os_features = {"win32k", "x"};
  one.os_features = {"win32k", "win32k"};
  other.os_features = {"y"};
  const PlatformMatcher matcher(host);
  EXPECT_EQ(matcher.Rank(other), std::nullopt);
  EXPECT_LT(*matcher.Rank(host), *matcher.Rank(one));
  EXPECT_LT(*matcher.Rank(one), *matcher.Rank(none));
  EXPECT_LT(*matcher.Rank(none), *matcher.Rank(older));
}

TEST(PlatformText, OneWordTakesTheRestFromTheHost) {
  const Platform host = HostPlatform();
  EXPECT_EQ(Platform::Parse("linux")->ToString(), host.ToString());
  EXPECT_EQ(Platform::Parse("arm64")->ToString(), "linux/arm64");
  EXPECT_EQ(Platform::Parse("armhf")->ToString(), "linux/arm/v7");
  EXPECT_EQ(Platform::Parse("Windows")->os, "windows");
  EXPECT_EQ(Platform::Parse("Linux/X86_64")->ToString(), "linux/amd64");
  EXPECT_EQ(Platform::Parse("linux/arm64/v8")->ToString(), "linux/arm64");
  EXPECT_EQ(Platform::Parse("linux/arm/7")->ToString(), "linux/arm/v7");
}

class BadPlatforms : public ::testing::TestWithParam<std::string> {};
TEST_P(BadPlatforms, AreUsageErrorsWithAnExample) {
  const Result<Platform> got = Platform::Parse(GetParam());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kUsage);
  EXPECT_THAT(got.error().next_step(), ::testing::HasSubstr("linux/arm64"));
}
INSTANTIATE_TEST_SUITE_P(Texts, BadPlatforms,
                         ::testing::Values("", "/", "linux/", "/amd64", "linux//v7", "linux/arm/v7/x", "*", "linux/*", "plan10", "li nux/arm",
                                           "linux/arm\n", "caf\xC3\xA9/arm", std::string(65, 'a') + "/arm", std::string("linux/a\0", 8)));

TEST(HostPlatform, IsOneThatItAccepts) {
  const Platform host = HostPlatform();
  EXPECT_EQ(host.os, "linux");
  EXPECT_EQ(host, host.Normalized());
  EXPECT_EQ(PlatformMatcher(host).Rank(host), 0u);
}

struct Cpu {
  std::string name, architecture, cpuinfo, machine, want;
};
class Cpus : public ::testing::TestWithParam<Cpu> {};
TEST_P(Cpus, HaveThisVariant) {
  const Cpu& row = GetParam();
  EXPECT_EQ(ArmVariant(row.architecture, row.cpuinfo, row.machine), row.want);
}
INSTANTIATE_TEST_SUITE_P(
    KubeletImages11_2, Cpus,
    ::testing::Values(
        Cpu{"arm64", "arm64", "processor\t: 0\nBogoMIPS\t: 38.40\nCPU implementer\t: 0x41\nCPU architecture: 8\n", "aarch64", "v8"},
        Cpu{"arm64_by_name", "arm64", "CPU architecture: AArch64\n", "", "v8"}, Cpu{"arm64_without_cpuinfo", "arm64", "", "aarch64", "v8"},
        Cpu{"arm_on_arm64", "arm", "CPU architecture: 8\n", "armv8l", "v8"}, Cpu{"armv7", "arm", "CPU architecture: 7\n", "armv7l", "v7"},
        Cpu{"raspberry_pi_zero", "arm", "model name\t: ARMv6-compatible processor rev 7 (v6l)\nCPU architecture: 7\n", "armv6l", "v6"},
        Cpu{"that_model_is_no_quirk_on_arm64", "arm64", "model name\t: ARMv6-compatible\nCPU architecture: 7\n", "", "v7"},
        Cpu{"armv5", "arm", "CPU architecture: 5TEJ\r\n", "armv5tejl", "v5"}, Cpu{"armv6", "arm", "CPU architecture: 6TEJ\n", "", "v6"},
        Cpu{"cortex_m", "arm", "CPU architecture: 7M\n", "", "v7"}, Cpu{"newer_than_the_kernel", "arm", "CPU architecture: ?(15)\n", "", "v7"},
        Cpu{"machine_v7", "arm", "processor: 0\n", "armv7l", "v7"}, Cpu{"machine_v6", "arm", "CPU architecture:\n", "armv6l", "v6"},
        Cpu{"nothing", "arm", "", "", ""}, Cpu{"armv_without_digit", "arm", ": \n:\n", "armv", ""}, Cpu{"garbage", "arm", "CPU architecture: x\n", "", ""}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace berth::oci
