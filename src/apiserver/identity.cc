#include "apiserver/identity.h"

#include "bytes/bytes.h"
#include "bytes/encoding.h"
#include "digest/signature.h"

namespace berth::apiserver {
namespace {

constexpr std::int64_t kDay = 24 * 3600, kYear = 365 * kDay;
constexpr std::size_t kFile = 64u << 10;
constexpr std::size_t kTokenDigits = 64;

std::int64_t Seconds(time::WallTime t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); }
// From yesterday on: a clock that is set back a little must not make it invalid.
digest::Validity From(time::WallTime now, std::int64_t length) { return {Seconds(now) - kDay, Seconds(now) + length}; }

Result<secret::Secret> ReadSecret(const host::Dir& folder, const char* name) {
  ASSIGN_OR_RETURN(std::string text, folder.ReadSmall(name, kFile));
  return secret::Secret::Take(text);
}

}  // namespace

Result<Identity> Identity::Open(const host::Dir& folder, time::WallTime now) {
  Identity out;
  const auto damaged = [](const char* what) {
    return Error(Reason::kCorrupt, std::string(what) + " of the API server is damaged").Next("remove the folder apiserver of the store: all is made anew, kubeconfigs too");
  };
  ASSIGN_OR_RETURN(const bool there, folder.Exists("ca.crt"));
  bool fresh = !there;
  if (there) {
    ASSIGN_OR_RETURN(out.authority_, folder.ReadSmall("ca.crt", kFile));
    ASSIGN_OR_RETURN(out.authority_key_, ReadSecret(folder, "ca.key"));
    const auto facts = digest::ReadCertificate(out.authority_);
    if (!facts) return damaged("the certificate");
    fresh = facts->validity.not_after - Seconds(now) < kYear;
  }
  if (!there) {
    std::string key = digest::MakeEcKey();
    out.authority_key_ = secret::Secret::Take(key);
    // Before the certificate: without that the key is made again. A certificate that ends is renewed for the same key, so
    // that the two fit whenever the power goes.
    RETURN_IF_ERROR(folder.WriteDurably("ca.key", bytes::AsView(out.authority_key_.Reveal()), 0600));
  }
  if (fresh) {
    ASSIGN_OR_RETURN(out.authority_, digest::MakeAuthority(out.authority_key_.Reveal(), "berth-ca", From(now, 10 * kYear)));
    RETURN_IF_ERROR(folder.WriteDurably("ca.crt", bytes::AsView(out.authority_), 0600));
  }
  ASSIGN_OR_RETURN(const bool has_token, folder.Exists("token"));
  if (has_token) {
    ASSIGN_OR_RETURN(out.token_, ReadSecret(folder, "token"));
    if (out.token_.size() != kTokenDigits || out.token_.Reveal().find_first_not_of("0123456789abcdef") != std::string_view::npos) return damaged("the token");
  } else {
    std::string token = digest::GenerateToken();
    out.token_ = secret::Secret::Take(token);
    RETURN_IF_ERROR(folder.WriteDurably("token", bytes::AsView(out.token_.Reveal()), 0600));
  }
  return out;
}

Result<httpd::Certificate> Identity::Issue(const digest::LeafNames& names, time::WallTime now) const {
  std::string text = digest::MakeEcKey();
  const secret::Secret key = secret::Secret::Take(text);
  auto leaf = digest::Issue(authority_, authority_key_.Reveal(), key.Reveal(), names, From(now, kYear));
  if (!leaf) return std::move(leaf).error().Context("the certificate of the API server");
  return httpd::Certificate::Parse(*leaf + authority_, key);
}

secret::Secret Identity::Kubeconfig(const std::string& url) const {
  std::string text = "# Written by berthd at every start. Whoever can read this may do everything here.\n"
                     "apiVersion: v1\nkind: Config\ncurrent-context: berth\n"
                     "clusters:\n- name: berth\n  cluster:\n    server: " + url + "\n    certificate-authority-data: " + bytes::ToBase64(bytes::AsView(authority_)) +
                     "\nusers:\n- name: berth-admin\n  user:\n    token: ";
  text.append(token_.Reveal()).append("\ncontexts:\n- name: berth\n  context:\n    cluster: berth\n    user: berth-admin\n");
  return secret::Secret::Take(text);
}

}  // namespace berth::apiserver
