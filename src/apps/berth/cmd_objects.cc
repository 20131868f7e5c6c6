#include "apps/berth/cmd_objects.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "apps/berth/files.h"
#include "apps/berth/format.h"
#include "apps/berth/kubectl_print.h"
#include "bytes/encoding.h"
#include "credentials/docker_secret.h"
#include "credentials/pull_secrets.h"
#include "host/dir.h"
#include "host/poll.h"
#include "json/tree.h"
#include "kube/parse.h"
#include "yaml/document.h"
#include "yaml/writer.h"

namespace berth::cli {
namespace {

Error Usage(std::string text) { return Error(Reason::kUsage, std::move(text)); }
const std::string& NamespaceOf(const std::string& given) {
  static const std::string kDefault = "default";
  return given.empty() ? kDefault : given;
}

// Every object of every document of every file.
struct Wanted {
  std::string json, kind, ns, name;
};
Result<std::vector<Wanted>> ReadObjects(Session& session, const std::vector<std::string>& files) {
  ASSIGN_OR_RETURN(const auto sources, ReadFiles(session, files));
  std::vector<Wanted> all;
  for (const auto& source : sources) {
    auto documents = yaml::Parse(source.text, source.name, Reason::kUsage);
    if (!documents) return std::move(documents).error().Next(kCorrectTheFile);
    for (const auto& document : *documents)
      for (const auto& item : kube::Items(document.root())) {
        const json::Tree tree(item);
        const json::Tree* metadata = tree.Find("metadata");
        Wanted w{tree.Dump(), std::string(tree.Text("kind")), "", ""};
        if (metadata != nullptr) w.ns = metadata->Text("namespace"), w.name = metadata->Text("name");
        all.push_back(std::move(w));
      }
  }
  if (all.empty()) return Usage("no objects passed").Next("name files that have Kubernetes objects in them");
  return all;
}

Result<kube::Object> Parse(const std::string& text) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(text, Reason::kProtocolError));
  ASSIGN_OR_RETURN(auto parsed, kube::ParseObject(document.root()));
  return std::move(parsed.object);
}

struct Target {
  std::string kind, name;  // name "" for all
};
// "pod" "web", "pod/web", "pods,secrets"
Result<std::vector<Target>> TargetsOf(const std::vector<std::string>& words) {
  std::vector<Target> targets;
  const auto kind_of = [](std::string_view word) -> Result<std::string> {
    std::string kind = KindFor(word);
    if (kind.empty()) return Usage("the server doesn't have a resource type \"" + Escape(word) + "\"");
    return kind;
  };
  if (words.empty()) return Usage("a resource type is wanted: pods, secrets, serviceaccounts, configmaps, namespaces, events");
  if (words[0].find('/') != std::string::npos) {
    for (const auto& word : words) {
      const auto slash = word.find('/');
      if (slash == std::string::npos) return Usage("there is no need to specify a resource type as a separate argument when passing arguments in resource/name form");
      ASSIGN_OR_RETURN(auto kind, kind_of(std::string_view(word).substr(0, slash)));
      targets.push_back({std::move(kind), word.substr(slash + 1)});
    }
    return targets;
  }
  std::string_view kinds = words[0];
  while (!kinds.empty()) {
    const auto comma = kinds.find(',');
    ASSIGN_OR_RETURN(auto kind, kind_of(kinds.substr(0, comma)));
    if (words.size() == 1) targets.push_back({kind, ""});
    for (std::size_t i = 1; i < words.size(); ++i) targets.push_back({kind, words[i]});
    kinds.remove_prefix(comma == kinds.npos ? kinds.size() : comma + 1);
  }
  return targets;
}

// The server's words for what is not there have no next step.
Failure Lead(const std::string& kind, Failure failure) {
  if (failure.next.empty() && failure.exit_status == Error(Reason::kNotFound, "").info().exit_status) {
    const std::string type = NameFor(kind, "");
    failure.next = "berth get " + type.substr(0, type.find_first_of("/.")) + "s" + (kube::IsNamespaced(kind) ? " -A" : "") + " lists what is there";
  }
  return failure;
}

