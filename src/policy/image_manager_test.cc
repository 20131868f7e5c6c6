// kubelet-images 4.3 to 4.7, 4.9; product 3.4, 3.5.
#include "policy/image_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::policy {
namespace {

using host::testing::Scratch;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using time::testing::ManualClock;
using Calls = std::vector<std::string>;

AccessCredential Secret(std::string name, std::string uid, std::string hash) {
  return {AccessCredential::Kind::kSecret, std::move(uid), "shop", std::move(name), std::move(hash)};
}
const AccessCredential kNode, kSecret = Secret("regcred", "u1", "h1"), kSa{AccessCredential::Kind::kServiceAccount, "sa1", "shop", "default", ""};

class FakeService : public ImageService {
 public:
  Result<std::string> KnownId(const std::string&) override { return std::string(); }
  Result<std::string> ImageRef(const task::Context&, const std::string& image) override {
    calls.push_back("GetImageRef");
    images.push_back(image);
    if (inspect_error) return *inspect_error;
    return present;
  }
  Result<std::string> Pull(const task::Context& ctx, const std::string& image, const credentials::Credential* credential,
                           const BeforeVisible& before) override {
    before_visible = before;
    calls.push_back("PullImage");
    images.push_back(image);
    users.push_back(credential == nullptr ? "" : credential->username);
    if (on_pull) return on_pull(ctx, credential);
    return std::string("sha256:pulled");
  }
  Result<std::uint64_t> Size(const task::Context&, const std::string&) override {
    calls.push_back("GetImageSize");
    if (size_fails) return Error(Reason::kIo, "no");
    return 91098008u;
  }

  std::string present;
  std::optional<Error> inspect_error;
  std::function<Result<std::string>(const task::Context&, const credentials::Credential*)> on_pull;
  BeforeVisible before_visible;  // of the last pull
  bool size_fails = false;
  Calls calls, images, users;
};

class FakeEvents : public EventSink {
 public:
  void Emit(const ObjectRef& object, const Event& event) override {
    std::lock_guard lock(mutex_);
    reasons.push_back(event.reason);
    last = event;
    EXPECT_EQ(object.field_path, "spec.containers{web}");
  }
  Calls reasons;
  Event last;

 private:
  std::mutex mutex_;
};

class FakeCredentials : public CredentialSource {
 public:
  Result<std::vector<PullCredential>> Find(const task::Context&, const std::string& repository) override {
    asked.push_back(repository);
    if (error) return *error;
    std::vector<PullCredential> out;
    for (const auto& access : accesses) {
      PullCredential c;
      c.credential.username = "user" + std::to_string(out.size() + 1);
      c.credential.password = secret::Secret("pw");
      c.credential.source = access.Describe();
      c.access = access;
      out.push_back(std::move(c));
    }
    return out;
  }
  std::vector<AccessCredential> accesses;
  std::optional<Error> error;
  Calls asked;
};

// One Pod with one container, "pod" and "web".
class Bench {
 public:
  explicit Bench(ImageManager::Options options = {}, bool gate = true)
      : manager(options, {service, events, gate ? Open() : nullptr, clock}) {}
  Outcome Ensure(const std::string& image, std::optional<PullPolicy> policy, const task::Context& ctx = task::Context()) {
    return manager.EnsureImageExists(ctx, {{"shop", "web", "pod", "spec.containers{web}"}, "pod", image, policy, announce}, credentials);
  }
  // As if this node had pulled `image` with `access` before.
  void Record(const std::string& image, const std::string& id, const AccessCredential& access) {
    auto intent = records->Begin(image);
    ASSERT_TRUE(intent.Succeeded(id, access));
  }
  std::size_t Intents() { return scratch.dir().OpenDir("image_manager/pulling")->List()->size(); }

  Scratch scratch;
  ManualClock clock;
  std::shared_ptr<Records> records;
  FakeService service;
  FakeEvents events;
  FakeCredentials credentials;
  bool announce = true;
  ImageManager manager;

