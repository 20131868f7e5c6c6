// The programs themselves: arguments, stdin to stdout, exit status, and what stderr may hold.
#include "cloud/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <ostream>

#include "cloud/testing/fake_world.h"
#include "host/fd.h"
#include "host/process.h"
#include "result/testing/dirs.h"
#include "time/testing/manual_clock.h"

namespace berth::cloud {
namespace {

using http::testing::FaultServer;
using http::testing::Reply;
using http::testing::ServerRequest;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing::FakeWorld;

std::string RequestText(std::string_view image, std::string_view version = "v1", std::string_view more = "") {
  return R"({"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/)" + std::string(version) + R"(","image":")" +
         std::string(image) + "\"" + std::string(more) + "}\n";
}

struct Arguments { std::string name; std::vector<const char*> given; std::string outcome; };
void PrintTo(const Arguments& a, std::ostream* out) { *out << a.name; }
class ArgumentRows : public ::testing::TestWithParam<Arguments> {};

TEST_P(ArgumentRows, SetOptionsOrAreRefused) {
  std::string scope, file;
  const Program program{.name = "p", .summary = "s", .options = {{"--scope", &scope, "h"}, {"", &file, "h"}}, .login = nullptr};
  const auto got = ParseArguments(program, GetParam().given);
  EXPECT_EQ(got ? "scope=" + scope + " file=" + file + (*got ? " verbose" : "") : got.error().Text(), GetParam().outcome);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ArgumentRows,
    ::testing::Values(Arguments{"none", {}, "scope= file="}, Arguments{"option", {"--scope=a=b"}, "scope=a=b file="}, Arguments{"empty", {"--scope="}, "scope= file="},
                      Arguments{"file and -v", {"-v", "/etc/azure.json"}, "scope= file=/etc/azure.json verbose"},
                      Arguments{"no value", {"--scope"}, "--scope wants a value: --scope=VALUE"},
                      Arguments{"unknown", {"--password=canary"}, "unknown option \"--password\""}));

TEST(Arguments, WithoutAFileAreRefusedWhenThereIsOne) {
  const char* const given[] = {"canary"};
  const auto got = ParseArguments({.name = "p", .summary = "s", .options = {}, .login = nullptr}, given);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().Text(), "an argument too many");
}

// ---- stdin

TEST(Stdin, IsReadToItsEnd) {
  auto pipe = host::MakePipe();
  ASSERT_TRUE(pipe);
  ASSERT_TRUE(host::WriteAll(pipe->write.get(), bytes::AsView("one ")));
  ASSERT_TRUE(host::WriteAll(pipe->write.get(), bytes::AsView("two\n")));
  pipe->write.reset();
  const auto got = ReadRequest({}, pipe->read.get());
  ASSERT_TRUE(got) << got.error().Text();
  EXPECT_EQ(got->Reveal(), "one two\n");
}

TEST(Stdin, ThatStaysOpenIsGivenUp) {
  const auto pipe = host::MakePipe();
  ASSERT_TRUE(pipe);
  const time::testing::ManualClock clock;
  const auto ctx = task::Context(std::stop_token(), clock).WithTimeout(std::chrono::seconds(0));
  const auto got = ReadRequest(ctx, pipe->read.get());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().reason(), Reason::kTimeout);
}

// ---- the three programs

struct Ran { int status = 0; std::string out, err; };

class Programs : public ::testing::Test {
 protected:
  Ran Run(const std::string& name, std::string_view input, std::vector<std::string> env, std::vector<std::string> arguments = {}) {
    host::ProcessSpec spec;
    spec.program = std::string(berth::result::testing::kBinaryDir) + "/src/apps/" + name + "/" + name;
    spec.argv = {name};
    spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
    spec.env = std::move(env);
    const auto got = host::RunCaptured(task::Context().WithTimeout(std::chrono::seconds(60)), spec, bytes::AsView(input));
    if (!got) return {-1, "", got.error().Text()};
    return {got->status.code, got->out, got->stderr_tail};
  }

  Reply Answer(const ServerRequest& r) {
    if (broken_) return Reply::Text(403, "canary");
    if (r.target.ends_with("/scopes")) return Reply::Text(200, "https://www.googleapis.com/auth/cloud-platform\n", {{"Metadata-Flavor", "Google"}});
    if (r.target.ends_with("/default/token")) return Reply::Json(200, R"({"access_token":"canary-token","expires_in":3600})", {{"Metadata-Flavor", "Google"}});
    if (r.target.starts_with("/metadata/identity/")) return Reply::Json(200, R"({"access_token":"canary-entra","expires_in":"86399"})");
    if (r.target == "/oauth2/exchange") return Reply::Json(200, R"({"refresh_token":"canary-token"})");
    return Reply::Json(200, R"({"authorizationData":[{"authorizationToken":"QVdTOmNhbmFyeS10b2tlbg==","expiresAt":1}]})");
  }