struct Listed {
  std::vector<kube::Object> objects;
  std::int64_t version = 0;
};
std::optional<Failure> List(Session& session, const std::string& kind, const std::string& ns, const std::string& name, Listed& out) {
  v1::ListRequest request;
  request.set_kind(kind);
  if (kube::IsNamespaced(kind)) request.set_namespace_(ns);
  request.set_name(name);
  std::optional<Error> wrong;
  auto failure = session.Read(&v1::Node::Stub::ListObjects, request, [&](const v1::ListChunk& chunk) {
    out.version = chunk.version();
    for (const auto& text : chunk.objects()) {
      auto object = Parse(text);
      if (object) out.objects.push_back(*std::move(object));
      else wrong = object.error();
    }
    return true;
  });
  if (!failure && wrong) failure = FromError(*wrong);
  return failure;
}

std::optional<Failure> GetOne(Session& session, const Target& target, const std::string& ns, std::vector<kube::Object>& out) {
  v1::ObjectName request;
  request.set_kind(target.kind);
  if (kube::IsNamespaced(target.kind)) request.set_namespace_(ns);
  request.set_name(target.name);
  v1::ObjectAnswer answer;
  if (auto failure = session.Call(&v1::Node::Stub::GetObject, request, answer)) return Lead(target.kind, *std::move(failure));
  auto object = Parse(answer.object());
  if (!object) return FromError(object.error());
  out.push_back(*std::move(object));
  return std::nullopt;
}

void PrintWhole(Session& session, const std::vector<kube::Object>& objects, bool one) {
  std::string text;
  if (one && objects.size() == 1) {
    text = objects[0].json;
  } else {
    json::Writer w;
    w.BeginObject().Key("apiVersion").String("v1").Key("items").BeginArray();
    for (const auto& o : objects) w.Raw(o.json);
    w.EndArray().Key("kind").String("List").Key("metadata").BeginObject().Key("resourceVersion").String("").EndObject().EndObject();
    text = std::move(w).Take();
  }
  session.OutJson(text);
}

// One of a watch: a line of JSON, or a template of its own.
void PrintLine(Session& session, const std::string& json) {
  if (session.globals().output == Output::kTemplate) session.OutJson(json);
  else session.Out(json + "\n");
}

std::optional<std::int64_t> Number(const std::string& text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// The row, or "" of a change that a table does not show.
std::vector<std::string> EventRow(const kube::Event& event, bool all_namespaces, time::WallTime now) {
  std::vector<std::string> row;
  if (all_namespaces) row.push_back(event.metadata.ns);
  for (std::string cell : {Seen(event, now), event.type, event.reason, NameFor(event.involved.kind, event.involved.name), event.message})
    row.push_back(std::move(cell));
  return row;
}

}  // namespace

int ApplyObjects(Session& session, const ObjectOptions& options) {
  const auto objects = ReadObjects(session, options.files);
  if (!objects) return session.Fail(session.Judge(objects.error()));
  std::vector<int> statuses;
  for (const auto& object : *objects) {
    v1::ObjectRequest request;
    request.set_object(object.json);
    request.set_namespace_(NamespaceOf(options.ns));
    v1::ObjectAnswer answer;
    if (!options.ns.empty() && !object.ns.empty() && object.ns != options.ns) {
      statuses.push_back(session.Fail(FromError(Usage("the namespace from the provided object \"" + Escape(object.ns) +
                                                      "\" does not match the namespace \"" + Escape(options.ns) + "\""))));
      continue;
    }
    if (const auto failure = session.Call(&v1::Node::Stub::Apply, request, answer)) {
      statuses.push_back(session.Fail(*failure));
      continue;
    }
    for (const auto& warning : answer.warnings()) session.Talk("Warning: " + Escape(warning) + "\n");
    if (session.json() || session.globals().output == Output::kYaml) {
      if (auto parsed = Parse(answer.object())) PrintWhole(session, {*std::move(parsed)}, true);
      continue;
    }
    const std::string name = NameFor(object.kind, object.name);
    session.Out(Escape(name) + (session.globals().output == Output::kName ? "" : " " + answer.what()) + "\n");
  }
  return MostActionable(statuses);
}

