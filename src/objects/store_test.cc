#include "objects/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <latch>
#include <limits>
#include <sstream>
#include <thread>

#include "kube/parse.h"
#include "kube/timestamp.h"
#include "time/testing/manual_clock.h"

namespace berth::objects {
namespace {

using json::Tree;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;
using std::chrono::hours;
using std::chrono::seconds;

Tree ReadTree(std::string_view text) {
  const auto document = json::Document::Parse(text, Reason::kUsage);
  EXPECT_TRUE(document) << text;
  return Tree(document->root());
}

std::string Pod(std::string_view name, std::string_view more = "", std::string_view image = "i:1") {
  return R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + std::string(name) + R"("},"spec":{"containers":[{"name":"a","image":")" + std::string(image) + "\"}]" + std::string(more) + "}}";
}
std::string Named(std::string_view kind, std::string_view name, std::string_view more = "") {
  return R"({"apiVersion":"v1","kind":")" + std::string(kind) + R"(","metadata":{"name":")" + std::string(name) + "\"" + std::string(more) + "}}";
}

class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    char path[] = "/tmp/berth-objects-XXXXXX";
    dir_ = mkdtemp(path);
    Open();
  }
  ~StoreTest() override {
    store_.reset();
    std::filesystem::remove_all(dir_);
  }
  void Open() {
    store_.reset();
    auto store = Store::Open(dir_ + "/objects.db", clock_, [this] { return random_ += 0x9e3779b97f4a7c15; }, options_);
    ASSERT_TRUE(store) << store.error().Text();
    store_ = *std::move(store);
  }
  ObjectPtr Create(std::string_view text) {
    auto made = store_->Create(ReadTree(text));
    EXPECT_TRUE(made) << made.error().message;
    return made ? *made : nullptr;
  }
  kube::Status Refused(const Answer<ObjectPtr>& answer) {
    EXPECT_FALSE(answer);
    return answer ? kube::Status{} : answer.error();
  }
  ObjectPtr Get(const Key& key) {
    auto found = store_->Get(key);
    return found ? *found : nullptr;
  }
  std::vector<std::string> Names(const Filter& filter) {
    std::vector<std::string> out;
    const auto listing = store_->List(filter);
    EXPECT_TRUE(listing);
    for (const ObjectPtr& o : listing->objects) out.push_back((o->metadata.ns.empty() ? "" : o->metadata.ns + "/") + o->metadata.name);
    return out;
  }
  static Tree Json(const ObjectPtr& object) { return ReadTree(object->json); }
  static std::string At(const ObjectPtr& object, std::initializer_list<std::string_view> path) {
    const Tree whole = Json(object);
    const Tree* at = &whole;
    for (const std::string_view step : path) {
      at = at->Find(step);
      if (at == nullptr) return "absent";
    }
    return at->Dump();
  }

