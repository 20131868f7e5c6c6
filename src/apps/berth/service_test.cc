// The commands against the service itself, over a socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <set>
#include <span>
#include <sstream>
#include <thread>

#include "apps/berth/list.h"
#include "apps/berth/testing/fake_berthd.h"
#include "apps/berth/testing/test_world.h"
#include "host/dir.h"
#include "host/listen.h"
#include "host/process.h"
#include "host/testing/scratch.h"
#include "json/document.h"
#include "result/testing/dirs.h"
#include "task/context.h"

namespace berth::cli {
namespace {

using testing::Failed;
using testing::FakeBerthd;
using testing::TestWorld;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using Words = std::vector<std::string>;

const std::string kId = "sha256:" + std::string(64, 'a'), kManifest = "sha256:" + std::string(64, 'b'), kIndex = "sha256:" + std::string(64, 'c');
const std::string kLayer = "sha256:" + std::string(64, 'd'), kDiff = "sha256:" + std::string(64, 'e');
constexpr std::uint64_t kMiB = 1u << 20;

v1::Image AnImage() {
  v1::Image image;
  image.set_id(kId);
  image.set_manifest(kManifest);
  image.set_platform("linux/amd64");
  image.set_size(87 * kMiB);
  image.set_unpacked_size(200 * kMiB);
  image.set_unique_size(150 * kMiB);
  image.set_pulled_at("2025-12-15T00:00:00Z");  // the manual clock stands at 2025-12-18
  image.set_source("mirror.test");
  image.add_names("reg.test:5712/team/app:v1");
  image.add_names("reg.test:5712/team/app@" + kIndex);
  auto& layer = *image.add_layers();
  layer.set_digest(kLayer);
  layer.set_diff_id(kDiff);
  return image;
}

v1::PullEvent Fetching(std::uint64_t current) {
  v1::PullEvent event;
  event.set_phase("fetching");
  event.set_digest(kIndex);
  event.set_platforms("linux/amd64");
  event.set_credential("anonymous");
  event.set_host("reg.test:5712");
  auto& layer = *event.add_layers();
  layer.set_digest(kLayer);
  layer.set_phase("fetching");
  layer.set_current(current);
  layer.set_total(87 * kMiB);
  return event;
}

v1::PullEvent Ended(const std::string& image) {
  v1::PullEvent event;
  event.set_phase("ended");
  auto& pulled = *event.mutable_pulled();
  pulled.set_name(image);
  pulled.set_digest(kIndex);
  pulled.set_bytes_fetched(87 * kMiB);
  pulled.set_total_seconds(1.3);
  pulled.set_resolve_seconds(0.04);
  *pulled.add_images() = AnImage();
  return event;
}

class Service : public ::testing::Test {
 protected:
  Service() {
    daemon.pull = [](grpc::ServerContext& context, const v1::PullRequest& request, grpc::ServerWriter<v1::PullEvent>& writer) {
      const std::string& image = request.image();
      const auto is = [&](std::string_view part) { return image.find(part) != std::string::npos; };
      v1::PullEvent first;
      first.set_phase("resolving");
      writer.Write(first);
      if (is("notfound")) return Failed(context, "E-MANIFEST-404", "reg.test:5712 has no such tag", "check the tag", 3);
      if (is("tls")) return Failed(context, "E-TLS-CA", image + ": certificate of unknown authority", "add the CA", 6);
      if (is("future")) return Failed(context, "E-NEW-CODE", "something\x1b[31m new", "", 300);
      if (is("prose")) return grpc::Status(grpc::StatusCode::INTERNAL, "secret server prose");
      if (is("mute")) return grpc::Status::OK;
      writer.Write(Fetching(12 * kMiB));
      if (is("hang")) {
        while (!context.IsCancelled()) time::SystemClock().SleepFor({}, std::chrono::milliseconds(5));
        return grpc::Status(grpc::StatusCode::CANCELLED, "");
      }
      writer.Write(Ended(image));
      return grpc::Status::OK;
    };
  }
  int Run(Words arguments) {
    arguments.insert(arguments.begin(), {"-s", daemon.socket()});
    return world.Run(arguments);
  }
  FakeBerthd daemon;
  TestWorld world;
};

// --- pull

TEST_F(Service, PullPrintsNameAtDigestAndTalksOnStderr) {
  EXPECT_EQ(Run({"pull", "reg.test:5712/team/app:v1"}), 0);
  EXPECT_EQ(world.out(), "reg.test:5712/team/app@" + kIndex + "\n");
  EXPECT_THAT(world.err(), AllOf(HasSubstr("start policy=IfNotPresent"), HasSubstr("resolved " + kIndex), HasSubstr("87.0MiB 1.3s")));
  EXPECT_THAT(world.err(), Not(HasSubstr("\x1b")));  // no terminal, no control sequences
  ASSERT_EQ(daemon.pulls().size(), 1u);
  EXPECT_EQ(daemon.pulls()[0].image(), "reg.test:5712/team/app:v1");
  EXPECT_EQ(daemon.pulls()[0].policy(), "");
  EXPECT_TRUE(daemon.pulls()[0].node_credentials());
}

TEST_F(Service, PullOfSeveralKeepsTheirOrder) {
  Words arguments{"pull", "-q"};
  std::string want;
  for (int i = 0; i < 20; ++i) {
    arguments.push_back("reg.test:5712/app" + std::to_string(i) + ":v1");
    want += "reg.test:5712/app" + std::to_string(i) + "@" + kIndex + "\n";
  }
  EXPECT_EQ(Run(arguments), 0);
  EXPECT_EQ(world.out(), want);
  EXPECT_THAT(world.err(), IsEmpty());
}

// The daemon has room for 256 calls that last: one command leaves most of it to others.
TEST_F(Service, PullOfVeryManyAsksForSomeAtATime) {
  Words arguments{"pull", "--progress", "none", "-v", "6"};
  std::string want;
  for (int i = 0; i < 300; ++i) {
    arguments.push_back("reg.test/app" + std::to_string(i) + ":v1");
    want += "reg.test/app" + std::to_string(i) + "@" + kIndex + "\n";
  }
  EXPECT_EQ(Run(arguments), 0);
  EXPECT_EQ(world.out(), want);
  int running = 0, most = 0, begun = 0;
  std::istringstream lines(world.err());
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with("] call berth.v1.Berth/Pull")) ++begun, most = std::max(most, ++running);
    else if (line.find("] call berth.v1.Berth/Pull took ") != line.npos) --running;
  }
  EXPECT_EQ(begun, 300);
  EXPECT_EQ(most, 64);
}

struct End { std::string name; bool interrupted; int status; std::string code; };
std::ostream& operator<<(std::ostream& out, const End& row) { return out << row.name; }
class Ends : public Service, public ::testing::WithParamInterface<End> {};
TEST_P(Ends, OfAPullOfVeryManyIsThatOfEachWhetherItHasBegunOrNot) {
  std::jthread end([&] {
    daemon.AwaitPulls(64);
    if (GetParam().interrupted) world.stop.request_stop();
    else daemon.Stop();
  });
  Words arguments{"pull", "--progress", "none"};
  for (int i = 0; i < 100; ++i) arguments.push_back("x/hang" + std::to_string(i));
  EXPECT_EQ(Run(arguments), GetParam().status);
  const std::string err = world.err(), said = "error: " + GetParam().code + " ";
  std::size_t failed = 0;
  for (auto at = err.find(said); at != err.npos; at = err.find(said, at + 1)) ++failed;
  EXPECT_EQ(failed, 100u) << err;
}
INSTANTIATE_TEST_SUITE_P(Table, Ends, ::testing::Values(End{"daemon_gone", false, 12, "E-SOCKET"}, End{"interrupted", true, 130, "E-CANCELED"}),
                         [](const auto& row) { return row.param.name; });

TEST_F(Service, PullPassesItsFlags) {
  EXPECT_EQ(Run({"pull", "--platform", "linux/arm64", "--platform=linux/s390x", "x", "--all-platforms", "--policy", "Always", "y"}), 0);
  const auto pulls = daemon.pulls();
  ASSERT_EQ(pulls.size(), 2u);
  for (const auto& request : pulls) {
    EXPECT_THAT(request.platforms(), ElementsAre("linux/arm64", "linux/s390x"));
    EXPECT_TRUE(request.all_platforms());
    EXPECT_EQ(request.policy(), "Always");
  }
}

struct FailureRow { std::string name; Words images; int status; std::string err; };
std::ostream& operator<<(std::ostream& out, const FailureRow& row) { return out << row.name; }
class PullFailures : public Service, public ::testing::WithParamInterface<FailureRow> {};
TEST_P(PullFailures, SayCodePlaceSentenceNext) {
  Words arguments{"pull", "--progress", "none"};
  arguments.insert(arguments.end(), GetParam().images.begin(), GetParam().images.end());
  EXPECT_EQ(Run(arguments), GetParam().status);
  EXPECT_THAT(world.err(), HasSubstr(GetParam().err));
}
INSTANTIATE_TEST_SUITE_P(
    Table, PullFailures,
    ::testing::Values(
        FailureRow{"trailer", {"x/notfound"}, 3, "error: E-MANIFEST-404 x/notfound: reg.test:5712 has no such tag\nnext: check the tag\n"},
        FailureRow{"place_once", {"x/tls"}, 6, "error: E-TLS-CA x/tls: certificate of unknown authority\nnext: add the CA\n"},
        FailureRow{"most_actionable", {"x/notfound", "x/tls", "x/good"}, 6, "E-MANIFEST-404"},
        FailureRow{"codes_of_the_future", {"x/future"}, 1, "error: E-NEW-CODE x/future: something\\x1b[31m new\n"},
        FailureRow{"no_trailer", {"x/prose"}, 1, "error: E-INTERNAL x/prose: berthd answered with gRPC status 13 and no explanation\n"},
        FailureRow{"no_result", {"x/mute"}, 12, "error: E-SOCKET x/mute: berthd ended the pull without a result\n"}),
    [](const auto& row) { return row.param.name; });

