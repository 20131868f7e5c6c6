#include "node/node.h"

#include <algorithm>

#include "admission/admission.h"
#include "kube/parse.h"
#include "kube/write.h"
#include "log/log.h"
#include "node/self.h"
#include "policy/defaults.h"
#include "reference/reference.h"

namespace berth::node {
namespace {

bool IsMirror(const kube::ObjectMeta& metadata) { return metadata.annotations.contains(std::string(kube::kMirrorAnnotation)); }
bool IsStatic(const kube::ObjectMeta& metadata) {
  const auto source = metadata.annotations.find(std::string(kConfigSourceAnnotation));
  return source != metadata.annotations.end() && source->second == "file" && !IsMirror(metadata);
}
bool Finished(const kube::PodStatus& status) { return status.phase == "Succeeded" || status.phase == "Failed"; }

policy::ImageManager::Options ManagerOptions(const NodeOptions& options) {
  policy::ImageManager::Options out;
  out.queue = options.kubelet.queue();
  out.registry_pull_qps = options.kubelet.registry_pull_qps;
  out.registry_burst = options.kubelet.registry_burst;
  out.anonymous_fallback = options.anonymous_fallback;
  return out;
}

Result<> AsResult(kube::Answer<objects::ObjectPtr> answer) {
  if (answer) return {};
  return answer.error().ToError();
}

}  // namespace

Node::Node(NodeOptions options, Parts parts)
    : options_(std::move(options)), parts_(parts),
      recorder_([&store = parts.store](const objects::Happening& h) { return AsResult(store.Record(h)); }, options_.name),
      images_(ManagerOptions(options_), {parts.images, recorder_, parts.records, parts.clock}),
      workers_(options_.workers, {parts.runtime, images_, parts.credentials, recorder_, *this, parts.clock},
               [&images = parts.images](const std::string& image) {
                 const auto spelled = reference::Reference::Parse(image);
                 if (!spelled) return true;  // InvalidImageName takes no time
                 const auto ref = images.ImageRef({}, spelled->CriSpelling());
                 return ref && !ref->empty();
               }) {}

Result<std::unique_ptr<Node>> Node::Start(const task::Context& ctx, NodeOptions options, Parts parts) {
  if (const auto cap = options.kubelet.crash_loop_max; cap && options.kubelet.crash_loop_back_off_max)
    options.workers.worker.crash_cap = *cap;
  options.workers.worker.host_ip = options.host_ip;
  options.static_pods.node = options.name;
  std::unique_ptr<Node> node(new Node(std::move(options), parts));
  RETURN_IF_ERROR(node->Begin(ctx));
  return node;
}

Result<> Node::Begin(const task::Context& ctx) {
  RETURN_IF_ERROR(RegisterSelf(parts_.store, {.name = options_.name, .host_ip = options_.host_ip, .pods = options_.kubelet.max_pods},
                               parts_.clock.WallNow()));
  parts_.runtime.OnExit([this](const std::string& uid) { workers_.Wake(uid); });
  workers_.OnGone([this](const kube::Pod& pod) {
    std::optional<kube::Object> again;
    {
      std::lock_guard hold(mutex_);
      published_.erase(pod.metadata.uid);
      if (const auto file = static_.find(pod.metadata.uid); file != static_.end()) again = file->second;
    }
    if (!again) return;  // else the file went and came back while its Pod ended
    Mirror(*again);
    workers_.Update(kube::ReadPod(*again));
  });
  auto listing = parts_.store.List({.kind = "Pod", .ns = "", .name = "", .matches = {}});
  if (!listing) return listing.error().ToError();
  std::vector<std::string> known;
  for (const auto& object : listing->objects) known.push_back(object->metadata.uid);
  std::vector<kube::Object> from_files;
  if (!options_.static_pods.folder.empty()) {
    from_files = StaticPods(options_.static_pods).Scan();
    for (const auto& pod : from_files) known.push_back(pod.metadata.uid);
  }
  for (auto& run : parts_.runtime.Found()) found_[run.key.pod_uid].push_back(std::move(run));
  // What nobody wants goes before anything new is made.
  if (const auto swept = parts_.runtime.Sweep(ctx, known); !swept) {
    if (swept.error().cancelled()) return swept.error();
    log::Warning("what earlier Pods left could not all be removed", {{"error", swept.error()}});
  }
  for (const auto& object : listing->objects) SeePod(*object, false);
  first_ = *std::move(listing);
  threads_.emplace_back([this](const std::stop_token& stop) { Watch(task::Context(stop, parts_.clock)); });
  if (!options_.static_pods.folder.empty())
    threads_.emplace_back([this](const std::stop_token& stop) {
      StaticPods(options_.static_pods).Run(task::Context(stop, parts_.clock), [this](std::vector<kube::Object> pods) {
        SeeStatic(std::move(pods));
      });
    });
  return {};
}

Node::~Node() {
  for (auto& thread : threads_) thread.request_stop();
  threads_.clear();
  parts_.runtime.OnExit({});
}

void Node::Watch(const task::Context& ctx) {
  std::optional<std::int64_t> from = std::exchange(first_, std::nullopt)->version;
  while (!ctx.stopped()) {
    auto watch = parts_.store.Watching({.kind = "Pod", .ns = "", .name = "", .matches = {}}, from);
    while (watch) {
      auto event = (*watch)->Next(ctx);
      if (ctx.stopped()) return;
      if (!event) break;
      SeePod(*event->object, event->type == objects::WatchEvent::Type::kDeleted);
    }
    // We fell behind: look at everything once.
    auto listing = parts_.store.List({.kind = "Pod", .ns = "", .name = "", .matches = {}});
    if (!listing) {
      log::Warning("Pods cannot be listed", {{"error", listing.error().ToError()}});
      if (!ctx.Sleep(std::chrono::seconds(1))) return;
      continue;
    }
    for (const auto& object : listing->objects) SeePod(*object, false);
    for (const auto& worker : workers_.List()) {
      const auto pod = worker->pod();
      const bool there = IsStatic(pod->metadata) ||
                         std::ranges::any_of(listing->objects, [&](const auto& o) { return o->metadata.uid == pod->metadata.uid; });
      if (!there) workers_.Delete(pod->metadata.uid, 0);
    }
    from = listing->version;
  }
}

void Node::SeePod(const kube::Object& object, bool deleted) {
  const kube::ObjectMeta& metadata = object.metadata;
  if (IsMirror(metadata)) {
    std::optional<kube::Object> mirrored;
    {
      std::lock_guard hold(mutex_);
      for (const auto& [uid, pod] : static_)
        if (pod.metadata.ns == metadata.ns && pod.metadata.name == metadata.name) mirrored = pod;
    }
    if (!deleted && metadata.deletion_timestamp)
      (void)parts_.store.Delete({"Pod", metadata.ns, metadata.name}, {.grace_seconds = 0, .uid = metadata.uid, .resource_version = ""});
    if (deleted && mirrored) Mirror(*mirrored);
    return;
  }
  kube::Pod pod = kube::ReadPod(object);
  if (deleted) {
    // One that had ended goes from the store at once, also when nobody has looked after it since we started.
    const bool ours = pod.spec.node_name == options_.name && workers_.Find(metadata.uid) == nullptr;
    if (ours && !metadata.deletion_timestamp && Finished(pod.status))
      workers_.Update(std::move(pod));
    return workers_.Delete(metadata.uid, 0);
  }
  if (!pod.spec.node_name.empty() && pod.spec.node_name != options_.name) return;
  std::vector<FoundRun> found;
  {
    std::lock_guard hold(mutex_);
    if (const auto mine = found_.find(metadata.uid); mine != found_.end()) {
      found = std::move(mine->second);
      found_.erase(mine);
    }
  }
  // Nothing is left to do for one that ended long ago, until it is deleted.
  if (Finished(pod.status) && !metadata.deletion_timestamp && found.empty() && workers_.Find(metadata.uid) == nullptr) return;
  workers_.Update(std::move(pod), found);
}

void Node::SeeStatic(std::vector<kube::Object> pods) {
  std::vector<kube::Object> fresh, gone;
  {
    std::lock_guard hold(mutex_);
    std::map<std::string, kube::Object> now;
    for (auto& pod : pods) now.emplace(pod.metadata.uid, std::move(pod));
    for (const auto& [uid, pod] : static_)
      if (!now.contains(uid)) gone.push_back(pod);
    for (const auto& [uid, pod] : now)
      if (!static_.contains(uid)) fresh.push_back(pod);
    static_ = std::move(now);
  }
  for (const auto& pod : gone) workers_.Delete(pod.metadata.uid, std::nullopt);
  for (const auto& pod : fresh) {
    Mirror(pod);
    std::vector<FoundRun> found;
    {
      std::lock_guard hold(mutex_);
      found.swap(found_[pod.metadata.uid]);
    }
    workers_.Update(kube::ReadPod(pod), found);
  }
}

void Node::Mirror(const kube::Object& pod) {
  const objects::Key key{"Pod", pod.metadata.ns, pod.metadata.name};
  if (const auto there = parts_.store.Get(key)) {
    const auto& annotations = (*there)->metadata.annotations;
    const auto of = annotations.find(std::string(kube::kMirrorAnnotation));
    if (of != annotations.end() && of->second == pod.metadata.uid) return;
    (void)parts_.store.Delete(key, {.grace_seconds = 0, .uid = "", .resource_version = ""});
  }
  const auto document = json::Document::Parse(pod.json, Reason::kInternal);
  if (!document) return;
  json::Tree tree(document->root());
  tree["metadata"].Erase("uid");
  tree["metadata"]["annotations"][kube::kMirrorAnnotation] = json::Tree(pod.metadata.uid);
  if (const auto made = parts_.store.Create(tree); !made)
    log::Warning("the mirror of a static Pod could not be made", {{"pod", pod.metadata.ns + "/" + pod.metadata.name}, {"error", made.error().ToError()}});
  std::lock_guard hold(mutex_);
  published_.erase(pod.metadata.uid);  // the new mirror has no status yet
}

Result<> Node::Publish(const kube::Pod& pod, const kube::PodStatus& status) {
  const json::Tree tree = kube::WriteStatus(status);
  std::string text = tree.Dump();
  {
    std::lock_guard hold(mutex_);
    if (const auto last = published_.find(pod.metadata.uid); last != published_.end() && last->second == text) return {};
  }
  const bool is_static = IsStatic(pod.metadata);
  const auto written = parts_.store.UpdateStatus({"Pod", pod.metadata.ns, pod.metadata.name}, tree, is_static ? "" : pod.metadata.uid);
  // An object that is gone needs no status; its deletion comes by the watch.
  if (!written && written.error().reason != "NotFound" && written.error().reason != "Conflict") return written.error().ToError();
  std::lock_guard hold(mutex_);
  if (written) published_[pod.metadata.uid] = std::move(text);
  return {};
}

Result<> Node::Remove(const kube::Pod& pod) {
  const objects::Key key{"Pod", pod.metadata.ns, pod.metadata.name};
  std::string uid = pod.metadata.uid;
  if (IsStatic(pod.metadata)) {
    const auto mirror = parts_.store.Get(key);
    if (!mirror) return {};
    const auto of = (*mirror)->metadata.annotations.find(std::string(kube::kMirrorAnnotation));
    if (of == (*mirror)->metadata.annotations.end() || of->second != uid) return {};  // the next file's
    uid = (*mirror)->metadata.uid;
  }
  const auto gone = parts_.store.Delete(key, {.grace_seconds = 0, .uid = uid, .resource_version = ""});
  if (!gone && gone.error().reason != "NotFound" && gone.error().reason != "Conflict") return gone.error().ToError();
  return {};
}

std::optional<json::Tree> Node::Stored(const json::Tree& object) const {
  const json::Tree* metadata = object.Find("metadata");
  if (!options_.always_pull_images || metadata == nullptr || object.Text("kind") != "Pod") return std::nullopt;
  const std::string ns(metadata->Text("namespace"));
  const auto there = parts_.store.Get({"Pod", ns.empty() ? "default" : ns, std::string(metadata->Text("name"))});
  if (!there) return std::nullopt;
  const auto document = json::Document::Parse((*there)->json, Reason::kInternal, kube::kObjectLimits);
  return document ? std::optional(json::Tree(document->root())) : std::nullopt;
}

kube::Answer<> Node::Admit(json::Tree& object, const json::Tree* old) const {
  if (!options_.always_pull_images) return {};
  admission::Request request;
  request.old = old;
  if (old != nullptr) request.operation = admission::Request::Operation::kUpdate;
  const admission::Admission plugin({.always_pull = true}, {});
  admission::Outcome outcome = plugin.Admit(task::Context(), std::move(object), std::move(request));
  object = std::move(outcome.object);
  if (outcome.denied) return *std::move(outcome.denied);
  return {};
}

kube::Answer<objects::Applied> Node::Apply(json::Tree object) {
  const auto old = Stored(object);
  if (auto admitted = Admit(object, old ? &*old : nullptr); !admitted) return kube::Refusal(admitted);
  return parts_.store.Apply(object);
}

kube::Answer<objects::ObjectPtr> Node::Create(json::Tree object, const objects::WriteOptions& options) {
  if (auto admitted = Admit(object, nullptr); !admitted) return kube::Refusal(admitted);
  return parts_.store.Create(object, options);
}

kube::Answer<objects::ObjectPtr> Node::Update(json::Tree object, const objects::WriteOptions& options) {
  const auto old = Stored(object);
  if (auto admitted = Admit(object, old ? &*old : nullptr); !admitted) return kube::Refusal(admitted);
  return parts_.store.Update(object, options);
}

kube::Answer<objects::ObjectPtr> Node::Change(const objects::Key& key, const objects::Store::Edit& edit,
                                              const objects::WriteOptions& options) {
  return parts_.store.Change(key, [&](const json::Tree& stored) -> kube::Answer<json::Tree> {
    auto wanted = edit(stored);
    if (!wanted) return kube::Refusal(wanted);
    if (auto admitted = Admit(*wanted, &stored); !admitted) return kube::Refusal(admitted);
    return wanted;
  }, options);
}

std::shared_ptr<PodWorker> Node::FindPod(const std::string& ns, const std::string& name) const {
  const auto object = parts_.store.Get({"Pod", ns, name});
  if (!object) return nullptr;
  const auto mirror = (*object)->metadata.annotations.find(std::string(kube::kMirrorAnnotation));
  return workers_.Find(mirror == (*object)->metadata.annotations.end() ? (*object)->metadata.uid : mirror->second);
}

Result<std::map<std::string, std::string>> Node::ImagesInUse() const {
  std::map<std::string, std::string> in_use;
  for (const auto& worker : workers_.List()) {
    const auto pod = worker->pod();
    if (Finished(pod->status)) continue;
    std::vector<std::string> names;
    for (const auto* list : {&pod->spec.init_containers, &pod->spec.containers, &pod->spec.ephemeral_containers})
      for (const auto& container : *list) names.push_back(container.image);
    for (const auto& volume : pod->spec.volumes)
      if (volume.kind == kube::Volume::Kind::kImage) names.push_back(volume.reference);
    for (const auto& name : names) {
      const auto spelled = reference::Reference::Parse(name);
      if (!spelled) continue;  // InvalidImageName never runs
      // Not ImageRef: who collects has made the image absent before he asks, and one that may not be used now is named all the same.
      ASSIGN_OR_RETURN(const std::string ref, parts_.images.KnownId(spelled->CriSpelling()));
      if (!ref.empty()) in_use.emplace(ref, "pod " + pod->metadata.ns + "/" + pod->metadata.name);
    }
  }
  return in_use;
}

}  // namespace berth::node
