#include "objects/store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <utility>

#include "admission/admission.h"
#include "kube/grace.h"
#include "kube/merge.h"
#include "kube/parse.h"
#include "kube/quantity.h"
#include "kube/timestamp.h"
#include "kube/validate.h"
#include "log/log.h"

namespace berth::objects {
namespace {

using json::Tree;
using kube::FormatTime;
using kube::Object;
using kube::Status;

constexpr std::array<std::string_view, 1> kMigrations{R"sql(
CREATE TABLE state(id INTEGER PRIMARY KEY CHECK(id = 1), version INTEGER NOT NULL) STRICT;
INSERT INTO state VALUES(1, 1);
CREATE TABLE objects(
  kind TEXT NOT NULL, ns TEXT NOT NULL, name TEXT NOT NULL, same TEXT, touched INTEGER NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY(kind, ns, name)) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX objects_by_same ON objects(same) WHERE same IS NOT NULL;
CREATE INDEX objects_by_touched ON objects(touched) WHERE kind = 'Event';
CREATE INDEX objects_by_ns ON objects(ns);
)sql"};

constexpr std::string_view kDefaultNamespaces[] = {"default", "kube-system"};
constexpr std::size_t kGeneratedBase = 58;  // bytes of a generateName that are kept
constexpr int kNameTries = 8;

Tree ReadTree(const std::string& text) {
  const auto document = json::Document::Parse(text, Reason::kCorrupt, kube::kObjectLimits);
  return document ? Tree(document->root()) : Tree();
}
Tree ReadTree(const ObjectPtr& object) { return ReadTree(object->json); }

Result<ObjectPtr> FromRow(std::string_view text) {
  const auto document = json::Document::Parse(text, Reason::kCorrupt, kube::kObjectLimits);
  if (!document) return Error(Reason::kCorrupt, "a stored object is no JSON").Next("restore objects.db from a copy, or remove it and apply again");
  Result<kube::Parsed> parsed = kube::ParseObject(document->root());
  if (!parsed) return Error(Reason::kCorrupt, "a stored object is damaged: " + parsed.error().message());
  return std::make_shared<const Object>(std::move((*parsed).object));
}

std::string_view Resource(std::string_view kind) { return kube::ResourceOf(kind); }
Key KeyOf(const Object& o) { return {o.kind, o.metadata.ns, o.metadata.name}; }
bool HasStatus(std::string_view kind) { return kind == "Pod" || kind == "Namespace" || kind == "Node"; }

const Tree& Member(const Tree& t, std::string_view key) {
  static const Tree kNull;
  const Tree* m = t.Find(key);
  return m == nullptr ? kNull : *m;
}

std::int64_t Number(const Tree& t, std::int64_t otherwise) {
  return t.kind() == Tree::Kind::kInteger ? std::stoll(t.Dump()) : otherwise;
}

// Kubernetes' three classes of service.
std::string_view QosClass(const Tree& spec) {
  bool any = false, guaranteed = true;
  for (const char* list : {"initContainers", "containers"}) {
    for (const Tree& c : Member(spec, list).items()) {
      const Tree &limits = Member(Member(c, "resources"), "limits"), &requests = Member(Member(c, "resources"), "requests");
      for (const char* resource : {"cpu", "memory"}) {
        const auto milli = [&](const Tree& of) {
          const Tree& q = Member(of, resource);
          return q.IsNull() ? 0 : kube::Milli(q.IsString() ? q.text() : std::string_view(q.Dump())).value_or(0);
        };
        any |= milli(limits) > 0 || milli(requests) > 0;
        guaranteed &= milli(limits) > 0 && milli(limits) == milli(requests);
      }
    }
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

// Without what changes with every write.
Tree Comparable(Tree t) {
  if (Tree* meta = t.Find("metadata")) {
    meta->Erase("resourceVersion");
    meta->Erase("managedFields");
  }
  return t;
}

}  // namespace

// One transaction: reads through the writer's connection, collects changes.
class Store::Writing {
 public:
  explicit Writing(Store& store) : store_(store), version_(store.version_), now_(store.clock_.WallNow()) {}

  Answer<ObjectPtr> Find(const Key& key) {
    ObjectPtr found;
    RETURN_IF_ERROR(db().Query(
        "SELECT json FROM objects WHERE kind = ? AND ns = ? AND name = ?",
        [&](const db::Row& row) -> Result<> {
          ASSIGN_OR_RETURN(found, FromRow(row.Text(0)));
          return {};
        },
        key.kind, key.ns, key.name));
    return found;
  }
  Answer<ObjectPtr> Need(const Key& key) {
    Answer<ObjectPtr> found = Find(key);
    if (found && *found == nullptr) return Status::NotFound(Resource(key.kind), key.name);
    return found;
  }

  Answer<ObjectPtr> Create(Tree object, std::optional<std::string> same = std::nullopt) {
    Answer<std::string> kind = Check(object);
    if (!kind) return kube::Refusal(kind);
    Tree& meta = object["metadata"];
    if (!meta.Text("resourceVersion").empty()) return Status::BadRequest("resourceVersion should not be set on objects to be created");
    for (const char* key : {"resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"}) meta.Erase(key);
    meta["uid"] = Tree(NewUid());
    meta["creationTimestamp"] = Tree(FormatTime(now_));
    if (HasStatus(*kind) && *kind != "Node") object.Erase("status");
    kube::DefaultObject(object, store_.options_.defaults);
    if (kube::IsNamespaced(*kind))
      if (Answer<> fine = CheckNamespace(meta.Text("namespace")); !fine) return kube::Refusal(fine);
    if (*kind == "Pod")
      if (Answer<> admitted = AdmitPod(object); !admitted) return kube::Refusal(admitted);
    if (Answer<> done = Name(object, *kind); !done) return kube::Refusal(done);
    ASSIGN_OR_RETURN(const json::Document document, Reread(object));
    const Tree& named = object["metadata"];  // not `meta`: admission has made the object anew
    const Key key{*kind, std::string(named.Text("namespace")), std::string(named.Text("name"))};
    if (auto errors = kube::Validate(document.root()); !errors.empty()) return Status::Invalid(*kind, key.name, errors);
    Answer<ObjectPtr> there = Find(key);
    if (!there) return there;
    if (*there != nullptr) return Status::AlreadyExists(Resource(*kind), key.name);
    if (*kind != "Event" && store_.count_ + added_ >= store_.options_.objects)
      return Status::Forbidden(Resource(*kind), key.name, "this store holds " + std::to_string(store_.options_.objects) + " objects (limit: objects)");
    Answer<ObjectPtr> put = Put(nullptr, std::move(object), std::move(same));
    if (put && *kind == "Namespace")
      if (Answer<> account = AddDefaultAccount(key.name); !account) return kube::Refusal(account);
    return put;
  }

  Answer<ObjectPtr> Update(Tree object) {
    Answer<std::string> kind = Check(object);
    if (!kind) return kube::Refusal(kind);
    const Tree& sent = object["metadata"];
    Answer<ObjectPtr> found = Need({*kind, std::string(sent.Text("namespace")), std::string(sent.Text("name"))});
    if (!found) return found;
    return Replace(*found, ReadTree(*found), std::move(object));
  }

  Answer<ObjectPtr> Alter(const Key& key, const Edit& edit, bool ephemeral) {
    Answer<ObjectPtr> found = Need(key);
    if (!found) return found;
    const Tree old = ReadTree(*found);
    Answer<Tree> wanted = edit(old);
    if (!wanted) return kube::Refusal(wanted);
    Answer<std::string> kind = Check(*wanted);
    if (!kind) return kube::Refusal(kind);
    const Tree& meta = (*wanted)["metadata"];
    if (*kind != key.kind) return Status::BadRequest("the kind of an object cannot be changed");
    if (meta.Text("name") != key.name)
      return Status::BadRequest("the name of the object (" + std::string(meta.Text("name")) + ") does not match the name on the URL (" + key.name + ")");
    if (meta.Text("namespace") != key.ns) return Status::BadRequest("the namespace of the provided object does not match the namespace sent on the request");
    return ephemeral ? ReplaceEphemeral(*found, old, *std::move(wanted)) : Replace(*found, old, *std::move(wanted));
  }

  Answer<ObjectPtr> UpdateStatus(const Key& key, const Tree& status, std::string_view uid, std::string_view resource_version) {
    Answer<ObjectPtr> found = Need(key);
    if (!found) return found;
    if (Answer<> fine = Precondition(**found, uid, resource_version, true); !fine) return kube::Refusal(fine);
    Tree object = ReadTree(*found);
    if (Member(object, "status") == status) return found;
    object["status"] = status;
    if (Answer<std::string> kind = Check(object); !kind) return kube::Refusal(kind);
    return Put(*found, std::move(object));
  }

  Answer<Applied> Apply(Tree wanted) {
    using What = Applied::What;
    Answer<std::string> kind = Check(wanted);
    if (!kind) return kube::Refusal(kind);
    const Tree& sent = wanted["metadata"];
    if (sent.Text("name").empty()) return Status::BadRequest("error when applying: resource name may not be empty");
    // What is remembered is what was sent.
    const std::string remembered = kube::LastApplied(wanted);
    Answer<ObjectPtr> found = Find({*kind, std::string(sent.Text("namespace")), std::string(sent.Text("name"))});
    if (!found) return kube::Refusal(found);
    if (*found == nullptr) {
      wanted["metadata"]["annotations"][kube::kLastApplied] = Tree(remembered);
      Answer<ObjectPtr> created = Create(std::move(wanted));
      if (!created) return kube::Refusal(created);
      return Applied{*created, What::kCreated};
    }
    const Tree live = ReadTree(*found);
    const auto last = (*found)->metadata.annotations.find(std::string(kube::kLastApplied));
    Tree merged = kube::MergeApplied(last == (*found)->metadata.annotations.end() ? Tree() : ReadTree(last->second), live, wanted, *kind);
    merged["metadata"]["annotations"][kube::kLastApplied] = Tree(remembered);
    if (Answer<std::string> same = Check(merged); !same) return kube::Refusal(same);
    Answer<ObjectPtr> updated = Replace(*found, live, std::move(merged));
    if (!updated) return kube::Refusal(updated);
    return Applied{*updated, (*updated)->metadata.resource_version == (*found)->metadata.resource_version
                                 ? What::kUnchanged
                                 : What::kConfigured};
  }

  Answer<ObjectPtr> Delete(const Key& key, const DeleteOptions& options) {
    Answer<ObjectPtr> found = Need(key);
    if (!found) return found;
    if (Answer<> fine = Precondition(**found, options.uid, options.resource_version, false); !fine) return kube::Refusal(fine);
    if (key.kind == "Namespace") return DeleteNamespace(*found);
    Answer<ObjectPtr> deleted = key.kind == "Pod" ? DeletePod(*found, options.grace_seconds) : Mark(*found, 0);
    if (!deleted) return deleted;
    // An account that everything relies on comes back, as its controller would bring it back.
    if (key.kind == "ServiceAccount" && key.name == "default" && !Exists(key))
      if (Answer<> again = RestoreAccount(key.ns); !again) return kube::Refusal(again);
    return deleted;
  }

  Answer<ObjectPtr> Record(const Happening& h) {
    if (Answer<> swept = SweepEvents(); !swept) return kube::Refusal(swept);
    const std::string ns = h.about.ns.empty() ? "default" : h.about.ns;
    std::string same;
    for (const std::string* part : {&h.component, &h.host, &h.about.kind, &h.about.ns, &h.about.name, &h.about.uid,
                                    &h.about.api_version, &h.about.field_path, &h.type, &h.reason, &h.message})
      same += *part + '\x1f';
    ObjectPtr before;
    RETURN_IF_ERROR(db().Query(
        "SELECT json FROM objects WHERE same = ?",
        [&](const db::Row& row) -> Result<> {
          ASSIGN_OR_RETURN(before, FromRow(row.Text(0)));
          return {};
        },
        same));
    if (before) {
      Tree event = ReadTree(before);
      event["count"] = Tree(Number(Member(event, "count"), 1) + 1);
      event["lastTimestamp"] = Tree(FormatTime(now_));
      return Put(before, std::move(event), same);
    }
    Tree event = Tree::Object();
    event["apiVersion"] = Tree("v1");
    event["kind"] = Tree("Event");
    char stamp[24];
    std::snprintf(stamp, sizeof stamp, ".%016" PRIx64,
                  static_cast<std::uint64_t>(now_.time_since_epoch().count()) + static_cast<std::uint64_t>(version_ % 1000));
    event["metadata"]["name"] = Tree(h.about.name + stamp);
    event["metadata"]["namespace"] = Tree(ns);
    Tree& about = event["involvedObject"] = Tree::Object();
    const auto put = [](Tree& t, std::string_view key, const std::string& value) {
      if (!value.empty()) t[key] = Tree(value);
    };
    put(about, "apiVersion", h.about.api_version);
    put(about, "kind", h.about.kind);
    put(about, "namespace", h.about.ns);
    put(about, "name", h.about.name);
    put(about, "uid", h.about.uid);
    put(about, "resourceVersion", h.about.resource_version);
    put(about, "fieldPath", h.about.field_path);
    event["type"] = Tree(h.type);
    event["reason"] = Tree(h.reason);
    event["message"] = Tree(h.message);
    put(event["source"] = Tree::Object(), "component", h.component);
    put(event["source"], "host", h.host);
    event["reportingComponent"] = Tree(h.component);
    event["reportingInstance"] = Tree(h.host);
    event["count"] = Tree(1);
    event["firstTimestamp"] = event["lastTimestamp"] = Tree(FormatTime(now_));
    event["eventTime"] = Tree();
    return Create(std::move(event), same);
  }

  // "default" and "kube-system", and the account "default" in every namespace.
  Answer<> Furnish() {
    for (const std::string_view name : kDefaultNamespaces) {
      Answer<ObjectPtr> there = Find({"Namespace", "", std::string(name)});
      if (!there) return kube::Refusal(there);
      if (*there != nullptr) continue;
      Tree ns;
      ns["apiVersion"] = Tree("v1");
      ns["kind"] = Tree("Namespace");
      ns["metadata"]["name"] = Tree(name);
      if (Answer<ObjectPtr> made = Create(std::move(ns)); !made) return kube::Refusal(made);
    }
    return {};
  }

  Answer<> SweepEvents() {
    std::vector<ObjectPtr> old;
    const auto take = [&](const db::Row& row) -> Result<> {
      ASSIGN_OR_RETURN(ObjectPtr event, FromRow(row.Text(0)));
      old.push_back(std::move(event));
      return {};
    };
    const std::int64_t oldest = (now_ - store_.options_.event_age).time_since_epoch().count();
    RETURN_IF_ERROR(db().Query("SELECT json FROM objects WHERE kind = 'Event' AND touched < ? ORDER BY touched LIMIT 100", take, oldest));
    std::int64_t events = 0;
    RETURN_IF_ERROR(db().Query("SELECT COUNT(*) FROM objects WHERE kind = 'Event'", [&](const db::Row& row) -> Result<> { events = row.Int(0); return {}; }));
    const std::int64_t surplus = events - static_cast<std::int64_t>(old.size()) - static_cast<std::int64_t>(store_.options_.events) + 1;
    if (surplus > 0 && old.empty())
      RETURN_IF_ERROR(db().Query("SELECT json FROM objects WHERE kind = 'Event' ORDER BY touched LIMIT ?", take, surplus));
    for (const ObjectPtr& event : old)
      if (Answer<ObjectPtr> removed = Remove(event); !removed) return kube::Refusal(removed);
    return {};
  }

  // After the commit.
  void Publish() {
    store_.version_ = version_;
    store_.count_ = store_.count_ + added_ - removed_;
    for (Change& c : changes_) store_.hub_.Publish(std::move(c.before), std::move(c.after), c.version);
  }
  bool changed() const { return !changes_.empty(); }
  std::int64_t version() const { return version_; }

 private:
  struct Change {
    ObjectPtr before, after;
    std::int64_t version;
  };

  db::Database& db() { return *store_.writer_; }

  // What is stored, `old` as a tree, becomes `object`, which Check has seen and which has its kind and name.
  Answer<ObjectPtr> Replace(const ObjectPtr& stored, const Tree& old, Tree object) {
    const Tree& sent = object["metadata"];
    if (Answer<> fine = Precondition(*stored, sent.Text("uid"), sent.Text("resourceVersion"), true); !fine) return kube::Refusal(fine);
    KeepServersPart(object, old);
    if (HasStatus(stored->kind)) CopyMember(object, old, "status");
    kube::DefaultObject(object, store_.options_.defaults);
    if (Comparable(object) == Comparable(old)) return stored;
    if (Answer<> valid = Judge(kube::ValidateUpdate, object, *stored); !valid) return kube::Refusal(valid);
    if (stored->kind == "Pod" && Member(object, "spec") != Member(old, "spec")) NextGeneration(object);
    // The last finalizer of something deleted has gone.
    const bool deleted = !Member(object["metadata"], "deletionTimestamp").IsNull() && Number(Member(object["metadata"], "deletionGracePeriodSeconds"), 0) == 0;
    if (deleted && Member(object["metadata"], "finalizers").items().empty()) return Remove(stored);
    return Put(stored, std::move(object));
  }

  // The list spec.ephemeralContainers of `pod` alone.
  Answer<ObjectPtr> ReplaceEphemeral(const ObjectPtr& stored, const Tree& old, Tree pod) {
    const Tree& sent = pod["metadata"];
    if (Answer<> fine = Precondition(*stored, sent.Text("uid"), sent.Text("resourceVersion"), true); !fine) return kube::Refusal(fine);
    Tree object = old;
    CopyMember(object["spec"], pod["spec"], "ephemeralContainers");
    kube::DefaultObject(object, store_.options_.defaults);
    if (object == old) return stored;
    if (Answer<> valid = Judge(kube::ValidateEphemeralUpdate, object, *stored); !valid) return kube::Refusal(valid);
    NextGeneration(object);
    return Put(stored, std::move(object));
  }

  // `validate`: one of kube/validate.h, of what shall be and what is.
  template <class Validate>
  static Answer<> Judge(Validate validate, const Tree& object, const Object& stored) {
    ASSIGN_OR_RETURN(const json::Document after, Reread(object));
    ASSIGN_OR_RETURN(const json::Document before, json::Document::Parse(stored.json, Reason::kCorrupt, kube::kObjectLimits));
    if (auto errors = validate(after.root(), before.root()); !errors.empty())
      return Status::Invalid(stored.kind, stored.metadata.name, errors);
    return {};
  }

  // Types, kind, and the namespace that nothing named.
  Answer<std::string> Check(Tree& object) {
    Result<kube::Parsed> parsed = kube::ParseObject(object);
    if (!parsed) return Status::BadRequest(parsed.error().message());
    const std::string kind = (*parsed).object.kind;
    Tree& meta = object["metadata"];
    if (!meta.IsObject()) meta = Tree::Object();
    if (kube::IsNamespaced(kind) && meta.Text("namespace").empty()) meta["namespace"] = Tree("default");
    return kind;
  }
  static Result<json::Document> Reread(const Tree& object) {
    return json::Document::Parse(object.Dump(), Reason::kInternal, kube::kObjectLimits);
  }

  Answer<> CheckNamespace(std::string_view name) {
    Answer<ObjectPtr> ns = Find({"Namespace", "", std::string(name)});
    if (!ns) return kube::Refusal(ns);
    if (*ns == nullptr) return Status::NotFound("namespaces", name);
    if ((*ns)->metadata.deletion_timestamp) {
      return Status::Forbidden("namespaces", name, "unable to create new content in namespace " + std::string(name) + " because it is being terminated");
    }
    return {};
  }

  // What ServiceAccount admission asks, within this transaction.
  class Accounts final : public admission::Facts {
   public:
    explicit Accounts(Writing& writing) : writing_(writing) {}
    Answer<kube::ServiceAccount> FindAccount(const task::Context&, std::string_view ns, std::string_view name) override {
      Answer<ObjectPtr> found = writing_.Find({"ServiceAccount", std::string(ns), std::string(name)});
      if (!found) return kube::Refusal(found);
      if (*found == nullptr) return Status::NotFound("serviceaccount", name);
      return kube::ReadServiceAccount(**found);
    }
    Answer<kube::Secret> FindSecret(const task::Context&, std::string_view, std::string_view name) override {
      return Status::NotFound("secrets", name);
    }
    Answer<kube::StringMap> NamespaceLabels(const task::Context&, std::string_view) override { return kube::StringMap(); }

   private:
    Writing& writing_;
  };

  // kubelet-images 3.3: the account, and its pull secrets where the Pod lists none.
  Answer<> AdmitPod(Tree& pod) {
    Accounts accounts(*this);
    const admission::Admission plugin({.accounts = true, .account = {.tries_of_default = 1}}, {.facts = &accounts});
    admission::Outcome outcome = plugin.Admit(task::Context(), pod, {.ns = std::string(pod["metadata"].Text("namespace"))});
    if (outcome.denied) return *std::move(outcome.denied);
    Tree& spec = pod["spec"];  // nothing else is changed, and the caller holds the metadata
    if (Tree* admitted = outcome.object.Find("spec")) spec = std::move(*admitted);
    if (spec.Text("nodeName").empty() && !store_.options_.node_name.empty()) spec["nodeName"] = Tree(store_.options_.node_name);
    pod["metadata"]["generation"] = Tree(1);
    pod["status"] = Tree::Object();
    pod["status"]["phase"] = Tree("Pending");
    pod["status"]["qosClass"] = Tree(QosClass(spec));
    return {};
  }

  Answer<> Name(Tree& object, const std::string& kind) {
    Tree& meta = object["metadata"];
    const std::string base(meta.Text("generateName").substr(0, kGeneratedBase));
    if (!meta.Text("name").empty() || base.empty()) return {};
    static constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
    for (int i = 0; i < kNameTries; ++i) {
      std::string name = base;
      std::uint64_t bits = store_.random_();
      for (int k = 0; k < 5; ++k, bits /= kLetters.size()) name += kLetters[bits % kLetters.size()];
      Answer<ObjectPtr> there = Find({kind, std::string(meta.Text("namespace")), name});
      if (!there) return kube::Refusal(there);
      if (*there != nullptr) continue;
      meta["name"] = Tree(name);
      return {};
    }
    Status status = Status::AlreadyExists(Resource(kind), base);
    status.message += ", the server was not able to generate a unique name for the object";
    return status;
  }

  std::string NewUid() {
    const std::uint64_t a = store_.random_(), b = store_.random_();
    char text[40];
    std::snprintf(text, sizeof text, "%08x-%04x-4%03x-%04x-%012" PRIx64, static_cast<unsigned>(a >> 32), static_cast<unsigned>(a >> 16 & 0xffff),
                  static_cast<unsigned>(a & 0xfff), static_cast<unsigned>(0x8000 | (b >> 48 & 0x3fff)), b & 0xffffffffffff);
    return text;
  }

  static Answer<> Precondition(const Object& object, std::string_view uid, std::string_view resource_version, bool modified) {
    const std::string_view resource = Resource(object.kind);
    if (!uid.empty() && uid != object.metadata.uid) {
      return Status::Conflict(resource, object.metadata.name,
                              "Precondition failed: UID in precondition: " + std::string(uid) + ", UID in object meta: " + object.metadata.uid);
    }
    if (resource_version.empty() || resource_version == object.metadata.resource_version) return {};
    if (modified) return Status::Modified(resource, object.metadata.name);
    return Status::Conflict(resource, object.metadata.name,
                            "Precondition failed: ResourceVersion in precondition: " + std::string(resource_version) +
                                ", ResourceVersion in object meta: " + object.metadata.resource_version);
  }

  static void CopyMember(Tree& to, const Tree& from, std::string_view key) {
    if (const Tree* value = from.Find(key)) to[key] = Tree(*value);
    else to.Erase(key);
  }
  static void KeepServersPart(Tree& object, const Tree& old) {
    for (const char* key : {"uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName", "resourceVersion"})
      CopyMember(object["metadata"], Member(old, "metadata"), key);
    object["metadata"].Erase("selfLink");
  }
  static void NextGeneration(Tree& object) {
    Tree& meta = object["metadata"];
    meta["generation"] = Tree(Number(Member(meta, "generation"), 0) + 1);
  }

  Answer<ObjectPtr> Put(const ObjectPtr& before, Tree object, std::optional<std::string> same = std::nullopt) {
    object["metadata"]["resourceVersion"] = Tree(std::to_string(++version_));
    Result<kube::Parsed> parsed = kube::ParseObject(object);
    if (!parsed) return Status::BadRequest(parsed.error().message());
    auto after = std::make_shared<const Object>(std::move((*parsed).object));
    if (after->json.size() > store_.options_.object_bytes) {
      return Status{.reason = "RequestEntityTooLarge", .code = 413,
                    .message = "Request entity too large: limit is " + std::to_string(store_.options_.object_bytes)};
    }
    const Key key = KeyOf(*after);
    RETURN_IF_ERROR(db().Run("INSERT INTO objects(kind, ns, name, same, touched, json) VALUES(?, ?, ?, ?, ?, ?)"
                             " ON CONFLICT(kind, ns, name) DO UPDATE SET same = excluded.same, touched = excluded.touched, json = excluded.json",
                             key.kind, key.ns, key.name, same, now_.time_since_epoch().count(), after->json));
    if (before == nullptr && key.kind != "Event") ++added_;
    changes_.push_back({before, after, version_});
    return ObjectPtr(after);
  }

  Answer<ObjectPtr> Remove(const ObjectPtr& object) {
    const Key key = KeyOf(*object);
    RETURN_IF_ERROR(db().Run("DELETE FROM objects WHERE kind = ? AND ns = ? AND name = ?", key.kind, key.ns, key.name));
    Tree last = ReadTree(object);
    last["metadata"]["resourceVersion"] = Tree(std::to_string(++version_));
    Result<kube::Parsed> parsed = kube::ParseObject(last);
    if (!parsed) return Error(std::move(parsed).error());
    auto gone = std::make_shared<const Object>(std::move((*parsed).object));
    if (key.kind != "Event") ++removed_;
    changes_.push_back({gone, nullptr, version_});
    if (!key.ns.empty())
      if (Answer<> done = FinishNamespace(key.ns); !done) return kube::Refusal(done);
    return ObjectPtr(gone);
  }

  // Gone at once, or marked while finalizers or `grace` keep it.
  Answer<ObjectPtr> Mark(const ObjectPtr& object, std::int64_t grace) {
    if (grace == 0 && object->metadata.finalizers.empty()) return Remove(object);
    Tree marked = ReadTree(object);
    Tree& meta = marked["metadata"];
    const auto before = object->metadata.deletion_grace_period_seconds;
    if (object->metadata.deletion_timestamp && before.value_or(0) <= grace) return object;  // nothing gets longer
    const time::WallTime asked = object->metadata.deletion_timestamp
                                     ? *object->metadata.deletion_timestamp - std::chrono::seconds(before.value_or(0)) : now_;
    meta["deletionTimestamp"] = Tree(FormatTime(asked + std::chrono::seconds(grace)));
    meta["deletionGracePeriodSeconds"] = Tree(grace);
    if (object->kind == "Pod") NextGeneration(marked);
    return Put(object, std::move(marked));
  }

  Answer<ObjectPtr> DeletePod(const ObjectPtr& object, std::optional<std::int64_t> asked) {
    const Tree pod = ReadTree(object);
    const Tree& spec = Member(pod, "spec");
    std::int64_t grace = asked.value_or(Number(Member(spec, "terminationGracePeriodSeconds"), kube::kDefaultGrace));
    if (grace < 0) grace = 1;
    grace = std::min(grace, kube::kMostGrace);
    const std::string_view phase = Member(pod, "status").Text("phase");
    // Nothing runs that would need time.
    if (spec.Text("nodeName").empty() || phase == "Succeeded" || phase == "Failed") grace = 0;
    return Mark(object, grace);
  }

  Answer<ObjectPtr> DeleteNamespace(const ObjectPtr& ns) {
    const std::string name = ns->metadata.name;
    for (const std::string_view kept : kDefaultNamespaces)
      if (name == kept) return Status::Forbidden("namespaces", name, "this namespace may not be deleted");
    ObjectPtr marked = ns;
    if (!ns->metadata.deletion_timestamp) {
      Tree tree = ReadTree(ns);
      tree["metadata"]["deletionTimestamp"] = Tree(FormatTime(now_));
      tree["status"]["phase"] = Tree("Terminating");
      Answer<ObjectPtr> put = Put(ns, std::move(tree));
      if (!put) return put;
      marked = *put;
    }
    std::vector<ObjectPtr> contents;
    RETURN_IF_ERROR(db().Query(
        "SELECT json FROM objects WHERE ns = ? ORDER BY kind, name",
        [&](const db::Row& row) -> Result<> {
          ASSIGN_OR_RETURN(ObjectPtr object, FromRow(row.Text(0)));
          contents.push_back(std::move(object));
          return {};
        },
        name));
    for (const ObjectPtr& object : contents) {
      Answer<ObjectPtr> deleted = object->kind == "Pod" ? DeletePod(object, std::nullopt) : Mark(object, 0);
      if (!deleted) return deleted;
    }
    if (Answer<> done = FinishNamespace(name); !done) return kube::Refusal(done);
    return marked;
  }

  // A namespace that is being deleted goes when it is empty.
  Answer<> FinishNamespace(const std::string& name) {
    Answer<ObjectPtr> ns = Find({"Namespace", "", name});
    if (!ns) return kube::Refusal(ns);
    if (*ns == nullptr || !(*ns)->metadata.deletion_timestamp) return {};
    bool empty = true;
    RETURN_IF_ERROR(db().Query("SELECT 1 FROM objects WHERE ns = ? LIMIT 1", [&](const db::Row&) -> Result<> { empty = false; return {}; }, name));
    if (!empty || !(*ns)->metadata.finalizers.empty()) return {};
    Answer<ObjectPtr> removed = Remove(*ns);
    if (!removed) return kube::Refusal(removed);
    return {};
  }

  bool Exists(const Key& key) {
    Answer<ObjectPtr> found = Find(key);
    return found && *found != nullptr;
  }
  Answer<> RestoreAccount(const std::string& ns) {
    Answer<ObjectPtr> there = Find({"Namespace", "", ns});
    if (!there) return kube::Refusal(there);
    if (*there == nullptr || (*there)->metadata.deletion_timestamp) return {};
    return AddDefaultAccount(ns);
  }
  Answer<> AddDefaultAccount(const std::string& ns) {
    Tree account;
    account["apiVersion"] = Tree("v1");
    account["kind"] = Tree("ServiceAccount");
    account["metadata"]["name"] = Tree("default");
    account["metadata"]["namespace"] = Tree(ns);
    Answer<ObjectPtr> made = Create(std::move(account));
    if (!made) return kube::Refusal(made);
    return {};
  }

  Store& store_;
  std::int64_t version_;
  const time::WallTime now_;
  std::size_t added_ = 0, removed_ = 0;
  std::vector<Change> changes_;
};

template <class T, class Work>
Answer<T> Store::Write(Work work, bool dry_run) {
  std::lock_guard lock(write_mutex_);
  ASSIGN_OR_RETURN(db::Database::Transaction tx, writer_->Begin());
  Writing writing(*this);
  Answer<T> out = work(writing);
  if (!out || dry_run || !writing.changed()) return out;  // rolled back
  RETURN_IF_ERROR(writer_->Run("UPDATE state SET version = ?", writing.version()));
  RETURN_IF_ERROR(tx.Commit());
  writing.Publish();
  return out;
}

Store::Store(std::unique_ptr<db::Database> writer, std::unique_ptr<db::Database> reader, const time::Clock& clock,
             std::function<std::uint64_t()> random, Options options)
    : clock_(clock),
      random_(std::move(random)),
      options_(std::move(options)),
      writer_(std::move(writer)),
      reader_(std::move(reader)),
      hub_(options_.history, options_.history_bytes, options_.watches) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::Open(const std::string& path, const time::Clock& clock,
                                           std::function<std::uint64_t()> random, Options options) {
  ASSIGN_OR_RETURN(auto writer, db::Database::Open(path, kMigrations));
  RETURN_IF_ERROR(writer->Query("PRAGMA secure_delete=ON", [](const db::Row&) -> Result<> { return {}; }));
  ASSIGN_OR_RETURN(auto reader, db::Database::Open(path, kMigrations, db::Access::kReadOnly));
  std::unique_ptr<Store> store(new Store(std::move(writer), std::move(reader), clock, std::move(random), std::move(options)));
  RETURN_IF_ERROR(store->writer_->Query("SELECT version FROM state", [&](const db::Row& row) -> Result<> { store->version_ = row.Int(0); return {}; }));
  RETURN_IF_ERROR(store->writer_->Query("SELECT COUNT(*) FROM objects WHERE kind <> 'Event'", [&](const db::Row& row) -> Result<> {
    store->count_ = static_cast<std::size_t>(row.Int(0));
    return {};
  }));
  store->hub_.Start(store->version_);
  if (Answer<> furnished = store->Write<void>([](Writing& w) { return w.Furnish(); }); !furnished) return furnished.error().ToError();
  return store;
}

Answer<ObjectPtr> Store::Create(const Tree& object, const WriteOptions& options) {
  return Write<ObjectPtr>([&](Writing& w) { return w.Create(object); }, options.dry_run);
}
Answer<ObjectPtr> Store::Update(const Tree& object, const WriteOptions& options) {
  return Write<ObjectPtr>([&](Writing& w) { return w.Update(object); }, options.dry_run);
}
Answer<ObjectPtr> Store::Change(const Key& key, const Edit& edit, const WriteOptions& options) {
  return Write<ObjectPtr>([&](Writing& w) { return w.Alter(key, edit, false); }, options.dry_run);
}
Answer<ObjectPtr> Store::ChangeEphemeralContainers(const Key& key, const Edit& edit, const WriteOptions& options) {
  return Write<ObjectPtr>([&](Writing& w) { return w.Alter(key, edit, true); }, options.dry_run);
}
Answer<ObjectPtr> Store::UpdateStatus(const Key& key, const Tree& status, std::string_view uid, std::string_view resource_version) {
  return Write<ObjectPtr>([&](Writing& w) { return w.UpdateStatus(key, status, uid, resource_version); });
}
Answer<Applied> Store::Apply(const Tree& object) {
  return Write<Applied>([&](Writing& w) { return w.Apply(object); });
}
Answer<ObjectPtr> Store::Delete(const Key& key, const DeleteOptions& options) {
  return Write<ObjectPtr>([&](Writing& w) { return w.Delete(key, options); }, options.dry_run);
}
Answer<ObjectPtr> Store::Record(const Happening& happening) {
  return Write<ObjectPtr>([&](Writing& w) { return w.Record(happening); });
}

Answer<ObjectPtr> Store::Get(const Key& key) const {
  ObjectPtr found;
  std::lock_guard lock(read_mutex_);
  RETURN_IF_ERROR(reader_->Query(
      "SELECT json FROM objects WHERE kind = ? AND ns = ? AND name = ?",
      [&](const db::Row& row) -> Result<> {
        ASSIGN_OR_RETURN(found, FromRow(row.Text(0)));
        return {};
      },
      key.kind, key.ns, key.name));
  if (found == nullptr) return Status::NotFound(Resource(key.kind), key.name);
  return found;
}

Answer<Listing> Store::List(const Filter& filter) const {
  Listing out;
  std::vector<std::string> rows;
  {
    // One transaction, so that the version belongs to what is listed.
    std::lock_guard lock(read_mutex_);
    RETURN_IF_ERROR(reader_->Run("BEGIN"));
    const auto take = [&](const db::Row& row) -> Result<> {
      if (rows.empty()) out.version = row.Int(0);
      if (!row.IsNull(1)) rows.emplace_back(row.Text(1));
      return {};
    };
    const Result<> read = reader_->Query(
        "SELECT s.version, o.json FROM state s LEFT JOIN objects o ON o.kind = ?1 AND (?2 = '' OR o.ns = ?2) AND (?3 = '' OR o.name = ?3) ORDER BY o.ns, o.name",
        take, filter.kind, filter.ns, filter.name);
    RETURN_IF_ERROR(reader_->Run("COMMIT"));
    RETURN_IF_ERROR(read);
  }
  for (const std::string& row : rows) {
    ASSIGN_OR_RETURN(ObjectPtr object, FromRow(row));
    if (!filter.matches || filter.matches(*object)) out.objects.push_back(std::move(object));
  }
  return out;
}

Answer<std::shared_ptr<Watch>> Store::Watching(Filter filter, std::optional<std::int64_t> version) {
  if (!version) version = this->version();
  return hub_.Add(std::move(filter), *version);
}

std::int64_t Store::version() const {
  std::lock_guard lock(write_mutex_);
  return version_;
}

}  // namespace berth::objects