  std::string dir_;
  time::testing::ManualClock clock_;
  std::uint64_t random_ = 1;
  Options options_;
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, HasItsNamespacesAndAccounts) {
  EXPECT_THAT(Names({.kind = "Namespace"}), ElementsAre("default", "kube-system"));
  EXPECT_THAT(Names({.kind = "ServiceAccount"}), ElementsAre("default/default", "kube-system/default"));
  Create(Named("Namespace", "team"));
  EXPECT_THAT(Names({.kind = "ServiceAccount", .ns = "team"}), ElementsAre("team/default"));
  // Deleted, it comes back as another one.
  const std::string before = Get({"ServiceAccount", "team", "default"})->metadata.uid;
  ASSERT_TRUE(store_->Delete({"ServiceAccount", "team", "default"}));
  ASSERT_NE(Get({"ServiceAccount", "team", "default"}), nullptr);
  EXPECT_NE(Get({"ServiceAccount", "team", "default"})->metadata.uid, before);
}

TEST_F(StoreTest, TheFileIsRootsAlone) {
  for (const char* name : {"/objects.db", "/objects.db-wal"}) {
    struct stat info {};
    ASSERT_EQ(stat((dir_ + name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(StoreTest, CreatesWithWhatTheServerAdds) {
  options_.node_name = "here";
  Open();
  const ObjectPtr pod = Create(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","uid":"mine","creationTimestamp":"2001-01-01T00:00:00Z","labels":{"a":"b"}},
      "spec":{"containers":[{"name":"a","image":"i","future":{"x":[1,2.50]}}],"unknown":true},"status":{"phase":"Running"}})");
  EXPECT_EQ(pod->metadata.ns, "default");
  EXPECT_THAT(pod->metadata.uid, ::testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(kube::FormatTime(*pod->metadata.creation_timestamp), kube::FormatTime(clock_.WallNow()));
  EXPECT_EQ(pod->metadata.resource_version, std::to_string(store_->version()));
  EXPECT_EQ(At(pod, {"status"}), R"({"phase":"Pending","qosClass":"BestEffort"})");
  EXPECT_EQ(At(pod, {"spec", "nodeName"}), "\"here\"");
  EXPECT_EQ(At(pod, {"spec", "serviceAccountName"}), "\"default\"");
  EXPECT_EQ(At(pod, {"spec", "unknown"}), "true");
  EXPECT_THAT(pod->json, HasSubstr(R"("future":{"x":[1,2.50]},"image":"i","imagePullPolicy":"Always")"));
  EXPECT_EQ(Get({"Pod", "default", "p"})->json, pod->json);
}

struct Quality {
  std::string name, resources, wanted;
};
TEST_F(StoreTest, ClassesOfService) {
  const Quality rows[] = {{"a", R"({"limits":{"cpu":"1","memory":"1Gi"}})", "\"Guaranteed\""}, {"b", R"({"requests":{"cpu":"1"}})", "\"Burstable\""},
                          {"c", R"({"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"500m"}})", "\"Burstable\""}, {"d", "{}", "\"BestEffort\""}};
  for (const Quality& row : rows)
    EXPECT_EQ(At(Create(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":")" + row.name +
                        R"("},"spec":{"containers":[{"name":"a","image":"i:1","resources":)" + row.resources + "}]}}"),
                 {"status", "qosClass"}),
              row.wanted);
}

TEST_F(StoreTest, RefusesAsKubernetesRefuses) {
  Create(Pod("p"));
  EXPECT_EQ(Refused(store_->Create(ReadTree(Pod("p")))).message, "pods \"p\" already exists");
  EXPECT_EQ(Refused(store_->Get({"Pod", "default", "q"})).message, "pods \"q\" not found");
  EXPECT_EQ(Refused(store_->Create(ReadTree(Named("Secret", "s", R"(,"namespace":"none")")))).message, "namespaces \"none\" not found");
  EXPECT_EQ(Refused(store_->Create(ReadTree(Named("Secret", "s", R"(,"resourceVersion":"1")")))).message, "resourceVersion should not be set on objects to be created");
  const kube::Status invalid = Refused(store_->Create(ReadTree(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"P"},"spec":{}})")));
  EXPECT_EQ(invalid.code, 422);
  EXPECT_THAT(invalid.ForPeople(), StartsWith("The Pod \"P\" is invalid: \n* metadata.name: Invalid value: \"P\": a lowercase RFC 1123 subdomain"));
  EXPECT_EQ(Refused(store_->Create(ReadTree(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"hostPID":"x"}})"))).code, 400);
  EXPECT_EQ(Refused(store_->Create(ReadTree(R"({"apiVersion":"v1","kind":"Gadget","metadata":{"name":"x"}})"))).code, 400);
  EXPECT_EQ(Refused(store_->Delete({"Pod", "default", "q"})).code, 404);
  EXPECT_EQ(Refused(store_->Delete({"Namespace", "", "default"})).message, "namespaces \"default\" is forbidden: this namespace may not be deleted");
  // Nothing of it is there.
  EXPECT_THAT(Names({.kind = "Pod"}), ElementsAre("default/p"));
}

TEST_F(StoreTest, HoldsNoMoreThanItMay) {
  options_.objects = 5;
  options_.object_bytes = 2000;
  Open();
  Create(Named("Secret", "one"));
  EXPECT_EQ(Refused(store_->Create(ReadTree(Named("Secret", "two")))).code, 403);
  ASSERT_TRUE(store_->Delete({"Secret", "default", "one"}));
  Create(Named("Secret", "two"));
  EXPECT_EQ(Refused(store_->Update(ReadTree(Named("Secret", "two", R"(,"annotations":{"a":")" + std::string(3000, 'x') + "\"}")))).code, 413);
}

