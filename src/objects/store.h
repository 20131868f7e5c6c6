// objects/store.h: the Kubernetes objects of one machine, durable: what an API server and etcd are to a cluster.
//
// Objects of the kinds in kube/parse.h, kept whole as JSON in one SQLite file (mode 0600: it holds Secrets; deleted bytes are
// overwritten). Every successful write is durable when it returns; a crash leaves the state before or after it.
//
// Semantics are Kubernetes': resourceVersion grows with every change of anything; an update that names another one than is stored
// is a 409 Conflict; uid, creationTimestamp, generation and status are the store's and not the writer's; defaults, the
// service account's pull secrets (kubelet-images 3.3) and validation are applied before anything is stored. Namespaces "default"
// and "kube-system" and a service account "default" in each namespace are always there.
// Deletion: a Pod is marked (deletionTimestamp) and goes when the node removes it with grace 0; finalizers keep an object; a
// namespace goes with all it holds, once its last Pod has gone.
//
// Refusals are kube::Status with Kubernetes' words. Threads: all calls from any number of threads; one writes at a time, readers are
// not blocked by it. No call blocks on anything but the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "db/database.h"
#include "json/tree.h"
#include "kube/defaults.h"
#include "kube/objects.h"
#include "kube/status.h"
#include "objects/watch.h"
#include "time/clock.h"

namespace berth::objects {

using kube::Answer;
using ObjectPtr = std::shared_ptr<const kube::Object>;

struct Options {
  kube::DefaultOptions defaults;
  std::string node_name;                 // not "": Pods that name no node are bound to this one when they are created
  std::size_t objects = 20'000;          // of all kinds but Events; 403 beyond
  std::size_t object_bytes = 1536u << 10;  // of one, as stored; what etcd takes
  std::size_t events = 2'000;            // the oldest go first
  time::Duration event_age = std::chrono::hours(1);  // since it was last seen
  std::size_t history = 4'000;           // changes a new watch can start behind, and any watch may have unread
  std::size_t history_bytes = 4u << 20;  // of their JSON, before and after
  std::size_t watches = 1'000;
};

struct Key {
  std::string kind, ns, name;  // ns "" for namespaces and nodes
};
struct Listing {
  std::vector<ObjectPtr> objects;  // by namespace, name
  std::int64_t version = 0;        // a watch from here misses nothing
};
struct WriteOptions {
  bool dry_run = false;                       // judged and answered as if, but nothing is written
};
struct DeleteOptions {
  std::optional<std::int64_t> grace_seconds;  // nullopt: the Pod's own
  std::string uid, resource_version;          // preconditions; "" = any
  bool dry_run = false;
};
struct Applied {
  ObjectPtr object;
  enum class What : std::uint8_t { kCreated, kConfigured, kUnchanged } what = What::kCreated;
};
// What happened to an object, in the words of its events.
struct Happening {
  kube::ObjectReference about;
  std::string type, reason, message;  // type: "Normal", "Warning"
  std::string component = "kubelet";
  std::string host;
};

class Store {
 public:
  // Creates the file when it is not there. `random`: 64 random bits a call (uids, generated names), under the store's lock.
  static Result<std::unique_ptr<Store>> Open(const std::string& path, const time::Clock& clock, std::function<std::uint64_t()> random,
                                             Options options = {});
  ~Store();

  Answer<ObjectPtr> Create(const json::Tree& object, const WriteOptions& options = {});
  Answer<ObjectPtr> Get(const Key& key) const;
  // `filter.kind` is needed.
  Answer<Listing> List(const Filter& filter) const;
  // Replaces all but the status.
  Answer<ObjectPtr> Update(const json::Tree& object, const WriteOptions& options = {});
  // Reads, changes and writes as one: `edit` makes of the stored object what shall be there, as for Update. It is called with the
  // store's lock held (reading the store is allowed) and is refused a change of kind, namespace or name (BadRequest).
  using Edit = std::function<Answer<json::Tree>(const json::Tree& stored)>;
  Answer<ObjectPtr> Change(const Key& key, const Edit& edit, const WriteOptions& options = {});
  // The status alone; `uid`: of the object meant ("" = whatever has the name now). `resource_version` as in DeleteOptions.
  Answer<ObjectPtr> UpdateStatus(const Key& key, const json::Tree& status, std::string_view uid = "",
                                 std::string_view resource_version = "");
  // The list spec.ephemeralContainers of a Pod alone.
  Answer<ObjectPtr> ChangeEphemeralContainers(const Key& key, const Edit& edit, const WriteOptions& options = {});
  // kubectl apply on our side (kube/merge.h): creates, or merges by the last-applied annotation.
  Answer<Applied> Apply(const json::Tree& object);
  // The object as it was last or, when it stays for a while, as it is marked now.
  Answer<ObjectPtr> Delete(const Key& key, const DeleteOptions& options = {});

  // Changes behind `version` (Listing::version); nullopt: from now on.
  Answer<std::shared_ptr<Watch>> Watching(Filter filter, std::optional<std::int64_t> version = std::nullopt);

  // As the kubelet's recorder: the same words about the same object from the same source count up one Event. Removes Events that are
  // too old or too many.
  Answer<ObjectPtr> Record(const Happening& happening);

  std::int64_t version() const;

 private:
  class Writing;
  Store(std::unique_ptr<db::Database> writer, std::unique_ptr<db::Database> reader, const time::Clock& clock,
        std::function<std::uint64_t()> random, Options options);
  // `work(Writing&)` in one transaction: its changes are committed, counted and told to the watchers when it succeeds.
  template <class T, class Work>
  Answer<T> Write(Work work, bool dry_run = false);

  const time::Clock& clock_;
  const std::function<std::uint64_t()> random_;
  const Options options_;
  mutable std::mutex write_mutex_;
  std::unique_ptr<db::Database> writer_;
  mutable std::mutex read_mutex_;
  std::unique_ptr<db::Database> reader_;
  std::int64_t version_ = 0;             // under write_mutex_, as the next
  std::size_t count_ = 0;                // objects that are no Events
  Hub hub_;
};

}  // namespace berth::objects
