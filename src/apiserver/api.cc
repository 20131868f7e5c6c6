#include "apiserver/api.h"

#include <algorithm>

#include "apiserver/protobuf.h"
#include "bytes/text.h"
#include "json/document.h"
#include "kube/parse.h"
#include "kube/patch.h"
#include "log/log.h"

namespace berth::apiserver {
namespace {

using httpd::Request;
using httpd::Response;
using json::Tree;
using kube::Answer;
using kube::Status;
using objects::ObjectPtr;
using Validation = WriteQuery::Validation;

constexpr json::Limits kBody{.bytes = 3u << 20, .depth = 64, .values = 500'000};
constexpr std::string_view kAnonymous = "system:anonymous";

Status NotFoundHere() { return {.reason = "NotFound", .code = 404, .message = "the server could not find the requested resource"}; }
Status NotAllowed() { return {.reason = "MethodNotAllowed", .code = 405, .message = "the server does not allow this method on the requested resource"}; }
Status Unsupported(std::string message) { return {.reason = "UnsupportedMediaType", .code = 415, .message = std::move(message)}; }
Status TooLargeVersion(std::int64_t asked, std::int64_t current) {
  return {.reason = "Timeout", .code = 504, .message = "Timeout: Too large resource version: " + std::to_string(asked) + ", current: " + std::to_string(current),
          .causes = {{"ResourceVersionTooLarge", "Too large resource version", ""}}, .retry_after_seconds = 1};
}

Response Refuse(const Status& status) {
  Response out = Response::Json(status.code, status.Json());
  if (status.retry_after_seconds > 0) out.fields.emplace_back("Retry-After", std::to_string(status.retry_after_seconds));
  return out;
}

// A quoted string of RFC 9110; what cannot stand in a field is left out.
std::string Quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) out += c;
  }
  return out + '"';
}

// The verb RBAC would be asked about.
std::string_view VerbOf(const Request& request, const Resource& at) {
  if (request.method == "POST") return "create";
  if (request.method == "PUT") return "update";
  if (request.method == "PATCH") return "patch";
  if (request.method == "DELETE") return at.name.empty() ? "deletecollection" : "delete";
  if (Flag(request, "watch")) return "watch";
  return at.name.empty() ? "list" : "get";
}

// An object in a body, for this place.
struct Sent {
  Tree tree;
  std::vector<std::string> warnings;
};
Answer<std::vector<std::string>> Judge(const std::vector<kube::Mistake>& unknown, std::string_view kind, Validation validation) {
  std::vector<std::string> out;
  if (validation == Validation::kIgnore) return out;
  for (const auto& mistake : unknown) out.push_back(mistake.message);
  if (validation == Validation::kWarn || out.empty()) return out;
  std::string all;
  for (const auto& text : out) all += (all.empty() ? "" : ", ") + text;
  return Status::BadRequest(std::string(kind) + " in version \"v1\" cannot be handled as a " + std::string(kind) + ": strict decoding error: " + all);
}

Answer<Sent> ReadObject(const Request& request, const Resource& at, Validation validation) {
  const std::string type = MediaType(request.Field("Content-Type"));
  const std::string unreadable = "the object provided is unrecognized (must be of type " + at.kind + "): ";
  Sent out;
  if (type == kProtobuf) {
    auto object = ReadProtobuf(request.body, at.kind);
    if (!object) return Status::BadRequest(unreadable + object.error().message());
    out.tree = *std::move(object);
  } else if (type.empty() || type == "application/json") {
    const auto document = json::Document::Parse(request.body, Reason::kUsage, kBody);
    if (!document) return Status::BadRequest(unreadable + document.error().message());
    if (!document->root().IsObject()) return Status::BadRequest(unreadable + "an object is wanted");
    out.tree = Tree(document->root());
  } else {
    return Unsupported("the body of the request was in an unknown format - accepted media types include: application/json, " + std::string(kProtobuf));
  }
  // What is not said is said by the path.
  if (out.tree.Find("kind") == nullptr) out.tree["kind"] = Tree(at.kind);
  if (out.tree.Find("apiVersion") == nullptr) out.tree["apiVersion"] = Tree("v1");
  if (out.tree.Text("apiVersion") != "v1")
    return Status::BadRequest("the API version in the data (" + std::string(out.tree.Text("apiVersion")) + ") does not match the expected API version (v1)");
  if (out.tree.Text("kind") != at.kind) return Status::BadRequest(std::string(out.tree.Text("kind")) + " in version \"v1\" cannot be handled as a " + at.kind);
  const auto parsed = kube::ParseObject(out.tree);
  if (!parsed) return Status::BadRequest(parsed.error().message());
  auto warnings = Judge(parsed->unknown, at.kind, validation);
  if (!warnings) return kube::Refusal(warnings);
  out.warnings = *std::move(warnings);
  if (kube::IsNamespaced(at.kind)) {
    if (at.ns.empty()) return Status::BadRequest("an empty namespace may not be set during creation");
    if (parsed->object.metadata.ns.empty()) {
      if (Tree& metadata = out.tree["metadata"]; !metadata.IsObject()) metadata = Tree::Object();
      out.tree["metadata"]["namespace"] = Tree(at.ns);
    } else if (parsed->object.metadata.ns != at.ns) {
      return Status::BadRequest("the namespace of the provided object does not match the namespace sent on the request");
    }
  } else if (Tree* metadata = out.tree.Find("metadata"); metadata != nullptr) {
    metadata->Erase("namespace");
  }
  return out;
}