TEST_F(StoreTest, GeneratesNames) {
  const std::string text = R"({"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"job-"},"spec":{"containers":[{"name":"a","image":"i"}]}})";
  const std::string first = Create(text)->metadata.name, second = Create(text)->metadata.name;
  EXPECT_THAT(first, ::testing::MatchesRegex("job-[bcdfghjklmnpqrstvwxz2456789]{5}"));
  EXPECT_NE(first, second);
}

// kubelet-images 3.3.
TEST_F(StoreTest, TheAccountsPullSecretsGoToPodsThatListNone) {
  Create(R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"sa"},"imagePullSecrets":[{"name":"foo"},{"name":"bar"}]})");
  const auto secrets = [&](const ObjectPtr& pod) { return kube::ReadPod(*pod).spec.image_pull_secrets; };
  EXPECT_THAT(secrets(Create(Pod("none", R"(,"serviceAccountName":"sa")"))), ElementsAre("foo", "bar"));
  EXPECT_THAT(secrets(Create(Pod("own", R"(,"serviceAccountName":"sa","imagePullSecrets":[{"name":"foo"}])"))), ElementsAre("foo"));
  EXPECT_THAT(secrets(Create(Pod("empty", R"(,"serviceAccountName":"sa","imagePullSecrets":[{"name":""}])"))), ElementsAre(""));
  EXPECT_THAT(secrets(Create(Pod("default"))), IsEmpty());
  const kube::Status missing = Refused(store_->Create(ReadTree(Pod("x", R"(,"serviceAccountName":"nobody")"))));
  EXPECT_EQ(missing.message, "pods \"x\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found");
  EXPECT_EQ(missing.code, 403);
  // Later changes of the account reach later Pods only.
  ASSERT_TRUE(store_->Update(ReadTree(R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"sa"},"imagePullSecrets":[{"name":"new"}]})")));
  EXPECT_THAT(secrets(Get({"Pod", "default", "none"})), ElementsAre("foo", "bar"));
  EXPECT_THAT(secrets(Create(Pod("later", R"(,"serviceAccountName":"sa")"))), ElementsAre("new"));
  // A mirror Pod is left alone.
  const ObjectPtr mirror = Create(
      R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"m","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"containers":[{"name":"a","image":"i"}]}})");
  EXPECT_EQ(At(mirror, {"spec", "serviceAccountName"}), "absent");
}

TEST_F(StoreTest, UpdatesByVersion) {
  const ObjectPtr pod = Create(Pod("p"));
  Tree changed = Json(pod);
  changed["spec"]["containers"].items()[0]["image"] = Tree("i:2");
  changed["status"]["phase"] = Tree("Running");   // not through this door
  changed["metadata"]["creationTimestamp"] = Tree();
  const auto updated = store_->Update(changed);
  ASSERT_TRUE(updated) << updated.error().message;
  EXPECT_EQ((*updated)->metadata.generation, 2);
  EXPECT_EQ((*updated)->metadata.creation_timestamp, pod->metadata.creation_timestamp);
  EXPECT_EQ(At(*updated, {"status", "phase"}), "\"Pending\"");
  EXPECT_GT(std::stoll((*updated)->metadata.resource_version), std::stoll(pod->metadata.resource_version));
  const kube::Status conflict = Refused(store_->Update(changed));
  EXPECT_EQ(conflict.code, 409);
  EXPECT_EQ(conflict.message, "Operation cannot be fulfilled on pods \"p\": the object has been modified; please apply your changes to the latest version and try again");
  // The same again, without a version: nothing changes.
  Tree same = Json(*updated);
  same["metadata"].Erase("resourceVersion");
  EXPECT_EQ((*store_->Update(same))->metadata.resource_version, (*updated)->metadata.resource_version);
  same["metadata"]["uid"] = Tree("other");
  EXPECT_THAT(Refused(store_->Update(same)).message, HasSubstr("Precondition failed: UID in precondition: other"));
  Tree policy = Json(*updated);
  policy["spec"]["containers"].items()[0]["imagePullPolicy"] = Tree("Never");
  EXPECT_EQ(Refused(store_->Update(policy)).code, 422);
}

