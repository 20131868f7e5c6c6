// kubelet-images 7.5: tokens for plug-ins. That the signature is good is digest's test and, with openssl, lab/test_plugins.py's.
#include "node/service_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "bytes/encoding.h"
#include "host/testing/scratch.h"
#include "json/document.h"
#include "node/testing/lab.h"
#include "time/testing/manual_clock.h"

namespace berth::node {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

class ServiceTokensTest : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = *objects::Store::Open(scratch_.path("objects.db"), clock_, [this] { return ++random_; });
    Open();
  }
  void Open() {
    auto tokens = ServiceTokens::Open(scratch_.dir(), *store_, clock_, [this] { return ++random_; },
                                      {.node_name = "node-7", .issuer = issuer_});
    ASSERT_TRUE(tokens) << tokens.error().Text();
    tokens_ = *std::move(tokens);
  }
  std::string Token(const std::string& audience = "registry") {
    const auto token = tokens_->Token({}, pod_, "sa-uid", audience);
    EXPECT_TRUE(token);
    return std::string(token->Reveal());
  }
  static std::string Part(const std::string& token, int n) {
    std::string text = token;
    for (; n > 0; --n) text = text.substr(text.find('.') + 1);
    text = text.substr(0, text.find('.'));
    std::ranges::replace(text, '-', '+');
    std::ranges::replace(text, '_', '/');
    return bytes::FromBase64(text, bytes::Padding::kOptional).value_or("no base64");
  }

  host::testing::Scratch scratch_;
  time::testing::ManualClock clock_;
  std::uint64_t random_ = 0;
  std::string issuer_;
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<ServiceTokens> tokens_;
  credentials::PodIdentity pod_{"shop", "web", "pod-uid", "builder"};
};

TEST_F(ServiceTokensTest, ClaimsAreKubernetes) {
  const std::string token = Token();
  EXPECT_EQ(std::ranges::count(token, '.'), 2);
  EXPECT_THAT(Part(token, 0), ::testing::MatchesRegex(R"(\{"alg":"ES256","kid":"[A-Za-z0-9_-]{43}","typ":"JWT"\})"));
  const auto now = std::to_string(std::chrono::floor<std::chrono::seconds>(clock_.WallNow().time_since_epoch()).count());
  const auto end = std::to_string(std::chrono::floor<std::chrono::seconds>((clock_.WallNow() + 1h).time_since_epoch()).count());
  EXPECT_THAT(Part(token, 1), ::testing::MatchesRegex(
      R"(\{"aud":\["registry"\],"exp":)" + end + R"(,"iat":)" + now + R"(,"iss":"https://node-7","jti":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",)"
      R"("kubernetes.io":\{"namespace":"shop","node":\{"name":"node-7"\},"pod":\{"name":"web","uid":"pod-uid"\},"serviceaccount":\{"name":"builder","uid":"sa-uid"\}\},)"
      R"("nbf":)" + now + R"(,"sub":"system:serviceaccount:shop:builder"\})"));
  EXPECT_EQ(Part(token, 2).size(), 64u);
}

TEST_F(ServiceTokensTest, APodThatIsNotThereIsNotInIt) {
  pod_.uid = "";
  EXPECT_THAT(Part(Token(), 1), Not(HasSubstr("\"pod\"")));
}

TEST_F(ServiceTokensTest, ATokenIsGivenAgainForFourFifthsOfItsLife) {
  const std::string first = Token();
  EXPECT_EQ(Token(), first);
  EXPECT_NE(Token("another"), first);
  clock_.Advance(47min);
  EXPECT_EQ(Token(), first);
  clock_.Advance(1min);
  const std::string second = Token();
  EXPECT_NE(second, first);
  EXPECT_NE(Part(second, 1), Part(first, 1));
}

TEST_F(ServiceTokensTest, NobodyGetsATokenOfSomebodyElse) {
  const std::string first = Token();
  for (auto* member : {&pod_.uid, &pod_.namespace_name, &pod_.service_account}) {
    const std::string before = std::exchange(*member, "other");
    EXPECT_NE(Token(), first);
    *member = before;
  }
  EXPECT_EQ(Token(), first);
}

TEST_F(ServiceTokensTest, TheKeyStaysAndIsPrivate) {
  const std::string header = Part(Token(), 0), set = *scratch_.dir().ReadSmall(ServiceTokens::kKeySetName, 4096);
  issuer_ = "https://issuer.test";
  Open();
  EXPECT_EQ(Part(Token(), 0), header);
  EXPECT_THAT(Part(Token(), 1), HasSubstr(R"("iss":"https://issuer.test")"));
  struct stat info {};
  ASSERT_EQ(::stat(scratch_.path(ServiceTokens::kKeyName).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_THAT(set, ::testing::MatchesRegex(R"(\{"keys":\[\{"use":"sig","kty":"EC","kid":"[A-Za-z0-9_-]{43}","crv":"P-256",)"
                                           R"("alg":"ES256","x":"[A-Za-z0-9_-]{43}","y":"[A-Za-z0-9_-]{43}"\}\]\})" "\n"));
  EXPECT_THAT(header, HasSubstr(set.substr(set.find("kid") + 6, 43)));

  ASSERT_TRUE(*scratch_.dir().Unlink(ServiceTokens::kKeyName));
  Open();
  EXPECT_NE(Part(Token(), 0), header) << "a new key";
  EXPECT_NE(*scratch_.dir().ReadSmall(ServiceTokens::kKeySetName, 4096), set);
}

TEST_F(ServiceTokensTest, ABrokenKeyIsToldAndNotQuoted) {
  ASSERT_TRUE(scratch_.dir().WriteDurably(ServiceTokens::kKeyName, bytes::AsView("-----BEGIN canary"), 0600));
  const auto opened = ServiceTokens::Open(scratch_.dir(), *store_, clock_, [] { return 1; }, {.node_name = "n"});
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().Text(),
            "service account tokens: service-account.key: the private key is not an unencrypted private key in PEM form");
}

TEST_F(ServiceTokensTest, AccountsAreThoseOfTheStore) {
  EXPECT_EQ(tokens_->FindAccount({}, "default", "none").error().Text(), R"(serviceaccount "none" not found)");
  const auto document = json::Document::Parse(
      R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"builder","namespace":"default","annotations":{"a.io/role":"r"}}})", Reason::kUsage);
  const auto made = store_->Apply(json::Tree(document->root()));
  ASSERT_TRUE(made);
  const auto account = tokens_->FindAccount({}, "default", "builder");
  ASSERT_TRUE(account);
  EXPECT_EQ(account->uid, made->object->metadata.uid);
  EXPECT_EQ(account->annotations.at("a.io/role"), "r");
}

}  // namespace
}  // namespace berth::node
