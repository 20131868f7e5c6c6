#include "reference/reference.h"

#include <algorithm>

namespace berth::reference {
namespace {

constexpr std::string_view kDefaultDomain = "docker.io";
constexpr std::string_view kLegacyDomain = "index.docker.io";
constexpr std::string_view kOfficial = "library/";
constexpr std::string_view kDefaultTag = "latest";

// ASCII only, whatever the locale.
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsAlpha(char c) { return IsLower(c) || IsUpper(c); }
bool IsAlnum(char c) { return IsAlpha(c) || IsDigit(c); }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

template <class Predicate>
bool All(std::string_view s, Predicate is) {
  return std::all_of(s.begin(), s.end(), is);
}
bool HasUpper(std::string_view s) { return std::any_of(s.begin(), s.end(), IsUpper); }

// Every piece between separators, empty ones too, satisfies `is`.
template <class Predicate>
bool EachPiece(std::string_view s, char separator, Predicate is) {
  for (;;) {
    const std::size_t end = s.find(separator);
    if (!is(s.substr(0, end))) return false;
    if (end == std::string_view::npos) return true;
    s.remove_prefix(end + 1);
  }
}

bool IsDomainComponent(std::string_view s) {
  return !s.empty() && s.front() != '-' && s.back() != '-' && All(s, [](char c) { return IsAlnum(c) || c == '-'; });
}

bool IsDomain(std::string_view s) {
  const std::size_t bracket = s.find(']');
  const std::size_t colon = s.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const std::string_view host = s.substr(0, colon);
  if (colon != std::string_view::npos && (colon + 1 == s.size() || !All(s.substr(colon + 1), IsDigit))) return false;
  if (!host.starts_with('[')) return EachPiece(host, '.', IsDomainComponent);
  return host.size() > 2 && host.ends_with(']') &&
         All(host.substr(1, host.size() - 2), [](char c) { return IsHex(c) || c == ':'; });
}

// [a-z0-9]+ groups joined by one of ".", "_", "__", "-"+.
bool IsPathComponent(std::string_view s) {
  std::size_t i = 0;
  for (;;) {
    const std::size_t group = i;
    while (i < s.size() && (IsLower(s[i]) || IsDigit(s[i]))) ++i;
    if (i == group) return false;
    if (i == s.size()) return true;
    const char separator = s[i];
    const std::size_t most = separator == '.' ? 1 : separator == '_' ? 2 : separator == '-' ? s.size() : 0;
    const std::size_t from = i;
    while (i < s.size() && s[i] == separator && i - from < most) ++i;
  }
}

// The first stage only: digest::Digest::Parse is the second.
bool LooksLikeDigest(std::string_view s) {
  const std::size_t colon = s.find(':');
  if (colon == std::string_view::npos) return false;
  const std::string_view hex = s.substr(colon + 1);
  if (hex.size() < 32 || !All(hex, IsHex)) return false;
  bool first = true;  // of its group
  for (const char c : s.substr(0, colon)) {
    const bool separator = c == '-' || c == '_' || c == '+' || c == '.';
    if (first ? !IsAlpha(c) : !IsAlnum(c) && !separator) return false;
    first = separator;
  }
  return !first;
}

bool IsIdentifier(std::string_view s) {
  return s.size() == 64 && All(s, [](char c) { return IsHex(c) && !IsUpper(c); });
}

// Text cut where only a tag and a digest can begin; nothing is checked.
struct Cut {
  std::string_view name;
  std::optional<std::string_view> tag, digest;
};

Cut CutParts(std::string_view text) {
  Cut out{text, {}, {}};
  if (const std::size_t at = text.find('@'); at != std::string_view::npos) {
    out.digest = text.substr(at + 1);
    out.name = text.substr(0, at);
  }
  const std::size_t colon = out.name.rfind(':'), slash = out.name.rfind('/');
  if (colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash)) {
    out.tag = out.name.substr(colon + 1);
    out.name = out.name.substr(0, colon);
  }
  return out;
}

struct Parts : Cut {
  std::string_view domain, path;
};

// The grammar of kubelet-images 1.1. A first component that can be a domain is one.
std::optional<Parts> Match(std::string_view text) {
  Parts out{CutParts(text), {}, {}};
  out.path = out.name;
  const std::size_t slash = out.name.find('/');
  if (slash != std::string_view::npos && IsDomain(out.name.substr(0, slash))) {
    out.domain = out.name.substr(0, slash);
    out.path = out.name.substr(slash + 1);
  }
  if (!EachPiece(out.path, '/', IsPathComponent) || (out.tag && !IsTag(*out.tag)) ||
      (out.digest && !LooksLikeDigest(*out.digest))) {
    return std::nullopt;
  }
  return out;
}

struct Split {
  std::string_view domain;
  std::string remainder;
  bool operator==(const Split&) const = default;
};

// kubelet-images 1.3, steps 2 and 3.
Split SplitDomain(std::string_view text) {
  Split out{kDefaultDomain, std::string(text)};
  if (const std::size_t slash = text.find('/'); slash != std::string_view::npos) {
    const std::string_view first = text.substr(0, slash);
    const bool legacy = first == kLegacyDomain;
    if (legacy || first == "localhost" || first.find_first_of(".:") != std::string_view::npos || HasUpper(first)) {
      if (!legacy) out.domain = first;
      out.remainder.erase(0, slash + 1);
    }
  }
  if (out.domain == kDefaultDomain && out.remainder.find('/') == std::string::npos) out.remainder.insert(0, kOfficial);
  return out;
}

Error Bad(std::string message) { return Error(Reason::kInvalidReference, std::move(message)); }

Result<> CheckLength(std::string_view text) {
  if (text.size() <= kMaxText) return {};
  return Bad("invalid reference format: longer than " + std::to_string(kMaxText) + " bytes");
}

// `text` from outside within a sentence: escaped, without quotes of its own.
std::string Shown(std::string_view text) {
  const std::string quoted = Quoted(text);
  return quoted.substr(1, quoted.size() - 2);
}

// What the grammar sees of `text`: the text itself or, normalised, its full form.
Result<std::string> FullForm(std::string_view text) {
  RETURN_IF_ERROR(CheckLength(text));
  if (IsIdentifier(text)) {
    return Bad("invalid repository name (" + std::string(text) + "), cannot specify 64-byte hexadecimal strings");
  }
  const Split split = SplitDomain(text);
  const std::string_view remote = std::string_view(split.remainder).substr(0, split.remainder.find(':'));
  if (HasUpper(remote)) return Bad("invalid reference format: repository name (" + Shown(remote) + ") must be lowercase");
  return std::string(split.domain) + '/' + split.remainder;
}

}  // namespace

