// cri/service.h: runtime.v1.ImageService over gRPC, and of RuntimeService what crictl asks first. Translates, decides nothing.
//
// What it promises (runtime-registry 1.5, 1.10)
//   ids        Image.id is the digest of the config, "sha256:…"; PullImage returns the same
//   at once    what a pull or a removal did is in every answer that is asked for after it has returned
//   absent     no error of ImageStatus (image unset) and RemoveImage (done)
//   removal    by id, tag or digest: the image goes with all its names, also a pinned one; one that is mounted is kInUse.
//              By a piece of an id only with 12 digits or more
//   pulls      always ask the registry, with the request's credentials only. A deadline or a cancelled call ends the wait at once,
//              and the transfer too unless somebody else waits for it; the partial stays. What the request says about its Pod
//              goes to the journal
//   sizes      compressed, as containerd counts; ImageFsInfo: what the store holds on disk, measured at most once a second
//   handlers   images are the same for all runtime handlers; one that the settings do not name is refused
// Lists, status and disk usage are answered from memory while nothing changes (cri/images.h).
// Errors: cri/translate.h. kUnavailable when the queue is full and after Drain(); kUsage for a request without an image.
// Safe for concurrent use. Destroy it after the gRPC server.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/service.h"
#include "api/stream.h"
#include "catalog/catalog.h"
#include "content/store.h"
#include "layer/report.h"
#include "node/mounts.h"
#include "oci/oci.h"
#include "pull/puller.h"
#include "reclaim/reclaimer.h"

namespace berth::cri {

struct ServiceOptions {
  std::string root;                    // of the store: the mount point of ImageFsInfo
  layer::Form form = layer::Form::kErofs;
  oci::Platform host;
  std::vector<std::string> handlers;   // runtime handlers that are known, beside the default one
  api::NodeCredentials node_credentials;
  std::size_t workers = 4, queue = 256;  // of short calls
  std::size_t message_bytes = 16u << 20;  // a longer list is only streamed
  api::StreamOptions streams;          // pulls waited for, streamed lists
};

class Service {
 public:
  struct Parts {
    pull::Puller& puller;
    reclaim::Reclaimer& reclaimer;
    content::Store& content;
    catalog::Catalog& catalog;
    node::Mounts& mounts;
  };
  Service(Parts parts, ServiceOptions options, const time::Clock& clock);
  ~Service();

  // Reads what the first list needs: the configs of all images.
  Result<> Warm();
  // New calls are refused and running ones fail, all with kUnavailable. Returns at once.
  void Drain();
  std::size_t waiting() const;  // pulls and streamed lists
  grpc::Service& images();
  grpc::Service& runtime();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::cri
