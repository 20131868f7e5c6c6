// cloud/acr.h: logins for Azure Container Registry.
//
// An Entra ID (Azure AD) access token for the audience containerregistry.azure.net is exchanged at the registry,
// POST https://<registry>/oauth2/exchange, for a refresh token, which is the password of the null-GUID user
// (Azure/acr, "AAD-OAuth"). It opens that registry (cacheKeyType Registry) for as long as its "exp" says, usually 3 hours.
//
// Sources of the access token; the first that is configured decides:
//   1. the service account token of the request as a client assertion: annotations kubernetes.azure.com/acr-client-id and
//      kubernetes.azure.com/acr-tenant-id (else the tenant of 2 or 3); without a client ID the next sources count
//   2. AcrOptions::config_file, the kubelet's azure.json: useFederatedWorkloadIdentityExtension with aadFederatedTokenFile;
//      useManagedIdentityExtension with userAssignedIdentityID; else aadClientId with aadClientSecret ("msi": managed identity)
//   3. the environment of the Azure SDKs: AZURE_CLIENT_SECRET, or AZURE_FEDERATED_TOKEN_FILE, with AZURE_CLIENT_ID and AZURE_TENANT_ID
//   4. the managed identity of the machine (AZURE_CLIENT_ID chooses one), from the instance metadata service
// The authority is AZURE_AUTHORITY_HOST, else that of the cloud which azure.json names. AZURE_POD_IDENTITY_AUTHORITY_HOST replaces
// http://169.254.169.254.
#pragma once

#include <string>
#include <string_view>

#include "cloud/exchange.h"
#include "cloud/exec.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::cloud {

struct AcrOptions {
  std::string config_file;        // "" = none
  std::string resource = "https://containerregistry.azure.net";
  std::string registry_endpoint;  // asked instead of https://<registry>: a gateway under another name
};

// <name>.azurecr.io, .cn, .us, .de.
bool IsAzureRegistry(std::string_view host);
Result<Login> AcrLogin(const task::Context& ctx, const World& world, const ExecRequest& request, const AcrOptions& options);

// The fields of azure.json that count here; names as in the file. kConfig.
struct AzureConfig {
  std::string cloud, tenant, client, identity, token_file;
  secret::Secret client_secret;
  bool managed_identity = false, federated = false;
  static Result<AzureConfig> Parse(std::string_view text);
};

// "AADSTS" and the digits after it, when `body` holds such a code, else "".
std::string EntraCode(std::string_view body);

}  // namespace berth::cloud