Response ObjectResponse(int code, const ObjectPtr& object, const std::vector<std::string>& warnings = {}) {
  Response out = Response::Json(code, object->json);
  for (const auto& warning : warnings) out.fields.emplace_back("Warning", "299 - " + Quote(warning));
  return out;
}

// What a successful deletion of something that is gone says.
std::string Gone(const kube::Object& object) {
  json::Writer w;
  w.BeginObject().Key("apiVersion").String("v1").Key("details").BeginObject().Key("kind").String(kube::ResourceOf(object.kind)).Key("name")
      .String(object.metadata.name).Key("uid").String(object.metadata.uid).EndObject().Key("kind").String("Status").Key("metadata").BeginObject().EndObject()
      .Key("status").String("Success").EndObject();
  return std::move(w).Take();
}

std::function<bool(const kube::Object&)> Matcher(const ListQuery& query) {
  if (!query.selects()) return {};
  return [labels = query.labels, fields = query.fields](const kube::Object& o) {
    return labels.Matches(o.metadata.labels) && fields.Matches(o);
  };
}

}  // namespace

Backend BackendOf(node::Node& node) {
  return {node.store(),
          [&node](Tree object, const objects::WriteOptions& options) {
            return node.Create(std::move(object), options);
          },
          [&node](Tree object, const objects::WriteOptions& options) {
            return node.Update(std::move(object), options);
          },
          [&node](const objects::Key& key, const objects::Store::Edit& edit,
                  const objects::WriteOptions& options) { return node.Change(key, edit, options); },
          [&node](const kube::Object& pod, node::LogQuery query) -> Result<Backend::Log> {
            ASSIGN_OR_RETURN(auto found, node::PodLog::Find(node, pod, std::move(query)));
            return Backend::Log(
                [log = std::move(found)](const task::Context& ctx, const node::LogSink& sink) {
                  return log.Read(ctx, sink);
                });
          }};
}

Api::Api(Backend backend, secret::Secret token, ApiOptions options, const time::Clock& clock)
    : backend_(std::move(backend)),
      token_(std::move(token)),
      options_(std::move(options)),
      clock_(clock),
      discovery_(options_.version, options_.address),
      watches_(backend_.store, clock),
      logs_(options_.logs) {}

Response Api::Handle(const task::Context&, const Request& request) {
  Reply reply = NotFoundHere();
  if (auto allowed = Allow(request); !allowed) reply = kube::Refusal(allowed);
  else reply = Route(request);
  Response out = reply ? *std::move(reply) : Refuse(reply.error());
  out.fields.emplace_back("Cache-Control", "no-cache, private");
  return out;
}

