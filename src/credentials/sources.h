// credentials/sources.h: all credentials for one image, in the order in which they are tried, and why others are not.
//
// The kubelet's order (kubelet-images 6.6): the Pod's pull secrets, the node's file, the plug-ins; each its own keyring, the
// lists joined. No credential: the image is pulled anonymously; with any, there is no anonymous attempt.
// What a look-up without Detail costs: reading the secrets, the node's file at most every five minutes, plug-ins by their
// caches. With Detail::kYes every entry of every source gets a report. Safe for concurrent use.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "credentials/helper.h"
#include "credentials/node_config.h"
#include "credentials/provider.h"
#include "credentials/pull_secrets.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::credentials {

class Sources {
 public:
  // Borrowed; nullptr: there is no such source.
  struct Parts {
    NodeConfig* node = nullptr;
    ProviderSet* plugins = nullptr;
    const HelperOptions* helpers = nullptr;
  };
  struct Request {
    std::string repository;                          // normalised, without tag and digest
    std::span<const PullSecret> secrets;             // in the order of the Pod's list
    std::span<const SecretCoordinates> missing{};    // listed, not to be had (no uid)
    PodIdentity pod{};
    Detail detail = Detail::kNo;
    AskPlugins ask = AskPlugins::kYes;               // kNo: neither plug-ins nor helpers are run
  };
  struct Found {
    std::vector<Credential> credentials;
    // Those that matched first, in the order of `credentials`. Without detail: what failed only.
    std::vector<MatchReport> reports;
  };

  // `limits`: of pull secrets.
  Sources(Profile profile, Parts parts, const DockerConfigLimits& limits = {}) : profile_(profile), parts_(parts), limits_(limits) {}
  // kInvalidCredentials: a usable secret is malformed, which fails the pull; else only what ends `ctx`.
  Result<Found> Find(const task::Context& ctx, const Request& request) const;

 private:
  Result<> AskNode(const task::Context& ctx, const Request& request, Found& found) const;

  const Profile profile_;
  const Parts parts_;
  const DockerConfigLimits limits_;
};

}  // namespace berth::credentials
