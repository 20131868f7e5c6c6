#include "apps/berth/cmd_admit.h"

#include <mutex>
#include <random>

#include "admission/files.h"
#include "admission/images.h"
#include "apps/berth/files.h"
#include "apps/berth/format.h"
#include "http/client.h"
#include "http/proxy.h"
#include "kube/parse.h"
#include "registry/client.h"
#include "resolve/registry_resolver.h"

namespace berth::cli {
namespace {

Error Usage(std::string text) { return Error(Reason::kUsage, std::move(text)); }

// Everything behind --pin, made when the first image is to be looked up.
class Registries {
 public:
  Registries(Session& session, AuthOptions auth, bool documented, admission::Facts& facts)
      : session_(session), auth_options_(std::move(auth)),
        sources_(documented ? credentials::Profile::kDocumented : credentials::Profile::kKubelet, {}), facts_(facts) {}

  // Reads the password or the file now, and says what is wrong with it. `images`: what may be looked up.
  Result<> Prepare(std::span<const reference::Reference> images) {
    RETURN_IF_ERROR(OneRegistry(auth_options_, images));
    const World& world = session_.world();
    const http::ProxyRules::GetEnv variable = [&world](std::string_view name) -> std::optional<std::string> {
      const char* value = world.variable(std::string(name).c_str());
      return value == nullptr ? std::nullopt : std::optional<std::string>(value);
    };
    const auto warn = [this](std::string_view text) { session_.Warn(text); };
    ASSIGN_OR_RETURN(auto auth, Auth::Load(session_.context(), session_.world(), std::move(auth_options_), warn));
    ASSIGN_OR_RETURN(auto proxies, http::ProxyRules::FromEnvironment(variable));
    auth_.emplace(std::move(auth));
    const auto rules = std::make_shared<const http::ProxyRules>(std::move(proxies));
    http_.emplace(http::ClientOptions{.proxies = rules, .get_env = variable});
    registry::ClientOptions options;
    options.retry.rounds = 3;
    client_.emplace(*http_, world.clock, [this] {
      std::lock_guard hold(mutex_);
      return std::uniform_real_distribution<double>(0, 1)(generator_);
    }, std::move(options));
    resolver_.emplace(*client_, facts_, sources_, [this](const reference::Reference& image) {
      std::lock_guard hold(mutex_);  // it may run a helper, which may warn
      return auth_->For(image, [this](std::string_view text) { session_.Warn(text); });
    });
    cache_.emplace(*resolver_, world.clock);
    return {};
  }
  admission::DigestCache* cache() { return cache_ ? &*cache_ : nullptr; }