TEST_F(Service, OneFailureDoesNotKeepTheOthersAway) {
  EXPECT_EQ(Run({"pull", "reg.test/a:1", "reg.test/notfound:1", "reg.test/c:1"}), 3);
  EXPECT_EQ(world.out(), "reg.test/a@" + kIndex + "\nreg.test/c@" + kIndex + "\n");
}

TEST_F(Service, PullAsJson) {
  EXPECT_EQ(Run({"pull", "-o", "jsonl", "--progress", "json", "reg.test/a:1", "reg.test/notfound:1"}), 3);
  const auto result = json::Document::Parse(world.out(), Reason::kInternal);
  ASSERT_TRUE(result) << world.out();
  EXPECT_EQ(*result->root().Get("digest")->AsString(), kIndex);
  EXPECT_EQ(*result->root().Get("bytes_fetched")->AsInt64(), static_cast<std::int64_t>(87 * kMiB));
  const std::string err = world.err();
  std::string_view rest = err;
  std::size_t failed = 0;
  for (; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1)) {
    ASSERT_TRUE(json::Document::Parse(rest.substr(0, rest.find('\n')), Reason::kInternal)) << rest;
    failed += rest.substr(0, rest.find('\n')).find("\"event\":\"failed\"") != rest.npos ? 1 : 0;
  }
  EXPECT_EQ(failed, 1u);
}

// Whatever is said, before the pull and of it.
TEST_F(Service, WithJsonProgressEveryLineIsJson) {
  const auto said = [&](Words arguments, int status) {
    TestWorld one;
    arguments.insert(arguments.end(), {"--progress", "json"});
    EXPECT_EQ(one.Run(arguments), status);
    const std::string err = one.err();
    std::istringstream lines(err);
    for (std::string line; std::getline(lines, line);) EXPECT_TRUE(json::Document::Parse(line, Reason::kInternal)) << line;
    return err;
  };
  EXPECT_THAT(said({"-s", daemon.socket(), "pull", "reg.test/a:1", "--creds", "alice:hunter2", "--color", "always"}, 0),
              ::testing::ContainsRegex("^\\{\"ts\":\"2025-12-18T[0-9:.]+Z\",\"event\":\"warning\",\"text\":\"a password on the command line [^}]*\"\\}\n\\{\"ts\""));
  EXPECT_THAT(said({"pull", "Bad:!"}, 2), ::testing::StartsWith("{\"error\":{\"code\":\"E-NAME\""));
  EXPECT_THAT(said({"pull"}, 2), ::testing::StartsWith("{\"error\":{\"code\":\"E-USAGE\""));
  EXPECT_THAT(said({"pull", "x", "-o", "jsonpath={.a"}, 2), ::testing::StartsWith("{\"error\":{\"code\":\"E-USAGE\""));
  EXPECT_THAT(said({"-s", "/nonexistent/s", "pull", "x"}, 12), ::testing::StartsWith("{\"error\":{\"code\":\"E-SOCKET\""));
  EXPECT_EQ(Run({"pull", "--progress", "json", "reg.test/a:1"}), 0);
  EXPECT_EQ(world.out(), "reg.test/a@" + kIndex + "\n");  // the form of stdout is another matter
}

TEST_F(Service, ATerminalGetsAFrameAndThenTheSummary) {
  world.err_terminal = true;
  EXPECT_EQ(Run({"pull", "reg.test:5712/team/app:v1"}), 0);
  EXPECT_THAT(world.err(), HasSubstr("\x1b[K\n\x1b[J"));
  EXPECT_THAT(world.err(), ::testing::EndsWith("\x1b[Jpulled reg.test:5712/team/app:v1@sha256:cccccccccccc  87.0 MiB in 1.3s  (resolve 40ms)\n"));
}

struct Mode { std::string name; std::map<std::string, std::string> variables; bool terminal; bool frames; };
std::ostream& operator<<(std::ostream& out, const Mode& row) { return out << row.name; }
class Modes : public Service, public ::testing::WithParamInterface<Mode> {};
TEST_P(Modes, FollowTheSurroundings) {
  world.variables = GetParam().variables;
  world.err_terminal = GetParam().terminal;
  EXPECT_EQ(Run({"pull", "x"}), 0);
  EXPECT_EQ(world.err().find('\x1b') != std::string::npos, GetParam().frames) << world.err();
}
INSTANTIATE_TEST_SUITE_P(Table, Modes,
                         ::testing::Values(Mode{"terminal", {{"TERM", "xterm"}}, true, true}, Mode{"pipe", {{"TERM", "xterm"}}, false, false},
                                           Mode{"dumb", {{"TERM", "dumb"}}, true, false}, Mode{"no_term", {}, true, false},
                                           Mode{"ci", {{"TERM", "xterm"}, {"CI", "true"}}, true, false}),
                         [](const auto& row) { return row.param.name; });

TEST_F(Service, ColourFollowsTerminalFlagAndNoColor) {
  const auto red = [&](Words arguments, std::map<std::string, std::string> variables, bool terminal) {
    TestWorld one;
    one.variables = std::move(variables);
    one.err_terminal = terminal;
    arguments.insert(arguments.begin(), {"-s", daemon.socket()});
    EXPECT_EQ(one.Run(arguments), 3);
    return one.err().find("\x1b[31m") != std::string::npos;
  };
  const Words pull{"pull", "--progress", "none", "notfound"};
  EXPECT_TRUE(red(pull, {{"TERM", "xterm"}}, true));
  EXPECT_FALSE(red(pull, {{"TERM", "xterm"}, {"NO_COLOR", "1"}}, true));
  EXPECT_FALSE(red(pull, {{"TERM", "dumb"}}, true));
  EXPECT_FALSE(red(pull, {{"TERM", "xterm"}}, false));
  EXPECT_TRUE(red({"pull", "--progress", "none", "notfound", "--color", "always"}, {}, false));
  EXPECT_FALSE(red({"pull", "--progress", "none", "notfound", "--color", "never"}, {{"TERM", "xterm"}}, true));
}

TEST_F(Service, TimeoutIsStatus124) {
  world.clock = &time::SystemClock();
  EXPECT_EQ(Run({"pull", "x/hang", "--timeout", "1s", "--progress", "none"}), 124);
  EXPECT_EQ(world.err(), "error: E-TIMEOUT x/hang: not done within 1s (--timeout)\n"
                         "next: what was fetched stays: the same command goes on from there\n");
}

TEST_F(Service, AStoppedCommandIsCanceled) {
  std::jthread interrupt([&] {
    daemon.AwaitPulls(1);
    world.stop.request_stop();
  });
  EXPECT_EQ(Run({"pull", "x/hang", "--progress", "none"}), 130);
  EXPECT_EQ(world.err(), "error: E-CANCELED x/hang: interrupted\nnext: what was fetched stays: the same command goes on from there\n");
}

TEST_F(Service, ADaemonThatGoesAwayIsStatusTwelve) {
  std::jthread stop([&] {
    daemon.AwaitPulls(1);
    daemon.Stop();
  });
  EXPECT_EQ(Run({"pull", "x/hang", "--progress", "none"}), 12);
  EXPECT_THAT(world.err(), HasSubstr("error: E-SOCKET x/hang: the connection to berthd broke\nnext: journalctl -u berthd"));
}

// --- credentials

struct CredentialRow {
  std::string name;
  Words arguments;
  std::string input, file;  // stdin; the text of ~/.docker/config.json
  std::string want;         // "user:password" of each credential sent, comma between
  bool node = true;
  std::string err = {};
};
std::ostream& operator<<(std::ostream& out, const CredentialRow& row) { return out << row.name; }
class Credentials : public ::testing::TestWithParam<CredentialRow> {};
TEST_P(Credentials, AreSentWithThePull) {
  const CredentialRow& row = GetParam();
  FakeBerthd daemon;
  daemon.pull = [](grpc::ServerContext&, const v1::PullRequest& request, grpc::ServerWriter<v1::PullEvent>& writer) {
    writer.Write(Ended(request.image()));
    return grpc::Status::OK;
  };
  char home[] = "/tmp/berth-home-XXXXXX";
  ASSERT_NE(mkdtemp(home), nullptr);
  const auto root = host::Dir::Open(home);
  ASSERT_TRUE(root);
  if (!row.file.empty()) {
    ASSERT_TRUE(root->MakeDir(".docker", 0700));
    ASSERT_TRUE(root->OpenDir(".docker")->WriteDurably("config.json", bytes::AsView(row.file), 0600));
  }
  TestWorld world(row.input);
  world.variables["HOME"] = home;
  Words arguments{"-s", daemon.socket(), "pull", "-q", "reg.test/team/app:1"};
  arguments.insert(arguments.end(), row.arguments.begin(), row.arguments.end());
  EXPECT_EQ(world.Run(arguments), 0) << world.err();
  ASSERT_EQ(daemon.pulls().size(), 1u);
  const v1::PullRequest request = daemon.pulls()[0];
  std::string got;
  for (const auto& credential : request.credentials())
    got += (got.empty() ? "" : ",") + credential.username() + ":" + credential.password() + credential.identity_token();
  EXPECT_EQ(got, row.want);
  EXPECT_EQ(request.node_credentials(), row.node);
  if (row.err.empty()) EXPECT_THAT(world.err(), IsEmpty());
  else EXPECT_THAT(world.err(), HasSubstr(row.err));
  EXPECT_THAT(world.err() + world.out(), Not(HasSubstr("hunter")));
  EXPECT_TRUE(host::Dir::Open("/tmp")->RemoveTree(std::string_view(home).substr(5)));
}
// {"auths":{"reg.test":{"auth":"base64 of alice:hunter2"}}} and friends
const std::string kFile = R"({"auths":{"reg.test":{"auth":"YWxpY2U6aHVudGVyMg=="},"other.test":{"username":"bob","password":"hunter3"},
                              "reg.test/team":{"username":"carol","password":"hunter4"}}})";
