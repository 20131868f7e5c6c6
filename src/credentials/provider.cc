#include "credentials/provider.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "bytes/bytes.h"
#include "credentials/go_text.h"
#include "credentials/provider_cache.h"
#include "credentials/provider_response.h"
#include "credentials/redact.h"
#include "digest/digest.h"
#include "host/dir.h"
#include "host/process.h"
#include "log/log.h"
#include "task/limiter.h"
#include "task/single_flight.h"
#include "time/go_duration.h"

namespace berth::credentials {

using Verdict = MatchReport::Verdict;

std::vector<std::string> ProviderOptions::MinimalEnvironment() {
  std::vector<std::string> out;
  for (const char* name : {"PATH", "HOME"})
    if (const char* value = std::getenv(name)) out.push_back(std::string(name) + "=" + value);
  return out;
}

std::vector<std::string> MergeEnvironment(const std::vector<std::string>& base, const std::vector<ProviderSpec::Variable>& env) {
  std::vector<std::string> out;
  const auto put = [&](std::string_view name, std::string line) {
    std::erase_if(out, [&](const std::string& o) { return o.size() > name.size() && o.starts_with(name) && o[name.size()] == '='; });
    out.push_back(std::move(line));
  };
  for (const auto& line : base) put(line.substr(0, line.find('=')), line);
  for (const auto& variable : env) put(variable.name, variable.name + "=" + std::string(variable.value.Reveal()));
  return out;
}

// What all plug-ins share.
struct ProviderSet::Shared {
  explicit Shared(std::size_t at_once) : slots(at_once) {}
  task::Limiter slots;
  std::atomic<std::uint64_t> runs = 0, failures = 0, hits = 0;
};

class ProviderSet::Provider {
 public:
  Provider(ProviderSpec spec, const ProviderOptions& options, Shared& shared, TokenSource* tokens)
      : spec_(std::move(spec)), options_(options), shared_(shared), tokens_(tokens) {}

  const ProviderSpec& spec() const { return spec_; }
  std::string source() const { return "plug-in " + spec_.name; }
  // The pattern that names the repository, nullptr for none.
  const std::string* Match(std::string_view repository) const {
    const auto names_it = [&](const auto& pattern) { return Matches(options_.rules.profile, pattern, repository); };
    const auto it = std::ranges::find_if(spec_.match_images, names_it);
    return it == spec_.match_images.end() ? nullptr : &*it;
  }

  struct Answer {
    ProviderEntries entries;  // nullptr: not asked
    std::string skipped;      // why not
    std::optional<ServiceAccountCoordinates> account;
  };
  Result<Answer> Ask(const task::Context& ctx, const std::string& repository, const PodIdentity& pod) {
    Answer answer;
    Caller caller;
    if (spec_.token) {
      ASSIGN_OR_RETURN(caller, Identify(ctx, pod, answer.skipped));
      if (!answer.skipped.empty()) return answer;
      if (!caller.account.name.empty()) answer.account = caller.account;
    }
    const std::string key = ServiceAccountKey(caller.account, caller.annotations, TokenKeyed() ? caller.token_hash : "");
    if ((answer.entries = cache_.Find(repository, key, ctx.clock().SteadyNow()))) {
      ++shared_.hits;
      return answer;
    }
    std::string flight = CacheKey(repository, caller.token_hash);
    for (const auto& [name, value] : caller.annotations) flight += CacheKey(name, value);
    auto ticket = flights_.Join(flight, ctx, [this, repository, key, caller](const task::Context& run) {
      return Run(run, repository, key, caller);
    });
    ASSIGN_OR_RETURN(answer.entries, ticket.Wait(ctx));
    return answer;
  }

 private:
  // In service account mode: on whose behalf.
  struct Caller {
    ServiceAccountCoordinates account;  // empty name: nobody's
    std::map<std::string, std::string> annotations;
    std::shared_ptr<const secret::Secret> token;
    std::string token_hash;
  };
  bool TokenKeyed() const { return spec_.token && spec_.token->cache_type == TokenAttributes::CacheType::kToken; }