  std::atomic<bool> broken_ = false;
  FaultServer server_{[this](const ServerRequest& r) { return Answer(r); }};
};

struct Case { std::string program, image, user, patterns; };
void PrintTo(const Case& c, std::ostream* out) { *out << c.program; }
class EachProgram : public Programs, public ::testing::WithParamInterface<Case> {
 protected:
  std::vector<std::string> Env() const {
    return {"AWS_ENDPOINT_URL_ECR=" + server_.url("/"), "AWS_ACCESS_KEY_ID=AKIA", "AWS_SECRET_ACCESS_KEY=canary-secret", "GCE_METADATA_HOST=" + server_.host_port(),
            "AZURE_POD_IDENTITY_AUTHORITY_HOST=" + server_.url(""), "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1"};
  }
  std::vector<std::string> Args() const {
    return GetParam().program == "berth-credential-acr" ? std::vector<std::string>{"--registry-endpoint=" + server_.url("")} : std::vector<std::string>();
  }
};

TEST_P(EachProgram, AnswersInKind) {
  for (const std::string version : {"v1", "v1beta1", "v1alpha1"}) {
    const Ran ran = Run(GetParam().program, RequestText(GetParam().image, version), Env(), Args());
    EXPECT_EQ(ran.status, 0) << ran.err;
    EXPECT_THAT(ran.out, AllOf(HasSubstr(R"("apiVersion":"credentialprovider.kubelet.k8s.io/)" + version + "\""), HasSubstr(GetParam().patterns),
                               HasSubstr(R"({"username":")" + GetParam().user + R"(","password":"canary-token"})")));
    EXPECT_THAT(ran.err, IsEmpty());
  }
}

TEST_P(EachProgram, SaysEachStepAndNoSecretWhenAsked) {
  std::vector<std::string> arguments = Args();
  arguments.push_back("-v");
  const Ran ran = Run(GetParam().program, RequestText(GetParam().image, "v1"), Env(), arguments);
  EXPECT_EQ(ran.status, 0);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("login made"), Not(HasSubstr("canary"))));
}

TEST_P(EachProgram, FailsWithOneLineAndNoAnswer) {
  broken_ = true;
  const Ran ran = Run(GetParam().program, RequestText(GetParam().image), Env(), Args());
  EXPECT_EQ(ran.status, 1);
  EXPECT_THAT(ran.out, IsEmpty());
  EXPECT_THAT(ran.err, AllOf(HasSubstr("no credentials"), Not(HasSubstr("canary"))));
  EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
}

TEST_P(EachProgram, RefusesWhatIsNoRequest) {
  for (const std::string& input : {std::string(), std::string("canary"), RequestText(GetParam().image, "v2"), std::string((1u << 20) + 1, ' '),
                                   RequestText("docker.io/library/redis", "v1", R"(,"serviceAccountToken":"canary")")}) {
    const Ran ran = Run(GetParam().program, input, Env(), Args());
    EXPECT_EQ(ran.status, 1);
    EXPECT_THAT(ran.out, IsEmpty());
    EXPECT_THAT(ran.err, AllOf(Not(IsEmpty()), Not(HasSubstr("canary"))));
  }
  EXPECT_THAT(server_.requests(), SizeIs(0));
}

TEST_P(EachProgram, KnowsHelpVersionAndBadArguments) {
  EXPECT_THAT(Run(GetParam().program, "", {}, {"--help"}).out, AllOf(HasSubstr(GetParam().program + ": "), HasSubstr("-v\n")));
  EXPECT_EQ(Run(GetParam().program, "", {}, {"--version"}).out, GetParam().program + " " BERTH_VERSION "\n");
  const Ran ran = Run(GetParam().program, "", {}, {"--password=canary"});
  EXPECT_EQ(ran.status, 64);
  EXPECT_THAT(ran.err, AllOf(HasSubstr("unknown option"), Not(HasSubstr("canary"))));
}

INSTANTIATE_TEST_SUITE_P(
    All, EachProgram,
    ::testing::Values(Case{"berth-credential-ecr", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app", "AWS", R"("cacheKeyType":"Registry","cacheDuration":"0s")"},
                      Case{"berth-credential-gcr", "eu.gcr.io/project/app", "oauth2accesstoken", R"("cacheKeyType":"Global")"},
                      Case{"berth-credential-acr", "team.azurecr.io/app", "00000000-0000-0000-0000-000000000000", R"("auth":{"team.azurecr.io":)"}));

}  // namespace
}  // namespace berth::cloud