INSTANTIATE_TEST_SUITE_P(
    Table, Credentials,
    ::testing::Values(
        CredentialRow{"none", {}, "", "", ""},
        CredentialRow{"argv", {"--creds", "alice:hunter2"}, "", "", "alice:hunter2", false, "warning: a password on the command line can be seen"},
        CredentialRow{"argv_colon", {"--creds", "alice:hunter:2"}, "", "", "alice:hunter:2", false, "warning"},
        CredentialRow{"stdin_flag", {"--creds", "alice", "--password-stdin"}, "hunter2\n", "", "alice:hunter2", false},
        CredentialRow{"stdin_lines", {"--creds", "alice", "--password-stdin"}, "hunter2\r\n", "", "alice:hunter2", false},
        CredentialRow{"stdin_no_flag", {"--creds", "alice"}, "hunter2\nrest", "", "alice:hunter2", false},
        CredentialRow{"auth", {"--auth", "YWxpY2U6aHVudGVyMg=="}, "", "", "alice:hunter2", false, "warning"},
        CredentialRow{"creds_beat_file", {"--creds", "dora", "--password-stdin"}, "hunter5", kFile, "dora:hunter5", false},
        CredentialRow{"home", {}, "", kFile, "carol:hunter4,alice:hunter2"},
        CredentialRow{"home_other_registry", {}, "", R"({"auths":{"other.test":{"username":"bob","password":"hunter3"}}})", ""},
        CredentialRow{"empty_entries_of_a_store", {}, "", R"({"auths":{"reg.test":{}}})", ""},
        CredentialRow{"identity_token", {}, "", R"({"auths":{"reg.test":{"auth":"YWxpY2U6","identitytoken":"hunter9"}}})", "alice:hunter9"},
        CredentialRow{"missing_helper", {}, "", R"({"auths":{"reg.test":{"username":"a","password":"hunter1"}},"credsStore":"not-there-3"})",
                      "", true, "warning: docker-credential-not-there-3"},  // CVE-2021-41092
        CredentialRow{"missing_helper_of_a_host", {}, "",
                      R"({"auths":{"reg.test":{"username":"a","password":"hunter1"}},"credHelpers":{"reg.test":"not-there-3"}})", "", true,
                      "going on without it; the entries of the file are not used\n"},
        CredentialRow{"helper_of_another_host", {}, "",
                      R"({"auths":{"reg.test":{"username":"a","password":"hunter1"}},"credHelpers":{"other.test":"not-there-3"}})", "a:hunter1"},
        CredentialRow{"helper_name_is_no_path", {}, "", R"({"credHelpers":{"reg.test":"../../bin/sh"}})", "", true, "is no name of a credential helper"}),
    [](const auto& row) { return row.param.name; });

TEST_F(Service, CredentialFilesComeFromWhereTheyAreNamed) {
  char folder[] = "/tmp/berth-auth-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const auto root = host::Dir::Open(folder);
  const auto write = [&](std::string_view name, std::string_view user) {
    const std::string text = "{\"auths\":{\"reg.test\":{\"username\":\"" + std::string(user) + "\",\"password\":\"p\"}}}";
    ASSERT_TRUE(root->WriteDurably(name, bytes::AsView(text), 0600));
  };
  write("config.json", "docker");
  write("registry.json", "registry");
  write("flag.json", "flag");
  const auto pull = [&](Words arguments, std::map<std::string, std::string> variables) -> std::string {
    TestWorld one;
    one.variables = std::move(variables);
    one.directory = folder;
    arguments.insert(arguments.begin(), {"-s", daemon.socket(), "pull", "-q", "reg.test/a"});
    if (const int status = one.Run(arguments); status != 0) return std::to_string(status) + " " + one.err();
    const auto request = daemon.pulls().back();
    return request.credentials_size() == 0 ? "" : request.credentials(0).username() + (request.node_credentials() ? "+node" : "");
  };
  const std::string registry = std::string(folder) + "/registry.json";
  EXPECT_EQ(pull({}, {{"DOCKER_CONFIG", folder}}), "docker+node");
  EXPECT_EQ(pull({}, {{"DOCKER_CONFIG", folder}, {"REGISTRY_AUTH_FILE", registry}}), "registry");
  EXPECT_EQ(pull({"--authfile", "flag.json"}, {{"REGISTRY_AUTH_FILE", registry}}), "flag");  // relative to where we are
  EXPECT_EQ(pull({}, {{"DOCKER_CONFIG", "/nonexistent"}}), "");
  EXPECT_THAT(pull({"--authfile", "/nonexistent"}, {}), ::testing::StartsWith("2 error: E-CONFIG the credentials file"));
  ASSERT_TRUE(root->WriteDurably("broken.json", bytes::AsView("{\"auths\":"), 0600));
  ASSERT_TRUE(root->WriteDurably("bad.json", bytes::AsView("{\"auths\":{\"reg.test\":{\"auth\":\"!!\"}}}"), 0600));
  for (const char* file : {"broken.json", "bad.json"})
    EXPECT_THAT(pull({"--authfile", file}, {}),
                ::testing::AllOf(::testing::StartsWith("2 error: E-CONFIG the credentials file \"" + std::string(folder) + "/" + file + "\": "),
                                 HasSubstr("\nnext: correct the file")));
  EXPECT_THAT(pull({"--creds", "alice:x", "--auth", "YWxpY2U6aHVudGVyMg=="}, {}), ::testing::StartsWith("2 error: E-USAGE --creds and --auth both say who asks\nnext: "));
  EXPECT_THAT(pull({"--password-stdin", "--auth", "YWxpY2U6aHVudGVyMg=="}, {}), ::testing::StartsWith("2 error: E-USAGE --password-stdin needs"));
  EXPECT_THAT(pull({"--auth", "!!"}, {}), HasSubstr("error: E-USAGE --auth is not the base64 form of USER:PASSWORD\nnext: better --creds USER"));
  // A helper answers in docker's protocol.
  ASSERT_TRUE(root->WriteDurably("docker-credential-berth-test", bytes::AsView("#!/bin/sh\nread server\n"
      "[ \"$1 $server\" = 'get reg.test' ] && echo '{\"ServerURL\":\"reg.test\",\"Username\":\"helped\",\"Secret\":\"s\"}' && exit 0\n"
      "echo 'credentials not found in native keychain'; exit 1\n"), 0755));
  ASSERT_TRUE(root->WriteDurably("config.json", bytes::AsView("{\"credHelpers\":{\"reg.test\":\"berth-test\"}}"), 0600));
  const std::string path = getenv("PATH");
  setenv("PATH", (std::string(folder) + ":" + path).c_str(), 1);
  EXPECT_EQ(pull({}, {{"DOCKER_CONFIG", folder}}), "helped+node");
  // What it does not know, and entries of the file for the same registry: those of credHelpers speak for it alone.
  ASSERT_TRUE(root->WriteDurably("docker-credential-berth-miss", bytes::AsView("#!/bin/sh\necho 'credentials not found in native keychain'; exit 1\n"), 0755));
  const std::string entry = R"({"auths":{"reg.test":{"username":"entry","password":"p"}},)";
  ASSERT_TRUE(root->WriteDurably("config.json", bytes::AsView(entry + R"("credHelpers":{"reg.test":"berth-miss"}})"), 0600));
  EXPECT_EQ(pull({}, {{"DOCKER_CONFIG", folder}}), "");
  ASSERT_TRUE(root->WriteDurably("config.json", bytes::AsView(entry + R"("credsStore":"berth-miss"})"), 0600));
  EXPECT_EQ(pull({}, {{"DOCKER_CONFIG", folder}}), "entry+node");
  setenv("PATH", path.c_str(), 1);
  EXPECT_TRUE(host::Dir::Open("/tmp")->RemoveTree(std::string_view(folder).substr(5)));
}

// A password goes to the registry it is of; which of several that is, nobody said.
TEST_F(Service, OnePasswordIsForOneRegistry) {
  for (const Words& given : {Words{"--creds", "alice:hunter2"}, Words{"--creds", "alice"}, Words{"--auth", "YWxpY2U6aHVudGVyMg=="}}) {
    TestWorld one("hunter2\n");
    Words arguments{"-s", "/nonexistent/s", "pull", "reg.test/a", "reg.test/b", "busybox", "other.test/c"};
    arguments.insert(arguments.end(), given.begin(), given.end());
    EXPECT_EQ(one.Run(arguments), 2);
    EXPECT_EQ(one.err(), "error: E-USAGE " + given[0] + " is for one registry; the images are of reg.test and docker.io\n"
                         "next: one command for each registry, or --authfile with an entry for each\n");
  }
  TestWorld same("hunter2\n");
  EXPECT_EQ(same.Run({"-s", daemon.socket(), "pull", "-q", "--creds", "alice", "reg.test/a", "reg.test/b"}), 0) << same.err();
  EXPECT_EQ(daemon.pulls().size(), 2u);
  EXPECT_EQ(Run({"pull", "-q", "reg.test/a", "other.test/b"}), 0);
}

// --- the other commands

