// berth-credential-ecr: logs the kubelet (or berthd) in to Amazon ECR. See docs/credential-plugins.md.
#include "cloud/ecr.h"
#include "cloud/program.h"

int main(int argc, char** argv) {
  return berth::cloud::Main({.name = "berth-credential-ecr", .summary = "logins for Amazon ECR, private and public", .options = {},
                             .login = berth::cloud::EcrLogin},
                            argc, argv);
}
