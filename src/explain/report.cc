#include "explain/report.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <map>

#include "bytes/text.h"
#include "explain/words.h"
#include "json/document.h"

namespace berth::explain {
namespace {

using credentials::MatchReport;
using Kind = MatchReport::Verdict;
using Row = std::vector<std::string>;

constexpr std::size_t kWidth = 140;

// Terminal columns: characters, as all that is shown was escaped to printable ones (our own "…" and "·" are one column each).
std::size_t Columns(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}
std::string Printable(std::string_view text) {
  std::string out;
  for (const char c : text) out += bytes::IsControl(c) ? '?' : c;
  return out;
}
std::string Cut(std::string text, std::size_t columns) {
  if (Columns(text) <= columns) return text;
  std::size_t kept = 0, at = 0;
  for (; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xc0) != 0x80 && ++kept == columns) break;
  }
  return text.substr(0, at) + "…";
}
std::string Padded(std::string text, std::size_t columns) {
  const std::size_t have = Columns(text);
  if (have < columns) text.append(columns - have, ' ');
  return text;
}
std::string Line(std::string text) {
  while (text.ends_with(' ')) text.pop_back();
  return Cut(Printable(text), kWidth) + "\n";
}
// Left-aligned columns two blanks apart; a single cell does not widen the others.
std::string Table(const std::vector<Row>& rows, std::string_view indent) {
  std::vector<std::size_t> widths;
  for (const Row& row : rows)
    for (std::size_t i = 0; row.size() > 1 && i + 1 < row.size(); ++i) {
      if (widths.size() <= i) widths.resize(i + 1);
      widths[i] = std::max(widths[i], std::min<std::size_t>(Columns(row[i]), 44));
    }
  std::string out;
  for (const Row& row : rows) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i) line += i + 1 < row.size() ? Padded(row[i], widths[i]) + "  " : row[i];
    out += Line(line);
  }
  return out;
}
std::string Wrapped(std::string_view label, std::string text) {
  const std::string indent(Columns(label), ' ');
  std::string out, line(label);
  bool first = true;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    if (!first && Columns(line) + 1 + Columns(word) > kWidth) {
      out += Line(line);
      line = indent;
      first = true;
    }
    line += (first ? "" : " ") + word;
    first = false;
    at = end + 1;
  }
  return out + Line(line);
}

std::string Step(int number, std::string_view name, const std::string& value, const std::string& detail) {
  std::string line = " " + std::to_string(number) + " " + Padded(std::string(name), 10);
  return Line(detail.empty() ? line + value : line + Padded(value, 33) + "  " + detail);
}
constexpr std::string_view kIndent = "      ";

std::string ShortDigest(std::string_view digest) { return std::string(digest.substr(0, 19)); }

std::string Ago(time::WallTime then, time::WallTime now) {
  const auto age = std::chrono::floor<std::chrono::seconds>(now - then);
  return age > std::chrono::seconds(0) ? Short(age) + " ago" : "just now";
}

// "401  5 tries": what became of a credential.
struct Outcome {
  std::string result;
  int tries = 0;
};
Outcome OutcomeOf(const Facts& f, const MatchReport& entry) {
  Outcome outcome;
  const std::string described = entry.username.empty() ? entry.source : entry.source + " (" + entry.username + ")";
  for (const auto& a : f.attempts) {
    if (a.credential != described) continue;
    ++outcome.tries;
    outcome.result = a.status ? std::to_string(a.status) : a.reason ? std::string(result::Describe(*a.reason).code) : "";
  }
  return outcome;
}

std::string Subject(const Facts& f) {
  std::string out;
  if (!f.pod.empty()) out = (f.ns.empty() ? "" : f.ns + "/") + f.pod + " · container " + f.container + " · ";
  out += f.image;
  if (!f.node.empty()) out += " · node " + f.node;
  return out;
}

std::string NameDetail(const reference::Reference& r) {
  std::string out = r.domain().find(':') != std::string::npos ? "host has a port; " : "";
  if (r.spelling().find(r.domain()) == std::string::npos) out = "no host given: " + r.domain() + "; ";
  const bool tag_given = r.tag() && r.spelling().find(":" + *r.tag()) != std::string::npos;
  out += tag_given ? "tag given; " : r.tag() ? "no tag: " + *r.tag() + "; " : "no tag; ";
  return out + (r.digest() ? "digest given, which alone counts" : "no digest");
}

