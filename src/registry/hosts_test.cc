#include "registry/hosts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace berth::registry {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// "https://a/v2 rp ns=x": what matters of an endpoint in one line.
std::string Line(const HostEndpoint& e) {
  std::string line = e.base.Redacted() + " ";
  line += e.mirror ? "m" : "";
  line += e.resolve ? "r" : "";
  line += e.pull ? "p" : "";
  if (e.plain_fallback) line += " plain-fallback";
  if (e.tls.skip_verify) line += " skip-verify";
  for (const auto& ca : e.tls.ca_paths) line += " ca=" + ca;
  if (!e.tls.client_cert.empty()) line += " cert=" + e.tls.client_cert + " key=" + e.tls.client_key;
  for (const auto& header : e.headers) line += " " + header.name + ":" + header.value;
  if (e.dial_timeout) line += " dial=" + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(*e.dial_timeout).count());
  if (!e.ns.empty()) line += " ns=" + e.ns;
  return line;
}

std::vector<std::string> Lines(const Result<std::vector<HostEndpoint>>& endpoints) {
  if (!endpoints) return {"ERROR " + endpoints.error().Text()};
  std::vector<std::string> lines;
  for (const auto& e : *endpoints) lines.push_back(Line(e));
  return lines;
}

struct Row {
  const char* name;
  const char* domain;
  std::optional<std::string> toml;  // nothing: no directory
  std::vector<std::string> want;
};

class Toml : public ::testing::TestWithParam<Row> {};

