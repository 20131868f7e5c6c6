// berth-credential-acr: logs the kubelet (or berthd) in to Azure Container Registry. See docs/credential-plugins.md.
#include "cloud/acr.h"
#include "cloud/program.h"

int main(int argc, char** argv) {
  berth::cloud::AcrOptions o;
  return berth::cloud::Main(
      {.name = "berth-credential-acr",
       .summary = "logins for Azure Container Registry",
       .options = {{"", &o.config_file, "the kubelet's azure.json (default: the environment, else the machine's managed identity)"},
                   {"--config", &o.config_file, "the same"},
                   {"--resource", &o.resource, "audience of the access token (default: https://containerregistry.azure.net)"},
                   {"--registry-endpoint", &o.registry_endpoint, "URL to ask instead of https://REGISTRY"}},
       .login = [&o](const auto& ctx, const auto& world, const auto& request) { return berth::cloud::AcrLogin(ctx, world, request, o); }},
      argc, argv);
}