std::string PolicyDetail(const Facts& f) {
  std::string out;
  if (f.past) out = "as it was then";
  else if (f.policy.given) out = f.pod.empty() ? "given" : "set in the Pod, or when it was created";
  else if (!f.reference) out = "default";
  else if (f.reference->digest() && f.policy.value == policy::PullPolicy::kIfNotPresent) out = "not set; a digest is given, so IfNotPresent";
  else if (f.policy.value == policy::PullPolicy::kAlways) out = "not set; the tag is \"latest\", so Always";
  else out = "not set; tag is not \"latest\", so IfNotPresent";
  if (f.policy.profiles_differ && !f.policy.given)
    out += std::string(" (the ") + (f.profile == credentials::Profile::kDocumented ? "kubelet" : "documentation") + " decides otherwise: set it)";
  return out;
}

std::string NetworkLine(const NetworkFacts& n, time::WallTime now) {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : " · ") + text; };
  if (!n.address.empty()) add("dns " + n.address + (n.dns > time::Duration::zero() ? " " + Short(n.dns) : ""));
  if (n.tcp > time::Duration::zero()) add("tcp " + Short(n.tcp));
  if (!n.tls_version.empty() || !n.subject.empty()) {
    std::string subject = n.subject;  // "C = DE, CN = two words"
    for (std::size_t at; (at = subject.find(" = ")) != subject.npos;) subject.replace(at, 3, "=");
    std::string tls = (n.tls_version.empty() ? "TLS" : n.tls_version) + " " + (subject.size() > 40 ? subject.substr(0, 40) + "…" : subject);
    if (n.not_before && *n.not_before > now) tls += ", not valid for " + Short(*n.not_before - now);
    else if (n.not_after) tls += *n.not_after > now ? ", valid " + Short(*n.not_after - now) : ", expired " + Short(now - *n.not_after) + " ago";
    add(tls);
  } else if (n.origin.starts_with("http://") && n.status != 0) {
    add("plain HTTP");
  }
  if (n.http_version) add(n.http_version == 20 ? "HTTP/2" : n.http_version == 10 ? "HTTP/1.0" : "HTTP/1.1");
  if (n.status) add("/v2/ " + std::to_string(n.status) + (n.challenges.empty() ? "" : " " + n.challenges));
  add(n.proxy.empty() ? "no proxy" : "proxy " + n.proxy);
  if (n.clock_skew) add("its clock is " + Short(std::chrono::abs(*n.clock_skew)) + (n.clock_skew->count() > 0 ? " ahead" : " behind"));
  if (n.error) add(std::string(n.error->info().code));
  return out;
}

std::string Credentials(const Facts& f) {
  const auto matched = std::ranges::count(f.entries, Kind::kMatched, &MatchReport::verdict);
  const std::string anonymously = f.attempts.empty() ? "" : "; asked anonymously";
  std::string head;
  if (f.credential_error) head = "look-up failed: " + Innermost(*f.credential_error);
  else if (f.entries.empty() && f.missing.empty()) head = "none configured" + anonymously;
  else if (matched == 0) head = "none of " + std::to_string(f.entries.size()) + " matches" + anonymously;
  else head = std::to_string(matched) + " of " + std::to_string(f.entries.size()) + (matched == 1 ? " entries matches" : " entries match; tried in this order");
  std::string out = Step(4, "creds", head, "");
  std::vector<Row> rows;
  int number = 0;
  for (const auto& e : f.entries) {
    if (e.verdict != Kind::kMatched) continue;
    const Outcome outcome = OutcomeOf(f, e);
    rows.push_back({"#" + std::to_string(++number), e.source, e.pattern, e.username, e.hash,
                    outcome.result +
                        (outcome.tries > 1               ? "  " + std::to_string(outcome.tries) + " requests"
                         : outcome.tries == 0 && !f.past ? "not tried"
                                                         : "") +
                        (e.profiles_differ ? "  (the other profile would not use it)" : "")});
  }
  for (const auto& e : f.entries) {
    if (e.verdict == Kind::kMatched || e.verdict == Kind::kMissing) continue;
    constexpr std::array kWords{"", "no", "bad", "gone", "failed", "-"};
    rows.push_back({kWords[static_cast<std::size_t>(e.verdict)], e.source, e.pattern,
                    e.reason + (e.profiles_differ ? "  (the other profile would use it)" : "")});
  }
  for (const auto& m : f.missing)
    rows.push_back({"gone", "secret " + m.ns + "/" + m.name,
                    "listed in the Pod, not found in namespace " + m.ns + (m.elsewhere.empty() ? "" : "; there is one in " + Join(m.elsewhere, ", "))});
  if (matched > 0 && f.failure && f.failure->info().exit_status == 4) rows.push_back({"", "anonymous", "not tried: something matched"});
  for (const auto& note : f.notes) rows.push_back({"note", note});
  return out + Table(rows, kIndent);
}

