#include "credentials/sources.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "log/log.h"

namespace berth::credentials {

using Verdict = MatchReport::Verdict;

Result<Sources::Found> Sources::Find(const task::Context& ctx, const Request& request) const {
  RETURN_IF_ERROR(ctx.Check());
  Found found;
  const bool explain = request.detail == Detail::kYes;
  const auto join = [&](std::vector<Credential> more) { std::ranges::move(more, std::back_inserter(found.credentials)); };

  ASSIGN_OR_RETURN(const auto secrets, ReadPullSecrets(profile_, request.secrets, limits_));
  if (secrets) {
    join(secrets->Find(request.repository));
    if (explain) secrets->Explain(request.repository, found.reports);
  }
  if (explain) {
    const auto name = [](const SecretCoordinates& s) { return "secret " + s.namespace_name + "/" + s.name; };
    for (const auto& secret : request.secrets)
      if (auto why = WhyUnusable(secret); !why.empty())
        found.reports.push_back({.verdict = Verdict::kUnusable, .source = name(secret.coordinates), .reason = std::move(why)});
    for (const auto& missing : request.missing)
      found.reports.push_back({.verdict = Verdict::kMissing, .source = name(missing),
                               .reason = "listed in the Pod, not found in namespace " + missing.namespace_name});
  }

  if (parts_.node != nullptr) RETURN_IF_ERROR(AskNode(ctx, request, found));

  if (parts_.plugins != nullptr) {
    ASSIGN_OR_RETURN(auto answers, parts_.plugins->Find(ctx, request.repository, request.pod, request.detail, request.ask));
    join(answers.keyring.Find(request.repository));
    std::ranges::move(answers.reports, std::back_inserter(found.reports));
  }
  std::stable_partition(found.reports.begin(), found.reports.end(), [](const MatchReport& r) { return r.verdict == Verdict::kMatched; });
  return found;
}

Result<> Sources::AskNode(const task::Context& ctx, const Request& request, Found& found) const {
  const auto file = parts_.node->GetFile();
  const bool explain = request.detail == Detail::kYes;
  const auto choice = parts_.helpers != nullptr ? ChooseHelper(*file, request.repository) : std::nullopt;
  if (choice) {
    MatchReport report{.source = "helper " + choice->name, .pattern = choice->server};
    if (request.ask == AskPlugins::kNo) {
      report.verdict = Verdict::kSkipped;
      report.reason = "not run";
    } else if (auto answer = AskHelper(ctx, *parts_.helpers, choice->name, choice->server); !answer) {
      RETURN_IF_ERROR(ctx.Check());
      log::Warning("a credential helper failed", {{"helper", choice->name}, {"error", answer.error()}});
      report.verdict = Verdict::kFailed;
      report.reason = answer.error().Text();
    } else if (!*answer) {
      report.verdict = Verdict::kSkipped;
      report.reason = "it has no credentials for this server";
    } else {
      Credential& credential = **answer;
      credential.pattern = choice->server;
      report.verdict = Verdict::kMatched;
      report.username = credential.username;
      if (explain) report.hash = ShortHash(credential);
      found.credentials.push_back(std::move(credential));
    }
    const bool failed = report.verdict == Verdict::kFailed;
    if (explain || failed) found.reports.push_back(std::move(report));
    if (choice->exclusive || failed) return {};  // CVE-2021-41092
  }
  std::ranges::move(file->keyring.Find(request.repository), std::back_inserter(found.credentials));
  if (explain) {
    file->keyring.Explain(request.repository, found.reports);
    if (parts_.helpers == nullptr && !(file->credential_store.empty() && file->credential_helpers.empty()))
      found.reports.push_back({.verdict = Verdict::kUnusable, .source = file->source, .pattern = "credsStore, credHelpers",
                               .reason = "credential helpers are not used on this node"});
  }
  return {};
}

}  // namespace berth::credentials
