#include "reference/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace berth::reference {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

const std::string kE3B0 = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr std::string_view kFormat = "invalid reference format";
constexpr std::string_view kLowercase = "repository name must be lowercase";
constexpr std::string_view kLower = "must be lowercase";
constexpr std::string_view kLong = "repository name must not be more than 255 characters";
constexpr std::string_view kHex = "cannot specify 64-byte hexadecimal strings";
constexpr std::string_view kDigestFormat = "invalid checksum digest format";
constexpr std::string_view kDigestLength = "invalid checksum digest length";
constexpr std::string_view kDigestUnknown = "unsupported digest algorithm";

std::string Times(std::size_t n, std::string_view piece = "a") {
  std::string out;
  while (n-- > 0) out += piece;
  return out;
}
const std::string kHex64 = Times(64, "f");
const std::string kF64 = "sha256:" + kHex64;

struct Good {
  std::string name, text, domain, path;
  std::string tag = "latest";     // "" = none
  std::string digest = {};        // "" = none
};
std::ostream& operator<<(std::ostream& out, const Good& row) { return out << row.text.substr(0, 80); }

struct Bad {
  std::string name, text;
  std::string_view error;  // the text contains it
};
std::ostream& operator<<(std::ostream& out, const Bad& row) { return out << Quoted(row.text); }

template <class Row>
std::string NameOf(const testing::TestParamInfo<Row>& info) {
  return info.param.name;
}

void ExpectParts(const Reference& got, const Good& row) {
  EXPECT_EQ(got.domain(), row.domain);
  EXPECT_EQ(got.path(), row.path);
  EXPECT_EQ(got.tag().value_or(""), row.tag);
  EXPECT_EQ(got.digest() ? got.digest()->ToString() : "", row.digest);
  EXPECT_EQ(got.spelling(), row.text);
}

class Normalised : public testing::TestWithParam<Good> {};

TEST_P(Normalised, HasThePartsOfTheTableAndIsStable) {
  const Result<Reference> got = Reference::Parse(GetParam().text);
  ASSERT_TRUE(got) << got.error().Text();
  ExpectParts(*got, GetParam());
  for (const std::string& text : {got->ToString(), got->Familiar(), got->CriSpelling()}) {
    const Result<Reference> again = Reference::Parse(text);
    ASSERT_TRUE(again) << text << ": " << again.error().Text();
    EXPECT_EQ(*again, *got) << text;
  }
}

const std::string kUpperHex = "sha256:" + Times(64, "F");

INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_7, Normalised,
    testing::Values(
        Good{"v1", "root", "docker.io", "library/root"},
        Good{"v2", "root:tag", "docker.io", "library/root", "tag"},
        Good{"v3", "root@" + kE3B0, "docker.io", "library/root", "", kE3B0},
        Good{"v4", "user/repo", "docker.io", "user/repo"},
        Good{"v5", "user/repo:tag", "docker.io", "user/repo", "tag"},
        Good{"v6", "user/repo@" + kE3B0, "docker.io", "user/repo", "", kE3B0},
        Good{"v7", "url:5000/repo", "url:5000", "repo"},
        Good{"v8", "url:5000/repo:tag", "url:5000", "repo", "tag"},
        Good{"v9", "url:5000/repo@" + kE3B0, "url:5000", "repo", "", kE3B0},
        Good{"v10", "url:5000/repo:latest@" + kE3B0, "url:5000", "repo", "latest", kE3B0},
        Good{"v16", "localhost", "docker.io", "library/localhost"},
        Good{"v17", "localhost/foo", "localhost", "foo"},
        Good{"v18", "localhost:5000", "docker.io", "library/localhost", "5000"},
        Good{"v19", "localhost:5000/foo", "localhost:5000", "foo"},
        Good{"v20", "LOCALHOST/foo", "LOCALHOST", "foo"},
        Good{"v21", "Foo/bar", "Foo", "bar"},
        Good{"v24", "foo:Tag", "docker.io", "library/foo", "Tag"},
        Good{"v25_port", "[::1]:5000/a", "[::1]:5000", "a"},
        Good{"v25_plain", "[::1]/a", "[::1]", "a"},
        Good{"v25_upper", "[FE80::1]:5000/a", "[FE80::1]:5000", "a"},
        Good{"v29", "index.docker.io/x", "docker.io", "library/x"},
        Good{"v30", "index.docker.io/x/y", "docker.io", "x/y"},
        Good{"v31", "docker.io/x", "docker.io", "library/x"},
        Good{"v32", "foo.docker.io/x", "foo.docker.io", "x"},
        Good{"v33", "docker.io:443/x", "docker.io:443", "x"},
        Good{"v34", "docker.io", "docker.io", "library/docker.io"},
        Good{"v37", "a_b/c", "docker.io", "a_b/c"},
        Good{"v38", "a_b.c/d", "", "a_b.c/d"},
        Good{"v41_underscores", "a/b__c", "docker.io", "a/b__c"},
        Good{"v41_hyphens", "a/b--c", "docker.io", "a/b--c"},
        Good{"v41_three", "a/b---c", "docker.io", "a/b---c"},
        Good{"v42_128", "a:" + Times(128, "t"), "docker.io", "library/a", Times(128, "t")},
        Good{"v44_underscore", "a:_t", "docker.io", "library/a", "_t"},
        Good{"v44_dot", "a:t.", "docker.io", "library/a", "t."},
        Good{"v44_hyphen", "a:t-", "docker.io", "library/a", "t-"},
        Good{"v49_sha512", "a@sha512:" + Times(128, "0"), "docker.io", "library/a", "", "sha512:" + Times(128, "0")},
        Good{"v49_sha384", "a@sha384:" + Times(96, "0"), "docker.io", "library/a", "", "sha384:" + Times(96, "0")},
        Good{"v53", "a:t@" + kF64, "docker.io", "library/a", "t", kF64},
        Good{"v54_255", "x.io/" + Times(255), "x.io", Times(255)},
        Good{"v55_247", Times(247), "docker.io", "library/" + Times(247)},
        Good{"v56", "library/ubuntu", "docker.io", "library/ubuntu"},
        Good{"v57", "docker.io/library/foo/bar", "docker.io", "library/foo/bar"},
        Good{"v58", "192.168.0.1", "docker.io", "library/192.168.0.1"},
        Good{"v59", "192.168.0.1:80", "docker.io", "library/192.168.0.1", "80"},
        Good{"v60", "192.168.0.1:80/a", "192.168.0.1:80", "a"},
        Good{"v61", "a:80/b", "a:80", "b"},
        Good{"v62", "a:999999/b", "a:999999", "b"},
        Good{"v64", "x.io/a/b/c/d:1", "x.io", "a/b/c/d", "1"},
        Good{"v66", "foo.com", "docker.io", "library/foo.com"},
        Good{"v67", "foo.com:8080", "docker.io", "library/foo.com", "8080"},
        Good{"v68_tag", kHex64 + ":tag", "docker.io", "library/" + kHex64, "tag"},
        Good{"v68_domain", "docker.io/" + kHex64, "docker.io", "library/" + kHex64},
        Good{"v68_63", Times(63, "f"), "docker.io", "library/" + Times(63, "f")},
        Good{"v68_65", Times(65, "f"), "docker.io", "library/" + Times(65, "f")},
        Good{"v71", "EXAMPLE.com/foo", "EXAMPLE.com", "foo"}),
    NameOf<Good>);

INSTANTIATE_TEST_SUITE_P(
    RuntimeRegistry1_4, Normalised,
    testing::Values(Good{"one_component", "busybox", "docker.io", "library/busybox"},
                    Good{"two_components", "a/b", "docker.io", "a/b"},
                    Good{"localhost", "localhost/x", "localhost", "x"},
                    Good{"host_and_port", "host:5000/x", "host:5000", "x"},
                    Good{"upper_case_is_a_domain", "Foo/x", "Foo", "x"},
                    Good{"tag_and_digest", "x:1@" + kF64, "docker.io", "library/x", "1", kF64}),
    NameOf<Good>);