TEST_F(Service, ImagesInEveryForm) {
  std::string filter;
  daemon.list = [&](grpc::ServerContext&, const v1::ListImagesRequest& request, v1::ListImagesResponse& answer) {
    filter = request.filter();
    *answer.add_images() = AnImage();
    return grpc::Status::OK;
  };
  const auto images = [&](Words arguments, bool terminal = false) {
    TestWorld one;
    one.out_terminal = terminal;
    arguments.insert(arguments.begin(), {"-s", daemon.socket(), "images"});
    EXPECT_EQ(one.Run(arguments), 0) << one.err();
    return one.out();
  };
  EXPECT_EQ(images({}, true), "NAME                       IMAGE ID             PLATFORM     SIZE      UNIQUE     PULLED\n"
                              "reg.test:5712/team/app:v1  sha256:aaaaaaaaaaaa  linux/amd64  87.0 MiB  150.0 MiB  3 days ago\n");
  EXPECT_THAT(images({}), HasSubstr(kId));                    // a pipe: whole
  EXPECT_THAT(images({"--no-trunc"}, true), HasSubstr(kId));
  EXPECT_THAT(images({"--no-headers"}), Not(HasSubstr("NAME")));
  EXPECT_THAT(images({"-o", "wide"}), AllOf(HasSubstr("reg.test:5712/team/app@" + kIndex), HasSubstr(kManifest), HasSubstr("200.0 MiB"),
                                               MatchesRegex("NAME .*  UNPACKED +SHARED +LAYERS +LAST USED +PINNED +SOURCE\n(.|\n)* 50.0 MiB +1 +never +mirror.test\n")));
  EXPECT_THAT(images({"-o", "yaml"}), AllOf(::testing::StartsWith("images:\n- id: " + kId + "\n"), HasSubstr("\n  size: 91226112\n")));
  EXPECT_EQ(images({"-q"}), kId + "\n");
  EXPECT_EQ(images({"-q"}, true), "sha256:aaaaaaaaaaaa\n");
  EXPECT_EQ(images({"-o", "name"}), "reg.test:5712/team/app:v1\nreg.test:5712/team/app@" + kIndex + "\n");
  const std::string line = "{\"names\":[\"reg.test:5712/team/app:v1\",\"reg.test:5712/team/app@" + kIndex + "\"],\"id\":\"" + kId +
                           "\",\"manifest\":\"" + kManifest + "\",\"platform\":\"linux/amd64\",\"size\":91226112,\"unpacked_size\":209715200,"
                           "\"unique_size\":157286400,\"shared_size\":52428800,\"source\":\"mirror.test\",\"pulled_at\":\"2025-12-15T00:00:00Z\",\"last_used_at\":\"\",\"pin\":null,\"layers\":[{\"digest\":\"" + kLayer +
                           "\",\"diff_id\":\"" + kDiff + "\"}]}";
  EXPECT_EQ(images({"-o", "jsonl"}), line + "\n");
  TestWorld early;
  EXPECT_EQ(early.Run({"-o", "jsonl", "-s", daemon.socket(), "images"}), 0);
  EXPECT_EQ(early.out(), line + "\n");
  EXPECT_THAT(images({"-o", "json"}), ::testing::StartsWith("{\n  \"images\": [\n    {\n      \"names\": [\n"));
  images({"reg.test/*"});
  EXPECT_EQ(filter, "reg.test/*");
}

// An image of two platforms is two images with the same names.
TEST_F(Service, ANameIsPrintedOnceHoweverManyPlatformsItHas) {
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse& answer) {
    for (const char* platform : {"linux/amd64", "linux/arm64"}) {
      *answer.add_images() = AnImage();
      answer.mutable_images()->rbegin()->set_platform(platform);
    }
    answer.mutable_images(1)->add_names("reg.test/other:1");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"images", "-o", "name"}), 0);
  EXPECT_EQ(world.out(), "reg.test:5712/team/app:v1\nreg.test:5712/team/app@" + kIndex + "\nreg.test/other:1\n");
}

struct PatternRow { std::string pattern, image; bool fits = true; };
void PrintTo(const PatternRow& row, std::ostream* out) { *out << row.pattern << " of " << row.image; }
class Patterns : public ::testing::TestWithParam<PatternRow> {};
TEST_P(Patterns, FitNamesAsPeopleWriteThem) {
  v1::Image image;
  image.add_names(GetParam().image);
  EXPECT_EQ(Holds(ParseFilters({"reference=" + GetParam().pattern})->at(0), image), GetParam().fits);
}
INSTANTIATE_TEST_SUITE_P(
    Table, Patterns,
    ::testing::Values(PatternRow{"busybox", "docker.io/library/busybox:1"}, PatternRow{"busybox:1", "docker.io/library/busybox:1"},
                      PatternRow{"docker.io/library/busybox", "docker.io/library/busybox:1"}, PatternRow{"busybox:2", "docker.io/library/busybox:1", false},
                      PatternRow{"busybox", "docker.io/library/busybox@" + kIndex}, PatternRow{"busybox@" + kIndex, "docker.io/library/busybox@" + kIndex},
                      PatternRow{"team/app", "docker.io/team/app@" + kIndex}, PatternRow{"busybox@sha256", "docker.io/library/busybox@" + kIndex, false},
                      PatternRow{"reg.test:5000/app", "reg.test:5000/app@" + kIndex}, PatternRow{"reg.test:5000/app", "reg.test:5000/app:v1"},
                      PatternRow{"reg.test", "reg.test:5000/app@" + kIndex, false}, PatternRow{"reg.test", "reg.test:5000/app:latest", false},
                      PatternRow{"busybox", "docker.io/library/busybox:latest"}, PatternRow{"reg.test:5000/app", "reg.test:5000/app:latest"}));

TEST_F(Service, ImagesAreFilteredAndSorted) {
  struct Row { const char *name, *pulled; std::uint64_t size; bool pinned; std::int64_t nanos = 0; };
  constexpr Row kRows[] = {{"docker.io/library/busybox:1", "2025-12-15T00:00:00Z", 3, true},
                           {"reg.test:5000/team/app:v1", "2025-12-14T00:00:00Z", 9, false},
                           {"reg.test:5000/team/app@sha256:00", "2025-12-13T00:00:00Z", 5, false}};
  const auto image_of = [](const Row& row) {
    v1::Image image;
    image.add_names(row.name);
    image.set_manifest(std::string("m:") + row.name);
    image.set_pulled_at(row.pulled);
    image.set_pulled_at_nanos(row.nanos);
    image.set_size(row.size);
    if (row.pinned) image.mutable_pin()->set_reason("r");
    return image;
  };
  // A script pulls several images within a second.
  constexpr Row kSameSecond[] = {{"reg.test/b:1", "2025-12-15T00:00:00Z", 1, false, 1'765'756'800'500'000'000},
                                 {"reg.test/c:1", "2025-12-15T00:00:00Z", 1, false, 1'765'756'800'500'000'001},
                                 {"reg.test/a:1", "2025-12-15T00:00:00Z", 1, false, 1'765'756'800'000'000'000}};
  std::span<const Row> rows = kRows;
  int calls = 0;
  bool old = false;
  Words labels;
  daemon.list = [&](grpc::ServerContext&, const v1::ListImagesRequest& request, v1::ListImagesResponse& answer) {
    ++calls;
    labels.assign(request.labels().begin(), request.labels().end());
    answer.set_labels_judged(!old && !labels.empty());
    for (const auto& row : rows)
      if (labels.empty() || old || row.pinned) *answer.add_images() = image_of(row);
    return grpc::Status::OK;
  };
  daemon.inspect = [&](grpc::ServerContext& context, const v1::InspectImageRequest& request, v1::InspectImageResponse& answer) {
    ++calls;
    for (const auto& row : rows)
      if (request.image() == row.name) {
        *answer.mutable_image() = image_of(row);
        return grpc::Status::OK;
      }
    return Failed(context, "E-MANIFEST-404", "no such image here", "berth images", 3);
  };
  // The place of each image in the list above, in the order in which they are shown.
  const auto shown = [&](Words arguments) {
    TestWorld one;
    arguments.insert(arguments.begin(), {"-s", daemon.socket(), "images", "-o", "name"});
    const int status = one.Run(arguments);
    if (status != 0) return std::to_string(status) + " " + one.err();
    std::string digits;
    std::istringstream lines(one.out());
    for (std::string line; std::getline(lines, line);)
      digits += static_cast<char>('0' + (std::ranges::find(rows, line, [](const Row& row) { return std::string(row.name); }) - rows.begin()));
    return digits;
  };
  EXPECT_EQ(shown({}), "012");
  EXPECT_EQ(shown({"--sort-by", "size"}), "021");
  EXPECT_EQ(shown({"--sort-by=-size"}), "120");
  EXPECT_EQ(shown({"--sort-by", "pulled_at"}), "210");
  EXPECT_EQ(shown({"--filter", "pinned=true"}), "0");
  EXPECT_EQ(shown({"--filter", "dangling=true"}), "2");
  EXPECT_EQ(shown({"--filter", "registry=reg.test:5000"}), "12");
  EXPECT_EQ(shown({"--filter", "registry=reg.test"}), "");
  EXPECT_EQ(shown({"--filter", "reference=busy*"}), "0");
  EXPECT_EQ(shown({"--filter", "reference=*/team/*", "--filter", "dangling=false"}), "1");
  EXPECT_EQ(shown({"--filter", "before=reg.test:5000/team/app:v1"}), "2");
  EXPECT_EQ(shown({"--filter", "since=reg.test:5000/team/app:v1"}), "0");
  rows = kSameSecond;
  EXPECT_EQ(shown({"--filter", "before=reg.test/b:1"}), "2");
  EXPECT_EQ(shown({"--filter", "since=reg.test/b:1"}), "1");
  EXPECT_EQ(shown({"--sort-by", "pulled_at"}), "201");
  rows = kRows;
  calls = 0;
  EXPECT_EQ(shown({"--filter", "label=tier", "--filter", "label=a=b=c", "--filter", "dangling=false"}), "0");
  EXPECT_EQ(calls, 1) << "whatever there is, the daemon is asked once";
  EXPECT_THAT(labels, ElementsAre("tier", "a=b=c"));
  old = true;
  EXPECT_THAT(shown({"--filter", "label=tier"}), ::testing::StartsWith("12 error: E-SOCKET this berthd is older"));
  old = false;
  EXPECT_THAT(shown({"--filter", "since=gone"}), ::testing::StartsWith("3 error: E-MANIFEST-404 gone: no such image here"));
  EXPECT_THAT(shown({"--filter", "colour=red"}), HasSubstr("2 error: E-USAGE --filter wants KEY=VALUE, not \"colour=red\"\nnext: the keys are dangling, "));
  EXPECT_THAT(shown({"--filter", "pinned=maybe"}), HasSubstr("wants true or false"));
  EXPECT_THAT(shown({"--sort-by", "colour"}), HasSubstr("one of name, id,"));
}

