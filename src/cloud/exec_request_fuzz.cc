// A request is read or refused; what was read chooses a plain host, and its response is JSON of the same version.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cloud/exec.h"
#include "json/document.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const auto request = cloud::ExecRequest::Parse({reinterpret_cast<const char*>(data), size});
  if (!request) {
    if (request.error().reason() != Reason::kUsage && request.error().reason() != Reason::kLimitExceeded) std::abort();
    return 0;
  }
  if (request->host.empty() || request->host.find_first_of("/@?#% \r\n\"") != std::string::npos) std::abort();
  const bool v1 = request->api_version.ends_with("/v1");
  if (!v1 && (!request->service_account_token.empty() || !request->annotations.empty())) std::abort();
  const cloud::Login login{cloud::CacheKey::kRegistry, {request->host}, request->image, request->service_account_token.Clone(), {}};
  const auto text = cloud::RenderResponse(*request, login, {});
  const auto response = json::Document::Parse(text.Reveal(), Reason::kInternal);
  if (!response || !response->root().Find("auth")->Find(request->host)) std::abort();
  if (*response->root().Find("apiVersion")->AsString() != request->api_version) std::abort();
  return 0;
}