TEST_F(StoreTest, StatusHasItsOwnDoor) {
  const ObjectPtr pod = Create(Pod("p"));
  const Tree status = ReadTree(R"({"phase":"Running","podIP":"10.0.0.1"})");
  const auto updated = store_->UpdateStatus({"Pod", "default", "p"}, status, pod->metadata.uid);
  ASSERT_TRUE(updated) << updated.error().message;
  EXPECT_EQ(kube::ReadPod(**updated).status.phase, "Running");
  EXPECT_EQ((*updated)->metadata.generation, 1);
  EXPECT_EQ((*store_->UpdateStatus({"Pod", "default", "p"}, status))->metadata.resource_version, (*updated)->metadata.resource_version);
  EXPECT_EQ(Refused(store_->UpdateStatus({"Pod", "default", "p"}, status, "other")).code, 409);
  EXPECT_EQ(Refused(store_->UpdateStatus({"Pod", "default", "p"}, ReadTree(R"({"phase":1})"))).code, 400);
}

TEST_F(StoreTest, EphemeralContainersHaveTheirOwnDoor) {
  Create(Pod("p"));
  const auto with = [](std::string_view list) { return ReadTree(Pod("p", R"(,"ephemeralContainers":)" + std::string(list))); };
  const auto change = [&](std::string_view list) {
    return store_->ChangeEphemeralContainers({"Pod", "default", "p"}, [&](const Tree&) -> Answer<Tree> { return with(list); });
  };
  const auto added = change(R"([{"name":"e","image":"x"}])");
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_EQ(kube::ReadPod(**added).spec.ephemeral_containers[0].image_pull_policy, "Always");
  EXPECT_EQ(Refused(change("[]")).code, 422);
}

TEST_F(StoreTest, ChangesAsOne) {
  Create(Pod("web"));
  const Key key{"Pod", "default", "web"};
  const auto label = [](const Tree& stored) -> Answer<Tree> {
    Tree wanted = stored;
    wanted["metadata"]["labels"]["a"] = Tree("b");
    return wanted;
  };
  const auto before = Get(key);
  const std::int64_t version = store_->version();
  const auto dry = store_->Change(key, label, {.dry_run = true});
  ASSERT_TRUE(dry);
  EXPECT_EQ(At(*dry, {"metadata", "labels", "a"}), "\"b\"");
  EXPECT_EQ(Get(key)->json, before->json) << "a dry run writes nothing";
  EXPECT_EQ(store_->version(), version);
  ASSERT_TRUE(store_->Change(key, label));
  EXPECT_EQ(At(Get(key), {"metadata", "labels", "a"}), "\"b\"");
  const auto member = [](std::string_view name, std::string_view value) {
    return [=](const Tree& stored) -> Answer<Tree> {
      Tree wanted = stored;
      wanted["metadata"][name] = Tree(value);
      return wanted;
    };
  };
  EXPECT_EQ(Refused(store_->Change(key, member("name", "other"))).code, 400);
  EXPECT_EQ(Refused(store_->Change(key, member("namespace", "other"))).code, 400);
  EXPECT_EQ(Refused(store_->Change(key, member("resourceVersion", "1"))).code, 409);
  EXPECT_EQ(Refused(store_->Change(key, [](const Tree&) -> Answer<Tree> { return kube::Status::BadRequest("no"); })).message, "no");
  EXPECT_EQ(Refused(store_->Change({"Pod", "default", "x"}, label)).code, 404);
}

TEST_F(StoreTest, ADryRunOfEverythingWritesNothing) {
  Create(Named("ConfigMap", "cm"));
  const Key key{"ConfigMap", "default", "cm"};
  const std::int64_t version = store_->version();
  EXPECT_TRUE(store_->Create(ReadTree(Pod("web")), {.dry_run = true}));
  EXPECT_EQ(Refused(store_->Create(ReadTree(Named("ConfigMap", "cm")), {.dry_run = true})).code, 409);
  EXPECT_TRUE(store_->Update(ReadTree(Named("ConfigMap", "cm", R"(,"labels":{"a":"b"})")), {.dry_run = true}));
  EXPECT_TRUE(store_->Delete(key, {.dry_run = true}));
  EXPECT_EQ(store_->version(), version);
  EXPECT_NE(Get(key), nullptr);
  EXPECT_THAT(Names({.kind = "Pod"}), IsEmpty());
}

