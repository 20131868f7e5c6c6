// api/service.h: berth.v1.Berth over gRPC: translates requests and answers, decides nothing.
//
// Pull and CheckStore stream (api/stream.h); every other call runs on a small pool with a bounded queue. A Pull sends its
// first event at once, every later one when the phase of the pull changes, and at most one per beat for everything else.
// Secrets of a request are moved into secret::Secret and wiped in the message.
// Errors: status.h. kUnavailable when the queue is full and after Drain().
// Safe for concurrent use. Destroy it after the gRPC server.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/stream.h"
#include "catalog/catalog.h"
#include "catalog/leases.h"
#include "content/store.h"
#include "credentials/credential.h"
#include "fsck/checker.h"
#include "host/dir.h"
#include "layer/store.h"
#include "node/mounts.h"
#include "oci/oci.h"
#include "pull/puller.h"
#include "reclaim/image_gc.h"
#include "reclaim/reclaimer.h"
#include "reference/reference.h"

namespace grpc {
class Service;
}

namespace berth::api {

// The node's own credentials for a repository, in the order in which they are to be tried.
using NodeCredentials =
    std::function<Result<std::vector<credentials::Credential>>(const task::Context&, const reference::Reference&)>;

struct Probe {
  std::string name, verdict, detail;  // verdict: ok, degraded, missing, unknown
};

struct ServiceOptions {
  std::string root;                 // of the store, for people
  layer::Form form = layer::Form::kErofs;
  oci::Platform host;
  std::vector<Probe> probes;
  std::vector<std::string> limits;  // "name=value"
  NodeCredentials node_credentials;
  std::size_t workers = 4, queue = 256;  // of short calls
  StreamOptions streams;
};

class Service {
 public:
  struct Parts {
    pull::Puller& puller;
    reclaim::Reclaimer& reclaimer;
    node::Mounts& mounts;
    content::Store& content;
    const layer::LayerStore& layers;
    catalog::Catalog& catalog;
    catalog::Leases& leases;
    const host::Dir& root;
    reclaim::ImageGc& gc;
  };
  Service(Parts parts, ServiceOptions options, const time::Clock& clock);
  ~Service();

  // Mount records of before a reboot are forgotten.
  Result<> Recover();
  // New calls are refused and running ones fail, all with kUnavailable. Returns at once.
  void Drain();
  std::size_t streams() const;
  grpc::Service& grpc();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::api
