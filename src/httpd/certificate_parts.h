// httpd/certificate_parts.h: a certificate as GnuTLS has it. Inside httpd only.
#pragma once

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "httpd/certificate.h"

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

}  // namespace berth::httpd
