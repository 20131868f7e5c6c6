#include "api/node_service.h"

#include <algorithm>

#include "api/pool.h"
#include "berth/v1/node.grpc.pb.h"
#include "kube/parse.h"
#include "node/log_reader.h"

namespace berth::api {
namespace {

constexpr std::size_t kChunkBytes = 1u << 20;

// The document of a request: JSON, and of a kind we speak.
struct Taken {
  json::Tree tree;
  std::vector<std::string> warnings;
};
Result<Taken> Take(const v1::ObjectRequest& request) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(request.object(), Reason::kUsage));
  ASSIGN_OR_RETURN(const auto parsed, kube::ParseObject(document.root()));
  Taken taken{json::Tree(document.root()), {}};
  for (const auto& mistake : parsed.unknown) taken.warnings.push_back(mistake.message);
  if (kube::IsNamespaced(parsed.object.kind) && parsed.object.metadata.ns.empty())
    taken.tree["metadata"]["namespace"] = json::Tree(request.namespace_().empty() ? "default" : request.namespace_());
  return taken;
}

Result<objects::Filter> FilterOf(const v1::ListRequest& request) {
  if (!kube::IsKind(request.kind())) return Error(Reason::kUsage, "the server doesn't have a resource type " + Quoted(request.kind()));
  return objects::Filter{.kind = request.kind(), .ns = request.namespace_(), .name = request.name(), .matches = {}};
}

const kube::ContainerStatus* StatusOf(const kube::PodStatus& status, const std::string& name) {
  for (const auto* list : {&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses})
    for (const auto& s : *list)
      if (s.name == name) return &s;
  return nullptr;
}

// "" stands for the only container.
Result<std::string> ContainerOf(const kube::Pod& pod, const std::string& wanted) {
  std::vector<std::string> names, init;
  for (const auto& c : pod.spec.containers) names.push_back(c.name);
  for (const auto& c : pod.spec.init_containers) init.push_back(c.name);
  if (wanted.empty()) {
    if (names.size() == 1) return names[0];
    std::string all;
    for (const auto& n : names) all += (all.empty() ? "" : " ") + n;
    return Error(Reason::kUsage, "a container name must be specified for pod " + pod.metadata.name + ", choose one of: [" + all + "]");
  }
  for (const auto& c : pod.spec.ephemeral_containers) init.push_back(c.name);
  if (std::ranges::find(names, wanted) != names.end() || std::ranges::find(init, wanted) != init.end()) return wanted;
  return Error(Reason::kUsage, "container " + wanted + " is not valid for pod " + pod.metadata.name);
}

// The kubelet's word on a container that has no log.
Error NoLog(const kube::Pod& pod, const kube::PodStatus& status, const std::string& container, bool previous) {
  if (previous)
    return Error(Reason::kNotFound, "previous terminated container \"" + container + "\" in pod \"" + pod.metadata.name + "\" not found");
  const auto* s = StatusOf(status, container);
  std::string reason = s != nullptr && s->state.waiting ? s->state.waiting->reason : "ContainerCreating";
  if (reason == "ErrImagePull" || reason == "ImagePullBackOff") reason = "trying and failing to pull image";
  else if (reason == "ErrImageNeverPull") reason = "image can't be pulled";
  return Error(Reason::kNotFound, "container \"" + container + "\" in pod \"" + pod.metadata.name + "\" is waiting to start: " + reason);
}

}  // namespace

class NodeService::Impl final : public v1::Node::CallbackService {
 public:
  Impl(node::Node& node, NodeServiceOptions options, const time::Clock& clock)
      : node_(node), clock_(clock), streams_(options.streams, clock), pool_(options.workers, options.queue) {}
  void Drain() {
    stop_.request_stop();
    streams_.Drain();
  }

 private:
  using Context = grpc::CallbackServerContext;

