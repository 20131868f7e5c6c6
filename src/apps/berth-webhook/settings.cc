#include "apps/berth-webhook/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>

#include "host/dir.h"
#include "host/listen.h"
#include "json/document.h"
#include "time/go_duration.h"
#include "yaml/document.h"

namespace berth::webhook {
namespace {

using List = std::vector<std::string>;

// A key is text or a list of texts in the file; key=value has a list with commas.
struct Key {
  std::string_view name, meaning;
  std::function<bool(Settings&, const List&)> set;   // false: not a value of this key
  std::function<List(const Settings&)> get;
  bool list = false;
};

template <class Pick>
Key TextKey(std::string_view name, std::string_view meaning, Pick pick) {
  return {name, meaning, [pick](Settings& s, const List& v) { return pick(s) = v[0], true; },
          [pick](const Settings& s) { return List{pick(const_cast<Settings&>(s))}; }};
}
template <class Pick>
Key ListKey(std::string_view name, std::string_view meaning, Pick pick) {
  return {name, meaning, [pick](Settings& s, const List& v) { return pick(s) = v, true; },
          [pick](const Settings& s) { return List(pick(const_cast<Settings&>(s))); }, true};
}
// One of several words, in the order of what they stand for.
template <class Pick, class Value>
Key ChoiceKey(std::string_view name, std::string_view meaning, std::vector<std::pair<std::string, Value>> words, Pick pick) {
  return {name, meaning,
          [=](Settings& s, const List& v) {
            const auto it = std::ranges::find(words, v[0], [](const auto& w) { return w.first; });
            return it != words.end() && (pick(s) = it->second, true);
          },
          [=](const Settings& s) {
            for (const auto& [word, value] : words)
              if (pick(const_cast<Settings&>(s)) == value) return List{word};
            return List{""};
          }};
}
template <class Pick>
Key BoolKey(std::string_view name, std::string_view meaning, Pick pick) {
  return ChoiceKey<Pick, bool>(name, meaning, {{"true", true}, {"false", false}}, pick);
}
template <class Pick>
Key DurationKey(std::string_view name, std::string_view meaning, Pick pick) {
  return {name, meaning,
          [pick](Settings& s, const List& v) {
            const auto d = time::ParseGoDuration(v[0]);
            return d && *d > time::Duration::zero() && *d <= std::chrono::minutes(10) && (pick(s) = *d, true);
          },
          [pick](const Settings& s) { return List{time::FormatGoDuration(pick(const_cast<Settings&>(s)))}; }};
}
template <class Pick>
Key CountKey(std::string_view name, std::string_view meaning, std::uint64_t most, Pick pick) {
  return {name, meaning,
          [=](Settings& s, const List& v) {
            std::uint64_t n = 0;
            const auto [end, error] = std::from_chars(v[0].data(), v[0].data() + v[0].size(), n);
            return error == std::errc() && end == v[0].data() + v[0].size() && n >= 1 && n <= most && (pick(s) = n, true);
          },
          [pick](const Settings& s) { return List{std::to_string(pick(const_cast<Settings&>(s)))}; }};
}

#define PICK(member) [](Settings& s) -> auto& { return s.member; }

const std::vector<Key>& Keys() {
  using admission::OnFailure;
  const std::vector<std::pair<std::string, OnFailure>> failures{{"Refuse", OnFailure::kRefuse}, {"Allow", OnFailure::kAllow}};
  static const std::vector<Key> keys{
      TextKey("listen", "where the API server asks, HTTPS", PICK(listen)),
      ListKey("ops_listen", "metrics and health, plain HTTP", PICK(ops_listen)),
      TextKey("tls.certificate", "PEM: the leaf, then its issuers; read again when it changes", PICK(certificate)),
      TextKey("tls.key", "PEM", PICK(key)),
      TextKey("tls.client_ca", "PEM: only clients with a certificate of these get in; empty: all", PICK(client_ca)),
      ListKey("tls.client_names", "common names of such clients; empty: all", PICK(client_names)),
      BoolKey("always_pull", "AlwaysPullImages", PICK(always_pull)),
      BoolKey("pin.enabled", "tags become digests", PICK(pin)),
      ListKey("pin.registries", "the only ones that are asked; needed for pin.enabled", [](Settings& s) -> List& {
                if (!s.pinning.registries) s.pinning.registries.emplace();
                return *s.pinning.registries;
              }),
      TextKey("pin.label", "of namespaces that take part: Enforce or DryRun; empty: all take part", PICK(pinning.label)),
      BoolKey("pin.dry_run", "only warn", PICK(pinning.dry_run)),
      ListKey("pin.exempt_namespaces", "never pinned", PICK(pinning.exempt_namespaces)),
      ListKey("pin.exempt_images", "never pinned", PICK(pinning.exempt_images)),
      ChoiceKey("pin.unavailable", "when a registry does not answer: Refuse, Allow", failures, PICK(pinning.unavailable)),
      ChoiceKey("pin.unresolved", "when there is no such tag, or no access: Refuse, Allow", failures, PICK(pinning.unresolved)),
      ChoiceKey<std::function<bool&(Settings&)>, bool>("profile", "Documented, Kubelet", {{"Documented", true}, {"Kubelet", false}}, PICK(documented)),
      ChoiceKey<std::function<bool&(Settings&)>, bool>("on_error", "trouble of our own: Deny, Allow", {{"Deny", true}, {"Allow", false}}, PICK(deny_on_error)),
      DurationKey("timeout", "of the API server, where it does not say; one second less is ours", PICK(timeout)),
      DurationKey("drain", "after SIGTERM: not ready, but all are answered, until the cluster sends its reviews elsewhere", PICK(drain)),
      DurationKey("grace", "after that, for reviews at work", PICK(grace)),
      CountKey("pollers", "threads that serve connections", 64, PICK(pollers)),
      CountKey("review_bytes", "largest review: an object and its old self", 64u << 20, PICK(review_bytes)),
      CountKey("workers", "reviews at once when pinning", 1024, PICK(workers)),
      TextKey("kubeconfig", "for Secrets and namespaces; empty: the Pod's account", PICK(kubeconfig)),
      ListKey("registry.hosts", "folders with hosts.toml", PICK(hosts)),
      ListKey("registry.plain_http", "registries spoken to without TLS", PICK(plain_http)),
      ChoiceKey<std::function<log::Level&(Settings&)>, log::Level>(
          "log.level", "debug, info, warning, error",
          {{"debug", log::Level::kDebug}, {"info", log::Level::kInfo}, {"warning", log::Level::kWarning}, {"error", log::Level::kError}}, PICK(log.level)),
      ChoiceKey<std::function<log::Format&(Settings&)>, log::Format>("log.format", "text, json", {{"text", log::Format::kText}, {"json", log::Format::kJson}},
                                                                     PICK(log.format)),
  };
  return keys;
}
#undef PICK

Result<> Set(Settings& settings, const std::string& name, const List& values, bool list, const std::string& where) {
  const auto key = std::ranges::find(Keys(), name, &Key::name);
  if (key == Keys().end()) return Error(Reason::kConfig, where + "there is no setting " + Quoted(name)).Next("berth-webhook --print-config shows all of them");
  if (list != key->list || (!list && values.size() != 1) || !key->set(settings, values))
    return Error(Reason::kConfig, where + "not a value of " + std::string(key->name) + " (" + std::string(key->meaning) + ")");
  return {};
}

Result<std::string> Scalar(const json::Value& value, const std::string& where) {
  if (value.IsString()) return std::string(*value.AsString());
  if (value.IsNull() || value.IsObject() || value.IsArray()) return Error(Reason::kConfig, where + "a text, a number or a boolean is wanted");
  return value.Dump();
}

Result<> Read(Settings& settings, const yaml::Document& document, const json::Value& value, const std::string& name) {
  const std::string where = document.At(name.empty() ? "$" : name);
  if (value.IsObject()) {
    for (const auto& [key, member] : value.Members())
      RETURN_IF_ERROR(Read(settings, document, member, name.empty() ? std::string(key) : name + "." + std::string(key)));
    return {};
  }
  if (name.empty()) return Error(Reason::kConfig, where + "settings are a mapping");
  List values;
  if (value.IsArray()) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      ASSIGN_OR_RETURN(values.emplace_back(), Scalar(value.at(i), where));
    }
  } else {
    ASSIGN_OR_RETURN(values.emplace_back(), Scalar(value, where));
  }
  return Set(settings, name, values, value.IsArray(), where);
}