int GetObjects(Session& session, const ObjectOptions& options) {
  const auto targets = TargetsOf(options.words);
  if (!targets) return session.Fail(FromError(targets.error()));
  const std::string ns = options.all_namespaces ? "" : NamespaceOf(options.ns);
  const Globals& globals = session.globals();
  std::vector<int> statuses;
  std::vector<kube::Object> objects;
  std::int64_t version = 0;
  bool named = false;
  for (const auto& target : *targets) {
    Listed listed;
    named = named || !target.name.empty();
    if (!target.name.empty() && options.all_namespaces && kube::IsNamespaced(target.kind))
      return session.Fail(FromError(Usage("a resource cannot be retrieved by name across all namespaces")));
    const auto failure = target.name.empty() || options.watch ? List(session, target.kind, ns, target.name, listed)
                                                              : GetOne(session, target, ns, listed.objects);
    if (failure) {
      statuses.push_back(session.Fail(*failure));
      continue;
    }
    version = listed.version;
    if (target.kind == "Event")
      std::ranges::stable_sort(listed.objects, {}, [](const kube::Object& o) { return LastSeen(kube::ReadEvent(o)); });
    for (auto& o : listed.objects) objects.push_back(std::move(o));
  }
  if (!statuses.empty() && objects.empty()) return MostActionable(statuses);
  if ((session.json() || globals.output == Output::kYaml) && !options.watch) {
    PrintWhole(session, objects, named);
    return MostActionable(statuses);
  }
  PrintOptions print{
      .wide = globals.output == Output::kWide, .all_namespaces = options.all_namespaces, .now = session.world().clock.WallNow()};
  std::map<std::string, KubeTable> tables;
  std::set<std::string> headed;
  const bool several = std::ranges::any_of(*targets, [&](const auto& t) { return t.kind != targets->front().kind; });
  const auto show = [&](const kube::Object& object) {
    print.now = session.world().clock.WallNow();
    if (session.json()) return PrintLine(session, object.json);
    if (globals.output == Output::kName) return session.Out(Escape(NameFor(object.kind, object.metadata.name)) + "\n");
    KubeTable& table = tables[object.kind];
    if (headed.insert(object.kind).second && !globals.no_headers) table.Row(HeadersFor(object.kind, print));
    auto row = RowFor(object, print);
    if (several) row[print.all_namespaces && kube::IsNamespaced(object.kind) ? 1 : 0] = NameFor(object.kind, object.metadata.name);
    table.Row(std::move(row));
  };
  for (const auto& object : objects) show(object);
  std::string out;
  for (auto& [kind, table] : tables) out += (out.empty() ? "" : "\n") + table.Take();
  session.Out(out);
  if (objects.empty() && !options.watch && statuses.empty()) {
    session.Talk(options.all_namespaces ? "No resources found\n" : "No resources found in " + Escape(ns) + " namespace.\n");
    return 0;
  }
  if (!options.watch) return MostActionable(statuses);
  if (targets->size() != 1) return session.Fail(FromError(Usage("you may only specify a single resource type to watch")));
  v1::ListRequest request;
  request.set_kind(targets->front().kind);
  if (kube::IsNamespaced(targets->front().kind)) request.set_namespace_(ns);
  request.set_name(targets->front().name);
  request.set_version(version);
  const auto failure = session.Read(&v1::Node::Stub::WatchObjects, request, [&](const v1::WatchedObject& event) {
    const auto object = Parse(event.object());
    if (!object) return true;
    show(*object);
    if (!session.json()) session.Out(tables[object->kind].Take());
    return !session.world().out.broken().has_value();
  });
  return failure ? session.Fail(*failure) : 0;
}

