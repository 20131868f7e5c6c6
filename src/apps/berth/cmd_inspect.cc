#include <array>

#include "apps/berth/commands.h"
#include "apps/berth/format.h"
#include "apps/berth/json.h"

namespace berth::cli {
namespace {

std::string Text(const json::Value& object, std::string_view key) {
  const auto value = object.Find(key);
  if (!value) return "";
  if (value->IsString()) return std::string(*value->AsString());
  return value->IsNull() ? "" : value->Dump();
}

std::string Field(std::string_view label, std::string_view value) {
  std::string out(label);
  out.resize(14, ' ');
  return value.empty() ? "" : out + Escape(value) + "\n";
}

// What a container of this image would run with.
std::string Config(const std::string& text) {
  const auto document = json::Document::Parse(text, Reason::kInvalidConfig);
  if (!document) return "";
  const auto config = document->root().Find("config");
  std::string out = Field("created", Text(document->root(), "created"));
  if (!config) return out;
  for (const auto& [label, key] : std::array<std::pair<const char*, const char*>, 5>{
           {{"entrypoint", "Entrypoint"}, {"command", "Cmd"}, {"user", "User"}, {"directory", "WorkingDir"}, {"stop signal", "StopSignal"}}})
    out += Field(label, Text(*config, key));
  if (const auto env = config->Find("Env"); env && env->IsArray())
    for (std::size_t i = 0; i < env->size(); ++i)
      if (env->at(i).IsString()) out += Field(i == 0 ? "environment" : "", *env->at(i).AsString());
  for (const auto& [label, key] : std::array<std::pair<const char*, const char*>, 3>{
           {{"ports", "ExposedPorts"}, {"volumes", "Volumes"}, {"labels", "Labels"}}}) {
    const auto members = config->Find(key);
    if (!members || !members->IsObject()) continue;
    bool first = true;
    for (const auto& [name, value] : members->Members()) {
      out += Field(first ? label : "", value.IsString() ? std::string(name) + "=" + std::string(*value.AsString()) : std::string(name));
      first = false;
    }
  }
  return out;
}

std::string Joined(const json::Value& root, std::string_view key) {
  std::string out;
  if (const auto items = root.Find(key); items && items->IsArray())
    for (std::size_t i = 0; i < items->size(); ++i)
      if (items->at(i).IsString()) out += (out.empty() ? "" : ", ") + std::string(*items->at(i).AsString());
  return out;
}

std::string Verification(const json::Value& pull) {
  const auto found = pull.Find("verification");
  if (!found || !found->IsObject()) return "";
  const json::Value& root = *found;
  const std::string keys = Joined(root, "keys"), programs = Joined(root, "programs");
  return Field("verification", Text(root, "verdict") + " by rule " + Text(root, "rule")) + Field("  keys", keys) + Field("  programs", programs) +
         Field("  because", Text(root, "reason")) + Field("  next", Text(root, "next"));
}

std::string LastPull(const std::string& text) {
  const auto document = json::Document::Parse(text, Reason::kInternal);
  if (!document) return "";
  const json::Value root = document->root();
  const auto number = [&](std::string_view key) {
    const auto value = root.Find(key);
    const auto n = value ? value->AsInt64() : Result<std::int64_t>(0);
    return n && *n > 0 ? static_cast<std::uint64_t>(*n) : 0;
  };
  std::string what = "policy " + Text(root, "policy") + ", " + Size(number("bytes_fetched")) + " fetched";
  if (number("bytes_reused") > 0) what += ", " + Size(number("bytes_reused")) + " were here already";
  if (number("bytes_resumed") > 0) what += ", " + Size(number("bytes_resumed")) + " resumed";
  if (const auto seconds = root.Find("seconds"))
    if (const auto total = seconds->Find("total"); total && total->AsDouble()) what += " in " + Took(*total->AsDouble());
  std::string out = Field("last pull", what) + Field("  from", Text(root, "host")) + Field("  as", Text(root, "credential"));
  if (const auto error = root.Find("error"); error && error->IsObject())
    out += Field("  failed", Text(*error, "code") + " " + Text(*error, "message")) + Field("  next", Text(*error, "next"));
  if (const auto attempts = root.Find("attempts"); attempts && attempts->IsArray())
    out += Field("  requests", std::to_string(attempts->size()) + " (-o json lists them)");
  return Verification(root) + (root.Find("policy") ? out : "");
}

std::string Human(const v1::InspectImageResponse& answer, const Session& session) {
  const v1::Image& image = answer.image();
  const bool whole = session.whole();
  std::string out;
  for (int i = 0; i < image.names_size(); ++i) out += Field(i == 0 ? "names" : "", image.names(i));
  out += Field("id", Digest(image.id(), whole)) + Field("manifest", Digest(image.manifest(), whole));
  if (!answer.target().empty() && answer.target() != image.manifest()) out += Field("index", Digest(answer.target(), whole));
  out += Field("media type", answer.target_media_type()) + Field("platform", image.platform());
  out += Field("size", Size(image.size()) + " compressed, " + Size(image.unpacked_size()) + " unpacked, " +
                           Size(image.unique_size()) + " of it in no other image");
  const auto then = ParseTime(image.pulled_at());
  out += Field("pulled", image.pulled_at() + (then ? " (" + Ago(*then, session.world().clock.WallNow()) + ")" : ""));
  if (!image.last_used_at().empty()) out += Field("last used", image.last_used_at());
  if (image.has_pin())
    out += Field("pinned", "since " + image.pin().since() + (image.pin().owner().empty() ? "" : " by " + image.pin().owner()) +
                               (image.pin().reason().empty() ? "" : ": " + image.pin().reason()));
  for (int i = 0; i < image.layers_size(); ++i)
    out += Field(i == 0 ? Count(static_cast<std::uint64_t>(image.layers_size()), "layer") : "", Digest(image.layers(i).digest(), whole) +
                 "  diff " + Digest(image.layers(i).diff_id(), whole));
  return out + Config(answer.config_json()) + LastPull(answer.last_pull_json());
}

}  // namespace

int Inspect(Session& session, const InspectOptions& options) {
  std::vector<int> statuses;
  Documents documents(session, options.images.size() > 1);
  for (const auto& name : options.images) {
    v1::InspectImageRequest request;
    v1::InspectImageResponse answer;
    request.set_image(name);
    request.set_platform(options.platform);
    if (const auto failure = session.Call(&v1::Berth::Stub::InspectImage, request, answer)) {
      statuses.push_back(session.Fail(At(name, *failure)));
      continue;
    }
    if (!options.document.empty()) {
      // The exact bytes: sha256sum of them is the digest. Never to be trusted by a terminal.
      const std::string& text = options.document == "config"     ? answer.config_json()
                                : options.document == "manifest" ? answer.manifest_json() : answer.target_json();
      session.Out(session.world().out.terminal() ? Escape(text) + "\n" : text);
    } else if (session.data()) {
      json::Writer w;
      WriteInspect(w, answer);
      documents.Add(w.text());
    } else if (session.globals().output == Output::kName) {
      for (const auto& image_name : answer.image().names()) session.Out(Escape(image_name) + "\n");
    } else {
      session.Out((&name == &options.images.front() ? "" : "\n") + Human(answer, session));
    }
  }
  if (session.data() && options.document.empty()) documents.End();
  return MostActionable(statuses);
}

}  // namespace berth::cli
