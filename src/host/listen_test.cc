#include "host/listen.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <vector>

namespace berth::host {
namespace {

struct AddressRow {
  const char* name;
  std::string_view text;
  bool good = false, v6 = false, loopback = false;
  std::uint16_t port = 0;
};
void PrintTo(const AddressRow& row, std::ostream* out) { *out << row.name; }
class AddressTest : public ::testing::TestWithParam<AddressRow> {};
TEST_P(AddressTest, IsRead) {
  const auto got = ParseTcpAddress(GetParam().text);
  ASSERT_EQ(got.has_value(), GetParam().good);
  if (!got) return;
  EXPECT_EQ(got->v6, GetParam().v6);
  EXPECT_EQ(got->loopback, GetParam().loopback);
  EXPECT_EQ(got->port, GetParam().port);
}
INSTANTIATE_TEST_SUITE_P(All, AddressTest, ::testing::Values(
    AddressRow{"Loopback", "127.0.0.1:10290", true, false, true, 10290}, AddressRow{"OtherLoopback", "127.9.0.1:0", true, false, true, 0},
    AddressRow{"Any", "0.0.0.0:80", true, false, false, 80}, AddressRow{"V6", "[::1]:8080", true, true, true, 8080},
    AddressRow{"AnyV6", "[::]:1", true, true, false, 1}, AddressRow{"NoPort", "127.0.0.1"}, AddressRow{"Name", "localhost:1"},
    AddressRow{"BareV6", "::1:80"}, AddressRow{"BigPort", "127.0.0.1:65536"}, AddressRow{"Sign", "127.0.0.1:-1"},
    AddressRow{"Tail", "127.0.0.1:1x"}, AddressRow{"Empty", ""}, AddressRow{"OnlyColon", ":"}),
    [](const auto& row) { return row.param.name; });

struct EitherRow { const char* name; std::string address; bool good; };
void PrintTo(const EitherRow& row, std::ostream* out) { *out << row.name; }
class EitherTest : public ::testing::TestWithParam<EitherRow> {};
TEST_P(EitherTest, IsChecked) { EXPECT_EQ(CheckListenAddress(GetParam().address).has_value(), GetParam().good); }
INSTANTIATE_TEST_SUITE_P(All, EitherTest, ::testing::Values(
    EitherRow{"Tcp", "127.0.0.1:10290", true}, EitherRow{"V6", "[::1]:1", true}, EitherRow{"Unix", "unix:///run/x.sock", true},
    EitherRow{"Relative", "unix://run/x", false}, EitherRow{"Path", "/run/x", false}, EitherRow{"Name", "localhost:1", false}),
    [](const auto& row) { return row.param.name; });

class ListenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-listen-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(ListenTest, AUnixSocketHasTheModeAndReplacesAStaleOne) {
  const std::string path = folder_ + "/a.sock";
  for (const std::uint32_t mode : {0600u, 0660u}) {
    const auto fd = ListenUnix(path, mode);
    ASSERT_TRUE(fd) << fd.error().Text();
    struct stat st {};
    ASSERT_EQ(::stat(path.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777u, mode);
  }
  RemoveSocket(path);
  EXPECT_FALSE(std::filesystem::exists(path));
}

// Clients that do not block (gRPC, Go) fail when the queue of a Unix socket is full, and do not wait.
TEST_F(ListenTest, CallersQueueWhileNobodyAccepts) {
  const std::string path = folder_ + "/a.sock";
  const auto listener = ListenUnix(path);
  ASSERT_TRUE(listener) << listener.error().Text();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  std::vector<Fd> callers;
  for (int i = 0; i < 500; ++i) {
    callers.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ASSERT_EQ(::connect(callers.back().get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0) << "caller " << i << ", errno " << errno;
  }
}

TEST_F(ListenTest, AFileThatIsNoSocketStays) {
  const std::string path = folder_ + "/file";
  ASSERT_TRUE(Fd(::open(path.c_str(), O_CREAT | O_WRONLY, 0600)).valid());
  EXPECT_EQ(ListenUnix(path).error().reason(), Reason::kUsage);
  RemoveSocket(path);
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_EQ(ListenUnix(std::string(200, 'x')).error().reason(), Reason::kUsage);
  EXPECT_EQ(ListenUnix(folder_ + "/none/a.sock").error().reason(), Reason::kSocket);
}

TEST_F(ListenTest, ATakenPortSaysSo) {
  const auto first = ListenTcp({.ip = "127.0.0.1"});
  ASSERT_TRUE(first);
  const auto port = PortOf(first->get());
  ASSERT_TRUE(port);
  const auto second = ListenTcp({.ip = "127.0.0.1", .port = *port});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason(), Reason::kSocket);
  EXPECT_NE(second.error().Text().find("127.0.0.1:" + std::to_string(*port)), std::string::npos);
}

// In a child: descriptors 3 and on are its own to arrange.
int InChild(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
void HandOver(int fd, int place) {
  ::dup2(fd, place);
  ::fcntl(place, F_SETFD, 0);
}

TEST_F(ListenTest, InheritedSocketsComeWithTheirNames) {
  EXPECT_EQ(InChild([&] {
    auto a = ListenTcp({.ip = "127.0.0.1"});
    auto b = ListenUnix(folder_ + "/b.sock");
    const int high_a = ::fcntl(a->get(), F_DUPFD, 50), high_b = ::fcntl(b->get(), F_DUPFD, 50);
    HandOver(high_a, 3);
    HandOver(high_b, 4);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "2", 1);
    ::setenv("LISTEN_FDNAMES", "metrics:grpc", 1);
    auto got = TakeInheritedSockets();
    if (!got || got->size() != 2) return 1;
    if ((*got)[0].name != "metrics" || (*got)[1].name != "grpc") return 2;
    if (!PortOf((*got)[0].fd.get()) || PortOf((*got)[1].fd.get())) return 3;
    if ((::fcntl(3, F_GETFD) & FD_CLOEXEC) == 0 || (::fcntl(4, F_GETFL) & O_NONBLOCK) == 0) return 4;
    if (std::getenv("LISTEN_FDS") != nullptr) return 5;
    auto again = TakeInheritedSockets();
    return again && again->empty() ? 0 : 6;
  }), 0);
}

TEST_F(ListenTest, SocketsForAnotherProcessAreNotOurs) {
  EXPECT_EQ(InChild([] {
    ::setenv("LISTEN_PID", "1", 1);
    ::setenv("LISTEN_FDS", "1", 1);
    auto got = TakeInheritedSockets();
    return got && got->empty() ? 0 : 1;
  }), 0);
}

TEST_F(ListenTest, WhatDoesNotListenIsRefused) {
  EXPECT_EQ(InChild([] {
    const int file = ::open("/dev/null", O_RDONLY);
    HandOver(::fcntl(file, F_DUPFD, 50), 3);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "1", 1);
    auto got = TakeInheritedSockets();
    return !got && got.error().reason() == Reason::kConfig ? 0 : 1;
  }), 0);
}

}  // namespace
}  // namespace berth::host