Result<> Override(Settings& settings, const std::string& text) {
  const auto equal = text.find('=');
  if (equal == std::string::npos) return Error(Reason::kUsage, "--set wants key=value");
  const std::string name = text.substr(0, equal), value = text.substr(equal + 1);
  const auto key = std::ranges::find(Keys(), name, &Key::name);
  const bool list = key != Keys().end() && key->list;
  List values;
  if (!list) values = {value};
  else
    for (std::size_t at = 0; at < value.size();) {
      const auto comma = std::min(value.find(',', at), value.size());
      values.push_back(value.substr(at, comma - at));
      at = comma + 1;
    }
  return Set(settings, name, values, list, "--set: ");
}

Result<> Check(const Settings& s) {
  RETURN_IF_ERROR(host::ParseTcpAddress(s.listen));
  for (const auto& address : s.ops_listen) RETURN_IF_ERROR(host::CheckListenAddress(address));
  if (!s.client_names.empty() && s.client_ca.empty()) return Error(Reason::kConfig, "tls.client_names needs tls.client_ca");
  if (!s.always_pull && !s.pin) return Error(Reason::kConfig, "there is nothing to do: always_pull and pin.enabled are both false");
  if (s.pin && (!s.pinning.registries || s.pinning.registries->empty()))
    return Error(Reason::kConfig, "pin.enabled needs pin.registries: the registries that may be asked").Next("name them; who writes a Pod must not choose whom we call");
  return {};
}

}  // namespace

