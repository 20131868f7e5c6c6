#include "node/service_tokens.h"

#include <algorithm>

#include "bytes/base64url.h"
#include "bytes/encoding.h"
#include "digest/digest.h"
#include "digest/signature.h"
#include "json/document.h"

namespace berth::node {
namespace {

constexpr std::size_t kKeyBytes = 64u << 10;
constexpr time::Duration kLife = std::chrono::hours(1);

std::string Encoded(std::string_view text) { return bytes::ToBase64Url(bytes::AsView(text)); }

// As Kubernetes names its keys: the digest of the public half.
std::string KeyId(const digest::EcPublicKey& key) {
  return Encoded(*bytes::FromHex(digest::Digest::Of(bytes::AsView(key.der)).Hex()));
}

std::string KeySet(const digest::EcPublicKey& key) {
  json::Writer w;
  w.BeginObject().Key("keys").BeginArray().BeginObject();
  w.Key("use").String("sig").Key("kty").String("EC").Key("kid").String(KeyId(key)).Key("crv").String("P-256").Key("alg").String("ES256");
  w.Key("x").String(Encoded(key.x)).Key("y").String(Encoded(key.y));
  return std::move(w.EndObject().EndArray().EndObject()).Take() + "\n";
}

std::int64_t Seconds(time::WallTime t) { return std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count(); }

}  // namespace

Result<std::unique_ptr<ServiceTokens>> ServiceTokens::Open(const host::Dir& root, const objects::Store& store, const time::Clock& clock,
                                                           std::function<std::uint64_t()> random, ServiceTokenOptions options) {
  auto read = root.ReadSmall(kKeyName, kKeyBytes);
  if (!read && read.error().reason() != Reason::kMissing) return std::move(read).error();
  const bool fresh = !read;
  std::string pem = fresh ? digest::MakeEcKey() : *std::move(read);
  secret::Secret key = secret::Secret::Take(pem);
  auto half = digest::PublicKeyOf(key.Reveal());
  if (!half)
    return std::move(half).error().Context(std::string("service account tokens: ") + kKeyName)
        .Next("remove the file from the store: a new key is made");
  if (fresh) RETURN_IF_ERROR(root.WriteDurably(kKeyName, bytes::AsView(key.Reveal()), 0600));
  const std::string set = KeySet(*half);
  if (const auto there = root.ReadSmall(kKeySetName, kKeyBytes); !there || *there != set)
    RETURN_IF_ERROR(root.WriteDurably(kKeySetName, bytes::AsView(set), 0644));
  if (options.issuer.empty()) options.issuer = "https://" + options.node_name;
  return std::unique_ptr<ServiceTokens>(
      new ServiceTokens(store, clock, std::move(random), std::move(options), std::move(key), KeyId(*half)));
}

Result<credentials::TokenSource::Account> ServiceTokens::FindAccount(const task::Context&, const std::string& namespace_name,
                                                                     const std::string& name) {
  const auto object = store_.Get({"ServiceAccount", namespace_name, name});
  if (!object && object.error().code != 404) return object.error().ToError();
  if (!object) return Error(Reason::kNotFound, "serviceaccount \"" + name + "\" not found");
  const auto& meta = (*object)->metadata;
  return Account{meta.uid, {meta.annotations.begin(), meta.annotations.end()}};
}

Result<secret::Secret> ServiceTokens::Token(const task::Context&, const credentials::PodIdentity& pod, const std::string& account_uid,
                                            const std::string& audience) {
  const For whom{pod.namespace_name, pod.service_account, account_uid, pod.uid, audience};
  const auto now = clock_.SteadyNow();
  std::lock_guard hold(mutex_);
  std::erase_if(kept_, [&](const auto& entry) { return entry.second.until <= now; });
  if (const auto found = kept_.find(whom); found != kept_.end()) return found->second.token.Clone();
  ASSIGN_OR_RETURN(secret::Secret token, Mint(pod, account_uid, audience));
  if (kept_.size() >= kMost)
    kept_.erase(std::ranges::min_element(kept_, {}, [](const auto& entry) { return entry.second.until; }));
  kept_[whom] = {token.Clone(), now + kLife * 4 / 5};
  return token;
}

// A random UUID, RFC 9562 5.4.
std::string ServiceTokens::NewId() {
  const std::uint64_t high = (random_() & ~0xf000ull) | 0x4000, low = (random_() & ~(3ull << 62)) | (2ull << 62);
  std::string hex;
  for (const auto word : {high, low})
    for (int shift = 60; shift >= 0; shift -= 4) hex += "0123456789abcdef"[(word >> shift) & 15];
  for (const std::size_t at : {20u, 16u, 12u, 8u}) hex.insert(at, "-");
  return hex;
}

Result<secret::Secret> ServiceTokens::Mint(const credentials::PodIdentity& pod, const std::string& account_uid,
                                           const std::string& audience) {
  const std::int64_t now = Seconds(clock_.WallNow());
  json::Writer header;
  header.BeginObject().Key("alg").String("ES256").Key("kid").String(key_id_).Key("typ").String("JWT").EndObject();
  json::Writer w;
  const auto reference = [&](std::string_view kind, const std::string& name, const std::string& uid) {
    w.Key(kind).BeginObject().Key("name").String(name);
    if (!uid.empty()) w.Key("uid").String(uid);
    w.EndObject();
  };
  w.BeginObject().Key("aud").BeginArray().String(audience).EndArray();
  w.Key("exp").Int(now + std::chrono::duration_cast<std::chrono::seconds>(kLife).count()).Key("iat").Int(now);
  w.Key("iss").String(options_.issuer).Key("jti").String(NewId());
  w.Key("kubernetes.io").BeginObject().Key("namespace").String(pod.namespace_name);
  reference("node", options_.node_name, "");
  if (!pod.uid.empty()) reference("pod", pod.name, pod.uid);
  reference("serviceaccount", pod.service_account, account_uid);
  w.EndObject();
  w.Key("nbf").Int(now).Key("sub").String("system:serviceaccount:" + pod.namespace_name + ":" + pod.service_account).EndObject();
  std::string token = Encoded(header.text()) + "." + Encoded(w.text());
  ASSIGN_OR_RETURN(const std::string signature, digest::SignEcSha256(key_.Reveal(), bytes::AsView(token)));
  token += "." + Encoded(signature);
  return secret::Secret::Take(token);
}

}  // namespace berth::node
