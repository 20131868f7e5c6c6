#include "apps/berth/auth.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "apps/berth/format.h"
#include "bytes/bytes.h"
#include "credentials/docker_config.h"
#include "host/dir.h"
#include "host/poll.h"
#include "host/process.h"
#include "json/document.h"
#include "secret/secret.h"

extern char** environ;

namespace berth::cli {
namespace {

constexpr std::size_t kPasswordBytes = 64u << 10;
constexpr std::string_view kHubServer = "https://index.docker.io/v1/";  // docker's own key for it

// What is typed is not shown while this lives.
class NoEcho {
 public:
  explicit NoEcho(int fd) : fd_(fd), ok_(tcgetattr(fd, &old_) == 0) {
    if (!ok_) return;
    termios quiet = old_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    quiet.c_lflag |= ECHONL;
    tcsetattr(fd_, TCSAFLUSH, &quiet);
  }
  ~NoEcho() { if (ok_) tcsetattr(fd_, TCSAFLUSH, &old_); }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;

 private:
  const int fd_;
  termios old_{};
  const bool ok_;
};

// Up to the first line break, or (whole) to the end without the final line break.
Result<secret::Secret> ReadPassword(const task::Context& ctx, int fd, bool whole) {
  std::string text;
  text.reserve(kPasswordBytes + 2);  // never moves: no copies are left behind
  for (bool more = true; more;) {
    RETURN_IF_ERROR(host::AwaitReadable(ctx, fd));
    char c = 0;
    const ssize_t n = ::read(fd, &c, 1);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return host::OsError(errno, "read the password from standard input").Next("give it a file or a pipe: berth … < FILE");
    more = n == 1 && (whole || c != '\n');
    if (more) text += c;
    if (text.size() > kPasswordBytes) {
      secret::Secret::Wipe(text);
      return Error(Reason::kUsage, "the password on standard input is longer than 64 KiB").Next("give nothing but the password");
    }
  }
  if (whole && text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return secret::Secret::Take(text);
}

Result<credentials::Credential> Given(const task::Context& ctx, World& world, AuthOptions& options,
                                      const std::function<void(std::string_view)>& warn) {
  const auto visible = [&] {
    warn("a password on the command line can be seen by every user of this machine and stays in the shell's history; "
         "use --creds USER --password-stdin");
  };
  if (!options.auth.empty()) {
    visible();
    auto credential = credentials::DecodeAuth(options.auth);
    secret::Secret::Wipe(options.auth);
    if (!credential) return Error(Reason::kUsage, "--auth is not the base64 form of USER:PASSWORD")
                               .Next("better --creds USER, and the password at the prompt or on standard input");
    credential->source = "command line";
    return credential;
  }
  credentials::Credential credential;
  credential.source = "command line";
  const auto colon = options.creds.find(':');
  credential.username = options.creds.substr(0, colon);
  if (credential.username.empty()) return Error(Reason::kUsage, "--creds has no user name").Next("--creds USER, or --creds USER:PASSWORD");
  if (colon != options.creds.npos) {
    visible();
    credential.password = secret::Secret(std::string_view(options.creds).substr(colon + 1));
    secret::Secret::Wipe(options.creds);
    if (options.password_stdin) return Error(Reason::kUsage, "--password-stdin, and a password in --creds: one of them")
                                           .Next("--creds USER --password-stdin");
  } else {
    const bool prompt = world.stdin_terminal && !options.password_stdin;
    std::optional<NoEcho> quiet;
    if (prompt) {
      world.err.Write("Password for " + Escape(credential.username) + ": ");
      quiet.emplace(world.stdin_fd);
    }
    auto password = ReadPassword(ctx, world.stdin_fd, options.password_stdin);
    if (!password && prompt) world.err.Write("\n");
    ASSIGN_OR_RETURN(credential.password, std::move(password));
  }
  if (credential.password.empty())
    return Error(Reason::kUsage, "the password for " + Quoted(credential.username) + " is empty")
        .Next("give it on standard input, or at the prompt of a terminal");
  return credential;
}

struct File { std::string path; bool named = false; };
File FindFile(const World& world, const std::string& given) {
  if (!given.empty()) return {given, true};
  if (const std::string file = world.Variable("REGISTRY_AUTH_FILE"); !file.empty()) return {file, true};
  if (const std::string folder = world.Variable("DOCKER_CONFIG"); !folder.empty()) return {folder + "/config.json"};
  if (const std::string home = world.Variable("HOME"); !home.empty()) return {home + "/.docker/config.json"};
  return {};
}

bool IsHelperName(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

}  // namespace

std::string ConfigFile(const World& world, const std::string& given) { return FindFile(world, given).path; }

Result<> OneRegistry(const AuthOptions& options, std::span<const reference::Reference> images) {
  const std::string flag = !options.creds.empty() ? "--creds" : !options.auth.empty() ? "--auth" : "";
  if (flag.empty() || images.empty()) return {};
  const auto other = std::ranges::find_if(images, [&](const auto& image) { return image.domain() != images[0].domain(); });
  if (other == images.end()) return {};
  return Error(Reason::kUsage, flag + " is for one registry; the images are of " + images[0].domain() + " and " + other->domain())
      .Next("one command for each registry, or --authfile with an entry for each");
}

Result<Auth> Auth::Load(const task::Context& ctx, World& world, AuthOptions options, const std::function<void(std::string_view)>& warn) {
  Auth auth(ctx, world);
  if (!options.creds.empty() && !options.auth.empty())
    return Error(Reason::kUsage, "--creds and --auth both say who asks").Next("give one of them; better --creds USER --password-stdin");
  if (options.creds.empty() && options.password_stdin)
    return Error(Reason::kUsage, "--password-stdin needs to know whose password it is").Next("add --creds USER");
  if (!options.creds.empty() || !options.auth.empty()) {
    ASSIGN_OR_RETURN(auth.given_, Given(ctx, world, options, warn));
    world.Trace(4, "credentials of the command line, and no others");
    return auth;
  }
  File file = FindFile(world, options.authfile);
  if (file.path.empty()) return auth;
  ASSIGN_OR_RETURN(file.path, world.Absolute(file.path));
  auto text = credentials::ReadDockerConfig(file.path);
  world.Trace(4, "credentials file " + Escape(file.path) + (text ? " is read" : " cannot be read"));
  if (!text) {
    if (text.error().reason() == Reason::kMissing && !file.named) return auth;
    return Error(Reason::kConfig, "the credentials file " + Quoted(file.path) + " cannot be read: " + text.error().Text())
        .Next("check the path, or do without --authfile, REGISTRY_AUTH_FILE and DOCKER_CONFIG");
  }
  // Compared by shape: a .dockercfg has no "auths".
  const auto format = file.path.ends_with(".dockercfg") ? credentials::FileFormat::kDockerCfg : credentials::FileFormat::kConfigJson;
  auto config = credentials::ParseDockerConfig(*text, format, credentials::Profile::kDocumented, "file " + file.path);
  secret::Secret::Wipe(*text);
  if (!config)  // ours to mend: no registry has been asked
    return Error(Reason::kConfig, "the credentials file " + Quoted(file.path) + ": " + config.error().Text())
        .Next("correct the file (berth creds lint FILE), or name another with --authfile");
  auth.named_ = file.named;
  auth.store_ = config->credential_store;
  for (auto& [host, helper] : config->credential_helpers) auth.helpers_.emplace(host, helper);
  // What logins in a credential store leave behind: a key without a secret.
  std::erase_if(config->entries, [](const auto& entry) { return entry.credential.empty(); });
  for (const std::string& key : auth.keyring_.Add(*std::move(config)))
    warn("entry " + Quoted(key) + " of " + file.path + " names no registry and is left out");
  return auth;
}

// The protocol of docker-credential-helpers: the server on stdin, a JSON object on stdout; exit status 1 with a certain
// sentence is a miss.
Result<std::optional<credentials::Credential>> Auth::Ask(std::string_view helper, std::string_view server) const {
  const std::string program = "docker-credential-" + std::string(helper);
  if (!IsHelperName(helper)) return Error(Reason::kInvalidCredentials, Quoted(helper) + " is no name of a credential helper");
  host::ProcessSpec spec{.program = program, .argv = {program, "get"}, .working_directory = world_->directory, .search_path = true};
  for (char** variable = environ; *variable != nullptr; ++variable) spec.env.emplace_back(*variable);
  world_->Trace(4, "credential helper " + program + " is asked");
  const task::Context ctx = ctx_.WithTimeout(std::chrono::minutes(1));
  auto ran = host::RunCaptured(ctx, spec, bytes::AsView(server), {.stdout_bytes = kPasswordBytes});
  if (!ran) return std::move(ran).error().Context(program);
  if (!ran->status.success()) {
    const bool miss = ran->out.find("credentials not found in native keychain") != std::string::npos;
    secret::Secret::Wipe(ran->out);
    if (miss) return std::optional<credentials::Credential>();
    return Error(Reason::kInvalidCredentials, program + " ended with " + ran->status.Text());
  }
  auto answer = json::Document::Parse(ran->out, Reason::kInvalidCredentials);
  secret::Secret::Wipe(ran->out);
  if (!answer) return std::move(answer).error().Context(program);
  const auto text = [&](std::string_view key) {
    const auto value = answer->root().Find(key);
    return value && value->IsString() ? *value->AsString() : std::string_view();
  };
  credentials::Credential credential{.username = std::string(text("Username")), .source = program, .pattern = std::string(server)};
  if (credential.username == "<token>") {
    credential.username.clear();
    credential.identity_token = secret::Secret(text("Secret"));
  } else {
    credential.password = secret::Secret(text("Secret"));
  }
  if (credential.empty()) return std::optional<credentials::Credential>();
  return std::optional(std::move(credential));
}

std::vector<credentials::Credential> Auth::For(const reference::Reference& image,
                                               const std::function<void(std::string_view)>& warn) const {
  std::vector<credentials::Credential> found;
  if (given_) {
    found.push_back(given_->Clone());
    return found;
  }
  const bool hub = image.domain() == "docker.io";
  std::string helper = store_;
  bool exclusive = false;  // by credHelpers: the entries of the file do not count
  for (const std::string_view host : {std::string_view(image.domain()), hub ? std::string_view("index.docker.io") : "", hub ? kHubServer : ""})
    if (const auto row = helpers_.find(host); row != helpers_.end() && !host.empty()) helper = row->second, exclusive = true;
  if (!helper.empty()) {
    // A helper that is missing or broken must not keep public images away, nor bring out an entry that it was to replace.
    auto credential = Ask(helper, hub ? kHubServer : std::string_view(image.domain()));
    if (!credential) warn(credential.error().Text() + "; going on without it; the entries of the file are not used");
    else if (*credential) found.push_back(*std::move(*credential));
    if (!credential || exclusive) return found;  // CVE-2021-41092
  }
  for (auto& credential : keyring_.Find(image.Repository())) found.push_back(std::move(credential));
  return found;
}

}  // namespace berth::cli
