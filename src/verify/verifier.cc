#include "verify/verifier.h"

#include <algorithm>
#include <array>

#include "json/document.h"
#include "kube/timestamp.h"
#include "log/log.h"
#include "verify/cosign.h"
#include "verify/programs.h"

namespace berth::verify {
namespace {

constexpr std::array<std::string_view, 14> kCauses{
    "", "denied-by-rule", "no-rule", "digest-not-listed", "unsigned", "bad-signature", "wrong-key", "wrong-digest", "wrong-identity",
    "out-of-date", "too-few-keys", "unreachable", "program-refused", "program-failed"};
static_assert(kCauses.size() == static_cast<std::size_t>(Cause::kProgramFailed) + 1);
constexpr std::array<std::string_view, 3> kOutcomes{"allowed", "warned", "denied"};

constexpr auto kUnreachableFor = std::chrono::hours(1);

// One thing to do, that removes the cause.
std::string NextFor(Cause cause, const Rule& rule, const std::string& image) {
  switch (cause) {
    case Cause::kNone: return "";
    case Cause::kDeniedByRule: return "use an image that the rules allow, or change rule " + Quoted(rule.name);
    case Cause::kNoRule: return "add a rule for its repository to `verification` in berthd's configuration, and send SIGHUP";
    case Cause::kDigestNotListed: return "add the digest to `digests` of rule " + Quoted(rule.name) + ", or use an image that is in it";
    case Cause::kUnsigned: return "sign it: cosign sign --key KEY " + image;
    case Cause::kMalformed: return "sign it anew: cosign sign --key KEY " + image;
    case Cause::kWrongKey: return "sign it with a key of the rule, or add the public key of its signer to rule " + Quoted(rule.name);
    case Cause::kWrongDigest: return "sign this digest: cosign sign --key KEY " + image;
    case Cause::kWrongIdentity: return "sign it under this name, or list the repository in signedAs of rule " + Quoted(rule.name);
    case Cause::kOutOfDate: return "sign it anew with a key that is valid: cosign sign --key KEY " + image;
    case Cause::kTooFewKeys: return "have it signed with more keys of rule " + Quoted(rule.name);
    case Cause::kUnreachable: return "mend the way to the registry, and pull again";
    case Cause::kProgramRefused: return "use an image that this verifier accepts";
    case Cause::kProgramFailed: return "mend the verifier programs; run them by hand with -name, -digest and a descriptor on stdin";
  }
  return "";
}

std::string Text(const json::Value& object, std::string_view key) {
  const auto value = object.Find(key);
  return value && value->IsString() ? std::string(*value->AsString()) : "";
}

}  // namespace

std::string_view Name(Outcome outcome) { return kOutcomes[static_cast<std::size_t>(outcome)]; }
std::string_view Name(Cause cause) { return kCauses[static_cast<std::size_t>(cause)]; }
std::optional<Cause> ParseCause(std::string_view text) {
  const auto found = std::ranges::find(kCauses, text);
  return found == kCauses.end() ? std::nullopt : std::optional(static_cast<Cause>(found - kCauses.begin()));
}

Error Verdict::Refusal() const {
  BERTH_CHECK(!admitted());
  return Error(Reason::kSignature, reason).Next(next);
}

std::string Verdict::ToJson() const {
  json::Writer w;
  const auto list = [&](std::string_view key, const std::vector<std::string>& items) {
    w.Key(key).BeginArray();
    for (const auto& item : items) w.String(item);
    w.EndArray();
  };
  w.BeginObject().Key("verdict").String(Name(outcome)).Key("cause").String(Name(cause)).Key("rule").String(rule);
  w.Key("hash").String(hash).Key("reason").String(reason).Key("next").String(next);
  list("keys", keys);
  list("programs", programs);
  w.Key("signatures").BeginArray();
  for (const auto& f : signatures)
    w.BeginObject().Key("where").String(f.where).Key("found").String(f.cause == Cause::kNone ? "good" : Name(f.cause))
        .Key("key").String(f.key).Key("detail").String(f.detail).EndObject();
  w.EndArray();
  if (until) w.Key("until").String(kube::FormatTime(*until));
  w.EndObject();
  return std::move(w).Take();
}

Result<Verdict> Verdict::FromJson(std::string_view text) {
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(text, Reason::kCorrupt));
  const json::Value root = document.root();
  Verdict v;
  const auto outcome = std::ranges::find(kOutcomes, Text(root, "verdict"));
  const auto cause = ParseCause(Text(root, "cause"));
  if (outcome == kOutcomes.end() || !cause) return Error(Reason::kCorrupt, "the record of a verification cannot be read");
  v.outcome = static_cast<Outcome>(outcome - kOutcomes.begin());
  v.cause = *cause;
  v.rule = Text(root, "rule");
  v.hash = Text(root, "hash");
  v.reason = Text(root, "reason");
  v.next = Text(root, "next");
  for (const auto& [key, into] : {std::pair("keys", &v.keys), {"programs", &v.programs}})
    if (const auto items = root.Find(key); items && items->IsArray())
      for (std::size_t i = 0; i < items->size(); ++i)
        if (items->at(i).IsString()) into->emplace_back(*items->at(i).AsString());
  if (const auto items = root.Find("signatures"); items && items->IsArray())
    for (std::size_t i = 0; i < items->size(); ++i) {
      const json::Value item = items->at(i);
      const std::string found = Text(item, "found");
      const auto what = found == "good" ? Cause::kNone : ParseCause(found);
      if (!what) return Error(Reason::kCorrupt, "the record of a verification cannot be read");
      v.signatures.push_back({Text(item, "where"), *what, Text(item, "key"), Text(item, "detail")});
    }
  if (const std::string until = Text(root, "until"); !until.empty()) {
    v.until = kube::ParseTime(until);
    if (!v.until) return Error(Reason::kCorrupt, "the record of a verification cannot be read");
  }
  return v;
}