  Result<Caller> Identify(const task::Context& ctx, const PodIdentity& pod, std::string& skipped) {
    Caller caller;
    const TokenAttributes& attributes = *spec_.token;
    if (pod.service_account.empty()) {
      if (attributes.require_service_account) skipped = "Service account name is empty";
      return caller;
    }
    if (tokens_ == nullptr) return Error(Reason::kUnsupported, "failed to get service account token: this node has no source of tokens");
    auto account = tokens_->FindAccount(ctx, pod.namespace_name, pod.service_account);
    if (!account) return std::move(account).error().Context("failed to get service account");
    for (const auto& key : attributes.required_annotations) {
      const auto it = account->annotations.find(key);
      if (it == account->annotations.end()) {
        skipped = "required annotation " + key + " not found";
        return caller;
      }
      caller.annotations.insert(*it);
    }
    for (const auto& key : attributes.optional_annotations)
      if (const auto it = account->annotations.find(key); it != account->annotations.end()) caller.annotations.insert(*it);
    auto token = tokens_->Token(ctx, pod, account->uid, attributes.audience);
    if (!token) return std::move(token).error().Context("failed to get service account token");
    caller.account = {{account->uid, pod.namespace_name, pod.service_account}};
    caller.token = std::make_shared<const secret::Secret>(*std::move(token));
    caller.token_hash = digest::Digest::Of(bytes::AsView(caller.token->Reveal())).ToString();
    return caller;
  }

  Result<ProviderEntries> Run(const task::Context& ctx, const std::string& repository, const std::string& account_key,
                              const Caller& caller) {
    ASSIGN_OR_RETURN(const auto slot, shared_.slots.Acquire(ctx));
    ++shared_.runs;
    const auto began = ctx.clock().SteadyNow();
    auto response = Exec(ctx, repository, caller);
    if (options_.on_run) options_.on_run(spec_.name, ctx.clock().SteadyNow() - began, response.has_value());
    if (!response) {
      ++shared_.failures;
      return std::move(response).error();
    }
    auto entries = std::make_shared<const std::vector<ProviderResponse::Entry>>(std::move(response->entries));
    const auto keep = std::min<time::Duration>(response->cache.value_or(spec_.default_cache), std::chrono::hours(24 * 365));
    if (keep > time::Duration::zero())
      cache_.Store(CacheKey(CacheBase(response->key_type, repository), account_key), entries, ctx.clock().SteadyNow() + keep);
    return ProviderEntries(entries);
  }

