#include "explain/journal.h"

#include <algorithm>

#include "json/document.h"

namespace berth::explain {
namespace {

std::string Text(const json::Value& object, std::string_view key) {
  const auto value = object.Find(key);
  return value && value->IsString() ? std::string(*value->AsString()) : "";
}
std::int64_t Number(const json::Value& object, std::string_view key) {
  const auto value = object.Find(key);
  const auto number = value ? value->AsInt64() : Result<std::int64_t>(0);
  return number ? *number : 0;
}
std::optional<Reason> ReasonOf(std::string_view code) {
  const auto* info = result::FindByCode(code);
  return info ? std::optional(info->reason) : std::nullopt;
}

}  // namespace

Result<Facts> FromJournal(const catalog::JournalEntry& entry) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(entry.record, Reason::kCorrupt));
  const json::Value root = document.root();
  if (!root.IsObject()) return Error(Reason::kCorrupt, "the journal's record is no JSON object");
  Facts f;
  f.past = true;
  f.image = entry.image;
  f.at = entry.at;
  if (auto reference = reference::Reference::Parse(entry.image)) f.reference = *std::move(reference);
  if (const auto policy = policy::ParsePullPolicy(Text(root, "policy"))) f.policy = {.value = *policy, .given = true};
  if (const auto seconds = root.Find("seconds"))
    if (const auto total = seconds->Find("total"); total && total->AsDouble()) f.seconds = *total->AsDouble();
  if (const std::string digest = Text(root, "digest"); !digest.empty())
    f.resolved = ResolvedFacts{.digest = digest, .host = Text(root, "host")};
  if (const std::string credential = Text(root, "credential"); !credential.empty() && credential != "anonymous")
    f.entries.push_back({.verdict = credentials::MatchReport::Verdict::kMatched, .source = credential});
  if (const auto error = root.Find("error"); error && error->IsObject())
    f.failure = Error(ReasonOf(Text(*error, "code")).value_or(Reason::kInternal), Text(*error, "message")).Next(Text(*error, "next"));
  if (const auto verification = root.Find("verification"); verification && verification->IsObject())
    if (auto verdict = verify::Verdict::FromJson(verification->Dump())) f.verification = *std::move(verdict);
  if (const auto attempts = root.Find("attempts"); attempts && attempts->IsArray())
    for (std::size_t i = 0; i < attempts->size(); ++i) {
      const json::Value a = attempts->at(i);
      registry::Attempt& out = f.attempts.emplace_back();
      out.host = Text(a, "host");
      if (const auto mirror = a.Find("mirror"); mirror && mirror->AsBool()) out.mirror = *mirror->AsBool();
      out.method = Text(a, "method");
      out.what = Text(a, "what");
      out.credential = Text(a, "credential");
      out.status = static_cast<int>(Number(a, "status"));
      out.reason = ReasonOf(Text(a, "error"));
      out.registry_code = Text(a, "registry_code");
      out.bytes = static_cast<std::uint64_t>(Number(a, "bytes"));
      out.took = std::chrono::milliseconds(Number(a, "ms"));
      out.limit = Text(a, "limit");
      if (const auto warnings = a.Find("warnings"); warnings && warnings->IsArray())
        for (std::size_t w = 0; w < warnings->size(); ++w)
          if (const auto text = warnings->at(w).AsString()) out.warnings.emplace_back(*text);
      out.next = Text(a, "next");
      // What was refused shows whose it was, also when nothing worked in the end.
      if (f.failure && !out.credential.empty() && out.credential != "anonymous" &&
          std::ranges::find(f.entries, out.credential, &credentials::MatchReport::source) == f.entries.end()) {
        const auto open = out.credential.rfind(" (");
        const bool user = open != std::string::npos && out.credential.ends_with(')');
        const std::string source = user ? out.credential.substr(0, open) : out.credential;
        if (std::ranges::find(f.entries, source, &credentials::MatchReport::source) == f.entries.end())
          f.entries.push_back({.verdict = credentials::MatchReport::Verdict::kMatched, .source = source,
                               .username = user ? out.credential.substr(open + 2, out.credential.size() - open - 3) : ""});
      }
    }
  return f;
}

}  // namespace berth::explain
