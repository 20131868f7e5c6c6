#include "apps/berth/cli.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "apps/berth/completion.h"
#include "apps/berth/failure.h"
#include "apps/berth/session.h"
#include "apps/berth/testing/test_world.h"
#include "host/fd.h"
#include "host/process.h"
#include "json/document.h"
#include "result/testing/dirs.h"

namespace berth::cli {
namespace {

using testing::TestWorld;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using Words = std::vector<std::string>;

struct Wrong { std::string name; Words arguments; std::string says; };
std::ostream& operator<<(std::ostream& out, const Wrong& row) { return out << row.name; }
class Usage : public ::testing::TestWithParam<Wrong> {};
TEST_P(Usage, IsStatusTwoAndOneSentence) {
  TestWorld world;
  EXPECT_EQ(world.Run(GetParam().arguments), 2);
  EXPECT_THAT(world.out(), IsEmpty());
  EXPECT_THAT(world.err(), StartsWith("error: E-"));
  EXPECT_THAT(world.err(), HasSubstr(GetParam().says));
  EXPECT_EQ(std::ranges::count(world.err(), '\n'), 2) << world.err();
}
INSTANTIATE_TEST_SUITE_P(
    Table, Usage,
    ::testing::Values(
        Wrong{"command", {"imagse"}, "E-USAGE there is no command \"imagse\"\nnext: did you mean images?"},
        Wrong{"command_far", {"frobnicate"}, "next: berth --help"},
        Wrong{"command_hostile", {"\x1b[2J"}, "\"\\x1b[2J\""},
        Wrong{"flag", {"pull", "--platfrom", "linux/arm64", "x"}, "there is no flag \"--platfrom\"\nnext: did you mean --platform?"},
        Wrong{"flag_value_is_not_shown", {"pull", "x", "--passwd=hunter2"}, "there is no flag \"--passwd\"\n"},
        Wrong{"choice", {"pull", "--progress", "loud", "x"}, "one of auto, tty, tty,layers, plain, json, none is wanted"},
        Wrong{"policy", {"pull", "--policy", "Sometimes", "x"}, "one of IfNotPresent, Always, Never is wanted"},
        Wrong{"output", {"images", "-o", "xml"}, "one of table, wide, json, jsonl, yaml, name, go-template=, jsonpath= is wanted"},
        Wrong{"output_first", {"-o", "wide", "pull", "x"}, "-o: one of table, json, jsonl, go-template=, jsonpath= is wanted"},
        Wrong{"output_of_a_command_without", {"-o", "table", "name", "x"}, "name has no flag \"-o\""},
        Wrong{"output_not_for_this", {"pull", "x", "-o", "wide"}, "one of table, json, jsonl, go-template=, jsonpath= is wanted"},
        Wrong{"template_before_anything_starts", {"rm", "x", "-o", "jsonpath={.a"}, "E-USAGE jsonpath, column 1: this { is never closed\nnext: "},
        Wrong{"template_first", {"-o", "go-template={{.a", "images"}, "E-USAGE go-template, column 1: this {{ is never closed\nnext: "},
        Wrong{"template_of_a_command_without", {"delete", "pod", "x", "-o", "jsonpath={.a}"}, "one of table, name is wanted"},
        Wrong{"verbosity", {"images", "-v", "11"}, "a number from 0 to 10 is wanted"}, Wrong{"verbosity_word", {"-v", "much", "images"}, "a number from 0 to 10"},
        Wrong{"missing_value", {"pull", "x", "--platform"}, "--platform"},
        Wrong{"pull_what", {"pull"}, "pull needs at least one image"},
        Wrong{"rm_what", {"rm"}, "rm needs at least one image"},
        Wrong{"inspect_what", {"inspecti"}, "inspect needs at least one image"},
        Wrong{"unmount_what", {"umount"}, "unmount needs at least one directory"},
        Wrong{"mount_where", {"mount", "x"}, "mount needs an image and a directory"},
        Wrong{"completion_what", {"completion"}, "completion needs a shell"},
        Wrong{"completion_other", {"completion", "tcsh"}, "one of bash, zsh, fish is wanted"},
        Wrong{"too_many", {"images", "a", "b"}, "images takes no argument \"b\""},
        Wrong{"timeout", {"images", "--timeout", "soon"}, "--timeout"}, Wrong{"timeout_none", {"images", "--timeout", "0"}, "--timeout"},
        Wrong{"age", {"reclaim", "--age", "old"}, "--age"},
        Wrong{"socket", {"images", "-s", "tcp://1.2.3.4:5"}, "\"tcp://1.2.3.4:5\" (--socket) is no path of a Unix socket"},
        Wrong{"socket_relative", {"images", "-s", "berth.sock"}, "no path of a Unix socket"},
        Wrong{"socket_long", {"images", "-s", "/" + std::string(107, 'x')}, "at most 107 bytes"},
        Wrong{"creds_empty", {"pull", "x", "--creds", ""}, "E-USAGE --creds: it is empty"}, Wrong{"auth_empty", {"pull", "x", "--auth", ""}, "E-USAGE --auth: it is empty"},
        Wrong{"name_before_anything_starts", {"pull", "good", "Bad:!"}, "E-NAME couldn't parse image name"}),
    [](const auto& row) { return row.param.name; });

TEST(UsageErrors, AreJsonWhenTheOutputIs) {
  for (const Words& arguments : {Words{"-o", "json", "images", "--nope"}, Words{"images", "--nope", "-o", "json"}, Words{"images", "--nope", "--output=jsonl"}, Words{"images", "--nope", "-ojson"},
                                 Words{"pull", "--nope", "--progress", "json"}, Words{"--nope", "pull", "x", "--progress=json"}}) {
    TestWorld world;
    EXPECT_EQ(world.Run(arguments), 2);
    EXPECT_EQ(world.err(), "{\"error\":{\"code\":\"E-USAGE\",\"message\":\"there is no flag \\\"--nope\\\"\","
                           "\"next\":\"berth --help, berth COMMAND --help\",\"exit_status\":2}}\n");
  }
}

TEST(Help, IsDataAndNoArgumentsAreAnError) {
  for (const Words& arguments : {Words{"--help"}, Words{"pull", "-h"}, Words{"help"}, Words{"help", "pull"}}) {
    TestWorld world;
    EXPECT_EQ(world.Run(arguments), 0);
    EXPECT_THAT(world.out(), HasSubstr("Usage: berth"));
    EXPECT_THAT(world.err(), IsEmpty());
  }
  TestWorld world;
  EXPECT_EQ(world.Run({}), 2);
  EXPECT_THAT(world.out(), IsEmpty());
  EXPECT_THAT(world.err(), HasSubstr("Usage: berth"));
}

TEST(UnreachableDaemon, IsStatusTwelveAndSaysWhereItLooked) {
  TestWorld world;
  world.variables["BERTH_SOCKET"] = "/nonexistent/berth.sock";
  EXPECT_EQ(world.Run({"images"}), 12);
  EXPECT_EQ(world.err(), "error: E-SOCKET socket /nonexistent/berth.sock (BERTH_SOCKET) does not exist\n"
                         "next: start berthd, or name its socket with --socket\n");
}

// A command's name is an ordinary argument of another command.
TEST(Arguments, MayLookLikeCommands) {
  TestWorld world;
  EXPECT_EQ(world.Run({"name", "df", "pull"}), 0);
  EXPECT_EQ(std::ranges::count(world.out(), '\n'), 2);
  TestWorld after;
  EXPECT_EQ(after.Run({"name", "--", "-x"}), 2);
  EXPECT_THAT(after.out(), HasSubstr("\"input\":\"-x\",\"ok\":false"));
}

struct Where { std::string name, flag; std::map<std::string, std::string> variables; std::string path, origin; };
std::ostream& operator<<(std::ostream& out, const Where& row) { return out << row.name; }
class Endpoints : public ::testing::TestWithParam<Where> {};
TEST_P(Endpoints, AreFoundInOrder) {
  World world{.out = Stream(-1, false), .err = Stream(-1, false), .variable = [](const char* name) -> const char* {
                const auto& variables = GetParam().variables;
                if (std::string_view(name) == "CRI_CONFIG_FILE") return "/nonexistent";
                const auto found = variables.find(name);
                return found == variables.end() ? nullptr : found->second.c_str();
              }};
  const auto endpoint = FindEndpoint(world, GetParam().flag);
  ASSERT_TRUE(endpoint) << endpoint.error().Text();
  EXPECT_EQ(endpoint->path, GetParam().path);
  EXPECT_EQ(endpoint->origin, GetParam().origin);
}
INSTANTIATE_TEST_SUITE_P(Table, Endpoints,
                         ::testing::Values(Where{"default_path", "", {}, "/run/berth/berth.sock", "the default"},
                                           Where{"flag", "/a", {{"BERTH_SOCKET", "/b"}}, "/a", "--socket"},
                                           Where{"variable", "", {{"BERTH_SOCKET", "/b"}, {"IMAGE_SERVICE_ENDPOINT", "/c"}}, "/b", "BERTH_SOCKET"},
                                           Where{"crictl", "", {{"IMAGE_SERVICE_ENDPOINT", "unix:///c"}}, "/c", "IMAGE_SERVICE_ENDPOINT"},
                                           Where{"crictl_runtime", "", {{"CONTAINER_RUNTIME_ENDPOINT", "unix:///r"}}, "/r", "CONTAINER_RUNTIME_ENDPOINT"},
                                           Where{"crictl_image_first", "", {{"CONTAINER_RUNTIME_ENDPOINT", "/r"}, {"IMAGE_SERVICE_ENDPOINT", "/c"}}, "/c", "IMAGE_SERVICE_ENDPOINT"},
                                           Where{"empty_is_unset", "", {{"BERTH_SOCKET", ""}}, "/run/berth/berth.sock", "the default"},
                                           Where{"short_url", "unix:/d", {}, "/d", "--socket"}),
                         [](const auto& row) { return row.param.name; });

TEST(CrictlsFile, NamesTheSocketWhereNothingIsAtOurOwn) {
  if (::access(std::string(kDefaultSocket).c_str(), F_OK) == 0) GTEST_SKIP() << "a berthd runs on this machine";
  char folder[] = "/tmp/berth-cli-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/crictl.yaml";
  const auto find = [&](const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
    World world{.out = Stream(-1, false), .err = Stream(-1, false), .variable = [&](const char* name) -> const char* {
                  return std::string_view(name) == "CRI_CONFIG_FILE" ? path.c_str() : nullptr;
                }};
    const auto endpoint = FindEndpoint(world, "");
    return endpoint ? endpoint->path + " " + endpoint->origin : endpoint.error().Text();
  };
  EXPECT_EQ(find("runtime-endpoint: unix:///r.sock\nimage-endpoint: unix:///i.sock\ntimeout: 2\n"), "/i.sock " + path);
  EXPECT_EQ(find("runtime-endpoint: unix:///r.sock\nimage-endpoint: \"\"\n"), "/r.sock " + path);
  EXPECT_EQ(find("timeout: 2\n"), "/run/berth/berth.sock the default");
  EXPECT_EQ(find("{{{"), "/run/berth/berth.sock the default");
  std::filesystem::remove_all(folder);
}

struct Several { std::string name; std::vector<int> statuses; int want; };
std::ostream& operator<<(std::ostream& out, const Several& row) { return out << row.name; }
class ExitStatuses : public ::testing::TestWithParam<Several> {};
TEST_P(ExitStatuses, TheMostActionableCounts) { EXPECT_EQ(MostActionable(GetParam().statuses), GetParam().want); }
INSTANTIATE_TEST_SUITE_P(Product43, ExitStatuses,
                         ::testing::Values(Several{"none", {}, 0}, Several{"all_fine", {0, 0}, 0}, Several{"one", {0, 3, 0}, 3},
                                           Several{"tls_before_network", {5, 6}, 6}, Several{"network_before_rate", {10, 5}, 5},
                                           Several{"rate_before_platform", {7, 10}, 10}, Several{"platform_before_refusal", {4, 7}, 7},
                                           Several{"refusal_before_absence", {3, 4}, 4}, Several{"disk_before_all_registries", {6, 9, 3}, 9},
                                           Several{"daemon_first", {9, 12}, 12}, Several{"interrupted", {3, 130}, 130},
                                           Several{"timeout", {5, 124}, 124}, Several{"image_last", {13, 3}, 3}, Several{"unknown", {0, 77}, 77},
                                           Several{"internal", {1, 8}, 8}),
                         [](const auto& row) { return row.param.name; });

TEST(ExitStatuses, EveryReasonHasADocumentedOne) {
  for (std::size_t i = 0; i <= static_cast<std::size_t>(Reason::kMissing); ++i) {
    const auto& info = result::Describe(static_cast<Reason>(i));
    EXPECT_TRUE((info.exit_status >= 1 && info.exit_status <= 13) || info.exit_status == 130) << info.code;
    EXPECT_EQ(MostActionable(std::array{0, info.exit_status}), info.exit_status) << info.code;
  }
}

std::string ReadSource(const std::string& name) {
  std::ifstream file(std::string(result::testing::kSourceDir) + "/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ErrorsPage, HasEveryCodeWithItsStatus) {
  const std::string page = ReadSource("docs/errors.md"), manual = ReadSource("packaging/man/berth.1");
  for (std::size_t i = 0; i <= static_cast<std::size_t>(Reason::kMissing); ++i) {
    const auto& info = result::Describe(static_cast<Reason>(i));
    EXPECT_THAT(page, HasSubstr("\n| `" + std::string(info.code) + "` | " + std::to_string(info.exit_status) + " | "));
    EXPECT_THAT(manual, HasSubstr("\n.It " + std::to_string(info.exit_status))) << info.code;
  }
  for (const char* status : {"0", "11", "20", "21", "124"}) EXPECT_THAT(page, HasSubstr("\n| " + std::string(status) + " | "));
}

TEST(Manual, KnowsEveryCommandAndFlag) {
  const std::string manual = ReadSource("packaging/man/berth.1");
  const auto help = [](const Words& arguments) {
    TestWorld world;
    EXPECT_EQ(world.Run(arguments), 0);
    return world.out();
  };
  const auto flags = [&](const std::string& text, const std::string& of) {
    for (std::size_t at = text.find("--"); at != text.npos; at = text.find("--", at + 2)) {
      const auto end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz-", at + 2);
      const std::string flag = text.substr(at + 2, end - at - 2);
      if (flag.size() < 2 || flag == "help" || flag == "version" || flag == "verbose") continue;
      EXPECT_TRUE(manual.find("-" + flag + " ") != manual.npos || manual.find("-" + flag + "\n") != manual.npos) << of << " --" << flag;
    }
  };
  const std::string all = help({"--help"});
  flags(all, "berth");
  const auto begin = all.find("Subcommands:\n");
  ASSERT_NE(begin, all.npos) << all;
  std::size_t commands = 0;
  std::istringstream lines(all.substr(begin + 13));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("  ") || line.starts_with("   ")) continue;
    const std::string command = line.substr(2, line.find_first_of(" ,", 2) - 2);
    ++commands;
    EXPECT_THAT(manual, HasSubstr("\n.It Cm " + command));
    flags(help({command, "--help"}), command);
  }
  EXPECT_GT(commands, 25u);
}

TEST(Failures, NameTheirPlaceOnce) {
  const Failure failure{"E-DNS", "reg.test/a:1: no such host", "", 5};
  EXPECT_EQ(Lines(At("reg.test/a:1", failure), Colour::kNo), "error: E-DNS reg.test/a:1: no such host\n");
  EXPECT_EQ(At("reg.test/b:1", failure).message, "reg.test/b:1: reg.test/a:1: no such host");
}

// --- berth name: kubelet-images 1.7, by the numbers of its vectors

struct NameRow { std::string name, input, domain, path, tag, canonical, familiar, cri; };
std::ostream& operator<<(std::ostream& out, const NameRow& row) { return out << row.input; }
class Names : public ::testing::TestWithParam<NameRow> {};
TEST_P(Names, HaveTheirParts) {
  const NameRow& row = GetParam();
  TestWorld by_argument, by_line(row.input + "\n");
  EXPECT_EQ(by_argument.Run({"name", row.input}), 0);
  EXPECT_EQ(by_line.Run({"name"}), 0);
  EXPECT_EQ(by_argument.out(), by_line.out());
  const auto line = json::Document::Parse(by_line.out(), Reason::kInternal);
  ASSERT_TRUE(line);
  const auto text = [&](std::string_view key) { return std::string(*line->root().Get(key)->AsString()); };
  EXPECT_EQ(text("input"), row.input);
  EXPECT_TRUE(*line->root().Get("ok")->AsBool());
  EXPECT_EQ(text("error"), "");
  EXPECT_EQ(text("domain"), row.domain);
  EXPECT_EQ(text("path"), row.path);
  EXPECT_EQ(text("tag"), row.tag);
  EXPECT_EQ(text("canonical"), row.canonical);
  EXPECT_EQ(text("familiar"), row.familiar);
  EXPECT_EQ(text("cri"), row.cri);
}
const std::string kE3B0 = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
INSTANTIATE_TEST_SUITE_P(
    Vectors, Names,
    ::testing::Values(NameRow{"v1", "root", "docker.io", "library/root", "latest", "docker.io/library/root:latest", "root", "root:latest"},
                      NameRow{"v2", "root:tag", "docker.io", "library/root", "tag", "docker.io/library/root:tag", "root:tag", "root:tag"},
                      NameRow{"v3", "root" + kE3B0, "docker.io", "library/root", "", "docker.io/library/root" + kE3B0, "root" + kE3B0, "root" + kE3B0},
                      NameRow{"v10", "url:5000/repo:latest" + kE3B0, "url:5000", "repo", "latest", "url:5000/repo" + kE3B0,
                              "url:5000/repo:latest" + kE3B0, "url:5000/repo:latest" + kE3B0},
                      NameRow{"v18", "localhost:5000", "docker.io", "library/localhost", "5000", "docker.io/library/localhost:5000",
                              "localhost:5000", "localhost:5000"},
                      NameRow{"v20", "LOCALHOST/foo", "LOCALHOST", "foo", "latest", "LOCALHOST/foo:latest", "LOCALHOST/foo", "LOCALHOST/foo:latest"},
                      NameRow{"v25", "[::1]:5000/a", "[::1]:5000", "a", "latest", "[::1]:5000/a:latest", "[::1]:5000/a", "[::1]:5000/a:latest"},
                      NameRow{"v29", "index.docker.io/x", "docker.io", "library/x", "latest", "docker.io/library/x:latest", "x", "index.docker.io/x:latest"},
                      NameRow{"v62", "a:999999/b", "a:999999", "b", "latest", "a:999999/b:latest", "a:999999/b", "a:999999/b:latest"}),
    [](const auto& row) { return row.param.name; });

// --timeout is about the whole command: whoever is waited for.
TEST(Timeouts, EndTheWaitingForStdin) {
  for (const Words& arguments : {Words{"name"}, Words{"lint", "-f", "-"}, Words{"apply", "-f", "-"}, Words{"admit"},
                                 Words{"secret", "create", "docker-registry", "a", "--dry-run", "--docker-username=u", "--docker-password-stdin"},
                                 Words{"creds", "test", "--username", "alice", "--password-stdin", "reg.test/a"}}) {
    const auto mute = *host::MakePipe();
    TestWorld world;
    world.stdin_fd = mute.read.get();
    std::jthread later([&] {
      world.manual.AwaitSleeps(1);
      world.manual.Advance(std::chrono::seconds(3));
    });
    Words words{"--timeout", "3s"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    EXPECT_EQ(world.Run(words), 124) << arguments[0];
    EXPECT_EQ(world.err(), "error: E-TIMEOUT not done within 3s (--timeout)\nnext: give it a longer --timeout; berth doctor shows whether berthd answers\n");
  }
}

TEST(Name, BadOnesAreLinesTooAndTheStatusSaysSo) {
  TestWorld world("good\n\nBAD\nx\r\n" + std::string(70000, 'a') + "\nlast");
  EXPECT_EQ(world.Run({"name"}), 2);
  std::vector<bool> ok;
  const std::string all = world.out();
  for (std::string_view rest = all; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1)) {
    const auto line = json::Document::Parse(rest.substr(0, rest.find('\n')), Reason::kInternal);
    ASSERT_TRUE(line);
    ok.push_back(*line->root().Get("ok")->AsBool());
    EXPECT_EQ(line->root().Get("error")->AsString()->empty(), ok.back());
  }
  EXPECT_EQ(ok, (std::vector<bool>{true, false, false, false, false, true}));
  EXPECT_EQ(world.err(), "error: E-NAME 4 of 6 texts are no image names\nnext: \"error\" in the line of each says why\n");
}

// --- the rest

TEST(Completions, KnowEveryCommandAndFlagAndAreValid) {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    TestWorld world;
    ASSERT_EQ(world.Run({"completion", shell}), 0);
    for (const char* word : {"pull", "inspecti", "rmi", "umount", "imagefsinfo", "platform", "password-stdin", "IfNotPresent", "no-trunc", "jsonl"})
      EXPECT_THAT(world.out(), HasSubstr(word)) << shell;
    EXPECT_THAT(world.out(), Not(HasSubstr("runtime-endpoint"))) << "hidden";
    if (shell != "bash") continue;
    // bash itself completes with it.
    const std::string script = world.out() + R"(
      complete_() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _berth; echo "${COMPREPLY[*]}"; }
      berth() { echo reg.test/app; }
      complete_ berth pu
      complete_ berth pull --pol
      complete_ berth pull --policy A
      complete_ berth images -o js
      complete_ berth rmi re
      complete_ berth completion f
    )";
    const auto ran = host::RunCaptured(task::Context(), {.program = "/bin/bash", .argv = {"bash", "--norc"}}, bytes::AsView(script));
    ASSERT_TRUE(ran) << ran.error().Text();
    EXPECT_EQ(ran->out, "pull\n--policy\nAlways\njson jsonl jsonpath=\nreg.test/app\nfish\n") << ran->stderr_tail;
  }
}

