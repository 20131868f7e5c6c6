// explain/report.h: facts, verdict and one next step, as text for people and as JSON for programs.
//
// The text is product 4.5's: subject, verdict, the eight steps (name, policy, present, creds, hosts, network, registry,
// retry) in aligned columns, NEXT. At most 140 columns wide; what is longer is cut with "…". No colours (the CLI adds them).
// A step that has nothing to say is left out, its number stays away with it.
//
// The JSON is a contract: members are added, never renamed. Times are RFC 3339 in UTC, durations seconds:
//   {"image","pod":{"namespace","name","container"}|null,"node","profile","past",
//    "verdict":{"headline","cause","code","exit_status","sentence"},"next":{"text","command"},
//    "name":{"registry","repository","tag","digest"}|null,
//    "policy":{"value","given","profiles_differ"},
//    "present":{"state":"yes|no|unknown","digest","platform","pulled","size","must_prove","access"},"pull_needed",
//    "credentials":[{"verdict","source","pattern","user","hash","reason","profiles_differ","result","tries"}],
//    "missing_secrets":[{"namespace","name","elsewhere":[],"similar"}],"notes":[],
//    "hosts":[{"origin","mirror"}],
//    "network":[{"origin","address","proxy","dns","tcp","tls","tls_version","subject","issuer","names":[],"not_after",
//                "http_version","status","challenges","clock_skew","error":{"code","message"}|null}],
//    "attempts":[{"method","what","host","mirror","credential","status","code","registry_code","seconds","next","limit","warnings"}],
//    "resolved":{"digest","media_type","host","platforms":[],"chosen","size","layers","layers_here",
//                "fetch_bytes"}|null,
//    "failure":{"code","message"}|null,
//    "retry":{"failures","delay","last_failure","next","remaining","failure"}|null,
//    "waiting":{"reason","message"}|null}
// Pure functions.
#pragma once

#include <string>

#include "explain/advise.h"
#include "explain/facts.h"

namespace berth::explain {

struct Report {
  Facts facts;
  Verdict verdict;
};
inline Report MakeReport(Facts facts) {
  Verdict verdict = Advise(facts);
  return {std::move(facts), std::move(verdict)};
}

// `now`: for "20s ago". Ends with a line break.
std::string ToText(const Report& report, time::WallTime now);
std::string ToJson(const Report& report);

// The network step alone: `berth probe`. `facts.image` is what was asked for.
std::string ProbeText(const Report& report, time::WallTime now);

}  // namespace berth::explain