std::string Attempts(const Facts& f) {
  std::vector<Row> rows;
  std::string warnings;
  for (const auto& a : f.attempts) {
    std::string said = a.status ? std::to_string(a.status) : "";
    if (a.reason)
      said +=
          (said.empty() ? "" : " ") +
          std::string(a.registry_code.empty() || a.registry_code == "other" ? result::Describe(*a.reason).code : a.registry_code);
    std::string what = a.what;
    if (const auto at = what.find("sha256:"); at != what.npos && what.size() > at + 19) what = what.substr(0, at + 19);
    rows.push_back({a.method + " " + what, a.host + (a.mirror ? " (mirror)" : ""), said, a.credential,
                    Short(a.took) + (a.limit.empty() ? "" : "  " + a.limit) + (a.next.empty() ? "" : "  -> " + a.next)});
    for (const auto& text : a.warnings) warnings += Line(std::string(kIndent) + "warning: " + a.host + " says " + Quoted(text));
  }
  // A pull of many layers is not told request by request.
  constexpr std::size_t kFirst = 12, kLast = 6;
  if (rows.size() > kFirst + kLast + 1) {
    const std::string left = "… " + std::to_string(rows.size() - kFirst - kLast) + " more";
    rows.erase(rows.begin() + kFirst, rows.end() - kLast);
    rows.insert(rows.begin() + kFirst, Row{left});
  }
  return Table(rows, kIndent) + warnings;
}

}  // namespace