int DescribeObjects(Session& session, const ObjectOptions& options) {
  const auto targets = TargetsOf(options.words);
  if (!targets) return session.Fail(FromError(targets.error()));
  const std::string& ns = NamespaceOf(options.ns);
  std::vector<int> statuses;
  std::string out;
  for (const auto& target : *targets) {
    Listed listed;
    const auto failure = target.name.empty() ? List(session, target.kind, ns, "", listed) : GetOne(session, target, ns, listed.objects);
    if (failure) {
      statuses.push_back(session.Fail(*failure));
      continue;
    }
    for (const auto& object : listed.objects) {
      if (!out.empty()) out += "\n\n";
      if (object.kind == "Pod") {
        Listed all;
        if (const auto missing = List(session, "Event", ns, "", all)) return session.Fail(*missing);
        const auto mirror = object.metadata.annotations.find(std::string(kube::kMirrorAnnotation));
        std::vector<kube::Event> events;
        for (const auto& e : all.objects) {
          kube::Event event = kube::ReadEvent(e);
          const bool about = event.involved.kind == "Pod" && event.involved.name == object.metadata.name &&
                             (event.involved.uid == object.metadata.uid ||
                              (mirror != object.metadata.annotations.end() && event.involved.uid == mirror->second));
          if (about) events.push_back(std::move(event));
        }
        out += DescribePod(kube::ReadPod(object), events, session.world().clock.WallNow());
      } else if (object.kind == "Secret") {
        out += DescribeSecret(kube::ReadSecret(object), object);
      } else if (const auto document = json::Document::Parse(object.json, Reason::kInternal)) {
        out += yaml::Print(document->root());
      }
    }
  }
  session.Out(out);
  return MostActionable(statuses);
}

int DeleteObjects(Session& session, const ObjectOptions& options) {
  struct One { std::string kind, ns, name; };
  std::vector<One> all;
  if (!options.files.empty()) {
    const auto objects = ReadObjects(session, options.files);
    if (!objects) return session.Fail(session.Judge(objects.error()));
    for (const auto& o : *objects) all.push_back({o.kind, o.ns.empty() ? NamespaceOf(options.ns) : o.ns, o.name});
  } else {
    const auto targets = TargetsOf(options.words);
    if (!targets) return session.Fail(FromError(targets.error()));
    for (const auto& t : *targets) {
      if (t.name.empty()) return session.Fail(FromError(Usage("resource(s) were provided, but no name was specified")));
      all.push_back({t.kind, NamespaceOf(options.ns), t.name});
    }
  }
  std::int64_t grace = options.now ? 1 : options.force ? 0 : -1;
  if (!options.grace.empty()) {
    const auto n = Number(options.grace);
    if (!n || *n < -1) return session.Fail(FromError(Usage("--grace-period: a number of seconds is wanted")));
    grace = *n;
  }
  std::vector<int> statuses;
  std::vector<kube::Object> marked;
  for (const auto& one : all) {
    v1::DeleteRequest request;
    request.set_kind(one.kind);
    if (kube::IsNamespaced(one.kind)) request.set_namespace_(one.ns);
    request.set_name(one.name);
    request.set_grace_seconds(grace);
    v1::ObjectAnswer answer;
    if (const auto failure = session.Call(&v1::Node::Stub::DeleteObject, request, answer)) {
      statuses.push_back(session.Fail(Lead(one.kind, *failure)));
      continue;
    }
    std::string lower = NameFor(one.kind, "");
    lower.pop_back();
    const std::string where = kube::IsNamespaced(one.kind) ? " from " + Escape(one.ns) + " namespace" : "";
    session.Out(session.globals().output == Output::kName ? Escape(NameFor(one.kind, one.name)) + "\n"
                                                          : lower + " \"" + Escape(one.name) + "\" " + (options.force ? "force deleted" : "deleted") + where + "\n");
    if (options.no_wait || answer.what() != "marked") continue;
    if (auto object = Parse(answer.object())) marked.push_back(*std::move(object));
  }
  // All end at once; then each is waited for.
  for (const auto& object : marked) {
    v1::ObjectName name;
    name.set_kind(object.kind), name.set_namespace_(object.metadata.ns), name.set_name(object.metadata.name);
    v1::ObjectAnswer left;
    if (session.Call(&v1::Node::Stub::GetObject, name, left)) continue;  // gone
    const auto now = Parse(left.object());
    if (!now || now->metadata.uid != object.metadata.uid) continue;
    v1::ListRequest watch;
    watch.set_kind(object.kind), watch.set_namespace_(object.metadata.ns), watch.set_name(object.metadata.name);
    watch.set_version(Number(now->metadata.resource_version).value_or(0));
    const auto failure = session.Read(&v1::Node::Stub::WatchObjects, watch, [&](const v1::WatchedObject& event) {
      const auto seen = Parse(event.object());
      return !(event.type() == "DELETED" && seen && seen->metadata.uid == object.metadata.uid);
    });
    if (failure) statuses.push_back(session.Fail(*failure));
  }
  return MostActionable(statuses);
}

