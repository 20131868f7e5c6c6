#include "cri/translate.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "bytes/encoding.h"
#include "json/document.h"

namespace berth::cri {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using google::protobuf::FieldDescriptor;

const std::string kDigest = "sha256:" + std::string(64, 'a');

// --- the wire: runtime-registry 1.3

struct Field {
  const char* message;
  int number;
  const char* name;
  FieldDescriptor::CppType type;
  bool repeated = false;
};
constexpr auto kText = FieldDescriptor::CPPTYPE_STRING, kMessage = FieldDescriptor::CPPTYPE_MESSAGE, kBool = FieldDescriptor::CPPTYPE_BOOL,
               kI64 = FieldDescriptor::CPPTYPE_INT64, kU64 = FieldDescriptor::CPPTYPE_UINT64, kU32 = FieldDescriptor::CPPTYPE_UINT32;
constexpr Field kFields[] = {
    {"ImageSpec", 1, "image", kText}, {"ImageSpec", 2, "annotations", kMessage, true}, {"ImageSpec", 18, "user_specified_image", kText},
    {"ImageSpec", 19, "runtime_handler", kText}, {"ImageSpec", 20, "image_ref", kText},
    {"ImageFilter", 1, "image", kMessage},
    {"ListImagesRequest", 1, "filter", kMessage}, {"StreamImagesRequest", 1, "filter", kMessage},
    {"ListImagesResponse", 1, "images", kMessage, true}, {"StreamImagesResponse", 1, "images", kMessage, true},
    {"Image", 1, "id", kText}, {"Image", 2, "repo_tags", kText, true}, {"Image", 3, "repo_digests", kText, true}, {"Image", 4, "size", kU64},
    {"Image", 5, "uid", kMessage}, {"Image", 6, "username", kText}, {"Image", 7, "spec", kMessage}, {"Image", 8, "pinned", kBool},
    {"ImageStatusRequest", 1, "image", kMessage}, {"ImageStatusRequest", 2, "verbose", kBool},
    {"ImageStatusResponse", 1, "image", kMessage}, {"ImageStatusResponse", 2, "info", kMessage, true},
    {"AuthConfig", 1, "username", kText}, {"AuthConfig", 2, "password", kText}, {"AuthConfig", 3, "auth", kText},
    {"AuthConfig", 4, "server_address", kText}, {"AuthConfig", 5, "identity_token", kText}, {"AuthConfig", 6, "registry_token", kText},
    {"PullImageRequest", 1, "image", kMessage}, {"PullImageRequest", 2, "auth", kMessage}, {"PullImageRequest", 3, "sandbox_config", kMessage},
    {"PullImageResponse", 1, "image_ref", kText}, {"RemoveImageRequest", 1, "image", kMessage},
    {"FilesystemIdentifier", 1, "mountpoint", kText},
    {"FilesystemUsage", 1, "timestamp", kI64}, {"FilesystemUsage", 2, "fs_id", kMessage}, {"FilesystemUsage", 3, "used_bytes", kMessage},
    {"FilesystemUsage", 4, "inodes_used", kMessage},
    {"ImageFsInfoResponse", 1, "image_filesystems", kMessage, true}, {"ImageFsInfoResponse", 2, "container_filesystems", kMessage, true},
    {"Int64Value", 1, "value", kI64}, {"UInt64Value", 1, "value", kU64},
    {"PodSandboxMetadata", 1, "name", kText}, {"PodSandboxMetadata", 2, "uid", kText}, {"PodSandboxMetadata", 3, "namespace", kText},
    {"PodSandboxMetadata", 4, "attempt", kU32},
    {"PodSandboxConfig", 1, "metadata", kMessage}, {"PodSandboxConfig", 6, "labels", kMessage, true}, {"PodSandboxConfig", 7, "annotations", kMessage, true},
    {"VersionRequest", 1, "version", kText}, {"VersionResponse", 1, "version", kText}, {"VersionResponse", 2, "runtime_name", kText},
    {"VersionResponse", 3, "runtime_version", kText}, {"VersionResponse", 4, "runtime_api_version", kText},
    {"StatusRequest", 1, "verbose", kBool}, {"StatusResponse", 1, "status", kMessage}, {"StatusResponse", 2, "info", kMessage, true},
    {"RuntimeStatus", 1, "conditions", kMessage, true}, {"RuntimeCondition", 1, "type", kText}, {"RuntimeCondition", 2, "status", kBool},
    {"RuntimeCondition", 3, "reason", kText}, {"RuntimeCondition", 4, "message", kText},
};
TEST(Wire, FieldsHaveTheNumbersOfCri) {
  const auto* file = v1::Image::descriptor()->file();
  ASSERT_EQ(file->package(), "runtime.v1");
  std::size_t ours = 0;
  for (int i = 0; i < file->message_type_count(); ++i) ours += static_cast<std::size_t>(file->message_type(i)->field_count());
  EXPECT_EQ(ours, std::size(kFields)) << "a field that is not in the table";
  for (const Field& row : kFields) {
    const auto* message = file->FindMessageTypeByName(row.message);
    ASSERT_NE(message, nullptr) << row.message;
    const auto* field = message->FindFieldByNumber(row.number);
    ASSERT_NE(field, nullptr) << row.message << " " << row.number;
    EXPECT_EQ(field->name(), row.name) << row.message;
    EXPECT_EQ(field->cpp_type(), row.type) << row.message << "." << row.name;
    EXPECT_EQ(field->is_repeated(), row.repeated) << row.message << "." << row.name;
  }
}
TEST(Wire, MethodsHaveTheirNames) {
  const auto* service = v1::Image::descriptor()->file()->FindServiceByName("ImageService");
  ASSERT_NE(service, nullptr);
  EXPECT_EQ(service->full_name(), "runtime.v1.ImageService");
  for (const char* name : {"ListImages", "StreamImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo"}) {
    const auto* method = service->FindMethodByName(name);
    ASSERT_NE(method, nullptr) << name;
    EXPECT_EQ(method->server_streaming(), std::string(name) == "StreamImages");
    EXPECT_FALSE(method->client_streaming());
    EXPECT_EQ(method->input_type()->name(), std::string(name) + "Request");
    EXPECT_EQ(method->output_type()->name(), std::string(name) + "Response");
  }
}

// --- credentials: runtime-registry 1.5, G-11

struct AuthCase {
  const char* name;
  const char* username = "";
  const char* password = "";
  const char* auth = "";
  const char* server_address = "";
  const char* identity_token = "";
  const char* registry_token = "";
  const char* image = "reg.test:5000/team/app:1";
  // What comes out: "user:password", "identity:…", "registry:…", "anonymous", "nothing said", "refused".
  const char* expect;
};
void PrintTo(const AuthCase& row, std::ostream* out) { *out << row.name; }
class TakeAuth : public ::testing::TestWithParam<AuthCase> {};
TEST_P(TakeAuth, TakesOneWayAndWipesAll) {
  const AuthCase& row = GetParam();
  v1::AuthConfig config;
  config.set_username(row.username);
  config.set_password(row.password);
  config.set_auth(row.auth);
  config.set_server_address(row.server_address);
  config.set_identity_token(row.identity_token);
  config.set_registry_token(row.registry_token);
  const auto taken = cri::TakeAuth(config, *reference::Reference::Parse(row.image));
  std::string got;
  if (!taken) {
    EXPECT_EQ(taken.error().reason(), Reason::kUsage);
    EXPECT_THAT(taken.error().Text(), Not(HasSubstr("canary")));
    got = "refused";
  } else if (!taken->given) {
    got = "nothing said";
  } else if (taken->credentials.empty()) {
    got = "anonymous";
  } else {
    ASSERT_THAT(taken->credentials, SizeIs(1));
    const auto& c = taken->credentials[0];
    EXPECT_EQ(c.source, "request");
    got = !c.identity_token.empty() ? "identity:" + std::string(c.identity_token.Reveal())
          : !c.registry_token.empty() ? "registry:" + std::string(c.registry_token.Reveal())
                                      : c.username + ":" + std::string(c.password.Reveal());
  }
  EXPECT_EQ(got, row.expect);
  EXPECT_EQ(config.password() + config.auth() + config.identity_token() + config.registry_token(), "") << "wiped";
}
INSTANTIATE_TEST_SUITE_P(
    Rows, TakeAuth,
    ::testing::Values(
        AuthCase{.name = "empty", .expect = "nothing said"},
        AuthCase{.name = "address alone", .server_address = "reg.test:5000", .expect = "nothing said"},
        AuthCase{.name = "password", .username = "alice", .password = "canary", .expect = "alice:canary"},
        AuthCase{.name = "user without password", .username = "alice", .expect = "anonymous"},
        AuthCase{.name = "identity", .identity_token = "canary", .expect = "identity:canary"},
        AuthCase{.name = "auth", .auth = "YWxpY2U6Y2FuYXJ5", .expect = "alice:canary"},
        AuthCase{.name = "auth without padding", .auth = "YTpi", .expect = "a:b"},
        AuthCase{.name = "auth with colons", .auth = "YTpiOmM=", .expect = "a:b:c"},
        AuthCase{.name = "auth with NULs", .auth = "YTpiAAA=", .expect = "a:b"},
        AuthCase{.name = "auth without password", .auth = "YTo=", .expect = "anonymous"},
        AuthCase{.name = "auth without colon", .auth = "YWxpY2U=", .expect = "refused"},
        AuthCase{.name = "auth is no base64", .auth = "canary:!", .expect = "refused"},
        AuthCase{.name = "auth with a line", .auth = "YTpiCg==", .expect = "a:b\n"},
        AuthCase{.name = "auth with a key with its lines", .auth = "X2pzb25fa2V5OnsKCSJ0eXBlIjogIngiCn0K", .expect = "_json_key:{\n\t\"type\": \"x\"\n}\n"},
        AuthCase{.name = "auth with a NUL in its password", .auth = "YTpjYW5hcnkAYg==", .expect = "refused"},
        AuthCase{.name = "auth with a line in its name", .auth = "YQ1iOmNhbmFyeQ==", .expect = "refused"},
        AuthCase{.name = "registry token", .registry_token = "canary", .expect = "registry:canary"},
        AuthCase{.name = "everything: the password", .username = "alice", .password = "canary", .auth = "YTpi", .identity_token = "i",
                 .registry_token = "r", .expect = "alice:canary"},
        AuthCase{.name = "everything but a user: the identity", .password = "lost", .auth = "YTpi", .identity_token = "i", .registry_token = "r",
                 .expect = "identity:i"},
        AuthCase{.name = "auth before registry token", .auth = "YTpi", .registry_token = "r", .expect = "a:b"},
        AuthCase{.name = "a key with its lines", .username = "_json_key", .password = "{\n \"type\": \"x\"\n}\n",
                 .expect = "_json_key:{\n \"type\": \"x\"\n}\n"},
        AuthCase{.name = "line in a name", .username = "a\r\nHost: b", .password = "canary", .expect = "refused"},
        AuthCase{.name = "line in a token", .identity_token = "canary\r\nX: y", .expect = "refused"},
        AuthCase{.name = "own address", .username = "a", .password = "b", .server_address = "https://REG.test:5000/v2/", .expect = "a:b"},
        AuthCase{.name = "own address, bare", .username = "a", .password = "b", .server_address = "reg.test:5000", .expect = "a:b"},
        AuthCase{.name = "another port", .username = "a", .password = "b", .server_address = "reg.test", .expect = "anonymous"},
        AuthCase{.name = "another host", .username = "a", .password = "b", .server_address = "https://evil.test", .expect = "anonymous"},
        AuthCase{.name = "the hub's key", .username = "a", .password = "b", .server_address = "https://index.docker.io/v1/", .image = "busybox",
                 .expect = "a:b"},
        AuthCase{.name = "the hub's server", .username = "a", .password = "b", .server_address = "registry-1.docker.io", .image = "busybox",
                 .expect = "a:b"}));

TEST(TakeAuth, SaysWhatOfItIsWrong) {
  for (const auto& [auth, text] : {std::pair{"YTpjYW5hcnkAYg==", "the password holds a NUL character"}, std::pair{"YQ1iOmNhbmFyeQ==", "the user name or a token holds control characters"}}) {
    v1::AuthConfig config;
    config.set_auth(auth);
    EXPECT_EQ(cri::TakeAuth(config, *reference::Reference::Parse("busybox")).error().Text(), text);
  }
}

TEST(TakeAuth, RefusesMoreThanItsLimitAndWipesIt) {
  v1::AuthConfig config;
  config.set_username("alice");
  config.set_password(std::string(1 << 20, 'x'));
  const auto taken = cri::TakeAuth(config, *reference::Reference::Parse("busybox"));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().reason(), Reason::kUsage);
  EXPECT_EQ(config.password(), "");
}

