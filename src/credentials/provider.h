// credentials/provider.h: exec plug-ins that give credentials (kubelet-images 7), run at arm's length.
//
// ProviderSet::Find asks every plug-in one of whose matchImages names the repository, and gives one keyring of all answers.
// A plug-in that fails (missing, hanging, crashing, lying) contributes nothing: the failure is logged and reported, the pull
// goes on with the other credentials. What comes back counts only for images of the patterns returned *and* of matchImages.
//
// How one is run (reliability-security 3.d, 5.3): the file is checked and run by descriptor, no shell; environment PATH, HOME
// and what the configuration says; request on stdin from memory; at most so much of stdout, for so long, then SIGTERM, 2 s,
// SIGKILL to all that it started, which ends with it anyway (a pid namespace of its own); nothing is left. One run at a time per (plug-in,
// image, token, annotations), however many ask; at most so many runs in all (PluginLimits). The last 256 bytes of stderr become part of the
// error, with everything taken out that is or looks like a secret (credentials/redact.h).
//
// Answers are kept in memory as they say (credentials/provider_cache.h), for at most a year.
// Configuration is looked at again by Reload(), and by Find() when ProviderOptions::look_again has passed: a changed and valid one takes effect at
// once, plug-ins that did not change keep their answers; with an invalid one the old stays. Calls under way finish with the
// old. Safe for concurrent use.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "credentials/keyring.h"
#include "credentials/provider_config.h"
#include "host/program.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::credentials {

// For whom an image is pulled. Empty: for nobody in particular.
struct PodIdentity {
  std::string namespace_name, name, uid, service_account;
};

// Where service accounts and their tokens come from. Safe for concurrent use.
class TokenSource {
 public:
  struct Account {
    std::string uid;
    std::map<std::string, std::string> annotations;
  };
  virtual ~TokenSource() = default;
  virtual Result<Account> FindAccount(const task::Context& ctx, const std::string& namespace_name, const std::string& name) = 0;
  // Bound to the Pod. The source keeps a token for most of its life, so that cache type Token has hits.
  virtual Result<secret::Secret> Token(const task::Context& ctx, const PodIdentity& pod, const std::string& account_uid,
                                       const std::string& audience) = 0;
};

// Of one run.
struct PluginLimits {
  time::Duration time = std::chrono::minutes(1);
  std::size_t output_bytes = 1u << 20, error_bytes = 8u << 10;  // of stdout; of stderr, its end
  std::size_t at_once = 4;                                      // of all plug-ins together; more wait
};

struct ProviderOptions {
  std::string config;   // file or folder
  std::string bin_dir;
  ProviderConfigRules rules;
  DocumentParser parse = ParseJsonDocument;
  std::vector<std::string> environment = MinimalEnvironment();  // "NAME=value"; the configuration's `env` wins
  host::Trust trust = host::Trust::kStrict;  // kAny: the file runs by its path, as the kubelet does it
  PluginLimits limits;
  time::Duration look_again = std::chrono::seconds(10);
  // After each run, on the thread that wanted it: which plug-in, how long, whether it gave an answer.
  std::function<void(const std::string& plugin, time::Duration took, bool good)> on_run;
  // PATH and HOME of this process.
  static std::vector<std::string> MinimalEnvironment();
};

// `base` and then `env`, of equal names the last.
std::vector<std::string> MergeEnvironment(const std::vector<std::string>& base, const std::vector<ProviderSpec::Variable>& env);

enum class Detail : bool { kNo, kYes };     // reports for explain
enum class AskPlugins : bool { kNo, kYes };  // kNo: nothing is run, nothing but the configuration is looked at

class ProviderSet {
 public:
  struct Found {
    Keyring keyring;
    std::vector<MatchReport> reports;  // failures always; with Detail::kYes also why others were not asked
  };
  // Reads the configuration and looks for the programs: kConfig, kPolicy with the kubelet's words where it has some.
  // `tokens` may be nullptr: plug-ins with tokenAttributes then fail.
  static Result<std::unique_ptr<ProviderSet>> Load(ProviderOptions options, const time::Clock& clock, TokenSource* tokens);
  ~ProviderSet();

  // `repository`: without tag and digest. Fails only when `ctx` ends it.
  Result<Found> Find(const task::Context& ctx, const std::string& repository, const PodIdentity& pod, Detail detail = Detail::kNo,
                     AskPlugins ask = AskPlugins::kYes);
  // Whether anything changed.
  Result<bool> Reload();
  std::string hash() const;  // of the configuration in force
  struct Counters { std::uint64_t runs = 0, failures = 0, hits = 0; };
  Counters counters() const;

 private:
  class Provider;
  struct State;
  struct Shared;
  ProviderSet(ProviderOptions options, const time::Clock& clock, TokenSource* tokens);
  Result<std::shared_ptr<const State>> Read(const State* old) const;
  void LookAgain();

  const ProviderOptions options_;
  const time::Clock& clock_;
  TokenSource* const tokens_;
  const std::unique_ptr<Shared> shared_;
  mutable std::mutex mutex_;
  std::shared_ptr<const State> state_;  // guarded by mutex_
  time::SteadyTime looked_{};           // guarded by mutex_
  std::string complaint_;               // guarded by mutex_: the last one about a reload, told once
};

}  // namespace berth::credentials