void RuleVerifier::Replace(Rules rules) {
  auto fresh = std::make_shared<const Rules>(std::move(rules));
  std::lock_guard lock(mutex_);
  rules_ = std::move(fresh);
}

std::shared_ptr<const Rules> RuleVerifier::rules() const {
  std::lock_guard lock(mutex_);
  return rules_;
}

namespace {

std::string HashOf(const Rules& rules, const Rule& rule) {
  return rule.programs ? rule.hash + "+" + Fingerprint(rules.programs()) : rule.hash;
}

Verdict Start(const Rules& rules, const Rule& rule) {
  return {.outcome = Outcome::kAllowed, .rule = rule.name, .hash = HashOf(rules, rule)};
}

// Ends a verdict that is not simply "allowed".
void Settle(Verdict& v, const Rules& rules, const Rule& rule, const std::string& image, Cause cause, const std::string& why) {
  const bool lenient = rule.action == Action::kWarn || (cause == Cause::kUnreachable && rule.warn_when_unreachable);
  v.outcome = lenient ? Outcome::kWarned : Outcome::kDenied;
  v.cause = cause;
  v.reason = why + " (" + (&rule == &rules.fallback() ? "no rule is for this image" : "rule " + Quoted(rule.name)) + ")";
  v.next = NextFor(cause, rule, image);
}

}  // namespace

std::optional<Verdict> RuleVerifier::Decide(const Rules& rules, const Rule& rule, const reference::Reference& name,
                                            const digest::Digest* digest) const {
  // What has to be asked costs nothing here: the hash of a rule with programs reads their folder.
  const bool listed = digest == nullptr || rule.digests.empty() || std::ranges::find(rule.digests, *digest) != rule.digests.end();
  const bool asks = !rule.keys.empty() || rule.programs;
  if (rule.action != Action::kDeny && (digest == nullptr || (asks && listed))) return std::nullopt;
  Verdict v = Start(rules, rule);
  const std::string image = digest != nullptr ? name.Repository() + "@" + digest->ToString() : name.ToString();
  const bool fallback = &rule == &rules.fallback();
  if (rule.action == Action::kDeny) {
    Settle(v, rules, rule, image, fallback ? Cause::kNoRule : Cause::kDeniedByRule, "images of " + name.Repository() + " are not allowed on this node");
    return v;
  }
  if (!listed) {
    Settle(v, rules, rule, image, Cause::kDigestNotListed, digest->ToString() + " is not one of the digests that are allowed for " + name.Repository());
    return v;
  }
  if (rule.action == Action::kWarn)
    Settle(v, rules, rule, image, fallback ? Cause::kNoRule : Cause::kUnsigned, "nothing was verified of " + name.Repository());
  return v;
}