std::string ToText(const Report& report, time::WallTime now) {
  const Facts& f = report.facts;
  const Verdict& v = report.verdict;
  std::string out = Line(Subject(f));
  const std::string head = v.headline + "  " + v.sentence;
  if (!v.code.empty() && Columns(head) + 2 + v.code.size() <= kWidth)
    out += Line(Padded(head, std::min<std::size_t>(90, kWidth - v.code.size() - 2)) + "  " + v.code);
  else out += Wrapped(v.headline + "  ", v.sentence + (v.code.empty() ? "" : "  " + v.code));
  out += "\n";

  if (f.reference) {
    const auto& r = *f.reference;
    out += Step(1, "name",
                r.domain() + " / " + r.path() + (r.tag() ? " : " + *r.tag() : "") +
                    (r.digest() ? " @ " + ShortDigest(r.digest()->ToString()) : ""),
                NameDetail(r));
  } else {
    out += Step(1, "name", "not an image name", f.failure ? Innermost(*f.failure) : "");
    return out + "\n" + Wrapped("NEXT  ", v.next.text) + (v.next.command.empty() ? "" : "      " + Printable(v.next.command) + "\n");
  }
  out += Step(2, "policy", std::string(Name(f.policy.value)), PolicyDetail(f));
  const auto& p = f.present;
  if (p.state != PresenceFacts::State::kUnknown) {
    const bool here = p.state == PresenceFacts::State::kPresent;
    std::string cost;
    if (f.pull_needed && f.resolved && f.resolved->layers > 0)
      cost = std::to_string(f.resolved->layers_here) + " of " + std::to_string(f.resolved->layers) + " layers here, " +
             bytes::FormatSize(f.resolved->fetch_bytes) + " to fetch  ";
    out += Step(3, "present", here ? "yes  " + ShortDigest(p.digest) : "no",
                (here && p.pulled ? "pulled " + Ago(*p.pulled, now) + (p.size ? ", " + bytes::FormatSize(p.size) : "") + "  " : "") + cost +
                    (f.pull_needed ? here ? "-> the registry is asked" : "-> pull needed" : "-> not pulled"));
    if (!p.access.empty()) out += Line(std::string(kIndent) + "access  " + p.access);
  }
  if (!f.past || !f.entries.empty() || !f.missing.empty()) out += Credentials(f);
  if (!f.hosts.empty()) {
    std::vector<Row> rows;
    for (const auto& h : f.hosts) rows.push_back({h.origin, h.mirror ? "mirror" : "the registry itself"});
    if (rows.size() == 1) out += Step(5, "hosts", rows[0][0], "no mirror configured");
    else out += Step(5, "hosts", std::to_string(rows.size()) + ", asked in this order", "") + Table(rows, kIndent);
  }
  if (f.network.size() == 1) {
    out += Step(6, "network", NetworkLine(f.network[0], now), "");
  } else if (!f.network.empty()) {
    out += Step(6, "network", "", "");
    std::vector<Row> rows;
    for (const auto& n : f.network) rows.push_back({n.origin, NetworkLine(n, now)});
    out += Table(rows, kIndent);
  }
  if (!f.attempts.empty() || f.resolved || f.failure) {
    std::string value = f.resolved  ? f.resolved->media_type + (f.resolved->media_type.empty() ? "" : " ") + ShortDigest(f.resolved->digest)
                        : f.failure ? std::string(f.failure->info().code)
                                    : "asked";
    const std::string size = f.resolved && f.resolved->size ? bytes::FormatSize(f.resolved->size) : "";
    out += Step(7, "registry", value, f.failure ? Innermost(*f.failure) : size);
    out += Attempts(f);
    if (f.resolved && !f.resolved->platforms.empty()) {
      for (const auto& platform : f.resolved->platforms)
        out += Line(std::string(kIndent) + platform + (platform == f.resolved->chosen ? "  <- this node" : ""));
      if (f.resolved->chosen.empty()) out += Line(std::string(kIndent) + "this node: " + f.platform);
    }
  }
  if (f.verification && !f.verification->rule.empty()) {
    const auto& verdict = *f.verification;
    const std::string keys = Join(verdict.keys, ", ");
    out += Line(std::string(kIndent) + "verification  " + std::string(Name(verdict.outcome)) + " by rule " + verdict.rule +
                (keys.empty() ? "" : ", signed with " + keys) + (verdict.reason.empty() ? "" : ": " + verdict.reason));
    for (const auto& s : verdict.signatures)
      out += Line(std::string(kIndent) + s.where + "  " +
                  (s.cause == verify::Cause::kNone ? "good, " + s.key
                                                   : std::string(verify::Name(s.cause)) + "  " + s.detail));
  }
  if (f.backoff) {
    const auto& b = *f.backoff;
    out += Step(8, "retry",
                "attempt " + std::to_string(b.failures) + " failed " + Clock(b.last_failure) + "; back-off " +
                    std::to_string(std::chrono::duration_cast<std::chrono::seconds>(b.delay).count()) + "s" +
                    (b.remaining > time::Duration::zero() ? "; next " + Clock(b.next) + " (in " + Short(b.remaining) + ")"
                                                          : "; the next try is due") +
                    "; cap 300s",
                "");
  } else if (!f.waiting_reason.empty()) {
    out += Step(8, "retry", f.waiting_reason, f.waiting_message);
  }
  out += "\n" + Wrapped("NEXT  ", v.next.text);
  // Never cut: it is to be copied.
  if (!v.next.command.empty()) out += "      " + Printable(v.next.command) + "\n";
  return out;
}

