#include "verify/rules.h"

#include <algorithm>
#include <array>
#include <set>

#include "bytes/text.h"
#include "credentials/match.h"
#include "http/url.h"
#include "kube/timestamp.h"
#include "time/go_duration.h"

namespace berth::verify {

using json::Value;

std::string_view Name(Action action) {
  switch (action) {
    case Action::kAllow: return "Allow";
    case Action::kWarn: return "Warn";
    case Action::kDeny: return "Deny";
    case Action::kRequireSignature: return "RequireSignature";
  }
  return "Deny";
}

namespace {

constexpr std::string_view kCapitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

// Where the ":port" of a host begins that ends in one, else its size.
std::size_t PortOf(std::string_view host) {
  const std::size_t digits = host.find_last_not_of("0123456789");
  return digits != host.npos && host[digits] == ':' && digits + 1 < host.size() ? digits : host.size();
}

// ":0443" is ":443".
std::string WithoutZeros(std::string_view host) {
  std::string out(host);
  std::size_t digit = PortOf(out) + 1;
  while (digit + 1 < out.size() && out[digit] == '0') out.erase(digit, 1);
  return out;
}

// Of all names of one registry the same: what an https URL makes of them, so that rules see what is asked. docker.io has three.
std::string Registry(std::string_view domain) {
  const std::string text = WithoutZeros(domain);
  const auto url = http::Url::Parse("https://" + text);
  std::string registry = url ? url->Authority() : bytes::Lower(text);
  if (registry.ends_with(":443")) registry.resize(registry.size() - 4);
  return reference::IsHub(registry) ? "docker.io" : registry;
}

// Of a Registry(). A pattern that has the port matches, and one that leaves it out: globs cannot be rewritten.
std::vector<std::string> Spellings(const std::string& registry) {
  std::vector<std::string> all{registry};
  if (registry == "docker.io") all.insert(all.end(), {"index.docker.io", "registry-1.docker.io"});
  if (PortOf(registry) == registry.size())
    for (std::size_t i = all.size(); i-- > 0;) all.push_back(all[i] + ":443");
  return all;
}

// An IPv6 address in brackets is itself, never a class of characters.
std::string HostPattern(std::string_view pattern) {
  std::string out = WithoutZeros(bytes::Lower(pattern));
  const std::size_t open = out.starts_with('\\') ? 1 : 0, close = out.find(']');
  if (!out.substr(open).starts_with('[') || close == out.npos) return out;
  std::string address = out.substr(open + 1, close - open - 1);
  if (address.ends_with('\\')) address.pop_back();
  const auto url = http::Url::Parse("https://[" + address + "]");
  return url ? "\\[" + url->host + "\\]" + out.substr(close + 1) : out;
}

bool MatchesRegistry(std::string_view pattern, std::string_view registry) {
  const std::string host = HostPattern(pattern);
  return std::ranges::any_of(Spellings(std::string(registry)), [&](const auto& spelling) { return credentials::Glob(host, spelling); });
}

}  // namespace

std::string CanonicalRepository(std::string_view repository) {
  const std::size_t slash = std::min(repository.find('/'), repository.size());
  const std::string_view path = repository.substr(slash);
  std::string registry = Registry(repository.substr(0, slash));
  const bool official = registry == "docker.io" && path.size() > 1 && path.find('/', 1) == path.npos;
  return registry + (official ? "/library" : "") + std::string(path);
}

bool MatchesRepository(std::string_view pattern, std::string_view repository) {
  if (pattern == "*") return true;
  const std::string canonical = CanonicalRepository(repository);
  repository = canonical;
  // Part by part; a pattern that ends earlier stands for all below.
  for (bool host = true;; host = false) {
    const std::size_t mine = std::min(pattern.find('/'), pattern.size()), its = std::min(repository.find('/'), repository.size());
    if (!(host ? MatchesRegistry : credentials::Glob)(pattern.substr(0, mine), repository.substr(0, its))) return false;
    if (mine == pattern.size()) return true;
    if (its == repository.size()) return false;
    pattern.remove_prefix(mine + 1);
    repository.remove_prefix(its + 1);
  }
}

bool Rule::Matches(const reference::Reference& image) const {
  const std::string repository = image.Repository();
  return std::ranges::any_of(match, [&](const std::string& pattern) { return MatchesRepository(pattern, repository); });
}

const Rule& Rules::Find(const reference::Reference& name) const {
  const auto found = std::ranges::find_if(rules_, [&](const Rule& rule) { return rule.Matches(name); });
  return found == rules_.end() ? default_ : *found;
}

std::string Rules::Summary() const {
  if (!enabled_) return "off: there is no `verification` section, every image is let through unverified";
  std::set<std::string> keys;
  for (const auto& rule : rules_)
    for (const auto& key : rule.keys) keys.insert(key.key.id());
  return std::to_string(rules_.size()) + (rules_.size() == 1 ? " rule, " : " rules, ") + std::to_string(keys.size()) +
         (keys.size() == 1 ? " key, default " : " keys, default ") + std::string(Name(default_.action));
}

// Reads one section. Every message has its line.
struct Reader {
  const yaml::Document& document;
  const Rules::ReadFile& read;
  Rules out = {};