TEST_F(StoreTest, AWatchTellsThatThereIsNews) {
  Create(Named("ConfigMap", "cm"));
  const auto watch = store_->Watching({.kind = "ConfigMap"}, 0);
  const auto fresh = store_->Watching({.kind = "ConfigMap"});
  ASSERT_TRUE(fresh);
  int news = 0;
  (*fresh)->OnNews([&] { ++news; });
  EXPECT_EQ(news, 0);
  Create(Named("ConfigMap", "other"));
  Create(Named("Secret", "s"));
  EXPECT_EQ(news, 1);
  const auto behind = store_->Watching({.kind = "ConfigMap"}, store_->version() - 2);
  ASSERT_TRUE(behind);
  (*behind)->OnNews([&] { ++news; });
  EXPECT_EQ(news, 2) << "there was something already";
}

TEST_F(StoreTest, AppliesByThreeWays) {
  const auto first = store_->Apply(ReadTree(Pod("p", "", "i:1")));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->what, Applied::What::kCreated);
  EXPECT_EQ(At(first->object, {"spec", "containers"}).find("last-applied"), std::string::npos);
  ASSERT_TRUE(store_->UpdateStatus({"Pod", "default", "p"}, ReadTree(R"({"phase":"Running"})")));
  EXPECT_EQ(store_->Apply(ReadTree(Pod("p", "", "i:1")))->what, Applied::What::kUnchanged);
  const auto second = store_->Apply(ReadTree(Pod("p", "", "i:latest")));
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->what, Applied::What::kConfigured);
  const kube::Pod pod = kube::ReadPod(*second->object);
  EXPECT_EQ(pod.spec.containers[0].image, "i:latest");
  EXPECT_EQ(pod.spec.containers[0].image_pull_policy, "IfNotPresent");  // defaulted once, at creation
  EXPECT_EQ(pod.status.phase, "Running");
  // Secrets: what the file no longer has goes; stringData works, too.
  const std::string head = R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},)";
  ASSERT_TRUE(store_->Apply(ReadTree(head + R"("stringData":{"a":"1","b":"2"}})")));
  ASSERT_TRUE(store_->Apply(ReadTree(head + R"("data":{"b":"Mw=="}})")));
  EXPECT_EQ(At(Get({"Secret", "default", "s"}), {"data", "b"}), "\"Mw==\"");
  EXPECT_EQ(store_->Apply(ReadTree(head + R"("data":{"b":"Mw=="}})"))->what, Applied::What::kUnchanged);
  EXPECT_FALSE(store_->Apply(ReadTree(Pod("p", R"(,"hostNetwork":true)"))));  // immutable
}