std::string ProbeText(const Report& report, time::WallTime now) {
  const Facts& f = report.facts;
  std::string out = Line(f.image);
  std::vector<Row> rows;
  for (const auto& n : f.network) {
    out += Line((n.error ? "FAILS  " : "ANSWERS  ") + n.origin + (n.error ? "  " + Innermost(*n.error) : ""));
    const auto add = [&](std::string_view name, const std::string& value) {
      if (!value.empty()) out += Line("  " + Padded(std::string(name), 9) + value);
    };
    add("dns", n.address.empty() ? "" : n.address + (n.dns > time::Duration::zero() ? "  " + Short(n.dns) : ""));
    add("tcp", n.tcp > time::Duration::zero() ? Short(n.tcp) : "");
    add("tls", n.tls_version.empty() ? "" : n.tls_version + (n.tls > time::Duration::zero() ? "  " + Short(n.tls) : ""));
    add("subject", n.subject);
    add("names", Join(n.names, ", "));
    add("issuer", n.issuer);
    if (n.not_after) add("valid", *n.not_after > now ? "for " + Short(*n.not_after - now) : "no: expired " + Short(now - *n.not_after) + " ago");
    add("proxy", n.proxy.empty() ? "none" : n.proxy);
    add("/v2/", n.status ? std::to_string(n.status) + (n.challenges.empty() ? "" : "  asks for " + n.challenges) : "");
    if (n.clock_skew) add("clock", Short(std::chrono::abs(*n.clock_skew)) + (n.clock_skew->count() > 0 ? " ahead of ours" : " behind ours"));
  }
  out += Attempts(f);
  if (f.resolved)
    out += Line("  image    " + f.resolved->media_type + " " + f.resolved->digest +
                (f.resolved->chosen.empty() ? "" : "  " + f.resolved->chosen));
  out += "\n" + Wrapped("NEXT  ", report.verdict.next.text);
  if (!report.verdict.next.command.empty()) out += "      " + Printable(report.verdict.next.command) + "\n";
  return out;
}

namespace {

std::string Rfc3339(time::WallTime t) {
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count();
  std::tm utc{};
  std::array<char, 32> text{};
  gmtime_r(&seconds, &utc);
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}
double Seconds(time::Duration d) { return std::chrono::duration<double>(d).count(); }

void Strings(json::Writer& w, std::string_view key, const std::vector<std::string>& all) {
  w.Key(key).BeginArray();
  for (const auto& text : all) w.String(text);
  w.EndArray();
}
void OptionalTime(json::Writer& w, std::string_view key, const std::optional<time::WallTime>& t) {
  w.Key(key);
  if (t) w.String(Rfc3339(*t));
  else w.Null();
}
void Failure(json::Writer& w, std::string_view key, const std::optional<Error>& error) {
  w.Key(key);
  if (!error) return void(w.Null());
  w.BeginObject();
  w.Key("code").String(error->info().code).Key("message").String(error->Text());
  w.EndObject();
}
}  // namespace