  Error Bad(const Value& at, const std::string& what) const { return Error(Reason::kConfig, document.At(at.path()) + what); }
  void Note(const Value& at, const std::string& what) { out.notes_.push_back(document.At(at.path()) + what); }

  // `value` is a map with nothing but `known` in it.
  Result<> Fields(const Value& value, std::string_view what, std::initializer_list<std::string_view> known) const {
    if (!value.IsObject()) return Bad(value, std::string(what) + " must be a map");
    for (const auto& [name, member] : value.Members()) {
      if (std::ranges::find(known, name) != known.end()) continue;
      std::string all;
      for (const auto one : known) all += (all.empty() ? "" : ", ") + std::string(one);
      return Bad(member, std::string(what) + " has no field " + Quoted(name) + "; there are: " + all);
    }
    return {};
  }
  Result<std::string> Text(const Value& value, std::string_view what) const {
    const auto text = value.AsString();
    if (!text || text->empty()) return Bad(value, std::string(what) + " must be a text that is not empty");
    return std::string(*text);
  }
  Result<std::string> Text(const Value& map, std::string_view key, std::string_view otherwise) const {
    const auto value = map.Find(key);
    return value ? Text(*value, key) : Result<std::string>(std::string(otherwise));
  }
  Result<bool> Switch(const Value& map, std::string_view key) const {
    const auto value = map.Find(key);
    if (!value) return false;
    const auto yes = value->AsBool();
    return yes ? Result<bool>(*yes) : Bad(*value, std::string(key) + " must be true or false");
  }
  Result<std::size_t> Number(const Value& map, std::string_view key, std::size_t otherwise, std::size_t most) const {
    const auto value = map.Find(key);
    if (!value) return otherwise;
    const auto number = value->AsInt64();
    if (!number || *number < 1 || *number > static_cast<std::int64_t>(most))
      return Bad(*value, std::string(key) + " must be a whole number from 1 to " + std::to_string(most));
    return static_cast<std::size_t>(*number);
  }
  Result<std::optional<time::WallTime>> Time(const Value& map, std::string_view key) const {
    const auto value = map.Find(key);
    if (!value) return std::optional<time::WallTime>();
    const auto text = value->AsString();
    const auto at = text ? kube::ParseTime(*text) : std::nullopt;
    if (!at) return Bad(*value, std::string(key) + " must be a time such as 2027-01-01T00:00:00Z");
    return at;
  }
  template <class T>
  Result<T> Choice(const Value& map, std::string_view key, std::optional<T> otherwise,
                   std::initializer_list<std::pair<std::string_view, T>> words) const {
    const auto value = map.Find(key);
    if (!value && otherwise) return *otherwise;
    std::string all;
    for (const auto& [word, meaning] : words) {
      if (value && value->IsString() && *value->AsString() == word) return meaning;
      all += (all.empty() ? "" : ", ") + std::string(word);
    }
    return Bad(value ? *value : map, (value ? std::string(key) + " must be one of " : "a rule needs " + std::string(key) + ": one of ") + all);
  }
  // Of texts; one text is a list of one.
  Result<std::vector<Value>> Items(const Value& map, std::string_view key, std::size_t most) const {
    std::vector<Value> items;
    const auto value = map.Find(key);
    if (!value) return items;
    if (!value->IsArray()) return Bad(*value, std::string(key) + " must be a list");
    if (value->size() > most) return Bad(*value, std::string(key) + " has more than " + std::to_string(most) + " items");
    for (std::size_t i = 0; i < value->size(); ++i) items.push_back(value->at(i));
    return items;
  }

  Result<std::vector<std::string>> Patterns(const Value& map, std::string_view key) {
    std::vector<std::string> patterns;
    ASSIGN_OR_RETURN(const auto items, Items(map, key, Rules::kPatterns));
    for (const Value& item : items) {
      ASSIGN_OR_RETURN(std::string pattern, Text(item, "a pattern"));
      RETURN_IF_ERROR(CheckPattern(item, pattern));
      patterns.push_back(std::move(pattern));
    }
    return patterns;
  }

