// apiserver/api.h: the Kubernetes REST API of this machine, as a function from requests to answers; without sockets.
//
//   GET /version /api /apis /api/v1 /openapi/v2 /openapi/v3[/api/v1] /healthz /livez /readyz
//   GET LIST WATCH POST PUT PATCH DELETE  /api/v1/[namespaces/NS/]RESOURCE[/NAME[/status|log|ephemeralcontainers]]
//
// for pods, secrets, configmaps, serviceaccounts, namespaces, events and, to look at, nodes. What is allowed, stored and said is decided by
// the node and its store; this translates: paths and queries (request.h), forms of answers (render.h), Status for every refusal, with
// Kubernetes' words. What there is not: server-side apply (415), exec, attach, port-forward (404), other groups than v1.
//
// Who asks: `Authorization: Bearer TOKEN` may do everything; a wrong token is 401; nobody at all may see /version and the
// health pages, and gets 403 for the rest.
// Blocks on the disk; watches and logs go on by themselves (watches.h, log_threads.h). Safe for concurrent use.
#pragma once

#include <functional>
#include <string>

#include "apiserver/discovery.h"
#include "apiserver/log_threads.h"
#include "apiserver/request.h"
#include "apiserver/watches.h"
#include "httpd/message.h"
#include "node/log_reader.h"
#include "node/pod_log.h"
#include "objects/store.h"
#include "secret/secret.h"
#include "task/context.h"

namespace berth::apiserver {

// What the API asks of the node.
struct Backend {
  using Write = std::function<kube::Answer<objects::ObjectPtr>(json::Tree object, const objects::WriteOptions& options)>;
  using Log = std::function<Result<>(const task::Context& ctx, const node::LogSink& sink)>;
  objects::Store& store;
  Write create, update;
  std::function<kube::Answer<objects::ObjectPtr>(const objects::Key& key, const objects::Store::Edit& edit,
                                                 const objects::WriteOptions& options)>
      change;
  std::function<Result<Log>(const kube::Object& pod, node::LogQuery query)> log;  // node/pod_log.h
};
Backend BackendOf(node::Node& node);

struct ApiOptions {
  std::string version = "v1.36.0";      // to clients
  std::string address;                  // "127.0.0.1:6443"
  std::size_t logs = 32;                // read at once
  std::size_t list_bytes = 64u << 20;   // of objects in one answer; a page is cut there, a whole list refused
};

class Api {
 public:
  Api(Backend backend, secret::Secret token, ApiOptions options, const time::Clock& clock);
  httpd::Response Handle(const task::Context& ctx, const httpd::Request& request);

 private:
  using Reply = kube::Answer<httpd::Response>;
  kube::Answer<> Allow(const httpd::Request& request) const;
  Reply Route(const httpd::Request& request);
  Reply Read(const httpd::Request& request, const Resource& at);
  Reply List(const httpd::Request& request, const Resource& at, Form form);
  Reply Watch(const ListQuery& query, objects::Filter filter, Renderer renderer);
  Reply Log(const httpd::Request& request, const Resource& at);
  Reply Create(const httpd::Request& request, const Resource& at);
  Reply Replace(const httpd::Request& request, const Resource& at);
  Reply Patch(const httpd::Request& request, const Resource& at);
  Reply Delete(const httpd::Request& request, const Resource& at);
  Reply DeleteCollection(const httpd::Request& request, const Resource& at);

  const Backend backend_;
  const secret::Secret token_;
  const ApiOptions options_;
  const time::Clock& clock_;
  const Discovery discovery_;
  Watches watches_;
  LogThreads logs_;
};

}  // namespace berth::apiserver
