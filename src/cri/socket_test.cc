// cri/socket_test.cc: users of the socket who mean no good: reliability-security 3.g, row by row.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "cri/images.h"
#include "cri/testing/rig.h"
#include "host/fd.h"

namespace berth::cri {
namespace {

using ::testing::HasSubstr;
using pull::testing::Tar;
using testing::Rig;
using std::chrono::milliseconds;

const std::string kSmall = Tar("small", "s");

// --- raw connections

host::Fd Dial(const std::string& path) {
  host::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}
void Send(const host::Fd& fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;  // the other side has had enough
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}
// Waits for the end of the connection; what came before it.
std::string ReadAll(const host::Fd& fd) {
  std::string all;
  char room[65536];
  for (;;) {
    const ssize_t n = ::recv(fd.get(), room, sizeof room, 0);
    if (n <= 0) return all;
    all.append(room, static_cast<std::size_t>(n));
  }
}

const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
enum : unsigned char { kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kEndStream = 1, kEndHeaders = 4 };
std::string Frame(unsigned char type, unsigned char flags, std::uint32_t stream, std::string_view payload) {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame += static_cast<char>(payload.size() >> shift);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) frame += static_cast<char>(stream >> shift);
  return frame + std::string(payload);
}
std::string Literal(std::string_view name, std::string_view value) {  // HPACK, without an index; shorter than 127 each
  return std::string(1, '\0') + static_cast<char>(name.size()) + std::string(name) + static_cast<char>(value.size()) + std::string(value);
}
std::string CallHeaders(std::uint32_t stream, std::string_view method, unsigned char flags = kEndHeaders) {
  return Frame(kHeaders, flags, stream,
               Literal(":method", "POST") + Literal(":scheme", "http") + Literal(":path", method) + Literal(":authority", "localhost") +
                   Literal("te", "trailers") + Literal("content-type", "application/grpc"));
}
constexpr const char* kListImages = "/runtime.v1.ImageService/ListImages";

// --- raw calls

grpc::Status Raw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, const std::string& message,
                 std::string* answer = nullptr, const std::function<void(grpc::ClientContext&)>& prepare = nullptr) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  if (prepare) prepare(context);
  const grpc::Slice slice(message);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, method, {}, &request, &response, [&](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  if (grpc::Slice whole; status.ok() && answer != nullptr && response.DumpToSingleSlice(&whole).ok())
    answer->assign(reinterpret_cast<const char*>(whole.begin()), whole.size());
  return status;
}
std::string Health(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  std::string answer;
  const std::string request = service.empty() ? "" : std::string("\x0a") + static_cast<char>(service.size()) + service;
  const auto status = Raw(channel, "/grpc.health.v1.Health/Check", request, &answer);
  if (!status.ok()) return "code " + std::to_string(status.error_code());
  return answer == "\x08\x01" ? "serving" : answer == "\x08\x02" ? "not serving" : "?";
}

long Resident() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  return 0;
}
std::size_t Count(const char* folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

class Abuse : public ::testing::Test {
 protected:
  void Prepare(Rig& rig) {
    rig.node.registry.PutImage("app", "1", {kSmall});
    ASSERT_TRUE(rig.Pull("app:1").ok());
  }
  static void Served(Rig& rig, const char* after) { EXPECT_EQ(rig.Tags().size(), 1u) << after; }
};

// --- G-01: who may connect

class Peers : public Abuse, public ::testing::WithParamInterface<mode_t> {};
TEST_P(Peers, WhoAreNotRootAreRefusedBeforeAByteIsParsed) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  Rig rig;
  Prepare(rig);
  ASSERT_EQ(::chmod(rig.node.stores.folder.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(rig.socket().c_str(), GetParam()), 0);
  const std::string path = rig.socket();
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(1000) != 0 || ::setuid(1000) != 0) ::_exit(9);
    const host::Fd fd = Dial(path);
    if (!fd.valid()) ::_exit(errno == EACCES ? 1 : 2);
    char byte;
    ::_exit(::recv(fd.get(), &byte, 1, 0) <= 0 ? 0 : 3);  // nothing is said, also not by us
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), GetParam() == 0600 ? 1 : 0);
  Served(rig, "a stranger");
}
INSTANTIATE_TEST_SUITE_P(Modes, Peers, ::testing::Values(0600, 0666));

