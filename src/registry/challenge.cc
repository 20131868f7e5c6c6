#include "registry/challenge.h"

#include <libpsl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "http/headers.h"

namespace berth::registry {
namespace {

// What is answered is a key of the token cache, and is remembered.
constexpr std::size_t kMaxRealmBytes = 8192, kMaxServiceBytes = 1024, kMaxScopes = 16, kMaxScopeBytes = 1024;

struct RawChallenge {
  std::string_view scheme;
  std::vector<std::pair<std::string_view, std::string>> params;
  const std::string* Find(std::string_view name) const {
    for (const auto& [key, value] : params)
      if (http::EqualNoCase(key, name)) return &value;
    return nullptr;
  }
};

bool IsTokenChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

// One pass over one header line, RFC 9110 11.6.1. Nothing is looked at twice except the word after a scheme.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::optional<std::vector<RawChallenge>> Run() {
    std::vector<RawChallenge> all;
    for (;;) {
      while (Peek() == ' ' || Peek() == '\t' || Peek() == ',') ++at_;
      if (at_ == text_.size()) return all;
      const std::string_view word = Token();
      if (word.empty()) return std::nullopt;
      const std::size_t after_word = at_;
      SkipSpace();
      if (Peek() == '=' && !all.empty()) {
        if (!Param(all.back(), word)) return std::nullopt;
        continue;
      }
      all.push_back({word, {}});
      if (at_ == after_word && at_ < text_.size() && Peek() != ',') return std::nullopt;  // "Basic;x", "Basic=x"
      if (at_ == text_.size() || Peek() == ',') continue;
      if (SkipToken68()) continue;
      const std::string_view name = Token();
      SkipSpace();
      if (name.empty() || Peek() != '=' || !Param(all.back(), name)) return std::nullopt;
    }
  }

