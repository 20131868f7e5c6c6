// apps/berth/auth.h: the credentials that the command line adds to a pull.
//
// --creds USER[:PASSWORD] or --auth BASE64 is for every image of the command and the only one used (OneRegistry() refuses it for
// images of two). Otherwise a docker config file: --authfile, REGISTRY_AUTH_FILE, DOCKER_CONFIG/config.json,
// ~/.docker/config.json; a file that was named must be there. Its credHelpers and credsStore programs are asked first, as
// docker does, then its entries; a program of credHelpers speaks for its registry alone, and after one that failed no entry
// is used (credentials/helper.h has the same for the daemon).
// The daemon adds its own after those of a file. Secrets are sent over the socket and shown nowhere.
// Errors: kUsage, kConfig (no such file), kInvalidCredentials, kCanceled and kTimeout (^C, or too long at the prompt).
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/berth/world.h"
#include "credentials/credential.h"
#include "credentials/keyring.h"
#include "reference/reference.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::cli {

struct AuthOptions {
  std::string creds;            // "user:password", or "user" and the password from elsewhere
  bool password_stdin = false;
  std::string auth;             // base64 of "user:password"
  std::string authfile;
};

// kUsage for --creds or --auth with images of several registries: of which of them the password is nobody said.
Result<> OneRegistry(const AuthOptions& options, std::span<const reference::Reference> images);

// The docker config file that a command reads without --creds and --auth: `given`, else as above; empty: there is no HOME.
std::string ConfigFile(const World& world, const std::string& given);

class Auth {
 public:
  // Reads the password or the file. `warn` gets one sentence a time. `ctx` ends the waiting for a password, and for helpers later.
  static Result<Auth> Load(const task::Context& ctx, World& world, AuthOptions options, const std::function<void(std::string_view)>& warn);
  // For one image, in the order in which they are to be tried.
  std::vector<credentials::Credential> For(const reference::Reference& image,
                                           const std::function<void(std::string_view)>& warn) const;
  // Nothing but these: the node's own credentials stay out.
  bool exclusive() const { return given_.has_value() || named_; }

 private:
  Auth(task::Context ctx, World& world) : ctx_(std::move(ctx)), world_(&world) {}
  Result<std::optional<credentials::Credential>> Ask(std::string_view helper, std::string_view server) const;

  task::Context ctx_;
  World* world_;
  std::optional<credentials::Credential> given_;
  credentials::Keyring keyring_{credentials::Profile::kDocumented};
  std::map<std::string, std::string, std::less<>> helpers_;  // host, helper
  std::string store_;
  bool named_ = false;
};

}  // namespace berth::cli
