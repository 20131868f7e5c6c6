#include "api/node_service.h"

#include "api/short_calls.h"
#include "berth/v1/node.grpc.pb.h"
#include "kube/parse.h"
#include "node/pod_log.h"

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

}  // namespace

class NodeService::Impl final : public v1::Node::CallbackService {
 public:
  Impl(node::Node& node, NodeServiceOptions options, const time::Clock& clock)
      : node_(node), streams_(options.streams, clock), short_calls_(stop_.get_token(), options.workers, options.queue, clock) {}
  void Drain() {
    stop_.request_stop();
    streams_.Drain();
  }

 private:
  using Context = grpc::CallbackServerContext;

  grpc::ServerUnaryReactor* Apply(Context* call, const v1::ObjectRequest* message, v1::ObjectAnswer* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
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
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
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
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
      const auto object = node_.store().Get({message->kind(), message->namespace_(), message->name()});
      if (!object) return object.error().ToError();
      answer->set_object((*object)->json);
      return {};
    });
  }

  grpc::ServerUnaryReactor* DeleteObject(Context* call, const v1::DeleteRequest* message, v1::ObjectAnswer* answer) override {
    return short_calls_.Do(call, [this, message, answer](const task::Context&) -> Result<> {
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
    const auto object = node_.store().Get({"Pod", request.namespace_(), request.pod()});
    if (!object) return object.error().ToError();
    node::LogOptions options{.timestamps = request.timestamps(), .follow = request.follow()};
    if (request.tail_lines() >= 0) options.tail = request.tail_lines();
    ASSIGN_OR_RETURN(const auto log, node::PodLog::Find(node_, **object, {request.container(), request.previous(), std::move(options)}));
    return log.Read(stream.ctx(), [&](std::string data) {
      v1::LogChunk chunk;
      chunk.set_data(std::move(data));
      return stream.Send(std::move(chunk));
    });
  }

  node::Node& node_;
  std::stop_source stop_;
  Streams streams_;
  ShortCalls short_calls_;  // last: its jobs use all of the above
};

NodeService::NodeService(node::Node& node, NodeServiceOptions options, const time::Clock& clock)
    : impl_(std::make_unique<Impl>(node, std::move(options), clock)) {}
NodeService::~NodeService() = default;
void NodeService::Drain() { impl_->Drain(); }
grpc::Service& NodeService::grpc() { return *impl_; }

}  // namespace berth::api