  // What can match no name that we ever see would be a rule that silently is not there.
  Result<> CheckPattern(const Value& at, const std::string& pattern) {
    if (pattern == "*") return {};
    const auto wrong = [&](const std::string& why) { return Bad(at, "the pattern " + Quoted(pattern) + " " + why); };
    if (pattern.find("://") != pattern.npos) return wrong("must not have a scheme: write HOST or HOST/PATH");
    if (pattern.find('@') != pattern.npos) return wrong("must not have a digest: `digests` pins them");
    if (pattern.find_first_of(" \t\r\n") != pattern.npos) return wrong("has white space in it");
    const std::size_t slash = std::min(pattern.find('/'), pattern.size());
    const std::string host = pattern.substr(0, slash), path = pattern.substr(slash);
    if (host.empty() || path.find("//") != path.npos || path.ends_with('/')) return wrong("has an empty part between its slashes");
    if (path.find(':') != path.npos) return wrong("must not have a tag: rules are for repositories");
    if (const std::string name = bytes::Lower(host); name.find_first_of(".:*?[") == name.npos && name != "localhost")
      return wrong("never matches: it must begin with a registry (docker.io/library/" + name + "?); one without a dot is written with its port (" +
                   name + ":443)");
    if (host.substr(0, PortOf(host)).ends_with('.')) return wrong("never matches: no host in the name of an image ends with a dot");
    if (Registry(host) == "docker.io" && !path.empty() && path.find('/', 1) == path.npos && path.find_first_of("*?[") == path.npos && path != "/library")
      Note(at, Quoted(pattern) + " stands for the repositories of that user; official images are docker.io/library/NAME");
    if (const std::size_t upper = pattern.find_first_of(kCapitals, slash); upper != pattern.npos)
      return wrong("never matches: paths of repositories are lower case");
    for (std::size_t open = pattern.find('['); open != pattern.npos; open = pattern.find('[', open + 1))
      if (pattern.find(']', open + 2) == pattern.npos) return wrong("has a [ without its ]");
    // Made lower case, [^A-Z] would be another class.
    const bool address = host.starts_with('[') && HostPattern(host).starts_with('\\');
    for (std::size_t open = host.find('[', address ? 1 : 0); open != host.npos; open = host.find('[', open + 1))
      if ((open == 0 || host[open - 1] != '\\') && host.substr(open, host.find(']', open + 2) - open).find_first_of(kCapitals) != host.npos)
        return wrong("has capitals between [ and ]: hosts are compared in lower case");
    if (host.starts_with('*') && host != "*" && host[1] != '.')
      Note(at, Quoted(pattern) + " also matches hosts of other owners, such as evil" + host.substr(1));
    return {};
  }

  Result<Key> ReadKey(const Value& item, std::size_t number) {
    RETURN_IF_ERROR(Fields(item, "a key", {"name", "file", "pem", "notBefore", "notAfter"}));
    ASSIGN_OR_RETURN(const std::string file, Text(item, "file", ""));
    ASSIGN_OR_RETURN(std::string pem, Text(item, "pem", ""));
    if (file.empty() == pem.empty()) return Bad(item, "a key needs either file or pem");
    if (!file.empty()) {
      if (!file.starts_with('/')) return Bad(item, "file must be an absolute path, not " + Quoted(file));
      auto text = read(file);
      if (!text) return Bad(item, "the key file " + Quoted(file) + " cannot be read: " + text.error().message());
      pem = *std::move(text);
    }
    ASSIGN_OR_RETURN(std::string name, Text(item, "name", file.empty() ? "keys[" + std::to_string(number) + "]" : file.substr(file.rfind('/') + 1)));
    auto key = digest::PublicKey::Parse(pem);
    if (!key) return Bad(item, key.error().message() + " (" + (file.empty() ? "pem of " + Quoted(name) : "file " + Quoted(file)) + ")");
    ASSIGN_OR_RETURN(const auto not_before, Time(item, "notBefore"));
    ASSIGN_OR_RETURN(const auto not_after, Time(item, "notAfter"));
    if (not_before && not_after && *not_before >= *not_after) return Bad(item, "the key is never valid: notBefore is not before notAfter");
    return Key{std::move(name), *std::move(key), not_before, not_after};
  }

