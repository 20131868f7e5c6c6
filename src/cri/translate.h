// cri/translate.h: requests of CRI into ours, and our errors into what a kubelet reads.
//
// Credentials (runtime-registry 1.5, containerd's order): server_address names another registry: anonymous; a user name with
// its password; an identity token; `auth`, base64 of "user:password"; a registry token. The first of them that is there is
// used, alone. A request that says nothing may be given the node's own credentials; one that says something never is.
// Secrets move out of the message and are wiped there, whatever comes out.
//
// Errors (kubelet-images 4.5, runtime-registry 1.9): a kubelet knows RegistryUnavailable and SignatureValidationFailed by the
// first word of the text, and sees the bare text only of code UNKNOWN; these two are sent so, all others with the code
// of their reason. The text is one line of at most 900 bytes: "E-CODE image: sentence; next step", the next step if it fits.
// The trailer of api/status.h comes along.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>
#include <string_view>
#include <vector>

#include "credentials/credential.h"
#include "pull/puller.h"
#include "reference/reference.h"
#include "result/result.h"
#include "runtime/v1/api.pb.h"

namespace berth::cri {

namespace v1 = ::runtime::v1;

struct Auth {
  bool given = false;                                // the request said something
  std::vector<credentials::Credential> credentials;  // at most one; none: anonymous
};
// kUsage: more than 64 KiB, control characters, `auth` that is not what it should be.
Result<Auth> TakeAuth(v1::AuthConfig& from, const reference::Reference& image);

struct PullOrder {
  pull::Request request;
  bool node_credentials = false;  // none were given: the node's own may be used
};
// Always asks the registry: a kubelet pulls to learn whether these credentials may, also for a digest that is here.
// `handlers`: runtime handlers beside the default one; others are kUsage. kInvalidReference for the name.
Result<PullOrder> TakePull(v1::PullImageRequest& from, const std::vector<std::string>& handlers);

// Adds the trailer: once for a call.
grpc::Status ToStatus(grpc::CallbackServerContext& call, const Error& error);

}  // namespace berth::cri