  template <class Work>
  grpc::ServerUnaryReactor* Do(Context* call, Work work) {
    auto* reactor = call->DefaultReactor();
    const bool taken = pool_.Post([this, call, reactor, work = std::move(work)] {
      const Result<> done = stop_.stop_requested() ? Result<>(Stopping()) : work();
      reactor->Finish(done ? grpc::Status::OK : ToStatus(*call, done.error()));
    });
    if (!taken) reactor->Finish(ToStatus(*call, Error(Reason::kUnavailable, "berthd has too much to do").Next("try again in a moment")));
    return reactor;
  }

  grpc::ServerUnaryReactor* Apply(Context* call, const v1::ObjectRequest* message, v1::ObjectAnswer* answer) override {
    return Do(call, [this, message, answer]() -> Result<> {
      ASSIGN_OR_RETURN(auto taken, Take(*message));
      const auto applied = node_.Apply(std::move(taken.tree));
      if (!applied) return applied.error().ToError();
      using What = objects::Applied::What;
      answer->set_what(applied->what == What::kCreated ? "created" : applied->what == What::kConfigured ? "configured" : "unchanged");
      answer->set_object(applied->object->json);
      for (auto& w : taken.warnings) answer->add_warnings(std::move(w));
      return {};
    });
  }

  grpc::ServerUnaryReactor* Create(Context* call, const v1::ObjectRequest* message, v1::ObjectAnswer* answer) override {
    return Do(call, [this, message, answer]() -> Result<> {
      ASSIGN_OR_RETURN(auto taken, Take(*message));
      const auto made = node_.Create(std::move(taken.tree));
      if (!made) return made.error().ToError();
      answer->set_what("created");
      answer->set_object((*made)->json);
      for (auto& w : taken.warnings) answer->add_warnings(std::move(w));
      return {};
    });
  }

  grpc::ServerUnaryReactor* GetObject(Context* call, const v1::ObjectName* message, v1::ObjectAnswer* answer) override {
    return Do(call, [this, message, answer]() -> Result<> {
      const auto object = node_.store().Get({message->kind(), message->namespace_(), message->name()});
      if (!object) return object.error().ToError();
      answer->set_object((*object)->json);
      return {};
    });
  }

  grpc::ServerUnaryReactor* DeleteObject(Context* call, const v1::DeleteRequest* message, v1::ObjectAnswer* answer) override {
    return Do(call, [this, message, answer]() -> Result<> {
      objects::DeleteOptions options{.grace_seconds = std::nullopt, .uid = message->uid(), .resource_version = ""};
      if (message->grace_seconds() >= 0) options.grace_seconds = message->grace_seconds();
      const objects::Key key{message->kind(), message->namespace_(), message->name()};
      const auto gone = node_.store().Delete(key, options);
      if (!gone) return gone.error().ToError();
      answer->set_object((*gone)->json);
      const auto left = node_.store().Get(key);
      answer->set_what(left && (*left)->metadata.uid == (*gone)->metadata.uid ? "marked" : "deleted");
      return {};
    });
  }

  grpc::ServerWriteReactor<v1::ListChunk>* ListObjects(Context* call, const v1::ListRequest* message) override {
    return streams_.Start<v1::ListChunk>(call, [this, request = *message](auto& stream) -> Result<> {
      ASSIGN_OR_RETURN(const auto filter, FilterOf(request));
      const auto listing = node_.store().List(filter);
      if (!listing) return listing.error().ToError();
      v1::ListChunk chunk;
      std::size_t bytes = 0;
      chunk.set_version(listing->version);
      for (const auto& object : listing->objects) {
        if (bytes > 0 && bytes + object->json.size() > kChunkBytes) {
          RETURN_IF_ERROR(stream.Send(std::exchange(chunk, {})));
          chunk.set_version(listing->version);
          bytes = 0;
        }
        chunk.add_objects(object->json);
        bytes += object->json.size();
      }
      return stream.Send(std::move(chunk));
    });
  }