TEST(Secrets, LeaveTheArgumentVector) {
  std::vector<std::string> words{"berth", "pull", "--creds", "alice:hunter2", "--creds=bob:hunter3", "--auth", "aHVudGVyNA==", "--creds", "carol", "x"};
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  HideSecrets(static_cast<int>(argv.size()), argv.data());
  std::string all;
  for (const auto& word : words) all += word + "\n";
  EXPECT_THAT(all, AllOf(Not(HasSubstr("hunter")), Not(HasSubstr("aHV")), HasSubstr("alice"), HasSubstr("bob"), HasSubstr("carol")));
}

TEST(Output, ThatCannotBeWrittenIsAFailure) {
  const host::Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  World world{.out = Stream(full.get(), false), .err = Stream(-1, false), .variable = [](const char*) -> const char* { return nullptr; }};
  EXPECT_EQ(cli::Run(world, {"name", "x"}), 9);
}

// A shell or a program before us may have left the descriptor non-blocking.
TEST(Output, OfANonBlockingPipeWaitsForItsReader) {
  auto pipe = *host::MakePipe();
  ASSERT_EQ(::fcntl(pipe.write.get(), F_SETFL, O_NONBLOCK), 0);
  const std::string text(1 << 20, 'x');
  std::string got;
  {
    const std::jthread reader([&] {
      char some[4096];
      for (ssize_t n; (n = ::read(pipe.read.get(), some, sizeof some)) > 0;) got.append(some, static_cast<std::size_t>(n));
    });
    Stream stream(pipe.write.get(), false);
    stream.Write(text);
    stream.Write("end");
    EXPECT_FALSE(stream.broken()) << stream.broken()->Text();
    pipe.write = host::Fd();
  }
  EXPECT_EQ(got.size(), text.size() + 3);
  EXPECT_TRUE(got == text + "end");
}

TEST(Output, OfANonBlockingPipeEndsWithItsReader) {
  auto pipe = *host::MakePipe();
  ASSERT_EQ(::fcntl(pipe.write.get(), F_SETFL, O_NONBLOCK), 0);
  const std::string some(4096, 'x');
  while (::write(pipe.write.get(), some.data(), some.size()) > 0) {}  // until it is full
  ASSERT_EQ(errno, EAGAIN);
  std::signal(SIGPIPE, SIG_IGN);
  const std::jthread leaves([&] { pipe.read = host::Fd(); });
  Stream stream(pipe.write.get(), false);
  stream.Write("x");
  EXPECT_TRUE(stream.closed_pipe());
}

}  // namespace
}  // namespace berth::cli