  Result<> CheckRule(const Value& at, const Rule& rule, bool programs_given) {
    const bool checks = !rule.keys.empty() || rule.programs;
    if (rule.match.empty()) return Bad(at, "a rule needs match: a list of patterns");
    if (rule.action == Action::kRequireSignature && !checks) return Bad(at, "RequireSignature needs keys, or programs: true");
    if ((rule.action == Action::kAllow || rule.action == Action::kDeny) && checks)
      return Bad(at, std::string(Name(rule.action)) + " looks at no signature: take keys and programs out, or say RequireSignature or Warn");
    if (rule.action == Action::kDeny && !rule.digests.empty()) return Bad(at, "Deny lets nothing through: digests belong to another action");
    if (rule.keys.empty() && (rule.threshold > 1 || !rule.signed_as.empty() || rule.signed_after || rule.identity != Identity::kRepository))
      return Bad(at, "threshold, identity, signedAs and signedAfter need keys");
    if (rule.identity == Identity::kAny && !rule.signed_as.empty()) return Bad(at, "signedAs means nothing with identity: Any");
    std::set<std::string> distinct, names;
    for (const Key& key : rule.keys) {
      if (!distinct.insert(key.key.id()).second) return Bad(at, "the key " + Quoted(key.name) + " is listed twice");
      if (!names.insert(key.name).second) return Bad(at, "two keys have the name " + Quoted(key.name));
    }
    if (!rule.keys.empty() && rule.threshold > rule.keys.size())
      return Bad(at, "threshold is " + std::to_string(rule.threshold) + ", and there are " + std::to_string(rule.keys.size()) + " keys");
    if (rule.programs && !programs_given) return Bad(at, "programs: true needs verification.programs.dir");
    if (rule.action == Action::kWarn && !checks) Note(at, "rule " + Quoted(rule.name) + " warns about every image: it has nothing to check");
    if (rule.action == Action::kAllow && rule.digests.empty() && std::ranges::find(rule.match, "*") != rule.match.end())
      Note(at, "rule " + Quoted(rule.name) + " lets everything through unverified");
    if (rule.warn_when_unreachable && rule.action == Action::kRequireSignature)
      Note(at, "rule " + Quoted(rule.name) + " lets unsigned images through for whoever can keep the registry from answering");
    if (rule.identity == Identity::kAny)
      Note(at, "rule " + Quoted(rule.name) + " takes a signature for any repository: whatever its keys ever signed may be served under these names");
    return {};
  }