// --- G-02: those who do not speak HTTP/2

TEST_F(Abuse, ConnectionsThatDoNotSpeakAreClosedAndStopNobody) {
  Rig rig({}, {.connections_per_process = 1000, .handshake = milliseconds(2000)});
  Prepare(rig);
  std::vector<host::Fd> silent;
  for (const std::string& text : {std::string(), std::string("\x16\x03\x01\x02\x00\x01", 6), std::string("GET / HTTP/1.1\r\n\r\n"), kPreface.substr(0, 10),
                                  kPreface, kPreface + Frame(kSettings, 0, 0, "").substr(0, 4), std::string(10'000, '\xff')})
    for (int i = 0; i < 20; ++i) {
      silent.push_back(Dial(rig.socket()));
      ASSERT_TRUE(silent.back().valid());
      Send(silent.back(), text);
    }
  Served(rig, "140 silent connections");
  const auto channel = rig.Connect();
  EXPECT_EQ(Health(channel, ""), "serving") << "a new client gets in beside them";
  for (const auto& fd : silent) (void)ReadAll(fd);  // every one of them ends
  Served(rig, "their end");
}

// --- G-03: messages

TEST_F(Abuse, MessagesThatAreTooLongOrNoMessagesAreRefused) {
  Rig rig;
  Prepare(rig);
  const std::string bad_utf8 = "\x0a\x04\x0a\x02\xff\xfe", truncated = "\x0a\x7f\x0a", wrong_type = "\x08\x01\x0d";
  struct Row {
    const char* name;
    std::string method, message;
    bool ok;
  };
  for (const Row& row : {Row{"nonsense", "ImageStatus", std::string(100, '\xff'), false}, Row{"truncated", "ImageStatus", truncated, false},
                         Row{"truncated list", "ListImages", truncated, false}, Row{"wrong type", "RemoveImage", wrong_type, false},
                         Row{"invalid UTF-8", "ImageStatus", bad_utf8, false}, Row{"invalid UTF-8 in a pull", "PullImage", bad_utf8, false},
                         Row{"unknown fields", "ImageFsInfo", "\xfa\x07\x03xyz", true}, Row{"unknown fields of a list", "ListImages", "\xfa\x07\x03xyz", true},
                         Row{"missing fields", "PullImage", "", false}, Row{"deep", "ImageStatus", std::string(10'000, '\x0b'), false}}) {
    EXPECT_EQ(Raw(rig.channel, "/runtime.v1.ImageService/" + row.method, row.message).ok(), row.ok) << row.name;
    Served(rig, row.name);
  }
  const long before = Resident();
  for (int i = 0; i < 5; ++i) {
    v1::PullImageRequest huge;
    huge.mutable_image()->set_image(std::string((16u << 20) + 1, 'x'));
    EXPECT_EQ(rig.Pull(huge).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  // A length that is a lie: 4 GiB, in an uncompressed and in a compressed message.
  for (const char flag : {'\0', '\1'}) {
    const host::Fd liar = Dial(rig.socket());
    Send(liar, kPreface + Frame(kSettings, 0, 0, "") + CallHeaders(1, kListImages) +
                   Frame(kData, 0, 1, std::string(1, flag) + "\xff\xff\xff\xff" + std::string(1000, 'x')));
    char byte;
    EXPECT_EQ(::recv(liar.get(), &byte, 1, 0), 1) << "it is answered";
    Served(rig, "a liar");
  }
  // A bomb: it is not unpacked.
  const auto status = Raw(rig.channel, "/runtime.v1.ImageService/ImageStatus", std::string(8u << 20, 'a'), nullptr,
                          [](grpc::ClientContext& context) { context.set_compression_algorithm(GRPC_COMPRESS_GZIP); });
  EXPECT_FALSE(status.ok());
  Served(rig, "a bomb");
#ifndef BERTH_SANITIZED
  ::malloc_trim(0);  // what is freed and not given back is the allocator's; the daemon does the same when it is idle
  EXPECT_LT(Resident() - before, 160 << 10) << "KiB; the client's own copies are in it";
#else
  (void)before;
#endif
}

// --- G-04: metadata

TEST_F(Abuse, MetadataHasALimit) {
  Rig rig;
  Prepare(rig);
  struct Row {
    const char* name;
    int keys;
    std::size_t bytes;
    bool binary, ok;
  };
  for (const Row& row : {Row{"a little", 10, 100, false, true}, Row{"long value", 1, 1u << 20, false, false}, Row{"many keys", 10'000, 10, false, false},
                         Row{"binary", 1, 100'000, true, false}}) {
    const auto status = Raw(rig.channel, kListImages, "", nullptr, [&](grpc::ClientContext& context) {
      for (int i = 0; i < row.keys; ++i)
        context.AddMetadata("k" + std::to_string(i) + (row.binary ? "-bin" : ""), std::string(row.bytes, row.binary ? '\xff' : 'v'));
    });
    EXPECT_EQ(status.ok(), row.ok) << row.name << ": " << status.error_message();
    Served(rig, row.name);
  }
}

// --- G-05: those who leave

TEST_F(Abuse, CallersWhoLeaveAtAnyPointLeaveNothing) {
  Rig rig;
  Prepare(rig);
  const auto settle = [&] { while (rig.service->waiting() > 0 || rig.node.puller->running() > 0) std::this_thread::yield(); };
  const auto round = [&](int i) {
    grpc::ClientContext context;
    if (i % 3 == 0) {
      const auto reader = rig.images->StreamImages(&context, {});
      if (i % 2 == 0) context.TryCancel();
      v1::StreamImagesResponse part;
      if (i % 4 == 1) (void)reader->Read(&part);
      context.TryCancel();
      (void)reader->Finish();
      return;
    }
    // A deadline that passes at any point of the call.
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::microseconds(i * 37 % 2000));
    v1::PullImageResponse pulled;
    v1::ListImagesResponse list;
    (void)(i % 3 == 1 ? rig.images->PullImage(&context, rig.Ask("app:1"), &pulled) : rig.images->ListImages(&context, {}, &list));
  };
  for (int i = 0; i < 50; ++i) round(i);
  settle();
  const std::size_t files = Count("/proc/self/fd");
  for (int i = 0; i < 600; ++i) round(i);
  settle();
  EXPECT_LE(Count("/proc/self/fd"), files + 10);
  Served(rig, "650 who left");
}

// --- G-06: too many of everything

TEST_F(Abuse, AProcessHasItsShareOfConnections) {
  Rig rig({}, {.connections_per_process = 8, .handshake = std::chrono::minutes(10)});
  Prepare(rig);  // takes one
  std::vector<host::Fd> taken;
  for (int i = 0; i < 7; ++i) taken.push_back(Dial(rig.socket()));
  const host::Fd one_more = Dial(rig.socket());
  ASSERT_TRUE(one_more.valid());
  EXPECT_EQ(ReadAll(one_more), "") << "closed, and nothing said";
  Served(rig, "a full house");
  // A place that is given back is somebody else's.
  taken.pop_back();
  for (;;) {
    const auto channel = rig.Connect();
    if (Health(channel, "") == "serving") break;  // the server hears of the end a moment later
  }
}

struct Flood {
  const char* name;
  std::string bytes;
  int times;
};
class Floods : public Abuse, public ::testing::WithParamInterface<Flood> {};
TEST_P(Floods, AreLimitedAndOthersAreServed) {
  Rig rig;
  Prepare(rig);
  const long before = Resident();
  const host::Fd fd = Dial(rig.socket());
  Send(fd, kPreface + Frame(kSettings, 0, 0, ""));
  // Answers are read, so that the server is not saved by a full pipe.
  std::thread reader([&] { (void)ReadAll(fd); });
  std::vector<double> took;
  std::string batch;
  for (int i = 0; i < GetParam().times; ++i) {
    const auto stream = static_cast<std::uint32_t>(2 * i + 1);
    const std::string kind = GetParam().bytes;
    if (kind == "rapid reset") batch += CallHeaders(stream, kListImages) + Frame(kReset, 0, stream, std::string("\0\0\0\x8", 4));
    else if (kind == "streams") batch += CallHeaders(stream, kListImages);
    else if (kind == "calls") batch += CallHeaders(stream, kListImages) + Frame(kData, kEndStream, stream, std::string(5, '\0'));
    else if (kind == "empty data") batch += (i == 0 ? CallHeaders(1, kListImages) : "") + Frame(kData, 0, 1, "");
    else batch += kind;
    if (batch.size() < 16'000 && i + 1 < GetParam().times) continue;
    Send(fd, batch);
    batch.clear();
    const auto start = std::chrono::steady_clock::now();
    Served(rig, GetParam().name);
    took.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  ::shutdown(fd.get(), SHUT_RDWR);
  reader.join();
  Served(rig, "the flood");
  std::ranges::sort(took);
  const auto at = [&](std::size_t percent) { return took[(took.size() * percent + 99) / 100 - 1]; };
  std::printf("%s: %zu calls of somebody else meanwhile, median %.2f ms, p99 %.2f ms, slowest %.2f ms\n", GetParam().name, took.size(), at(50),
              at(99), took.back());  // P24
#ifndef BERTH_SANITIZED
  ::malloc_trim(0);  // what is freed and not given back is the allocator's; the daemon does the same when it is idle
  EXPECT_LT(Resident() - before, 160 << 10) << "KiB; gRPC may use 128 MiB";
#else
  (void)before;
#endif
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Floods,
    ::testing::Values(Flood{"rapid reset", "rapid reset", 10'000}, Flood{"ten thousand open streams", "streams", 10'000},
                      Flood{"ten thousand calls", "calls", 10'000}, Flood{"empty data", "empty data", 20'000},
                      Flood{"settings", Frame(kSettings, 0, 0, std::string("\0\4\0\0\xff\xff", 6)), 20'000}, Flood{"pings", Frame(kPing, 0, 0, "12345678"), 20'000},
                      // A table that grows by one header and is then asked for it again and again.
                      Flood{"header table", Frame(kHeaders, kEndHeaders, 1, "\x40\x01x\x7f\x81\x1e" + std::string(3968, 'v') + std::string(8000, '\xbe')), 5}));

// --- G-07: those who never read

TEST_F(Abuse, ACallerWhoNeverReadsIsCutOff) {
  Rig rig({}, {.unread = milliseconds(900)});
  Prepare(rig);
  const host::Fd fd = Dial(rig.socket());
  int room = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  Send(fd, kPreface + Frame(kSettings, 0, 0, ""));
  // A call that stays open (its request never ends), and nobody who answers pings.
  Send(fd, CallHeaders(1, kListImages));
  pollfd entry{fd.get(), 0, 0};
  while (::poll(&entry, 1, -1) < 0) {}
  EXPECT_TRUE(entry.revents & POLLHUP);
  Served(rig, "one who never reads");
}

// --- G-14, and what is not there

TEST_F(Abuse, TheHealthServiceTellsTheTruth) {
  Rig rig;
  EXPECT_EQ(Health(rig.channel, ""), "serving");
  EXPECT_EQ(Health(rig.channel, "runtime.v1.ImageService"), "serving");
  EXPECT_EQ(Health(rig.channel, "berth.v1.Berth"), "serving");
  EXPECT_EQ(Health(rig.channel, "no.such.Service"), "code 5");
  rig.Stop();
  EXPECT_EQ(Health(rig.channel, ""), "code 14");
}

TEST_F(Abuse, MethodsThatAreNotHereAreUnimplemented) {
  Rig rig;
  for (const char* method : {"/runtime.v1.RuntimeService/RunPodSandbox", "/runtime.v1.RuntimeService/ListContainers", "/runtime.v1.ImageService/NoSuchMethod",
                             "/runtime.v1alpha2.ImageService/ListImages", "/no.Service/Method", "/", "/../../etc/passwd"})
    EXPECT_EQ(Raw(rig.channel, method, "").error_code(), grpc::StatusCode::UNIMPLEMENTED) << method;
}

TEST_F(Abuse, ReflectionTellsWhatThereIs) {
  Rig rig;
  std::string answer;
  ASSERT_TRUE(Raw(rig.channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*", &answer).ok());
  for (const char* service : {"runtime.v1.ImageService", "runtime.v1.RuntimeService", "berth.v1.Berth", "grpc.health.v1.Health"})
    EXPECT_THAT(answer, HasSubstr(service));
  ASSERT_TRUE(Raw(rig.channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x22\x17runtime.v1.ImageService", &answer).ok());
  EXPECT_THAT(answer, HasSubstr("repo_digests")) << "the file that has it";
}

}  // namespace
}  // namespace berth::cri
