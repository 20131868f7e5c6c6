// apiserver/request.h: what a client asks, read from path, query and header fields; nothing is looked up.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "httpd/message.h"
#include "kube/selector.h"
#include "kube/status.h"
#include "node/pod_log.h"
#include "objects/store.h"

namespace berth::apiserver {

// As Kubernetes reads booleans in queries: there and neither "false" nor "0".
bool Flag(const httpd::Request& request, std::string_view name);

// A path below /api/v1.
struct Resource {
  std::string kind;         // "Pod"
  std::string ns, name;     // "": all namespaces or none; the collection
  std::string subresource;  // "", "status", "log", "ephemeralcontainers"
  bool read_only() const { return kind == "Node" || subresource == "status" || subresource == "log"; }
};
// nullopt: there is no such resource. `path`: without "/api/v1/".
std::optional<Resource> ParseResource(std::string_view path);

// In which form the client wants objects (Accept). Json is what there is; protobuf, CBOR and YAML are passed over.
enum class Form : std::uint8_t { kObject, kTable, kMetadata };
// nullopt: none that we have (406).
std::optional<Form> ParseAccept(std::string_view accept);
// "application/json" of "Application/JSON; charset=utf-8".
std::string MediaType(std::string_view content_type);

// The parameters of a call. Refusals have the API server's words.
struct ListQuery {
  kube::LabelSelector labels;
  kube::FieldQuery fields;
  bool watch = false, bookmarks = false;
  std::int64_t limit = 0;                          // 0: all
  std::string after_ns, after_name;                // of `continue`: behind this object
  std::optional<std::int64_t> continued;           // the version of the first page
  std::optional<std::int64_t> version;             // nullopt: the newest; 0: any
  bool exact = false;                              // resourceVersionMatch
  std::optional<std::int64_t> timeout_seconds;     // of a watch
  bool selects() const { return !labels.empty() || !fields.empty(); }
};
kube::Answer<ListQuery> ParseList(const httpd::Request& request, std::string_view kind);
std::string ContinueToken(std::int64_t version, const kube::Object& last);

struct WriteQuery {
  enum class Validation : std::uint8_t { kIgnore, kWarn, kStrict } validation = Validation::kWarn;
  objects::WriteOptions options;
};
// `what`: "CreateOptions", "UpdateOptions", "PatchOptions".
kube::Answer<WriteQuery> ParseWrite(const httpd::Request& request, const std::string& what);
// From the query and a body with DeleteOptions (which may be empty).
kube::Answer<objects::DeleteOptions> ParseDelete(const httpd::Request& request);

enum class Include : std::uint8_t { kMetadata, kObject, kNone };  // of rows in a Table
kube::Answer<Include> ParseInclude(const httpd::Request& request);

// PodLogOptions. `now`: what sinceSeconds counts back from.
kube::Answer<node::LogQuery> ParseLog(const httpd::Request& request, const std::string& pod, time::WallTime now);

}  // namespace berth::apiserver