// --- pulls

TEST(TakePull, AsksTheRegistryAlwaysWithTheRequestsCredentialOnly) {
  v1::PullImageRequest request;
  request.mutable_image()->set_image("busybox");
  auto order = TakePull(request, {});
  ASSERT_TRUE(order) << order.error().Text();
  EXPECT_EQ(order->request.reference.Canonical(), "docker.io/library/busybox:latest");
  EXPECT_EQ(order->request.policy, pull::Policy::kAlways);
  EXPECT_TRUE(order->node_credentials);
  request.mutable_auth()->set_username("alice");
  request.mutable_auth()->set_password("canary");
  order = TakePull(request, {});
  ASSERT_TRUE(order);
  EXPECT_FALSE(order->node_credentials);
  EXPECT_THAT(order->request.credentials, SizeIs(1));
}

struct RefusedPull {
  const char* name;
  std::string image, handler;
  Reason reason;
};
void PrintTo(const RefusedPull& row, std::ostream* out) { *out << row.name; }
class RefusedPulls : public ::testing::TestWithParam<RefusedPull> {};
TEST_P(RefusedPulls, AreRefusedAndLeaveNoSecret) {  // G-08, G-12, runtime-registry 1.4
  v1::PullImageRequest request;
  request.mutable_image()->set_image(GetParam().image);
  request.mutable_image()->set_runtime_handler(GetParam().handler);
  request.mutable_auth()->set_username("alice");
  request.mutable_auth()->set_password("canary");
  const auto order = TakePull(request, {"runc", "kata"});
  ASSERT_FALSE(order);
  EXPECT_EQ(order.error().reason(), GetParam().reason) << order.error().Text();
  EXPECT_THAT(order.error().Text(), Not(HasSubstr("canary")));
  EXPECT_LT(order.error().Text().size(), 2000u);
  EXPECT_EQ(order.error().Text().find('\n'), std::string::npos);
  EXPECT_EQ(request.auth().password(), "");
}
INSTANTIATE_TEST_SUITE_P(
    Rows, RefusedPulls,
    ::testing::Values(RefusedPull{"empty", "", "", Reason::kUsage}, RefusedPull{"upper case", "busyBox", "", Reason::kInvalidReference},
                      RefusedPull{"an id", std::string(64, 'a'), "", Reason::kInvalidReference},
                      RefusedPull{"a digest alone", kDigest, "", Reason::kInvalidReference},
                      RefusedPull{"a digest of another algorithm alone", "sha512:" + std::string(128, 'a'), "", Reason::kInvalidReference},
                      RefusedPull{"NUL", std::string("a\0b", 3), "", Reason::kInvalidReference},
                      RefusedPull{"line", "a\nb", "", Reason::kInvalidReference}, RefusedPull{"two tags", "a:1:2", "", Reason::kInvalidReference},
                      RefusedPull{"climbing", "../../etc/passwd", "", Reason::kInvalidReference},
                      RefusedPull{"a mebibyte", std::string(1 << 20, 'a'), "", Reason::kInvalidReference},
                      RefusedPull{"unknown handler", "busybox", "gvisor", Reason::kUsage},
                      RefusedPull{"hostile handler", "busybox", "../runc\n", Reason::kUsage}));