int Events(Session& session, const ObjectOptions& options) {
  const std::string ns = options.all_namespaces ? "" : NamespaceOf(options.ns);
  Target about;
  if (!options.selected.empty()) {
    const auto targets = TargetsOf({options.selected});
    if (!targets || targets->front().name.empty()) return session.Fail(FromError(Usage("--for must be in resource/name form")));
    about = targets->front();
  }
  const auto concerns = [&](const kube::Event& e) {
    return about.kind.empty() || (e.involved.kind == about.kind && e.involved.name == about.name);
  };
  Listed listed;
  if (const auto failure = List(session, "Event", ns, "", listed)) return session.Fail(*failure);
  std::erase_if(listed.objects, [&](const auto& o) { return !concerns(kube::ReadEvent(o)); });
  std::ranges::stable_sort(listed.objects, {}, [](const kube::Object& o) { return LastSeen(kube::ReadEvent(o)); });
  if (session.data() && !options.watch) {
    PrintWhole(session, listed.objects, false);
    return 0;
  }
  KubeTable table;
  const auto now = [&] { return session.world().clock.WallNow(); };
  if (!session.globals().no_headers && !session.json() && (!listed.objects.empty() || options.watch))
    table.Row(HeadersFor("Event", {.wide = false, .all_namespaces = options.all_namespaces, .now = now()}));
  for (const auto& o : listed.objects) {
    if (session.json()) PrintLine(session, o.json);
    else table.Row(EventRow(kube::ReadEvent(o), options.all_namespaces, now()));
  }
  session.Out(table.Take());
  if (!options.watch) {
    if (listed.objects.empty()) session.Talk(options.all_namespaces ? "No events found.\n" : "No events found in " + Escape(ns) + " namespace.\n");
    return 0;
  }
  v1::ListRequest request;
  request.set_kind("Event");
  request.set_namespace_(ns);
  request.set_version(listed.version);
  const auto failure = session.Read(&v1::Node::Stub::WatchObjects, request, [&](const v1::WatchedObject& event) {
    const auto object = Parse(event.object());
    if (!object || event.type() == "DELETED") return true;
    const kube::Event e = kube::ReadEvent(*object);
    if (!concerns(e)) return true;
    if (session.json()) {
      PrintLine(session, object->json);
      return !session.world().out.broken().has_value();
    }
    table.Row(EventRow(e, options.all_namespaces, now()));
    session.Out(table.Take());
    return !session.world().out.broken().has_value();
  });
  return failure ? session.Fail(*failure) : 0;
}