TEST_F(StoreTest, AGracePeriodEndsInTheFuture) {
  Create(Pod("p", R"(,"nodeName":"n")"));
  const auto marked = store_->Delete({"Pod", "default", "p"}, {.grace_seconds = std::numeric_limits<std::int64_t>::max()});
  ASSERT_TRUE(marked);
  EXPECT_EQ(*(*marked)->metadata.deletion_timestamp, std::chrono::floor<seconds>(clock_.WallNow()) + seconds(1'000'000'000));
}

TEST_F(StoreTest, PodsGoInTwoSteps) {
  Create(Pod("p", R"(,"nodeName":"n","terminationGracePeriodSeconds":40)"));
  const auto marked = store_->Delete({"Pod", "default", "p"});
  ASSERT_TRUE(marked);
  EXPECT_EQ(*(*marked)->metadata.deletion_timestamp, std::chrono::floor<seconds>(clock_.WallNow()) + seconds(40));
  EXPECT_EQ((*marked)->metadata.deletion_grace_period_seconds, 40);
  clock_.Advance(seconds(3));
  // Sooner, not later.
  EXPECT_EQ((*store_->Delete({"Pod", "default", "p"}, {.grace_seconds = 100}))->metadata.deletion_timestamp, (*marked)->metadata.deletion_timestamp);
  EXPECT_EQ(*(*store_->Delete({"Pod", "default", "p"}, {.grace_seconds = 10}))->metadata.deletion_timestamp,
            *(*marked)->metadata.deletion_timestamp - seconds(30));
  EXPECT_EQ(Refused(store_->Delete({"Pod", "default", "p"}, {.grace_seconds = 0, .uid = "other"})).code, 409);
  ASSERT_TRUE(store_->Delete({"Pod", "default", "p"}, {.grace_seconds = 0, .uid = (*marked)->metadata.uid}));
  EXPECT_EQ(Get({"Pod", "default", "p"}), nullptr);
  // Nothing runs: gone at once.
  Create(Pod("unbound"));
  ASSERT_TRUE(store_->Delete({"Pod", "default", "unbound"}));
  Create(Pod("done", R"(,"nodeName":"n")"));
  ASSERT_TRUE(store_->UpdateStatus({"Pod", "default", "done"}, ReadTree(R"({"phase":"Succeeded"})")));
  ASSERT_TRUE(store_->Delete({"Pod", "default", "done"}));
  EXPECT_THAT(Names({.kind = "Pod"}), IsEmpty());
}

TEST_F(StoreTest, FinalizersKeepAnObject) {
  Create(Named("Secret", "s", R"(,"finalizers":["example.com/keep"])"));
  const auto marked = store_->Delete({"Secret", "default", "s"});
  ASSERT_TRUE(marked);
  EXPECT_TRUE((*marked)->metadata.deletion_timestamp);
  Tree freed = Json(*marked);
  freed["metadata"].Erase("finalizers");
  ASSERT_TRUE(store_->Update(freed));
  EXPECT_EQ(Get({"Secret", "default", "s"}), nullptr);
}

TEST_F(StoreTest, ANamespaceGoesWithItsContents) {
  Create(Named("Namespace", "team"));
  Create(Named("Secret", "s", R"(,"namespace":"team")"));
  Create(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"team"},"spec":{"nodeName":"n","containers":[{"name":"a","image":"i"}]}})");
  ASSERT_TRUE(store_->Delete({"Namespace", "", "team"}));
  EXPECT_EQ(At(Get({"Namespace", "", "team"}), {"status", "phase"}), "\"Terminating\"");
  EXPECT_THAT(Names({.kind = "Secret", .ns = "team"}), IsEmpty());
  EXPECT_THAT(Refused(store_->Create(ReadTree(Named("Secret", "t", R"(,"namespace":"team")")))).message, HasSubstr("because it is being terminated"));
  ASSERT_TRUE(store_->Delete({"Pod", "team", "p"}, {.grace_seconds = 0}));
  EXPECT_EQ(Get({"Namespace", "", "team"}), nullptr);
  EXPECT_THAT(Names({.kind = "ServiceAccount", .ns = "team"}), IsEmpty());
}

TEST_F(StoreTest, SurvivesARestart) {
  Create(Pod("p"));
  const std::int64_t version = store_->version();
  const std::string before = Get({"Pod", "default", "p"})->json;
  Open();
  EXPECT_EQ(store_->version(), version);
  EXPECT_EQ(Get({"Pod", "default", "p"})->json, before);
  EXPECT_GT(std::stoll(Create(Pod("q"))->metadata.resource_version), version);
}

TEST_F(StoreTest, DeletedSecretsAreOverwritten) {
  Create(R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"a":"correct horse battery staple"}})");
  ASSERT_TRUE(store_->Delete({"Secret", "default", "s"}));
  store_.reset();  // checkpoints, and drops the WAL
  std::ifstream file(dir_ + "/objects.db", std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  EXPECT_EQ(bytes.str().find("Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/objects.db-wal"));
}

// ---- events

Happening Says(std::string message, std::string reason = "Pulling") {
  return {.about = {.kind = "Pod", .ns = "default", .name = "p", .uid = "u"},
          .type = "Normal",
          .reason = std::move(reason),
          .message = std::move(message),
          .host = "here"};
}

TEST_F(StoreTest, CountsEqualEvents) {
  const auto first = store_->Record(Says("Pulling image \"x\""));
  ASSERT_TRUE(first) << first.error().message;
  const time::WallTime began = std::chrono::floor<seconds>(clock_.WallNow());
  clock_.Advance(seconds(60));
  const auto again = store_->Record(Says("Pulling image \"x\""));
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->metadata.name, (*first)->metadata.name);
  const kube::Event event = kube::ReadEvent(**again);
  EXPECT_EQ(event.count, 2);
  EXPECT_EQ(*event.first_timestamp, began);
  EXPECT_EQ(*event.last_timestamp, began + seconds(60));
  EXPECT_EQ(event.component, "kubelet");
  ASSERT_TRUE(store_->Record(Says("Pulling image \"y\"")));
  ASSERT_TRUE(store_->Record(Says("Pulling image \"x\"", "Other")));
  EXPECT_THAT(Names({.kind = "Event"}), SizeIs(3));
  EXPECT_THAT((*first)->metadata.name, StartsWith("p."));
}

