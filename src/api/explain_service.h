// api/explain_service.h: berth.v1.Explain over gRPC. Translates, decides nothing.
//
// Every call is a stream (api/stream.h): a caller that goes stops the questions. Credentials and the objects of a request, which may
// hold Secrets, are wiped in the message; only the reports leave. Destroy it after the gRPC server. Safe for concurrent use.
#pragma once

#include <memory>

#include "api/stream.h"
#include "explain/explainer.h"

namespace grpc {
class Service;
}

namespace berth::api {

class ExplainService {
 public:
  // `cluster`: nullptr when this daemon runs no Pods; files are explained all the same.
  ExplainService(const explain::Explainer& explainer, const explain::Cluster* cluster, StreamOptions streams, const time::Clock& clock);
  ~ExplainService();
  // New calls are refused and running ones fail, all with kUnavailable. Returns at once.
  void Drain();
  grpc::Service& grpc();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::api