std::string ToJson(const Report& report) {
  const Facts& f = report.facts;
  const Verdict& v = report.verdict;
  json::Writer w;
  w.BeginObject();
  w.Key("image").String(f.image);
  w.Key("pod");
  if (f.pod.empty()) w.Null();
  else w.BeginObject().Key("namespace").String(f.ns).Key("name").String(f.pod).Key("container").String(f.container).EndObject();
  w.Key("node").String(f.node).Key("profile").String(Name(f.profile)).Key("past").Bool(f.past);
  w.Key("verdict").BeginObject();
  w.Key("headline").String(v.headline).Key("cause").String(v.cause).Key("code").String(v.code).Key("exit_status").Int(v.exit_status);
  w.Key("sentence").String(v.sentence).EndObject();
  w.Key("next").BeginObject().Key("text").String(v.next.text).Key("command").String(v.next.command).EndObject();
  w.Key("name");
  if (!f.reference) w.Null();
  else
    w.BeginObject()
        .Key("registry")
        .String(f.reference->domain())
        .Key("repository")
        .String(f.reference->path())
        .Key("tag")
        .String(f.reference->tag().value_or(""))
        .Key("digest")
        .String(f.reference->digest() ? f.reference->digest()->ToString() : "")
        .EndObject();
  w.Key("policy").BeginObject().Key("value").String(Name(f.policy.value)).Key("given").Bool(f.policy.given);
  w.Key("profiles_differ").Bool(f.policy.profiles_differ).EndObject();
  constexpr std::array kStates{"unknown", "no", "yes"};
  w.Key("present").BeginObject().Key("state").String(kStates[static_cast<std::size_t>(f.present.state)]);
  w.Key("digest").String(f.present.digest).Key("platform").String(f.present.platform);
  OptionalTime(w, "pulled", f.present.pulled);
  w.Key("size").Uint(f.present.size).Key("must_prove").Bool(f.present.must_prove).Key("access").String(f.present.access).EndObject();
  w.Key("pull_needed").Bool(f.pull_needed);
  w.Key("verification").Raw(f.verification ? f.verification->ToJson() : "null");
  w.Key("credentials").BeginArray();
  for (const auto& e : f.entries) {
    const Outcome outcome = e.verdict == Kind::kMatched ? OutcomeOf(f, e) : Outcome{};
    w.BeginObject().Key("verdict").String(Name(e.verdict)).Key("source").String(e.source).Key("pattern").String(e.pattern);
    w.Key("user").String(e.username).Key("hash").String(e.hash).Key("reason").String(e.reason).Key("profiles_differ").Bool(e.profiles_differ);
    w.Key("result").String(outcome.result).Key("tries").Int(outcome.tries).EndObject();
  }
  w.EndArray();
  w.Key("missing_secrets").BeginArray();
  for (const auto& m : f.missing) {
    w.BeginObject().Key("namespace").String(m.ns).Key("name").String(m.name);
    Strings(w, "elsewhere", m.elsewhere);
    w.Key("similar").String(m.similar).EndObject();
  }
  w.EndArray();
  Strings(w, "notes", f.notes);
  w.Key("hosts").BeginArray();
  for (const auto& h : f.hosts) w.BeginObject().Key("origin").String(h.origin).Key("mirror").Bool(h.mirror).EndObject();
  w.EndArray();
  w.Key("network").BeginArray();
  for (const auto& n : f.network) {
    w.BeginObject().Key("origin").String(n.origin).Key("address").String(n.address).Key("proxy").String(n.proxy);
    w.Key("dns").Double(Seconds(n.dns)).Key("tcp").Double(Seconds(n.tcp)).Key("tls").Double(Seconds(n.tls));
    w.Key("tls_version").String(n.tls_version).Key("subject").String(n.subject).Key("issuer").String(n.issuer);
    Strings(w, "names", n.names);
    OptionalTime(w, "not_after", n.not_after);
    w.Key("http_version").Int(n.http_version).Key("status").Int(n.status).Key("challenges").String(n.challenges);
    w.Key("clock_skew").Int(n.clock_skew ? n.clock_skew->count() : 0);
    Failure(w, "error", n.error);
    w.EndObject();
  }
  w.EndArray();
  w.Key("attempts").BeginArray();
  for (const auto& a : f.attempts) {
    w.BeginObject().Key("method").String(a.method).Key("what").String(a.what).Key("host").String(a.host).Key("mirror").Bool(a.mirror);
    w.Key("credential").String(a.credential).Key("status").Int(a.status).Key("code").String(a.reason ? result::Describe(*a.reason).code : "");
    w.Key("registry_code").String(a.registry_code).Key("seconds").Double(Seconds(a.took)).Key("next").String(a.next);
    w.Key("limit").String(a.limit).Key("warnings").BeginArray();
    for (const auto& text : a.warnings) w.String(text);
    w.EndArray().EndObject();
  }
  w.EndArray();
  w.Key("resolved");
  if (!f.resolved) {
    w.Null();
  } else {
    w.BeginObject().Key("digest").String(f.resolved->digest).Key("media_type").String(f.resolved->media_type).Key("host").String(f.resolved->host);
    Strings(w, "platforms", f.resolved->platforms);
    w.Key("chosen").String(f.resolved->chosen).Key("size").Uint(f.resolved->size).Key("layers").Uint(f.resolved->layers);
    w.Key("layers_here").Uint(f.resolved->layers_here).Key("fetch_bytes").Uint(f.resolved->fetch_bytes).EndObject();
  }
  Failure(w, "failure", f.failure ? f.failure : f.credential_error);
  w.Key("retry");
  if (!f.backoff) {
    w.Null();
  } else {
    w.BeginObject().Key("failures").Uint(f.backoff->failures).Key("delay").Double(Seconds(f.backoff->delay));
    w.Key("last_failure").String(Rfc3339(f.backoff->last_failure)).Key("next").String(Rfc3339(f.backoff->next));
    w.Key("remaining").Double(Seconds(f.backoff->remaining)).Key("failure").String(f.backoff->failure).EndObject();
  }
  w.Key("waiting");
  if (f.waiting_reason.empty()) w.Null();
  else w.BeginObject().Key("reason").String(f.waiting_reason).Key("message").String(f.waiting_message).EndObject();
  w.EndObject();
  return std::move(w).Take();
}

}  // namespace berth::explain