TEST_F(StoreTest, EventsGoByAgeAndNumber) {
  ASSERT_TRUE(store_->Record(Says("old")));
  clock_.Advance(hours(1) + seconds(1));
  ASSERT_TRUE(store_->Record(Says("new")));
  EXPECT_THAT(Names({.kind = "Event"}), SizeIs(1));
  // What was forgotten starts at one again.
  EXPECT_EQ(kube::ReadEvent(**store_->Record(Says("old"))).count, 1);
  options_.events = 3;
  Open();
  for (int i = 0; i < 6; ++i) {
    clock_.Advance(seconds(1));
    ASSERT_TRUE(store_->Record(Says("message " + std::to_string(i))));
  }
  std::vector<std::string> messages;
  const auto listing = store_->List({.kind = "Event"});
  for (const ObjectPtr& o : listing->objects) messages.push_back(kube::ReadEvent(*o).message);
  EXPECT_THAT(messages, ::testing::UnorderedElementsAre("message 3", "message 4", "message 5"));
}

// ---- watches

std::string Show(const WatchEvent& e) {
  return std::string(NameOf(e.type)) + " " + e.object->metadata.name + " " + e.object->metadata.resource_version;
}

TEST_F(StoreTest, WatchesFromAVersion) {
  const std::int64_t start = store_->List({.kind = "Pod"})->version;
  const std::string a = Create(Pod("a"))->metadata.resource_version;
  Create(Named("Secret", "other"));
  auto watch = store_->Watching({.kind = "Pod"}, start);
  ASSERT_TRUE(watch);
  const std::string status = (*store_->UpdateStatus({"Pod", "default", "a"}, ReadTree(R"({"phase":"Failed"})")))->metadata.resource_version;
  const std::string gone = (*store_->Delete({"Pod", "default", "a"}))->metadata.resource_version;
  const task::Context ctx;
  EXPECT_EQ(Show(*(*watch)->Next(ctx)), "ADDED a " + a);
  EXPECT_EQ(Show(*(*watch)->Next(ctx)), "MODIFIED a " + status);
  EXPECT_EQ(Show(*(*watch)->Next(ctx)), "DELETED a " + gone);
  EXPECT_FALSE((*watch)->Poll()->has_value());
}

TEST_F(StoreTest, SelectorsSeeObjectsComeAndGo) {
  const auto labelled = [](const kube::Object& o) { return o.metadata.labels.contains("in"); };
  auto watch = store_->Watching({.kind = "ConfigMap", .matches = labelled});
  ASSERT_TRUE(watch);
  Create(Named("ConfigMap", "m"));
  ASSERT_TRUE(store_->Update(ReadTree(Named("ConfigMap", "m", R"(,"labels":{"in":"1"})"))));
  ASSERT_TRUE(store_->Update(ReadTree(Named("ConfigMap", "m", R"(,"labels":{"in":"2"})"))));
  ASSERT_TRUE(store_->Update(ReadTree(Named("ConfigMap", "m"))));
  ASSERT_TRUE(store_->Delete({"ConfigMap", "default", "m"}));
  std::vector<WatchEvent::Type> types;
  for (auto event = (*watch)->Poll(); event && event->has_value(); event = (*watch)->Poll()) types.push_back((*event)->type);
  using Type = WatchEvent::Type;
  EXPECT_THAT(types, ElementsAre(Type::kAdded, Type::kModified, Type::kDeleted));
}

