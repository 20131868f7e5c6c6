#include "credentials/helper.h"

#include <algorithm>

#include "credentials/docker_secret.h"
#include "credentials/go_text.h"
#include "credentials/redact.h"
#include "host/process.h"
#include "json/document.h"
#include "time/go_duration.h"

namespace berth::credentials {
namespace {

constexpr std::string_view kPrefix = "docker-credential-";
constexpr std::string_view kNothing = "credentials not found in native keychain";
constexpr std::size_t kOutputBytes = 64u << 10;

Result<host::Fd> OpenHelper(const HelperOptions& options, const std::string& program, std::string& folder) {
  for (const auto& candidate : options.folders) {
    auto fd = host::OpenProgram(candidate, program, options.trust);
    if (!fd && fd.error().reason() == Reason::kMissing) continue;
    folder = candidate;
    return fd;
  }
  return Error(Reason::kMissing, "there is no program " + Quoted(program) + " in the folders of credential helpers");
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  return text;
}

Result<std::optional<Credential>> ReadAnswer(std::string_view text, const std::string& source) {
  const Error lie(Reason::kProtocolError, source + " gave no answer of the form {\"ServerURL\",\"Username\",\"Secret\"}");
  const auto document = json::Document::Parse(text, Reason::kProtocolError, {.bytes = kOutputBytes, .depth = 4, .values = 64});
  if (!document) return lie;
  const auto username = document->root().Find("Username"), password = document->root().Find("Secret");
  if (!username || !username->IsString() || !password || !password->IsString()) return lie;
  Credential credential;
  credential.source = source;
  if (*username->AsString() == "<token>") {
    credential.identity_token = secret::Secret(*password->AsString());
  } else {
    credential.username = *username->AsString();
    credential.password = secret::Secret(*password->AsString());
  }
  if (credential.empty()) return std::optional<Credential>();
  return std::optional(std::move(credential));
}

}  // namespace

Result<std::optional<Credential>> AskHelper(const task::Context& ctx, const HelperOptions& options, const std::string& name,
                                            const std::string& server) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 64 || !std::ranges::all_of(name, plain))
    return Error(Reason::kUsage, Quoted(name) + " is no name of a credential helper");
  const std::string source = "helper " + name;
  host::ProcessSpec process;
  process.own = host::ProcessSpec::Own::kContained;
  const std::string program = std::string(kPrefix) + name;
  std::string folder;
  ASSIGN_OR_RETURN(const auto fd, OpenHelper(options, program, folder));
  process.program = folder + "/" + program;
  if (options.trust == host::Trust::kStrict) process.program_fd = fd.get();
  process.argv = {program, "get"};
  process.env = options.environment;
  auto captured = host::RunCaptured(ctx.WithTimeout(options.limit), process, bytes::AsView(server), {.stdout_bytes = kOutputBytes});
  if (!captured) {
    RETURN_IF_ERROR(ctx.Check());
    if (captured.error().reason() == Reason::kTimeout)
      return Error(Reason::kTimeout, source + " gave no answer within " + time::FormatGoDuration(options.limit));
    return std::move(captured).error().Context(source);
  }
  Result<std::optional<Credential>> answer = std::optional<Credential>();
  if (captured->status.success()) {
    answer = ReadAnswer(captured->out, source);
  } else if (Trimmed(captured->out) != kNothing) {
    Redactor redactor;
    redactor.AddWordsOf(captured->out);
    const std::string words = redactor.Apply(captured->stderr_tail);
    answer = Error(Reason::kUnavailable, source + " failed with " + captured->status.Text() + (words.empty() ? "" : ": " + Quoted(words)))
                 .Next("run 'echo " + server + " | " + program + " get' by hand");
  }
  secret::Secret::Wipe(captured->out);
  secret::Secret::Wipe(captured->stderr_tail);
  return answer;
}

std::optional<HelperChoice> ChooseHelper(const NodeFile& file, std::string_view repository) {
  const std::string host(repository.substr(0, repository.find('/')));
  const bool hub = IsDefaultRegistry(repository);
  const std::string server = hub ? std::string(kDefaultDockerServer) : host;
  for (const auto& [key, name] : file.credential_helpers) {
    const auto written = IndexKey(Profile::kKubelet, key).value_or(key);
    if (written == host || (hub && (written == "index.docker.io" || written == "docker.io"))) return HelperChoice{name, server, true};
  }
  if (file.credential_store.empty()) return std::nullopt;
  return HelperChoice{file.credential_store, server, false};
}

}  // namespace berth::credentials
