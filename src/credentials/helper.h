// credentials/helper.h: docker credential helpers (`docker-credential-NAME get`), for a node that asks for them.
//
// The kubelet knows nothing of them: off unless Sources is given HelperOptions. `credHelpers` names one for a host (written as
// in the file; the Hub's key is https://index.docker.io/v1/), which then speaks for that host alone. `credsStore` names one for all
// hosts; when it knows nothing, the entries of the file count. When either fails there is no credential from this file, never another
// entry. Run as plug-ins are (credentials/provider.h): checked file, own environment, no shell, bounded output and time.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "credentials/node_config.h"
#include "credentials/provider.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::credentials {

struct HelperOptions {
  std::vector<std::string> folders{"/usr/local/bin", "/usr/bin"};  // the first that has the program
  std::vector<std::string> environment = ProviderOptions::MinimalEnvironment();
  host::Trust trust = host::Trust::kStrict;
  time::Duration limit = std::chrono::seconds(30);
};

// Asks one helper. nullopt: it has nothing for this server. kUsage for a name with anything but letters, digits, '.', '_', '-';
// kMissing, kPolicy, kUnavailable, kTimeout, kProtocolError as for plug-ins. The user name "<token>" means an identity token.
Result<std::optional<Credential>> AskHelper(const task::Context& ctx, const HelperOptions& options, const std::string& name,
                                            const std::string& server);

// Which helper of the file is for this repository, and what it is to be asked.
struct HelperChoice {
  std::string name, server;
  bool exclusive = false;  // by credHelpers: the entries of the file do not count
};
std::optional<HelperChoice> ChooseHelper(const NodeFile& file, std::string_view repository);

}  // namespace berth::credentials
