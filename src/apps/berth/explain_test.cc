// explain, probe, creds and lint: what is asked of the daemon, what is printed, and which exit status.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "apps/berth/testing/fake_berthd.h"
#include "apps/berth/testing/test_world.h"
#include "berth/v1/explain.grpc.pb.h"
#include "berth/v1/node.grpc.pb.h"
#include "json/document.h"

namespace berth::cli {
namespace {

namespace v1 = berth::v1;
using testing::TestWorld;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using Words = std::vector<std::string>;

// A service of berthd's on a socket in a folder of its own.
class Served {
 public:
  explicit Served(grpc::Service& service) {
    char folder[] = "/tmp/berth-explain-XXXXXX";
    folder_ = mkdtemp(folder);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket(), grpc::InsecureServerCredentials());
    builder.RegisterService(&service);
    server_ = builder.BuildAndStart();
  }
  ~Served() {
    server_->Shutdown(std::chrono::system_clock::now());
    std::filesystem::remove_all(folder_);
  }
  std::string socket() const { return folder_ + "/s"; }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::unique_ptr<grpc::Server> server_;
};

// Answers with what it is given; keeps what it was asked.
class FakeExplain final : public v1::Explain::Service {
 public:
  std::string socket() const { return served_.socket(); }
  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(folder() + "/" + name) << text;
    return folder() + "/" + name;
  }
  const std::string& folder() const { return served_.folder(); }
  static v1::Report Report(const std::string& code, int status, const std::string& text = "reg.test/a\nCANNOT PULL  x\n\nNEXT  do\n") {
    v1::Report report;
    report.set_json(R"({"verdict":{"code":")" + code + R"("}})");
    report.set_text(text);
    report.set_code(code);
    report.set_exit_status(status);
    return report;
  }
  std::vector<v1::Report> answers;
  v1::ExplainRequest asked;
  v1::ProbeRequest probed;

 private:
  grpc::Status Explain(grpc::ServerContext* c, const v1::ExplainRequest* q, grpc::ServerWriter<v1::Report>* w) override {
    asked = *q;
    if (q->objects() == "a: [\n") return testing::Failed(*c, "E-USAGE", q->file() + ":1: bad", "", 2);
    for (const auto& answer : answers) w->Write(answer);
    return grpc::Status::OK;
  }
  grpc::Status Probe(grpc::ServerContext*, const v1::ProbeRequest* q, grpc::ServerWriter<v1::Report>* w) override {
    probed = *q;
    for (const auto& answer : answers) w->Write(answer);
    return grpc::Status::OK;
  }
  Served served_{*this};
};

// A node where nothing is.
class EmptyNode final : public v1::Node::Service {
 public:
  std::string socket() const { return served_.socket(); }

 private:
  static grpc::Status Gone(grpc::ServerContext* c, const std::string& kind) {
    return testing::Failed(*c, "E-MANIFEST-404", kind + " \"web\" not found", "", 3);
  }
  grpc::Status GetObject(grpc::ServerContext* c, const v1::ObjectName* q, v1::ObjectAnswer*) override { return Gone(c, q->kind()); }
  grpc::Status DeleteObject(grpc::ServerContext* c, const v1::DeleteRequest* q, v1::ObjectAnswer*) override { return Gone(c, q->kind()); }
  grpc::Status Logs(grpc::ServerContext* c, const v1::LogsRequest*, grpc::ServerWriter<v1::LogChunk>*) override { return Gone(c, "Pod"); }
  Served served_{*this};
};

struct Lost { Words words; std::string next; };
TEST(Objects, ThatAreNotThereAreLookedForNext) {
  const EmptyNode node;
  for (const auto& [words, next] : {Lost{{"get", "pod", "web"}, "berth get pods -A lists what is there"}, Lost{{"describe", "secret/web"}, "berth get secrets -A lists what is there"},
                                    Lost{{"delete", "pod", "web"}, "berth get pods -A lists what is there"}, Lost{{"get", "ns", "web"}, "berth get namespaces lists what is there"},
                                    Lost{{"logs", "web"}, "berth get pods -A lists what is there"}, Lost{{"logs", "web", "app"}, "berth get pods -A lists what is there"}}) {
    TestWorld world;
    Words all{"-s", node.socket()};
    all.insert(all.end(), words.begin(), words.end());
    EXPECT_EQ(world.Run(all), 3);
    EXPECT_THAT(world.err(), ::testing::EndsWith("\nnext: " + next + "\n"));
  }
}

