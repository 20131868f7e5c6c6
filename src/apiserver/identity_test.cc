#include "apiserver/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "bytes/bytes.h"
#include "bytes/encoding.h"

namespace berth::apiserver {
namespace {

using std::chrono::hours;

const time::WallTime kNow{std::chrono::sys_days{std::chrono::year{2026} / 11 / 25}};

class IdentityTest : public ::testing::Test {
 protected:
  IdentityTest() {
    char path[] = "/tmp/berth-identity-XXXXXX";
    folder_ = mkdtemp(path);
    dir_ = *host::Dir::Open(folder_);
  }
  ~IdentityTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
  host::Dir dir_;
};

TEST_F(IdentityTest, IsMadeOnceAndStays) {
  const auto first = Identity::Open(dir_, kNow), again = Identity::Open(dir_, kNow + hours(24 * 365));
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->Kubeconfig("https://a:1").Reveal(), again->Kubeconfig("https://a:1").Reveal());
  EXPECT_EQ(first->token().size(), 64u);
  for (const char* name : {"ca.crt", "ca.key", "token"}) {
    struct stat st {};
    ASSERT_EQ(::stat((folder_ + "/" + name).c_str(), &st), 0) << name;
    EXPECT_EQ(st.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(IdentityTest, IssuesWhatTheKubeconfigTrusts) {
  const auto identity = Identity::Open(dir_, kNow);
  ASSERT_TRUE(identity);
  const auto certificate = identity->Issue({"berthd", {"localhost"}, {"127.0.0.1"}}, kNow);
  ASSERT_TRUE(certificate) << certificate.error().Text();
  EXPECT_EQ(certificate->not_after(), kNow + hours(24 * 365));
  const secret::Secret config = identity->Kubeconfig("https://127.0.0.1:6443");
  const std::string text(config.Reveal());
  EXPECT_THAT(text, ::testing::HasSubstr("\n    server: https://127.0.0.1:6443\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("\n    token: " + std::string(identity->token().Reveal()) + "\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("\ncurrent-context: berth\n"));
}

TEST_F(IdentityTest, TheAuthorityIsMadeAnewInItsLastYear) {
  const auto first = Identity::Open(dir_, kNow);
  const auto later = Identity::Open(dir_, kNow + hours(24 * 365 * 9 + 24));
  ASSERT_TRUE(first && later);
  EXPECT_NE(first->Kubeconfig("u").Reveal(), later->Kubeconfig("u").Reveal());
  EXPECT_TRUE(first->token() == later->token());
}

TEST_F(IdentityTest, DamageIsSaid) {
  ASSERT_TRUE(Identity::Open(dir_, kNow));
  std::ofstream(folder_ + "/token") << "short";
  EXPECT_EQ(Identity::Open(dir_, kNow).error().reason(), Reason::kCorrupt);
  std::filesystem::remove(folder_ + "/token");
  EXPECT_TRUE(Identity::Open(dir_, kNow)) << "a token that is gone is made again";
  std::ofstream(folder_ + "/ca.crt") << "x";
  EXPECT_EQ(Identity::Open(dir_, kNow).error().reason(), Reason::kCorrupt);
}

}  // namespace
}  // namespace berth::apiserver