  Result<ProviderResponse> Exec(const task::Context& ctx, const std::string& repository, const Caller& caller) {
    const auto failed = [&](std::string_view what, std::string_view words) {
      return "error execing credential provider plugin " + spec_.name + " for image " + repository + ": " + std::string(what) +
             (words.empty() ? "" : ": " + Quoted(words));
    };
    host::ProcessSpec process;
    process.program = options_.bin_dir + "/" + spec_.name;
    process.own = host::ProcessSpec::Own::kContained;
    process.argv = spec_.args;
    process.argv.insert(process.argv.begin(), process.program);
    auto program = host::OpenProgram(options_.bin_dir, spec_.name, options_.trust);
    if (!program) return Error(program.error().reason(), failed(program.error().message(), ""));
    if (options_.trust == host::Trust::kStrict) process.program_fd = program->get();
    process.env = MergeEnvironment(options_.environment, spec_.env);
    const secret::Secret request = EncodeProviderRequest(
        {.version = spec_.version, .image = repository, .token = caller.token.get(), .annotations = caller.annotations});
    auto captured = host::RunCaptured(ctx.WithTimeout(options_.limits.time), process, bytes::AsView(request.Reveal()),
                                      {.stdout_bytes = options_.limits.output_bytes, .stderr_tail_bytes = options_.limits.error_bytes});
    for (auto& line : process.env) secret::Secret::Wipe(line);
    if (!captured) {
      if (captured.error().cancelled()) return std::move(captured).error();
      std::string what = captured.error().message();
      if (captured.error().reason() == Reason::kTimeout) what = "no answer within " + time::FormatGoDuration(options_.limits.time) + " (limit plugin_time)";
      if (captured.error().reason() == Reason::kLimitExceeded) what += " (limit plugin_output_bytes)";
      return Error(captured.error().reason(), failed(what, ""))
          .Next("run the plug-in by hand with a CredentialProviderRequest on its stdin");
    }
    if (captured->status.success()) {
      auto response = ParseProviderResponse(captured->out, spec_.version, TokenKeyed() ? nullptr : caller.token.get(),
                                            options_.limits.output_bytes);
      secret::Secret::Wipe(captured->out);
      return response;
    }
    Redactor redactor;
    if (caller.token) redactor.Add(caller.token->Reveal());
    for (const auto& variable : spec_.env) redactor.Add(variable.value.Reveal());
    if (const auto given = ParseProviderResponse(captured->out, spec_.version, nullptr, options_.limits.output_bytes))
      for (const auto& entry : given->entries) redactor.Add(entry.password.Reveal());
    redactor.AddWordsOf(captured->out);
    secret::Secret::Wipe(captured->out);
    const std::string words = redactor.Apply(captured->stderr_tail);
    secret::Secret::Wipe(captured->stderr_tail);
    return Error(Reason::kUnavailable, failed(captured->status.Text(), words)).Next("run the plug-in by hand with a CredentialProviderRequest on its stdin");
  }