// The answer of a daemon that could not read the file, and our own.
TEST(Files, ThatCannotBeUsedHaveANextStep) {
  const FakeExplain daemon;
  std::filesystem::create_directory(daemon.folder() + "/empty");
  const std::string bad = daemon.File("bad.yaml", "a: [\n");
  for (const Words& words : {Words{"apply", "-f", "/no/such"}, Words{"explain", "-f", "/no/such"}, Words{"lint", "-f", "/no/such"}, Words{"lint", "-f", daemon.folder() + "/empty"},
                             Words{"apply", "-f", bad}, Words{"explain", "-f", bad}, Words{"lint", "-f", bad}, Words{"admit", "-f", bad},
                             Words{"apply", "-f", daemon.File("none.yaml", "")}}) {
    TestWorld world;
    Words all{"-s", daemon.socket()};
    all.insert(all.end(), words.begin(), words.end());
    EXPECT_EQ(world.Run(all), 2);
    EXPECT_THAT(world.err(), HasSubstr("\nnext: ")) << words[0] << " " << words[2];
  }
}

class ExplainVerbs : public ::testing::Test {
 protected:
  int Run(Words words, const std::string& input = "") {
    world_ = std::make_unique<TestWorld>(input);
    world_->variables["BERTH_SOCKET"] = daemon_.socket();
    world_->variables["HOME"] = daemon_.folder();
    for (const auto& [name, value] : variables_) world_->variables[name] = value;
    world_->directory = daemon_.folder();
    world_->out_terminal = terminal_;
    return world_->Run(words);
  }
  std::string out() const { return world_->out(); }
  std::string err() const { return world_->err(); }
  FakeExplain daemon_;
  std::unique_ptr<TestWorld> world_;
  std::map<std::string, std::string> variables_;
  bool terminal_ = false;
};

TEST_F(ExplainVerbs, AReportIsDataAndItsVerdictTheStatus) {
  daemon_.answers = {FakeExplain::Report("E-AUTH-401", 4)};
  EXPECT_EQ(Run({"explain", "reg.test/a:1", "--policy", "Always"}), 4);
  EXPECT_EQ(out(), "reg.test/a\nCANNOT PULL  x\n\nNEXT  do\n");
  EXPECT_THAT(err(), IsEmpty());
  EXPECT_EQ(daemon_.asked.image(), "reg.test/a:1");
  EXPECT_EQ(daemon_.asked.policy(), "Always");
  EXPECT_TRUE(daemon_.asked.node_credentials());
  EXPECT_EQ(daemon_.asked.credentials_size(), 0);
}

TEST_F(ExplainVerbs, ColoursOnATerminalOnly) {
  daemon_.answers = {FakeExplain::Report("E-AUTH-401", 4)};
  terminal_ = true;
  Run({"explain", "reg.test/a:1"});
  EXPECT_THAT(out(), AllOf(HasSubstr("\x1b[31mCANNOT PULL\x1b[0m  x"), HasSubstr("\x1b[1mNEXT\x1b[0m  do")));
}

TEST_F(ExplainVerbs, TextOfTheDaemonMovesNoCursor) {
  daemon_.answers = {FakeExplain::Report("", 0, "a\x1b[2J\nb\n")};
  EXPECT_EQ(Run({"explain", "a"}), 0);
  EXPECT_EQ(out(), "a\\x1b[2J\nb\n");
}

TEST_F(ExplainVerbs, PodsAndFiles) {
  daemon_.answers = {FakeExplain::Report("E-PLATFORM", 7), FakeExplain::Report("E-DNS", 5)};
  EXPECT_EQ(Run({"explain", "pod/web", "-n", "shop", "-o", "json"}), 5);  // what a person should act on first
  EXPECT_EQ(daemon_.asked.pod(), "web");
  EXPECT_EQ(daemon_.asked.namespace_(), "shop");
  const auto list = json::Document::Parse(out(), Reason::kInternal);
  ASSERT_TRUE(list) << out();
  EXPECT_EQ(list->root().size(), 2u);
  Run({"explain", "pod", "web"});
  EXPECT_EQ(daemon_.asked.pod(), "web");
  const std::string file = daemon_.File("pod.yaml", "kind: Pod\n");
  Run({"explain", "-f", file, "-o", "jsonl"});
  EXPECT_EQ(daemon_.asked.objects(), "kind: Pod\n");
  EXPECT_EQ(daemon_.asked.file(), file);
  EXPECT_EQ(std::ranges::count(out(), '\n'), 2);
  Run({"explain", "-f", "-", "--admission", "AlwaysPullImages,digest"}, "kind: Deployment\n");
  EXPECT_EQ(daemon_.asked.objects(), "kind: Deployment\n");
  EXPECT_EQ(daemon_.asked.admission_size(), 2);
}