  Result<Rule> ReadRule(const Value& item, std::size_t number, bool programs_given) {
    RETURN_IF_ERROR(Fields(item, "a rule", {"name", "match", "action", "keys", "threshold", "programs", "identity", "signedAs", "digests",
                                            "signedAfter", "whenUnreachable"}));
    Rule rule;
    ASSIGN_OR_RETURN(rule.name, Text(item, "name", "rules[" + std::to_string(number) + "]"));
    if (rule.name.size() > 128) return Bad(item, "the name of a rule has at most 128 bytes");
    ASSIGN_OR_RETURN(rule.match, Patterns(item, "match"));
    ASSIGN_OR_RETURN(rule.action, Choice<Action>(item, "action", std::nullopt,
                                                 {{"Allow", Action::kAllow}, {"Warn", Action::kWarn}, {"Deny", Action::kDeny},
                                                  {"RequireSignature", Action::kRequireSignature}}));
    ASSIGN_OR_RETURN(const auto keys, Items(item, "keys", Rules::kKeys));
    for (std::size_t i = 0; i < keys.size(); ++i) {
      ASSIGN_OR_RETURN(Key key, ReadKey(keys[i], i));
      rule.keys.push_back(std::move(key));
    }
    ASSIGN_OR_RETURN(rule.threshold, Number(item, "threshold", 1, Rules::kKeys));
    ASSIGN_OR_RETURN(rule.programs, Switch(item, "programs"));
    ASSIGN_OR_RETURN(rule.identity, Choice<Identity>(item, "identity", Identity::kRepository,
                                                     {{"Repository", Identity::kRepository}, {"Exact", Identity::kExact}, {"Any", Identity::kAny}}));
    ASSIGN_OR_RETURN(rule.signed_as, Patterns(item, "signedAs"));
    ASSIGN_OR_RETURN(const auto digests, Items(item, "digests", 10'000));
    for (const Value& value : digests) {
      ASSIGN_OR_RETURN(const std::string text, Text(value, "a digest"));
      auto digest = digest::Digest::Parse(text);
      if (!digest) return Bad(value, Quoted(text) + ": " + digest.error().message());
      rule.digests.push_back(*digest);
    }
    if (item.Find("digests") && rule.digests.empty()) return Bad(item, "digests is empty: leave it out, or say Deny");
    ASSIGN_OR_RETURN(rule.signed_after, Time(item, "signedAfter"));
    ASSIGN_OR_RETURN(rule.warn_when_unreachable, Choice<bool>(item, "whenUnreachable", false, {{"Deny", false}, {"Warn", true}}));
    RETURN_IF_ERROR(CheckRule(item, rule, programs_given));
    return rule;
  }

  Result<Rules> Section(const Value& section) {
    RETURN_IF_ERROR(Fields(section, "verification", {"default", "programs", "rules"}));
    out.enabled_ = true;
    out.text_ = section.Dump();
    out.default_.name = "default";
    ASSIGN_OR_RETURN(out.default_.action, Choice<Action>(section, "default", Action::kDeny,
                                                         {{"Deny", Action::kDeny}, {"Warn", Action::kWarn}, {"Allow", Action::kAllow}}));
    if (const auto programs = section.Find("programs")) {
      RETURN_IF_ERROR(Fields(*programs, "programs", {"dir", "timeout", "max"}));
      ASSIGN_OR_RETURN(out.programs_.dir, Text(*programs, "dir", ""));
      if (!out.programs_.dir.starts_with('/')) return Bad(*programs, "programs needs dir: an absolute path");
      if (const auto timeout = programs->Find("timeout")) {
        const auto d = timeout->IsString() ? time::ParseGoDuration(*timeout->AsString()) : std::nullopt;
        if (!d || *d < std::chrono::milliseconds(1) || *d > std::chrono::minutes(5)) return Bad(*timeout, "timeout must be a duration from 1ms to 5m, such as 10s");
        out.programs_.timeout = *d;
      }
      ASSIGN_OR_RETURN(out.programs_.max, Number(*programs, "max", 10, 100));
    }
    ASSIGN_OR_RETURN(const auto rules, Items(section, "rules", Rules::kRules));
    std::set<std::string> names;
    bool reached = true;
    for (std::size_t i = 0; i < rules.size(); ++i) {
      ASSIGN_OR_RETURN(Rule rule, ReadRule(rules[i], i, !out.programs_.dir.empty()));
      if (!names.insert(rule.name).second) return Bad(rules[i], "two rules have the name " + Quoted(rule.name));
      if (!reached) Note(rules[i], "rule " + Quoted(rule.name) + " is never reached: one above it matches everything");
      if (std::ranges::find(rule.match, "*") != rule.match.end()) reached = false;
      out.rules_.push_back(std::move(rule));
    }
    if (rules.empty() && out.default_.action == Action::kDeny) Note(section, "there are no rules and the default is Deny: no image can be pulled");
    if (out.default_.action == Action::kAllow) Note(section, "images that no rule is for are let through unverified (default: Allow)");
    if (!out.programs_.dir.empty() && std::ranges::none_of(out.rules_, &Rule::programs)) Note(section, "no rule has programs: true, so none is ever run");
    for (Rule& rule : out.rules_) rule.hash = Hash(rule);
    out.default_.hash = Hash(out.default_);
    return std::move(out);
  }

  std::string Hash(const Rule& rule) const {
    digest::Hasher hasher;
    const auto add = [&](std::string_view text) {
      hasher.Update(bytes::AsView(std::to_string(text.size()) + ":"));
      hasher.Update(bytes::AsView(text));
    };
    const auto at = [&](const std::optional<time::WallTime>& t) { add(t ? std::to_string(t->time_since_epoch().count()) : "-"); };
    add("2");  // of this form and meaning: 2 compares registries, not their spellings
    add(rule.name);
    add(Name(rule.action));
    for (const auto& key : rule.keys) {
      add(key.name);
      add(key.key.id());
      at(key.not_before);
      at(key.not_after);
    }
    add(rule.warn_when_unreachable ? "w" : "-");
    add("/" + std::to_string(rule.threshold) + (rule.programs ? "p" + out.programs_.dir : "-") +
        std::to_string(static_cast<int>(rule.identity)));
    for (const auto& pattern : rule.signed_as) add(pattern);
    add("/");
    for (const auto& digest : rule.digests) add(digest.ToString());
    at(rule.signed_after);
    return hasher.Finish().Hex().substr(0, 32);
  }
};

Result<Rules> Rules::Parse(const yaml::Document& document, const Value& section, const ReadFile& read) {
  return Reader{document, read}.Section(section);
}

}  // namespace berth::verify
