// cloud/ecr.h: logins for Amazon ECR, private and public.
//
//   <account>.dkr.ecr[-fips].<region>.<suffix>      suffix: amazonaws.com, .com.cn, .eu, c2s.ic.gov, sc2s.sgov.gov, cloud.adc-e.uk, csp.hci.ic.gov
//   <account>.dkr-ecr[-fips].<region>.on.aws        dual stack; in China on.amazonwebservices.com.cn
//   public.ecr.aws, ecr-public.aws.com              always us-east-1
//
// The API's host is made from the registry's name, so an image can only choose among AWS's own endpoints. AWS_ENDPOINT_URL_ECR,
// AWS_ENDPOINT_URL_ECR_PUBLIC and AWS_ENDPOINT_URL override it; AWS_USE_FIPS_ENDPOINT counts as -fips.
// The answer opens the one registry (cacheKeyType Registry), for 12 hours. Source: ECR API reference, GetAuthorizationToken.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "cloud/exchange.h"
#include "cloud/exec.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::cloud {

struct EcrRegistry {
  std::string region;
  std::string api_host;     // "api.ecr.eu-west-1.amazonaws.com"
  bool is_public = false;
  static std::optional<EcrRegistry> FromHost(std::string_view host, bool prefer_fips = false);
};

Result<Login> EcrLogin(const task::Context& ctx, const World& world, const ExecRequest& request);

// The body of GetAuthorizationToken: a list of tokens (private) or one (public). kTokenError.
Result<Login> ParseEcrToken(std::string_view text);

}  // namespace berth::cloud
