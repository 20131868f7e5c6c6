#include "cri/translate.h"

#include <algorithm>
#include <array>

#include "api/status.h"
#include "bytes/encoding.h"
#include "bytes/text.h"
#include "node/image_service.h"

namespace berth::cri {
namespace {

constexpr std::size_t kAuthBytes = 64u << 10;
constexpr std::size_t kTextBytes = 900;  // an Event's note holds 1 kB
// Of what a request says about itself; the journal keeps no more.
constexpr std::size_t kAnnotations = 16, kAnnotationBytes = 256;

// "https://host:5000/v1/" and "host:5000" alike. The default registry has three names.
std::string HostOf(std::string_view address) {
  if (const auto scheme = address.find("://"); scheme != address.npos) address.remove_prefix(scheme + 3);
  address = address.substr(0, address.find('/'));
  if (reference::IsHub(address)) address = "docker.io";
  return bytes::Lower(address);
}

std::string Cut(std::string_view text) { return std::string(bytes::Utf8Prefix(text, kAnnotationBytes)); }

pull::Asker AskerOf(const v1::PullImageRequest& from) {
  pull::Asker asker{.client = "CRI"};
  const auto& pod = from.sandbox_config().metadata();
  asker.pod_namespace = Cut(pod.namespace_());
  asker.pod = Cut(pod.name());
  asker.pod_uid = Cut(pod.uid());
  for (const auto* annotations : {&from.image().annotations(), &from.sandbox_config().annotations()})
    for (const auto& [key, value] : *annotations)
      if (asker.annotations.size() < kAnnotations) asker.annotations.emplace(Cut(key), Cut(value));
  return asker;
}

}  // namespace

Result<Auth> TakeAuth(v1::AuthConfig& from, const reference::Reference& image) {
  using secret::Secret;
  const std::size_t size = from.ByteSizeLong();
  Secret password = Secret::Take(*from.mutable_password()), auth = Secret::Take(*from.mutable_auth()),
         identity = Secret::Take(*from.mutable_identity_token()), registry = Secret::Take(*from.mutable_registry_token());
  if (size > kAuthBytes) return Error(Reason::kUsage, "the credentials are longer than " + std::to_string(kAuthBytes) + " bytes");

  Auth taken;
  taken.given = !from.username().empty() || !password.empty() || !auth.empty() || !identity.empty() || !registry.empty();
  if (!taken.given) return taken;
  if (!from.server_address().empty() && HostOf(from.server_address()) != HostOf(image.domain())) return taken;
  credentials::Credential c;
  c.source = "request";
  if (!from.username().empty()) {
    c.username = from.username();
    c.password = std::move(password);
  } else if (!identity.empty()) {
    c.identity_token = std::move(identity);
  } else if (!auth.empty()) {
    auto decoded = bytes::FromBase64(auth.Reveal(), bytes::Padding::kOptional);
    const auto colon = decoded ? decoded->find(':') : std::string::npos;
    if (colon != std::string::npos) {
      c.username = decoded->substr(0, colon);
      // Docker pads with NULs.
      std::string word = decoded->substr(colon + 1);
      const auto first = word.find_first_not_of('\0');
      word = first == word.npos ? "" : word.substr(first, word.find_last_not_of('\0') - first + 1);
      c.password = Secret::Take(word);
    }
    if (decoded) Secret::Wipe(*decoded);
    if (colon == std::string::npos) return Error(Reason::kUsage, "auth is not base64 of \"user:password\"").Next("see AuthConfig of runtime.v1");
  } else {
    c.registry_token = std::move(registry);
  }
  // A password may be a whole document with its lines (Google's _json_key): it is sent in base64.
  if (from.username().empty() && c.password.Reveal().find('\0') != std::string_view::npos)
    return Error(Reason::kUsage, "the password holds a NUL character");
  for (const std::string_view text : std::to_array<std::string_view>({c.username, c.identity_token.Reveal(), c.registry_token.Reveal()}))
    if (bytes::HasControls(text)) return Error(Reason::kUsage, "the user name or a token holds control characters");
  if (!c.empty()) taken.credentials.push_back(std::move(c));
  return taken;
}

Result<PullOrder> TakePull(v1::PullImageRequest& from, const std::vector<std::string>& handlers) {
  auto reference = reference::Reference::Parse(from.image().image());
  // First of all, whatever else is wrong: the secrets are taken out.
  static const reference::Reference nowhere = *reference::Reference::Parse("localhost/nowhere");
  auto auth = TakeAuth(*from.mutable_auth(), reference ? *reference : nowhere);
  if (from.image().image().empty()) return Error(Reason::kUsage, "the request names no image").Next("set image.image");
  if (!reference) return reference.error();
  if (reference::IsImageId(from.image().image()))
    return Error(Reason::kInvalidReference, Quoted(from.image().image()) + " is an id, not a name that a registry knows");
  if (!auth) return auth.error();
  const std::string& handler = from.image().runtime_handler();
  if (!handler.empty() && std::ranges::find(handlers, handler) == handlers.end())
    return Error(Reason::kUsage, "there is no runtime handler " + Quoted(handler)).Next("name it in the setting cri.runtimeHandlers");
  PullOrder order{.request = {.reference = *std::move(reference), .policy = pull::Policy::kAlways}, .node_credentials = !auth->given};
  order.request.credentials = std::move(auth->credentials);
  order.request.asker = AskerOf(from);
  return order;
}

grpc::Status ToStatus(grpc::CallbackServerContext& call, const Error& error) {
  const grpc::Status status = api::ToStatus(call, error);
  std::string text = node::CriText(error, "");
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  const bool known = text.starts_with("RegistryUnavailable") || text.starts_with("SignatureValidationFailed");
  if (const std::string& next = error.next_step(); !next.empty() && text.size() + next.size() + 2 <= kTextBytes) text += "; " + next;
  return grpc::Status(known ? grpc::StatusCode::UNKNOWN : status.error_code(), text);
}

}  // namespace berth::cri
