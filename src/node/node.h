// node/node.h: the node: Pods from the object store and from files, run by their workers; and what the API asks of it.
//
// Start() first makes the machine agree with the objects: what runs and belongs to a Pod is taken over as it is, what belongs to none is
// removed. From then on every change of a Pod in the store goes to its worker, and every status goes back (written only when it
// differs). An object that goes without being marked first (grace 0) ends its containers at once.
// The store has one Node object, ours: what this machine is, made at the start (node/self.h).
// Static Pods (node/static_pods.h) run from their files; for each there is a mirror Pod in the store, which shows its status, is made
// again when somebody deletes it, and goes with the file.
//
// Safe for concurrent use. The destructor ends pulls and hooks and leaves containers running.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "node/events.h"
#include "node/pod_workers.h"
#include "node/static_pods.h"
#include "objects/store.h"
#include "policy/image_manager.h"
#include "policy/kubelet_config.h"

namespace berth::node {

struct NodeOptions {
  std::string name;                    // of this node, as Events and Pods have it
  std::string host_ip;
  policy::KubeletConfig kubelet;
  bool always_pull_images = false;     // the admission plug-in (admission/policies.h)
  bool anonymous_fallback = false;
  StaticPodOptions static_pods;        // folder "": none
  PodWorkers::Options workers;
};

class Node final : private StatusSink {
 public:
  struct Parts {
    objects::Store& store;
    Runtime& runtime;
    policy::ImageService& images;
    policy::Records* records;          // nullptr: no verification
    PodCredentials& credentials;
    const time::Clock& clock;
  };
  static Result<std::unique_ptr<Node>> Start(const task::Context& ctx, NodeOptions options, Parts parts);
  ~Node() override;

  // Through admission into the store.
  kube::Answer<objects::Applied> Apply(json::Tree object);
  kube::Answer<objects::ObjectPtr> Create(json::Tree object, const objects::WriteOptions& options = {});
  kube::Answer<objects::ObjectPtr> Update(json::Tree object, const objects::WriteOptions& options = {});
  kube::Answer<objects::ObjectPtr> Change(const objects::Key& key, const objects::Store::Edit& edit,
                                          const objects::WriteOptions& options = {});

  objects::Store& store() { return parts_.store; }
  Runtime& runtime() { return parts_.runtime; }
  policy::ImageManager& images() { return images_; }
  PodWorkers& workers() { return workers_; }
  // The worker of a Pod as the API names it (a mirror Pod leads to its static one). nullptr: no such Pod here.
  std::shared_ptr<PodWorker> FindPod(const std::string& ns, const std::string& name) const;
  const NodeOptions& options() const { return options_; }

  // Images, by id, that Pods of this node have or are about to have: those their containers and image volumes name, from the moment
  // that a Pod is known until it has ended; and by which Pod. What containers run from is known to node::Mounts.
  Result<std::map<std::string, std::string>> ImagesInUse() const;
  // An Event about the node itself.
  void Tell(const policy::Event& event) { recorder_.TellNode(event); }

 private:
  Node(NodeOptions options, Parts parts);
  Result<> Begin(const task::Context& ctx);
  std::optional<json::Tree> Stored(const json::Tree& object) const;  // as admission needs it; nothing where it asks for nothing
  kube::Answer<> Admit(json::Tree& object, const json::Tree* old) const;
  void Watch(const task::Context& ctx);
  void SeePod(const kube::Object& object, bool deleted);
  void SeeStatic(std::vector<kube::Object> pods);
  void Mirror(const kube::Object& pod);
  Result<> Publish(const kube::Pod& pod, const kube::PodStatus& status) override;
  Result<> Remove(const kube::Pod& pod) override;

  const NodeOptions options_;
  const Parts parts_;
  Recorder recorder_;
  policy::ImageManager images_;
  std::map<std::string, std::vector<FoundRun>> found_;      // until its Pod shows up; guarded by mutex_
  mutable std::mutex mutex_;
  std::map<std::string, std::string> published_;            // guarded by mutex_: UID -> status as last written
  std::map<std::string, kube::Object> static_;              // guarded by mutex_: by UID
  std::optional<objects::Listing> first_;
  PodWorkers workers_;
  std::vector<std::jthread> threads_;                       // last
};

}  // namespace berth::node