Answer<> Api::Allow(const Request& request) const {
  if (!request.Field("Authorization").empty()) {
    if (const auto token = request.BearerToken(); !token.empty() && secret::Secret(token) == token_) return {};
    return Status{.reason = "Unauthorized", .code = 401, .message = "Unauthorized"};
  }
  const std::string& path = request.path;
  if (request.method == "GET" && (path == "/version" || path == "/healthz" || path == "/livez" || path == "/readyz")) return {};
  constexpr std::string_view kPrefix = "/api/v1/";
  const std::string user = "User " + Quoted(kAnonymous);
  const auto at = path.starts_with(kPrefix) ? ParseResource(std::string_view(path).substr(kPrefix.size())) : std::nullopt;
  if (!at) return Status{.reason = "Forbidden", .code = 403, .message = "forbidden: " + user + " cannot " + bytes::Lower(request.method) + " path " + Quoted(path)};
  const std::string resource(kube::ResourceOf(at->kind)), whole = resource + (at->subresource.empty() ? "" : "/" + at->subresource);
  return Status{.reason = "Forbidden", .code = 403,
                .message = resource + (at->name.empty() ? "" : " " + Quoted(at->name)) + " is forbidden: " + user + " cannot " + std::string(VerbOf(request, *at)) +
                           " resource " + Quoted(whole) + " in API group \"\"" + (at->ns.empty() ? " at the cluster scope" : " in the namespace " + Quoted(at->ns)),
                .kind = resource, .name = at->name};
}

Api::Reply Api::Route(const Request& request) {
  const std::string& path = request.path;
  if (path == "/healthz" || path == "/livez" || path == "/readyz") return request.method == "GET" ? Reply(Response::Text(200, "ok")) : Reply(NotAllowed());
  if (const auto document = discovery_.Find(path, request.Field("Accept"))) {
    if (request.method != "GET") return NotAllowed();
    return Response{.status = 200, .fields = {{"Content-Type", std::string(document->type)}}, .body = std::string(document->text), .stream = nullptr};
  }
  constexpr std::string_view kPrefix = "/api/v1/";
  const auto at = path.starts_with(kPrefix) ? ParseResource(std::string_view(path).substr(kPrefix.size())) : std::nullopt;
  if (!at) return NotFoundHere();
  if (request.method == "GET") return Read(request, *at);
  if (at->read_only()) return NotAllowed();
  if (request.method == "POST" && at->name.empty()) return Create(request, *at);
  if (request.method == "PUT" && !at->name.empty()) return Replace(request, *at);
  if (request.method == "PATCH" && !at->name.empty()) return Patch(request, *at);
  if (request.method == "DELETE" && at->subresource.empty()) {
    if (!at->name.empty()) return Delete(request, *at);
    if (!at->ns.empty()) return DeleteCollection(request, *at);
  }
  return NotAllowed();
}

Api::Reply Api::Read(const Request& request, const Resource& at) {
  if (at.subresource == "log") return Log(request, at);
  const auto form = ParseAccept(request.Field("Accept"));
  if (!form) return Status{.reason = "NotAcceptable", .code = 406, .message = "only the following media types are accepted: application/json"};
  if (at.name.empty() || Flag(request, "watch")) return List(request, at, *form);
  auto include = ParseInclude(request);
  if (!include) return kube::Refusal(include);
  const auto found = backend_.store.Get({at.kind, at.ns, at.name});
  if (!found) return Status(found.error());
  return Response::Json(200, Renderer(at.kind, *form, *include, clock_).One(**found));
}

Api::Reply Api::List(const Request& request, const Resource& at, Form form) {
  auto parsed = ParseList(request, at.kind);
  if (!parsed) return kube::Refusal(parsed);
  auto include = ParseInclude(request);
  if (!include) return kube::Refusal(include);
  const ListQuery query = *std::move(parsed);
  Renderer renderer(at.kind, form, *include, clock_);
  objects::Filter filter{.kind = at.kind, .ns = at.ns, .name = at.name.empty() ? query.fields.Name() : at.name, .matches = Matcher(query)};
  if (query.version)
    if (const auto current = backend_.store.version(); *query.version > current) return TooLargeVersion(*query.version, current);
  if (query.watch) return Watch(query, std::move(filter), std::move(renderer));

  auto listing = backend_.store.List(filter);
  if (!listing) return kube::Refusal(listing);
  if (query.exact && *query.version != listing->version) return Status::Expired("The resourceVersion for the provided list is too old.");
  std::vector<ObjectPtr>& all = listing->objects;
  if (query.continued) {
    const auto begin = std::ranges::find_if(all, [&](const ObjectPtr& o) {
      return std::tie(o->metadata.ns, o->metadata.name) > std::tie(query.after_ns, query.after_name);
    });
    all.erase(all.begin(), begin);
  }
  // Pages are of different moments; a watch from the version of the first one brings all up to date.
  Renderer::Page page{.version = query.continued.value_or(listing->version), .next = "", .remaining = std::nullopt};
  std::size_t bytes = 0, count = 0;
  for (; count < all.size(); ++count) {
    bytes += all[count]->json.size();
    if (query.limit > 0 && count == static_cast<std::size_t>(query.limit)) break;
    if (bytes <= options_.list_bytes || count == 0) continue;
    if (query.limit > 0) break;
    return Status{.reason = "RequestEntityTooLarge", .code = 413,
                  .message = "the list is larger than " + std::to_string(options_.list_bytes) + " bytes: ask for pages (limit=500)"};
  }
  if (count < all.size()) {
    page.next = ContinueToken(page.version, *all[count - 1]);
    if (!query.selects()) page.remaining = static_cast<std::int64_t>(all.size() - count);
    all.resize(count);
  }
  return Response::Json(200, renderer.List(all, page));
}