TEST_F(Service, InspectForPeopleAndPrograms) {
  daemon.inspect = [](grpc::ServerContext& context, const v1::InspectImageRequest& request, v1::InspectImageResponse& answer) {
    if (request.image() == "gone") return Failed(context, "E-MANIFEST-404", "gone: no such image here", "berth images lists them", 3);
    *answer.mutable_image() = AnImage();
    answer.set_target(kIndex);
    answer.set_target_media_type("application/vnd.oci.image.index.v1+json");
    answer.set_manifest_json("{\"schemaVersion\": 2}\n");
    answer.set_config_json(R"({"created":"2026-01-01T00:00:00Z","config":{"Cmd":["sh","-c","x"],"User":"1000","Env":["A=1","B=\u001b[2J"],"Labels":{"k":"v"}}})");
    answer.set_target_json("not json");
    answer.set_last_pull_json(R"({"policy":"Always","host":"reg.test:5712","credential":"anonymous","bytes_fetched":91226112,"bytes_resumed":1048576,
                                 "seconds":{"total":1.5},"attempts":[{},{}]})");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"inspect", "app"}), 0);
  EXPECT_EQ(world.out(),
            "names         reg.test:5712/team/app:v1\n"
            "              reg.test:5712/team/app@" + kIndex + "\n"
            "id            " + kId + "\nmanifest      " + kManifest + "\nindex         " + kIndex + "\n"
            "media type    application/vnd.oci.image.index.v1+json\nplatform      linux/amd64\n"
            "size          87.0 MiB compressed, 200.0 MiB unpacked, 150.0 MiB of it in no other image\n"
            "pulled        2025-12-15T00:00:00Z (3 days ago)\n"
            "1 layer       " + kLayer + "  diff " + kDiff + "\n"
            "created       2026-01-01T00:00:00Z\ncommand       [\"sh\",\"-c\",\"x\"]\nuser          1000\n"
            "environment   A=1\n              B=\\x1b[2J\nlabels        k=v\n"
            "last pull     policy Always, 87.0 MiB fetched, 1.0 MiB resumed in 1.5s\n  from        reg.test:5712\n  as          anonymous\n"
            "  requests    2 (-o json lists them)\n");
  TestWorld as_json;
  EXPECT_EQ(as_json.Run({"-s", daemon.socket(), "inspecti", "-o", "json", "app"}), 0);
  const auto document = json::Document::Parse(as_json.out(), Reason::kInternal);
  ASSERT_TRUE(document) << as_json.out();
  EXPECT_EQ(document->root().Get("manifest_document")->Dump(), "{\"schemaVersion\":2}");
  EXPECT_EQ(*document->root().Get("target_document")->AsString(), "not json");
  TestWorld raw;
  EXPECT_EQ(raw.Run({"-s", daemon.socket(), "inspect", "--document", "manifest", "app"}), 0);
  EXPECT_EQ(raw.out(), "{\"schemaVersion\": 2}\n");  // byte for byte
  TestWorld gone;
  EXPECT_EQ(gone.Run({"-s", daemon.socket(), "inspect", "-o", "json", "gone"}), 3);
  EXPECT_THAT(gone.err(), HasSubstr("{\"error\":{\"code\":\"E-MANIFEST-404\",\"message\":\"gone: no such image here\""));
}

TEST_F(Service, RemoveSaysWhatWent) {
  daemon.remove = [](grpc::ServerContext& context, const v1::RemoveImageRequest& request, v1::RemoveImageResponse& answer) {
    if (request.image() == "used") return Failed(context, "E-IN-USE", "used is mounted at /mnt", "berth unmount /mnt", 1);
    answer.add_names("docker.io/library/" + request.image() + ":latest");
    if (request.all_names()) answer.add_manifests(kManifest);
    answer.set_freed_bytes(request.all_names() ? kMiB : 0);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"rmi", "a", "used", "b", "--all-names"}), 1);
  EXPECT_EQ(world.out(), "untagged docker.io/library/a:latest\nremoved " + kManifest + "\nuntagged docker.io/library/b:latest\nremoved " + kManifest + "\n");
  EXPECT_EQ(world.err(), "freed 1.0 MiB\nerror: E-IN-USE used is mounted at /mnt\nnext: berth unmount /mnt\nfreed 1.0 MiB\n");
}

// The name by digest goes with the last tag: whoever names both wants both gone.
TEST_F(Service, WhatAnEarlierArgumentRemovedIsDone) {
  std::set<std::string> there;
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse& answer) {
    *answer.add_images() = AnImage();
    return grpc::Status::OK;
  };
  daemon.remove = [&](grpc::ServerContext& context, const v1::RemoveImageRequest& request, v1::RemoveImageResponse& answer) {
    if (!there.contains(request.image())) return Failed(context, "E-MANIFEST-404", "there is no image called " + request.image(), "berth images", 3);
    there.clear();
    answer.add_names(request.image());
    return grpc::Status::OK;
  };
  const std::string tag = "reg.test:5712/team/app:v1", digest = "reg.test:5712/team/app@" + kIndex;
  struct Row { Words images; int status; std::string out, err; };
  for (const Row& row : {Row{{tag, digest}, 0, "untagged " + tag + "\n", ""}, Row{{tag, tag, kId}, 0, "untagged " + tag + "\n", ""},
                         Row{{tag, "never.test/was:1"}, 3, "untagged " + tag + "\n", "error: E-MANIFEST-404 there is no image called never.test/was:1\nnext: berth images\n"},
                         Row{{"never.test/was:1", tag}, 3, "untagged " + tag + "\n", "error: E-MANIFEST-404 there is no image called never.test/was:1\nnext: berth images\n"}}) {
    there = {tag, digest, kId};
    TestWorld one;
    Words arguments{"-s", daemon.socket(), "rm"};
    arguments.insert(arguments.end(), row.images.begin(), row.images.end());
    EXPECT_EQ(one.Run(arguments), row.status) << ::testing::PrintToString(row.images);
    EXPECT_EQ(one.out(), row.out);
    EXPECT_EQ(one.err(), row.err);
  }
}

TEST_F(Service, MountsAreMadeListedAndUndone) {
  v1::MountRequest asked;
  std::string undone;
  daemon.mount = [&](grpc::ServerContext&, const v1::MountRequest& request, v1::MountResponse& answer) {
    asked = request;
    answer.set_target(request.target());
    answer.set_manifest(kManifest);
    answer.set_form("erofs");
    return grpc::Status::OK;
  };
  daemon.unmount = [&](grpc::ServerContext&, const v1::UnmountRequest& request, v1::UnmountResponse&) {
    undone += request.target() + " ";
    return grpc::Status::OK;
  };
  daemon.mounts = [](grpc::ServerContext&, const v1::ListMountsRequest&, v1::ListMountsResponse& answer) {
    auto& mount = *answer.add_mounts();
    mount.set_target("/work/mnt");
    mount.set_manifest(kManifest);
    mount.set_form("erofs");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"mount", "app", "./mnt/", "--writable", "--platform", "linux/arm64"}), 0);
  EXPECT_EQ(asked.target(), "/work/mnt");
  EXPECT_TRUE(asked.writable());
  EXPECT_EQ(asked.platform(), "linux/arm64");
  EXPECT_EQ(world.out(), "/work/mnt\n");
  EXPECT_EQ(Run({"unmount", "mnt", "/b/"}), 0);
  EXPECT_EQ(undone, "/work/mnt /b ");
  TestWorld link;
  EXPECT_EQ(link.Run({"-s", daemon.socket(), "mount", "app", "link/../mnt"}), 0);
  EXPECT_EQ(asked.target(), "/work/link/../mnt") << "where a symbolic link leads only the kernel knows";
  TestWorld gone;
  gone.directory = "";
  EXPECT_EQ(gone.Run({"-s", daemon.socket(), "mount", "app", "etc"}), 2);
  EXPECT_EQ(gone.err(), "error: E-USAGE the path \"etc\" is relative, and the working directory is gone\nnext: give an absolute path\n");
  EXPECT_EQ(asked.target(), "/work/link/../mnt");
  TestWorld list;
  EXPECT_EQ(list.Run({"-s", daemon.socket(), "mount"}), 0);
  EXPECT_EQ(list.out(), "TARGET     MANIFEST" + std::string(64 + 7 - 8 + 2, ' ') + "FORM\n/work/mnt  " + kManifest + "  erofs\n");
}

TEST_F(Service, DiskUsage) {
  daemon.usage = [](grpc::ServerContext&, const v1::DiskUsageRequest&, v1::DiskUsageResponse& answer) {
    answer.set_images(2);
    answer.set_names(3);
    answer.set_layers(4);
    answer.set_layer_bytes(300 * kMiB);
    answer.set_disk_total(20ull << 30);
    answer.set_disk_available(5ull << 30);
    answer.set_path("/var/lib/berth");
    return grpc::Status::OK;
  };
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse& answer) {
    *answer.add_images() = AnImage();
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"df", "-v"}), 0);
  EXPECT_THAT(world.out(), AllOf(HasSubstr("layers        300.0 MiB  4 layers of 2 images, unpacked, each once\n"),
                                 HasSubstr("folders, unfinished work, the reserve for a full disk\n"),
                                 HasSubstr("disk          20.0 GiB   75% used, 5.0 GiB available at /var/lib/berth\n"),
                                 HasSubstr("reg.test:5712/team/app:v1  200.0 MiB  150.0 MiB  50.0 MiB  87.0 MiB    1\n")));
  TestWorld as_json;
  EXPECT_EQ(as_json.Run({"-s", daemon.socket(), "imagefsinfo", "-o", "jsonl"}), 0);
  EXPECT_THAT(as_json.out(), HasSubstr("\"layer_bytes\":314572800"));
}