bool IsHub(std::string_view host) { return host == kDefaultDomain || host == kLegacyDomain || host == "registry-1.docker.io"; }

bool IsTag(std::string_view text) {
  return !text.empty() && text.size() <= kMaxTag && (IsAlnum(text[0]) || text[0] == '_') &&
         All(text, [](char c) { return IsAlnum(c) || c == '_' || c == '.' || c == '-'; });
}

Result<Reference> Reference::ParseRaw(std::string_view text) {
  if (text.empty()) return Bad("repository name must have at least one component");
  RETURN_IF_ERROR(CheckLength(text));
  const std::optional<Parts> parts = Match(text);
  if (!parts) {
    std::string lower(text);
    for (char& c : lower) c = IsUpper(c) ? static_cast<char>(c - 'A' + 'a') : c;
    return Bad(lower != text && Match(lower) ? "repository name must be lowercase" : "invalid reference format");
  }
  if (parts->path.size() > kMaxPath) {
    return Bad("repository name must not be more than " + std::to_string(kMaxPath) + " characters");
  }
  Reference out;
  out.domain_ = parts->domain;
  out.path_ = parts->path;
  out.spelling_ = text;
  if (parts->tag) out.tag_ = std::string(*parts->tag);
  if (parts->digest) {
    const Result<digest::Digest> digest = digest::Digest::Parse(*parts->digest);
    if (!digest) return Bad(digest.error().message());
    out.digest_ = *digest;
  }
  return out;
}

