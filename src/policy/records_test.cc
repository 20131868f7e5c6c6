// kubelet-images 4.8.
#include "policy/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "host/testing/scratch.h"
#include "time/testing/manual_clock.h"

namespace berth::policy {
namespace {

using host::testing::Scratch;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using time::testing::ManualClock;
using Check = AccessDecision::Check;

constexpr std::string_view kId = "testimageref";
const std::string kImage = "docker.io/testing/test:latest", kName = "docker.io/testing/test";

AccessCredential Secret(std::string space, std::string name, std::string uid, std::string hash) {
  return {AccessCredential::Kind::kSecret, std::move(uid), std::move(space), std::move(name), std::move(hash)};
}
AccessCredential Account(std::string space, std::string name, std::string uid) {
  return {AccessCredential::Kind::kServiceAccount, std::move(uid), std::move(space), std::move(name), ""};
}
const AccessCredential kNode;
const Records::PodCredentials kNobody = [] { return std::vector<AccessCredential>(); };
const AccessCredential kStored = Secret("default", "pull-secret", "testsecretuid", "testsecrethash");

// --- 4.8.2: names and contents of files

struct FileName { const char *key, *hex; };
class FileNames : public testing::TestWithParam<FileName> {};
TEST_P(FileNames, AreTheHashOfTheKey) { EXPECT_EQ(RecordFileName(GetParam().key), std::string("sha256-") + GetParam().hex); }
INSTANTIATE_TEST_SUITE_P(
    Table, FileNames,
    testing::Values(FileName{"docker.io/testing/test:latest", "aef2af226629a35d5f3ef0fdbb29fdbebf038d0acd8850590e8c48e1e283aa56"},
                    FileName{"docker.io/testing/test:something", "f24acc752be18b93b0504c86312bbaf482c9efb0c45e925bbccb0a591cebd7af"},
                    FileName{"repo.repo/test/test:v1", "ee81caca15454863449fb55a1d942904d56d5ed9f9b20a7cb3453944ea2c7e11"},
                    FileName{"repo.repo/test/test:latest", "7d8c031e2f1aeaa71649ca3e0b64c9902370ed460ef57fb07582a87a5a1e1c02"},
                    FileName{"testimageref", "b3c0cc4278800b03a308ceb2611161430df571ca733122f0a40ac8b9792a9064"},
                    FileName{"testimage-anonpull", "a2eace2182b24cdbbb730798e47b10709b9ef5e0f0c1624a3bc06c8ca987727a"},
                    FileName{"testemptycredmapping", "f8778b6393eaf39315e767a58cbeacf2c4b270d94b4d6926ee993d9e49444991"},
                    FileName{"testimageref-sa", "917e8b3439bf8a7a6f37ffd2d2ddfdfafac8a251bf214a0be39675742b420b1a"},
                    FileName{"test-brokenhash", "38a8906435c4dd5f4258899d46621bfd8eea3ad6ff494ee3c2f17ef0321625bd"},
                    FileName{"busybox", "9d75f0d7c398df565d7ac04c6819b62d6d8f9560f5eb4672596ecd8f7e96ae91"}));

const std::string kRecordText =
    R"({"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2024-10-21T12:26:40Z","imageRef":"testimageref",)"
    R"("credentialMapping":{"docker.io/testing/test":{"kubernetesSecrets":[{"uid":"testsecretuid","namespace":"default","name":"pull-secret",)"
    R"("credentialHash":"testsecrethash"}]},"other":{"kubernetesServiceAccounts":[{"uid":"u","namespace":"n","name":"sa"}]},"third":{"nodePodsAccessible":true}}})"
    "\n";
constexpr std::chrono::sys_seconds kWritten{std::chrono::seconds(1729513600)};

TEST(Files, OfARecord) {
  PulledRecord r{std::string(kId), kWritten, {}};
  Merge(r, kName, kStored);
  Merge(r, "other", Account("n", "sa", "u"));
  Merge(r, "third", kNode);
  EXPECT_EQ(EncodeRecord(r), kRecordText);
  const auto read = DecodeRecord(kRecordText);
  ASSERT_TRUE(read) << read.error().Text();
  EXPECT_EQ(read->record, r);
  EXPECT_FALSE(read->outdated);
}

TEST(Files, OfAnIntent) {
  EXPECT_EQ(EncodeIntent("busybox"), "{\"kind\":\"ImagePullIntent\",\"apiVersion\":\"kubelet.config.k8s.io/v1beta1\",\"image\":\"busybox\"}\n");
  EXPECT_EQ(DecodeIntent(EncodeIntent("busybox"))->image, "busybox");
  EXPECT_TRUE(DecodeIntent(R"({"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1alpha1","image":"x"})")->outdated);
}

TEST(Files, AnEmptyMappingIsLeftOut) {
  EXPECT_EQ(EncodeRecord({"x", kWritten, {}}),
            "{\"kind\":\"ImagePulledRecord\",\"apiVersion\":\"kubelet.config.k8s.io/v1beta1\",\"lastUpdatedTime\":\"2024-10-21T12:26:40Z\",\"imageRef\":\"x\"}\n");
}

struct TimeCase { const char* text; std::int64_t seconds; };
std::string WithTime(const std::string& time) {
  return R"({"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","imageRef":"x","lastUpdatedTime":)" + time + "}";
}
class Times : public testing::TestWithParam<TimeCase> {};
TEST_P(Times, OfRfc3339) {
  const auto read = DecodeRecord(WithTime(GetParam().text));
  ASSERT_TRUE(read) << read.error().Text();
  EXPECT_EQ(read->record.updated.time_since_epoch().count(), GetParam().seconds);
}
INSTANTIATE_TEST_SUITE_P(Table, Times,
                         testing::Values(TimeCase{R"("1970-01-01T00:00:00Z")", 0}, TimeCase{R"("2024-10-21T14:26:40+02:00")", 1729513600},
                                         TimeCase{R"("2024-10-21T12:26:40.999999999Z")", 1729513600},
                                         TimeCase{R"("2024-02-29T00:00:00Z")", 1709164800},
                                         TimeCase{"null", -62135596800}, TimeCase{R"("2024-10-21T09:56:40-02:30")", 1729513600}));

class BadFiles : public testing::TestWithParam<std::string> {};
TEST_P(BadFiles, AreCorrupt) {
  const auto read = DecodeRecord(GetParam());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().reason(), Reason::kCorrupt);
  EXPECT_THAT(read.error().Text(), testing::Not(HasSubstr("hidden")));
}
#define HEAD R"({"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","imageRef":"x",)"
INSTANTIATE_TEST_SUITE_P(
    Table, BadFiles,
    testing::Values("", "{}", "[]", "{", HEAD R"("x":1})", HEAD R"("imageRef":"y"})", HEAD R"("credentialMapping":[]})", HEAD R"("credentialMapping":{"a":{"b":1}}})",
                    HEAD R"("credentialMapping":{"a":{"kubernetesSecrets":[{"uid":1}]}}})", HEAD R"("credentialMapping":{"a":{"kubernetesSecrets":[{"hash":"hidden"}]}}})",
                    HEAD R"("credentialMapping":{"a":{"kubernetesServiceAccounts":[{"credentialHash":"hidden"}]}}})",
                    HEAD R"("credentialMapping":{"a":{"nodePodsAccessible":"hidden"}}})",
                    R"({"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1beta1","image":"x"})",
                    R"({"kind":"ImagePulledRecord","apiVersion":"v1","imageRef":"x"})", WithTime(R"("")") + "x", WithTime(R"("2023-02-29T00:00:00Z")"),
                    WithTime(R"("2024-10-21 12:26:40Z")"), WithTime(R"("2024-10-21T12:26:40")"), WithTime(R"("2024-10-21T12:26:40.Z")"),
                    WithTime(R"("2024-10-21T24:00:00Z")"), WithTime(R"("2024-10-21T12:26:40+2:00")"), WithTime("7"),
                    WithTime(R"("0001-01-01T00:00:00+01:00")")));

// --- 4.8.5: merging

TEST(Merge, NodeIsForGoodAndClearsTheLists) {
  PulledRecord r{"x", {}, {}};
  EXPECT_TRUE(Merge(r, "n", kStored));
  EXPECT_TRUE(Merge(r, "n", kNode));
  EXPECT_EQ(r.access["n"], (Access{.node_pods = true}));
  EXPECT_FALSE(Merge(r, "n", kNode));
  EXPECT_FALSE(Merge(r, "n", kStored));
  EXPECT_EQ(r.access["n"], (Access{.node_pods = true}));
}

TEST(Merge, SecretsAreUniqueSortedAndTheNewestHashWins) {
  PulledRecord r{"x", {}, {}};
  EXPECT_TRUE(Merge(r, "n", Secret("b", "x", "1", "h")));
  EXPECT_TRUE(Merge(r, "n", Secret("a", "y", "1", "h")));
  EXPECT_TRUE(Merge(r, "n", Secret("a", "x", "2", "h")));
  EXPECT_TRUE(Merge(r, "n", Secret("a", "x", "1", "h")));
  EXPECT_FALSE(Merge(r, "n", Secret("a", "x", "1", "h")));
  EXPECT_TRUE(Merge(r, "n", Secret("a", "x", "1", "new")));
  EXPECT_THAT(r.access["n"].secrets, ElementsAre(Secret("a", "x", "1", "new"), Secret("a", "x", "2", "h"), Secret("a", "y", "1", "h"),
                                                   Secret("b", "x", "1", "h")));
}

TEST(Merge, AccountsStandBesideSecrets) {
  PulledRecord r{"x", {}, {}};
  EXPECT_TRUE(Merge(r, "n", kStored));
  EXPECT_TRUE(Merge(r, "n", Account("a", "sa", "1")));
  EXPECT_FALSE(Merge(r, "n", Account("a", "sa", "1")));
  EXPECT_THAT(r.access["n"].secrets, ElementsAre(kStored));
  EXPECT_THAT(r.access["n"].accounts, ElementsAre(Account("a", "sa", "1")));
}

// --- the store

class RecordsTest : public testing::Test {
 protected:
  std::shared_ptr<Records> Open(VerificationPolicy policy = VerificationPolicy::kNeverVerifyPreloaded,
                                std::vector<std::string> allow = {}) {
    auto opened = Records::Open(scratch_.dir(), {policy, *AllowList::Parse(allow)}, clock_);
    EXPECT_TRUE(opened) << opened.error().Text();
    return *std::move(opened);
  }
  void Put(const std::string& folder, const std::string& name, const std::string& text) {
    ASSERT_TRUE(Folder(folder).WriteDurably(name, bytes::AsView(text), 0600));
  }
  host::Dir Folder(const std::string& name) { return *scratch_.dir().OpenDir("image_manager/" + name); }
  std::size_t Files(const std::string& folder) { return Folder(folder).List()->size(); }
  void PutRecord(const PulledRecord& r) { Put("pulled", RecordFileName(r.image_ref), EncodeRecord(r)); }