TEST_F(ExplainVerbs, LastAsksTheJournal) {
  daemon_.answers = {FakeExplain::Report("", 0)};
  EXPECT_EQ(Run({"explain", "--last", "reg.test/a:1"}), 0);
  EXPECT_TRUE(daemon_.asked.last());
}

TEST_F(ExplainVerbs, CredentialsOfTheCommandLineStandAlone) {
  daemon_.answers = {FakeExplain::Report("", 0)};
  EXPECT_EQ(Run({"explain", "reg.test/a:1", "--creds", "alice", "--password-stdin"}, "pass-canary\n"), 0);
  ASSERT_EQ(daemon_.asked.credentials_size(), 1);
  EXPECT_EQ(daemon_.asked.credentials(0).password(), "pass-canary");
  EXPECT_FALSE(daemon_.asked.node_credentials());
  EXPECT_THAT(out() + err(), Not(HasSubstr("canary")));
  EXPECT_EQ(Run({"creds", "test", "--username", "alice", "--password-stdin", "reg.test/a:1"}, "pass-canary\n"), 0);
  EXPECT_EQ(daemon_.asked.credentials(0).username(), "alice");
  EXPECT_EQ(daemon_.asked.policy(), "Always");
  EXPECT_THAT(out() + err(), Not(HasSubstr("canary")));
}

TEST_F(ExplainVerbs, TestingASecretIsAskingForAPodThatListsIt) {
  daemon_.answers = {FakeExplain::Report("", 0)};
  EXPECT_EQ(Run({"creds", "test", "regcred", "reg.test/a:1", "-n", "shop"}), 0);
  const auto pod = json::Document::Parse(daemon_.asked.objects(), Reason::kInternal);
  ASSERT_TRUE(pod);
  EXPECT_EQ(*pod->root().Find("metadata")->Find("namespace")->AsString(), "shop");
  EXPECT_EQ(*pod->root().Find("spec")->Find("imagePullSecrets")->at(0).Find("name")->AsString(), "regcred");
}

TEST_F(ExplainVerbs, Probe) {
  daemon_.answers = {FakeExplain::Report("E-TLS-CA", 6)};
  EXPECT_EQ(Run({"probe", "reg.test:5000"}), 6);
  EXPECT_EQ(daemon_.probed.target(), "reg.test:5000");
}

// ---- without a daemon

const std::string kConfig = R"({
  "auths": {
    "reg.test": {"username": "alice", "password": "pass-canary"},
    "*reg.test": {"username": "bob", "password": "pass-canary"},
    "reg.test:5000": {"auth": "Y2FyOnBhc3MtY2FuYXJ5"}
  }
})";

TEST_F(ExplainVerbs, CredsMatchShowsWhichEntriesAndWhy) {
  const std::string file = daemon_.File("config.json", kConfig);
  EXPECT_EQ(Run({"creds", "match", "reg.test/team/app", "--config", file}), 0);
  EXPECT_THAT(out(), AllOf(::testing::ContainsRegex("#1 +reg.test +alice #[0-9a-f]+"), ::testing::ContainsRegex("#2 +\\*reg.test +bob"),
                           ::testing::ContainsRegex("no +reg.test:5000 .*port: entry has 5000, image has none"), Not(HasSubstr("canary"))));
  EXPECT_EQ(Run({"creds", "match", "other.test/app", "--config", file, "-o", "json"}), 1);
  const auto answer = json::Document::Parse(out(), Reason::kInternal);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(*answer->root().Find("matches")->AsBool());
  EXPECT_EQ(answer->root().Find("entries")->size(), 3u);
  EXPECT_EQ(*answer->root().Find("profile")->AsString(), "Documented");
  // The file that a pull would read.
  variables_["REGISTRY_AUTH_FILE"] = file;
  EXPECT_EQ(Run({"creds", "match", "reg.test/team/app"}), 0) << err();
  EXPECT_EQ(Run({"creds", "lint"}), 20) << err();
  variables_["REGISTRY_AUTH_FILE"] = "/no/such/file";
  EXPECT_EQ(Run({"creds", "match", "reg.test/team/app", "--authfile", file}), 0) << err();
  EXPECT_EQ(Run({"creds", "match", "reg.test/team/app", "--authfile", file, "--config", file}), 2);
  EXPECT_EQ(Run({"creds", "match", "reg.test/team/app"}), 2);
}

