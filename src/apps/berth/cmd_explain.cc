#include "apps/berth/cmd_explain.h"

#include <algorithm>
#include <array>

#include "apps/berth/commands.h"
#include "apps/berth/files.h"
#include "apps/berth/format.h"
#include "credentials/docker_config.h"
#include "credentials/lint.h"
#include "explain/lint.h"
#include "host/dir.h"
#include "json/document.h"
#include "reference/reference.h"

namespace berth::cli {
namespace {

using credentials::MatchReport;
using credentials::Profile;

Error Usage(std::string text) { return Error(Reason::kUsage, std::move(text)); }
Profile ProfileOf(const ExplainOptions& options) { return options.profile == "Kubelet" ? Profile::kKubelet : Profile::kDocumented; }

// The verdict's first words and NEXT stand out on a terminal.
std::string Coloured(std::string text, bool good) {
  const auto line = text.find('\n');
  if (line == text.npos) return text;
  const auto end = text.find("  ", line);
  if (end != text.npos) text = text.substr(0, line + 1) + (good ? "\x1b[32m" : "\x1b[31m") + text.substr(line + 1, end - line - 1) + "\x1b[0m" + text.substr(end);
  if (const auto next = text.rfind("\nNEXT  "); next != text.npos) text.replace(next + 1, 4, "\x1b[1mNEXT\x1b[0m");
  return text;
}

// Text of a daemon, which may be newer than we are: line breaks stay, everything else that moves a cursor does not.
std::string Lines(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out += Escape(std::string_view(text).substr(at, end - at)) + "\n";
    at = end + 1;
  }
  return out;
}

// Prints reports as they come.
class Printer {
 public:
  Printer(Session& session, bool list) : session_(session), documents_(session, list) {}
  void Add(const v1::Report& report) {
    statuses_.push_back(report.exit_status());
    if (session_.json()) return documents_.Add(report.json());
    if (session_.globals().quiet) return;
    std::string text = Lines(report.text());
    if (session_.colour(session_.world().out) == Colour::kYes) text = Coloured(std::move(text), report.exit_status() == 0);
    session_.Out((statuses_.size() > 1 ? "\n" : "") + text);
  }
  int End() {
    if (session_.json()) documents_.End();
    return MostActionable(statuses_);
  }