TEST_P(Toml, Rows) {
  const Row& row = GetParam();
  std::optional<HostsDirectory> directory;
  if (row.toml) directory = HostsDirectory{"/d", {"hosts.toml"}, row.toml};
  EXPECT_EQ(Lines(ParseHosts(row.domain, directory, {.plain_http = {"plain.test:5000", "plain.test"}})), row.want);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Toml,
    ::testing::Values(
        Row{"default_https", "reg.test:5000", {}, {"https://reg.test:5000/v2 rp"}},
        Row{"default_hub", "docker.io", {}, {"https://registry-1.docker.io/v2 rp"}},
        Row{"v22_ipv6", "[2001:db8::1]:5000", {}, {"https://[2001:db8::1]:5000/v2 rp"}},
        Row{"plain_by_option", "plain.test:5000", {}, {"http://plain.test:5000/v2 rp"}},
        Row{"plain_port_80", "plain.test:80", {}, {"http://plain.test/v2 rp"}},
        Row{"C59_not_plain", "plain.test:5001", {}, {"https://plain.test:5001/v2 rp"}},
        Row{"C59_http_port_is_no_reason", "reg.test:80", {}, {"https://reg.test:80/v2 rp"}},
        Row{"loopback_name", "localhost:5000", {}, {"https://localhost:5000/v2 rp plain-fallback"}},
        Row{"loopback_v4", "127.1.2.3:5000", {}, {"https://127.1.2.3:5000/v2 rp plain-fallback"}},
        Row{"loopback_v6", "[::1]:5000", {}, {"https://[::1]:5000/v2 rp plain-fallback"}},
        Row{"empty_file_is_absent", "reg.test", " \n", {"https://reg.test/v2 rp"}},
        Row{"order_of_the_file",
            "docker.io",
            "server=\"https://registry-1.docker.io\"\n[host.\"https://z\"]\n[host.\"https://a\"]\n",
            {"https://z/v2 mrp ns=docker.io", "https://a/v2 mrp ns=docker.io", "https://registry-1.docker.io/v2 rp"}},
        Row{"server_omitted",
            "docker.io",
            "[host.\"https://m\"]\n",
            {"https://m/v2 mrp ns=docker.io", "https://registry-1.docker.io/v2 rp"}},
        Row{"root_capabilities_do_not_bind_the_default",
            "reg.test",
            "capabilities=[\"pull\"]\nskip_verify=true\n",
            {"https://reg.test/v2 rp skip-verify"}},
        Row{"root_capabilities_bind_the_server",
            "reg.test",
            "server=\"https://reg.test\"\ncapabilities=[\"pull\"]\n",
            {"https://reg.test/v2 p"}},
        Row{"root_fields_are_not_inherited",
            "reg.test",
            "server=\"https://reg.test\"\nskip_verify=true\n[host.\"https://m\"]\n",
            {"https://m/v2 mrp ns=reg.test", "https://reg.test/v2 rp skip-verify"}},
        Row{"server_is_the_mirror", "reg.test", "server=\"https://m\"\n", {"https://m/v2 mrp ns=reg.test"}},
        Row{"mirror_listed_twice", "reg.test", "server=\"https://m\"\n[host.\"https://m\"]\n", {"https://m/v2 mrp ns=reg.test"}},
        Row{"registry_in_the_list_keeps_its_place",
            "reg.test",
            "[host.\"https://reg.test\"]\n[host.\"https://m\"]\n",
            {"https://reg.test/v2 rp", "https://m/v2 mrp ns=reg.test"}},
        Row{"no_scheme", "reg.test", "server=\"http-cache.test\"\n", {"https://http-cache.test/v2 mrp ns=reg.test"}},
        Row{"v23_override_path",
            "reg.test",
            "server=\"https://m/api/docker/x/\"\noverride_path=true\n",
            {"https://m/api/docker/x mrp ns=reg.test"}},
        Row{"path_prefix", "reg.test", "server=\"https://m/x\"\n", {"https://m/x/v2 mrp ns=reg.test"}},
        Row{"path_ends_in_v2", "reg.test", "server=\"https://m/x/v2\"\n", {"https://m/x/v2 mrp ns=reg.test"}},
        Row{"capabilities",
            "reg.test",
            "server=\"https://reg.test\"\n[host.\"https://m\"]\ncapabilities=[\"pull\",\"push\"]\n",
            {"https://m/v2 mp ns=reg.test", "https://reg.test/v2 rp"}},
        Row{"plain_mirror", "reg.test", "server=\"http://m:5000\"\n", {"http://m:5000/v2 mrp ns=reg.test"}},
        Row{"plain_with_tls_settings",
            "reg.test",
            "server=\"http://m:5000\"\nskip_verify=true\n",
            {"https://m:5000/v2 mrp plain-fallback skip-verify ns=reg.test"}},
        Row{"plain_on_80_stays",
            "reg.test",
            "server=\"http://m\"\nskip_verify=true\n",
            {"http://m/v2 mrp skip-verify ns=reg.test"}},
        Row{"ca_relative_and_absolute",
            "reg.test",
            "server=\"https://reg.test\"\nca=[\"a.crt\",\"/b.pem\"]\n",
            {"https://reg.test/v2 rp ca=/d/a.crt ca=/b.pem"}},
        Row{"ca_one", "reg.test", "server=\"https://reg.test\"\nca=\"a.crt\"\n", {"https://reg.test/v2 rp ca=/d/a.crt"}},
        Row{"client_string",
            "reg.test",
            "server=\"https://reg.test\"\nclient=\"c.pem\"\n",
            {"https://reg.test/v2 rp cert=/d/c.pem key=/d/c.pem"}},
        Row{"client_list",
            "reg.test",
            "server=\"https://reg.test\"\nclient=[\"c.pem\"]\n",
            {"https://reg.test/v2 rp cert=/d/c.pem key=/d/c.pem"}},
        Row{"client_several_the_first",
            "reg.test",
            "server=\"https://reg.test\"\nclient=[[\"c.pem\",\"/k.pem\"],\"d.pem\",[\"e.pem\",\"\"]]\n",
            {"https://reg.test/v2 rp cert=/d/c.pem key=/k.pem"}},
        Row{"client_pair",
            "reg.test",
            "server=\"https://reg.test\"\nclient=[[\"c.pem\",\"/k.pem\"]]\n",
            {"https://reg.test/v2 rp cert=/d/c.pem key=/k.pem"}},
        Row{"headers",
            "reg.test",
            "server=\"https://reg.test\"\n[header]\nX-One=\"1\"\nx-two=[\"2\",\"3\"]\n",
            {"https://reg.test/v2 rp X-One:1 x-two:2 x-two:3"}},
        Row{"dial_timeout",
            "reg.test",
            "server=\"https://reg.test\"\ndial_timeout=\"1m1.5s\"\n",
            {"https://reg.test/v2 rp dial=61500"}},
        Row{"unknown_keys_are_fine", "reg.test", "future=1\n", {"https://reg.test/v2 rp"}},
        Row{"legacy_hub_name_is_the_hub",
            "docker.io",
            "server=\"https://index.docker.io\"\n",
            {"https://index.docker.io/v2 rp"}}),
    [](const auto& row) { return row.param.name; });

struct BadRow {
  const char* name;
  const char* toml;
  const char* says;
};

class BadToml : public ::testing::TestWithParam<BadRow> {};