Result<Settings> ParseSettings(std::string_view text, std::string_view name, const std::vector<std::string>& overrides) {
  Settings settings;
  settings.pinning.registries.emplace();  // none, not all (H-09)
  ASSIGN_OR_RETURN(const auto documents, yaml::Parse(text, name, Reason::kConfig));
  if (documents.size() > 1) return Error(Reason::kConfig, std::string(name) + ": one document is wanted");
  for (const auto& document : documents) RETURN_IF_ERROR(Read(settings, document, document.root(), ""));
  for (const auto& text_of : overrides) RETURN_IF_ERROR(Override(settings, text_of));
  RETURN_IF_ERROR(Check(settings));
  return settings;
}

Result<Settings> LoadSettings(const std::string& path, const std::vector<std::string>& overrides) {
  if (path.empty()) return ParseSettings("", "settings", overrides);
  ASSIGN_OR_RETURN(const std::string text, host::ReadSmallFile(path, 1u << 20));
  return ParseSettings(text, path, overrides);
}

std::string PrintSettings(const Settings& settings) {
  std::string out, group;
  for (const Key& key : Keys()) {
    const auto dot = key.name.find('.');
    const std::string of(dot == std::string_view::npos ? std::string_view() : key.name.substr(0, dot));
    if (of != group && !of.empty()) out += of + ":\n";
    group = of;
    json::Writer w;
    const List values = key.get(settings);
    if (key.list) {
      w.BeginArray();
      for (const auto& value : values) w.String(value);
      w.EndArray();
    } else {
      w.String(values[0]);
    }
    const std::string_view last = dot == std::string_view::npos ? key.name : key.name.substr(dot + 1);
    out += (of.empty() ? "" : "  ") + std::string(last) + ": " + std::move(w).Take() + "  # " + std::string(key.meaning) + "\n";
  }
  return out;
}

}  // namespace berth::webhook