Result<Reference> Reference::Parse(std::string_view text) {
  const auto place = [&] { return "couldn't parse image name " + Quoted(text); };
  Result<std::string> full = FullForm(text);
  if (!full) return std::move(full).error().Context(place());
  Result<Reference> out = ParseRaw(*full);
  if (!out) return std::move(out).error().Context(place());
  out->spelling_ = text;
  if (!out->tag_ && !out->digest_) out->tag_ = std::string(kDefaultTag);
  return out;
}

std::string Reference::Suffix(bool with_tag) const {
  std::string out;
  if (tag_ && with_tag) out += ':' + *tag_;
  if (digest_) out += '@' + digest_->ToString();
  return out;
}

std::string Reference::Repository() const { return domain_.empty() ? path_ : domain_ + '/' + path_; }
std::string Reference::ToString() const { return Repository() + Suffix(); }

std::string Reference::Canonical() const {
  if (digest_) return Repository() + Suffix(/*with_tag=*/false);
  return Repository() + ':' + tag_.value_or(std::string(kDefaultTag));
}

std::string Reference::Familiar() const {
  const bool bare = !digest_ && tag_ == kDefaultTag;
  const std::string suffix = Suffix(/*with_tag=*/!bare);
  std::string name = Repository();
  if (domain_ == kDefaultDomain) {
    std::string_view shorter = path_;
    if (shorter.starts_with(kOfficial) && shorter.find('/', kOfficial.size()) == std::string_view::npos) {
      shorter.remove_prefix(kOfficial.size());
    }
    if (SplitDomain(shorter) == Split{kDefaultDomain, path_}) name = shorter;
  }
  name += suffix;
  return IsIdentifier(name) ? name + Suffix() : name;
}

std::string Reference::CriSpelling() const {
  if (digest_ || !tag_ || spelling_.ends_with(':' + *tag_)) return spelling_;
  return spelling_ + ':' + *tag_;
}

Reference Reference::WithTag(std::string tag) const {
  BERTH_CHECK(IsTag(tag));
  Reference out = *this;
  out.tag_ = std::move(tag);
  out.spelling_ = std::string(CutParts(spelling_).name) + out.Suffix();
  return out;
}

Reference Reference::WithDigest(const digest::Digest& digest) const {
  Reference out = *this;
  out.digest_ = digest;
  out.spelling_ = std::string(CutParts(spelling_).name) + out.Suffix();
  return out;
}

Result<std::string> TrimTagAndDigest(std::string_view text) {
  ASSIGN_OR_RETURN(const Reference reference, Reference::ParseRaw(text));
  return reference.Repository();
}

std::optional<digest::Digest> ParseImageId(std::string_view text) {
  const std::string_view digits = IdDigits(text);
  for (const auto algorithm : digest::kAlgorithms) {
    if (digits.size() != 2 * digest::ByteLength(algorithm)) continue;
    const std::string whole = std::string(digest::Name(algorithm)) + ':' + std::string(digits);
    if (text != digits && text != whole) continue;
    if (const auto id = digest::Digest::Parse(whole)) return *id;
  }
  return std::nullopt;
}

bool IsImageId(std::string_view text) { return ParseImageId(text).has_value(); }

std::string_view IdDigits(std::string_view text) {
  for (const auto algorithm : digest::kAlgorithms) {
    const std::string_view name = digest::Name(algorithm);
    if (!text.starts_with(name) || !text.substr(name.size()).starts_with(':')) continue;
    text.remove_prefix(name.size() + 1);
    break;
  }
  return All(text, [](char c) { return IsHex(c) && !IsUpper(c); }) ? text : std::string_view();
}

}  // namespace berth::reference