 private:
  Records* Open() {
    records = *Records::Open(scratch.dir(), {}, clock);
    return records.get();
  }
};

// --- 4.6 and the vectors of 4.7

constexpr auto kAlways = PullPolicy::kAlways, kIfNotPresent = PullPolicy::kIfNotPresent, kNever = PullPolicy::kNever;
struct Vector {
  const char* what;
  const char* image = "reg.example/app:1";
  std::optional<PullPolicy> policy = kIfNotPresent;
  bool present = false, inspect_fails = false, gate = true;
  std::vector<AccessCredential> recorded, pod;
  Calls calls, events;
  std::string reason = {};
  Metrics::Request labels;
};
void PrintTo(const Vector& v, std::ostream* out) { *out << v.what; }

class Vectors : public testing::TestWithParam<Vector> {};
TEST_P(Vectors, CallsErrorEventsMetric) {
  const Vector& v = GetParam();
  Bench b({}, v.gate);
  if (v.present) b.service.present = "sha256:there";
  if (v.inspect_fails) b.service.inspect_error = Error(Reason::kIo, "boom");
  for (const auto& c : v.recorded) b.Record(v.image, "sha256:there", c);
  b.credentials.accesses = v.pod;
  const auto o = b.Ensure(v.image, v.policy);
  EXPECT_EQ(o.reason, v.reason) << o.message;
  EXPECT_EQ(o.ok(), v.reason.empty());
  EXPECT_EQ(o.image_ref.empty(), !v.reason.empty());
  EXPECT_EQ(b.service.calls, v.calls);
  EXPECT_EQ(b.events.reasons, v.events);
  EXPECT_THAT(b.manager.metrics().ensure_requests, ElementsAre(std::pair(v.labels, 1u)));
  EXPECT_LE(b.credentials.asked.size(), 1u);
  if (v.gate) { EXPECT_EQ(b.Intents(), 0u); }
  if (o.ok()) {
    EXPECT_EQ(o.image_ref, o.trace.pulled ? "sha256:pulled" : "sha256:there");
  } else {
    EXPECT_EQ(b.events.last.message, o.message) << "one text for both";
  }
}
const Calls kPull{"PullImage", "GetImageSize"}, kLook{"GetImageRef"}, kLookAndPull{"GetImageRef", "PullImage", "GetImageSize"}, kPulling{"Pulling", "Pulled"}, kPulled{"Pulled"};
const AccessCredential kUnknown = Secret("other", "u9", "h9"), kOtherUid = Secret("regcred", "u2", "h2");
#define HEX64 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
INSTANTIATE_TEST_SUITE_P(
    Table, Vectors,
    testing::Values(
        Vector{.what = "missing", .calls = kLookAndPull, .events = kPulling, .labels = {"ifnotpresent", "false", "true"}},
        Vector{.what = "present, gate off", .present = true, .gate = false, .calls = kLook, .events = kPulled, .labels = {"ifnotpresent", "true", "false"}},
        Vector{.what = "present, preloaded", .present = true, .calls = kLook, .events = kPulled, .labels = {"ifnotpresent", "true", "false"}},
        Vector{.what = "Always", .policy = kAlways, .present = true, .calls = kPull, .events = kPulling, .labels = {"always", "unknown", "true"}},
        Vector{.what = "Always, known secret", .policy = kAlways, .present = true, .recorded = {kSecret}, .pod = {kSecret}, .calls = kPull, .events = kPulling,
               .labels = {"always", "unknown", "true"}},
        Vector{.what = "missing, Never", .policy = kNever, .calls = kLook, .events = {"ErrImageNeverPull"}, .reason = "ErrImageNeverPull", .labels = {"never", "false", "unknown"}},
        Vector{.what = "present, Never, preloaded", .policy = kNever, .present = true, .calls = kLook, .events = kPulled, .labels = {"never", "true", "false"}},
        Vector{.what = "inspect error", .inspect_fails = true, .calls = kLook, .events = {"InspectFailed"}, .reason = "ImageInspectError",
               .labels = {"ifnotpresent", "unknown", "unknown"}},
        Vector{.what = "inspect error, Never", .policy = kNever, .inspect_fails = true, .calls = kLook, .events = {"InspectFailed"}, .reason = "ImageInspectError",
               .labels = {"never", "unknown", "unknown"}},
        Vector{.what = "upper case", .image = "FAILED_IMAGE", .policy = kAlways, .calls = {}, .events = {"InspectFailed"}, .reason = "InvalidImageName",
               .labels = {"always", "unknown", "unknown"}},
        Vector{.what = "a URL", .image = "http://url", .policy = kAlways, .calls = {}, .events = {"InspectFailed"}, .reason = "InvalidImageName",
               .labels = {"always", "unknown", "unknown"}},
        Vector{.what = "an id", .image = HEX64, .policy = kAlways, .calls = {}, .events = {"InspectFailed"}, .reason = "InvalidImageName", .labels = {"always", "unknown", "unknown"}},
        Vector{.what = "secret unknown", .present = true, .recorded = {kSecret}, .pod = {kUnknown}, .calls = kLookAndPull, .events = kPulling,
               .labels = {"ifnotpresent", "true", "true"}},
        Vector{.what = "no secret", .present = true, .recorded = {kSecret}, .calls = kLookAndPull, .events = kPulling, .labels = {"ifnotpresent", "true", "true"}},
        Vector{.what = "other UID of secret", .present = true, .recorded = {kSecret}, .pod = {kOtherUid}, .calls = kLookAndPull, .events = kPulling,
               .labels = {"ifnotpresent", "true", "true"}},
        Vector{.what = "unknown secret, Never", .policy = kNever, .present = true, .recorded = {kSecret}, .pod = {kUnknown}, .calls = kLook, .events = {"ErrImageNeverPull"},
               .reason = "ErrImageNeverPull", .labels = {"never", "true", "true"}},
        Vector{.what = "known secret, Never", .policy = kNever, .present = true, .recorded = {kSecret}, .pod = {kSecret}, .calls = kLook, .events = kPulled,
               .labels = {"never", "true", "false"}},
        Vector{.what = "two secrets, second matches", .present = true, .recorded = {kSecret}, .pod = {kUnknown, kSecret}, .calls = kLook, .events = kPulled,
               .labels = {"ifnotpresent", "true", "false"}},
        Vector{.what = "service account known", .present = true, .recorded = {kSa}, .pod = {kSa}, .calls = kLook, .events = kPulled, .labels = {"ifnotpresent", "true", "false"}},
        Vector{.what = "only node credentials", .present = true, .recorded = {kNode}, .pod = {kNode}, .calls = kLook, .events = kPulled, .labels = {"ifnotpresent", "true", "false"}},
        Vector{.what = "a policy nobody knows pulls", .policy = std::nullopt, .present = true, .calls = kPull, .events = kPulling, .labels = {"other", "unknown", "true"}}));

TEST(ImageManager, MessagesAreExact) {
  Bench b;
  b.service.on_pull = [&](auto&, auto*) -> Result<std::string> { b.clock.Advance(time::Duration(412'999'999)); return std::string("id"); };
  ASSERT_TRUE(b.Ensure("busybox", kAlways).ok());
  EXPECT_EQ(b.events.last.message, "Successfully pulled image \"busybox\" in 412ms (412ms including waiting). Image size: 91098008 bytes.");
  b.service.size_fails = true;
  ASSERT_TRUE(b.Ensure("busybox", kAlways).ok());
  EXPECT_THAT(b.events.last.message, HasSubstr("Image size: 0 bytes."));
  b.service.present = "id";
  ASSERT_TRUE(b.Ensure("busybox", kIfNotPresent).ok());
  EXPECT_EQ(b.events.last.message, "Container image \"busybox\" already present on machine and can be accessed by the pod");
  b.service.present = "";
  EXPECT_EQ(b.Ensure("busybox", kNever).message, "Container image \"busybox\" is not present with pull policy of Never");
  b.service.inspect_error = Error(Reason::kIo, "boom");
  EXPECT_EQ(b.Ensure("busybox", kIfNotPresent).message, "Failed to inspect image \"\": boom");
  EXPECT_EQ(b.Ensure("FAILED_IMAGE", kIfNotPresent).message,
            "Failed to apply default image tag \"FAILED_IMAGE\": couldn't parse image name \"FAILED_IMAGE\": invalid reference format: repository name "
            "(library/FAILED_IMAGE) must be lowercase");
}

TEST(ImageManager, NeverDoesNotTellPresenceFromAbsence) {
  Bench absent, denied;
  denied.service.present = "sha256:there";
  denied.Record("reg.example/app:1", "sha256:there", kSecret);
  const auto a = absent.Ensure("reg.example/app:1", kNever), d = denied.Ensure("reg.example/app:1", kNever);
  EXPECT_EQ(a.reason, d.reason);
  EXPECT_EQ(a.message, d.message);
  EXPECT_EQ(absent.events.last, denied.events.last);
  EXPECT_EQ(d.image_ref, "");
}

struct Spelling { const char *image, *cri, *repository; };
class Spellings : public testing::TestWithParam<Spelling> {};
TEST_P(Spellings, TheServiceSeesTheUsersTheKeyringTheNormalisedOne) {
  Bench b;
  ASSERT_TRUE(b.Ensure(GetParam().image, kIfNotPresent).ok());
  EXPECT_THAT(b.service.images, ElementsAre(GetParam().cri, GetParam().cri));
  EXPECT_THAT(b.credentials.asked, ElementsAre(GetParam().repository));
}
INSTANTIATE_TEST_SUITE_P(Table, Spellings,
                         testing::Values(Spelling{"root", "root:latest", "docker.io/library/root"}, Spelling{"root:latest", "root:latest", "docker.io/library/root"},
                                         Spelling{"root:tag", "root:tag", "docker.io/library/root"}, Spelling{"root@sha256:" HEX64, "root@sha256:" HEX64, "docker.io/library/root"},
                                         Spelling{"root:latest@sha256:" HEX64, "root:latest@sha256:" HEX64, "docker.io/library/root"},
                                         Spelling{"reg.example:5000/a/b", "reg.example:5000/a/b:latest", "reg.example:5000/a/b"}));

// --- back-off

TEST(ImageManager, BackOffLadderOfTheKubeletsTest) {
  Bench b({.backoff = {seconds(1), seconds(60)}});
  b.service.on_pull = [](auto&, auto*) -> Result<std::string> { return Error(Reason::kNotFound, "404"); };
  Calls reasons;
  for (int i = 0; i < 6; ++i, b.clock.Advance(seconds(1))) reasons.push_back(b.Ensure("img", kIfNotPresent).reason);
  EXPECT_THAT(reasons, ElementsAre("ErrImagePull", "ErrImagePull", "ImagePullBackOff", "ErrImagePull", "ImagePullBackOff", "ImagePullBackOff"));
  EXPECT_EQ(b.Ensure("img", kIfNotPresent).message, "Back-off pulling image \"img\": ErrImagePull: 404");
  EXPECT_EQ(b.events.last, (Event{"BackOff", false, "Back-off pulling image \"img\""}));
  EXPECT_EQ(b.Intents(), 0u);
}

TEST(ImageManager, ExhaustedQpsFailsAndBacksOff) {
  Bench b({.registry_pull_qps = 2000, .registry_burst = 0, .backoff = {seconds(1), seconds(60)}});
  Calls reasons;
  for (int i = 0; i < 3; ++i, b.clock.Advance(seconds(1))) {
    const auto o = b.Ensure("img", kAlways);
    reasons.push_back(o.reason);
    EXPECT_EQ(o.message, i < 2 ? "pull QPS exceeded" : "Back-off pulling image \"img\": ErrImagePull: pull QPS exceeded");
    EXPECT_EQ(o.trace.throttled, i < 2);
  }
  EXPECT_THAT(reasons, ElementsAre("ErrImagePull", "ErrImagePull", "ImagePullBackOff"));
  EXPECT_THAT(b.events.reasons, ElementsAre("Pulling", "Failed", "Pulling", "Failed", "BackOff"));
  EXPECT_THAT(b.service.calls, IsEmpty());
}

TEST(ImageManager, OneTokenHoweverManyCredentials) {
  Bench b({.registry_pull_qps = 1, .registry_burst = 1});
  b.credentials.accesses = {kSecret, kUnknown, kNode};
  b.service.on_pull = [](auto&, const credentials::Credential* c) -> Result<std::string> {
    if (c->username == "user3") return std::string("id");
    return Error(Reason::kUnauthorized, "401 " + c->username);
  };
  EXPECT_TRUE(b.Ensure("img", kAlways).ok());
  EXPECT_EQ(b.Ensure("img", kAlways).message, "pull QPS exceeded");
}

TEST(ImageManager, SignatureFailureKeepsItsReasonInBackOff) {
  Bench b;
  b.service.on_pull = [](auto&, auto*) -> Result<std::string> { return Error(Reason::kPolicy, "SignatureValidationFailed"); };
  const auto first = b.Ensure("typo_image", kAlways), second = b.Ensure("typo_image", kAlways);
  EXPECT_EQ(first.reason, "SignatureValidationFailed");
  EXPECT_EQ(first.message, "image pull failed for typo_image because the signature validation failed");
  EXPECT_EQ(second.reason, "ImagePullBackOff");
  EXPECT_EQ(second.message,
            "Back-off pulling image \"typo_image\": SignatureValidationFailed: image pull failed for typo_image because the signature validation failed");
  ASSERT_TRUE(second.trace.backoff);
  EXPECT_EQ(second.trace.backoff->failures, 1u);
  EXPECT_EQ(second.trace.backoff->remaining, seconds(10));
}

TEST(ImageManager, SuccessDoesNotResetTheLadder) {
  Bench b;
  bool fail = true;
  b.service.on_pull = [&](auto&, auto*) -> Result<std::string> {
    if (fail) return Error(Reason::kServerError, "503");
    return std::string("id");
  };
  b.Ensure("img", kAlways);
  b.clock.Advance(seconds(10));
  fail = false;
  EXPECT_TRUE(b.Ensure("img", kAlways).ok());
  fail = true;
  EXPECT_EQ(b.Ensure("img", kAlways).trace.backoff->delay, seconds(20));
}

TEST(ImageManager, BackOffIsOfOnePodAndSpelling) {
  Bench b;
  b.service.on_pull = [](auto&, auto*) -> Result<std::string> { return Error(Reason::kNotFound, "404"); };
  b.Ensure("busybox", kAlways);
  EXPECT_EQ(b.Ensure("busybox", kAlways).reason, "ImagePullBackOff");
  EXPECT_EQ(b.Ensure("busybox:latest", kAlways).reason, "ErrImagePull");
  Request other{{"shop", "web", "pod2", "spec.containers{web}"}, "pod2", "busybox", kAlways, true};
  EXPECT_EQ(b.manager.EnsureImageExists(task::Context(), other, b.credentials).reason, "ErrImagePull");
}

// --- credentials

struct Attempts { const char* what; std::size_t credentials; std::vector<std::string> errors; const char* message; Calls users; };
class SeveralCredentials : public testing::TestWithParam<Attempts> {};
TEST_P(SeveralCredentials, InSequenceUntilOneWorks) {
  const auto& p = GetParam();
  Bench b;
  b.credentials.accesses = std::vector<AccessCredential>(p.credentials, kNode);
  b.service.on_pull = [&, i = std::size_t{0}](auto&, auto*) mutable -> Result<std::string> {
    if (i >= p.errors.size()) return std::string("id");
    return Error(Reason::kUnauthorized, p.errors[i++]);
  };
  const auto o = b.Ensure("img", kAlways);
  EXPECT_EQ(o.message, p.message) << p.what;
  EXPECT_EQ(b.service.users, p.users) << p.what;
  EXPECT_EQ(o.trace.attempts.size(), p.users.size());
}
INSTANTIATE_TEST_SUITE_P(Table, SeveralCredentials,
                         testing::Values(Attempts{"none: anonymous", 0, {}, "", {""}}, Attempts{"one fails: no anonymous attempt", 1, {"401"}, "401", {"user1"}},
                                         Attempts{"the second works", 3, {"401"}, "", {"user1", "user2"}},
                                         Attempts{"all fail", 2, {"401", "403"}, "[401, 403]", {"user1", "user2"}},
                                         Attempts{"all fail alike", 2, {"401", "401"}, "401", {"user1", "user2"}},
                                         Attempts{"the word is lost in a list", 2, {"RegistryUnavailable", "x"}, "[RegistryUnavailable, x]", {"user1", "user2"}}));

TEST(ImageManager, AnonymousFallbackOnlyWhenAllWereRefused) {
  for (const auto reason : {Reason::kUnauthorized, Reason::kTimeout}) {
    Bench b({.anonymous_fallback = true});
    b.credentials.accesses = {kSecret};
    b.service.on_pull = [&](auto&, const credentials::Credential* c) -> Result<std::string> {
      if (c == nullptr) return std::string("id");
      return Error(reason, "no");
    };
    const auto o = b.Ensure("img", kAlways);
    EXPECT_EQ(o.ok(), reason == Reason::kUnauthorized);
    if (!o.ok()) continue;
    EXPECT_EQ(o.trace.attempts[1].credential, "anonymous");
    EXPECT_TRUE(b.records->Find("id")->access["img"].node_pods);
  }
}

TEST(ImageManager, TheCredentialThatWorkedIsRecorded) {
  Bench b;
  b.credentials.accesses = {kUnknown, kSecret};
  b.service.on_pull = [](auto&, const credentials::Credential* c) -> Result<std::string> {
    if (c->username == "user2") return std::string("sha256:id");
    return Error(Reason::kUnauthorized, "401");
  };
  const auto o = b.Ensure("reg.example/app:1", kIfNotPresent);
  ASSERT_TRUE(o.ok());
  EXPECT_THAT(b.records->Find("sha256:id")->access["reg.example/app"].secrets, ElementsAre(kSecret));
  ASSERT_EQ(o.trace.attempts.size(), 2u);
  EXPECT_EQ(o.trace.attempts[0].credential, "secret shop/other (user1)");
  EXPECT_EQ(o.trace.attempts[0].error->reason(), Reason::kUnauthorized);
  EXPECT_FALSE(o.trace.attempts[1].error);
  // The tenant that proved itself uses it; another one must ask the registry, which refuses.
  b.service.present = "sha256:id";
  EXPECT_FALSE(b.Ensure("reg.example/app:1", kIfNotPresent).trace.pull_required);
  b.credentials.accesses = {Secret("tenant-b", "ub", "hb")};
  const auto denied = b.Ensure("reg.example/app:1", kIfNotPresent);
  EXPECT_EQ(denied.reason, "ErrImagePull");
  EXPECT_EQ(denied.image_ref, "");
  EXPECT_THAT(denied.trace.access->proven, ElementsAre(kSecret));
}

TEST(ImageManager, BrokenCredentialsAreTheReasonThemselves) {
  Bench b;
  b.credentials.error = Error(Reason::kInvalidCredentials, "unexpected end of JSON input");
  const auto o = b.Ensure("img", kIfNotPresent);
  EXPECT_EQ(o.reason, "unexpected end of JSON input");
  EXPECT_EQ(o.message, "unexpected end of JSON input");
  EXPECT_THAT(b.events.reasons, IsEmpty());
  EXPECT_EQ(b.manager.backoff().size(), 0u);
  EXPECT_THAT(b.service.calls, ElementsAre("GetImageRef"));
  // The same while verifying an image that is there; asked once.
  b.Record("img", "there", kSecret);
  b.service.present = "there";
  b.credentials.asked.clear();
  EXPECT_EQ(b.Ensure("img", kIfNotPresent).reason, "unexpected end of JSON input");
  EXPECT_EQ(b.credentials.asked.size(), 1u);
  EXPECT_EQ(b.manager.metrics().must_pull_checks.at("error"), 1u);
}

TEST(ImageManager, CredentialsAreNotAskedForWhereTheyDoNotMatter) {
  Bench b;
  b.service.present = "there";
  b.Ensure("img", kIfNotPresent);
  b.service.present = "";
  b.Ensure("img", kNever);
  b.Ensure("FAILED_IMAGE", kAlways);
  EXPECT_THAT(b.credentials.asked, IsEmpty());
  EXPECT_EQ(b.manager.metrics().must_pull_checks.at("credentialPolicyAllowed"), 1u);
}

TEST(ImageManager, AnEmptyIdIsAnError) {
  Bench b;
  b.service.on_pull = [](auto&, auto*) -> Result<std::string> { return std::string(); };
  EXPECT_EQ(b.Ensure("img", kAlways).message, "imageRef of image \"img:latest\" is not set");
}

// --- intents

TEST(ImageManager, TheIntentIsOnDiskWhileThePullRuns) {
  Bench b;
  std::size_t during = 0;
  b.service.on_pull = [&](auto&, auto*) -> Result<std::string> { during = b.Intents(); return std::string("id"); };
  ASSERT_TRUE(b.Ensure("img", kAlways).ok());
  EXPECT_EQ(during, 1u);
  EXPECT_EQ(b.Intents(), 0u);
}

TEST(ImageManager, WithoutAnIntentNoPull) {
  Bench b;
  ASSERT_TRUE(b.scratch.dir().MakeDir("image_manager/pulling/" + RecordFileName("img"), 0700));
  const auto o = b.Ensure("img", kAlways);
  EXPECT_THAT(o.message, testing::StartsWith("Failed to record image pull intent for container image \"img\": "));
  EXPECT_EQ("Failed to record image pull intent for container image \"img\": " + o.reason, o.message);
  EXPECT_THAT(b.service.calls, IsEmpty());
  EXPECT_THAT(b.events.reasons, IsEmpty());
}

// The image appears before anybody has proven anything, and perhaps after its pull has ended.
struct AppearsRow { const char* name; bool cancelled; std::string image; };
void PrintTo(const AppearsRow& row, std::ostream* out) { *out << row.name; }
class Appearing : public testing::TestWithParam<AppearsRow> {};
TEST_P(Appearing, AnImageIsNeverTakenForAPreloadedOne) {
  Bench b;
  std::stop_source stop;
  b.credentials.accesses = {kSecret};
  const auto must = [&] {
    return b.records->MustAttemptPull(GetParam().image, "sha256:pulled", [] { return std::vector<AccessCredential>(); }).must_pull;
  };
  const auto appear = [&] {
    ASSERT_TRUE(b.service.before_visible);
    const auto coming = b.service.before_visible({"sha256:pulled"});
    ASSERT_TRUE(coming) << coming.error().Text();
    EXPECT_TRUE(must());
  };
  b.service.on_pull = [&](const task::Context& ctx, auto*) -> Result<std::string> {
    if (!GetParam().cancelled) appear();
    else stop.request_stop();
    RETURN_IF_ERROR(ctx.Check());
    return std::string("sha256:pulled");
  };
  EXPECT_EQ(b.Ensure("reg.example/app:1", kAlways, task::Context(stop.get_token())).cancelled, GetParam().cancelled);
  if (GetParam().cancelled) appear();
  EXPECT_TRUE(must());
}
INSTANTIATE_TEST_SUITE_P(Table, Appearing, testing::Values(
    AppearsRow{"CancelledByTag", true, "reg.example/app:1"}, AppearsRow{"CancelledByDigest", true, "reg.example/app@sha256:" HEX64},
    AppearsRow{"CancelledById", true, "sha256:" HEX64}, AppearsRow{"RunningByTag", false, "reg.example/app:1"},
    AppearsRow{"RunningByOtherTag", false, "reg.example/app:2"}, AppearsRow{"RunningByDigest", false, "reg.example/app@sha256:" HEX64},
    AppearsRow{"RunningById", false, "sha256:" HEX64}),
    [](const auto& row) { return row.param.name; });

TEST(ImageManager, WithoutRecordsNobodyIsAsked) {
  Bench b({}, false);
  ASSERT_TRUE(b.Ensure("img", kAlways).ok());
  EXPECT_FALSE(b.service.before_visible);
}

// --- cancellation

TEST(ImageManager, ACancelledPullIsNoFailure) {
  Bench b;
  std::stop_source stop;
  b.credentials.accesses = {kSecret, kUnknown};
  b.service.on_pull = [&](const task::Context& ctx, auto*) -> Result<std::string> {
    stop.request_stop();
    return ctx.Check().error();
  };
  const auto o = b.Ensure("img", kAlways, task::Context(stop.get_token()));
  EXPECT_TRUE(o.cancelled);
  EXPECT_FALSE(o.ok());
  EXPECT_THAT(b.events.reasons, ElementsAre("Pulling"));
  EXPECT_EQ(b.manager.backoff().size(), 0u);
  EXPECT_THAT(b.service.users, ElementsAre("user1")) << "no second credential";
  EXPECT_EQ(b.Intents(), 0u);
}

TEST(ImageManager, ACancelledPodLeavesTheQueue) {
  Bench b;
  std::stop_source stop;
  b.service.on_pull = [&](auto&, auto*) -> Result<std::string> {
    // While this one pulls, another Pod waits for its turn and is deleted.
    Outcome other;
    std::jthread waiting([&] {
      other = b.manager.EnsureImageExists(task::Context(stop.get_token()), {{"shop", "b", "pod2", "spec.containers{web}"}, "pod2", "img", kAlways, true}, b.credentials);
    });
    while (b.manager.queue().counters().queued == 0) std::this_thread::yield();
    stop.request_stop();
    waiting.join();
    EXPECT_TRUE(other.cancelled);
    return std::string("id");
  };
  ASSERT_TRUE(b.Ensure("img", kAlways).ok());
  EXPECT_EQ(b.manager.queue().counters().withdrawn, 1u);
  EXPECT_EQ(b.service.users.size(), 1u);
}

TEST(ImageManager, WaitingCountsInTheSecondDuration) {
  Bench b;
  Outcome other;
  std::jthread waiting;
  b.service.on_pull = [&, first = true](auto&, auto*) mutable -> Result<std::string> {
    if (!std::exchange(first, false)) {
      b.clock.Advance(seconds(1));
      return std::string("id");
    }
    waiting = std::jthread([&] {
      other = b.manager.EnsureImageExists(task::Context(), {{"shop", "b", "pod2", "spec.containers{web}"}, "pod2", "img", kAlways, true}, b.credentials);
    });
    while (b.manager.queue().counters().queued == 0) std::this_thread::yield();
    b.clock.Advance(seconds(3));
    return std::string("id");
  };
  // The second pull begins when the first one has given back its slot; its events come after.
  const auto first = b.Ensure("img", kAlways);
  waiting.join();
  EXPECT_EQ(first.trace.pull, seconds(3));
  EXPECT_EQ(other.trace.waited, seconds(3));
  EXPECT_EQ(other.trace.pull, seconds(1));
  const auto durations = b.manager.metrics().pull_durations.at("10MB-100MB");
  EXPECT_EQ(durations.count, 2u);
  EXPECT_DOUBLE_EQ(durations.sum_seconds, 7);
}

// --- 4.9

TEST(ImageVolumes, FailuresConcernThoseThatMountThem) {
  Bench b;
  b.service.on_pull = [](auto&, auto*) -> Result<std::string> { return Error(Reason::kNotFound, "404"); };
  b.service.present = "there";
  const std::vector<VolumeRequest> volumes{{"data", "reg.example/data:1", kIfNotPresent}, {"broken", "reg.example/broken:1", kAlways}, {"bad", "BAD", kAlways}};
  const Request pod{{"shop", "web", "pod", "spec.containers{web}"}, "pod", "", {}, true};
  const auto out = b.manager.EnsureVolumes(task::Context(), pod, volumes, b.credentials);
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out.at("data").image_ref, "there");
  using Mounts = std::vector<std::string>;
  EXPECT_FALSE(VolumeFailure(out, Mounts{"data", "emptydir"}));
  EXPECT_FALSE(VolumeFailure(out, Mounts{}));
  EXPECT_EQ(VolumeFailure(out, Mounts{"data", "broken", "bad"}), (Failure{"ErrImagePull", "404"}));
  EXPECT_EQ(VolumeFailure(out, Mounts{"bad"})->reason, "InvalidImageName");
}

TEST(ImageVolumes, AreAnnouncedOnceIfTheCallerSaysSo) {
  Bench b;
  b.service.present = "there";
  b.announce = false;
  ASSERT_TRUE(b.Ensure("img:1", kIfNotPresent).ok());
  EXPECT_THAT(b.events.reasons, IsEmpty());
}

}  // namespace
}  // namespace berth::policy
