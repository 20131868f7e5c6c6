// cloud/aws_signature.h: AWS Signature Version 4, in the Authorization header.
//
// Source: the IAM user guide, "Create a signed AWS API request"; tested with the official aws-signing-test-suite. Path and query
// are as on the wire; the path is normalised and encoded once more (what every service but S3 wants). Pure.
#pragma once

#include <string>
#include <string_view>

#include "http/headers.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::cloud {

struct AwsKeys {
  std::string id;
  secret::Secret secret;
  secret::Secret session;  // empty for long-lived keys
};

struct AwsRequest {
  std::string_view method, path = "/", query, body;
  http::Headers headers;  // every header to be signed, Host and X-Amz-Date among them
  std::string_view region, service;
  time::WallTime when;    // the same moment as X-Amz-Date
};

std::string FormatAmzDate(time::WallTime when);          // "20150830T123600Z"
std::string AwsCanonicalRequest(const AwsRequest& request);
// The value of the Authorization header.
secret::Secret SignAwsRequest(const AwsRequest& request, const AwsKeys& keys);

}  // namespace berth::cloud