  Scratch scratch_;
  ManualClock clock_;
};

// P20: a clock that jumps opens nothing and closes nothing.
TEST_F(RecordsTest, DecisionsDoNotDependOnTheClock) {
  const auto proven = Secret("a", "regcred", "uid-a", "hash-a"), other = Secret("b", "regcred", "uid-b", "hash-b");
  const auto records = Open(VerificationPolicy::kAlwaysVerify);
  {
    auto intent = records->Begin("reg.test/app:v1");
    ASSERT_TRUE(intent.MakeDurable());
    ASSERT_TRUE(intent.Succeeded("sha256:1", proven));
  }
  const auto must_pull = [&](const AccessCredential& pod) {
    return records->MustAttemptPull("reg.test/app:v1", "sha256:1", [&]() -> Result<std::vector<AccessCredential>> { return std::vector{pod}; }).must_pull;
  };
  for (const auto jump : {std::chrono::hours(0), std::chrono::hours(24 * 365 * 30), std::chrono::hours(-24 * 365 * 60)}) {
    clock_.JumpWall(jump);
    EXPECT_FALSE(must_pull(proven));
    EXPECT_TRUE(must_pull(other));
  }
}

// --- 4.8.4: the decision

struct Decision {
  const char* what;
  std::vector<AccessCredential> stored;  // under kName
  const char* record = "testimageref";   // its image; nullptr: none
  std::vector<AccessCredential> pod;
  const char* image = "docker.io/testing/test:latest";
  const char* image_ref = "testimageref";
  VerificationPolicy policy = VerificationPolicy::kNeverVerifyPreloaded;
  bool intent = false;
  bool must_pull = false, looked_up = false;
  Check check = Check::kMustAuthenticate;
  std::vector<AccessCredential> after = stored;  // secrets in the record
};
void PrintTo(const Decision& d, std::ostream* out) { *out << d.what; }

class Decisions : public RecordsTest, public testing::WithParamInterface<Decision> {};
TEST_P(Decisions, AsTheKubelet) {
  const Decision& d = GetParam();
  const auto records = Open(d.policy, {"allowed/*", "only"});
  if (d.record != nullptr) {
    PulledRecord r{d.record, kWritten, {}};
    for (const auto& c : d.stored) Merge(r, kName, c);
    PutRecord(r);
  }
  std::optional<Records::Intent> intent;
  if (d.intent) intent.emplace(records->Begin(d.image));
  bool looked_up = false;
  const auto got = records->MustAttemptPull(d.image, d.image_ref, [&]() -> Result<std::vector<AccessCredential>> {
    looked_up = true;
    return d.pod;
  });
  EXPECT_EQ(got.must_pull, d.must_pull) << got.why;
  EXPECT_EQ(got.check, d.check) << got.why;
  EXPECT_EQ(looked_up, d.looked_up);
  EXPECT_EQ(got.matched.has_value(), !d.must_pull && d.looked_up);
  if (d.record == nullptr) return;
  std::vector<AccessCredential> secrets;
  for (const auto& c : d.after)
    if (c.kind == AccessCredential::Kind::kSecret) secrets.push_back(c);
  const auto record = records->Find(d.record);
  ASSERT_TRUE(record);
  const auto access = record->access.find(kName);
  EXPECT_EQ(access == record->access.end() ? decltype(secrets)() : access->second.secrets, secrets);
  EXPECT_EQ(record->updated == kWritten, d.after == d.stored) << "written when, and only when, something changed";
}
const AccessCredential kOtherUid = Secret("default", "pull-secret", "otheruid", "otherhash"), kOtherSpace = Secret("other", "pull-secret", "testsecretuid", "otherhash"),
                       kNewHash = Secret("default", "pull-secret", "testsecretuid", "newhash"), kSameHash = Secret("other", "pull-secret", "testsecretuid", "testsecrethash"),
                       kNoHash = Secret("default", "pull-secret", "testsecretuid", ""), kNoHashOther = Secret("other", "pull-secret", "testsecretuid", ""),
                       kSa = Account("default", "test-sa", "test-sa-uid");
std::vector<AccessCredential> Hundred() {
  std::vector<AccessCredential> out;
  for (int i = 100; i < 200; ++i) out.push_back(Secret("default", "s" + std::to_string(i), "u", "h" + std::to_string(i)));
  return out;
}
constexpr auto kFound = Check::kRecordFound, kAllowed = Check::kPolicyAllowed;
INSTANTIATE_TEST_SUITE_P(
    Vectors, Decisions,
    testing::Values(
        Decision{.what = "exact secret", .stored = {kStored}, .pod = {kStored}, .looked_up = true, .check = kFound},
        Decision{.what = "no secrets at all", .stored = {kStored}, .must_pull = true, .looked_up = true},
        Decision{.what = "same coordinates, other hash", .stored = {kStored}, .pod = {kNewHash}, .looked_up = true, .check = kFound, .after = {kNewHash}},
        Decision{.what = "other UID and hash", .stored = {kStored}, .pod = {kOtherUid}, .must_pull = true, .looked_up = true},
        Decision{.what = "other namespace and hash", .stored = {kStored}, .pod = {kOtherSpace}, .must_pull = true, .looked_up = true},
        Decision{.what = "other namespace, same hash", .stored = {kStored}, .pod = {kSameHash}, .looked_up = true, .check = kFound, .after = {kStored, kSameHash}},
        Decision{.what = "the second of the Pod's", .stored = {kStored}, .pod = {kOtherUid, kStored}, .looked_up = true, .check = kFound},
        Decision{.what = "other image name, exact secret", .stored = {kStored}, .pod = {kStored}, .image = "docker.io/testing/other:latest", .must_pull = true},
        Decision{.what = "other spelling of the same image", .stored = {kStored}, .pod = {kStored}, .image = "testing/test:latest", .must_pull = true},
        Decision{.what = "other tag of the name", .stored = {kStored}, .pod = {kStored}, .image = "docker.io/testing/test:other", .looked_up = true, .check = kFound},
        Decision{.what = "record with empty mapping", .stored = {}, .pod = {kStored}, .must_pull = true},
        Decision{.what = "no image", .stored = {kStored}, .pod = {kStored}, .image_ref = "", .must_pull = true, .check = Check::kNone},
        Decision{.what = "no record, NeverVerifyPreloadedImages", .record = nullptr, .pod = {kStored}, .check = kAllowed},
        Decision{.what = "no record, AlwaysVerify", .record = nullptr, .pod = {kStored}, .policy = VerificationPolicy::kAlwaysVerify, .must_pull = true},
        Decision{.what = "only an intent, NeverVerifyPreloadedImages", .record = nullptr, .pod = {kStored}, .intent = true, .must_pull = true},
        Decision{.what = "only an intent, NeverVerify", .record = nullptr, .pod = {kStored}, .policy = VerificationPolicy::kNeverVerify,
                 .intent = true, .check = kAllowed},
        Decision{.what = "record, NeverVerify", .stored = {kStored}, .policy = VerificationPolicy::kNeverVerify, .check = kAllowed},
        Decision{.what = "allow-listed, pulled with a secret", .stored = {kStored}, .image = "allowed/x:1", .policy = VerificationPolicy::kNeverVerifyAllowlisted, .check = kAllowed},
        Decision{.what = "not allow-listed, no record", .record = nullptr, .policy = VerificationPolicy::kNeverVerifyAllowlisted, .must_pull = true},
        Decision{.what = "not allow-listed, exact secret", .stored = {kStored}, .pod = {kStored}, 
                 .policy = VerificationPolicy::kNeverVerifyAllowlisted, .looked_up = true, .check = kFound},
        Decision{.what = "node, no secrets", .stored = {kNode}, .check = kFound},
        Decision{.what = "node, with secrets", .stored = {kNode}, .pod = {kStored}, .check = kFound},
        Decision{.what = "node, with account", .stored = {kNode}, .pod = {kSa}, .check = kFound},
        Decision{.what = "node, AlwaysVerify", .stored = {kNode}, .policy = VerificationPolicy::kAlwaysVerify, .check = kFound},
        Decision{.what = "stored hash empty, other namespace, hash empty", .stored = {kNoHash}, .pod = {kNoHashOther}, .must_pull = true, .looked_up = true},
        Decision{.what = "stored hash empty, same coordinates, hash empty", .stored = {kNoHash}, .pod = {kNoHash}, .looked_up = true, .check = kFound},
        Decision{.what = "stored account, exact", .stored = {kSa}, .pod = {kSa}, .looked_up = true, .check = kFound},
        Decision{.what = "stored account, other UID", .stored = {kSa}, .pod = {Account("default", "test-sa", "other")}, .must_pull = true, .looked_up = true},
        Decision{.what = "stored account, other namespace", .stored = {kSa}, .pod = {Account("other", "test-sa", "test-sa-uid")}, .must_pull = true, .looked_up = true},
        Decision{.what = "only the first account of the Pod", .stored = {kSa}, .pod = {Account("default", "first", "f"), kSa}, .must_pull = true, .looked_up = true},
        Decision{.what = "an account is no secret", .stored = {kStored}, .pod = {Account("default", "pull-secret", "testsecretuid")}, .must_pull = true, .looked_up = true},
        Decision{.what = "100 stored: hash still found, not added", .stored = Hundred(), .pod = {Secret("z", "z", "z", "h150")}, .looked_up = true, .check = kFound},
        Decision{.what = "100 stored: new hash of a known object is none", .stored = Hundred(), .pod = {Secret("default", "s150", "u", "new")}, .must_pull = true, .looked_up = true}));

TEST_F(RecordsTest, AnUnreadableRecordMeansPullingWhateverThePolicy) {
  const auto records = Open(VerificationPolicy::kNeverVerify);
  Put("pulled", RecordFileName(kId), "{");
  const auto d = records->MustAttemptPull(kImage, std::string(kId), kNobody);
  EXPECT_TRUE(d.must_pull);
  EXPECT_EQ(d.check, Check::kError);
  Put("pulled", RecordFileName(kId), EncodeRecord({"of another image", kWritten, {}}));
  EXPECT_FALSE(records->MustAttemptPull(kImage, std::string(kId), kNobody).must_pull) << "counts as absent";
  Put("pulling", RecordFileName(kImage), "{");
  EXPECT_EQ(records->MustAttemptPull(kImage, std::string(kId), kNobody).check, Check::kError);
}

TEST_F(RecordsTest, CredentialsThatCannotBeLookedUpEndTheAttempt) {
  const auto records = Open();
  PulledRecord r{std::string(kId), kWritten, {}};
  Merge(r, kName, kStored);
  PutRecord(r);
  const auto d = records->MustAttemptPull(kImage, std::string(kId), [] { return Error(Reason::kInvalidCredentials, "no JSON"); });
  EXPECT_TRUE(d.must_pull);
  EXPECT_EQ(d.check, Check::kError);
  ASSERT_TRUE(d.error);
  EXPECT_EQ(d.error->Text(), "no JSON");
  EXPECT_THAT(d.proven, ElementsAre(kStored));
}

// --- intents

TEST_F(RecordsTest, ASuccessLeavesARecordAndNoIntent) {
  const auto records = Open();
  {
    auto intent = records->Begin(kImage);
    EXPECT_EQ(Files("pulling"), 0u) << "nothing on disk before a pull begins";
    ASSERT_TRUE(intent.MakeDurable());
    EXPECT_EQ(*Folder("pulling").ReadSmall(RecordFileName(kImage), 1000), EncodeIntent(kImage));
    EXPECT_EQ(Folder("pulling").Stat(RecordFileName(kImage))->mode, 0600u);
    EXPECT_EQ(records->intents_on_disk(), 1u);
    ASSERT_TRUE(intent.Succeeded(std::string(kId), kStored));
  }
  EXPECT_EQ(Files("pulling"), 0u);
  EXPECT_EQ(records->intents_on_disk(), 0u);
  EXPECT_EQ(records->records_on_disk(), 1u);
  EXPECT_THAT(records->Find(std::string(kId))->access[kName].secrets, ElementsAre(kStored));
  EXPECT_EQ(Folder("pulled").Stat(RecordFileName(kId))->mode, 0600u);
  EXPECT_EQ(scratch_.dir().Stat("image_manager/pulled")->mode, 0700u);
}

TEST_F(RecordsTest, AFailureLeavesNothing) {
  const auto records = Open();
  { ASSERT_TRUE(records->Begin(kImage).MakeDurable()); }
  EXPECT_EQ(Files("pulling"), 0u);
  EXPECT_EQ(Files("pulled"), 0u);
}

TEST_F(RecordsTest, TheFileGoesWithTheLastOfConcurrentPulls) {
  const auto records = Open();
  auto a = std::optional(records->Begin(kImage));
  auto b = std::optional(records->Begin(kImage));
  ASSERT_TRUE(a->MakeDurable());
  ASSERT_TRUE(b->MakeDurable());
  EXPECT_EQ(records->intents_on_disk(), 1u);
  a.reset();
  EXPECT_EQ(Files("pulling"), 1u);
  ASSERT_TRUE(b->Succeeded(std::string(kId), kNode));
  EXPECT_EQ(Files("pulling"), 0u);
}

TEST_F(RecordsTest, ARunningPullCountsForEverySpelling) {
  const auto records = Open();
  auto intent = records->Begin("busybox");
  const auto must = [&](const char* image) { return records->MustAttemptPull(image, "id", kNobody).must_pull; };
  EXPECT_TRUE(must("busybox"));
  EXPECT_TRUE(must("docker.io/library/busybox:latest"));
  EXPECT_FALSE(must("busybox:1"));
}

TEST_F(RecordsTest, ARecordThatCannotBeWrittenLeavesTheIntent) {
  const auto records = Open();
  ASSERT_TRUE(Folder("pulled").MakeDir(RecordFileName(kId), 0700));  // a folder in its place
  {
    auto intent = records->Begin(kImage);
    ASSERT_TRUE(intent.MakeDurable());
    EXPECT_FALSE(intent.Succeeded(std::string(kId), kStored));
  }
  EXPECT_EQ(Files("pulling"), 1u);
  { ASSERT_TRUE(records->Begin(kImage).MakeDurable()); }
  EXPECT_EQ(Files("pulling"), 1u) << "a later failure does not take it away";
  ASSERT_TRUE(Folder("pulled").RemoveTree(RecordFileName(kId)));
  EXPECT_TRUE(records->MustAttemptPull(kImage, std::string(kId), kNobody).must_pull);
}

// --- images that are about to become visible

struct ComingRow {
  const char* name;
  std::optional<std::string> there;  // the record's file; "folder": none that can be read or written
  std::vector<AccessCredential> want;
  const char* error = "";
};
void PrintTo(const ComingRow& row, std::ostream* out) { *out << row.name; }
class ComingImages : public RecordsTest, public testing::WithParamInterface<ComingRow> {};
TEST_P(ComingImages, HaveARecordThatTakesNoProofAway) {
  const ComingRow& row = GetParam();
  const auto records = Open();
  if (row.there == "folder") { ASSERT_TRUE(Folder("pulled").MakeDir(RecordFileName(kId), 0700)); }
  else if (row.there) Put("pulled", RecordFileName(kId), *row.there);
  const auto coming = records->RecordComing({std::string(kId)});
  EXPECT_THAT(coming ? "" : coming.error().Text(), testing::StartsWith(row.error));
  if (!coming) return;
  const auto record = records->Find(std::string(kId));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->access.empty(), row.want.empty());
  if (!row.want.empty()) { EXPECT_EQ(record->access.at(kName).secrets, row.want); }
  for (const std::string& image : {kImage, kName + ":other", kName + "@" + std::string(kId), std::string(kId)})
    EXPECT_TRUE(records->MustAttemptPull(image, std::string(kId), kNobody).must_pull) << image;
}
std::string StoredRecord() {
  PulledRecord record{std::string(kId), kWritten, {}};
  Merge(record, kName, kStored);
  return EncodeRecord(record);
}
INSTANTIATE_TEST_SUITE_P(Table, ComingImages, testing::Values(
    ComingRow{"New", {}, {}}, ComingRow{"Known", StoredRecord(), {kStored}}, ComingRow{"Damaged", "{", {}},
    ComingRow{"Unwritable", "folder", {}, "record of who may use the image "}),
    [](const auto& row) { return row.param.name; });

