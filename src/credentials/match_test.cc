#include "credentials/match.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "credentials/keyring.h"

namespace berth::credentials {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// --- kubelet-images 6.3

struct KeyCase { const char *written, *want; };
TEST(IndexKey, KubeletVectors) {
  for (const auto& [written, want] : {
           KeyCase{"https://index.docker.io/v1/", "index.docker.io"}, {"https://index.docker.io/v1", "index.docker.io/v1"},
           {"https://foo.io/v2/team", "foo.io/team"}, {"foo.io/v2", "foo.io/v2"}, {"foo.io/", "foo.io"}, {"foo.io/a/", "foo.io/a/"},
           {"foo.io/v10/", "foo.io/v10/"}, {"https://foo.io/v1/v2/", "foo.io/v2/"}, {"user:p@foo.io/", "foo.io"}, {"foo.io?x=1", "foo.io"},
           {"foo io", nullptr}, {"HTTPS://foo.io", "HTTPS://foo.io"}, {"[::1]:5000/v2/", "[::1]:5000"}, {"", ""}, {"a\nb", nullptr},
           {"my[0-9].io", nullptr}, {"my\\*.io", nullptr}, {"foo.io:x", nullptr}, {"foo.io/%zz", nullptr}, {"foo.io/%62", "foo.io/b"}}) {
    const auto got = IndexKey(Profile::kKubelet, written);
    EXPECT_EQ(got, want == nullptr ? std::optional<std::string>() : std::optional<std::string>(want)) << written;
  }
}
TEST(IndexKey, TheDocumentedOneKeepsGlobs) {
  for (const auto& [written, want] : {KeyCase{"https://my?.io/v2/a", "my?.io/a"}, {"my[0-9].io", "my[0-9].io"}, {"my\\*.io", "my\\*.io"},
                                      {"https://index.docker.io/v1/", "index.docker.io"}, {"u:p@a.io", "a.io"}, {"a b", nullptr}}) {
    const auto got = IndexKey(Profile::kDocumented, written);
    EXPECT_EQ(got, want == nullptr ? std::optional<std::string>() : std::optional<std::string>(want)) << written;
  }
}

TEST(WithoutUserInfo, NothingBeforeTheLastAtIsShown) {
  for (const auto& [written, want] : {KeyCase{"a.io", "a.io"}, {"https://a.io/v1/", "https://a.io/v1/"}, {"user:pw@a.io/b", "a.io/b"},
                                      {"https://user:pw@a.io", "https://a.io"}, {"http://user@a.io:5000/x", "http://a.io:5000/x"},
                                      {"https://user:p@w@a.io", "https://a.io"}, {"https://user:p/w@a.io", "https://a.io"},
                                      {"user:p?w#@a.io", "a.io"}, {"ftp://user:pw@a.io", "a.io"}, {"user:pw@", ""}, {"@a.io", "a.io"}, {"", ""}})
    EXPECT_EQ(WithoutUserInfo(written), want) << written;
}

// --- kubelet-images 6.4, product 3.6

struct MatchCase { const char *pattern, *target; bool kubelet, documented; };
const MatchCase kMatches[] = {
    {"*.kubernetes.io", "prefix.kubernetes.io", true, true},
    {"prefix.*.io", "prefix.kubernetes.io", true, true},
    {"prefix.kubernetes.*", "prefix.kubernetes.io", true, true},
    {"*-good.kubernetes.io", "prefix-good.kubernetes.io", true, true},
    {"*.kubernetes.io/blah", "prefix.kubernetes.io/blah", true, true},
    {"prefix.*.io/foo", "prefix.kubernetes.io/foo/bar", true, true},
    {"*.kubernetes.io:1111/blah", "prefix.kubernetes.io:1111/blah", true, true},
    {"prefix.*.io:1111/foo", "prefix.kubernetes.io:1111/foo/bar", true, true},
    {"*.kubernetes.io", "kubernetes.io", false, false},
    {"*.*.kubernetes.io", "prefix.kubernetes.io", false, false},
    {"*.*.kubernetes.io", "kubernetes.io", false, false},
    {"*kubernetes.io", "a.kubernetes.io", false, true},
    {"*kubernetes.io", "kubernetes.io", true, true},
    {"*.*.*.kubernetes.io", "a.b.c.kubernetes.io", true, true},
    {"kubernetes.io", "kubernetes.com", false, false},
    {"k*.io", "other.io", false, false},
    {"*.kubernetes.io:1234/blah", "prefix.kubernetes.io:1111/blah", false, false},
    {"prefix.*.io/foo", "prefix.kubernetes.io:1111/foo/bar", false, false},
    {"registry.io", "registry.io:443/a", false, false},
    {"registry.io/*", "registry.io/a", false, false},
    {"registry.io/a", "registry.io/ab", true, false},
    {"registry.io/a/", "registry.io/a", false, true},
    {"*", "localhost/a", true, true},
    {"*", "registry.io/a", false, true},
    {"*.*", "registry.io/a", true, true},
    {"reg*ry.io", "registry.io/a", true, true},
    {"regist?y.io", "registry.io/a", false, true},
    {"registry.io?x", "registry.io/a", true, false},
    {"[r]egistry.io", "registry.io/a", false, true},
    {"REGISTRY.io", "registry.io/a", false, false},
    {"[::1]:5000", "[::1]:5000/a", true, true},
    {"[::1]", "[::1]/a", false, true},
    {"*:5000", "localhost:5000/a", true, true},
    {"*:*", "localhost:5000/a", false, false},
    {"*.registry.io", "a.b.registry.io/x", false, true},
    {"docker.io", "docker.io/library/x", true, true},
    {"*docker.io", "docker.io/library/x", true, true},
    {"index.docker.io", "docker.io/library/x", false, true},
    {"*.docker.io", "docker.io/library/x", false, false},
    {"registry.io/a%62", "registry.io/ab", true, false},
    {"registry.io/v1/", "registry.io/a", false, false},
    // The five names that the concept page lists for this key, and its trap.
    {"*my-registry.io/images", "my-registry.io/images", true, true},
    {"*my-registry.io/images", "my-registry.io/images/my-image", true, true},
    {"*my-registry.io/images", "my-registry.io/images/another-image", true, true},
    {"*my-registry.io/images", "sub.my-registry.io/images/my-image", false, true},
    {"*my-registry.io/images", "a.sub.my-registry.io/images/my-image", false, true},
    {"*my-registry.io/images", "xmy-registry.io/images/a", true, true},
    {"*.my-registry.io", "sub.my-registry.io/a", true, true},
    {"*.my-registry.io", "my-registry.io/a", false, false},
    {"my-registry.io/team", "my-registry.io/teammate/app", true, false},
    {"my-registry.io/team", "my-registry.io/team/app", true, true},
    {"my-registry.io", "my-registry.io:5000/a", false, false},
    {"my?.io", "my1.io/a", false, true},
    {"my[0-9].io", "my1.io/a", false, true},
    {"my[^0-9].io", "my1.io/a", false, false},
    {"[a-m]y-registry.io", "my-registry.io/a", false, true},
    {"my\\*.io", "my*.io/a", false, true},
    {"my\\*.io", "myx.io/a", false, false},
    {"my-registry.io/*/x", "my-registry.io/a/x", false, false},
};
TEST(Matches, VectorsInBothProfiles) {
  for (const auto& c : kMatches) {
    EXPECT_EQ(Matches(Profile::kKubelet, c.pattern, c.target), c.kubelet) << c.pattern << " ~ " << c.target;
    EXPECT_EQ(Matches(Profile::kDocumented, c.pattern, c.target), c.documented) << c.pattern << " ~ " << c.target;
  }
}

TEST(Glob, ElementsAndMalformedPatterns) {
  for (const auto& [pattern, text, want] : {std::tuple{"a*c*e", "abcde", true}, {"*", "a/b", false}, {"a?c", "a/c", false}, {"[", "[", false},
                                            {"[a", "a", false}, {"\\", "\\", false}, {"[a-]", "-", true}, {"[]a]", "]", true}, {"", "", true},
                                            {"**", "", true}, {"*a", "aab", false}, {"[\\]]", "]", true}})
    EXPECT_EQ(Glob(pattern, text), want) << pattern << " " << text;
  EXPECT_FALSE(Glob(std::string(200, '*') + "x", std::string(20000, 'a'))) << "and it ends";
}

TEST(IsDefaultRegistry, Vectors) {
  for (const char* yes : {"foo/bar", "docker.io/foo/bar", "index.docker.io/foo/bar", "foo"}) EXPECT_TRUE(IsDefaultRegistry(yes)) << yes;
  for (const char* no : {"", "registry.tld/foo/bar", "registry:5000/foo/bar", "myhostdocker.io/foo/bar"}) EXPECT_FALSE(IsDefaultRegistry(no)) << no;
}

// --- 6.4 and 6.5: whole look-ups

Keyring Ring(std::vector<std::pair<std::string, std::string>> keys, Profile profile = Profile::kKubelet) {
  DockerConfig config;
  for (auto& [key, user] : keys) {
    config.entries.push_back({key, Credential{}});
    config.entries.back().credential.username = user;
    config.entries.back().credential.password = secret::Secret("p");
  }
  Keyring ring(profile);
  ring.Add(std::move(config));
  return ring;
}
std::vector<std::string> Users(const Keyring& ring, std::string_view repository) {
  std::vector<std::string> users;
  for (const auto& credential : ring.Find(repository)) users.push_back(credential.username);
  return users;
}

struct LookupCase { const char *key, *image; bool hit; };
TEST(Keyring, KubeletLookupVectors) {
  for (const auto& [key, image, hit] : {
           LookupCase{"https://hello.kubernetes.io", "hello.kubernetes.io/foo/bar", true}, {"https://*.docker.io", "prefix.docker.io/foo/bar", true},
           {"https://prefix.*.io", "prefix.docker.io/foo/bar", true}, {"https://prefix.docker.*", "prefix.docker.io/foo/bar", true},
           {"https://*.docker.io/path", "prefix.docker.io/path/foo/bar", true}, {"https://prefix.docker.*/path", "prefix.docker.io/path/foo/bar", true},
           {"https://prefix.*.io/path", "prefix.docker.io/path/subpath/foo/bar", true},
           {"https://*.docker.io:8888", "prefix.docker.io:8888/foo/bar", true}, {"https://prefix.docker.*:8888", "prefix.docker.io:8888/foo/bar", true},
           {"https://*.docker.io/path:1111", "prefix.docker.io/path:1111/foo/bar", true}, {"https://*.docker.io/v1/", "prefix.docker.io/path:1111/foo/bar", true},
           {"https://*.docker.io/v2/", "prefix.docker.io/path:1111/foo/bar", true}, {"prefix.docker.io:1111", "prefix.docker.io:1111/path/foo/bar", true},
           {"*.docker.io:1111", "prefix.docker.io:1111/path/foo/bar", true}, {"https://hello.kubernetes.io", "world.mesos.org/foo/bar", false},
           {"https://*.docker.com", "prefix.docker.io/foo/bar", false}, {"suffix.*.io", "prefix.docker.io/foo/bar", false},
           {"https://prefix.*.io:8888", "prefix.docker.io:8888/foo/bar", true}, {"https://reg.example/v1/", "reg.example/foo", true}, {"https://suffix.*.io", "prefix.docker.io/foo/bar", false},
           {"https://prefix.docker.c*", "prefix.docker.io/foo/bar", false}, {"https://prefix.*.io/path:1111", "prefix.docker.io/path/subpath:1111/foo/bar", false},
           {"https://index.docker.io/v1/", "world.mesos.org/foo/bar", false}, {"https://index.docker.io/v1/", "google/docker-registry", true},
           {"https://index.docker.io/v1/", "jenkins", true}, {"https://index.docker.io/v1/", "index.docker.io/v1//google/docker-registry", true},
           {"https://reg.example/v1/", "reg.example", true}, {"https://reg.example/v1/", "reg.example/foo/bar", true}})
    EXPECT_EQ(Users(Ring({{key, "u"}}), image).size(), hit ? 1u : 0u) << key << " ~ " << image;
}

TEST(Keyring, LongerPathsComeFirst) {
  const Keyring ring = Ring({{"bar.example.com", "ada"}, {"bar.example.com/pong", "grace"}});
  EXPECT_THAT(Users(ring, "bar.example.com"), ElementsAre("ada"));
  EXPECT_THAT(Users(ring, "bar.example.com/pong/pang"), ElementsAre("grace", "ada"));
  EXPECT_THAT(Users(ring, "bar.example.com/pongz"), ElementsAre("grace", "ada")) << "a byte prefix, as the kubelet has it";
  EXPECT_THAT(Users(ring, "bar.example.com/ping"), ElementsAre("ada"));
  EXPECT_THAT(Users(ring, "foo.example.com"), IsEmpty());
}

TEST(Keyring, KeysInReverseByteOrder) {
  const Keyring ring = Ring({{"*", "star"}, {"a-b.io", "1"}, {"*.io", "glob"}, {"a.io", "2"}}, Profile::kDocumented);
  EXPECT_THAT(Users(ring, "a.io/x"), ElementsAre("2", "glob", "star"));
}

TEST(Keyring, SortExampleOfTheSpecification) {
  // Shuffled on the way in; each is asked for by a look-up that all "*" patterns and one host can see.
  const Keyring ring = Ring({{"*", "*"}, {"a.io/x", "a.io/x"}, {"a-b.io", "a-b.io"}, {"z.example", "z.example"}, {"a.io", "a.io"}, {"*.io", "*.io"},
                             {"z.example/coreos", "z.example/coreos"}, {"a.io/x/y", "a.io/x/y"}, {"a.io-b", "a.io-b"}, {"g.example", "g.example"},
                             {"a.io:5000", "a.io:5000"}});
  std::vector<MatchReport> reports;
  ring.Explain("none.such.host/x", reports);
  std::vector<std::string> order;
  for (const auto& report : reports) order.push_back(report.username);
  EXPECT_THAT(order, ElementsAre("z.example/coreos", "z.example", "g.example", "a.io:5000", "a.io/x/y", "a.io/x", "a.io-b", "a.io", "a-b.io", "*.io", "*"));
}

TEST(Keyring, AKeyThatIsNoneIsToldOf) {
  Keyring ring(Profile::kKubelet);
  DockerConfig config;
  config.entries.push_back({"foo io", Credential{}});
  EXPECT_THAT(ring.Add(std::move(config)), ElementsAre("foo io"));
  EXPECT_TRUE(ring.empty());
}

TEST(Keyring, UserInfoOfAKeyMatchesNothingAndIsShownNowhere) {
  for (const auto profile : {Profile::kKubelet, Profile::kDocumented}) {
    const Keyring ring = Ring({{"https://u:hunter2@foo.io/team", "user"}}, profile);
    ASSERT_THAT(Users(ring, "foo.io/team/x"), ElementsAre("user"));
    EXPECT_EQ(ring.Find("foo.io/team/x")[0].pattern, "https://foo.io/team");
    Keyring odd(profile);
    DockerConfig config;
    config.entries.push_back({"u:hunter2@foo\n.io", Credential{}});
    EXPECT_THAT(odd.Add(std::move(config)), ElementsAre("foo\n.io"));
  }
}

}  // namespace
}  // namespace berth::credentials
