#include "explain/words.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>

namespace berth::explain {

using credentials::MatchReport;

std::string Shell(std::string_view word) {
  std::string clean;
  for (const char c : word)
    if (static_cast<unsigned char>(c) >= ' ' && c != 0x7f) clean += c;
  const auto plain = [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("@%+=:,./-_").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!clean.empty() && std::ranges::all_of(clean, plain)) return clean;
  std::string out = "'";
  for (const char c : clean) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string Join(std::span<const std::string> words, std::string_view separator) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : std::string(separator)) + word;
  return out;
}

namespace {
std::string Tenths(double value, std::string_view unit) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), value < 10 ? "%.1f" : "%.0f", value);
  return std::string(text.data()) + std::string(unit);
}
}  // namespace

std::string Short(time::Duration d) {
  const double seconds = std::chrono::duration<double>(d).count();
  if (seconds < 1) return Tenths(seconds * 1000, "ms");
  if (seconds < 60) return Tenths(seconds, "s");
  const auto whole = static_cast<std::int64_t>(seconds);
  if (whole < 3600) return std::to_string(whole / 60) + "m" + (whole % 60 ? std::to_string(whole % 60) + "s" : "");
  if (whole < 2 * 86400) return std::to_string(whole / 3600) + "h" + (whole % 3600 / 60 ? std::to_string(whole % 3600 / 60) + "m" : "");
  return std::to_string(whole / 86400) + " days";
}

std::string Clock(time::WallTime t) {
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count();
  std::tm local{};
  std::array<char, 16> text{};
  localtime_r(&seconds, &local);
  std::strftime(text.data(), text.size(), "%H:%M:%S", &local);
  return text.data();
}

std::string Innermost(const Error& error) {
  std::string text = error.message();
  // "tried 5 times: manifest v1 of reg.test/app: GET https://reg.test/v2/app: the name does not resolve; also tried …"
  for (const std::string_view method : {"GET http", "HEAD http", "POST http"})
    if (const auto at = text.find(method); at != text.npos)
      if (const auto end = text.find(": ", at); end != text.npos) text.erase(0, end + 2);
  return text;
}

std::string HostOf(std::string_view authority) {
  if (authority.starts_with('[')) return std::string(authority.substr(1, authority.find(']') - 1));
  return std::string(authority.substr(0, authority.find(':')));
}

std::string ArchOf(std::string_view platform) {
  const auto slash = platform.find('/');
  if (slash == platform.npos) return "ARCH";
  platform.remove_prefix(slash + 1);
  return std::string(platform.substr(0, platform.find('/')));
}

PlatformWords PlatformsOf(const Facts& facts) {
  PlatformWords out{facts.platform, facts.resolved ? facts.resolved->platforms : std::vector<std::string>()};
  if (!out.offered.empty() || !facts.failure) return out;
  const std::string all = facts.failure->Text();
  // oci/config.cc and pull/puller.cc: "has no manifest for B; there are: A, A and 2 more", "is for A, not B".
  const auto cut = [](std::string_view& rest, std::string_view before) {
    const auto at = rest.find(before);
    const std::string_view part = rest.substr(0, at);
    rest.remove_prefix(at == rest.npos ? rest.size() : at + before.size());
    return part;
  };
  const auto is_platform = [](std::string_view word) { return word.find('/') != word.npos && word.find(' ') == word.npos; };
  std::string_view rest = all, wanted, offered;
  if (cut(rest, "has no manifest for "); !rest.empty()) {
    wanted = cut(rest, "; there are: ");
    offered = cut(rest, " and ");
  } else if (rest = all, cut(rest, "the image is for "); !rest.empty()) {
    offered = cut(rest, ", not ");
    wanted = rest;
  }
  if (is_platform(wanted)) out.wanted = wanted;
  while (!offered.empty())
    if (const auto word = cut(offered, ", "); is_platform(word)) out.offered.emplace_back(word);
  return out;
}

std::string SecretOf(std::string_view error) {
  const auto at = error.find("secret ");
  if (at == error.npos) return "regcred";
  std::string_view name = error.substr(at + 7);
  name = name.substr(0, name.find_first_of(" :,"));
  const auto slash = name.rfind('/');
  if (slash != name.npos) name.remove_prefix(slash + 1);
  return name.empty() ? "regcred" : std::string(name);
}

const MissingSecret& Elsewhere(const Facts& facts) {
  return *std::ranges::find_if(facts.missing, [](const auto& m) { return !m.elsewhere.empty(); });
}
const MissingSecret& Misnamed(const Facts& facts) {
  return *std::ranges::find_if(facts.missing, [](const auto& m) { return !m.similar.empty(); });
}

const MatchReport* NeverMatches(const Facts& facts) {
  for (const auto& e : facts.entries)
    if (e.reason.find("never matches") != std::string::npos || e.reason.find("wildcard in hosts only") != std::string::npos) return &e;
  return nullptr;
}

// The clouds' registries take a fixed user name together with a token: ECR 12 hours, GCR one, ACR three.
bool ShortLived(const MatchReport& entry) {
  constexpr std::array<std::string_view, 5> kUsers{"AWS", "oauth2accesstoken", "00000000-0000-0000-0000-000000000000", "<token>", "_dcgcloud_token"};
  return entry.source.starts_with("plug-in") || std::ranges::find(kUsers, entry.username) != kUsers.end();
}

bool SpeaksTls(const Facts& facts) {
  const bool plain = std::ranges::any_of(facts.hosts, [](const auto& h) { return !h.mirror && h.origin.starts_with("http://"); });
  return plain && std::ranges::any_of(facts.network, [](const auto& n) { return n.origin.starts_with("https://") && !n.tls_version.empty(); });
}

std::string NamesOf(const NetworkFacts* network) {
  if (network == nullptr || network->names.empty()) return network && !network->subject.empty() ? ": " + network->subject : "";
  std::string out;
  for (const auto& name : network->names) {
    if (out.size() > 60) return out + ", …";
    const auto colon = name.find(':');
    out += (out.empty() ? ": " : ", ") + (colon == name.npos ? name : name.substr(colon + 1));
  }
  return out;
}

std::string CountMatched(const Facts& facts) {
  const auto n = std::ranges::count(facts.entries, MatchReport::Verdict::kMatched, &MatchReport::verdict);
  return n == 1 ? "the matching credential" : n == 2 ? "both matching credentials" : "all " + std::to_string(n) + " matching credentials";
}

std::string OrPrivate(const Facts& facts) {
  const bool matched = std::ranges::count(facts.entries, MatchReport::Verdict::kMatched, &MatchReport::verdict) > 0;
  return matched ? "" : ", or it is private";
}

std::string Wait(const Facts& facts) {
  return facts.failure && facts.failure->retry_after() ? " " + Short(*facts.failure->retry_after()) : "";
}

}  // namespace berth::explain
