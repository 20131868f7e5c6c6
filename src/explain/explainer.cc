#include "explain/explainer.h"

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "explain/journal.h"
#include "http/retry.h"
#include "pull/gate.h"

namespace berth::explain {
namespace {

using credentials::MatchReport;
using policy::PullPolicy;
using State = PresenceFacts::State;

constexpr std::size_t kHosts = 4, kPlatforms = 20;

// Schemes of WWW-Authenticate: those we know, for the rest is the other side's text.
std::string Challenges(const http::Headers& headers) {
  std::string out;
  for (const auto line : headers.All("WWW-Authenticate")) {
    const std::string_view text(line);
    const std::string_view word = text.substr(0, text.find(' '));
    std::string_view known = "another scheme";
    for (const std::string_view scheme : {"Basic", "Bearer", "Digest", "Negotiate", "NTLM"})
      if (http::EqualNoCase(word, scheme)) known = scheme;
    if (out.find(known) == std::string::npos) out += (out.empty() ? "" : ", ") + std::string(known);
  }
  return out;
}

void Describe(const http::Peer& peer, NetworkFacts& n) {
  n.tls_version = peer.version;
  n.subject = peer.subject;
  n.issuer = peer.issuer;
  n.names = peer.names;
  n.not_before = peer.not_before;
  n.not_after = peer.not_after;
}

bool AboutCertificate(Reason reason) {
  return reason == Reason::kTls || reason == Reason::kTlsCa || reason == Reason::kTlsName || reason == Reason::kTlsExpired;
}

// The folder that counts for this registry, else the one to make.
void FindCertsDir(const registry::HostsOptions& options, const std::string& domain, Facts& f) {
  std::error_code error;
  for (const auto& root : options.roots)
    for (const auto& name : registry::HostsDirectoryNames(domain))
      if (f.certs_dir.empty() && std::filesystem::is_directory(root + "/" + name, error)) f.certs_dir = root + "/" + name;
  if (f.certs_dir.empty() && !options.roots.empty()) f.certs_dir = options.roots[0] + "/" + domain;
  f.hosts_file = std::filesystem::exists(f.certs_dir + "/hosts.toml", error);
}

// The one of the name's images that the node would take.
Result<std::optional<catalog::ImageRecord>> ForHost(catalog::Catalog& catalog, const catalog::NameRecord& name, const oci::Platform& host) {
  std::vector<catalog::ImageRecord> images;
  for (const auto& manifest : name.images) {
    ASSIGN_OR_RETURN(auto image, catalog.FindImage(manifest));
    if (image) images.push_back(*std::move(image));
  }
  const auto* best = oci::PlatformMatcher(host).Best(images);
  return best == nullptr ? std::nullopt : std::optional(*best);
}

}  // namespace

Result<Report> Explainer::Explain(const task::Context& outer, Question question) const {
  const task::Context ctx = outer.WithTimeout(options_.limit);
  Facts f;
  f.image = question.image;
  f.ns = question.ns;
  f.pod = question.pod;
  f.container = question.container;
  f.node = options_.node;
  f.platform = options_.host.ToString();
  f.profile = options_.profile;
  f.missing = std::move(question.missing);
  f.notes = std::move(question.notes);
  f.backoff = std::move(question.backoff);
  f.waiting_reason = question.waiting_reason;
  f.waiting_message = question.waiting_message;
  f.running = question.running;
  f.policy = {.value = question.policy.value_or(policy::DefaultPullPolicy(options_.profile, question.image)),
              .given = question.policy.has_value(), .profiles_differ = policy::ProfilesDiffer(question.image)};

  auto reference = reference::Reference::Parse(question.image);
  if (!reference) {
    f.failure = std::move(reference).error();
    return MakeReport(std::move(f));
  }
  f.reference = *std::move(reference);
  FindCertsDir(options_.registry.hosts, f.reference->domain(), f);
  if (const auto found = FindPresent(f); !found) {
    f.failure = found.error();
    return MakeReport(std::move(f));
  }
  ASSIGN_OR_RETURN(auto credentials, FindCredentials(ctx, question, f));
  CheckAccess(question, credentials, f);
  const bool present = f.present.state == State::kPresent;
  RecallVerdict(f);
  if (f.verification && !f.verification->admitted()) {
    f.failure = f.verification->Refusal();
    return MakeReport(std::move(f));
  }
  const bool unverified = present && parts_.verifier != nullptr && parts_.verifier->enabled() && !f.verification;
  f.pull_needed = unverified || f.policy.value == PullPolicy::kAlways || f.present.must_prove ||
                  (!present && f.policy.value != PullPolicy::kNever);
  // The kubelet asks nobody when the look-up of credentials fails; neither do we.
  if (!f.pull_needed || f.policy.value == PullPolicy::kNever || f.credential_error) return MakeReport(std::move(f));
  RETURN_IF_ERROR(AskRegistry(ctx, std::move(credentials), f));
  if (question.pin && f.resolved && !f.reference->digest())
    f.notes.push_back("admission digest writes " + f.reference->Familiar() + "@" + f.resolved->digest);
  RETURN_IF_ERROR(LookAtNetwork(outer, f));
  return MakeReport(std::move(f));
}

// What the rules or the record say about the name, and about what is here, without asking anybody.
void Explainer::RecallVerdict(Facts& f) const {
  if (parts_.verifier == nullptr || !parts_.verifier->enabled()) return;
  auto verdict = parts_.verifier->Decide(*f.reference, nullptr);
  if (!verdict && f.present.state == State::kPresent && parts_.catalog != nullptr)
    if (const auto digest = digest::Digest::Parse(f.present.digest))
      if (auto recalled = pull::Gate(parts_.verifier, *parts_.catalog).Recall(*f.reference, *digest)) verdict = *std::move(recalled);
  f.verification = std::move(verdict);
}

Result<> Explainer::Verify(const task::Context& ctx, registry::Repository& repository, const verify::Subject& subject, Facts& f) const {
  f.verification.reset();
  if (parts_.verifier == nullptr || !parts_.verifier->enabled()) return {};
  ASSIGN_OR_RETURN(f.verification, parts_.verifier->Verify(ctx, subject, repository));
  if (f.verification->admitted()) return {};
  return f.verification->Refusal();
}

Result<> Explainer::FindPresent(Facts& f) const {
  if (parts_.catalog == nullptr) return {};
  ASSIGN_OR_RETURN(const auto name, parts_.catalog->FindName(f.reference->Canonical()));
  f.present.state = State::kAbsent;
  if (!name) return {};
  ASSIGN_OR_RETURN(const auto image, ForHost(*parts_.catalog, *name, options_.host));
  if (!image) return {};
  f.present = {.state = State::kPresent,
               .digest = name->target.ToString(),
               .platform = image->platform,
               .pulled = image->pulled,
               .size = image->size};
  return {};
}

Result<std::vector<credentials::Credential>> Explainer::FindCredentials(const task::Context& ctx, Question& question, Facts& f) const {
  std::vector<credentials::Credential> all;
  for (auto& credential : question.given) {
    f.entries.push_back({.verdict = MatchReport::Verdict::kMatched, .source = credential.source, .pattern = credential.pattern,
                         .username = credential.username, .hash = credentials::ShortHash(credential)});
    all.push_back(std::move(credential));
  }
  if (!question.node_credentials && question.secrets.empty()) return all;
  std::vector<credentials::SecretCoordinates> missing;
  for (const auto& m : f.missing) {
    credentials::SecretCoordinates& where = missing.emplace_back();
    where.namespace_name = m.ns;
    where.name = m.name;
  }
  auto found = parts_.sources.Find(ctx, {.repository = f.reference->Repository(), .secrets = question.secrets, .missing = missing,
                                         .pod = question.identity, .detail = credentials::Detail::kYes});
  if (!found) {
    RETURN_IF_ERROR(ctx.Check());
    f.credential_error = std::move(found).error();
    return all;
  }
  std::ranges::move(found->reports, std::back_inserter(f.entries));
  std::ranges::move(found->credentials, std::back_inserter(all));
  return all;
}

void Explainer::CheckAccess(const Question& question, const std::vector<credentials::Credential>& credentials, Facts& f) const {
  if (parts_.records == nullptr || f.present.state != State::kPresent) return;
  const auto name = parts_.catalog->FindName(f.reference->Canonical());
  if (!name || !*name) return;
  const auto image = ForHost(*parts_.catalog, **name, options_.host);
  if (!image || !*image) return;
  const auto decision = parts_.records->MustAttemptPull(
      question.image, (*image)->config.ToString(), [&]() -> Result<std::vector<policy::AccessCredential>> {
        std::vector<policy::AccessCredential> all;
        for (const auto& credential : credentials)
          if (auto access = policy::AccessOf(credential); access.kind != policy::AccessCredential::Kind::kNode)
            all.push_back(std::move(access));
        return all;
      });
  f.present.must_prove = decision.must_pull;
  f.present.access = decision.why;
  if (decision.matched) f.present.access += "; proven: " + decision.matched->Describe();
}

Result<> Explainer::AskRegistry(const task::Context& ctx, std::vector<credentials::Credential> credentials, Facts& f) const {
  std::mutex mutex;
  {
    const auto repository = parts_.registry.Open(*f.reference, std::move(credentials), [&](const registry::Attempt& attempt) {
      std::lock_guard lock(mutex);
      if (f.attempts.size() < 200) f.attempts.push_back(attempt);
    });
    const auto ask = [&]() -> Result<> {
      ASSIGN_OR_RETURN(const auto resolved, repository->Resolve(ctx));
      f.resolved = ResolvedFacts{.digest = resolved.digest.ToString(), .media_type = resolved.media_type, .host = resolved.host};
      RETURN_IF_ERROR(Verify(ctx, *repository, {*f.reference, resolved.digest, resolved.media_type, resolved.size}, f));
      return ChoosePlatform(ctx, *repository, resolved, f);
    };
    if (auto asked = ask(); !asked) f.failure = std::move(asked).error();
  }
  return {};
}

Result<> Explainer::ChoosePlatform(const task::Context& ctx, registry::Repository& repository, const registry::Resolved& resolved,
                                   Facts& f) const {
  const oci::PlatformMatcher matcher(options_.host);
  ASSIGN_OR_RETURN(const auto fetched, repository.FetchManifest(ctx, resolved.digest.ToString(), resolved.media_type));
  ASSIGN_OR_RETURN(const auto document, oci::ParseManifestOrIndex(fetched.bytes, fetched.media_type));
  ResolvedFacts& r = *f.resolved;
  if (r.media_type.empty()) r.media_type = fetched.media_type;
  if (const auto* index = std::get_if<oci::Index>(&document)) {
    for (const auto* entry : index->Candidates()) {
      if (!entry->platform || r.platforms.size() >= kPlatforms) continue;
      if (auto text = entry->platform->ToString(); std::ranges::find(r.platforms, text) == r.platforms.end())
        r.platforms.push_back(std::move(text));
    }
    const auto fit = index->Select(matcher);
    if (fit.empty()) return Error(Reason::kNoMatch, "no image for " + f.platform + " in this index; it has " + index->OfferedPlatforms());
    r.chosen = fit[0]->platform ? fit[0]->platform->ToString() : "";
    // Nested indexes are rare: what they hold is left to the pull.
    if (oci::IsIndexType(fit[0]->media_type)) return {};
    ASSIGN_OR_RETURN(const std::string inner, repository.FetchDocument(ctx, *fit[0]));
    ASSIGN_OR_RETURN(const auto image, oci::Manifest::Parse(inner, fit[0]->media_type));
    RETURN_IF_ERROR(oci::CheckIsImage(image));
    return CountLayers(image, f);
  }
  const auto& manifest = std::get<oci::Manifest>(document);
  RETURN_IF_ERROR(oci::CheckIsImage(manifest));
  RETURN_IF_ERROR(CountLayers(manifest, f));
  ASSIGN_OR_RETURN(const std::string bytes, repository.FetchDocument(ctx, manifest.config()));
  ASSIGN_OR_RETURN(const auto config, oci::ImageConfig::Parse(bytes));
  r.platforms = {config.platform.ToString()};
  RETURN_IF_ERROR(oci::CheckPlatform(config, matcher));
  r.chosen = r.platforms[0];
  return {};
}

Result<> Explainer::CountLayers(const oci::Manifest& manifest, Facts& f) const {
  ResolvedFacts& r = *f.resolved;
  r.size = manifest.TotalSize();
  r.layers = manifest.layers().size();
  for (const auto& layer : manifest.layers()) {
    bool here = false;
    if (parts_.catalog != nullptr) {
      ASSIGN_OR_RETURN(const auto found, parts_.catalog->FindLayer(layer.digest));
      here = found.has_value();
    }
    r.layers_here += here;
    r.fetch_bytes += here ? 0 : layer.size;
  }
  return {};
}

Result<> Explainer::LookAtNetwork(const task::Context& ctx, Facts& f) const {
  auto hosts = registry::HostsFor(f.reference->domain(), options_.registry.hosts);
  if (!hosts) {
    if (!f.failure) f.failure = std::move(hosts).error();
    return {};
  }
  for (const auto& host : *hosts) f.hosts.push_back({host.base.origin().ToString(), host.mirror});
  for (std::size_t i = 0; i < hosts->size() && i < kHosts; ++i) {
    ASSIGN_OR_RETURN(auto seen, LookAt(ctx, (*hosts)[i]));
    // A loopback registry that speaks plain HTTP is asked that way.
    if (f.hosts[i].origin != seen.origin && (*hosts)[i].plain_fallback) f.hosts[i].origin = seen.origin;
    f.network.push_back(std::move(seen));
  }
  // Asked in plain HTTP and not understood: is it a TLS server?
  for (std::size_t i = 0, n = f.network.size(); i < n && f.failure; ++i) {
    const NetworkFacts& seen = f.network[i];
    if ((*hosts)[i].mirror || !seen.origin.starts_with("http://") || (!seen.error && seen.status != 400)) continue;
    registry::HostEndpoint secure = (*hosts)[i];
    secure.base.scheme = "https";
    secure.plain_fallback = false;
    secure.tls = {.skip_verify = true};
    ASSIGN_OR_RETURN(auto again, LookAt(ctx, secure));
    if (!again.tls_version.empty()) f.network.push_back(std::move(again));
  }
  return {};
}

Result<NetworkFacts> Explainer::LookAt(const task::Context& ctx, const registry::HostEndpoint& host) const {
  const auto ask = [&](const http::Url& url, bool verify) {
    http::Request request;
    request.url = url;
    if (!url.path.ends_with('/')) request.url.path += "/";
    request.tls = host.tls;
    if (!verify) request.tls = {.skip_verify = true};
    request.limits = options_.probe;
    request.allow_plain_http = !url.https();
    request.overrides = options_.registry.overrides;
    request.inspect = true;
    return parts_.http.Send(ctx, request);
  };
  const auto fill = [&](const http::Response& response, NetworkFacts& n) {
    const auto& t = response.timing();
    n.address = response.remote_address();
    n.dns = t.dns;
    n.tcp = std::max(t.connect - t.dns, time::Duration::zero());
    n.tls = std::max(t.tls - t.connect, time::Duration::zero());
    n.http_version = response.http_version();
    if (const auto peer = response.peer()) Describe(*peer, n);
  };
  http::Url url = host.base;
  auto sent = ask(url, true);
  if (!sent && sent.error().reason() == Reason::kHttpOnHttps && host.plain_fallback) {
    url.scheme = "http";
    sent = ask(url, true);
  }
  NetworkFacts n;
  n.origin = url.origin().ToString();
  if (parts_.proxies != nullptr)
    if (const http::Proxy* proxy = parts_.proxies->For(url)) n.proxy = proxy->ToString();
  if (!sent) {
    if (sent.error().cancelled()) return std::move(sent).error();
    n.error = std::move(sent).error();
    if (!AboutCertificate(n.error->reason()) || !url.https()) return n;
    // Whose certificate is it? Nothing secret is in this request.
    if (const auto look = ask(url, false)) fill(**look, n);
    return n;
  }
  const http::Response& response = **sent;
  fill(response, n);
  n.status = response.status();
  n.challenges = Challenges(response.headers());
  if (const std::string* date = response.headers().Find("Date"))
    if (const auto theirs = http::ParseHttpDate(*date, ctx.clock().WallNow())) {
      const auto skew = std::chrono::duration_cast<std::chrono::seconds>(*theirs - ctx.clock().WallNow());
      if (std::chrono::abs(skew) > std::chrono::minutes(1)) n.clock_skew = skew;
    }
  return n;
}

Result<Report> Explainer::Last(const std::string& image) const {
  if (parts_.catalog == nullptr) return Error(Reason::kUnsupported, "there is no journal here");
  auto reference = reference::Reference::Parse(image);
  if (!reference) return std::move(reference).error();
  ASSIGN_OR_RETURN(const auto entry, parts_.catalog->LastOf(reference->Canonical()));
  if (!entry) return Error(Reason::kNotFound, "the journal knows no pull of " + reference->Canonical()).Next("berth explain " + image + " asks the registry now");
  ASSIGN_OR_RETURN(Facts f, FromJournal(*entry));
  f.image = image;
  f.node = options_.node;
  f.platform = options_.host.ToString();
  f.profile = options_.profile;
  FindCertsDir(options_.registry.hosts, reference->domain(), f);
  for (const auto& a : f.attempts)
    if (!a.host.empty() && a.what != "token" && std::ranges::find(f.hosts, a.host, &HostFacts::origin) == f.hosts.end())
      f.hosts.push_back({a.host, a.mirror});
  return MakeReport(std::move(f));
}

Result<Report> Explainer::Probe(const task::Context& outer, const std::string& what, std::vector<credentials::Credential> given) const {
  if (what.find('/') != std::string::npos) {
    Question question{.image = what, .policy = PullPolicy::kAlways};
    question.given = std::move(given);
    question.node_credentials = question.given.empty();
    return Explain(outer, std::move(question));
  }
  const task::Context ctx = outer.WithTimeout(options_.limit);
  Facts f;
  f.image = what;
  f.node = options_.node;
  f.platform = options_.host.ToString();
  f.profile = options_.profile;
  // A registry is the first part of a name: with a dot, a port, or "localhost".
  auto reference = reference::Reference::Parse(what + "/probe");
  if (!reference || reference->domain() != what)
    return Error(Reason::kUsage, Quoted(what) + " is no registry").Next("write HOST[:PORT], as in the image's name; or HOST/REPOSITORY[:TAG]");
  f.reference = *std::move(reference);
  FindCertsDir(options_.registry.hosts, what, f);
  RETURN_IF_ERROR(LookAtNetwork(ctx, f));
  if (!f.network.empty() && f.network.back().error && !f.failure) f.failure = f.network.back().error;
  for (const auto& n : f.network)
    if (!n.error && n.status != 200 && n.status != 401 && n.status != 403 && !f.failure)
      f.failure = Error(n.status >= 500 ? Reason::kServerError : Reason::kUnexpectedStatus, n.origin + " answers " + std::to_string(n.status) + " to /v2/");
  Report report = MakeReport(std::move(f));
  if (report.verdict.ok()) {
    report.verdict.headline = "ANSWERS";
    report.verdict.sentence = "a registry answers there";
    report.verdict.next = {"nothing to do; ask about an image there", "berth explain " + what + "/REPOSITORY:TAG"};
  }
  return report;
}

}  // namespace berth::explain
