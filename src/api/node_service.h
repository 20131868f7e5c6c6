// api/node_service.h: berth.v1.Node over gRPC: objects in and out of the node's store, watches, logs. Translates, decides nothing.
//
// Short calls run on a small pool; lists, watches and logs are streams (api/stream.h). Destroy it after the gRPC server.
// Refusals of the store keep Kubernetes' words (kube/status.h). Logs fail as the kubelet says it: `container "web" in pod "web" is
// waiting to start: trying and failing to pull image`.
// Safe for concurrent use.
#pragma once

#include <memory>

#include "api/stream.h"
#include "node/node.h"

namespace grpc {
class Service;
}

namespace berth::api {

struct NodeServiceOptions {
  std::size_t workers = 4, queue = 512;  // of short calls
  StreamOptions streams;
};

class NodeService {
 public:
  NodeService(node::Node& node, NodeServiceOptions options, const time::Clock& clock);
  ~NodeService();
  // New calls are refused and running ones fail, all with kUnavailable. Returns at once.
  void Drain();
  grpc::Service& grpc();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::api
