// berth-credential-gcr: logs the kubelet (or berthd) in to Google's registries. See docs/credential-plugins.md.
#include "cloud/gcr.h"
#include "cloud/program.h"

int main(int argc, char** argv) {
  berth::cloud::GcrOptions o;
  return berth::cloud::Main(
      {.name = "berth-credential-gcr",
       .summary = "logins for Google Artifact Registry and Container Registry",
       .options = {{"--key-file", &o.key_file, "a service account key (default: GOOGLE_APPLICATION_CREDENTIALS, else the metadata server)"},
                   {"--scope", &o.scope, "OAuth scope of tokens made from a key or by federation (default: devstorage.read_only)"},
                   {"--service-account", &o.service_account, "which account of the metadata server (default: default)"},
                   {"--workload-identity-provider", &o.workload_identity_provider,
                    "projects/N/locations/global/workloadIdentityPools/P/providers/Q, for service account tokens"},
                   {"--impersonate", &o.impersonate, "Google service account to become after federation, without an annotation"},
                   {"--sts-endpoint", &o.sts_endpoint, "default: https://sts.googleapis.com"},
                   {"--iam-endpoint", &o.iam_endpoint, "default: https://iamcredentials.googleapis.com"}},
       .login = [&o](const auto& ctx, const auto& world, const auto& request) { return berth::cloud::GcrLogin(ctx, world, request, o); }},
      argc, argv);
}
