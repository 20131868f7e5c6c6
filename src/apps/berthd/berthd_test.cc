#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <map>

#include "apps/berthd/probe.h"
#include "berth/v1/berth.grpc.pb.h"
#include "config/daemon_config.h"
#include "host/listen.h"
#include "host/process.h"
#include "reclaim/testing/stores.h"
#include "registry/testing/fake_registry.h"
#include "result/testing/dirs.h"
#include "runtime/v1/api.grpc.pb.h"

namespace berth::berthd {
namespace {

std::string Program() { return berth::result::testing::kBinaryDir + std::string("/src/apps/berthd/berthd"); }

using ::testing::HasSubstr;
using ::testing::Not;
using http::testing::Gate;
using http::testing::Reply;
using http::testing::ServerRequest;
using reclaim::testing::Folder;
using reclaim::testing::Tar;
using registry::testing::FakeRegistry;

const std::string kBig = Tar("big", std::string(3'000'000, 'b'));
constexpr auto kPatience = std::chrono::seconds(60);

task::Context Patience() { return task::Context().WithTimeout(kPatience); }

std::string Read(const std::string& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// The service manager's side of NOTIFY_SOCKET.
class Manager {
 public:
  explicit Manager(const std::string& path) : path_(path), socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval patience{60, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~Manager() { ::unlink(path_.c_str()); }
  // The next one, but for STATUS=.
  std::string Next() {
    for (;;) {
      std::string text = NextOfAll();
      if (!text.starts_with("STATUS=")) return text;
    }
  }
  std::string NextOfAll() {
    char text[256];
    const ssize_t length = ::recv(socket_.get(), text, sizeof text, 0);
    return length > 0 ? std::string(text, static_cast<std::size_t>(length)) : "nothing";
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  host::Fd socket_;
};

class BerthdTest : public ::testing::Test {
 protected:
  BerthdTest() {
    ::grpc_init();  // stays: its shutdown with the last channel of each test may take seconds (1.51)
    WriteConfig("");
  }
  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }
  void WriteConfig(const std::string& more) {
    std::ofstream(Path("config.yaml"), std::ios::trunc)
        << "apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\nroot: " << Path("store") << "\nrunDir: " << Path("run") << "\nsocket: "
        << Path("run/berth.sock") << "\nworker: " << reclaim::testing::WorkerPath() << "\nhostsDirs: []\nlisten.http: [\"unix://" << Path("run/ops.sock") << "\"]\nplainHttp: [\"127.0.0.1\"]\nretry.base: 1ms\n"
        << more;
  }
  host::ProcessSpec Spec(std::vector<std::string> arguments = {}, std::vector<std::string> env = {}) {
    errors_ = host::Fd(::open(Path("stderr").c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    host::ProcessSpec spec{.program = Program(), .argv = {"berthd", "--config", Path("config.yaml")}, .env = std::move(env)};
    for (auto& argument : arguments) spec.argv.push_back(std::move(argument));
    if (!within_.empty()) {
      spec.argv[0] = Program();
      spec.argv.insert(spec.argv.begin(), within_.begin(), within_.end());
      spec.program = within_[0];
    }
    spec.fds = {{1, errors_.get()}, {2, errors_.get()}};
    spec.die_with_thread = true;
    return spec;
  }
  std::string Errors() const { return Read(Path("stderr")); }
  std::vector<std::string> within_;  // a program that starts it, and its arguments

  // Until it is ready.
  host::Process Start(std::vector<std::string> env = {}) {
    Manager manager(Path("notify"));
    env.push_back("NOTIFY_SOCKET=" + manager.path());
    auto process = host::Process::Spawn(Spec({}, std::move(env)));
    EXPECT_TRUE(process) << process.error().Text();
    EXPECT_EQ(manager.Next(), "READY=1") << Errors();
    return *std::move(process);
  }
  // What one that cannot start says, and its exit status.
  int Fails(std::vector<std::string> arguments = {}) {
    auto process = host::Process::Spawn(Spec(std::move(arguments)));
    const auto status = process->Wait(Patience());
    EXPECT_TRUE(status && !status->signalled);
    return status ? status->code : -1;
  }
  std::string Stop(host::Process& process, int signal = SIGTERM) {
    EXPECT_TRUE(process.Kill(signal));
    const auto status = process.Wait(Patience());
    return status ? status->Text() : status.error().Text();
  }
  std::unique_ptr<v1::Berth::Stub> Connect() { return v1::Berth::NewStub(Channel()); }
  std::shared_ptr<grpc::Channel> Channel() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel("unix:" + Path("run/berth.sock"), grpc::InsecureChannelCredentials(), arguments);
  }
  v1::PullRequest Ask() {
    v1::PullRequest request;
    request.set_image(registry_.host() + "/app:1");
    request.add_platforms("linux/amd64");
    return request;
  }
  std::pair<grpc::Status, v1::Pulled> Pull() {
    grpc::ClientContext context;
    const auto stub = Connect();
    const auto reader = stub->Pull(&context, Ask());
    v1::PullEvent event;
    while (reader->Read(&event)) {}
    return {reader->Finish(), event.pulled()};
  }
  // A pull that hangs in the middle of its layer, with the larger part of it there.
  void HangThePull() {
    image_ = registry_.PutImage("app", "1", {kBig});
    const auto never = std::make_shared<Gate>();
    registry_.On("GET /v2/app/blobs/" + image_.layers[0].digest.ToString(), [never](const ServerRequest&) {
      return Reply::Head(200, kBig.size()).Send(kBig.substr(0, 2'000'000)).WaitFor(never);
    }, 1);
    stub_ = Connect();
    context_ = std::make_unique<grpc::ClientContext>();
    reader_ = stub_->Pull(context_.get(), Ask());
    v1::PullEvent event;
    while (reader_->Read(&event))
      if (event.layers_size() == 1 && event.layers(0).current() > 1'000'000) return;
    FAIL() << reader_->Finish().error_message();
  }
  grpc::Status EndOfThePull() {
    v1::PullEvent event;
    while (reader_->Read(&event)) {}
    return reader_->Finish();
  }

  Folder folder_;
  FakeRegistry registry_;
  FakeRegistry::Image image_;
  host::Fd errors_;
  std::unique_ptr<v1::Berth::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReader<v1::PullEvent>> reader_;
};

TEST_F(BerthdTest, ServesAndEndsWithoutTraces) {
  auto daemon = Start();
  struct stat st {};
  ASSERT_EQ(::stat(Path("store").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  registry_.PutImage("app", "1", {kBig});
  const auto [status, pulled] = Pull();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(pulled.images_size(), 1);
  EXPECT_EQ(Stop(daemon), "exit status 0");
  EXPECT_FALSE(std::filesystem::exists(Path("run/berth.sock")));
  for (const char* folder : {"store/tmp", "store/ingest"}) EXPECT_TRUE(std::filesystem::is_empty(Path(folder))) << folder;
  EXPECT_THAT(Errors(), HasSubstr("image pulled"));
}

TEST_F(BerthdTest, OneForAStoreAndOneForASocket) {  // E-23
  auto daemon = Start();
  EXPECT_EQ(Fails(), 1);
  EXPECT_THAT(Errors(), HasSubstr("E-CONFLICT " + Path("store") + ": another berthd uses this store"));
  EXPECT_EQ(Fails({"--set", "root=" + Path("other")}), 1);
  EXPECT_THAT(Errors(), HasSubstr("another berthd serves the socket"));
  registry_.PutImage("app", "1", {kBig});
  EXPECT_TRUE(Pull().first.ok()) << "the first is as it was";
}

TEST_F(BerthdTest, AStopInTheMiddleOfAPullIsOrderlyAndThePullIsResumed) {  // E-05
  {
    auto daemon = Start();
    HangThePull();
    ASSERT_TRUE(daemon.Kill(SIGTERM));
    EXPECT_EQ(EndOfThePull().error_code(), grpc::StatusCode::UNAVAILABLE);
    reader_.reset();
    stub_.reset();  // a client that idles with its connection open uses up the grace
    const auto status = daemon.Wait(Patience());
    ASSERT_TRUE(status);
    EXPECT_EQ(status->Text(), "exit status 0") << Errors();
  }
  auto daemon = Start();
  const auto [status, pulled] = Pull();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GT(pulled.bytes_resumed(), 1'000'000u);
  EXPECT_EQ(pulled.bytes_resumed() + pulled.bytes_fetched(), kBig.size());
}

TEST_F(BerthdTest, AKillInTheMiddleOfAPullToo) {
  {
    auto daemon = Start();
    HangThePull();
    EXPECT_EQ(Stop(daemon, SIGKILL), "killed by signal 9");
    EXPECT_FALSE(EndOfThePull().ok());
    EXPECT_TRUE(std::filesystem::exists(Path("run/berth.sock"))) << "stale now";
  }
  auto daemon = Start();
  EXPECT_THAT(Errors(), HasSubstr("interrupted_pulls=1"));
  EXPECT_TRUE(std::filesystem::is_empty(Path("store/tmp"))) << "what the worker had written";
  const auto [status, pulled] = Pull();
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_GT(pulled.bytes_resumed(), 1'000'000u);
}

TEST_F(BerthdTest, TellsTheServiceManagerHowItIs) {
  Manager manager(Path("notify"));
  auto daemon = *host::Process::Spawn(Spec({}, {"NOTIFY_SOCKET=" + manager.path(), "WATCHDOG_USEC=20000"}));
  bool ready = false, fed = false;
  std::string said, status;  // a status is said once, before or after the others
  while (!ready || !fed || status.empty()) {
    said = manager.NextOfAll();
    ASSERT_NE(said, "nothing") << Errors();
    ready = ready || said == "READY=1";
    fed = fed || said == "WATCHDOG=1";
    if (said.starts_with("STATUS=")) status = said;
  }
  EXPECT_THAT(status, HasSubstr("STATUS=0 pulls, 0 waiting, disk "));
  ASSERT_TRUE(daemon.Kill(SIGTERM));
  while ((said = manager.Next()) == "WATCHDOG=1") {}
  EXPECT_EQ(said, "STOPPING=1");
  EXPECT_TRUE(daemon.Wait(Patience())->success());
}

// One request over the Unix socket; status line, fields and body.
std::string Fetch(const std::string& path, const std::string& target) {
  const host::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return "no connection";
  const std::string request = "GET " + target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
  EXPECT_TRUE(host::WriteAll(fd.get(), bytes::AsView(request)));
  std::string all, room(4096, '\0');
  for (;;) {
    const auto got = host::ReadSome(fd.get(), std::as_writable_bytes(std::span(room)));
    if (!got || *got == 0) return all;
    all.append(room, 0, *got);
  }
}

TEST_F(BerthdTest, CountsWhatItDoesAndSaysHowItIs) {
  auto daemon = Start();
  registry_.PutImage("app", "1", {kBig});
  ASSERT_TRUE(Pull().first.ok());
  ASSERT_TRUE(Pull().first.ok());
  const auto cri = ::runtime::v1::ImageService::NewStub(Channel());
  ::runtime::v1::ListImagesResponse list;
  ::runtime::v1::ImageStatusResponse answer;
  grpc::ClientContext asks, errs;
  EXPECT_TRUE(cri->ListImages(&asks, {}, &list).ok());
  EXPECT_FALSE(cri->ImageStatus(&errs, {}, &answer).ok());
  const std::string pages = Path("run/ops.sock");
  const std::string text = Fetch(pages, "/metrics");
  EXPECT_THAT(text, ::testing::StartsWith("HTTP/1.1 200 OK\r\n"));
  for (const std::string& line :
       {"\nberth_pulls_total{reason=\"\",registry=\"" + registry_.host() + "\",result=\"pulled\"} 1\n",
        "\nberth_pulls_total{reason=\"\",registry=\"" + registry_.host() + "\",result=\"present\"} 1\n", std::string("\nberth_layers_unpacked_total 1\n"),
        std::string("\nberth_pull_duration_seconds_count{image_size_in_bytes=\"0-10MB\",phase=\"total\"} 1\n"),
        std::string("\nberth_cri_requests_total{code=\"OK\",method=\"ListImages\"} 1\n"),
        std::string("\nberth_cri_requests_total{code=\"INVALID_ARGUMENT\",method=\"ImageStatus\"} 1\n"),
        std::string("\nberth_cri_request_seconds_count{method=\"ListImages\"} 1\n"), std::string("\nprocess_start_time_seconds 1"),
        std::string("\nberth_images 1\n"), std::string("\nberth_pulls_in_progress "),
        std::string("\nkubelet_image_garbage_collected_total{reason=\"space\"} 0\n"), std::string("\nberth_config_reload_success 1\n"),
        std::string("\nprocess_resident_memory_bytes "), std::string("\nberth_store_bytes{kind=\"unpacked\"} "),
        "\nberth_registry_requests_total{code=\"200\",host=\"http://" + registry_.host() + "\",method=\"GET\"} "})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_THAT(text, Not(HasSubstr("sha256:")));
  EXPECT_THAT(Fetch(pages, "/livez?verbose"), HasSubstr("[+]catalog ok\n[+]store ok\nlivez check passed\n"));
  EXPECT_THAT(Fetch(pages, "/readyz?verbose"), HasSubstr("[+]space ok\n[+]shutdown ok\nreadyz check passed\n"));
  EXPECT_THAT(Fetch(pages, "/configz"), HasSubstr("\nkind: ImageDaemonConfiguration\n"));
  // A store that is taken away from under it is no life: the watchdog is not fed any more.
  std::filesystem::rename(Path("store/catalog.db"), Path("store/gone.db"));
  EXPECT_THAT(Fetch(pages, "/livez"), ::testing::AllOf(HasSubstr(" 500 "), HasSubstr("[-]store failed: E-CORRUPT")));
  std::filesystem::rename(Path("store/gone.db"), Path("store/catalog.db"));
  EXPECT_EQ(Stop(daemon), "exit status 0");
  EXPECT_FALSE(std::filesystem::exists(pages));
}

// As systemd starts it: two sockets, one for gRPC, one by name for the pages.
TEST_F(BerthdTest, ServesTheSocketsThatItInherits) {
  std::filesystem::create_directories(Path("run"));
  const auto grpc_socket = host::ListenUnix(Path("run/berth.sock")), pages = host::ListenUnix(Path("pages.sock"));
  ASSERT_TRUE(grpc_socket && pages);
  Manager manager(Path("notify"));
  // LISTEN_PID must be the daemon's own: a shell becomes it.
  auto spec = Spec({}, {"NOTIFY_SOCKET=" + manager.path(), "LISTEN_FDS=2", "LISTEN_FDNAMES=berthd.socket:ops"});
  spec.argv = {"sh", "-c", "export LISTEN_PID=$$; exec \"$0\" --config \"$1\"", Program(), Path("config.yaml")};
  spec.program = "/bin/sh";
  spec.fds.push_back({3, grpc_socket->get()});
  spec.fds.push_back({4, pages->get()});
  auto daemon = *host::Process::Spawn(spec);
  ASSERT_EQ(manager.Next(), "READY=1") << Errors();
  EXPECT_THAT(Fetch(Path("pages.sock"), "/readyz"), HasSubstr("\r\n\r\nok"));
  registry_.PutImage("app", "1", {kBig});
  EXPECT_TRUE(Pull().first.ok());
  EXPECT_EQ(Stop(daemon), "exit status 0");
  EXPECT_TRUE(std::filesystem::exists(Path("run/berth.sock"))) << "it is the service manager's";
}

TEST_F(BerthdTest, TwoSocketsForOneServiceAreOneTooMany) {
  const auto a = host::ListenUnix(Path("a")), b = host::ListenUnix(Path("b"));
  auto spec = Spec({}, {"LISTEN_FDS=2"});
  spec.argv = {"sh", "-c", "export LISTEN_PID=$$; exec \"$0\" --config \"$1\"", Program(), Path("config.yaml")};
  spec.program = "/bin/sh";
  spec.fds.push_back({3, a->get()});
  spec.fds.push_back({4, b->get()});
  auto daemon = *host::Process::Spawn(spec);
  const auto status = daemon.Wait(Patience());
  ASSERT_TRUE(status);
  EXPECT_EQ(status->code, 2);
  EXPECT_THAT(Errors(), HasSubstr("FileDescriptorName=ops"));
}

TEST_F(BerthdTest, ReadsItsSettingsAgainAndKeepsTheOldWhenTheyAreWrong) {
  Manager manager(Path("notify"));
  auto daemon = *host::Process::Spawn(Spec({}, {"NOTIFY_SOCKET=" + manager.path()}));
  ASSERT_EQ(manager.Next(), "READY=1");
  const auto reload = [&] {
    ASSERT_TRUE(daemon.Kill(SIGHUP));
    EXPECT_THAT(manager.Next(), ::testing::StartsWith("RELOADING=1\nMONOTONIC_USEC="));
    EXPECT_EQ(manager.Next(), "READY=1");
  };
  WriteConfig("pull: {layer: 3}\n");
  reload();
  EXPECT_THAT(Errors(), HasSubstr("did you mean"));
  // The page shows what is in force, and where it is from.
  const auto shown = [&](const std::string& key) {
    const std::string page = Fetch(Path("run/ops.sock"), "/configz"), line = "\n" + key + ": ";
    const auto at = page.find(line);
    return at == page.npos ? "" : page.substr(at + 1, page.find('\n', at + 1) - at - 1);
  };
  const std::string layers = shown("pull.layers");
  EXPECT_THAT(layers, ::testing::EndsWith("  # default"));
  WriteConfig("log: {format: json}\n");
  reload();
  EXPECT_THAT(Errors(), HasSubstr("\"restart_needed\":false"));
  EXPECT_THAT(shown("log.format"), ::testing::MatchesRegex("log.format: json  # .*config.yaml:[0-9]+"));
  for (int i = 0; i < 2; ++i) {
    WriteConfig("pull: {layers: 3}\n");
    reload();
    EXPECT_THAT(Errors(), HasSubstr("restart_needed=true by=\"pull.layers\""));
    EXPECT_EQ(shown("pull.layers"), layers + " until the next start");
    EXPECT_THAT(shown("log.format"), ::testing::EndsWith("  # default"));
  }
  WriteConfig("");
  reload();
  EXPECT_EQ(shown("pull.layers"), layers);
  ASSERT_TRUE(daemon.Kill(SIGUSR1));
  EXPECT_EQ(Stop(daemon), "exit status 0");
  EXPECT_THAT(Errors(), HasSubstr("\"state\" running_pulls=0"));
}

TEST_F(BerthdTest, SettingsThatAreGoneAtAReloadStay) {
  std::filesystem::create_directory(Path("config.d"));
  std::ofstream(Path("config.d/10-more.yaml")) << "apiVersion: berth.dev/v1alpha1\nkind: ImageDaemonConfiguration\npull.layers: 3\n";
  WriteConfig("verification: {default: Deny}\n");
  Manager manager(Path("notify"));
  auto daemon = *host::Process::Spawn(Spec({}, {"NOTIFY_SOCKET=" + manager.path()}));
  ASSERT_EQ(manager.Next(), "READY=1") << Errors();
  ASSERT_THAT(Fetch(Path("run/ops.sock"), "/configz"), HasSubstr("\nverification: "));
  for (const char* gone : {"config.yaml", "config.d/10-more.yaml"}) {
    std::filesystem::rename(Path(gone), Path("away"));
    ASSERT_TRUE(daemon.Kill(SIGHUP));
    EXPECT_THAT(manager.Next(), ::testing::StartsWith("RELOADING=1"));
    EXPECT_EQ(manager.Next(), "READY=1");
    EXPECT_THAT(Errors(), HasSubstr("the configuration file \\\"" + Path(gone) + "\\\" was read before and is gone"));
    EXPECT_THAT(Fetch(Path("run/ops.sock"), "/configz"), HasSubstr("\nverification: "));
    std::filesystem::rename(Path("away"), Path(gone));
  }
  EXPECT_THAT(Errors(), Not(HasSubstr("settings read again")));
  EXPECT_EQ(Stop(daemon), "exit status 0");
}

TEST_F(BerthdTest, AnImpatientSecondSignalEndsItAtOnce) {
  Manager manager(Path("notify"));
  auto daemon = *host::Process::Spawn(Spec({}, {"NOTIFY_SOCKET=" + manager.path()}));
  ASSERT_EQ(manager.Next(), "READY=1");
  // Whoever holds a connection open without speaking keeps gRPC from ending within its grace.
  const host::Fd caller(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  Path("run/berth.sock").copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::connect(caller.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_TRUE(daemon.Kill(SIGTERM));
  ASSERT_EQ(manager.Next(), "STOPPING=1");
  ASSERT_TRUE(daemon.Kill(SIGINT));
  const auto status = daemon.Wait(Patience());
  ASSERT_TRUE(status) << status.error().Text();
  EXPECT_TRUE(status->code == 128 + SIGINT || status->success()) << status->Text() << ": it may have been faster";
}

TEST_F(BerthdTest, ACatalogThatIsGoneIsNoEmptyStore) {  // E-12
  {
    auto daemon = Start();
    Stop(daemon);
  }
  std::filesystem::copy(Path("store/catalog.db"), Path("young.db"));  // of a store that had nothing yet
  {
    auto daemon = Start();
    registry_.PutImage("app", "1", {kBig});
    ASSERT_TRUE(Pull().first.ok());
    Stop(daemon);
  }
  const std::string catalog = Path("store/catalog.db");
  std::filesystem::rename(catalog, Path("good.db"));
  const auto refuses = [&](const std::string& why) {
    EXPECT_EQ(Fails(), 9) << why;
    EXPECT_THAT(Errors(), HasSubstr("berthd: E-CORRUPT " + why));
    EXPECT_THAT(Errors(), HasSubstr("next: put a good copy of catalog.db back, or move the store away and pull the images again\n"))
        << "nothing that needs the daemon";
    EXPECT_FALSE(std::filesystem::is_empty(Path("store/layers"))) << "nothing was thrown away";
  };
  refuses("catalog.db is missing, and the store holds 1 layer");
  EXPECT_FALSE(std::filesystem::exists(catalog));

  // SQLite takes no bytes for a new database, and drops its log, which may hold all that is left.
  std::ofstream(catalog).close();
  std::ofstream(catalog + "-wal") << "a log";
  for (int i = 0; i < 2; ++i) refuses("catalog.db is empty, and the store holds 1 layer");
  EXPECT_EQ(std::filesystem::file_size(catalog), 0u);
  EXPECT_EQ(Read(catalog + "-wal"), "a log");
  std::filesystem::remove(catalog + "-wal");

  std::filesystem::copy(Path("young.db"), catalog, std::filesystem::copy_options::overwrite_existing);
  for (int i = 0; i < 2; ++i) refuses("catalog.db knows nothing, and the store holds 1 layer");

  std::ofstream(catalog, std::ios::trunc) << std::string(8192, 'x');
  refuses("catalog.db: file is not a database");

  std::filesystem::rename(Path("good.db"), catalog);
  auto daemon = Start();
  EXPECT_TRUE(Pull().second.was_present());
  Stop(daemon);
}

TEST_F(BerthdTest, InTreeFormContentsAreCheckedAndMadeAnewAsATree) {
  WriteConfig("form: tree\npull.keepBlobs: Always\n");
  auto daemon = Start();
  const auto image = registry_.PutImage("app", "1", {kBig});
  ASSERT_TRUE(Pull().first.ok());
  const std::string file = Path("store/layers/") + image.layers[0].digest.Hex() + ".tree/big";
  const auto check = [&](bool repair) {
    grpc::ClientContext context;
    v1::CheckStoreRequest request;
    request.set_repair(repair);
    const auto stub = Connect();
    const auto reader = stub->CheckStore(&context, request);
    v1::CheckStoreEvent event;
    while (reader->Read(&event)) {}
    EXPECT_TRUE(reader->Finish().ok());
    return event.summary();
  };
  EXPECT_EQ(check(false).findings(), 0u);
  std::filesystem::resize_file(file, 5);
  EXPECT_EQ(check(false).findings(), 1u);
  EXPECT_EQ(check(true).repaired(), 1u);
  EXPECT_EQ(check(false).findings(), 0u);
  EXPECT_EQ(std::filesystem::file_size(file), 3'000'000u);
  EXPECT_EQ(Stop(daemon), "exit status 0");
}

TEST_F(BerthdTest, SaysWhatIsWrongWithItsSettings) {
  EXPECT_EQ(Fails({"--set", "worker=/nonexistent"}), 2);
  EXPECT_THAT(Errors(), HasSubstr("cannot be run"));
  EXPECT_EQ(Fails({"--set", "rot=/x"}), 2);
  EXPECT_THAT(Errors(), HasSubstr("did you mean \"root\""));
  EXPECT_EQ(Fails({"--no-such-flag"}), 2);
  EXPECT_EQ(Fails({"--set", "socket=" + Path("config.yaml")}), 2);
  EXPECT_THAT(Errors(), HasSubstr("is there and is no socket"));
  EXPECT_EQ(Fails({"--set", "pull.layers=many"}), 2);
  EXPECT_THAT(Errors(), HasSubstr("\nnext: correct it; berthd --config-reference"));
  EXPECT_EQ(Fails({"--set", "root=" + Path("config.yaml")}), 9);
  EXPECT_THAT(Errors(), ::testing::AllOf(HasSubstr("E-IO open the folder \"" + Path("config.yaml") + "\": Not a directory"), HasSubstr("\nnext: name a folder")));
  EXPECT_EQ(std::filesystem::status(Path("config.yaml")).permissions() & std::filesystem::perms::owner_exec, std::filesystem::perms::none)
      << "what is no folder is left as it was";
  EXPECT_EQ(Fails({"--set", "root=/proc/nope"}), 9);
  EXPECT_THAT(Errors(), HasSubstr("E-MISSING make the folder \"/proc/nope\": No such file or directory\nnext: name a folder")) << "no registry's 404";
  EXPECT_EQ(Fails({"--print-config"}), 0);
  EXPECT_THAT(Errors(), HasSubstr("retry.base: 1ms  # " + Path("config.yaml") + ":10"));
}

TEST_F(BerthdTest, IsClosedToOtherUsers) {  // G-01, and 5.5
  auto daemon = Start();
  struct stat st {};
  ASSERT_EQ(::stat(Path("run/berth.sock").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  const std::string proc = "/proc/" + std::to_string(daemon.pid());
  EXPECT_THAT(Read(proc + "/limits"), ::testing::ContainsRegex("Max core file size +0 +0"));
  ASSERT_EQ(::stat((proc + "/environ").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 0u);
}

TEST(Units, NameWhatTheDaemonUses) {
  const std::string folder = berth::result::testing::kSourceDir + std::string("/packaging/systemd/");
  const std::string service = Read(folder + "berthd.service"), socket = Read(folder + "berthd.socket");
  const config::DaemonConfig defaults;
  EXPECT_THAT(socket, HasSubstr("ListenStream=" + defaults.socket + "\n"));
  EXPECT_THAT(socket, HasSubstr("SocketMode=0600\n"));
  EXPECT_THAT(service, HasSubstr("RequiresMountsFor=" + defaults.root + "\n"));
  EXPECT_EQ(defaults.root, "/var/lib/berth");
  EXPECT_THAT(service, HasSubstr("StateDirectory=berth\n"));
  EXPECT_EQ(defaults.run_dir, "/run/berth");
  EXPECT_THAT(service, HasSubstr("RuntimeDirectory=berth\n"));
  for (const char* line : {"Type=notify\n", "WatchdogSec=", "UMask=0077\n", "LimitCORE=0\n", "Restart=always\n"})
    EXPECT_THAT(service, HasSubstr(line));
  // Containers inherit what the service may not do: only where there are none.
  const std::string images_only = Read(folder + "images-only.conf");
  for (const char* taken : {"\nNoNewPrivileges=yes", "\nCapabilityBoundingSet=", "\nSystemCallFilter=", "\nMemoryDenyWriteExecute=yes", "\nRestrictNamespaces="}) {
    EXPECT_THAT(service, Not(HasSubstr(taken)));
    EXPECT_THAT(images_only, HasSubstr(taken));
  }
  // Each of these would give the service a mount namespace, and its mounts would not reach the host.
  for (const char* cut : {"\nProtectSystem=", "\nProtectHome=", "\nPrivate", "\nReadWritePaths=", "\nProtectKernel", "\nInaccessiblePaths=", "\nMountFlags="})
    EXPECT_THAT(service + images_only, Not(HasSubstr(cut)));
}

// P27: what is on shows as on, what is off shows.
TEST_F(BerthdTest, TestsItsOwnHardeningAtStart) {
  auto daemon = Start();
  v1::StatusResponse status;
  grpc::ClientContext context;
  ASSERT_TRUE(Connect()->Status(&context, {}, &status).ok());
  std::map<std::string, std::string> verdicts;
  for (const auto& probe : status.probes()) verdicts[probe.name()] = probe.verdict();
  const host::Capabilities here = host::Probe();
  const auto want = [](bool on) { return on ? "ok" : "degraded"; };
  EXPECT_EQ(verdicts["seccomp"], want(here.seccomp));
  EXPECT_EQ(verdicts["landlock"], want(here.landlock_abi > 0));
  EXPECT_EQ(verdicts["openat2"], want(here.openat2));
  EXPECT_EQ(verdicts["cgroup"], want(here.cgroup_version == 2));
  EXPECT_EQ(verdicts["sandbox"], want(here.landlock_abi > 0));
}

struct FormRow {
  const char* name;
  config::FormChoice wanted;
  bool may_mount, mounted, listed, all_are_trees;  // listed: in /proc/filesystems
  std::optional<layer::Form> form;                 // none: refused
};
class FormChoices : public ::testing::TestWithParam<FormRow> {};
TEST_P(FormChoices, AreThoseThatCanBeUnpacked) {
  const FormRow& row = GetParam();
  Machine machine;
  machine.can.can_mount = row.may_mount;
  machine.can.erofs = row.listed;
  machine.erofs.file_backed = row.mounted;
  const auto form = ChooseForm(row.wanted, machine, row.all_are_trees);
  EXPECT_EQ(form ? std::optional(*form) : std::nullopt, row.form);
  EXPECT_TRUE(form || form.error().reason() == Reason::kConfig);
}
constexpr auto kAuto = config::FormChoice::kAuto, kWantsErofs = config::FormChoice::kErofs, kWantsTree = config::FormChoice::kTree;
constexpr auto kErofs = layer::Form::kErofs, kTree = layer::Form::kTree;
INSTANTIATE_TEST_SUITE_P(
    Machines, FormChoices,
    ::testing::Values(FormRow{"Works", kAuto, true, true, true, false, kErofs},
                      FormRow{"WorksBesideTrees", kAuto, true, true, true, true, kErofs},
                      FormRow{"NoErofs", kAuto, true, false, false, false, kTree},
                      FormRow{"NoErofsIsAnError", kWantsErofs, true, false, false, false, std::nullopt},
                      FormRow{"Tree", kWantsTree, true, true, true, false, kTree},
                      FormRow{"TreeWithoutRight", kWantsTree, false, false, true, false, kTree},
                      FormRow{"NoRight", kAuto, false, false, true, false, kErofs},
                      FormRow{"NoRightAndPerhapsAModule", kAuto, false, false, false, false, kErofs},
                      FormRow{"NoRightBesideTrees", kAuto, false, false, true, true, kErofs},
                      FormRow{"NoRightAmongTreesWithoutErofs", kAuto, false, false, false, true, kTree},
                      FormRow{"NoRightErofs", kWantsErofs, false, false, false, true, kErofs}),
    [](const auto& row) { return std::string(row.param.name); });

// As in a container: images for others to mount.
TEST_F(BerthdTest, PullsWithoutTheRightToMount) {
  if (::geteuid() == 0) {
    within_ = {"/usr/bin/setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"};
    if (::access(within_[0].c_str(), X_OK) != 0) GTEST_SKIP() << "needs setpriv (util-linux)";
  }
  registry_.PutImage("app", "1", {kBig});
  const auto probes = [&] {
    v1::StatusResponse answer;
    grpc::ClientContext context;
    EXPECT_TRUE(Connect()->Status(&context, {}, &answer).ok());
    std::map<std::string, std::string> said;
    for (const auto& probe : answer.probes()) said[probe.name()] = probe.verdict() + ": " + probe.detail();
    return said;
  };
  {  // A tree cannot be unpacked, and that is said.
    WriteConfig("form: tree\n");
    auto daemon = Start();
    EXPECT_THAT(Pull().first.error_message(), HasSubstr("without CAP_SYS_ADMIN the layer directory cannot become the root"));
    auto says = probes();
    EXPECT_EQ(says["mount"], "missing: no CAP_SYS_ADMIN: images can be neither pulled nor mounted");
    EXPECT_THAT(says["sandbox"], HasSubstr("no layer can be unpacked: enter the jail: without CAP_SYS_ADMIN"));
    Stop(daemon);
  }
  for (const char* form : {"auto", "erofs"}) {
    WriteConfig(std::string("form: ") + form + "\n");
    auto daemon = Start();
    const auto [status, pulled] = Pull();
    EXPECT_TRUE(status.ok()) << form << ": " << status.error_message();
    auto says = probes();
    EXPECT_EQ(says["mount"], "missing: no CAP_SYS_ADMIN: images can be pulled, not mounted");
    EXPECT_EQ(says["erofs"], "unknown: not tried without the right to mount; layers are unpacked as EROFS images");
    Stop(daemon);
  }
}

TEST(Probes, ShowWhatAMachineLacks) {
  const auto root = host::Dir::Open("/");
  ASSERT_TRUE(root);
  Machine machine;  // that can nothing
  machine.can.can_mount = true;  // but for this
  machine.jail = std::string("seccomp,no_new_privs;missing=landlock,net_ns");
  std::map<std::string, std::string> verdicts;
  for (const auto& probe : Describe(machine, *root)) verdicts[probe.name] = probe.verdict;
  for (const char* name : {"sandbox", "seccomp", "landlock", "openat2", "cgroup", "erofs"}) EXPECT_EQ(verdicts[name], "degraded") << name;
  EXPECT_EQ(verdicts["overlay"], "missing");
  machine.can.can_mount = false;
  machine.jail = Error(Reason::kInternal, "the filter was refused");
  const auto probes = Describe(machine, *root);
  const auto sandbox = std::ranges::find(probes, "sandbox", &api::Probe::name);
  ASSERT_NE(sandbox, probes.end());
  EXPECT_EQ(sandbox->verdict + ": " + sandbox->detail, "missing: no layer can be unpacked: the filter was refused");
  EXPECT_EQ(std::ranges::find(probes, "mount", &api::Probe::name)->verdict, "missing");
}

TEST(Probes, AFileSystemThatSaysNoSizesIsNotFull) {
  const auto root = host::Dir::Open("/proc");  // is such a one, as ramfs is
  ASSERT_TRUE(root);
  const auto probes = Describe({}, *root);
  const auto disk = std::ranges::find(probes, "disk", &api::Probe::name);
  ASSERT_NE(disk, probes.end());
  EXPECT_EQ(disk->verdict + ": " + disk->detail, "unknown: the file system of the store does not say how large it is");
}

#ifndef BERTH_SANITIZED
TEST_F(BerthdTest, IdlesWithinFortyMebibytes) {  // architecture 7
  const auto resident = [](const host::Process& process) {
    const std::string status = Read("/proc/" + std::to_string(process.pid()) + "/status");
    return std::stol(status.substr(status.find("VmRSS:") + 6));
  };
  auto daemon = Start();
  const long fresh = resident(daemon);
  registry_.PutImage("app", "1", {kBig, Tar("two", std::string(2'000'000, '2'))});
  ASSERT_TRUE(Pull().first.ok());
  const long after = resident(daemon);
  std::printf("resident: %ld KiB fresh, %ld KiB after a pull\n", fresh, after);
  EXPECT_LT(fresh, 40 << 10);
  EXPECT_LT(after, 40 << 10);
}
#endif

}  // namespace
}  // namespace berth::berthd