 private:
  Session& session_;
  Documents documents_;
  std::vector<int> statuses_;
};

int Ask(Session& session, const v1::ExplainRequest& request, bool list) {
  Printer printer(session, list);
  auto failure = session.Read(&v1::Explain::Stub::Explain, request, [&](const v1::Report& report) {
    printer.Add(report);
    return !session.world().out.broken().has_value();
  });
  if (failure && list && failure->exit_status == 2 && failure->next.empty() && !request.objects().empty()) failure->next = kCorrectTheFile;
  if (failure) return session.Fail(*failure);
  return printer.End();
}

bool HasAuth(const AuthOptions& auth) { return !auth.creds.empty() || !auth.auth.empty() || !auth.authfile.empty() || auth.password_stdin; }

template <class Request>
std::optional<Failure> AddCredentials(Session& session, AuthOptions options, const std::string& image, Request& request, bool& exclusive) {
  const auto reference = reference::Reference::Parse(image.find('/') == std::string::npos ? image + "/x" : image);
  if (!reference) return FromError(reference.error());
  const auto warn = [&](std::string_view text) { session.Warn(text); };
  const auto auth = Auth::Load(session.context(), session.world(), std::move(options), warn);
  if (!auth) return session.Judge(auth.error());
  for (const auto& credential : auth->For(*reference, warn)) FillCredential(credential, *request.add_credentials());
  exclusive = auth->exclusive();
  return std::nullopt;
}

// config.json or .dockercfg, by name and by shape.
credentials::FileFormat FormatOf(const std::string& path) {
  return path.ends_with(".dockercfg") ? credentials::FileFormat::kDockerCfg : credentials::FileFormat::kConfigJson;
}
Result<std::string> ReadConfig(const Session& session, const std::string& file) {
  ASSIGN_OR_RETURN(const std::string path, session.world().Absolute(file));
  auto text = credentials::ReadDockerConfig(path);
  if (!text) return Error(Reason::kConfig, "the file " + Quoted(file) + " cannot be read: " + text.error().message()).Next("check the path");
  return text;
}
// --config and --authfile are one here, and a pull's default the default.
Result<std::string> ConfigOf(const Session& session, const ExplainOptions& options) {
  if (!options.config.empty() && !options.auth.authfile.empty()) return Usage("creds match|lint with --config FILE or --authfile FILE, not both");
  auto file = ConfigFile(session.world(), options.config.empty() ? options.auth.authfile : options.config);
  if (file.empty()) return Usage("creds match|lint --config FILE: there is no HOME to look in");
  return file;
}

int Match(Session& session, const ExplainOptions& options) {
  if (options.words.size() != 2) return session.Fail(FromError(Usage("creds match IMAGE [--config FILE] [--profile Documented|Kubelet]")));
  const auto image = reference::Reference::Parse(options.words[1]);
  if (!image) return session.Fail(FromError(image.error()));
  const auto found = ConfigOf(session, options);
  if (!found) return session.Fail(FromError(found.error()));
  const std::string& file = *found;
  auto text = ReadConfig(session, file);
  if (!text) return session.Fail(FromError(text.error()));
  auto config = credentials::ParseDockerConfig(*text, FormatOf(file), ProfileOf(options), "file " + file);
  secret::Secret::Wipe(*text);
  if (!config)
    return session.Fail(FromError(Error(Reason::kConfig, "the file " + Quoted(file) + ": " + config.error().Text())
                                      .Next("correct the file: berth creds lint FILE")));
  credentials::Keyring keyring(ProfileOf(options));
  keyring.Add(*std::move(config));
  std::vector<MatchReport> reports;
  keyring.Explain(image->Repository(), reports);
  const bool matched = std::ranges::any_of(reports, [](const auto& r) { return r.verdict == MatchReport::Verdict::kMatched; });
  if (session.json()) {
    json::Writer w;
    w.BeginObject().Key("image").String(options.words[1]).Key("repository").String(image->Repository()).Key("file").String(file);
    w.Key("profile").String(Name(ProfileOf(options))).Key("matches").Bool(matched).Key("entries").BeginArray();
    for (const auto& r : reports) {
      w.BeginObject().Key("verdict").String(Name(r.verdict)).Key("pattern").String(r.pattern).Key("user").String(r.username);
      w.Key("hash").String(r.hash).Key("reason").String(r.reason).Key("profiles_differ").Bool(r.profiles_differ).EndObject();
    }
    w.EndArray().EndObject();
    session.OutJson(std::move(w).Take());
    return matched ? 0 : 1;
  }
  Table table({"", "PATTERN", "USER", "WHY"});
  std::size_t number = 0;
  for (const auto& r : reports) {
    const bool hit = r.verdict == MatchReport::Verdict::kMatched;
    const std::string differ = !r.profiles_differ ? "" : hit ? "the other profile does not use it" : "the other profile uses it";
    table.Row({hit ? "#" + std::to_string(++number) : "no", r.pattern, r.username.empty() ? "" : r.username + " " + r.hash,
               r.reason + (r.reason.empty() || differ.empty() ? "" : "; ") + differ});
  }
  session.Out(table.Text(!session.globals().no_headers));
  session.Talk(std::string(matched ? "tried in this order" : "no entry is for " + Escape(image->Repository())) + " (profile " + std::string(Name(ProfileOf(options))) + ")\n");
  return matched ? 0 : 1;
}

// A Pod that lists this secret and nothing else: the daemon explains it as any other.
std::string PodWith(const std::string& ns, const std::string& secret, const std::string& image) {
  json::Writer w;
  w.BeginObject().Key("apiVersion").String("v1").Key("kind").String("Pod");
  w.Key("metadata").BeginObject().Key("name").String("creds-test").Key("namespace").String(ns).EndObject();
  w.Key("spec").BeginObject().Key("imagePullSecrets").BeginArray().BeginObject().Key("name").String(secret).EndObject().EndArray();
  w.Key("containers").BeginArray().BeginObject().Key("name").String("test").Key("image").String(image).Key("imagePullPolicy").String("Always");
  w.EndObject().EndArray().EndObject().EndObject();
  return std::move(w).Take();
}

int Test(Session& session, ExplainOptions options) {
  if (options.words.size() < 2 || options.words.size() > 3)
    return session.Fail(FromError(Usage("creds test SECRET IMAGE [-n NAMESPACE], or creds test --username USER [--password-stdin] IMAGE")));
  const std::string& image = options.words.back();
  v1::ExplainRequest request;
  if (options.words.size() == 3) {
    request.set_objects(PodWith(options.ns.empty() ? "default" : options.ns, options.words[1], image));
    request.set_namespace_(options.ns);
    request.set_file("creds test");
    return Ask(session, request, false);
  }
  if (!options.username.empty()) options.auth.creds = options.username;
  if (!HasAuth(options.auth)) return session.Fail(FromError(Usage("creds test needs a secret's name, or --username, or --authfile")));
  request.set_image(image);
  request.set_policy("Always");
  bool exclusive = true;
  if (const auto failure = AddCredentials(session, std::move(options.auth), image, request, exclusive)) return session.Fail(*failure);
  if (request.credentials_size() == 0)
    return session.Fail(FromError(Error(Reason::kInvalidCredentials, "the file has no entry for " + Quoted(image)).Next("berth creds match IMAGE --config FILE says why")));
  return Ask(session, request, false);
}

bool IsYaml(const std::string& file) { return file.ends_with(".yaml") || file.ends_with(".yml"); }

int LintConfigs(Session& session, const ExplainOptions& options) {
  std::vector<std::string> files(options.words.begin() + 1, options.words.end());
  files.insert(files.end(), options.files.begin(), options.files.end());
  if (files.empty()) {
    auto file = ConfigOf(session, options);
    if (!file) return session.Fail(FromError(file.error()));
    files.push_back(*std::move(file));
  }
  std::vector<explain::Finding> all;
  for (const auto& file : files) {
    auto text = ReadConfig(session, file);
    if (!text) return session.Fail(FromError(text.error()));
    if (IsYaml(file)) {  // Secrets
      auto found = explain::LintObjects(*text, file, options.ns.empty() ? "default" : options.ns, ProfileOf(options));
      if (!found) return session.Fail(FromError(std::move(found).error().Next(kCorrectTheFile)));
      std::ranges::move(*found, std::back_inserter(all));
    } else {
      for (auto& f : credentials::LintDockerConfig(*text, FormatOf(file), ProfileOf(options)))
        all.push_back({.file = file,
                       .line = f.line,
                       .severity = f.severity,
                       .rule = "docker-config",
                       .object = std::move(f.place),
                       .message = std::move(f.message)});
    }
    secret::Secret::Wipe(*text);
  }
  if (session.json()) session.OutJson(explain::LintJson(all));
  else session.Out(Lines(explain::LintText(all)));
  return explain::LintStatus(all);
}

}  // namespace