TEST_P(BadToml, NamesFileAndLine) {
  const auto got = ParseHosts("reg.test", HostsDirectory{"/d", {}, GetParam().toml}, {});
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kConfig);
  EXPECT_THAT(got.error().Text(), HasSubstr(GetParam().says));
  EXPECT_THAT(got.error().Text(), Not(HasSubstr("canary")));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, BadToml,
    ::testing::Values(BadRow{"syntax", "server=\"https://a\"\n[host.\n", "/d/hosts.toml:2: not valid TOML"},
                      BadRow{"secret_in_a_bad_line", "[header]\nAuthorization = canary\n", "/d/hosts.toml:2: "},
                      BadRow{"key_twice", "server=\"https://a\"\nserver=\"https://b\"\n", "/d/hosts.toml:2: "},
                      BadRow{"capability", "[host.\"https://m\"]\ncapabilities=[\"pull\",\"fly\"]\n",
                             "/d/hosts.toml:2: unknown capability \"fly\""},
                      BadRow{"capabilities_type", "[host.\"https://m\"]\ncapabilities=3\n", "/d/hosts.toml:2: "},
                      BadRow{"server_type", "\n\nserver=3\n", "/d/hosts.toml:3: "},
                      BadRow{"host_type", "host=3\n", "/d/hosts.toml:1: "},
                      BadRow{"host_is_no_table", "[host]\n\"https://m\"=3\n", "/d/hosts.toml:2: "},
                      BadRow{"scheme", "server=\"ftp://a\"\n", "/d/hosts.toml:1: "},
                      BadRow{"user_info", "server=\"https://canary@a\"\n", "/d/hosts.toml:1: "},
                      BadRow{"query", "server=\"https://a?canary\"\n", "/d/hosts.toml:1: "},
                      BadRow{"bool", "server=\"https://a\"\nskip_verify=\"yes\"\n", "/d/hosts.toml:2: "},
                      BadRow{"client_second", "server=\"https://a\"\nclient=[\"a\",[\"b\",\"c\",\"d\"]]\n", "/d/hosts.toml:2: "},
                      BadRow{"client_three", "server=\"https://a\"\nclient=[[\"a\",\"b\",\"c\"]]\n", "/d/hosts.toml:2: "},
                      BadRow{"duration", "server=\"https://a\"\ndial_timeout=\"3\"\n", "/d/hosts.toml:2: "},
                      BadRow{"duration_zero", "server=\"https://a\"\ndial_timeout=\"0s\"\n", "/d/hosts.toml:2: "},
                      BadRow{"duration_long", "server=\"https://a\"\ndial_timeout=\"2h\"\n", "/d/hosts.toml:2: "},
                      BadRow{"header_line_break", "server=\"https://a\"\n[header]\nx=\"1\\r\\ncanary: 1\"\n",
                             "/d/hosts.toml:3: "},
                      BadRow{"header_name", "server=\"https://a\"\n[header]\n\"x y\"=\"1\"\n", "/d/hosts.toml:3: "},
                      BadRow{"header_of_ours", "server=\"https://a\"\n[header]\nhost=\"b\"\n", "/d/hosts.toml:3: "}),
    [](const auto& row) { return row.param.name; });

TEST(HeaderFields, WhatARequestMayNotSetIsNamedWithItsLine) {
  for (const std::string_view name : http::kHeadersOfTheClient) {
    const std::string text = "server=\"https://a\"\n[header]\n" + std::string(name) + "=\"b\"\n";
    const auto got = ParseHosts("reg.test", HostsDirectory{"/d", {}, text}, {});
    // A request has a place of its own for it.
    if (name == "Authorization") { EXPECT_TRUE(got); continue; }
    ASSERT_FALSE(got) << name;
    EXPECT_EQ(got.error().reason(), Reason::kConfig);
    EXPECT_THAT(got.error().Text(), HasSubstr("/d/hosts.toml:3: the header " + std::string(name) + " cannot be set here"));
  }
}

TEST(DockerLayout, CertificatesByName) {
  const HostsDirectory directory{"/d", {"z.crt", "b.key", "a.crt", "b.cert", "readme", "c.key"}, std::nullopt};
  EXPECT_THAT(Lines(ParseHosts("reg.test", directory, {})),
              ElementsAre("https://reg.test/v2 rp ca=/d/a.crt ca=/d/z.crt cert=/d/b.cert key=/d/b.key"));
  EXPECT_THAT(Lines(ParseHosts("reg.test", HostsDirectory{"/d", {"b.cert"}, std::nullopt}, {})),
              ElementsAre(HasSubstr("ERROR /d/\"b.cert\": there is no \"b.key\"")));
}

