#include "verify/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <ostream>

#include "digest/testing/signer.h"

namespace berth::verify {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using digest::testing::Signer;

const Signer kOne, kTwo(Signer::Kind::kEd25519);

Result<Rules> Read(const std::string& text, const std::map<std::string, std::string>& files = {{"/keys/one.pub", kOne.pem()}, {"/keys/two.pub", kTwo.pem()}}) {
  const auto documents = yaml::Parse(text, "config.yaml", Reason::kConfig);
  if (!documents) return documents.error();
  return Rules::Parse((*documents)[0], *(*documents)[0].root().Find("verification"), [&](const std::string& path) -> Result<std::string> {
    const auto found = files.find(path);
    if (found == files.end()) return Error(Reason::kNotFound, "no such file");
    return found->second;
  });
}
reference::Reference Ref(const std::string& name) { return *reference::Reference::Parse(name); }

TEST(Rules, TheFirstThatMatchesDecides) {
  const auto rules = Read(R"(verification:
  rules:
  - {name: golden, match: [registry.example/team/golden], action: Allow}
  - name: ours
    match: [registry.example/team, '*.registry.example/team/*-prod']
    action: RequireSignature
    keys: [{file: /keys/one.pub}, {name: second, file: /keys/two.pub, notAfter: 2027-01-01T00:00:00Z}]
    threshold: 2
    identity: Exact
    signedAs: [build.example/team]
    signedAfter: 2026-01-01T00:00:00Z
    whenUnreachable: Warn
  - {match: ['127.0.0.1:5000'], action: Warn, keys: [{file: /keys/one.pub}]}
)");
  ASSERT_TRUE(rules) << rules.error().Text();
  EXPECT_TRUE(rules->enabled());
  EXPECT_EQ(rules->Find(Ref("registry.example/team/golden:1")).name, "golden");
  const Rule& ours = rules->Find(Ref("registry.example/team/golden-not"));
  EXPECT_EQ(ours.name, "ours");
  EXPECT_EQ(ours.keys.size(), 2u);
  EXPECT_EQ(ours.keys[0].name, "one.pub");
  EXPECT_EQ(ours.keys[1].key.algorithm(), "Ed25519");
  EXPECT_TRUE(ours.keys[1].not_after && ours.signed_after && ours.warn_when_unreachable);
  EXPECT_EQ(ours.threshold, 2u);
  EXPECT_EQ(ours.identity, Identity::kExact);
  EXPECT_EQ(rules->Find(Ref("a.registry.example/team/web-prod")).name, "ours");
  EXPECT_EQ(rules->Find(Ref("127.0.0.1:5000/x")).name, "rules[2]");
  for (const char* other : {"busybox", "registry.example/teammate/x", "a.registry.example/team/web-dev", "127.0.0.1:5001/x"}) {
    EXPECT_EQ(rules->Find(Ref(other)).name, "default") << other;
    EXPECT_EQ(rules->Find(Ref(other)).action, Action::kDeny) << other;
  }
  EXPECT_EQ(rules->Summary(), "3 rules, 2 keys, default Deny");
  EXPECT_THAT(rules->notes(), ElementsAre(HasSubstr("config.yaml:4: rule \"ours\" lets unsigned images through for whoever")));
}

// A Deny that another spelling of the registry passes would be none.
TEST(Rules, AllSpellingsOfARegistryGetTheSameRule) {
  const auto rules = Read(R"(verification:
  default: Allow
  rules:
  - {name: local, match: ['LocalHost:5000'], action: Deny}
  - {name: hub, match: [index.docker.io/library], action: Deny}
  - {name: ours, match: [registry.example], action: Deny}
  - {name: six, match: ['[FE80::A]', '\[FE80::B\]:5000'], action: Deny}
)");
  ASSERT_TRUE(rules) << rules.error().Text();
  for (const auto& [name, rule] : std::initializer_list<std::pair<const char*, const char*>>{
           {"localhost:5000/a", "local"}, {"LOCALHOST:5000/a", "local"}, {"localhost/a", "default"}, {"busybox", "hub"},
           {"registry-1.docker.io/library/busybox", "hub"}, {"Docker.io:443/busybox", "hub"}, {"docker.io/u/a", "default"},
           {"Registry.example:443/a", "ours"},
           {"[fe80::a]/a", "six"}, {"[fe80:0::a]:443/a", "six"}, {"[fe80::b]:5000/a", "six"}, {"[fe80::b]/a", "default"}})
    EXPECT_EQ(rules->Find(Ref(name)).name, rule) << name;
  EXPECT_THAT(rules->notes(), ElementsAre(HasSubstr("default: Allow")));
}

TEST(Rules, WithoutASectionNothingIsVerified) {
  EXPECT_FALSE(Rules().enabled());
  EXPECT_THAT(Rules().Summary(), HasSubstr("off"));
}

// A verdict is void when what it was made by is no longer the same, and only then.
TEST(Rules, TheHashIsThatOfTheRule) {
  const auto hash = [](const std::string& rule, const std::string& more = "", const std::string& pem = kOne.pem()) {
    const auto rules = Read("verification:\n  rules:\n" + more + "  - " + rule + "\n", {{"/keys/one.pub", pem}, {"/keys/two.pub", kTwo.pem()}});
    EXPECT_TRUE(rules) << rules.error().Text();
    return rules->Find(Ref("r.example/a")).hash;
  };
  const std::string base = "{name: r, match: [r.example], action: RequireSignature, keys: [{file: /keys/one.pub}]}";
  EXPECT_EQ(hash(base), hash(base, "  - {match: [other.example], action: Deny}\n"));
  EXPECT_EQ(hash(base), hash("{name: r, match: ['*.example'], action: RequireSignature, keys: [{file: /keys/one.pub}]}"));
  EXPECT_NE(hash(base), hash(base, "", Signer().pem()));
  for (const char* other : {"{name: r, match: [r.example], action: Warn, keys: [{file: /keys/one.pub}]}",
                            "{name: r, match: [r.example], action: RequireSignature, keys: [{file: /keys/two.pub}]}",
                            "{name: r, match: [r.example], action: RequireSignature, keys: [{file: /keys/one.pub}], identity: Any}",
                            "{name: r, match: [r.example], action: RequireSignature, keys: [{file: /keys/one.pub}], whenUnreachable: Warn}",
                            "{name: r, match: [r.example], action: RequireSignature, keys: [{file: /keys/one.pub}], signedAs: [x.example]}",
                            "{name: r, match: [r.example], action: RequireSignature, keys: [{file: /keys/one.pub, notAfter: 2030-01-01T00:00:00Z}]}"})
    EXPECT_NE(hash(base), hash(other)) << other;
}

struct PatternRow { std::string pattern, repository; bool matches; };
void PrintTo(const PatternRow& r, std::ostream* out) { *out << r.pattern << " for " << r.repository; }
class Patterns : public ::testing::TestWithParam<PatternRow> {};
TEST_P(Patterns, Match) { EXPECT_EQ(MatchesRepository(GetParam().pattern, GetParam().repository), GetParam().matches); }
INSTANTIATE_TEST_SUITE_P(Table, Patterns,
                         ::testing::Values(PatternRow{"*", "h:5000/a", true}, PatternRow{"h", "h/a/b", true}, PatternRow{"h/a", "h/a", true},
                                           PatternRow{"h/a", "h/a/b", true}, PatternRow{"h/a", "h/ab", false}, PatternRow{"h/a/b", "h/a", false},
                                           PatternRow{"h/*", "h/a/b", true}, PatternRow{"h/*/b", "h/a/b", true}, PatternRow{"h/*/b", "h/a/x/b", false},
                                           PatternRow{"*.h", "a.h/x", true}, PatternRow{"*.h", "h/x", false}, PatternRow{"h", "h:5000/x", false},
                                           PatternRow{"h:*", "h:5000/x", true}, PatternRow{"h/a-?", "h/a-1", true}, PatternRow{"h/[ab]", "h/c", false},
                                           PatternRow{"\\[::1]:5000/x", "[::1]:5000/x", true}));
// One registry, however it is spelled: its address decides.
INSTANTIATE_TEST_SUITE_P(
    Spellings, Patterns,
    ::testing::Values(PatternRow{"h.io:5000", "H.io:5000/a", true}, PatternRow{"H.IO:5000", "h.io:5000/a", true}, PatternRow{"*.H.io", "a.h.IO/a", true},
                      PatternRow{"h.io/a", "h.io:443/a", true}, PatternRow{"h.io:443", "h.io/a", true}, PatternRow{"h.io:443", "h.io:5000/a", false},
                      PatternRow{"h.io", "h.io:0443/a", true}, PatternRow{"h.io:0443", "h.io/a", true}, PatternRow{"h.io:05000", "h.io:005000/a", true},
                      PatternRow{"h.io", "h.io:80/a", false}, PatternRow{"h.io", "h.io:4430/a", false}, PatternRow{"h.io:0", "h.io:00/a", true}, PatternRow{"1.2", "1.2:443/a", true},
                      PatternRow{"*.h.io", "a.h.io:443/a", true}, PatternRow{"*", "h.io:443/a", true}, PatternRow{"*.h.io:443", "a.h.io/a", true},
                      PatternRow{"*:443", "h.io/a", true}, PatternRow{"*:443", "h.io:5000/a", false}, PatternRow{"h.io:*", "h.io/a", true},
                      PatternRow{"h*:443", "h.io:5000/a", false}, PatternRow{"h.io:4?3", "h.io/a", true}, PatternRow{"h.io/A", "h.io/a", false},
                      PatternRow{"docker.io", "registry-1.docker.io/library/a", true}, PatternRow{"docker.io", "index.docker.io:443/library/a", true},
                      PatternRow{"docker.io", "DOCKER.io:443/library/a", true}, PatternRow{"docker.io/library/a", "registry-1.docker.io/a", true},
                      PatternRow{"index.docker.io/library", "docker.io/library/a", true}, PatternRow{"Registry-1.docker.io:443", "docker.io/u/a", true},
                      PatternRow{"*.docker.io", "docker.io/u/a", true}, PatternRow{"docker.io", "docker.io:5000/u/a", false},
                      PatternRow{"docker.io", "hub.docker.io/u/a", false}, PatternRow{"[::1]:5000/x", "[::1]:5000/x", true},
                      PatternRow{"[::1]:5000", "[0:0::0001]:5000/x", true}, PatternRow{"[FE80::A]", "[fe80:0::a]:443/x", true},
                      PatternRow{"\\[0:0::1\\]:*", "[::1]/x", true}, PatternRow{"[::1]", "[::2]/x", false}, PatternRow{"[::1]", "[::1]:5000/x", false}));

struct BadRow { std::string name, text, message; };
void PrintTo(const BadRow& r, std::ostream* out) { *out << r.name; }
class BadFiles : public ::testing::TestWithParam<BadRow> {};
TEST_P(BadFiles, AreRefusedWithTheirLine) {
  const auto rules = Read("verification:\n" + GetParam().text);
  ASSERT_FALSE(rules);
  EXPECT_EQ(rules.error().reason(), Reason::kConfig);
  EXPECT_THAT(rules.error().Text(), HasSubstr(GetParam().message));
}
std::string R(const std::string& rule) { return "  rules:\n  - " + rule + "\n"; }
INSTANTIATE_TEST_SUITE_P(
    Table, BadFiles,
    ::testing::Values(
        BadRow{"no map", "  []\n", "config.yaml:1: verification must be a map"},
        BadRow{"unknown field", "  defualt: Deny\n", "config.yaml:2: verification has no field \"defualt\"; there are: default, programs, rules"},
        BadRow{"default", "  default: RequireSignature\n", "config.yaml:2: default must be one of Deny, Warn, Allow"},
        BadRow{"no action", R("{match: [h.io]}"), "config.yaml:3: a rule needs action: one of Allow, Warn, Deny, RequireSignature"},
        BadRow{"action", R("{match: [h.io], action: allow}"), "action must be one of"},
        BadRow{"no match", R("{action: Deny}"), "a rule needs match"},
        BadRow{"no keys", R("{match: [h.io], action: RequireSignature}"), "RequireSignature needs keys, or programs: true"},
        BadRow{"allow with keys", R("{match: [h.io], action: Allow, keys: [{file: /keys/one.pub}]}"), "Allow looks at no signature"},
        BadRow{"deny with digests", R("{match: [h.io], action: Deny, digests: ['sha256:" + std::string(64, 'a') + "']}"), "Deny lets nothing through"},
        BadRow{"empty digests", R("{match: [h.io], action: Allow, digests: []}"), "digests is empty"},
        BadRow{"bad digest", R("{match: [h.io], action: Allow, digests: ['sha256:12']}"), "\"sha256:12\": invalid checksum digest length"},
        BadRow{"missing file", R("{match: [h.io], action: RequireSignature, keys: [{file: /keys/x.pub}]}"),
               "config.yaml:3: the key file \"/keys/x.pub\" cannot be read: no such file"},
        BadRow{"relative file", R("{match: [h.io], action: RequireSignature, keys: [{file: x.pub}]}"), "must be an absolute path"},
        BadRow{"neither", R("{match: [h.io], action: RequireSignature, keys: [{name: x}]}"), "a key needs either file or pem"},
        BadRow{"both", R("{match: [h.io], action: RequireSignature, keys: [{file: /keys/one.pub, pem: x}]}"), "a key needs either file or pem"},
        BadRow{"bad pem", R("{match: [h.io], action: RequireSignature, keys: [{pem: x}]}"), "the public key is not one PUBLIC KEY block in PEM form (pem of \"keys[0]\")"},
        BadRow{"same key", R("{match: [h.io], action: RequireSignature, keys: [{file: /keys/one.pub}, {name: x, file: /keys/one.pub}]}"), "the key \"x\" is listed twice"},
        BadRow{"same key name", R("{match: [h.io], action: RequireSignature, keys: [{name: x, file: /keys/two.pub}, {name: x, file: /keys/one.pub}]}"), "two keys have the name \"x\""},
        BadRow{"threshold", R("{match: [h.io], action: RequireSignature, threshold: 2, keys: [{file: /keys/one.pub}]}"), "threshold is 2, and there are 1 keys"},
        BadRow{"never valid", R("{match: [h.io], action: RequireSignature, keys: [{file: /keys/one.pub, notBefore: 2027-01-01T00:00:00Z, notAfter: 2026-01-01T00:00:00Z}]}"), "the key is never valid"},
        BadRow{"time", R("{match: [h.io], action: RequireSignature, keys: [{file: /keys/one.pub, notAfter: soon}]}"), "notAfter must be a time such as"},
        BadRow{"no programs", R("{match: [h.io], action: RequireSignature, programs: true}"), "programs: true needs verification.programs.dir"},
        BadRow{"programs dir", "  programs: {dir: verifiers}\n", "programs needs dir: an absolute path"},
        BadRow{"programs timeout", "  programs: {dir: /v, timeout: 10}\n", "timeout must be a duration"},
        BadRow{"two names", "  rules:\n  - {name: a, match: [h.io], action: Deny}\n  - {name: a, match: [i.io], action: Deny}\n", "config.yaml:4: two rules have the name \"a\""},
        BadRow{"scheme", R("{match: ['https://h.io'], action: Deny}"), "must not have a scheme"},
        BadRow{"tag", R("{match: ['h.io/a:1'], action: Deny}"), "must not have a tag"},
        BadRow{"digest", R("{match: ['h.io/a@sha256:1'], action: Deny}"), "must not have a digest"},
        BadRow{"short name", R("{match: [busybox], action: Deny}"), "never matches: it must begin with a registry (docker.io/library/busybox?)"},
        BadRow{"short name in capitals", R("{match: [BusyBox], action: Deny}"), "(docker.io/library/busybox?); one without a dot is written with its port (busybox:443)"},
        BadRow{"dot", R("{match: ['h.io./a'], action: Deny}"), "never matches: no host in the name of an image ends with a dot"},
        BadRow{"dot and port", R("{match: ['h.io.:5000'], action: Deny}"), "never matches: no host in the name of an image ends with a dot"},
        BadRow{"capitals in a class", R("{match: ['h[^A-Z].io'], action: Deny}"), "has capitals between [ and ]: hosts are compared in lower case"},
        BadRow{"upper case", R("{match: [h.io/Team], action: Deny}"), "never matches: paths of repositories are lower case"},
        BadRow{"bracket", R("{match: ['h.io/[ab'], action: Deny}"), "has a [ without its ]"},
        BadRow{"empty part", R("{match: ['h.io//a'], action: Deny}"), "has an empty part"},
        BadRow{"no list", R("{match: h.io, action: Deny}"), "match must be a list"}),
    [](const auto& row) {
      std::string name = row.param.name;
      std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
      return name;
    });

TEST(Rules, WhatIsUnwiseIsNoted) {
  const auto notes = [](const std::string& text) {
    const auto rules = Read("verification:\n" + text);
    EXPECT_TRUE(rules) << rules.error().Text();
    return rules->notes();
  };
  EXPECT_THAT(notes("  default: Allow\n"), ElementsAre(HasSubstr("let through unverified (default: Allow)")));
  EXPECT_THAT(notes("  rules: []\n"), ElementsAre(HasSubstr("no image can be pulled")));
  for (const char* hub : {"docker.io/busybox", "Index.docker.io:443/busybox"})
    EXPECT_THAT(notes(R(std::string("{match: ['") + hub + "'], action: Deny}")), ElementsAre(HasSubstr("repositories of that user"))) << hub;
  EXPECT_THAT(notes(R("{match: ['*registry.io'], action: Deny}")), ElementsAre(HasSubstr("such as evilregistry.io")));
  EXPECT_THAT(notes(R("{name: all, match: ['*'], action: Allow}")), ElementsAre(HasSubstr("lets everything through unverified")));
  EXPECT_THAT(notes(R("{match: ['*'], action: Deny}") + "  - {name: late, match: [h.io], action: Allow}\n"), ElementsAre(HasSubstr("rule \"late\" is never reached")));
  EXPECT_THAT(notes(R("{match: [h.io], action: Warn}")), ElementsAre(HasSubstr("nothing to check")));
  EXPECT_THAT(notes(R("{match: [h.io], action: RequireSignature, keys: [{file: /keys/one.pub}], identity: Any}")), ElementsAre(HasSubstr("for any repository")));
  EXPECT_THAT(notes("  programs: {dir: /v}\n" + R("{match: [h.io], action: Deny}")), ElementsAre(HasSubstr("none is ever run")));
  EXPECT_THAT(notes(R("{match: [h.io], action: RequireSignature, keys: [{file: /keys/one.pub}]}")), IsEmpty());
}

}  // namespace
}  // namespace berth::verify
