// cloud/aws.h: where AWS keys come from, in the order of the AWS SDKs.
//
//   1. the service account token of the request, when a role is known: annotation eks.amazonaws.com/ecr-role-arn, else AWS_ECR_ROLE_ARN
//   2. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
//   3. AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN (AWS_ROLE_SESSION_NAME)
//   4. the shared files: AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials), then AWS_CONFIG_FILE (~/.aws/config); AWS_PROFILE
//   5. the container endpoint: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, or _FULL_URI; AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, or _TOKEN
//   6. the instance metadata service, version 2 only; AWS_EC2_METADATA_DISABLED, AWS_EC2_METADATA_SERVICE_ENDPOINT (_MODE)
//
// 1 and 3 ask STS AssumeRoleWithWebIdentity (AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL; AWS_REGION, AWS_DEFAULT_REGION, else the
// registry's region). The first source that is configured decides: when it fails, the call fails, and nothing weaker is tried.
// A profile may hold keys, or role_arn with web_identity_token_file; what needs another program or a browser is refused by name.
// Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers".
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "cloud/aws_signature.h"
#include "cloud/exchange.h"
#include "cloud/exec.h"
#include "result/result.h"
#include "task/context.h"

namespace berth::cloud {

// `region` is the registry's.
Result<AwsKeys> FindAwsKeys(const task::Context& ctx, const World& world, const ExecRequest& request, std::string_view region);

// ---- pieces, for tests and fuzzing

// One profile of a shared file: its keys, lower case. Lines are `key = value`, `[section]`, comments ('#', ';', also after a blank in
// a section line); indented lines continue the key above and are skipped. A later section of the same name adds to the first.
// In a config file profiles other than "default" are sections "profile NAME". nullopt: no such profile.
// kConfig with the line number when a line is none of these; its text is not quoted.
enum class AwsFile : bool { kCredentials, kConfig };
using AwsProfile = std::map<std::string, std::string, std::less<>>;
Result<std::optional<AwsProfile>> ParseAwsProfile(std::string_view text, AwsFile kind, std::string_view profile);

// The Credentials of an AssumeRoleWithWebIdentity response (XML). kTokenError.
Result<AwsKeys> ParseStsResponse(std::string_view xml);
// What the container endpoint and the metadata service give (JSON). kTokenError.
Result<AwsKeys> ParseAwsKeys(std::string_view text);

bool IsAwsRegion(std::string_view region);               // letters, digits, '-'; at most 32
std::string_view AwsDnsSuffix(std::string_view region);  // of the region's partition: "amazonaws.com", "amazonaws.com.cn", …
// AWS_ENDPOINT_URL_<service>, else AWS_ENDPOINT_URL, unless AWS_IGNORE_CONFIGURED_ENDPOINT_URLS; else `fallback`.
Result<http::Url> AwsEndpoint(const World& world, std::string_view service, const std::string& fallback);
// Error codes of AWS services that say more than the status.
std::span<const std::string_view> AwsErrorCodes();
std::span<const std::string_view> AwsRetryCodes();  // come with status 400 and pass by themselves

}  // namespace berth::cloud