 private:
  Session& session_;
  AuthOptions auth_options_;
  const credentials::Sources sources_;
  admission::Facts& facts_;
  std::mutex mutex_;
  std::mt19937_64 generator_{std::random_device{}()};
  std::optional<Auth> auth_;
  std::optional<http::Client> http_;
  std::optional<registry::Client> client_;
  std::optional<resolve::RegistryResolver> resolver_;
  std::optional<admission::DigestCache> cache_;
};

Result<std::vector<yaml::Document>> Parse(Source& source) {
  auto documents = yaml::Parse(source.text, source.name, Reason::kUsage,
                               {.bytes = 8u << 20, .depth = 64, .values = 1'000'000, .documents = 10'000});
  secret::Secret::Wipe(source.text);
  if (!documents) return std::move(documents).error().Next(kCorrectTheFile);
  return documents;
}

// One of them, as stderr has it: what changed, what to mind, why not.
void Tell(Session& session, const admission::Admitted& a, std::vector<int>& statuses) {
  const std::string title = Escape(a.Title());
  for (const auto& change : a.outcome.changes) session.Talk(title + ": " + Escape(admission::Describe(change)) + "\n");
  for (const auto& warning : a.outcome.warnings) session.Warn(Escape(title + ": " + warning));
  if (!a.outcome.denied) return;
  statuses.push_back(session.Fail(At(Escape(a.file + ":" + std::to_string(a.line)), FromError(a.outcome.ToError()))));
}

class Command {
 public:
  Command(Session& session, AdmitOptions options)
      : session_(session), options_(std::move(options)), documented_(options_.profile == "Documented"),
        registries_(session, std::move(options_.auth), documented_, facts_) {}

  Result<int> Run() {
    ASSIGN_OR_RETURN(const std::vector<yaml::Document> old, Old());
    settings_.options = admission::FileOptions(documented_);
    settings_.options.always_pull = options_.always_pull;
    settings_.options.pin = options_.pin;
    Fill(settings_.options);
    if (!options_.ns.empty()) settings_.ns = options_.ns;
    settings_.digests = [this] { return registries_.cache(); };
    if (options_.files.empty()) options_.files = {"-"};
    if (session_.world().stdin_terminal && options_.files.front() == "-") return Usage("admit needs -f FILE, or objects on stdin");
    ASSIGN_OR_RETURN(auto sources, ReadFiles(session_, options_.files));
    std::vector<std::pair<std::string, std::vector<yaml::Document>>> files;
    bool function = false;
    for (Source& source : sources) {
      ASSIGN_OR_RETURN(auto documents, Parse(source));
      for (const auto& d : documents) function |= admission::IsResourceList(d.root());
      files.emplace_back(source.name, std::move(documents));
    }
    // A function's own settings may ask for digests, too.
    if (options_.pin || function) RETURN_IF_ERROR(registries_.Prepare(Unpinned(files)));
    if (function) {
      if (files.size() != 1 || files[0].second.size() != 1) return Usage("a ResourceList stands alone");
      return Function(files[0].second[0]);
    }
    // All of them first: an account may stand behind the Pod that names it, or in another file.
    for (const auto& [name, documents] : files)
      for (const auto& d : documents)
        for (const json::Value& item : kube::Items(d.root())) facts_.Add(item, settings_.ns);
    const auto* before = options_.as == "update" ? &old : nullptr;
    std::vector<admission::Admitted> all;
    for (const auto& [name, documents] : files)
      for (auto& a : admission::AdmitDocuments(Context(), documents, name, settings_, facts_, before)) all.push_back(std::move(a));
    std::vector<int> statuses;
    if (session_.json()) {
      for (const auto& a : all)
        if (a.outcome.denied) statuses.push_back(FromError(a.outcome.ToError()).exit_status);
      session_.OutJson(admission::ToJson(all));
    } else {
      for (const auto& a : all) Tell(session_, a, statuses);
      session_.Out(admission::ToYaml(all));
    }
    return MostActionable(statuses);
  }

 private:
  task::Context Context() const { return session_.context(); }

  // The images of all files that have no digest yet.
  static std::vector<reference::Reference> Unpinned(const std::vector<std::pair<std::string, std::vector<yaml::Document>>>& files) {
    std::vector<reference::Reference> images;
    for (const auto& [file, documents] : files)
      for (const auto& d : documents)
        for (const json::Value& item : kube::Items(d.root())) {
          const json::Tree object(item);
          const auto* kind = admission::FindWorkload(object.Text("apiVersion"), object.Text("kind"));
          if (kind == nullptr) continue;
          const auto pod = admission::FindPod(object, *kind);
          if (!pod) continue;
          for (const auto& image : pod->images) {
            auto name = reference::Reference::Parse(image.name());
            if (name && !name->digest()) images.push_back(*std::move(name));
          }
        }
    return images;
  }

  void Fill(admission::Options& o) const {
    using Defaults = admission::Options::Defaults;
    if (options_.defaults == "Policies") o.fill = Defaults::kPolicies;
    if (options_.defaults == "None") o.fill = Defaults::kNone;
  }

  Result<std::vector<yaml::Document>> Old() {
    const bool update = options_.as == "update";
    if (update && options_.old.empty()) return Usage("--as update needs --old FILE: the objects as they are stored");
    if (!update && !options_.old.empty()) return Usage("--old FILE is for --as update");
    std::vector<yaml::Document> all;
    if (!update) return all;
    ASSIGN_OR_RETURN(auto sources, ReadFiles(session_, {options_.old}));
    for (Source& source : sources) {
      ASSIGN_OR_RETURN(auto documents, Parse(source));
      for (auto& d : documents) all.push_back(std::move(d));
    }
    return all;
  }

  Result<int> Function(const yaml::Document& list) {
    ASSIGN_OR_RETURN(const auto reply, admission::RunFunction(Context(), list, settings_, facts_));
    session_.Out(reply.text);
    return reply.error ? session_.Fail(FromError(*reply.error)) : 0;
  }

  Session& session_;
  AdmitOptions options_;
  const bool documented_;
  admission::Settings settings_;
  admission::FileFacts facts_;
  Registries registries_;
};

}  // namespace

int Admit(Session& session, AdmitOptions options) {
  const auto status = Command(session, std::move(options)).Run();
  return status ? *status : session.Fail(session.Judge(status.error()));
}

}  // namespace berth::cli
