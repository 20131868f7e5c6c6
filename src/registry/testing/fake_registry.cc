#include "registry/testing/fake_registry.h"

#include <algorithm>

#include "bytes/encoding.h"
#include "json/document.h"

namespace berth::registry::testing {

using http::testing::Reply;
using http::testing::ServerRequest;

namespace {

std::string ErrorBody(std::string_view code) {
  json::Writer w;
  w.BeginObject()
      .Key("errors")
      .BeginArray()
      .BeginObject()
      .Key("code")
      .String(code)
      .Key("message")
      .String("no")
      .EndObject()
      .EndArray()
      .EndObject();
  return std::move(w).Take();
}

// "a=1&a=2&b=x%20y" -> every value of `name`.
std::vector<std::string> Values(std::string_view form, std::string_view name) {
  std::vector<std::string> all;
  while (!form.empty()) {
    const std::string_view pair = form.substr(0, form.find('&'));
    form.remove_prefix(std::min(form.size(), pair.size() + 1));
    if (pair.substr(0, pair.find('=')) != name || pair.find('=') == std::string_view::npos) continue;
    all.push_back(bytes::PercentDecoded(pair.substr(name.size() + 1)).value_or("bad escape"));
  }
  return all;
}

std::string Value(std::string_view form, std::string_view name) {
  const auto all = Values(form, name);
  return all.empty() ? "" : all[0];
}

std::optional<std::pair<std::string, std::string>> BasicOf(const ServerRequest& r) {
  const std::string header = r.header("authorization");
  if (!header.starts_with("Basic ")) return std::nullopt;
  const auto pair = bytes::FromBase64(header.substr(6));
  if (!pair || pair->find(':') == std::string::npos) return std::nullopt;
  return std::pair(pair->substr(0, pair->find(':')), pair->substr(pair->find(':') + 1));
}

}  // namespace

FakeRegistry::FakeRegistry(http::testing::ServerOptions options)
    : server_(std::make_unique<http::testing::FaultServer>([this](const ServerRequest& r) { return Handle(r); }, std::move(options))) {}

oci::Descriptor FakeRegistry::PutBlob(const std::string& repository, std::string bytes, std::string media_type) {
  oci::Descriptor d;
  d.media_type = std::move(media_type);
  d.digest = digest::Digest::Of(bytes::AsView(bytes));
  d.size = bytes.size();
  std::lock_guard lock(mutex_);
  blobs_[{repository, d.digest.ToString()}] = {std::move(bytes), d.media_type};
  return d;
}

oci::Descriptor FakeRegistry::PutManifest(const std::string& repository, std::string bytes, std::string media_type,
                                          const std::string& tag) {
  oci::Descriptor d;
  d.media_type = std::move(media_type);
  d.digest = digest::Digest::Of(bytes::AsView(bytes));
  d.size = bytes.size();
  std::lock_guard lock(mutex_);
  manifests_[{repository, d.digest.ToString()}] = {std::move(bytes), d.media_type};
  if (!tag.empty()) tags_[{repository, tag}] = d.digest.ToString();
  return d;
}

FakeRegistry::Image FakeRegistry::PutImage(const std::string& repository, const std::string& tag, const std::vector<std::string>& layers,
                                           std::string_view architecture) {
  Image image;
  json::Writer config;
  config.BeginObject().Key("architecture").String(architecture).Key("os").String("linux");
  config.Key("config").BeginObject().EndObject().Key("rootfs").BeginObject().Key("type").String("layers").Key("diff_ids").BeginArray();
  for (const std::string& layer : layers) {
    image.layers.push_back(PutBlob(repository, layer));
    config.String(image.layers.back().digest.ToString());
  }
  config.EndArray().EndObject().EndObject();
  image.config_bytes = std::move(config).Take();
  image.config = PutBlob(repository, image.config_bytes, std::string(oci::kOciConfig));
  json::Writer manifest;
  const auto descriptor = [&](const oci::Descriptor& d) {
    manifest.BeginObject().Key("mediaType").String(d.media_type).Key("digest").String(d.digest.ToString());
    manifest.Key("size").Uint(d.size).EndObject();
  };
  manifest.BeginObject().Key("schemaVersion").Int(2).Key("mediaType").String(oci::kOciManifest).Key("config");
  descriptor(image.config);
  manifest.Key("layers").BeginArray();
  for (const oci::Descriptor& layer : image.layers) descriptor(layer);
  manifest.EndArray().EndObject();
  image.manifest_bytes = std::move(manifest).Take();
  image.manifest = PutManifest(repository, image.manifest_bytes, std::string(oci::kOciManifest), tag);
  return image;
}

void FakeRegistry::Tag(const std::string& repository, const std::string& tag, const digest::Digest& manifest) {
  std::lock_guard lock(mutex_);
  tags_[{repository, tag}] = manifest.ToString();
}

void FakeRegistry::Remove(const std::string& repository, const digest::Digest& digest) {
  std::lock_guard lock(mutex_);
  manifests_.erase({repository, digest.ToString()});
  blobs_.erase({repository, digest.ToString()});
}

void FakeRegistry::Corrupt(const std::string& repository, const digest::Digest& digest, std::string bytes) {
  std::lock_guard lock(mutex_);
  for (auto* kind : {&manifests_, &blobs_})
    if (const auto found = kind->find({repository, digest.ToString()}); found != kind->end()) found->second.bytes = bytes;
}

void FakeRegistry::RequireBasic(const std::string& user, const std::string& password) {
  std::lock_guard lock(mutex_);
  auth_ = Auth::kBasic;
  users_[user] = password;
}

void FakeRegistry::RequireBearer(const std::string& user, const std::string& password) {
  std::lock_guard lock(mutex_);
  auth_ = Auth::kBearer;
  users_[user] = password;
}

void FakeRegistry::AllowAnonymousTokens() {
  std::lock_guard lock(mutex_);
  auth_ = Auth::kBearer;
  anonymous_tokens_ = true;
}

void FakeRegistry::AddIdentityToken(const std::string& token) {
  std::lock_guard lock(mutex_);
  auth_ = Auth::kBearer;
  identity_tokens_.insert(token);
}

void FakeRegistry::RevokeTokens() {
  std::lock_guard lock(mutex_);
  tokens_.clear();
}

void FakeRegistry::SetChallenges(std::vector<std::string> lines) {
  std::lock_guard lock(mutex_);
  challenges_ = std::move(lines);
  if (auth_ == Auth::kNone) auth_ = Auth::kBearer;
}

void FakeRegistry::On(std::string match, Handler handler, int times) {
  std::lock_guard lock(mutex_);
  rules_.push_back({std::move(match), std::move(handler), times});
}

std::vector<std::string> FakeRegistry::log() const {
  std::lock_guard lock(mutex_);
  return log_;
}

int FakeRegistry::Count(std::string_view match) const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(std::count_if(log_.begin(), log_.end(), [&](const std::string& line) { return line.starts_with(match); }));
}

