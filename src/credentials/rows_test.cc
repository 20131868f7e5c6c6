// reliability-security 3.d, rows D-03 to D-11 as far as no other test has them: files that are no files, texts that are no texts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes/encoding.h"
#include "credentials/docker_config.h"
#include "credentials/node_config.h"
#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::credentials {
namespace {

using namespace std::literals;
using testing::IsEmpty;
using testing::Not;
using testing::HasSubstr;
using testing::SizeIs;

constexpr std::string_view kGood = R"({"auths":{"r.test":{"username":"u","password":"canary"}}})";

Result<DockerConfig> Parse(std::string_view text) { return ParseDockerConfig(text, FileFormat::kConfigJson, Profile::kDocumented, "test"); }

// What a password may hold is the registry's business: it is kept byte by byte, and goes into a header as base64 only. A token that
// does not fit into a header is refused there (registry's C56).
TEST(Rows, D03PasswordsAreBytes) {
  for (const std::string& password : {"a\r\nX-Evil: 1"s, "a\0b"s, "p\xc3\xa4ss"s}) {
    const auto got = DecodeAuth(bytes::ToBase64(bytes::AsView("user:" + password)));
    ASSERT_TRUE(got);
    EXPECT_EQ(got->password.Reveal(), password);
  }
}

struct TextRow { const char* name; std::string text; };
void PrintTo(const TextRow& row, std::ostream* out) { *out << row.name; }
class Refused : public testing::TestWithParam<TextRow> {};
TEST_P(Refused, AsAWholeAndWithoutContent) {
  const auto got = Parse(GetParam().text);
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().Text() + got.error().next_step(), Not(HasSubstr("canary")));
  EXPECT_LT(got.error().Text().size(), 1024u);
}
std::string Utf16(std::string_view text) {
  std::string out = "\xff\xfe";
  for (const char c : text) (out += c) += '\0';
  return out;
}
std::string Deep(std::size_t depth) { return R"({"auths":{"r.test":)" + std::string(depth, '[') + std::string(depth, ']') + "}}"; }
INSTANTIATE_TEST_SUITE_P(Table, Refused, testing::Values(
    TextRow{"D04InvalidUtf8", "{\"auths\":{\"r.test\":{\"password\":\"canary\xff\xfe\"}}}"}, TextRow{"D04Bom", "\xef\xbb\xbf" + std::string(kGood)},
    TextRow{"D04Utf16", Utf16(kGood)}, TextRow{"D05Truncated", std::string(kGood.substr(0, kGood.size() - 4))},
    TextRow{"D05InTheSecret", std::string(kGood.substr(0, kGood.find("nary") + 2))}, TextRow{"D06Null", "null"}, TextRow{"D06Empty", ""},
    TextRow{"D07Twice", R"({"auths":{"r.test":{"password":"canary"},"r.test":{"password":"canary2"}}})"},
    TextRow{"D11TooLarge", R"({"auths":{"r.test":{"password":")" + std::string(6u << 20, 'x') + "\"}}}"}, TextRow{"D11TooDeep", Deep(50'000)},
    TextRow{"D11WrongType", R"({"auths":{"r.test":{"username":1,"password":"canary"}}})"}),
    [](const auto& row) { return row.param.name; });

TEST(Rows, D07SpellingsOfOneRegistryAreTriedInOneOrder) {
  const std::string_view text = R"({"auths":{"r.test":{"username":"a","password":"1"},"https://r.test":{"username":"b","password":"2"},)"
                                R"("r.test/":{"username":"c","password":"3"},"http://r.test/v2/":{"username":"d","password":"4"},"https://r.test/v1/":{"username":"e","password":"5"}}})";
  std::vector<std::string> first;
  for (int round = 0; round < 3; ++round) {
    Keyring keyring(Profile::kDocumented);
    (void)keyring.Add(*Parse(text));
    std::vector<std::string> users;
    for (const auto& c : keyring.Find("r.test/app")) users.push_back(c.username);
    EXPECT_THAT(users, SizeIs(5));
    if (round == 0) first = users;
    EXPECT_EQ(users, first);
  }
}

class Files : public testing::Test {
 protected:
  std::size_t Entries() {
    NodeConfig node({.config_json = {scratch_.path()}}, clock_);
    return node.Get()->Find("r.test/app").size();
  }
  void Put(std::string_view text, std::uint32_t mode = 0600) { ASSERT_TRUE(scratch_.dir().WriteDurably("config.json", bytes::AsView(text), mode)); }
  host::testing::Scratch scratch_;
  time::testing::ManualClock clock_;
};
TEST_F(Files, D06WhatIsNoFileBlocksNothingAndCountsAsNone) {
  const std::string path = scratch_.path("config.json");
  const auto gone = [&] { (void)scratch_.dir().RemoveTree("config.json"); };
  EXPECT_EQ(Entries(), 0u) << "none";
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  EXPECT_EQ(Entries(), 0u) << "a directory";
  gone();
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(Entries(), 0u) << "a FIFO without a writer";
  gone();
  ASSERT_EQ(::symlink("/dev/zero", path.c_str()), 0);
  EXPECT_EQ(Entries(), 0u) << "a device without an end";
  gone();
  ASSERT_EQ(::symlink("config.json", path.c_str()), 0);
  EXPECT_EQ(Entries(), 0u) << "a link to itself";
  gone();
  Put("");
  EXPECT_EQ(Entries(), 0u);
  Put("{}");
  EXPECT_EQ(Entries(), 0u);
  Put(std::string(2u << 20, ' ') + std::string(kGood));
  EXPECT_EQ(Entries(), 0u) << "beyond the limit";
  Put(kGood, 0644);
  EXPECT_EQ(Entries(), 1u) << "as the kubelet takes it";
  gone();
  ASSERT_TRUE(scratch_.dir().WriteDurably("real.json", bytes::AsView(kGood), 0600));
  ASSERT_EQ(::symlink("real.json", path.c_str()), 0);
  EXPECT_EQ(Entries(), 1u) << "a link to a file is the operator's";
}

}  // namespace
}  // namespace berth::credentials