  grpc::ServerWriteReactor<v1::WatchedObject>* WatchObjects(Context* call, const v1::ListRequest* message) override {
    return streams_.Start<v1::WatchedObject>(call, [this, request = *message](auto& stream) -> Result<> {
      ASSIGN_OR_RETURN(const auto filter, FilterOf(request));
      const auto watch = node_.store().Watching(filter, request.version() > 0 ? std::optional(request.version()) : std::nullopt);
      if (!watch) return watch.error().ToError();
      for (;;) {
        const auto event = (*watch)->Next(stream.ctx());
        RETURN_IF_ERROR(stream.ctx().Check());
        if (!event) return event.error().ToError();
        v1::WatchedObject out;
        out.set_type(std::string(objects::NameOf(event->type)));
        out.set_object(event->object->json);
        out.set_version(event->version);
        RETURN_IF_ERROR(stream.Send(std::move(out)));
      }
    });
  }

  grpc::ServerWriteReactor<v1::LogChunk>* Logs(Context* call, const v1::LogsRequest* message) override {
    return streams_.Start<v1::LogChunk>(call, [this, request = *message](auto& stream) { return SendLog(stream, request); });
  }

  Result<> SendLog(Stream<v1::LogChunk>& stream, const v1::LogsRequest& request) {
    const objects::Key key{"Pod", request.namespace_(), request.pod()};
    const auto watch = node_.store().Watching({.kind = "Pod", .ns = key.ns, .name = key.name, .matches = {}});
    if (!watch) return watch.error().ToError();
    const auto object = node_.store().Get(key);
    if (!object) return object.error().ToError();
    const kube::Pod pod = kube::ReadPod(**object);
    ASSIGN_OR_RETURN(const std::string container, ContainerOf(pod, request.container()));
    const auto worker = node_.FindPod(key.ns, key.name);
    std::optional<std::int32_t> attempt;
    if (worker != nullptr) {
      if (const auto run = worker->LatestRun(container, request.previous())) attempt = run->attempt;
    } else if (const auto* s = StatusOf(pod.status, container); s != nullptr && !s->container_id.empty()) {
      if (const int wanted = s->restart_count - (request.previous() ? 1 : 0); wanted >= 0) attempt = wanted;
    }
    if (!attempt) return NoLog(pod, worker == nullptr ? pod.status : worker->status(), container, request.previous());
    const std::string path = node_.runtime().LogPath(worker == nullptr ? pod.metadata : worker->pod()->metadata, container, *attempt);

    // The log is complete when this run no longer is the running one.
    const auto over = [&](const kube::Object& now) {
      const kube::Pod at = kube::ReadPod(now);
      const auto* s = StatusOf(at.status, container);
      return at.metadata.uid != pod.metadata.uid || s == nullptr || s->restart_count != *attempt || !s->state.running;
    };
    std::stop_source ended;
    const bool follow = request.follow() && !request.previous() && !over(**object);
    std::jthread watcher;
    if (follow)
      watcher = std::jthread([&, clock = &clock_](const std::stop_token& stop) {
        const task::Context ctx(stop, *clock);
        for (;;) {
          const auto event = (*watch)->Next(ctx);
          if (event && event->type != objects::WatchEvent::Type::kDeleted && !over(*event->object)) continue;
          ended.request_stop();
          return;
        }
      });
    node::LogOptions options{.tail = std::nullopt, .timestamps = request.timestamps(), .follow = follow};
    if (request.tail_lines() >= 0) options.tail = request.tail_lines();
    auto read = node::ReadLog(stream.ctx(), path, options, ended.get_token(), [&](std::string data) {
      v1::LogChunk chunk;
      chunk.set_data(std::move(data));
      return stream.Send(std::move(chunk));
    });
    if (!read && read.error().reason() == Reason::kNotFound && request.previous()) return NoLog(pod, pod.status, container, true);
    return read;
  }

  node::Node& node_;
  const time::Clock& clock_;
  std::stop_source stop_;
  Streams streams_;
  Pool pool_;  // last: its jobs use all of the above
};

NodeService::NodeService(node::Node& node, NodeServiceOptions options, const time::Clock& clock)
    : impl_(std::make_unique<Impl>(node, std::move(options), clock)) {}
NodeService::~NodeService() = default;
void NodeService::Drain() { impl_->Drain(); }
grpc::Service& NodeService::grpc() { return *impl_; }

}  // namespace berth::api