TEST(HostsDirectoryNames, InOrder) {
  EXPECT_THAT(HostsDirectoryNames("reg.test:5000"), ElementsAre("reg.test_5000_", "reg.test:5000", "_default"));
  EXPECT_THAT(HostsDirectoryNames("reg.test"), ElementsAre("reg.test", "_default"));
  EXPECT_THAT(HostsDirectoryNames("[::1]:5000"), ElementsAre("[::1]_5000_", "[::1]:5000", "_default"));
  EXPECT_THAT(HostsDirectoryNames("[::1]"), ElementsAre("[::1]", "_default"));
}

class HostsOnDisk : public ::testing::Test {
 protected:
  HostsOnDisk() {
    std::string name = (std::filesystem::temp_directory_path() / "berth-hosts-XXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~HostsOnDisk() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::vector<std::string> For(const char* domain) {
    return Lines(HostsFor(domain, {.roots = {(root_ / "one").string(), (root_ / "two").string()}, .plain_http = {}}));
  }
  std::filesystem::path root_;
};

TEST_F(HostsOnDisk, FirstDirectoryOfTheFirstRootWinsAndIsReadAgain) {
  EXPECT_THAT(For("reg.test:1"), ElementsAre("https://reg.test:1/v2 rp"));
  Write("two/reg.test_1_/hosts.toml", "server='https://second-root'");
  EXPECT_THAT(For("reg.test:1"), ElementsAre("https://second-root/v2 mrp ns=reg.test:1"));
  Write("one/_default/hosts.toml", "server='https://fallback'");
  EXPECT_THAT(For("reg.test:1"), ElementsAre("https://fallback/v2 mrp ns=reg.test:1"));
  Write("one/reg.test:1/hosts.toml", "server='https://colon'");
  EXPECT_THAT(For("reg.test:1"), ElementsAre("https://colon/v2 mrp ns=reg.test:1"));
  Write("one/reg.test_1_/ca.crt", "");
  EXPECT_THAT(For("reg.test:1"), ElementsAre("https://reg.test:1/v2 rp ca=" + (root_ / "one/reg.test_1_/ca.crt").string()));
  Write("one/reg.test_1_/hosts.toml", "server='https://underscore'");
  EXPECT_THAT(For("reg.test:1"), ElementsAre("https://underscore/v2 mrp ns=reg.test:1"));
  Write("one/reg.test_1_/hosts.toml", "server=");
  EXPECT_THAT(For("reg.test:1"), ElementsAre(HasSubstr("ERROR " + (root_ / "one/reg.test_1_/hosts.toml:1").string())));
}

TEST_F(HostsOnDisk, OfSeveralClientCertificatesTheFirstThatCanBeRead) {
  const std::string folder = (root_ / "one/reg.test/").string();
  Write("one/reg.test/hosts.toml", "server='https://reg.test'\nclient=[['a.cert','a.key'],['b.cert','b.key'],'c.pem']\n");
  const auto uses = [&](const std::string& cert, const std::string& key) {
    EXPECT_THAT(For("reg.test"), ElementsAre("https://reg.test/v2 rp cert=" + folder + cert + " key=" + folder + key));
  };
  uses("a.cert", "a.key");  // none: the error will be about the first
  Write("one/reg.test/a.cert", "x");
  Write("one/reg.test/c.pem", "x");
  uses("c.pem", "c.pem");
  Write("one/reg.test/b.cert", "x");
  Write("one/reg.test/b.key", "x");
  uses("b.cert", "b.key");
  Write("one/reg.test/a.key", "x");
  uses("a.cert", "a.key");
}

TEST_F(HostsOnDisk, AFileThatCannotBeReadIsNoReasonToGoElsewhere) {
  std::filesystem::create_directories(root_ / "one/reg.test/hosts.toml");
  EXPECT_THAT(For("reg.test"), ElementsAre(HasSubstr("ERROR ")));
}

TEST_F(HostsOnDisk, ADomainNeverLeavesTheRoots) {
  Write("hosts.toml", "server='https://outside'");
  for (const char* domain : {"", "..", "../x", "a/b", "."})
    EXPECT_THAT(For(domain), ElementsAre(HasSubstr("is not a host name"))) << domain;
}

}  // namespace
}  // namespace berth::registry