int Explain(Session& session, ExplainOptions options) {
  v1::ExplainRequest request;
  request.set_namespace_(options.ns);
  if (!options.files.empty()) {
    if (!options.words.empty() || options.last || HasAuth(options.auth)) return session.Fail(FromError(Usage("-f FILE stands alone: the file says which images and which secrets")));
    auto sources = ReadFiles(session, options.files);
    if (!sources) return session.Fail(session.Judge(sources.error()));
    for (const auto& plugin : options.admission) request.add_admission(plugin);
    std::vector<int> statuses;
    for (auto& source : *sources) {
      request.set_objects(source.text);
      request.set_file(source.name);
      secret::Secret::Wipe(source.text);
      statuses.push_back(Ask(session, request, true));
    }
    return MostActionable(statuses);
  }
  const bool two = options.words.size() == 2 && (options.words[0] == "pod" || options.words[0] == "pods");
  if (two) options.words = {"pod/" + options.words[1]};
  if (options.words.size() != 1) return session.Fail(FromError(Usage("explain takes one image: explain IMAGE, explain pod/NAME [-n NAMESPACE], or explain -f FILE")));
  const std::string& word = options.words[0];
  // An image of that name would be docker.io/pod/NAME; whoever means that writes it out.
  if (word.starts_with("pod/") && !options.last) {
    if (HasAuth(options.auth) || !options.policy.empty()) return session.Fail(FromError(Usage("a Pod has its own credentials and policy")));
    request.set_pod(word.substr(4));
    return Ask(session, request, true);
  }
  request.set_image(word);
  request.set_policy(options.policy);
  request.set_last(options.last);
  request.set_node_credentials(true);
  if (HasAuth(options.auth) && !options.last) {
    bool exclusive = false;
    if (const auto failure = AddCredentials(session, std::move(options.auth), word, request, exclusive)) return session.Fail(*failure);
    request.set_node_credentials(!exclusive);
  }
  return Ask(session, request, false);
}

int Probe(Session& session, ExplainOptions options) {
  if (options.words.size() != 1) return session.Fail(FromError(Usage("probe HOST[:PORT][/REPOSITORY[:TAG]]")));
  v1::ProbeRequest request;
  request.set_target(options.words[0]);
  if (HasAuth(options.auth)) {
    bool exclusive = false;
    if (const auto failure = AddCredentials(session, std::move(options.auth), options.words[0], request, exclusive))
      return session.Fail(*failure);
  }
  Printer printer(session, false);
  const auto failure = session.Read(&v1::Explain::Stub::Probe, request, [&](const v1::Report& report) {
    printer.Add(report);
    return true;
  });
  return failure ? session.Fail(*failure) : printer.End();
}

int Creds(Session& session, ExplainOptions options) {
  const std::string verb = options.words.empty() ? "" : options.words[0];
  if (verb == "match") return Match(session, options);
  if (verb == "test") return Test(session, std::move(options));
  if (verb == "lint") return LintConfigs(session, options);
  return session.Fail(FromError(Usage("creds match IMAGE, creds test [SECRET] IMAGE, or creds lint [FILE]")));
}

int Lint(Session& session, const ExplainOptions& options) {
  auto sources = ReadFiles(session, options.files);
  if (!sources) return session.Fail(session.Judge(sources.error()));
  std::vector<explain::Finding> all;
  for (auto& source : *sources) {
    auto found = explain::LintObjects(source.text, source.name, options.ns.empty() ? "default" : options.ns, ProfileOf(options));
    secret::Secret::Wipe(source.text);
    if (!found) return session.Fail(FromError(std::move(found).error().Next(kCorrectTheFile)));
    std::ranges::move(*found, std::back_inserter(all));
  }
  if (session.json()) session.OutJson(explain::LintJson(all));
  else session.Out(Lines(explain::LintText(all)));
  return explain::LintStatus(all);
}

}  // namespace berth::cli