// reliability-security 3.b, B-59: what the grammar takes.
INSTANTIATE_TEST_SUITE_P(
    B59, Normalised,
    testing::Values(Good{"tag_and_digest", "x.io/a:1@" + kF64, "x.io", "a", "1", kF64},
                    Good{"ipv6", "[2001:db8::1]/a/b:1", "[2001:db8::1]", "a/b", "1"},
                    Good{"port_0", "x.io:0/a", "x.io:0", "a"}, Good{"port_65536", "x.io:65536/a", "x.io:65536", "a"},
                    Good{"punycode", "xn--n3h.com/a", "xn--n3h.com", "a"},
                    Good{"host_of_docker_inside_path", "docker.io/x.io/y", "docker.io", "x.io/y"},
                    // A name with a tag by the grammar: whoever takes ids too asks IsImageId() first.
                    Good{"id_with_algorithm", kF64, "docker.io", "library/sha256", kHex64},
                    Good{"host_of_300", Times(300) + ".io/a", Times(300) + ".io", "a"}),
    NameOf<Good>);

class NormalisedRefuses : public testing::TestWithParam<Bad> {};

TEST_P(NormalisedRefuses, WithTheWordsOfTheKubelet) {
  const Result<Reference> got = Reference::Parse(GetParam().text);
  ASSERT_FALSE(got) << got->ToString();
  EXPECT_EQ(got.error().reason(), Reason::kInvalidReference);
  const std::string text = got.error().Text();
  EXPECT_THAT(text, testing::StartsWith("couldn't parse image name " + Quoted(GetParam().text) + ": "));
  EXPECT_THAT(text, HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_7, NormalisedRefuses,
    testing::Values(
        Bad{"v11", "ROOT", "invalid reference format: repository name (library/ROOT) must be lowercase"},
        Bad{"v12", "http://root", kFormat}, Bad{"v13", kHex64, kHex}, Bad{"v14", "", kFormat},
        Bad{"v15_colon", "a:", kFormat}, Bad{"v15_at", "a@", kFormat}, Bad{"v15_two_tags", "a:b:c", kFormat},
        Bad{"v22", "Foo", kLower}, Bad{"v23", "foo/Bar", kLower}, Bad{"v26", "[::1]", kFormat},
        Bad{"v27", "[fe80::1%eth0]:5000/a", kFormat}, Bad{"v28", "fc00::1:5000/a", kFormat},
        Bad{"v35", "docker.io/", kFormat}, Bad{"v36_leading_slash", "/x", kFormat},
        Bad{"v36_trailing_slash", "x/", kFormat}, Bad{"v36_two_slashes", "x//y", kFormat},
        Bad{"v36_leading_space", " x", kFormat}, Bad{"v36_trailing_space", "x ", kFormat},
        Bad{"v36_newline", "x\n", kFormat}, Bad{"v36_inner_space", "x y", kFormat}, Bad{"v39", "a_b:5000/c", kFormat},
        Bad{"v40_1", "-a/b", kFormat}, Bad{"v40_2", "a-/b", kFormat}, Bad{"v40_3", "a/-b", kFormat},
        Bad{"v40_4", "a/b-", kFormat}, Bad{"v40_5", "a/b.", kFormat}, Bad{"v40_6", "a/.b", kFormat},
        Bad{"v40_7", "a/b..c", kFormat}, Bad{"v40_8", "a/b___c", kFormat}, Bad{"v40_9", "a/b_-c", kFormat},
        Bad{"v40_10", "a/b.-c", kFormat}, Bad{"v42_129", "a:" + Times(129, "t"), kFormat},
        Bad{"v43_hyphen", "a:-t", kFormat}, Bad{"v43_dot", "a:.t", kFormat}, Bad{"v43_plus", "a:t+", kFormat},
        Bad{"v45", "a@" + kUpperHex, kDigestFormat},
        Bad{"v46", "a@SHA256:" + kHex64, "repository name (library/a@SHA256) must be lowercase"},
        Bad{"v47", "a@sha256:" + Times(32), kDigestLength}, Bad{"v48", "a@sha256:" + Times(31), kFormat},
        Bad{"v50", "a@sha512:" + kHex64, kDigestLength}, Bad{"v51_md5", "a@md5:" + Times(32), kDigestUnknown},
        Bad{"v51_b64", "a@sha256+b64:" + kHex64, kDigestUnknown}, Bad{"v52", "a@" + kF64 + ":t", kFormat},
        Bad{"v54_256", "x.io/" + Times(256), kLong}, Bad{"v55_248", Times(248), kLong},
        Bad{"v63_no_port", "a:/b", kFormat}, Bad{"v63_word_port", "a:http/b", kFormat},
        Bad{"v63_no_port_host", "x.io:/b", kFormat}, Bad{"v63_trailing_dot", "x.io./b", kFormat},
        Bad{"v63_two_dots", "x..io/b", kFormat}, Bad{"v63_leading_dot", ".x/b", kFormat},
        Bad{"v65_path", "caf\xC3\xA9", kFormat}, Bad{"v65_host", "caf\xC3\xA9.io/x", kFormat},
        Bad{"v65_tag", "a:\xC3\xA9", kFormat}, Bad{"v69", Times(64, "F"), kLower}, Bad{"v70", "$(IMG)", kLower}),
    NameOf<Bad>);

INSTANTIATE_TEST_SUITE_P(
    B59, NormalisedRefuses,
    testing::Values(Bad{"upper_case", "x.io/App", kLower}, Bad{"path_of_300", "x.io/" + Times(300), kLong},
                    Bad{"two_tags", "x.io/a:1:2", kFormat}, Bad{"empty_digest", "x.io/a@sha256:", kFormat},
                    Bad{"user_info", "user:pw@x.io/a", kFormat}, Bad{"user_without_password", "user@x.io/a", kFormat},
                    Bad{"scheme", "https://x.io/a", kFormat}, Bad{"oci_scheme", "docker://x.io/a", kFormat},
                    Bad{"spaces", "x.io/a b", kFormat}, Bad{"idn", "b\xC3\xBC" "cher.example/a", kFormat},
                    Bad{"trailing_colon", "x.io/a:", kFormat}, Bad{"id", kHex64, kHex},
                    Bad{"only_digest", "@" + kF64, kFormat},
                    Bad{"traversal", "../../etc/passwd", kFormat}, Bad{"nul", std::string("a\0b", 3), kFormat},
                    Bad{"nul_at_the_end", std::string("a\0", 2), kFormat}, Bad{"query", "x.io/a?b=c", kFormat},
                    Bad{"one_mebibyte", Times(1u << 20), "longer than 4096 bytes"}),
    NameOf<Bad>);

class Raw : public testing::TestWithParam<Good> {};

TEST_P(Raw, AddsNothing) {
  const Result<Reference> got = Reference::ParseRaw(GetParam().text);
  ASSERT_TRUE(got) << got.error().Text();
  ExpectParts(*got, GetParam());
  EXPECT_EQ(got->ToString(), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_8, Raw,
    testing::Values(
        Good{"underscore", "test_com", "", "test_com", ""}, Good{"dot", "test.com:tag", "", "test.com", "tag"},
        Good{"digits_are_a_tag", "test.com:5000", "", "test.com", "5000"},
        Good{"domain", "test.com/repo:tag", "test.com", "repo", "tag"},
        Good{"domain_with_port", "test:5000/repo", "test:5000", "repo", ""},
        Good{"all_parts", "test:5000/repo:tag@" + kF64, "test:5000", "repo", "tag", kF64},
        Good{"sha512", "validname@sha512:" + Times(128, "f"), "", "validname", "", "sha512:" + Times(128, "f")},
        Good{"upper_tag", "lowercase:Uppercase", "", "lowercase", "Uppercase"},
        Good{"upper_domain", "Uppercase/lowercase:tag", "Uppercase", "lowercase", "tag"},
        Good{"limit_counts_the_path", Times(127, "a/") + "a:tag-puts-this-over-max", "a", Times(126, "a/") + "a",
             "tag-puts-this-over-max"},
        Good{"path_of_255", "example.com/" + Times(255) + ":tag", "example.com", Times(255), "tag"},
        Good{"ipv4", "192.168.1.1", "", "192.168.1.1", ""}, Good{"ipv4_tag", "192.168.1.1:tag", "", "192.168.1.1", "tag"},
        Good{"ipv4_number", "192.168.1.1:5000", "", "192.168.1.1", "5000"},
        Good{"ipv4_port", "192.168.1.1:5000/repo:5050", "192.168.1.1:5000", "repo", "5050"},
        Good{"sub_domain", "sub-dom1.foo.com/bar/baz/quux", "sub-dom1.foo.com", "bar/baz/quux", ""},
        Good{"long_tag", "sub-dom1.foo.com/bar/baz/quux:some-long-tag", "sub-dom1.foo.com", "bar/baz/quux", "some-long-tag"},
        Good{"dots", "b.reg.example/test.example.com/my-app:test.example.com", "b.reg.example", "test.example.com/my-app",
             "test.example.com"},
        Good{"punycode", "xn--n3h.com/myimage:xn--n3h.com", "xn--n3h.com", "myimage", "xn--n3h.com"},
        Good{"underscore_dot", "foo_bar.com:8080", "", "foo_bar.com", "8080"},
        Good{"underscore_path", "foo/foo_bar.com:8080", "foo", "foo_bar.com", "8080"},
        Good{"ipv6", "[2001:db8::1]/repo", "[2001:db8::1]", "repo", ""},
        Good{"ipv6_long", "[2001:db8:1:2:3:4:5:6]/repo:tag", "[2001:db8:1:2:3:4:5:6]", "repo", "tag"},
        Good{"ipv6_digest", "[2001:db8::1]:5000/repo@" + kF64, "[2001:db8::1]:5000", "repo", "", kF64}),
    NameOf<Good>);

class RawRefuses : public testing::TestWithParam<Bad> {};

TEST_P(RawRefuses, WithTheTextOfTheTable) {
  const Result<Reference> got = Reference::ParseRaw(GetParam().text);
  ASSERT_FALSE(got) << got->ToString();
  EXPECT_EQ(got.error().reason(), Reason::kInvalidReference);
  EXPECT_EQ(got.error().Text(), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_8, RawRefuses,
    testing::Values(Bad{"tag_only", ":justtag", kFormat}, Bad{"digest_only", "@" + kF64, kFormat},
                    Bad{"short_digest", "repo@sha256:" + Times(34, "f"), kDigestLength},
                    Bad{"unknown_digest", "validname@invaliddigest:" + kHex64, kDigestUnknown},
                    Bad{"upper", "Uppercase:tag", kLowercase},
                    Bad{"upper_path", "test:5000/Uppercase/lowercase:tag", kLowercase},
                    Bad{"path_of_256", "domain/" + Times(256) + ":tag", kLong},
                    Bad{"signs", "aa/asdf$$^/aa", kFormat}, Bad{"ipv6", "[2001:db8::1]", kFormat},
                    Bad{"ipv6_port", "[2001:db8::1]:5000", kFormat}, Bad{"ipv6_tag", "[2001:db8::1]:tag", kFormat},
                    Bad{"zone", "[fe80::1%eth0]:5000/repo", kFormat},
                    Bad{"bad_zone", "[fe80::1%@invalidzone]:5000/repo", kFormat}),
    NameOf<Bad>);
INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_2, RawRefuses,
    testing::Values(Bad{"empty", "", "repository name must have at least one component"},
                    Bad{"no_match", "a b", kFormat}, Bad{"upper_and_wrong", "A B", kFormat},
                    Bad{"upper_digest_algorithm_is_no_digest", "a@SHA256:" + kHex64, kDigestFormat}),
    NameOf<Bad>);

// 1.4: what a tag and a digest make of each other.
TEST(Reference, TheDefaultTagStandsOnlyWhereNothingElseDoes) {
  EXPECT_EQ(Reference::Parse("root")->tag(), "latest");
  EXPECT_EQ(Reference::Parse("root@" + kE3B0)->tag(), std::nullopt);
  EXPECT_EQ(Reference::Parse("root:a@" + kE3B0)->tag(), "a");
  EXPECT_EQ(Reference::ParseRaw("root")->tag(), std::nullopt);
}

struct Printed {
  std::string name, text, canonical, familiar, cri;
};
class Prints : public testing::TestWithParam<Printed> {};

TEST_P(Prints, EachSpelling) {
  const Result<Reference> got = Reference::Parse(GetParam().text);
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->Canonical(), GetParam().canonical);
  EXPECT_EQ(got->Familiar(), GetParam().familiar);
  EXPECT_EQ(got->CriSpelling(), GetParam().cri);
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_5_1_6, Prints,
    testing::Values(
        Printed{"root", "root", "docker.io/library/root:latest", "root", "root:latest"},
        Printed{"latest", "root:latest", "docker.io/library/root:latest", "root", "root:latest"},
        Printed{"tag", "root:tag", "docker.io/library/root:tag", "root:tag", "root:tag"},
        Printed{"digest", "root@" + kE3B0, "docker.io/library/root@" + kE3B0, "root@" + kE3B0, "root@" + kE3B0},
        Printed{"both", "root:latest@" + kE3B0, "docker.io/library/root@" + kE3B0, "root:latest@" + kE3B0,
                "root:latest@" + kE3B0},
        Printed{"v56", "library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu", "library/ubuntu:latest"},
        Printed{"v57", "docker.io/library/foo/bar", "docker.io/library/foo/bar:latest", "library/foo/bar",
                "docker.io/library/foo/bar:latest"},
        Printed{"user", "docker.io/user/repo:1", "docker.io/user/repo:1", "user/repo:1", "docker.io/user/repo:1"},
        Printed{"other_host", "x.io/library/a", "x.io/library/a:latest", "x.io/library/a", "x.io/library/a:latest"},
        Printed{"number_is_a_tag", "localhost:5000", "docker.io/library/localhost:5000", "localhost:5000", "localhost:5000"},
        Printed{"no_domain", "a_b.c/d", "a_b.c/d:latest", "a_b.c/d", "a_b.c/d:latest"},
        Printed{"path_like_a_host", "docker.io/x.io/y", "docker.io/x.io/y:latest", "docker.io/x.io/y",
                "docker.io/x.io/y:latest"},
        Printed{"path_like_localhost", "docker.io/localhost/y:1", "docker.io/localhost/y:1", "docker.io/localhost/y:1",
                "docker.io/localhost/y:1"},
        Printed{"name_like_an_id", "docker.io/" + kHex64, "docker.io/library/" + kHex64 + ":latest", kHex64 + ":latest",
                "docker.io/" + kHex64 + ":latest"}),
    NameOf<Printed>);

TEST(Reference, CriSpellingOfAnErrorIsTheError) {
  EXPECT_THAT(Reference::Parse("ROOT").error().Text(), EndsWith(kLower));
}

TEST(Reference, WithTagAndWithDigestKeepTheOtherPartsAndTheSpelling) {
  const Reference one = *Reference::Parse("root:1");
  const digest::Digest digest = *digest::Digest::Parse(kE3B0);
  const Reference two = one.WithTag("2");
  EXPECT_EQ(two, *Reference::Parse("docker.io/library/root:2"));
  EXPECT_EQ(two.CriSpelling(), "root:2");
  const Reference both = two.WithDigest(digest);
  EXPECT_EQ(both, *Reference::Parse("root:2@" + kE3B0));
  EXPECT_EQ(both.spelling(), "root:2@" + kE3B0);
  EXPECT_EQ(both.WithTag("3").ToString(), "docker.io/library/root:3@" + kE3B0);
  EXPECT_EQ(Reference::Parse("h:5000/a@" + kF64)->WithDigest(digest).spelling(), "h:5000/a@" + kE3B0);
  EXPECT_FALSE(one == two);
}

TEST(Reference, WithTagDiesOnWhatIsNoTag) {
  EXPECT_DEATH((void)Reference::Parse("root")->WithTag("a/b"), "IsTag");
  EXPECT_DEATH((void)Reference::Parse("root")->WithTag(""), "IsTag");
}

struct Trimmed {
  std::string name, text, want;  // want "": an error
};
class Trims : public testing::TestWithParam<Trimmed> {};

TEST_P(Trims, ToTheNameAsWritten) {
  const Result<std::string> got = TrimTagAndDigest(GetParam().text);
  ASSERT_EQ(got.has_value(), !GetParam().want.empty());
  if (got) {
    EXPECT_EQ(*got, GetParam().want);
  } else {
    EXPECT_EQ(got.error().reason(), Reason::kInvalidReference);
  }
}

INSTANTIATE_TEST_SUITE_P(
    KubeletImages1_9, Trims,
    testing::Values(Trimmed{"name", "myimage", "myimage"}, Trimmed{"tag", "myimage:latest", "myimage"},
                    Trimmed{"digest", "myimage@" + kE3B0, "myimage"}, Trimmed{"both", "myimage:v1@" + kE3B0, "myimage"},
                    Trimmed{"port", "localhost:5000/myimage:v1", "localhost:5000/myimage"},
                    Trimmed{"trailing_slash", "registry.io/myorg/", ""}),
    NameOf<Trimmed>);

TEST(IsHub, KnowsItsThreeNames) {
  for (const char* yes : {"docker.io", "index.docker.io", "registry-1.docker.io"}) EXPECT_TRUE(IsHub(yes)) << yes;
  for (const char* no : {"", "Docker.io", "docker.io:443", "x.docker.io", "registry.docker.io"}) EXPECT_FALSE(IsHub(no)) << no;
}

TEST(IsImageId, TakesBareAndPrefixedDigestsOnly) {
  for (const auto& [id, means] : std::initializer_list<std::pair<std::string, std::string>>{
           {kHex64, kF64}, {kE3B0, kE3B0}, {Times(96, "a"), "sha384:" + Times(96, "a")}, {"sha384:" + Times(96, "a"), "sha384:" + Times(96, "a")},
           {Times(128, "a"), "sha512:" + Times(128, "a")}, {"sha512:" + Times(128, "a"), "sha512:" + Times(128, "a")}}) {
    EXPECT_TRUE(IsImageId(id)) << id;
    EXPECT_EQ(ParseImageId(id).value_or(digest::Digest()).ToString(), means);
  }
  for (const std::string& no : {std::string(), std::string("sha256:"), Times(63, "f"), Times(65, "f"), Times(64, "F"),
                                "sha512:" + kHex64, "sha256:" + kE3B0, "a@" + kE3B0, kHex64 + "\n", Times(96, "g"), Times(128, "F"),
                                "sha384:" + Times(128, "f"), "sha256:" + Times(96, "f"), "sha1:" + Times(40, "f"), ":" + kHex64}) {
    EXPECT_FALSE(IsImageId(no)) << no;
  }
}

TEST(IdDigits, AreTheHexOfAnIdOrItsBeginning) {
  struct Row {
    std::string text, digits;
  };
  for (const Row& row : {Row{"e3b0", "e3b0"}, Row{"sha256:e3b0", "e3b0"}, Row{"sha384:e3b0", "e3b0"}, Row{"sha512:e3b0", "e3b0"},
                         Row{kE3B0, kE3B0.substr(7)}, Row{"sha512:" + Times(128, "a"), Times(128, "a")}, Row{"", ""}, Row{"sha256:", ""},
                         Row{"E3B0", ""}, Row{"SHA256:e3b0", ""}, Row{"sha1:e3b0", ""}, Row{"sha512:v1", ""}, Row{"busybox:1234", ""},
                         Row{"sha256:sha256:e3b0", ""}, Row{"e3b0\n", ""}, Row{":e3b0", ""}})
    EXPECT_EQ(IdDigits(row.text), row.digits) << row.text;
}

}  // namespace
}  // namespace berth::reference