TEST_F(Service, ADiskOfUnknownSizeIsToldAsSuch) {
  daemon.usage = [](grpc::ServerContext&, const v1::DiskUsageRequest&, v1::DiskUsageResponse& answer) {
    answer.set_path("/run/berth");
    return grpc::Status::OK;
  };
  daemon.status = [](grpc::ServerContext&, const v1::StatusRequest&, v1::StatusResponse&) { return grpc::Status::OK; };
  EXPECT_EQ(Run({"df"}), 0);
  EXPECT_THAT(world.out(), HasSubstr("the file system at /run/berth does not say how large it is\n"));
  TestWorld doctor;
  (void)doctor.Run({"-s", daemon.socket(), "doctor"});
  EXPECT_THAT(doctor.out(), HasSubstr("the file system at /run/berth does not say how large it is\n"));
}

TEST_F(Service, CheckListsFindingsAndItsStatusTells) {
  daemon.check = [](grpc::ServerContext&, const v1::CheckStoreRequest& request, grpc::ServerWriter<v1::CheckStoreEvent>& writer) {
    v1::CheckStoreEvent event;
    event.mutable_progress()->set_checked(5);
    writer.Write(event);
    auto& finding = *event.mutable_finding();
    finding.set_kind("layer");
    finding.set_object(kLayer);
    finding.set_problem("digest of the data is another");
    finding.set_action("rebuilt from the kept blob");
    finding.set_repaired(request.repair());
    finding.add_images("reg.test/a:1");
    writer.Write(event);
    auto& summary = *event.mutable_summary();
    summary.set_objects(10);
    summary.set_findings(1);
    summary.set_repaired(request.repair() ? 1 : 0);
    writer.Write(event);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"fsck", "--depth", "data"}), 9);
  EXPECT_EQ(world.out(), "layer " + kLayer + ": digest of the data is another; --repair would: rebuilt from the kept blob; needed by reg.test/a:1\n");
  EXPECT_EQ(world.err(), "checked 10 objects, 0 B in 0ms: 1 finding\nerror: E-CORRUPT the store has 1 finding\nnext: berth fsck --repair\n");
  TestWorld repair;
  EXPECT_EQ(repair.Run({"-s", daemon.socket(), "fsck", "--repair", "-o", "jsonl"}), 0);
  EXPECT_THAT(repair.out(), HasSubstr("\"repaired\":true,\"images\":[\"reg.test/a:1\"]"));
  EXPECT_EQ(repair.err(), "{\"summary\":{\"objects\":10,\"bytes\":0,\"findings\":1,\"repaired\":1,\"seconds\":0}}\n");
  TestWorld whole;
  EXPECT_EQ(whole.Run({"-s", daemon.socket(), "fsck", "-o", "json"}), 9);
  const auto document = json::Document::Parse(whole.out(), Reason::kInternal);
  ASSERT_TRUE(document) << whole.out();
  EXPECT_EQ(*document->root().Find("findings")->at(0).Find("kind")->AsString(), "layer");
  EXPECT_EQ(document->root().Find("summary")->Find("objects")->Dump(), "10");
  EXPECT_THAT(whole.err(), ::testing::StartsWith("{\"error\":"));
  daemon.check = [](grpc::ServerContext&, const v1::CheckStoreRequest&, grpc::ServerWriter<v1::CheckStoreEvent>& writer) {
    v1::CheckStoreEvent event;
    event.mutable_summary()->set_objects(3);
    writer.Write(event);
    return grpc::Status::OK;
  };
  TestWorld healthy;
  EXPECT_EQ(healthy.Run({"-s", daemon.socket(), "fsck", "-o", "json"}), 0);
  const auto empty = json::Document::Parse(healthy.out(), Reason::kInternal);
  ASSERT_TRUE(empty) << healthy.out();
  EXPECT_EQ(empty->root().Find("findings")->size(), 0u);
  EXPECT_EQ(empty->root().Find("summary")->Find("findings")->Dump(), "0");
  EXPECT_EQ(healthy.err(), "");
}

TEST_F(Service, WhateverIsAskedJsonIsOneDocument) {
  daemon.inspect = [](grpc::ServerContext&, const v1::InspectImageRequest& request, v1::InspectImageResponse& answer) {
    answer.mutable_image()->add_names(request.image());
    return grpc::Status::OK;
  };
  daemon.remove = [](grpc::ServerContext&, const v1::RemoveImageRequest& request, v1::RemoveImageResponse& answer) {
    answer.add_names(request.image());
    return grpc::Status::OK;
  };
  daemon.usage = [](grpc::ServerContext&, const v1::DiskUsageRequest&, v1::DiskUsageResponse& answer) {
    answer.set_images(2);
    return grpc::Status::OK;
  };
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse& answer) {
    answer.add_images()->set_size(1);
    answer.add_images()->set_size(2);
    return grpc::Status::OK;
  };
  const auto run = [&](Words arguments) {
    TestWorld one;
    arguments.insert(arguments.begin(), {"-s", daemon.socket()});
    EXPECT_EQ(one.Run(arguments), 0) << one.err();
    auto document = json::Document::Parse(one.out(), Reason::kInternal);
    EXPECT_TRUE(document) << one.out();
    return document;
  };
  EXPECT_EQ(run({"inspect", "-o", "json", "a"})->root().Find("names")->at(0).Dump(), "\"a\"");
  EXPECT_EQ(run({"inspect", "-o", "json", "a", "b"})->root().at(1).Find("names")->at(0).Dump(), "\"b\"");
  EXPECT_EQ(run({"rm", "-o", "json", "a", "b"})->root().at(1).Find("names")->at(0).Dump(), "\"b\"");
  EXPECT_EQ(run({"pull", "-q", "-o", "json", "reg.test/a:1"})->root().Find("image")->Dump(), "\"reg.test/a:1\"");
  EXPECT_EQ(run({"pull", "-q", "-o", "json", "reg.test/a:1", "reg.test/b:1"})->root().at(1).Find("image")->Dump(), "\"reg.test/b:1\"");
  const auto usage = run({"df", "-v", "-o", "json"});
  EXPECT_EQ(usage->root().Find("images")->Dump(), "2");
  EXPECT_EQ(usage->root().Find("by_image")->at(1).Find("size")->Dump(), "2");
  EXPECT_FALSE(run({"df", "-o", "json"})->root().Find("by_image"));
}

struct Form { std::string name; Words arguments; std::string want; };
std::ostream& operator<<(std::ostream& out, const Form& row) { return out << row.name; }
class Forms : public Service, public ::testing::WithParamInterface<Form> {};
TEST_P(Forms, AreOfTheJsonDocument) {
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse& answer) {
    *answer.add_images() = AnImage();
    return grpc::Status::OK;
  };
  daemon.inspect = [](grpc::ServerContext&, const v1::InspectImageRequest& request, v1::InspectImageResponse& answer) {
    answer.mutable_image()->add_names(request.image());
    answer.set_config_json(R"({"config":{"Labels":{"a.b/c":"x"}}})");
    return grpc::Status::OK;
  };
  daemon.usage = [](grpc::ServerContext&, const v1::DiskUsageRequest&, v1::DiskUsageResponse& answer) {
    answer.set_store_bytes(91226112);
    return grpc::Status::OK;
  };
  daemon.mounts = [](grpc::ServerContext&, const v1::ListMountsRequest&, v1::ListMountsResponse& answer) {
    answer.add_mounts()->set_target("/mnt");
    return grpc::Status::OK;
  };
  daemon.check = [](grpc::ServerContext&, const v1::CheckStoreRequest&, grpc::ServerWriter<v1::CheckStoreEvent>& writer) {
    v1::CheckStoreEvent finding, summary;
    finding.mutable_finding()->set_kind("layer");
    summary.mutable_summary()->set_objects(3);
    return writer.Write(finding), writer.Write(summary), grpc::Status::OK;
  };
  EXPECT_EQ(Run(GetParam().arguments), 0) << world.err();
  EXPECT_EQ(world.out(), GetParam().want);
}
INSTANTIATE_TEST_SUITE_P(
    Table, Forms,
    ::testing::Values(
        Form{"images", {"images", "-o", "jsonpath={range .images[*]}{.names[0]} {.size}{'\\n'}{end}"}, "reg.test:5712/team/app:v1 91226112\n"},
        Form{"images_go", {"images", "-o", "go-template={{range .images}}{{.id}} {{.size}}{{end}}"}, kId + " 91226112"},
        Form{"first", {"-o", "jsonpath={.images[0].platform}", "images"}, "linux/amd64"},
        Form{"nothing_there", {"images", "-o=jsonpath={.images[0].pin.owner}"}, ""}, Form{"no_value", {"images", "-o", "go-template={{(index .images 0).pin.owner}}"}, "<no value>"},
        Form{"inspect", {"inspect", "a", "-o", "jsonpath={.names[0]} {.config.config.Labels.a\\.b/c}"}, "a x"},
        Form{"inspect_several", {"inspect", "a", "b", "-o", "go-template={{range .}}{{index .names 0}},{{end}}"}, "a,b,"},
        Form{"df", {"df", "-o", "go-template={{printf \"%d\" .store_bytes}}"}, "91226112"}, Form{"df_images", {"df", "-v", "-o", "jsonpath={.by_image[*].platform}"}, "linux/amd64"},
        Form{"mounts", {"mount", "-o", "jsonpath={.mounts[*].target}"}, "/mnt"}, Form{"fsck", {"fsck", "-o", "jsonpath={.findings[*].kind} {.summary.objects}"}, "layer 3"},
        Form{"pull", {"pull", "-q", "reg.test/a:1", "-o", "jsonpath={.image} {.digest}"}, "reg.test/a:1 " + kIndex},
        Form{"pull_several", {"pull", "-q", "reg.test/a:1", "reg.test/b:1", "-o", "jsonpath={[*].image}"}, "reg.test/a:1 reg.test/b:1"},
        Form{"version", {"version", "-o", "go-template={{.client.api}}"}, "berth.v1"}),
    [](const auto& row) { return row.param.name; });