int Logs(Session& session, const LogsOptions& options) {
  v1::LogsRequest request;
  std::string pod = options.words[0];
  if (const auto slash = pod.find('/'); slash != std::string::npos) {
    if (KindFor(pod.substr(0, slash)) != "Pod") return session.Fail(FromError(Usage("only pods have logs")));
    pod = pod.substr(slash + 1);
  }
  std::string container = options.container.empty() && options.words.size() > 1 ? options.words[1] : options.container;
  if (container.empty()) {
    // kubectl takes the first and says so.
    std::vector<kube::Object> found;
    if (const auto failure = GetOne(session, {"Pod", pod}, NamespaceOf(options.ns), found)) return session.Fail(*failure);
    const kube::Pod p = kube::ReadPod(found[0]);
    if (p.spec.containers.size() + p.spec.init_containers.size() > 1 && !p.spec.containers.empty()) {
      container = p.spec.containers[0].name;
      std::string names;
      for (const auto& c : p.spec.containers) names += (names.empty() ? "" : ", ") + c.name;
      for (const auto& c : p.spec.init_containers) names += ", " + c.name + " (init)";
      session.Talk("Defaulted container \"" + Escape(container) + "\" out of: " + Escape(names) + "\n");
    }
  }
  const auto tail = options.tail.empty() ? std::optional<std::int64_t>(-1) : Number(options.tail);
  if (!tail || *tail < -1) return session.Fail(FromError(Usage("--tail: a number of lines is wanted")));
  request.set_namespace_(NamespaceOf(options.ns));
  request.set_pod(pod);
  request.set_container(container);
  request.set_previous(options.previous);
  request.set_follow(options.follow);
  request.set_timestamps(options.timestamps);
  request.set_tail_lines(*tail);
  const auto failure = session.Read(&v1::Node::Stub::Logs, request, [&](const v1::LogChunk& chunk) {
    session.Out(chunk.data());  // the container's own bytes
    return !session.world().out.broken().has_value();
  });
  return failure ? session.Fail(Lead("Pod", *failure)) : 0;
}

int CreateSecret(Session& session, SecretOptions options) {
  const auto fail = [&](const Error& error) { return session.Fail(session.Judge(error)); };
  if (options.words.size() != 3 || options.words[0] != "create" || options.words[1] != "docker-registry")
    return fail(Usage("this is wanted: berth secret create docker-registry NAME --docker-server=… --docker-username=… --docker-password-stdin"));
  std::string name = options.words[2], key(credentials::kDockerConfigJsonKey);
  secret::Secret value;
  if (!options.from_file.empty()) {
    std::string path = options.from_file;
    if (const auto equals = path.find('='); equals != std::string::npos) key = path.substr(0, equals), path = path.substr(equals + 1);
    const auto sources = ReadFiles(session, {path});
    if (!sources) return fail(sources.error());
    std::string text = sources->front().text;
    if (const auto good = credentials::CheckDockerSecret(text); !good) return fail(good.error());
    value = secret::Secret::Take(text);
  } else {
    credentials::DockerSecretRequest request;
    if (!options.server.empty()) request.server = options.server;
    request.username = options.username;
    request.email = options.email;
    if (options.password_stdin) {
      auto text = ReadStdin(session);
      if (!text) return fail(text.error());
      while (text->ends_with('\n') || text->ends_with('\r')) text->pop_back();
      options.password = *std::move(text);
    }
    request.password = secret::Secret::Take(options.password);
    auto made = credentials::EncodeDockerSecret(request);
    if (!made) return fail(made.error());
    value = *std::move(made);
  }
  if (options.append_hash) name = credentials::AppendHash(name, key, value);
  json::Tree secret = json::Tree::Object();
  secret["apiVersion"] = json::Tree("v1");
  secret["kind"] = json::Tree("Secret");
  secret["metadata"]["name"] = json::Tree(name);
  if (!options.ns.empty() || !options.dry_run) secret["metadata"]["namespace"] = json::Tree(NamespaceOf(options.ns));
  secret["type"] = json::Tree(credentials::kDockerConfigJsonType);
  secret["data"][key] = json::Tree(bytes::ToBase64(bytes::AsView(value.Reveal())));
  std::string object = secret.Dump();
  if (!options.dry_run) {
    v1::ObjectRequest request;
    request.set_object(std::move(object));
    v1::ObjectAnswer answer;
    if (const auto failure = session.Call(&v1::Node::Stub::Create, request, answer)) return session.Fail(*failure);
    object = answer.object();
  }
  if (session.json() || session.globals().output == Output::kYaml) {
    kube::Object whole;
    whole.json = std::move(object);
    PrintWhole(session, {std::move(whole)}, true);
    return 0;
  }
  session.Out(Escape(NameFor("Secret", name)) + (session.globals().output == Output::kName ? "" : options.dry_run ? " created (dry run)" : " created") + "\n");
  return 0;
}

}  // namespace berth::cli
