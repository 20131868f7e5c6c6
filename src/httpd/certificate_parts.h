// httpd/certificate_parts.h: a certificate and an authority as GnuTLS has them. Inside httpd only.
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <mutex>

#include "httpd/certificate.h"
#include "httpd/client_authority.h"

namespace berth::httpd {

struct Certificate::Parts {
  Parts() = default;
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts();

  // For one handshake: copies that GnuTLS frees after it, whatever happens to this object meanwhile. A GnuTLS error or 0.
  int Lend(gnutls_pcert_st** pcerts, unsigned int* count, gnutls_privkey_t* lent_key) const;

  gnutls_x509_crt_t* chain = nullptr;
  unsigned int length = 0;
  gnutls_x509_privkey_t key = nullptr;
};

struct ClientAuthority::Parts {
  Parts() = default;
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;
  ~Parts();

  // Of a handshake that has the client's certificate: whether it is let in.
  bool Admits(gnutls_session_t session) const;

  gnutls_x509_trust_list_t roots = nullptr;
  std::vector<std::string> names;
  mutable std::mutex mutex;  // GnuTLS does not say that a list may be asked by two threads
};

}  // namespace berth::httpd