Api::Reply Api::Watch(const ListQuery& query, objects::Filter filter, Renderer renderer) {
  WatchWish wish{.filter = std::move(filter), .from = query.version, .bookmarks = query.bookmarks, .limit = std::nullopt};
  if (wish.from == 0) wish.from.reset();
  if (query.timeout_seconds) wish.limit = std::chrono::seconds(*query.timeout_seconds);
  auto body = watches_.Start(std::move(wish), std::move(renderer));
  if (!body) return kube::Refusal(body);
  return Response::Streamed(200, {{"Content-Type", "application/json"}}, *std::move(body));
}

Api::Reply Api::Log(const Request& request, const Resource& at) {
  auto query = ParseLog(request, at.name, clock_.WallNow());
  if (!query) return kube::Refusal(query);
  const auto pod = backend_.store.Get({"Pod", at.ns, at.name});
  if (!pod) return Status(pod.error());
  auto log = backend_.log(**pod, *std::move(query));
  if (!log)
    return log.error().reason() == Reason::kInternal || log.error().reason() == Reason::kIo
               ? Status::Internal(log.error())
               : Status::BadRequest(log.error().message());
  auto [writer, body] = httpd::MakeStream();
  const auto shared = std::make_shared<httpd::StreamWriter>(std::move(writer));
  const bool started = logs_.Start([this, shared, read = *std::move(log)](const std::stop_token& stop) {
    std::stop_source either;
    const std::stop_callback by_us(stop, [&] { either.request_stop(); });
    const std::stop_callback by_client(shared->gone(), [&] { either.request_stop(); });
    const task::Context ctx(either.get_token(), clock_);
    const auto done = read(ctx, [&](std::string data) { return shared->Write(ctx, data); });
    // A log that is not there yet is empty; any other failure cuts the connection.
    if (done || done.error().reason() == Reason::kMissing || done.error().reason() == Reason::kNotFound) shared->End();
    else if (!done.error().cancelled()) log::Warning("a log could not be sent to its end", {{"error", done.error()}});
  });
  if (!started) {
    return Status{.reason = "TooManyRequests", .code = 429, .message = "too many logs are read (limit: " + std::to_string(options_.logs) + "), try again later",
                  .retry_after_seconds = 1};
  }
  return Response::Streamed(200, {{"Content-Type", "text/plain"}}, std::move(body));
}

Api::Reply Api::Create(const Request& request, const Resource& at) {
  auto query = ParseWrite(request, "CreateOptions");
  if (!query) return kube::Refusal(query);
  auto sent = ReadObject(request, at, query->validation);
  if (!sent) return kube::Refusal(sent);
  auto made = backend_.create(std::move(sent->tree), query->options);
  if (!made) return kube::Refusal(made);
  return ObjectResponse(201, *made, sent->warnings);
}

Api::Reply Api::Replace(const Request& request, const Resource& at) {
  auto query = ParseWrite(request, "UpdateOptions");
  if (!query) return kube::Refusal(query);
  auto sent = ReadObject(request, at, query->validation);
  if (!sent) return kube::Refusal(sent);
  const Tree* metadata = sent->tree.Find("metadata");
  const std::string name(metadata == nullptr ? "" : metadata->Text("name"));
  if (name != at.name) return Status::BadRequest("the name of the object (" + name + ") does not match the name on the URL (" + at.name + ")");
  auto put = at.subresource.empty()
                 ? backend_.update(std::move(sent->tree), query->options)
                 : backend_.store.ChangeEphemeralContainers(
                       {at.kind, at.ns, at.name}, [&](const Tree&) -> Answer<Tree> { return sent->tree; },
                       query->options);
  if (!put) return kube::Refusal(put);
  return ObjectResponse(200, *put, sent->warnings);
}

