// apiserver/identity.h: who the API server is, and who may ask it: an authority of its own, a certificate, a token.
//
// In a folder of the store that is root's alone (0700), made at the first start: ca.crt, ca.key, token (64 hex digits; 0600). The
// authority is valid for ten years and is made anew, together with every kubeconfig, in its last one. The server's key and
// certificate (one year) are in memory only and new at every start. To withdraw the token: remove the file and restart.
#pragma once

#include <string>
#include <vector>

#include "digest/x509.h"
#include "host/dir.h"
#include "httpd/certificate.h"
#include "result/result.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::apiserver {

class Identity {
 public:
  // kCorrupt for files that do not fit each other, with what to remove.
  static Result<Identity> Open(const host::Dir& folder, time::WallTime now);

  // A new key and certificate for a server of these names.
  Result<httpd::Certificate> Issue(const digest::LeafNames& names, time::WallTime now) const;
  const secret::Secret& token() const { return token_; }

  // A kubeconfig with one context, for the server at `url` ("https://127.0.0.1:6443"). Holds the token.
  secret::Secret Kubeconfig(const std::string& url) const;

 private:
  std::string authority_;
  secret::Secret authority_key_, token_;
};

}  // namespace berth::apiserver
