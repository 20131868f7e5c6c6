// cloud/gcr.h: logins for Google's registries: Artifact Registry (*.pkg.dev) and Container Registry (gcr.io, *.gcr.io).
//
// The password is an OAuth access token, the user name "oauth2accesstoken" (Artifact Registry, "Set up authentication for Docker").
// Sources of the token; the first that is configured decides:
//   1. the service account token of the request with GcrOptions::workload_identity_provider: exchanged at the Security Token
//      Service (RFC 8693), then, when a Google service account is named (annotation iam.gke.io/gcp-service-account, else
//      GcrOptions::impersonate), for a token of that account (IAM Credentials API, generateAccessToken)
//   2. a service account key, GcrOptions::key_file or GOOGLE_APPLICATION_CREDENTIALS: a JWT signed with it is exchanged at its
//      token_uri (RFC 7523)
//   3. the metadata server (GCE_METADATA_HOST): the token of the node's service account, whose scopes are checked first
// One token opens all Google registries the identity may read (cacheKeyType Global); one that was made for a Pod's service
// account is no different: the kubelet keeps entries of different service accounts apart.
#pragma once

#include <string>
#include <string_view>

#include "cloud/exchange.h"
#include "cloud/exec.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::cloud {

struct GcrOptions {
  std::string key_file;
  std::string scope = "https://www.googleapis.com/auth/devstorage.read_only";  // enough to pull; 1 and 2 only
  std::string service_account = "default";                  // of the metadata server
  std::string workload_identity_provider;                   // "projects/N/locations/global/workloadIdentityPools/P/providers/Q"
  std::string impersonate;                                  // e-mail of a Google service account
  std::string sts_endpoint = "https://sts.googleapis.com";
  std::string iam_endpoint = "https://iamcredentials.googleapis.com";
};

bool IsGoogleRegistry(std::string_view host);
Result<Login> GcrLogin(const task::Context& ctx, const World& world, const ExecRequest& request, const GcrOptions& options);

// What a service account key file says. kConfig names the field that is missing or wrong.
struct GoogleKey {
  std::string email, key_id;
  secret::Secret private_key;  // PEM
  http::Url token_uri;
  static Result<GoogleKey> Parse(std::string_view text);
};

// The signed assertion, valid for an hour from `now`. kInvalidCredentials when the key cannot sign.
Result<secret::Secret> GoogleAssertion(const GoogleKey& key, std::string_view scope, time::WallTime now);

}  // namespace berth::cloud