 private:
  char Peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void SkipSpace() { while (Peek() == ' ' || Peek() == '\t') ++at_; }
  std::string_view Token() {
    const std::size_t start = at_;
    while (at_ < text_.size() && IsTokenChar(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  // "Negotiate YII…==": a word of its own up to a comma or the end.
  bool SkipToken68() {
    std::size_t end = at_;
    while (end < text_.size() && (IsTokenChar(text_[end]) || text_[end] == '/')) ++end;
    while (end < text_.size() && text_[end] == '=') ++end;
    std::size_t next = end;
    while (next < text_.size() && (text_[next] == ' ' || text_[next] == '\t')) ++next;
    if (end == at_ || (next < text_.size() && text_[next] != ',')) return false;
    at_ = next;
    return true;
  }
  bool Param(RawChallenge& into, std::string_view name) {
    ++at_;  // '='
    SkipSpace();
    std::string value;
    if (Peek() == '"') {
      for (++at_;; ++at_) {
        if (at_ >= text_.size()) return false;
        char c = text_[at_];
        if (c == '"') break;
        if (c == '\\' && ++at_ < text_.size()) c = text_[at_];
        if (c < 0x20 || c > 0x7e) return false;
        value += c;
      }
      ++at_;
    } else {
      value = Token();
      if (value.empty()) return false;
    }
    SkipSpace();
    // A parameter twice is an attempt to be read differently by two readers; the number is bounded to stay linear.
    if ((at_ < text_.size() && Peek() != ',') || into.Find(name) || into.params.size() >= 32) return false;
    into.params.emplace_back(name, std::move(value));
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// "repository:a/b:pull,push" -> "repository:a/b:pull"; "" when it grants no reading.
std::string OnlyPull(std::string_view scope) {
  if (!scope.starts_with("repository")) return std::string(scope);
  const std::size_t colon = scope.rfind(':');
  if (colon == std::string_view::npos || colon == scope.find(':')) return "";
  std::string_view actions = scope.substr(colon + 1);
  while (!actions.empty()) {
    const std::string_view action = actions.substr(0, actions.find(','));
    if (action == "pull" || action == "*") return std::string(scope.substr(0, colon)) + ":pull";
    actions.remove_prefix(std::min(actions.size(), action.size() + 1));
  }
  return "";
}

std::vector<std::string> Scopes(std::string_view text) {
  std::vector<std::string> scopes;
  while (!text.empty() && scopes.size() < kMaxScopes) {
    const std::string_view one = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    if (std::string scope = OnlyPull(one); !scope.empty() && scope.size() <= kMaxScopeBytes) scopes.push_back(std::move(scope));
  }
  std::sort(scopes.begin(), scopes.end());
  scopes.erase(std::unique(scopes.begin(), scopes.end()), scopes.end());
  return scopes;
}

// What of it is; "" for nothing.
std::string TooLong(const std::string& realm, const std::string* service) {
  if (realm.size() > kMaxRealmBytes) return "a realm of more than " + std::to_string(kMaxRealmBytes) + " bytes";
  if (service && service->size() > kMaxServiceBytes) return "a service of more than " + std::to_string(kMaxServiceBytes) + " bytes";
  return "";
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Registries whose token service is known to live elsewhere, in the form of the configuration.
constexpr std::array<std::string_view, 4> kKnownRealms{"lscr.io=ghcr.io", "rg.fr-par.scw.cloud=api.scaleway.com",
                                                       "rg.nl-ams.scw.cloud=api.scaleway.com", "rg.pl-waw.scw.cloud=api.scaleway.com"};

bool Listed(std::string_view entry, std::string_view registry, std::string_view realm) {
  const std::size_t equals = entry.find('=');
  if (equals != std::string_view::npos) {
    if (!http::EqualNoCase(Trim(entry.substr(0, equals)), registry)) return false;
    entry.remove_prefix(equals + 1);
  }
  return http::EqualNoCase(Trim(entry), realm);
}

bool SameRegistrableDomain(const std::string& a, const std::string& b) {
  for (const std::string* host : {&a, &b})
    if (!http::AddressBytes(*host).empty() || host->find('.') == std::string::npos) return false;
  const char* domain_a = psl_registrable_domain(psl_builtin(), a.c_str());
  const char* domain_b = psl_registrable_domain(psl_builtin(), b.c_str());
  return domain_a && domain_b && std::string_view(domain_a) == domain_b;
}

}  // namespace

Result<Challenge> ChooseChallenge(std::span<const std::string> lines) {
  std::optional<Challenge> bearer;
  bool basic = false, malformed = false, other = false;
  std::string too_long;
  for (const std::string& line : lines) {
    const auto challenges = Parser(line).Run();
    if (!challenges) { malformed = true; continue; }
    for (const RawChallenge& raw : *challenges) {
      const bool is_bearer = http::EqualNoCase(raw.scheme, "Bearer");
      if (!is_bearer && !http::EqualNoCase(raw.scheme, "Basic")) { other = true; continue; }
      const std::string* realm = raw.Find("realm");
      if (!realm || realm->empty()) { malformed = true; continue; }
      if (!is_bearer) { basic = true; continue; }
      const std::string* service = raw.Find("service");
      if (std::string what = TooLong(*realm, service); !what.empty()) { too_long = std::move(what); continue; }
      if (bearer && bearer->realm != *realm)
        return Error(Reason::kUntrustedRealm, "the registry names two different token services in one answer");
      if (bearer) continue;
      bearer = Challenge{.scheme = Scheme::kBearer, .realm = *realm};
      if (service) bearer->service = *service;
      if (const std::string* scope = raw.Find("scope")) bearer->scopes = Scopes(*scope);
    }
  }
  if (bearer) return *std::move(bearer);
  if (basic) return Challenge{};
  if (!too_long.empty())
    return Error(Reason::kUnauthorized, "the registry asks for authentication with " + too_long)
        .Next("ask the registry's operator: the Bearer challenge of its 401 answers is too long");
  return Error(Reason::kUnauthorized,
               malformed ? "the registry asks for authentication in a form that cannot be read"
               : other   ? "the registry asks for an authentication scheme other than Basic and Bearer"
                         : "the registry asks for authentication but does not say which")
      .Next("ask the registry's operator: its 401 answers need WWW-Authenticate with Basic or Bearer and a realm");
}

std::vector<std::string> ScopesFor(const Challenge& challenge, std::string_view repository_path) {
  std::vector<std::string> scopes = challenge.scopes;
  if (std::any_of(scopes.begin(), scopes.end(), [](const std::string& s) { return s.starts_with("repository"); })) return scopes;
  std::string own = "repository:" + std::string(repository_path) + ":pull";
  scopes.insert(std::lower_bound(scopes.begin(), scopes.end(), own), std::move(own));
  return scopes;
}

Result<Realm> CheckRealm(const http::Origin& registry, std::string_view realm, std::span<const std::string> trusted) {
  auto url = http::Url::Parse(realm);
  if (!url || realm.find('#') != std::string_view::npos)
    return Error(Reason::kUntrustedRealm, "the registry " + registry.ToString() +
                                              " names a token service that is not an absolute http or https URL");
  const std::string place = url->origin().ToString();
  if (registry.scheme == "https" && !url->https())
    return Error(Reason::kUntrustedRealm,
                 "the registry " + registry.ToString() + " wants credentials sent in plain text to " + place)
        .Next("ask the registry's operator for a token service with https");
  const std::string registry_name = http::Url{registry.scheme, registry.host, registry.port, "/", std::nullopt}.Authority();
  const auto listed = [&](std::string_view entry) { return Listed(entry, registry_name, url->Authority()); };
  if ((url->host == registry.host && url->port == registry.port) || std::any_of(trusted.begin(), trusted.end(), listed) ||
      std::any_of(kKnownRealms.begin(), kKnownRealms.end(), listed))
    return Realm{*std::move(url), true};
  if (SameRegistrableDomain(registry.host, url->host)) return Realm{*url, url->host == registry.host};
  return Error(Reason::kUntrustedRealm, "the registry " + registry.ToString() + " sends us for a token to " + place +
                                            ", which is not known to belong to it")
      .Next("if it does, add \"" + registry_name + "=" + url->Authority() + "\" to trustedRealms");
}

}  // namespace berth::registry