struct PageRow { std::string image; bool documented, kubelet; };
class PageNames : public ExplainVerbs, public ::testing::WithParamInterface<PageRow> {};
// The concept page's five names, and the one of another owner.
TEST_P(PageNames, MatchByProfile) {
  const std::string file = daemon_.File("config.json", R"({"auths":{"*my-registry.io/images":{"username":"a","password":"b"}}})");
  EXPECT_EQ(Run({"creds", "match", GetParam().image, "--config", file}), GetParam().documented ? 0 : 1) << out();
  EXPECT_EQ(Run({"creds", "match", GetParam().image, "--config", file, "--profile", "Kubelet"}), GetParam().kubelet ? 0 : 1) << out();
  if (GetParam().documented != GetParam().kubelet) {
    EXPECT_THAT(out(), HasSubstr("the other profile uses it"));
  }
}
INSTANTIATE_TEST_SUITE_P(Page, PageNames,
                         ::testing::Values(PageRow{"my-registry.io/images", true, true}, PageRow{"my-registry.io/images/my-image", true, true},
                                           PageRow{"my-registry.io/images/another-image", true, true}, PageRow{"sub.my-registry.io/images/my-image", true, false},
                                           PageRow{"a.sub.my-registry.io/images/my-image", true, false}, PageRow{"xmy-registry.io/images/a", true, true},
                                           PageRow{"my-registry.io/other/a", false, false}));

TEST_F(ExplainVerbs, CredsLintHasLinesAndStatuses) {
  const std::string file = daemon_.File("config.json", kConfig);
  EXPECT_EQ(Run({"creds", "lint", file}), 20);
  EXPECT_THAT(out(), AllOf(HasSubstr("config.json:4"), HasSubstr(R"(auths["*reg.test"])"), HasSubstr("1 warning, 0 errors\n"), Not(HasSubstr("canary"))));
  EXPECT_EQ(Run({"creds", "lint", daemon_.File("bad.json", R"({"auths":{},"credsStore":"desktop"})"), "-o", "json"}), 21);
  EXPECT_EQ(Run({"creds", "lint", daemon_.File("good.json", R"({"auths":{"reg.test":{"username":"a","password":"b"}}})")}), 0);
  EXPECT_EQ(Run({"creds", "lint", "/no/such/file"}), 2);
}

TEST_F(ExplainVerbs, LintReadsObjects) {
  const std::string pod = daemon_.File("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: a, image: app}]\n");
  EXPECT_EQ(Run({"lint", "-f", pod}), 20);
  EXPECT_THAT(out(), AllOf(HasSubstr("pod.yaml:5"), HasSubstr("[no-tag]")));
  EXPECT_EQ(Run({"lint", "-f", pod, "-o", "json"}), 20);
  EXPECT_TRUE(json::Document::Parse(out(), Reason::kInternal));
  EXPECT_EQ(Run({"lint", "-f", daemon_.File("no.yaml", "kind: [")}), 2);
}

TEST_F(ExplainVerbs, OneImageAtATimeIsWhatTheHelpSays) {
  EXPECT_EQ(Run({"explain", "--help"}), 0);
  EXPECT_THAT(out(), AllOf(HasSubstr("explain [OPTIONS] [IMAGE]\n"), Not(HasSubstr("IMAGE..."))));
  EXPECT_THAT(out(), HasSubstr("\n  IMAGE                       an image, or pod/NAME\n"));
  for (const Words& words : {Words{"explain", "a", "b"}, Words{"explain", "a", "b", "c"}}) {
    EXPECT_EQ(Run(words), 2);
    EXPECT_THAT(err(), HasSubstr("error: E-USAGE explain takes one image: explain IMAGE, explain pod/NAME [-n NAMESPACE], or explain -f FILE\n"));
  }
}

struct Misuse { std::string name; Words words; };
class ExplainMisuse : public ExplainVerbs, public ::testing::WithParamInterface<Misuse> {};
TEST_P(ExplainMisuse, IsStatus2) {
  EXPECT_EQ(Run(GetParam().words), 2) << out() << err();
  EXPECT_THAT(err(), StartsWith("error: E-"));
}
INSTANTIATE_TEST_SUITE_P(Words, ExplainMisuse,
                         ::testing::Values(Misuse{"nothing", {"explain"}}, Misuse{"two", {"explain", "a", "b"}}, Misuse{"file_and_image", {"explain", "-f", "x", "a"}},
                                           Misuse{"pod_with_policy", {"explain", "pod/a", "--policy", "Never"}}, Misuse{"probe", {"probe"}}, Misuse{"creds", {"creds"}},
                                           Misuse{"creds_what", {"creds", "show"}}, Misuse{"match", {"creds", "match"}}, Misuse{"test", {"creds", "test", "a"}},
                                           Misuse{"lint", {"lint"}}, Misuse{"profile", {"lint", "-f", "x", "--profile", "Both"}},
                                           Misuse{"stdin_without_user", {"explain", "a", "--password-stdin"}}),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace berth::cli
