// admission/request.h: what is asked of admission, and what admission asks of the other objects of a cluster.
#pragma once

#include <string>
#include <string_view>

#include "admission/images.h"
#include "json/tree.h"
#include "kube/objects.h"
#include "kube/status.h"
#include "task/context.h"

namespace berth::admission {

struct Request {
  enum class Operation : std::uint8_t { kCreate, kUpdate } operation = Operation::kCreate;
  const Workload* kind = nullptr;   // nullptr: an object without images
  std::string subresource;          // "", "ephemeralcontainers", …
  std::string ns, name;             // name: also a generateName, for messages
  const json::Tree* old = nullptr;  // of an update: the stored object

  bool create() const { return operation == Operation::kCreate; }
  bool ephemeral() const { return kind != nullptr && kind->IsPod() && subresource == "ephemeralcontainers"; }
  kube::Status Forbidden(std::string_view why) const {
    return kube::Status::Forbidden(kind == nullptr ? "objects" : kind->resource, name, why);
  }
};

// The other objects: of an API server, a store, or some files. Implementations are safe for concurrent use.
class Facts {
 public:
  virtual ~Facts() = default;
  // 404 when there is none; anything else is the trouble of asking.
  virtual kube::Answer<kube::ServiceAccount> FindAccount(const task::Context& ctx, std::string_view ns, std::string_view name) = 0;
  virtual kube::Answer<kube::Secret> FindSecret(const task::Context& ctx, std::string_view ns, std::string_view name) = 0;
  virtual kube::Answer<kube::StringMap> NamespaceLabels(const task::Context& ctx, std::string_view ns) = 0;
};

}  // namespace berth::admission