std::optional<Verdict> RuleVerifier::Decide(const reference::Reference& name, const digest::Digest* digest) const {
  const auto rules = this->rules();
  if (!rules->enabled()) return Verdict{.outcome = Outcome::kAllowed};
  return Decide(*rules, rules->Find(name), name, digest);
}

bool RuleVerifier::Holds(const Verdict& verdict, const reference::Reference& name) const {
  const auto rules = this->rules();
  if (!rules->enabled() || !verdict.admitted()) return false;
  if (verdict.until && clock_.WallNow() >= *verdict.until) return false;
  return verdict.hash == HashOf(*rules, rules->Find(name)) && !verdict.hash.ends_with('+');
}

bool RuleVerifier::MayRefuse(const reference::Reference& name) const {
  const auto rules = this->rules();
  return rules->enabled() && rules->Find(name).action != Action::kWarn;
}

std::string RuleVerifier::KeyOf(const reference::Reference& name, const digest::Digest& digest) const {
  const auto rules = this->rules();
  const Rule* rule = rules->enabled() ? &rules->Find(name) : nullptr;
  // Programs are told the tag and may decide by it.
  const bool by_tag = rule != nullptr && (rule->identity == Identity::kExact || rule->programs) && !name.digest();
  return (by_tag ? name.Canonical() : name.Repository()) + "@" + digest.ToString();
}

Result<Verdict> RuleVerifier::Verify(const task::Context& ctx, const Subject& subject, registry::Repository& repository) const {
  const auto rules = this->rules();
  if (!rules->enabled()) return Verdict{.outcome = Outcome::kAllowed};
  const Rule& rule = rules->Find(subject.name);
  auto decided = Decide(*rules, rule, subject.name, &subject.digest);
  Verdict v = decided ? *std::move(decided) : Start(*rules, rule);
  const std::string image = subject.name.Repository() + "@" + subject.digest.ToString();
  if (!decided && !rule.keys.empty()) {
    ASSIGN_OR_RETURN(Signed found, LookForSignatures(ctx, ctx.WithTimeout(limit_), rule, subject, signatures_, repository));
    v.keys = std::move(found.keys);
    v.signatures = std::move(found.findings);
    v.until = found.until;
    if (!found.enough)
      Settle(v, *rules, rule, image, found.cause,
             found.cause == Cause::kUnsigned ? "the image has no signature"
             : found.cause == Cause::kUnreachable ? "its signatures cannot be looked at: " + found.detail : found.detail);
    // Let through for the time being: the registry is asked again.
    if (v.outcome == Outcome::kWarned && v.cause == Cause::kUnreachable) v.until = clock_.WallNow() + kUnreachableFor;
  }
  // Also of what was let through with a warning: that the signatures could not be asked for accepts nothing in the programs' stead.
  if (!decided && rule.programs && v.admitted()) {
    ASSIGN_OR_RETURN(ProgramsVerdict ran, RunPrograms(ctx, rules->programs(),
                                                      {subject.name.Canonical(), subject.digest,
                                                       subject.media_type, subject.size}));
    v.programs = std::move(ran.accepted);
    const std::string who = ran.program.empty() ? "" : "verifier " + Quoted(ran.program) + " ";
    if (ran.outcome == ProgramsVerdict::Outcome::kRefused) Settle(v, *rules, rule, image, Cause::kProgramRefused, who + "refuses it: " + ran.why);
    if (ran.outcome == ProgramsVerdict::Outcome::kFailed) Settle(v, *rules, rule, image, Cause::kProgramFailed, who + ran.why);
  }
  std::string keys;
  for (const auto& key : v.keys) keys += (keys.empty() ? "" : ",") + key;
  (v.outcome == Outcome::kAllowed ? log::Info : log::Warning)(
      "image verified", {{"image", subject.name.ToString()}, {"digest", subject.digest.ToString()}, {"verdict", Name(v.outcome)},
                         {"cause", Name(v.cause)}, {"rule", v.rule}, {"policy", v.hash}, {"keys", keys}, {"reason", v.reason}}, log::Where::current());
  return v;
}

}  // namespace berth::verify