// Which of the two limits ends the history; the changes are all alike.
struct HistoryCase {
  std::string name;
  std::size_t changes, bytes;
};
std::ostream& operator<<(std::ostream& out, const HistoryCase& c) { return out << c.name; }
class History : public StoreTest, public ::testing::WithParamInterface<HistoryCase> {};
TEST_P(History, ItsEndDropsSlowWatchers) {
  options_.history = GetParam().changes;
  options_.history_bytes = GetParam().bytes;
  Open();
  const std::int64_t start = store_->version();
  const auto put = [&](int i) { Create(Named("Secret", "s" + std::to_string(i))); };
  auto slow = store_->Watching({.kind = "Secret"}), fast = store_->Watching({.kind = "Secret"}), other = store_->Watching({.kind = "Pod"});
  ASSERT_TRUE(slow && fast && other);
  for (int i = 0; i < 6; ++i) {
    put(i);
    EXPECT_TRUE((*fast)->Poll()->has_value());
  }
  EXPECT_EQ((*slow)->Next(task::Context()).error().code, 410);
  EXPECT_FALSE((*fast)->Poll()->has_value());
  EXPECT_FALSE((*other)->Poll()->has_value());  // it has missed nothing
  // Too far back; and after a list it goes on.
  const auto late = store_->Watching({.kind = "Secret"}, start);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, 410);
  EXPECT_THAT(late.error().message, StartsWith("too old resource version: "));
  auto again = store_->Watching({.kind = "Secret"}, store_->List({.kind = "Secret"})->version);
  ASSERT_TRUE(again);
  put(6);
  EXPECT_EQ((**(*again)->Poll()).object->metadata.name, "s6");
}
INSTANTIATE_TEST_SUITE_P(All, History,
                         ::testing::Values(HistoryCase{"by_number", 4, 1u << 20}, HistoryCase{"by_size", 1'000, 1'000}, HistoryCase{"one_is_kept", 1'000, 1}),
                         [](const auto& c) { return c.param.name; });

TEST_F(StoreTest, WatchersAreCountedAndForgotten) {
  options_.watches = 2;
  Open();
  auto one = store_->Watching({}), two = store_->Watching({});
  EXPECT_EQ(store_->Watching({}).error().code, 429);
  one->reset();
  EXPECT_TRUE(store_->Watching({}));
}

TEST_F(StoreTest, AWatchWaitsAndCanBeStopped) {
  auto watch = store_->Watching({.kind = "Pod"});
  ASSERT_TRUE(watch);
  std::latch ready(1);
  Answer<WatchEvent> came{kube::Status{}};
  std::jthread reader([&](std::stop_token) {
    ready.count_down();
    came = (*watch)->Next(task::Context());
  });
  ready.wait();
  Create(Pod("p"));
  reader.join();
  ASSERT_TRUE(came);
  EXPECT_EQ(came->object->metadata.name, "p");
  std::latch again(1);
  std::jthread stopped([&](std::stop_token stop) {
    again.count_down();
    came = (*watch)->Next(task::Context(stop));
  });
  again.wait();
  stopped.request_stop();
  stopped.join();
  ASSERT_FALSE(came);
  EXPECT_THAT(came.error().message, HasSubstr("the watch was stopped"));
  auto last = store_->Watching({.kind = "Pod"});
  store_.reset();
  EXPECT_EQ((*last)->Next(task::Context()).error().code, 410);
}

TEST_F(StoreTest, WritersAndReadersAtOnce) {
  auto watch = store_->Watching({.kind = "ConfigMap"});
  ASSERT_TRUE(watch);
  constexpr int kEach = 20;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 3; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEach; ++i) EXPECT_TRUE(store_->Create(ReadTree(Named("ConfigMap", "m" + std::to_string(t) + "-" + std::to_string(i)))));
      });
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) EXPECT_TRUE(store_->List({.kind = "ConfigMap"}));
    });
  }
  std::int64_t last = 0;
  for (int i = 0; i < 3 * kEach; ++i) {
    const auto event = (*watch)->Next(task::Context());
    ASSERT_TRUE(event);
    EXPECT_GT(event->version, last);  // in the order of versions, none missing
    last = event->version;
  }
  EXPECT_THAT(Names({.kind = "ConfigMap"}), SizeIs(3 * kEach));
}

TEST_F(StoreTest, DamageIsCalledDamage) {
  Create(Pod("p"));
  store_.reset();
  {
    std::fstream file(dir_ + "/objects.db", std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(0);
    file << "this is no database at all";
  }
  const auto store = Store::Open(dir_ + "/objects.db", clock_, [] { return 4; });
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().reason(), Reason::kCorrupt);
}

}  // namespace
}  // namespace berth::objects
