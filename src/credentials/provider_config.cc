#include "credentials/provider_config.h"

#include <algorithm>
#include <array>
#include <set>

#include "bytes/bytes.h"
#include "bytes/text.h"
#include "credentials/go_text.h"
#include "digest/digest.h"
#include "host/dir.h"
#include "time/go_duration.h"

namespace berth::credentials {
namespace {

constexpr std::string_view kGroup = "kubelet.config.k8s.io/";
constexpr std::string_view kKind = "CredentialProviderConfig";
// In the order of Go's sorted set, as the message lists them.
constexpr std::array kVersions{ExecVersion::kV1, ExecVersion::kV1Alpha1, ExecVersion::kV1Beta1};

Error Bad(std::string what) { return Error(Reason::kConfig, std::move(what)); }

// Strict reading of one object: each member once by name; what is left is unknown.
class Fields {
 public:
  explicit Fields(const json::Value& object) : object_(object) {}

  std::optional<json::Value> Take(std::string_view name) {
    known_.insert(name);
    auto value = object_.Find(name);
    return value && !value->IsNull() ? value : std::nullopt;
  }
  Result<std::string> Text(std::string_view name) {
    const auto value = Take(name);
    if (!value) return std::string();
    ASSIGN_OR_RETURN(const auto text, value->AsString());
    return std::string(text);
  }
  Result<std::vector<std::string>> Texts(std::string_view name) {
    std::vector<std::string> out;
    const auto value = Take(name);
    if (!value) return out;
    if (!value->IsArray()) return Bad(Place(value->path()) + " must be a list");
    for (std::size_t i = 0; i < value->size(); ++i) {
      ASSIGN_OR_RETURN(const auto text, value->at(i).AsString());
      out.emplace_back(text);
    }
    return out;
  }
  // After all were taken.
  void Unknown(std::vector<std::string>& unknown) const {
    for (const auto& [name, value] : object_.Members())
      if (!known_.contains(name)) unknown.push_back(Place(value.path()));
  }
  static std::string Place(const std::string& path) { return path.starts_with("$.") ? path.substr(2) : path; }

 private:
  json::Value object_;
  std::set<std::string_view> known_;
};

// As it stands in the file, before validation: what may be absent is optional.
struct Draft {
  ProviderSpec spec;
  std::string version, cache_type;
  std::optional<time::Duration> cache;
  std::optional<bool> require;
};

Result<Draft> ReadProvider(const json::Value& value, bool v1, std::vector<std::string>& unknown) {
  if (!value.IsObject()) return Bad(Fields::Place(value.path()) + " must be an object");
  Draft draft;
  ProviderSpec& spec = draft.spec;
  Fields fields(value);
  ASSIGN_OR_RETURN(spec.name, fields.Text("name"));
  ASSIGN_OR_RETURN(spec.match_images, fields.Texts("matchImages"));
  ASSIGN_OR_RETURN(draft.version, fields.Text("apiVersion"));
  ASSIGN_OR_RETURN(spec.args, fields.Texts("args"));
  if (const auto cache = fields.Take("defaultCacheDuration")) {
    ASSIGN_OR_RETURN(const auto text, cache->AsString());
    draft.cache = time::ParseGoDuration(text);
    if (!draft.cache) return Bad(Fields::Place(cache->path()) + " is no duration").Next("write it like \"1h30m\"");
  }
  if (const auto env = fields.Take("env")) {
    if (!env->IsArray()) return Bad(Fields::Place(env->path()) + " must be a list");
    for (std::size_t i = 0; i < env->size(); ++i) {
      if (!env->at(i).IsObject()) return Bad(Fields::Place(env->at(i).path()) + " must be an object");
      Fields entry(env->at(i));
      ProviderSpec::Variable variable;
      ASSIGN_OR_RETURN(variable.name, entry.Text("name"));
      ASSIGN_OR_RETURN(std::string text, entry.Text("value"));
      const bool named = !variable.name.empty() && variable.name.find_first_of(std::string_view("=\0", 2)) == variable.name.npos;
      if (!named || text.find('\0') != text.npos)
        return Bad(Fields::Place(env->at(i).path()) + " is no environment variable");
      variable.value = secret::Secret::Take(text);
      spec.env.push_back(std::move(variable));
      entry.Unknown(unknown);
    }
  }
  if (const auto token = v1 ? fields.Take("tokenAttributes") : std::nullopt) {
    if (!token->IsObject()) return Bad(Fields::Place(token->path()) + " must be an object");
    Fields entry(*token);
    TokenAttributes attributes;
    ASSIGN_OR_RETURN(attributes.audience, entry.Text("serviceAccountTokenAudience"));
    ASSIGN_OR_RETURN(draft.cache_type, entry.Text("cacheType"));
    if (const auto require = entry.Take("requireServiceAccount")) {
      ASSIGN_OR_RETURN(draft.require, require->AsBool());
    }
    ASSIGN_OR_RETURN(attributes.required_annotations, entry.Texts("requiredServiceAccountAnnotationKeys"));
    ASSIGN_OR_RETURN(attributes.optional_annotations, entry.Texts("optionalServiceAccountAnnotationKeys"));
    spec.token = std::move(attributes);
    entry.Unknown(unknown);
  }
  fields.Unknown(unknown);
  return draft;
}

// One message, or several as the kubelet aggregates them.
class Findings {
 public:
  void Invalid(std::string path, std::string_view value, std::string_view why) {
    Add(std::move(path) + ": Invalid value: " + std::string(value) + ": " + std::string(why));
  }
  void Required(std::string path, std::string_view why = "") {
    Add(std::move(path) + ": Required value" + (why.empty() ? "" : ": " + std::string(why)));
  }
  void Forbidden(std::string path, std::string_view why) { Add(std::move(path) + ": Forbidden: " + std::string(why)); }
  void Add(std::string text) {
    if (std::ranges::find(all_, text) == all_.end()) all_.push_back(std::move(text));
  }
  bool empty() const { return all_.empty(); }
  std::string Text() const {
    if (all_.size() == 1) return all_[0];
    std::string out = "[";
    for (const auto& text : all_) out.append(out.size() > 1 ? ", " : "").append(text);
    return out + "]";
  }