TEST_F(Service, ATemplateThatDoesNotFitTheDataIsAUsageError) {
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse&) { return grpc::Status::OK; };
  EXPECT_EQ(Run({"images", "-o", "jsonpath={.images[0].id}"}), 2);
  EXPECT_EQ(world.out(), "");
  EXPECT_THAT(world.err(), ::testing::StartsWith("error: E-USAGE jsonpath, column 9: there is no item 0 in a list of 0\nnext: "));
}

TEST_F(Service, ATemplateMovesNoCursorOnATerminal) {
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse& answer) {
    answer.add_images()->add_names("a\x1b[2Jb");
    return grpc::Status::OK;
  };
  TestWorld terminal;
  terminal.out_terminal = true;
  EXPECT_EQ(terminal.Run({"-s", daemon.socket(), "images", "-o", R"(jsonpath={.images[0].names[0]}{"\t!\n"})"}), 0);
  EXPECT_EQ(terminal.out(), "a\\x1b[2Jb\t!\n");
  EXPECT_EQ(Run({"images", "-o", "jsonpath={.images[0].names[0]}"}), 0);
  EXPECT_EQ(world.out(), "a\x1b[2Jb");
}

TEST_F(Service, VerbosityTellsWhatIsDoneAndNeverASecret) {
  daemon.list = [](grpc::ServerContext&, const v1::ListImagesRequest&, v1::ListImagesResponse&) { return grpc::Status::OK; };
  const auto told = [&](Words arguments, int status = 0) {
    TestWorld one("hunter2\n");
    arguments.insert(arguments.begin(), {"-s", daemon.socket()});
    EXPECT_EQ(one.Run(arguments), status) << one.err();
    return one.err();
  };
  const std::string head = "I[0-9]{4} [0-9:]{8}\\.[0-9]{6} +[0-9]+ berth\\] ";
  EXPECT_EQ(told({"images", "-q"}), "");
  EXPECT_EQ(told({"images", "-q", "-v", "0"}), "");
  EXPECT_THAT(told({"images", "-q", "-v", "1"}), MatchesRegex(head + "berth [0-9.]+ images\n" + head + "images ended with exit status 0 after [0-9.]+ms\n"));
  const std::string four = told({"-v", "4", "images"}), six = told({"images", "--v=6"}), ten = told({"-v10", "images"});
  EXPECT_THAT(four, AllOf(HasSubstr("] connected to the socket " + daemon.socket() + " (--socket)\n"), HasSubstr("] call berth.v1.Berth/ListImages took "), Not(HasSubstr("OK"))));
  EXPECT_THAT(six, AllOf(HasSubstr("] call berth.v1.Berth/ListImages\n"), HasSubstr(": OK, messages received: 1\n")));
  EXPECT_THAT(ten, HasSubstr(": OK, messages received: 1\n"));
  EXPECT_THAT(told({"-v", "6", "pull", "reg.test/notfound:1"}, 3), AllOf(HasSubstr("call berth.v1.Berth/Pull took "), HasSubstr(": UNKNOWN, messages received: 1\n"), HasSubstr("pull ended with exit status 3")));
  // Whichever way a password comes, and wherever it is wrong.
  for (const Words& secret : {Words{"--creds", "alice:hunter2"}, Words{"--creds", "alice"}, Words{"--creds", "alice", "--password-stdin"}, Words{"--auth", "YWxpY2U6aHVudGVyMg=="}}) {
    Words arguments{"-v", "10", "pull", "reg.test/a:1"};
    arguments.insert(arguments.end(), secret.begin(), secret.end());
    EXPECT_THAT(told(arguments), AllOf(HasSubstr("credentials of the command line"), HasSubstr("berth.v1.Berth/Pull"), Not(HasSubstr("hunter2")), Not(HasSubstr("YWxpY2U6"))));
  }
  EXPECT_EQ(daemon.pulls().back().credentials(0).password(), "hunter2");
}

TEST_F(Service, ReclaimPassesTheAge) {
  std::uint64_t age = 99;
  daemon.reclaim = [&](grpc::ServerContext&, const v1::ReclaimRequest& request, v1::ReclaimResponse& answer) {
    age = request.min_age_seconds();
    answer.set_freed_bytes(3 * kMiB);
    answer.set_objects(2);
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"reclaim"}), 0);
  EXPECT_EQ(age, 0u);
  EXPECT_EQ(Run({"reclaim", "--age", "2h"}), 0);
  EXPECT_EQ(age, 7200u);
  EXPECT_EQ(world.out(), "freed 3.0 MiB in 2 objects\nfreed 3.0 MiB in 2 objects\n");
}

TEST_F(Service, PinsSayWhoAndWhy) {
  std::vector<v1::PinImageRequest> asked;
  daemon.pin = [&](grpc::ServerContext& context, const v1::PinImageRequest& request, v1::PinImageResponse& answer) {
    if (request.image() == "gone") return Failed(context, "E-MANIFEST-404", "no such image here", "berth images", 3);
    asked.push_back(request);
    answer.add_ids(kId);
    return grpc::Status::OK;
  };
  daemon.unpin = [](grpc::ServerContext&, const v1::UnpinImageRequest&, v1::PinImageResponse& answer) {
    answer.add_ids(kId);
    answer.add_names("reg.test/a:1");
    return grpc::Status::OK;
  };
  world.variables["USER"] = "root";
  world.variables["SUDO_USER"] = "alice";
  EXPECT_EQ(Run({"pin", "a", "gone", "--reason", "no registry on site"}), 3);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].owner() + "|" + asked[0].reason(), "alice|no registry on site");
  EXPECT_EQ(world.out(), "pinned " + kId + "\n");
  TestWorld second;
  EXPECT_EQ(second.Run({"-s", daemon.socket(), "unpin", "a", "-o", "jsonl"}), 0);
  EXPECT_EQ(second.out(), "{\"ids\":[\"" + kId + "\"],\"names\":[\"reg.test/a:1\"]}\n");
}

TEST_F(Service, CollectSaysWhatGoesWhatStaysAndWhy) {
  v1::CollectImagesRequest asked;
  bool fails = false;
  daemon.collect = [&](grpc::ServerContext&, const v1::CollectImagesRequest& request, v1::CollectImagesResponse& answer) {
    asked = request;
    answer.set_disk_total(20ull << 30);
    answer.set_used_percent(88);
    answer.set_high_percent(85);
    answer.set_low_percent(80);
    answer.set_wanted_bytes(1700 * kMiB);
    answer.set_freed_bytes(1800 * kMiB);
    answer.set_unneeded_bytes(100 * kMiB);
    answer.add_unneeded()->set_object("partial " + kManifest);
    auto& goes = *answer.add_images();
    goes.set_id(kId);
    goes.add_names("lib.example/tools/build:41");
    goes.set_last_used_at("2025-12-15T00:00:00Z");
    goes.set_frees(1700 * kMiB);
    goes.set_action("remove");
    goes.set_why("unused");
    auto& stays = *answer.add_images();
    stays.set_id(kManifest);
    stays.set_action("keep");
    stays.set_why("in use by pod shop/web");
    if (fails) {
      answer.mutable_failure()->set_code("E-ENOSPC");
      answer.mutable_failure()->set_message("not enough");
      answer.mutable_failure()->set_exit_status(9);
    }
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"gc", "--dry-run", "--no-trunc"}), 0);
  EXPECT_TRUE(asked.dry_run());
  EXPECT_THAT(world.out(), HasSubstr("disk 88% of 20.0 GiB (high 85, low 80): would free 1.8 GiB (1.7 GiB needed to reach 80%)\n"
                                     "100.0 MiB of it leftovers and compressed layers, before any image\n"));
  EXPECT_THAT(world.out(), HasSubstr("1      lib.example/tools/build:41  "));
  EXPECT_THAT(world.out(), HasSubstr("3 days ago  1.7 GiB  remove  unused\n"));
  EXPECT_THAT(world.out(), HasSubstr("-      " + kManifest + "  never       0 B      keep    in use by pod shop/web\n"));
  fails = true;
  TestWorld real;
  EXPECT_EQ(real.Run({"-s", daemon.socket(), "gc", "--target", "75%", "-o", "jsonl"}), 9);
  EXPECT_EQ(asked.target_percent(), 75);
  EXPECT_FALSE(asked.dry_run());
  EXPECT_THAT(real.out(), AllOf(HasSubstr("\"dry_run\":false"), HasSubstr("\"wanted_bytes\":1782579200"),
                                HasSubstr("\"unneeded\":[{\"object\":\"partial " + kManifest + "\",\"bytes\":0}]"), HasSubstr("\"why\":\"in use by pod shop/web\"")));
  EXPECT_THAT(real.err(), HasSubstr("E-ENOSPC"));
  TestWorld why;
  EXPECT_EQ(why.Run({"-s", daemon.socket(), "gc", "--why", "app:1", "--unused"}), 9);
  EXPECT_EQ(asked.why(), "app:1");
  EXPECT_TRUE(asked.unused());
  for (const char* bad : {"0%", "101", "x", "80%%", ""}) EXPECT_EQ(TestWorld().Run({"gc", std::string("--target=") + bad}), 2) << bad;
}