Api::Reply Api::Patch(const Request& request, const Resource& at) {
  auto query = ParseWrite(request, "PatchOptions");
  if (!query) return kube::Refusal(query);
  const std::string type = MediaType(request.Field("Content-Type"));
  kube::PatchType how{};
  if (type == "application/json-patch+json") how = kube::PatchType::kJson;
  else if (type == "application/merge-patch+json") how = kube::PatchType::kMerge;
  else if (type == "application/strategic-merge-patch+json") how = kube::PatchType::kStrategic;
  else if (type.starts_with("application/apply-patch+")) return Unsupported("berth has no server-side apply: use kubectl apply without --server-side");
  else return Unsupported("the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
                          "application/merge-patch+json, application/strategic-merge-patch+json");
  const auto patch = json::Document::Parse(request.body, Reason::kUsage, kBody);
  if (!patch) return Status::BadRequest("error decoding patch: " + patch.error().message());
  std::vector<std::string> warnings;
  const auto edit = [&](const Tree& stored) -> Answer<Tree> {
    Tree wanted = stored;
    if (auto applied = kube::ApplyPatch(wanted, how, patch->root(), at.kind); !applied) return kube::Refusal(applied);
    const auto before = kube::ParseObject(stored);
    auto after = kube::ParseObject(wanted);
    if (!after) return Status::BadRequest(after.error().message());
    // Only what the patch brings counts.
    if (before)
      std::erase_if(after->unknown, [&](const kube::Mistake& m) {
        return std::ranges::any_of(before->unknown, [&](const auto& old) { return old.field == m.field; });
      });
    auto judged = Judge(after->unknown, at.kind, query->validation);
    if (!judged) return kube::Refusal(judged);
    warnings = *std::move(judged);
    return wanted;
  };
  const objects::Key key{at.kind, at.ns, at.name};
  auto put = at.subresource.empty() ? backend_.change(key, edit, query->options)
                                    : backend_.store.ChangeEphemeralContainers(key, edit, query->options);
  if (!put) return kube::Refusal(put);
  return ObjectResponse(200, *put, warnings);
}

Api::Reply Api::Delete(const Request& request, const Resource& at) {
  auto options = ParseDelete(request);
  if (!options) return kube::Refusal(options);
  const objects::Key key{at.kind, at.ns, at.name};
  auto deleted = backend_.store.Delete(key, *options);
  if (!deleted) return kube::Refusal(deleted);
  const kube::Object& object = **deleted;
  // Kubernetes shows a Pod and what only ends later; of the rest that it is gone.
  if (at.kind == "Pod" || object.metadata.deletion_timestamp) return ObjectResponse(200, *deleted);
  return Response::Json(200, Gone(object));
}

Api::Reply Api::DeleteCollection(const Request& request, const Resource& at) {
  auto options = ParseDelete(request);
  if (!options) return kube::Refusal(options);
  if (!options->uid.empty() || !options->resource_version.empty()) return Status::BadRequest("preconditions cannot be given for a collection");
  auto query = ParseList(request, at.kind);
  if (!query) return kube::Refusal(query);
  const auto listing = backend_.store.List({.kind = at.kind, .ns = at.ns, .name = query->fields.Name(), .matches = Matcher(*query)});
  if (!listing) return Status(listing.error());
  std::vector<ObjectPtr> deleted;
  for (const auto& object : listing->objects) {
    objects::DeleteOptions one = *options;
    one.uid = object->metadata.uid;
    auto gone = backend_.store.Delete({at.kind, object->metadata.ns, object->metadata.name}, one);
    if (gone) deleted.push_back(*gone);
    else if (gone.error().code != 404 && gone.error().code != 409) return kube::Refusal(gone);
  }
  return Response::Json(
      200, Renderer(at.kind, Form::kObject, Include::kMetadata, clock_)
               .List(deleted, {.version = backend_.store.version(), .next = "", .remaining = std::nullopt}));
}

}  // namespace berth::apiserver