 private:
  std::vector<std::string> all_;
};

std::string UnsupportedVersion(std::string_view value) {
  std::string out = "Unsupported value: " + GoJson(value) + ": supported values: ";
  for (const auto version : kVersions) out.append(version == kVersions[0] ? "" : ", ").append(GoJson(Name(version)));
  return out;
}

// A pattern with the glob characters of the documentation made harmless: what remains must be a host and a path.
std::string WithoutGlobs(std::string_view pattern) {
  std::string out(pattern);
  const bool address = out.starts_with('[') && out.find(':') < out.find(']');
  for (std::size_t i = 0; i < out.size() && out[i] != '/'; ++i)
    if (out[i] == '?' || out[i] == '\\' || out[i] == '^' || (!address && (out[i] == '[' || out[i] == ']'))) out[i] = 'x';
  return out;
}

void CheckAnnotationKeys(Findings& findings, const std::string& path, const std::vector<std::string>& keys) {
  std::set<std::string> seen;
  for (const auto& key : keys) {
    if (const auto problem = QualifiedNameProblem(bytes::Lower(key)); !problem.empty()) findings.Invalid(path, GoJson(key), problem);
    if (!seen.insert(key).second) findings.Add(path + ": Duplicate value: " + GoJson(key));
  }
}

void CheckToken(Findings& findings, const ProviderConfigRules& rules, Draft& draft) {
  TokenAttributes& token = *draft.spec.token;
  const std::string path = "providers.tokenAttributes";
  if (!rules.service_account_tokens)
    findings.Forbidden(path, "tokenAttributes is not supported when KubeletServiceAccountTokenForCredentialProviders feature gate is disabled");
  if (token.audience.empty()) findings.Required(path + ".serviceAccountTokenAudience");
  if (draft.cache_type.empty())
    findings.Required(path + ".cacheType",
                      "cacheType is required to be set when tokenAttributes is specified. Supported values are: ServiceAccount, Token");
  else if (draft.cache_type == "Token") token.cache_type = TokenAttributes::CacheType::kToken;
  else if (draft.cache_type != "ServiceAccount")
    findings.Add(path + ".cacheType: Unsupported value: " + GoJson(draft.cache_type) + ": supported values: \"ServiceAccount\", \"Token\"");
  if (!draft.require) findings.Required(path + ".requireServiceAccount");
  token.require_service_account = draft.require.value_or(false);
  if (draft.version != Name(ExecVersion::kV1))
    findings.Forbidden(path, "tokenAttributes is only supported for credentialprovider.kubelet.k8s.io/v1 API version");
  if (draft.require && !*draft.require && !token.required_annotations.empty())
    findings.Forbidden(path + ".requiredServiceAccountAnnotationKeys",
                       "requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set");
  CheckAnnotationKeys(findings, path + ".requiredServiceAccountAnnotationKeys", token.required_annotations);
  CheckAnnotationKeys(findings, path + ".optionalServiceAccountAnnotationKeys", token.optional_annotations);
  const std::set<std::string> required(token.required_annotations.begin(), token.required_annotations.end());
  std::string both;
  for (const auto& key : std::set<std::string>(token.optional_annotations.begin(), token.optional_annotations.end()))
    if (required.contains(key)) both.append(both.empty() ? "" : ",").append(GoJson(key));
  if (!both.empty()) findings.Invalid(path, "[" + both + "]", "annotation keys cannot be both required and optional");
}

void Check(Findings& findings, const ProviderConfigRules& rules, Draft& draft, std::set<std::string>& names) {
  ProviderSpec& spec = draft.spec;
  const auto bad_name = [&](std::string_view why) { findings.Invalid("providers.name", GoJson(spec.name), "provider name cannot " + std::string(why)); };
  if (spec.name.empty()) findings.Required("providers.name");  // ours: the kubelet would look for a program without a name
  if (spec.name.find('/') != spec.name.npos) bad_name("contain '/'");
  if (spec.name.find(' ') != spec.name.npos) bad_name("contain spaces");
  if (spec.name == ".") bad_name("be '.'");
  if (spec.name == "..") bad_name("be '..'");
  if (!names.insert(spec.name).second) findings.Add("providers.name: Duplicate value: " + GoJson(spec.name));
  if (draft.version.empty()) {
    findings.Required("providers.apiVersion");
  } else {
    const auto version = std::ranges::find(kVersions, draft.version, [](ExecVersion v) { return Name(v); });
    if (version == kVersions.end()) findings.Add("providers.apiVersion: " + UnsupportedVersion(draft.version));
    else spec.version = *version;
  }
  if (spec.match_images.empty()) findings.Required("providers.matchImages", "at least 1 item in matchImages is required");
  for (const auto& pattern : spec.match_images) {
    const std::string url = "https://" + pattern;
    const auto problem = GoUrlProblem(rules.profile == Profile::kKubelet ? url : "https://" + WithoutGlobs(pattern));
    if (!problem.empty()) findings.Invalid("providers.matchImages", GoJson(pattern), "match image is invalid: parse " + GoJson(url) + ": " + problem);
  }
  if (!draft.cache) findings.Required("providers.defaultCacheDuration");
  else if (*draft.cache < time::Duration::zero())
    findings.Invalid("providers.defaultCacheDuration", GoJson(time::FormatGoDuration(*draft.cache)), "must be greater than or equal to 0");
  spec.default_cache = draft.cache.value_or(time::Duration::zero());
  if (spec.token) CheckToken(findings, rules, draft);
}

// Reads one document, without validation.
Result<> Decode(const json::Value& root, std::vector<Draft>& drafts) {
  if (!root.IsObject()) return Bad("the document must be an object");
  Fields fields(root);
  ASSIGN_OR_RETURN(const auto version, fields.Text("apiVersion"));
  ASSIGN_OR_RETURN(const auto kind, fields.Text("kind"));
  const std::string_view which = std::string_view(version).starts_with(kGroup) ? std::string_view(version).substr(kGroup.size()) : "";
  if (kind != kKind || (which != "v1" && which != "v1beta1" && which != "v1alpha1"))
    return Bad("no kind " + GoJson(kind) + " is registered for version " + GoJson(version));
  std::vector<std::string> unknown;
  if (const auto providers = fields.Take("providers")) {
    if (!providers->IsArray()) return Bad("providers must be a list");
    for (std::size_t i = 0; i < providers->size(); ++i) {
      ASSIGN_OR_RETURN(auto draft, ReadProvider(providers->at(i), which == "v1", unknown));
      drafts.push_back(std::move(draft));
    }
  }
  fields.Unknown(unknown);
  if (unknown.empty()) return {};
  std::string text = "strict decoding error: ";
  for (const auto& place : unknown) text.append(&place == unknown.data() ? "" : ", ").append("unknown field " + GoJson(place));
  return Bad(std::move(text));
}

Result<std::vector<ProviderSpec>> Validate(std::vector<Draft> drafts, const ProviderConfigRules& rules) {
  Findings findings;
  if (drafts.empty()) findings.Required("providers", "at least 1 item in plugins is required");
  std::set<std::string> names;
  std::vector<ProviderSpec> specs;
  for (auto& draft : drafts) {
    Check(findings, rules, draft, names);
    specs.push_back(std::move(draft.spec));
  }
  if (!findings.empty()) return Bad("failed to validate credential provider config: " + findings.Text());
  return specs;
}

bool IsConfigName(std::string_view name) {
  return name.ends_with(".json") || name.ends_with(".yaml") || name.ends_with(".yml");
}

}  // namespace

std::string_view Name(ExecVersion version) {
  switch (version) {
    case ExecVersion::kV1: return "credentialprovider.kubelet.k8s.io/v1";
    case ExecVersion::kV1Beta1: return "credentialprovider.kubelet.k8s.io/v1beta1";
    case ExecVersion::kV1Alpha1: return "credentialprovider.kubelet.k8s.io/v1alpha1";
  }
  return "";
}

ProviderSpec ProviderSpec::Clone() const {
  ProviderSpec out{name, match_images, default_cache, version, args, {}, token};
  for (const auto& variable : env) out.env.push_back({variable.name, variable.value.Clone()});
  return out;
}

bool operator==(const ProviderSpec& a, const ProviderSpec& b) {
  return a.name == b.name && a.match_images == b.match_images && a.default_cache == b.default_cache && a.version == b.version &&
         a.args == b.args && a.token == b.token &&
         std::ranges::equal(a.env, b.env, [](const auto& x, const auto& y) { return x.name == y.name && x.value == y.value; });
}

Result<std::vector<ProviderSpec>> ParseProviderConfig(const json::Value& root, const ProviderConfigRules& rules) {
  std::vector<Draft> drafts;
  RETURN_IF_ERROR(Decode(root, drafts));
  return Validate(std::move(drafts), rules);
}

Result<json::Document> ParseJsonDocument(std::string_view text) {
  return json::Document::Parse(text, Reason::kConfig, {.bytes = kProviderConfigBytes, .depth = 32, .values = 100'000});
}

Result<ProviderConfigs> LoadProviderConfigs(const std::string& path, const ProviderConfigRules& rules, const DocumentParser& parse) {
  if (path.empty()) return Bad("credential provider config path is empty");
  // Neither a file nor a folder that can be read.
  const auto inaccessible = [&](const Error& error) { return Bad("unable to access path " + GoJson(path) + ": " + error.message()); };
  std::vector<std::string> files;
  if (const auto folder = host::Dir::Open(path)) {
    auto names = folder->List();
    if (!names) return inaccessible(names.error());
    for (const auto& name : *names) {
      if (!IsConfigName(name)) continue;
      // Links are what mounted ConfigMaps consist of; folders of such a name are passed over.
      if (const auto info = folder->Stat(name); info && info->kind == host::FileKind::kDirectory) continue;
      files.push_back(path + (path.ends_with('/') ? "" : "/") + name);
    }
    if (files.empty()) return Bad("no configuration files found in directory " + GoJson(path));
    if (files.size() > kProviderConfigFiles)
      return Error(Reason::kLimitExceeded, "more than " + std::to_string(kProviderConfigFiles) + " configuration files in " + Quoted(path));
  } else {
    files.push_back(path);
  }
  ProviderConfigs configs;
  digest::Hasher hasher;
  std::vector<Draft> drafts;
  std::set<std::string> names;
  for (const auto& file : files) {
    auto text = host::ReadSmallFile(file, kProviderConfigBytes);
    if (!text) return files.size() == 1 && file == path ? inaccessible(text.error()) : std::move(text).error().Context("read " + Quoted(file));
    std::array<std::byte, 8> length{};
    for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(text->size() >> (56 - 8 * i));
    hasher.Update(length);
    hasher.Update(bytes::AsView(*text));
    auto document = parse(*text);
    secret::Secret::Wipe(*text);
    const std::string decode = "error decoding config " + GoJson(file);
    if (!document) return Error(Reason::kConfig, document.error().Text()).Context(decode);
    std::vector<Draft> some;
    if (auto decoded = Decode(document->root(), some); !decoded) return std::move(decoded).error().Context(decode);
    for (auto& draft : some) {
      if (!names.insert(draft.spec.name).second)
        return Bad("duplicate provider name " + GoJson(draft.spec.name) + " found in configuration file(s)");
      drafts.push_back(std::move(draft));
    }
  }
  ASSIGN_OR_RETURN(configs.providers, Validate(std::move(drafts), rules));
  configs.hash = hasher.Finish().ToString();
  return configs;
}

}  // namespace berth::credentials