TEST_F(Service, DoctorTellsWhatVerdictsMean) {
  daemon.status = [](grpc::ServerContext&, const v1::StatusRequest&, v1::StatusResponse& answer) {
    answer.set_version("9.9.9");
    answer.set_root("/var/lib/berth");
    answer.set_form("tree");
    auto& probe = *answer.add_probes();
    probe.set_name("erofs");
    probe.set_verdict("missing");
    probe.set_detail("no such file system");
    auto& kernel = *answer.add_probes();
    kernel.set_name("kernel");
    kernel.set_verdict("ok");
    kernel.set_detail("of the daemon");
    answer.add_limits("pull.parallel=8");
    return grpc::Status::OK;
  };
  EXPECT_EQ(Run({"doctor"}), 1);
  EXPECT_THAT(world.out(), AllOf(HasSubstr("berth 0.1.0, berthd 9.9.9"), HasSubstr("erofs missing: layers become directories"),
                                 HasSubstr("store /var/lib/berth, layers as tree"), HasSubstr("of the daemon"),
                                 Not(HasSubstr("limit "))));
  const std::string text = world.out();
  EXPECT_EQ(text.find("\nkernel"), text.rfind("\nkernel"));  // once: the daemon's
  TestWorld verbose;
  EXPECT_EQ(verbose.Run({"-s", daemon.socket(), "doctor", "-v"}), 1);
  EXPECT_THAT(verbose.out(), HasSubstr("limit pull.parallel=8\n"));
  TestWorld version;
  EXPECT_EQ(version.Run({"-s", daemon.socket(), "version"}), 0);
  EXPECT_EQ(version.out(), "berth " BERTH_VERSION "\nberthd 9.9.9\n");
  daemon.Stop();
  TestWorld alone;
  EXPECT_EQ(alone.Run({"-s", daemon.socket(), "doctor", "-o", "json"}), 12);
  EXPECT_THAT(alone.out(), HasSubstr("\"name\": \"socket\",\n      \"verdict\": \"missing\""));
  TestWorld still;
  EXPECT_EQ(still.Run({"-s", daemon.socket(), "version", "-o", "jsonl"}), 0);
  EXPECT_EQ(still.out(), "{\"client\":{\"version\":\"" BERTH_VERSION "\",\"api\":\"berth.v1\"},\"server\":null}\n");
}

// It listens, as a stopped or stuck one does.
TEST(MuteDaemon, KeepsNobodyWhoAsksWhetherItAnswers) {
  const host::testing::Scratch scratch;
  const std::string socket = scratch.path() + "/berth.sock";
  const auto mute = host::ListenUnix(socket);
  ASSERT_TRUE(mute) << mute.error().Text();
  const auto run = [&](Words arguments, int status) {
    TestWorld one;
    one.patience = std::chrono::milliseconds(1);
    arguments.insert(arguments.begin(), {"-s", socket});
    EXPECT_EQ(one.Run(arguments), status) << one.err();
    return one.out();
  };
  EXPECT_THAT(run({"doctor"}, 12), AllOf(MatchesRegex("(.|\n)*\nsocket +missing +berth +berthd at " + socket + " has not answered within 1ms\n(.|\n)*"),
                                         HasSubstr("\nkernel "), HasSubstr("socket missing: systemctl status berthd")));
  EXPECT_EQ(run({"version"}, 0), "berth " BERTH_VERSION "\n");
  EXPECT_THAT(run({"version", "-o", "jsonl"}, 0), HasSubstr("\"server\":null"));
  EXPECT_THAT(run({"doctor", "--timeout", "1s"}, 124), HasSubstr("not done within 1s (--timeout)"));  // over at once by the manual clock
}

TEST_F(Service, DoctorTellsWhyItDoesNotKnowTheDisk) {
  daemon.status = [](grpc::ServerContext&, const v1::StatusRequest&, v1::StatusResponse&) { return grpc::Status::OK; };
  daemon.usage = [](grpc::ServerContext& context, const v1::DiskUsageRequest&, v1::DiskUsageResponse&) {
    return Failed(context, "E-IO", "the store cannot be read", "berth fsck", 9);
  };
  Run({"doctor"});
  EXPECT_THAT(world.out(), AllOf(ContainsRegex("\ndisk +degraded +berth +the store cannot be read\n"), HasSubstr("disk degraded: berth fsck\n")));
}

// It walks a large store: that is not what ails a machine.
TEST_F(Service, DoctorDoesNotWaitForALargeStore) {
  daemon.status = [](grpc::ServerContext&, const v1::StatusRequest&, v1::StatusResponse&) { return grpc::Status::OK; };
  daemon.usage = [](grpc::ServerContext& context, const v1::DiskUsageRequest&, v1::DiskUsageResponse&) {
    while (!context.IsCancelled()) time::SystemClock().SleepFor({}, std::chrono::milliseconds(5));
    return grpc::Status(grpc::StatusCode::CANCELLED, "");
  };
  world.usage_patience = std::chrono::milliseconds(1);
  Run({"doctor"});
  EXPECT_THAT(world.out(), AllOf(ContainsRegex("\ndisk +unknown +berth +not known within 1ms\n"), Not(HasSubstr("disk unknown: ")), Not(HasSubstr("\ndisk +degraded"))));
}

TEST_F(Service, SomebodyElseAtTheSocket) {
  EXPECT_EQ(Run({"images"}), 12);  // the fake has no answer: unimplemented, as containerd would say
  EXPECT_THAT(world.err(), HasSubstr("error: E-SOCKET the program at the socket does not offer this"));
}

// --- signals: the program itself

class Program : public Service {
 protected:
  // The program with a pull that hangs: returns once the daemon has the request and `err` shows its first line.
  host::Process Start(const host::Pipe& err, std::vector<std::string> images = {"x/hang"}) {
    host::ProcessSpec spec = Spec({"-s", daemon.socket(), "pull"}, {{2, err.write.get()}});
    spec.argv.insert(spec.argv.end(), images.begin(), images.end());
    auto process = host::Process::Spawn(spec);
    BERTH_CHECK(process.has_value());
    daemon.AwaitPulls(images.size());
    return *std::move(process);
  }
  static host::ProcessSpec Spec(std::vector<std::string> arguments, std::vector<std::pair<int, int>> fds) {
    const std::string program = result::testing::kBinaryDir + std::string("/src/apps/berth/berth");
    host::ProcessSpec spec{.program = program, .argv = std::move(arguments), .fds = std::move(fds)};
    spec.argv.insert(spec.argv.begin(), "berth");
    if (const char* options = getenv("TSAN_OPTIONS")) spec.env.push_back(std::string("TSAN_OPTIONS=") + options);
    return spec;
  }
  // Until the program has ended.
  static std::string ReadAll(host::Pipe& pipe) {
    pipe.write.reset();
    std::string text;
    std::array<std::byte, 4096> room;
    for (auto n = host::ReadSome(pipe.read.get(), room); n && *n > 0; n = host::ReadSome(pipe.read.get(), room))
      text += bytes::AsText(bytes::View(room).first(*n));
    return text;
  }
};

struct SignalRow { std::string name; int signal; int status; };
std::ostream& operator<<(std::ostream& out, const SignalRow& row) { return out << row.name; }
class Interrupted : public Program, public ::testing::WithParamInterface<SignalRow> {};
TEST_P(Interrupted, CancelsAndExits) {
  auto err = *host::MakePipe();
  auto process = Start(err, {"x/hang", "y/hang"});
  ASSERT_TRUE(process.Kill(GetParam().signal));
  const std::string said = ReadAll(err);
  const auto status = process.Wait(task::Context());
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->signalled);
  EXPECT_EQ(status->code, GetParam().status);
  EXPECT_THAT(said, AllOf(HasSubstr("error: E-CANCELED x/hang: interrupted\n"), HasSubstr("error: E-CANCELED y/hang: interrupted\n")));
}
INSTANTIATE_TEST_SUITE_P(Table, Interrupted, ::testing::Values(SignalRow{"sigint", SIGINT, 130}, SignalRow{"sigterm", SIGTERM, 143}),
                         [](const auto& row) { return row.param.name; });

// A program that waits for its password is ended by the first signal too, with the terminal as it was.
TEST_F(Program, IsInterruptedWhileItReadsStdin) {
  auto in = *host::MakePipe(), err = *host::MakePipe();
  auto process = host::Process::Spawn(Spec({"name"}, {{0, in.read.get()}, {2, err.write.get()}}));
  ASSERT_TRUE(process);
  ASSERT_TRUE(process->Kill(SIGINT));
  const auto status = process->Wait(task::Context());
  ASSERT_TRUE(status);
  // Before or after its handler was there: both end it.
  EXPECT_TRUE(status->signalled ? status->code == SIGINT : status->code == 130) << status->Text();
}

// Libraries open descriptors before main(): none of them is what the program reads.
TEST_F(Program, ReadsNothingFromAStdinThatIsClosed) {
  const std::string berth = Spec({}, {}).program;
  for (const char* words : {"name <&-", "lint -f - <&-", "creds test --username a --password-stdin reg.test/a <&-", "name </tmp"}) {
    const std::string script = "exec \"$0\" -s " + daemon.socket() + " " + words;
    const auto ran = host::RunCaptured(task::Context(), {.program = "/bin/sh", .argv = {"sh", "-c", script, berth}}, {});
    ASSERT_TRUE(ran) << ran.error().Text();
    EXPECT_FALSE(ran->status.success()) << words;
    EXPECT_THAT(ran->stderr_tail, AllOf(HasSubstr("error: E-"), HasSubstr("standard input"), HasSubstr("\nnext: give it a file or a pipe"))) << words;
  }
}

TEST_F(Program, EndsQuietlyWhenItsReaderGoes) {
  auto out = *host::MakePipe(), err = *host::MakePipe();
  out.read.reset();
  auto process = host::Process::Spawn(Spec({"--help"}, {{1, out.write.get()}, {2, err.write.get()}}));
  ASSERT_TRUE(process);
  const auto status = process->Wait(task::Context());
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->signalled);
  EXPECT_EQ(status->code, SIGPIPE);
  EXPECT_EQ(ReadAll(err), "");
}

// Talk that nobody hears is no reason to end: only data is.
TEST_F(Program, GoesOnWhenTheReaderOfItsTalkGoes) {
  auto out = *host::MakePipe(), err = *host::MakePipe();
  err.read.reset();
  auto process = host::Process::Spawn(Spec({"-s", daemon.socket(), "pull", "reg.test/a:1", "reg.test/notfound:1"}, {{1, out.write.get()}, {2, err.write.get()}}));
  ASSERT_TRUE(process);
  EXPECT_EQ(ReadAll(out), "reg.test/a@" + kIndex + "\n");
  const auto status = process->Wait(task::Context());
  ASSERT_TRUE(status);
  EXPECT_FALSE(status->signalled);
  EXPECT_EQ(status->code, 3) << status->Text();
}

}  // namespace
}  // namespace berth::cli
