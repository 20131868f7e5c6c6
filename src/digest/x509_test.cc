#include "digest/x509.h"

#include <gtest/gtest.h>

#include "digest/signature.h"

namespace berth::digest {
namespace {

constexpr Validity kYear{1'700'000'000, 1'731'536'000};

struct Made {
  std::string ca_key = MakeEcKey(), ca = *MakeAuthority(ca_key, "berth-ca", kYear), key = MakeEcKey();
};

TEST(X509, AServerOfAnAuthority) {
  const Made made;
  const auto server = Issue(made.ca, made.ca_key, made.key, {"berth", {"localhost", "node-7.test"}, {"127.0.0.1", "::1"}}, {1'700'000'000, 4'102'444'800});
  ASSERT_TRUE(server) << server.error().Text();
  EXPECT_TRUE(server->starts_with("-----BEGIN CERTIFICATE-----\n"));
  EXPECT_TRUE(SignedBy(*server, made.ca));
  EXPECT_TRUE(SignedBy(made.ca, made.ca));
  EXPECT_FALSE(SignedBy(made.ca, *server));
  EXPECT_FALSE(SignedBy(*server, Made().ca)) << "another authority of the same name";
  const auto facts = ReadCertificate(*server);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->names, (std::vector<std::string>{"0:0:0:0:0:0:0:1", "127.0.0.1", "localhost", "node-7.test"}));
  EXPECT_EQ(facts->validity.not_before, 1'700'000'000);
  EXPECT_EQ(facts->validity.not_after, 4'102'444'800);
}

TEST(X509, NamesAreToldApart) {
  const std::vector<std::string> given{std::string(70, 'n'), "127.0.0.1", "::1", "localhost"};
  const LeafNames names = LeafNames::Of(given);
  EXPECT_EQ(names.common_name, std::string(64, 'n'));
  EXPECT_EQ(names.dns, (std::vector<std::string>{given[0], "localhost"}));
  EXPECT_EQ(names.ips, (std::vector<std::string>{"127.0.0.1", "::1"}));
}

TEST(X509, SerialsAndKeysAreNew) {
  const Made made;
  EXPECT_NE(MakeEcKey(), MakeEcKey());
  EXPECT_NE(GenerateToken(), GenerateToken());
  EXPECT_EQ(GenerateToken().size(), 64u);
  EXPECT_NE(*MakeAuthority(made.ca_key, "a", kYear), *MakeAuthority(made.ca_key, "a", kYear));
}

struct Bad {
  const char* name;
  LeafNames names;
};
std::ostream& operator<<(std::ostream& out, const Bad& b) { return out << b.name; }
class BadNames : public ::testing::TestWithParam<Bad> {};
TEST_P(BadNames, AreRefused) {
  const Made made;
  const auto server = Issue(made.ca, made.ca_key, made.key, GetParam().names, kYear);
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().reason(), Reason::kUsage);
}
INSTANTIATE_TEST_SUITE_P(All, BadNames,
                         ::testing::Values(Bad{"none", {"c", {}, {}}}, Bad{"more", {"c", {"a,DNS:evil.test"}, {}}}, Bad{"address", {"c", {}, {"localhost"}}},
                                           Bad{"section", {"c", {"a;b"}, {}}}, Bad{"no_common_name", {"", {"a"}, {}}}),
                         [](const auto& row) { return row.param.name; });

TEST(X509, WhatIsNone) {
  const Made made;
  const auto misfit = Issue(made.ca, made.key, made.key, {"c", {"a"}, {}}, kYear);
  ASSERT_FALSE(misfit) << "another key than the authority's";
  EXPECT_EQ(misfit.error().reason(), Reason::kUsage);
  EXPECT_FALSE(Issue(made.ca, made.ca_key, "x", {"c", {"a"}, {}}, kYear));
  EXPECT_FALSE(MakeAuthority("x", "c", kYear));
  EXPECT_FALSE(ReadCertificate(made.key));
  EXPECT_FALSE(SignedBy("", made.ca));
}

}  // namespace
}  // namespace berth::digest