void FakeRegistry::ClearLog() {
  std::lock_guard lock(mutex_);
  log_.clear();
}

std::vector<std::string> FakeRegistry::violations() const {
  std::lock_guard lock(mutex_);
  return violations_;
}

int FakeRegistry::tokens_given() const {
  std::lock_guard lock(mutex_);
  return tokens_given_;
}

void FakeRegistry::Violation(const ServerRequest& r, const std::string& what) {
  violations_.push_back(r.method + " " + r.path() + ": " + what);
}

Reply FakeRegistry::Handle(const ServerRequest& r) {
  const std::string line = r.method + " " + r.target;
  Handler handler;
  {
    std::lock_guard lock(mutex_);
    log_.push_back(line);
    for (const char* forbidden : {"cookie", "referer", "proxy-authorization"})
      if (r.has(forbidden)) Violation(r, std::string("sends ") + forbidden);
    if (const std::string encoding = r.header("accept-encoding"); !encoding.empty() && encoding != "identity")
      Violation(r, "accepts encodings");
    if (r.header("user-agent").empty()) Violation(r, "has no User-Agent");
    for (Rule& rule : rules_) {
      if (rule.left == 0 || !line.starts_with(rule.match)) continue;
      if (rule.left > 0) --rule.left;
      handler = rule.handler;
      break;
    }
    if (!handler) {
      const std::string path = r.path(), query = r.target.size() > path.size() ? r.target.substr(path.size() + 1) : "";
      return path == "/token" ? GiveToken(r, query) : Serve(r, path, query);
    }
  }
  return handler(r);  // without the lock: it may wait
}