TEST(TakePull, KnowsTheHandlersOfTheSettings) {
  v1::PullImageRequest request;
  request.mutable_image()->set_image("busybox");
  request.mutable_image()->set_runtime_handler("kata");
  EXPECT_TRUE(TakePull(request, {"runc", "kata"}));
}

TEST(TakePull, TellsTheJournalForWhomInFewWords) {  // G-12
  v1::PullImageRequest request;
  request.mutable_image()->set_image("busybox");
  auto* pod = request.mutable_sandbox_config()->mutable_metadata();
  pod->set_namespace_("shop");
  pod->set_name("web-\n../../x");
  pod->set_uid("u-1");
  (*request.mutable_image()->mutable_annotations())["team"] = "blue";
  (*request.mutable_sandbox_config()->mutable_annotations())["big"] = std::string(1 << 20, 'x');
  for (int i = 0; i < 1000; ++i) (*request.mutable_sandbox_config()->mutable_annotations())["k" + std::to_string(i)] = "v";
  const auto order = TakePull(request, {});
  ASSERT_TRUE(order);
  const auto& asker = order->request.asker;
  EXPECT_EQ(asker.client, "CRI");
  EXPECT_EQ(asker.pod_namespace, "shop");
  EXPECT_EQ(asker.pod_uid, "u-1");
  EXPECT_THAT(asker.annotations, SizeIs(16));
  EXPECT_EQ(asker.annotations.at("team"), "blue");
  const std::string record = pull::Record().ToJson(pull::Policy::kAlways, asker, {.target = *digest::Digest::Parse(kDigest)}, nullptr);
  EXPECT_LT(record.size(), 16'000u);
  EXPECT_EQ(record.find('\n'), std::string::npos);
  const auto document = json::Document::Parse(record, Reason::kCorrupt);
  ASSERT_TRUE(document) << record;
  EXPECT_EQ(*document->root().Find("for")->Find("pod")->AsString(), "web-\n../../x");
}

// --- errors: runtime-registry 1.9, kubelet-images 4.5

struct ErrorCase {
  Reason reason;
  grpc::StatusCode code;
  const char* begins;
};
void PrintTo(const ErrorCase& row, std::ostream* out) { *out << result::Describe(row.reason).code; }
class Errors : public ::testing::TestWithParam<ErrorCase> {};
TEST_P(Errors, AreWhatAKubeletReads) {
  grpc::CallbackServerContext call;
  const auto status = ToStatus(call, Error(GetParam().reason, "it went wrong\nhere").Context("reg.test/a:1").Next("do this"));
  EXPECT_EQ(status.error_code(), GetParam().code);
  EXPECT_EQ(status.error_message(), GetParam().begins + std::string(" reg.test/a:1: it went wrong here; do this"));
}
INSTANTIATE_TEST_SUITE_P(
    Rows, Errors,
    ::testing::Values(ErrorCase{Reason::kDns, grpc::StatusCode::UNKNOWN, "RegistryUnavailable: E-DNS"},
                      ErrorCase{Reason::kRefused, grpc::StatusCode::UNKNOWN, "RegistryUnavailable: E-REFUSED"},
                      ErrorCase{Reason::kServerError, grpc::StatusCode::UNKNOWN, "RegistryUnavailable: E-5XX"},
                      ErrorCase{Reason::kConnectionReset, grpc::StatusCode::UNKNOWN, "RegistryUnavailable: E-RESET"},
                      ErrorCase{Reason::kStalled, grpc::StatusCode::UNKNOWN, "RegistryUnavailable: E-STALLED"},
                      ErrorCase{Reason::kTimeout, grpc::StatusCode::UNKNOWN, "RegistryUnavailable: E-TIMEOUT"},
                      ErrorCase{Reason::kUnauthorized, grpc::StatusCode::UNAUTHENTICATED, "E-AUTH-401"},
                      ErrorCase{Reason::kDenied, grpc::StatusCode::PERMISSION_DENIED, "E-AUTH-403"},
                      ErrorCase{Reason::kNotFound, grpc::StatusCode::NOT_FOUND, "E-MANIFEST-404"},
                      ErrorCase{Reason::kNoMatch, grpc::StatusCode::NOT_FOUND, "E-PLATFORM"},
                      ErrorCase{Reason::kRateLimited, grpc::StatusCode::UNAVAILABLE, "E-429"},
                      ErrorCase{Reason::kTlsCa, grpc::StatusCode::UNAVAILABLE, "E-TLS-CA"},
                      ErrorCase{Reason::kDigestMismatch, grpc::StatusCode::DATA_LOSS, "E-DIGEST"},
                      ErrorCase{Reason::kNoSpace, grpc::StatusCode::RESOURCE_EXHAUSTED, "E-ENOSPC"},
                      ErrorCase{Reason::kInvalidReference, grpc::StatusCode::INVALID_ARGUMENT, "E-NAME"},
                      ErrorCase{Reason::kCanceled, grpc::StatusCode::CANCELLED, "E-CANCELED"},
                      ErrorCase{Reason::kInUse, grpc::StatusCode::FAILED_PRECONDITION, "E-IN-USE"}));

TEST(Errors, FitIntoAnEvent) {
  grpc::CallbackServerContext call;
  const auto status = ToStatus(call, Error(Reason::kRefused, std::string(880, 'x')).Next("a next step that does not fit any more"));
  EXPECT_LE(status.error_message().size(), 900u);
  grpc::CallbackServerContext other;
  EXPECT_LE(ToStatus(other, Error(Reason::kRefused, std::string(5000, 'x'))).error_message().size(), 930u);
}

}  // namespace
}  // namespace berth::cri
