// explain/explainer.h: asks the registry what a pull would be told, without pulling, and reports it.
//
// Explain() reads the catalog, looks up credentials with reasons, then does what a pull does up to the plan: HEAD and GET of the
// manifest and, for a single image, its config; never a layer. Hosts, order, credentials and TLS are those of a pull. Beside
// it, every host (at most four) is asked once for /v2/ without credentials, for the network step. Nothing is asked when the
// policy and what is present leave nothing to ask. Failures are no errors here: they are what the report is about.
//
// `registry` should be a Client of its own with retry.rounds = 1: an answer in seconds, and hosts that were dead a moment ago are asked
// again. Safe for concurrent use. Explain* fail only when `ctx` stops them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "credentials/sources.h"
#include "explain/question.h"
#include "explain/report.h"
#include "http/client.h"
#include "oci/oci.h"
#include "policy/records.h"
#include "registry/client.h"
#include "task/context.h"
#include "verify/verifier.h"

namespace berth::explain {

struct ExplainerOptions {
  credentials::Profile profile = credentials::Profile::kDocumented;
  registry::ClientOptions registry;   // the same as the Client's
  http::Limits probe{.connect = std::chrono::seconds(5), .tls = std::chrono::seconds(5), .headers = std::chrono::seconds(10)};
  oci::Platform host = oci::HostPlatform();
  std::string node;                   // name of this machine
  time::Duration limit = std::chrono::minutes(3);  // for one image; a plug-in that hangs takes one of them
};

class Explainer {
 public:
  struct Parts {
    registry::Client& registry;
    http::Client& http;
    catalog::Catalog* catalog;                   // nullptr: what is present is unknown
    const credentials::Sources& sources;
    const http::ProxyRules* proxies;             // nullptr: none
    policy::Records* records;                    // nullptr: no verification
    const verify::Verifier* verifier = nullptr;  // nullptr: images are not verified
  };
  Explainer(Parts parts, ExplainerOptions options) : parts_(parts), options_(std::move(options)) {}

  Result<Report> Explain(const task::Context& ctx, Question question) const;
  // The last pull of that name, from the journal. kNotFound when there is none on record.
  Result<Report> Last(const std::string& image) const;
  // "HOST[:PORT]" or "HOST[:PORT]/REPOSITORY[:TAG]": the way there, and of an image the manifest, with these credentials only.
  Result<Report> Probe(const task::Context& ctx, const std::string& what, std::vector<credentials::Credential> given) const;

 private:
  Result<> Verify(const task::Context& ctx, registry::Repository& repository, const verify::Subject& subject, Facts& facts) const;
  void RecallVerdict(Facts& facts) const;
  Result<> FindPresent(Facts& facts) const;
  Result<std::vector<credentials::Credential>> FindCredentials(const task::Context& ctx, Question& question, Facts& facts) const;
  void CheckAccess(const Question& question, const std::vector<credentials::Credential>& credentials, Facts& facts) const;
  Result<> AskRegistry(const task::Context& ctx, std::vector<credentials::Credential> credentials, Facts& facts) const;
  Result<> ChoosePlatform(const task::Context& ctx, registry::Repository& repository, const registry::Resolved& resolved,
                          Facts& facts) const;
  Result<> CountLayers(const oci::Manifest& manifest, Facts& facts) const;
  Result<> LookAtNetwork(const task::Context& ctx, Facts& facts) const;
  Result<NetworkFacts> LookAt(const task::Context& ctx, const registry::HostEndpoint& host) const;

  const Parts parts_;
  const ExplainerOptions options_;
};

}  // namespace berth::explain