TEST_F(RecordsTest, RecordsOfSeveralPullsMerge) {
  const auto records = Open();
  for (const auto& credential : {kStored, kOtherUid, kSa}) {
    auto intent = records->Begin(kImage);
    ASSERT_TRUE(intent.MakeDurable());
    ASSERT_TRUE(intent.Succeeded(std::string(kId), credential));
  }
  const auto access = records->Find(std::string(kId))->access[kName];
  EXPECT_THAT(access.secrets, ElementsAre(kOtherUid, kStored));
  EXPECT_THAT(access.accounts, ElementsAre(kSa));
}

TEST_F(RecordsTest, ManyThreadsAtOnce) {
  const auto records = Open();
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 6; ++i) {
          const std::string image = "reg.example/app" + std::to_string(i % 3) + ":1";
          auto intent = records->Begin(image);
          ASSERT_TRUE(intent.MakeDurable());
          ASSERT_TRUE(records->MustAttemptPull(image, "none" + std::to_string(i), kNobody).must_pull);
          if (t % 2 != 0) continue;
          ASSERT_TRUE(intent.Succeeded("id" + std::to_string(i % 3), Secret("n", "s" + std::to_string(t), "u", "h")));
        }
      });
  }
  EXPECT_EQ(Files("pulling"), 0u);
  EXPECT_EQ(records->intents_on_disk(), 0u);
  EXPECT_EQ(records->records_on_disk(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(records->Find("id" + std::to_string(i))->access["reg.example/app" + std::to_string(i)].secrets.size(), 4u);
}

// --- start-up

TEST_F(RecordsTest, OpeningCleansUpAndRenewsOldVersions) {
  Open();
  std::string old = kRecordText;
  old.replace(old.find("v1beta1"), 7, "v1alpha1");
  Put("pulled", RecordFileName(kId), old);
  Put("pulled", RecordFileName("bad"), "{");
  Put("pulled", RecordFileName("x") + ".tmp", "{");
  Put("pulling", RecordFileName("busybox"), R"({"kind":"ImagePullIntent","apiVersion":"kubelet.config.k8s.io/v1alpha1","image":"busybox"})");
  Put("pulling", "notes", "not ours");
  const auto records = Open();
  EXPECT_EQ(records->opened().leftovers, 1u);
  EXPECT_EQ(records->opened().migrated, 2u);
  EXPECT_EQ(records->opened().unreadable, 1u);
  EXPECT_EQ(records->records_on_disk(), 2u);
  EXPECT_EQ(records->intents_on_disk(), 1u);
  EXPECT_EQ(*Folder("pulled").ReadSmall(RecordFileName(kId), 10'000), kRecordText) << "its time stays";
  EXPECT_EQ(*Folder("pulling").ReadSmall(RecordFileName("busybox"), 1000), EncodeIntent("busybox"));
}

TEST_F(RecordsTest, IntentsOfACrashMakeTheirImagesOurs) {
  Open();
  for (const char* image : {"docker.io/testing/test:latest", "busybox", "reg.example/gone:1", "reg.example/known:1"}) Put("pulling", RecordFileName(image), EncodeIntent(image));
  PulledRecord known{"id-known", kWritten, {}};
  Merge(known, "reg.example/known", kStored);
  PutRecord(known);
  const auto records = Open();
  const std::vector<Records::PresentImage> images{{"id-test", {"docker.io/testing/test:latest"}}, {"id-busybox", {"docker.io/library/busybox:latest"}},
                                                  {"id-known", {"reg.example/known:1"}}, {"id-preloaded", {"reg.example/other:1"}}};
  EXPECT_EQ(records->AdoptIntents(images).value(), 3u);
  { const auto in_back_off = records->Begin("reg.example/gone:1"); }
  EXPECT_EQ(records->intents_on_disk(), 1u) << "that of an image that is not there";
  EXPECT_THAT(records->Find("id-test")->access, IsEmpty());
  EXPECT_THAT(records->Find("id-busybox")->access, IsEmpty());
  EXPECT_EQ(records->Find("id-known"), known) << "what is known stays known";
  EXPECT_FALSE(records->Find("id-preloaded"));
  const auto must = [&](const char* image, const char* id) {
    return records->MustAttemptPull(image, id, [] { return std::vector<AccessCredential>{kStored}; }).must_pull;
  };
  EXPECT_TRUE(must("busybox", "id-busybox"));
  EXPECT_FALSE(must("reg.example/other:1", "id-preloaded"));
  EXPECT_FALSE(must("reg.example/known:1", "id-known"));
}

// --- 4.8.6

TEST_F(RecordsTest, PruningSparesPresentAndYoungRecords) {
  const auto records = Open();
  const auto began = std::chrono::floor<std::chrono::seconds>(clock_.WallNow());
  for (const auto& [id, at] : {std::pair{"present", -100}, {"gone", -100}, {"just before", -1}, {"same second", 0}, {"young", 1}})
    PutRecord({id, began + std::chrono::seconds(at), {}});
  Put("pulled", RecordFileName("bad"), "{");
  EXPECT_EQ(records->Prune(task::Context(), {"present"}, began + std::chrono::milliseconds(500)).value(), 2u);
  EXPECT_FALSE(records->Find("gone"));
  EXPECT_FALSE(records->Find("just before"));
  for (const char* id : {"present", "same second", "young"}) EXPECT_TRUE(records->Find(id)) << id;
  EXPECT_EQ(Files("pulled"), 4u);
}

// Removed and pulled again between the list of what is present and the pruning: without its record it would look preloaded.
TEST_F(RecordsTest, PruningSparesWhatWasPulledAgainWithTheSameCredential) {
  const auto records = Open();
  const auto pull = [&] { ASSERT_TRUE(records->Begin(kImage).Succeeded(std::string(kId), kStored)); };
  pull();
  clock_.Advance(std::chrono::hours(1));
  const auto began = clock_.WallNow();
  clock_.Advance(std::chrono::seconds(1));
  pull();
  EXPECT_EQ(records->Prune(task::Context(), {}, began).value(), 0u);
  EXPECT_TRUE(records->Find(std::string(kId)));
}

// Its record is written before it is visible: a list of what is present that was made in between does not have it.
struct PruneComingRow {
  const char* name;
  int recorded, visible, began, pruned;  // seconds; -1: never
  bool stays;
};
void PrintTo(const PruneComingRow& row, std::ostream* out) { *out << row.name; }
class PruningAComingImage : public RecordsTest, public testing::WithParamInterface<PruneComingRow> {};
TEST_P(PruningAComingImage, SparesItUntilItsPullHasEnded) {
  const PruneComingRow& row = GetParam();
  const auto records = Open();
  const auto start = std::chrono::floor<std::chrono::seconds>(clock_.WallNow());
  std::optional<Result<std::shared_ptr<const void>>> coming;
  std::optional<std::size_t> pruned;
  for (int now = 0; !pruned; ++now, clock_.Advance(std::chrono::seconds(1))) {
    if (now == row.recorded) { ASSERT_TRUE(coming.emplace(records->RecordComing({std::string(kId)}))); }
    if (now == row.visible) coming.reset();
    if (now == row.pruned) pruned = records->Prune(task::Context(), {}, start + std::chrono::seconds(row.began)).value();
  }
  EXPECT_EQ(*pruned, row.stays ? 0u : 1u);
  EXPECT_EQ(records->Find(std::string(kId)).has_value(), row.stays);
}
INSTANTIATE_TEST_SUITE_P(Table, PruningAComingImage, testing::Values(
    PruneComingRow{"StillComing", 0, -1, 5, 6, true}, PruneComingRow{"CameMeanwhile", 0, 6, 5, 7, true},
    PruneComingRow{"CameInThatSecond", 0, 5, 5, 7, true}, PruneComingRow{"CameBefore", 0, 4, 5, 7, false}),
    [](const auto& row) { return row.param.name; });

TEST_F(RecordsTest, OfAFolderThatIsNotOneFails) {
  ASSERT_TRUE(scratch_.dir().WriteDurably("image_manager", {}, 0600));
  EXPECT_FALSE(Records::Open(scratch_.dir(), {}, clock_));
}

}  // namespace
}  // namespace berth::policy
