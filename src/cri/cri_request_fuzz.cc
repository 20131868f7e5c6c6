// cri/cri_request_fuzz.cc: any bytes as a PullImageRequest.
//
// Whatever it is: no secret is left in the message, a credential that came out is one the registry client can show, the
// name is one that parses again, and what goes to the journal is short.
#include <cstdlib>
#include <string>

#include "cri/translate.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace berth;
  cri::v1::PullImageRequest request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
  const auto order = cri::TakePull(request, {"kata"});
  const auto& auth = request.auth();
  if (!auth.password().empty() || !auth.auth().empty() || !auth.identity_token().empty() || !auth.registry_token().empty()) std::abort();
  if (!order) {
    if (order.error().Text().empty() || order.error().message().find('\n') != std::string::npos) std::abort();
    return 0;
  }
  const pull::Request& pull = order->request;
  if (pull.credentials.size() > 1 || (order->node_credentials && !pull.credentials.empty())) std::abort();
  for (const auto& credential : pull.credentials) {
    const int ways = !credential.password.empty() + !credential.identity_token.empty() + !credential.registry_token.empty();
    if (ways != 1 || credential.username.find_first_of("\r\n") != std::string::npos) std::abort();
  }
  const auto again = reference::Reference::Parse(pull.reference.Canonical());
  if (!again || again->Canonical() != pull.reference.Canonical() || pull.policy != pull::Policy::kAlways) std::abort();
  std::size_t told = pull.asker.pod.size() + pull.asker.pod_namespace.size() + pull.asker.pod_uid.size();
  for (const auto& [key, value] : pull.asker.annotations) told += key.size() + value.size();
  if (told > 16 * 1024) std::abort();
  return 0;
}