std::optional<Reply> FakeRegistry::Deny(const ServerRequest& r, const std::string& repository) {
  if (auth_ == Auth::kNone) return std::nullopt;
  const std::string header = r.header("authorization"), scope = "repository:" + repository + ":pull";
  if (auth_ == Auth::kBasic) {
    if (const auto basic = BasicOf(r)) {
      const auto user = users_.find(basic->first);
      if (user != users_.end() && user->second == basic->second) return std::nullopt;
    }
  } else if (header.starts_with("Bearer ")) {
    if (const auto token = tokens_.find(header.substr(7)); token != tokens_.end()) {
      if ((" " + token->second + " ").find(" " + scope + " ") != std::string::npos) return std::nullopt;
      Violation(r, "shows a token for " + token->second);
    }
  }
  Reply::Fields fields;
  if (challenges_) {
    for (const std::string& line : *challenges_) fields.emplace_back("WWW-Authenticate", line);
  } else if (auth_ == Auth::kBasic) {
    fields.emplace_back("WWW-Authenticate", "Basic realm=\"fake\"");
  } else {
    fields.emplace_back("WWW-Authenticate", "Bearer realm=\"" + (realm_.empty() ? url("/token") : realm_) +
                                                "\",service=\"fake\",scope=\"" + scope + "\"");
  }
  return Reply::Json(401, ErrorBody("UNAUTHORIZED"), std::move(fields));
}

Reply FakeRegistry::GiveToken(const ServerRequest& r, const std::string& query) {
  const std::string& form = r.method == "POST" ? r.body : query;
  bool good = false;
  if (r.method == "POST") {
    if (r.header("content-type") != "application/x-www-form-urlencoded") Violation(r, "is no form");
    if (Value(form, "grant_type") == "refresh_token") good = identity_tokens_.contains(Value(form, "refresh_token"));
    if (Value(form, "grant_type") == "password") {
      const auto user = users_.find(Value(form, "username"));
      good = user != users_.end() && user->second == Value(form, "password");
    }
  } else if (const auto basic = BasicOf(r)) {
    const auto user = users_.find(basic->first);
    good = user != users_.end() && user->second == basic->second;
  } else {
    good = anonymous_tokens_ && !r.has("authorization");
  }
  if (Value(form, "service") != "fake") Violation(r, "asks for another service");
  if (!good) return Reply::Json(401, ErrorBody("UNAUTHORIZED"));
  std::string scopes;
  for (const std::string& scope : Values(form, "scope")) scopes += (scopes.empty() ? "" : " ") + scope;
  const std::string token = "tok-" + std::to_string(++tokens_given_) + "-canary";
  tokens_[token] = scopes;
  if (token_answer_.empty()) return Reply::Json(200, "{\"token\":\"" + token + "\",\"expires_in\":300}");
  std::string answer = token_answer_;
  if (const std::size_t at = answer.find("{T}"); at != std::string::npos) answer.replace(at, 3, token);
  return Reply::Json(200, answer);
}

Reply FakeRegistry::Serve(const ServerRequest& r, const std::string& path, const std::string& query) {
  if (r.method != "GET" && r.method != "HEAD") return Reply::Json(405, ErrorBody("UNSUPPORTED"));
  if (path == prefix_ + "/") return Deny(r, "").value_or(Reply::Json(200, "{}"));
  for (const bool manifest : {true, false}) {
    const std::string_view middle = manifest ? "/manifests/" : "/blobs/";
    const std::size_t at = path.rfind(middle);
    if (!path.starts_with(prefix_ + "/") || at == std::string::npos || at <= prefix_.size()) continue;
    const std::string repository = path.substr(prefix_.size() + 1, at - prefix_.size() - 1);
    std::string object = path.substr(at + middle.size());
    if (ns_ && Value(query, "ns") != *ns_) Violation(r, "wants ns=" + Value(query, "ns"));
    if (auto denied = Deny(r, repository)) return *std::move(denied);
    if (manifest)
      if (const auto tag = tags_.find({repository, object}); tag != tags_.end()) object = tag->second;
    const auto& kind = manifest ? manifests_ : blobs_;
    const auto found = kind.find({repository, object});
    if (found == kind.end()) return Reply::Json(404, ErrorBody(manifest ? "MANIFEST_UNKNOWN" : "BLOB_UNKNOWN"));
    const Stored& stored = found->second;
    if (!manifest) {
      const Reply::Fields fields{{"Content-Type", "application/octet-stream"}};
      return Reply::Ranged(r, stored.bytes, fields);
    }
    const std::string accept = r.header("accept");
    if (accept.find(stored.media_type) == std::string::npos && accept.find("*/*") == std::string::npos)
      Violation(r, "does not accept " + stored.media_type);
    if (bare_) return Reply::Text(200, stored.bytes);
    return Reply::Text(200, stored.bytes, {{"Content-Type", stored.media_type}, {"Docker-Content-Digest", object}});
  }
  return Reply::Json(404, ErrorBody("NAME_UNKNOWN"));
}

}  // namespace berth::registry::testing