  const ProviderSpec spec_;
  const ProviderOptions& options_;
  Shared& shared_;
  TokenSource* const tokens_;
  ProviderCache cache_;
  task::SingleFlight<std::string, ProviderEntries> flights_;  // last: its threads use the rest
};

struct ProviderSet::State {
  std::vector<std::shared_ptr<Provider>> providers;
  std::string hash;
};

ProviderSet::ProviderSet(ProviderOptions options, const time::Clock& clock, TokenSource* tokens)
    : options_(std::move(options)), clock_(clock), tokens_(tokens), shared_(std::make_unique<Shared>(options_.limits.at_once)) {}
ProviderSet::~ProviderSet() = default;

Result<std::unique_ptr<ProviderSet>> ProviderSet::Load(ProviderOptions options, const time::Clock& clock, TokenSource* tokens) {
  auto set = std::unique_ptr<ProviderSet>(new ProviderSet(std::move(options), clock, tokens));
  ASSIGN_OR_RETURN(set->state_, set->Read(nullptr));
  set->looked_ = clock.SteadyNow();
  return set;
}

Result<std::shared_ptr<const ProviderSet::State>> ProviderSet::Read(const State* old) const {
  if (const auto folder = host::Dir::Open(options_.bin_dir); !folder)
    return folder.error().reason() == Reason::kMissing
               ? Error(Reason::kConfig, "plugin binary directory " + options_.bin_dir + " did not exist")
               : Error(Reason::kConfig, "error inspecting binary directory " + options_.bin_dir + ": " + folder.error().message());
  ASSIGN_OR_RETURN(auto configs, LoadProviderConfigs(options_.config, options_.rules, options_.parse));
  auto state = std::make_shared<State>();
  state->hash = std::move(configs.hash);
  for (auto& spec : configs.providers) {
    if (auto program = host::OpenProgram(options_.bin_dir, spec.name, options_.trust); !program) {
      const std::string path = options_.bin_dir + "/" + spec.name;
      return program.error().reason() == Reason::kMissing
                 ? Error(Reason::kConfig, "plugin binary executable " + path + " did not exist")
                 : Error(program.error().reason(), "error inspecting binary executable " + path + ": " + program.error().message());
    }
    std::shared_ptr<Provider> provider;
    if (old != nullptr)
      for (const auto& known : old->providers)
        if (known->spec() == spec) provider = known;
    state->providers.push_back(provider ? provider : std::make_shared<Provider>(std::move(spec), options_, *shared_, tokens_));
  }
  return std::shared_ptr<const State>(std::move(state));
}

Result<bool> ProviderSet::Reload() {
  std::shared_ptr<const State> old;  // goes after the lock: its plug-ins may have to be ended
  std::lock_guard lock(mutex_);
  old = state_;
  looked_ = clock_.SteadyNow();
  ASSIGN_OR_RETURN(auto fresh, Read(old.get()));
  complaint_.clear();
  if (fresh->hash == old->hash) return false;
  state_ = std::move(fresh);
  return true;
}

void ProviderSet::LookAgain() {
  {
    std::lock_guard lock(mutex_);
    if (clock_.SteadyNow() - looked_ < options_.look_again) return;
  }
  const auto changed = Reload();
  if (changed && *changed) log::Info("credential provider configuration changed", {{"hash", hash()}});
  if (changed) return;
  std::lock_guard lock(mutex_);
  if (std::exchange(complaint_, changed.error().Text()) != changed.error().Text())
    log::Warning("credential provider configuration cannot be read again; the old one stays", {{"error", changed.error()}});
}

std::string ProviderSet::hash() const {
  std::lock_guard lock(mutex_);
  return state_->hash;
}

ProviderSet::Counters ProviderSet::counters() const { return {shared_->runs, shared_->failures, shared_->hits}; }

Result<ProviderSet::Found> ProviderSet::Find(const task::Context& ctx, const std::string& repository, const PodIdentity& pod, Detail detail,
                                             AskPlugins ask) {
  LookAgain();
  std::shared_ptr<const State> state;
  {
    std::lock_guard lock(mutex_);
    state = state_;
  }
  const Profile profile = options_.rules.profile;
  Found found{Keyring(profile), {}};
  for (const auto& provider : state->providers) {
    const std::string* pattern = provider->Match(repository);
    const auto report = [&](Verdict verdict, const std::string& which, std::string why) {
      found.reports.push_back({.verdict = verdict, .source = provider->source(), .pattern = which, .reason = std::move(why)});
    };
    if (pattern == nullptr) {
      if (detail == Detail::kYes)
        for (const auto& which : provider->spec().match_images) {
          auto why = WhyNot(profile, which, repository);
          report(Verdict::kNoMatch, which, why.empty() ? "a pattern is host and path, without scheme" : std::move(why));
        }
      continue;
    }
    if (ask == AskPlugins::kNo) {
      report(Verdict::kSkipped, *pattern, "not run");
      continue;
    }
    auto answer = provider->Ask(ctx, repository, pod);
    if (!answer) {
      RETURN_IF_ERROR(ctx.Check());
      log::Warning("Failed to provide credentials for image", {{"provider", provider->spec().name}, {"image", repository}, {"error", answer.error()}});
      report(Verdict::kFailed, *pattern, answer.error().Text());
      continue;
    }
    if (!answer->entries || answer->entries->empty()) {
      if (detail == Detail::kYes) report(Verdict::kSkipped, *pattern, answer->entries ? "it has no credentials for this image" : answer->skipped);
      continue;
    }
    DockerConfig config;
    for (const auto& entry : *answer->entries) {
      Credential credential;
      credential.username = entry.username;
      credential.password = entry.password.Clone();
      credential.source = provider->source();
      credential.service_account = answer->account;
      config.entries.push_back({entry.pattern, std::move(credential)});
    }
    for (const auto& key : found.keyring.Add(std::move(config)))
      log::Debug("a key of a plug-in's answer names no registry", {{"provider", provider->spec().name}, {"key", key}});
  }
  if (detail == Detail::kYes) found.keyring.Explain(repository, found.reports);
  return found;
}

}  // namespace berth::credentials
