#include "credentials/keyring.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <utility>

namespace berth::credentials {

std::vector<std::string> Keyring::Add(DockerConfig config) {
  std::vector<std::string> ignored;
  for (auto& entry : config.entries) {
    auto key = IndexKey(profile_, entry.key);
    if (!key) {
      ignored.push_back(WithoutUserInfo(entry.key));
      ignored_.push_back({WithoutUserInfo(entry.key), entry.credential.source});
      continue;
    }
    entry.credential.pattern = WithoutUserInfo(entry.key);
    entries_.push_back({*std::move(key), std::move(entry.credential)});
  }
  std::ranges::stable_sort(entries_, std::greater<>(), &Entry::key);
  return ignored;
}

std::vector<Credential> Keyring::Find(std::string_view repository) const {
  std::vector<Credential> found;
  for (const auto& entry : entries_)
    if (Matches(profile_, entry.key, repository)) found.push_back(entry.credential.Clone());
  if (found.empty() && IsDefaultRegistry(repository))
    for (const auto& entry : entries_)
      if (entry.key == "index.docker.io") found.push_back(entry.credential.Clone());
  return found;
}

std::string_view Name(MatchReport::Verdict verdict) {
  constexpr std::array<std::string_view, 6> kNames{"matched", "no match", "unusable", "missing", "failed", "skipped"};
  return kNames[static_cast<std::size_t>(verdict)];
}

void Keyring::Explain(std::string_view repository, std::vector<MatchReport>& reports) const {
  using Verdict = MatchReport::Verdict;
  const Profile other = profile_ == Profile::kKubelet ? Profile::kDocumented : Profile::kKubelet;
  const auto differs = [&](std::string_view written, bool matched) {
    const auto key = IndexKey(other, written);
    return (key && Matches(other, *key, repository)) != matched;
  };
  const bool hub = IsDefaultRegistry(repository);
  const bool any = std::ranges::any_of(entries_, [&](const Entry& e) { return Matches(profile_, e.key, repository); });
  std::vector<MatchReport> others;
  for (const auto& entry : entries_) {
    const Credential& credential = entry.credential;
    MatchReport report{.source = credential.source, .pattern = credential.pattern, .username = credential.username};
    const bool by_key = Matches(profile_, entry.key, repository);
    const bool by_default = !by_key && hub && entry.key == "index.docker.io";
    report.profiles_differ = !by_default && differs(credential.pattern, by_key);
    if (by_key || (by_default && !any)) {
      report.verdict = Verdict::kMatched;
      report.hash = ShortHash(credential);
      if (by_default) report.reason = "the default registry's key";
      reports.push_back(std::move(report));
    } else {
      report.reason = by_default ? "the default registry's key counts only when no other matches"
                                 : WhyNot(profile_, credential.pattern, repository);
      others.push_back(std::move(report));
    }
  }
  for (const auto& [key, source] : ignored_)
    others.push_back({.verdict = Verdict::kUnusable, .source = source, .pattern = key, .reason = WhyNot(profile_, key, repository),
                      .profiles_differ = differs(key, false)});
  std::ranges::move(others, std::back_inserter(reports));
}

}  // namespace berth::credentials
