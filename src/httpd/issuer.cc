#include "httpd/issuer.h"

#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <array>

#include "httpd/certificate.h"

namespace berth::httpd {
namespace {

// What GnuTLS has made, until the end of a scope. Check() turns the first error into ours.
struct Work {
  Work() {
    note = gnutls_x509_crt_init(&certificate);
    Do(gnutls_x509_privkey_init(&key));
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  ~Work() {
    if (certificate != nullptr) gnutls_x509_crt_deinit(certificate);
    if (key != nullptr) gnutls_x509_privkey_deinit(key);
  }
  void Do(int error) {
    if (note >= 0 && error < 0) note = error;
  }
  Result<> Check(Reason reason, std::string_view what) const {
    if (note >= 0) return {};
    return Error(reason, std::string(what) + ": " + gnutls_strerror(note));
  }

  gnutls_x509_crt_t certificate = nullptr;
  gnutls_x509_privkey_t key = nullptr;
  int note = 0;
};

std::time_t Seconds(time::WallTime at) { return std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count(); }

void Begin(Work& w, const std::string& name, time::WallTime now, time::Duration lifetime) {
  w.Do(gnutls_x509_privkey_generate(w.key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
  w.Do(gnutls_x509_crt_set_version(w.certificate, 3));
  std::array<unsigned char, 16> serial{};
  w.Do(gnutls_rnd(GNUTLS_RND_NONCE, serial.data(), serial.size()));
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);  // positive, and of this length
  w.Do(gnutls_x509_crt_set_serial(w.certificate, serial.data(), serial.size()));
  w.Do(gnutls_x509_crt_set_activation_time(w.certificate, Seconds(now - std::chrono::hours(1))));
  w.Do(gnutls_x509_crt_set_expiration_time(w.certificate, Seconds(now + lifetime)));
  // 64: the most that X.520 allows; the names that count are in subjectAltName.
  const std::string common = name.substr(0, 64);
  w.Do(gnutls_x509_crt_set_dn_by_oid(w.certificate, GNUTLS_OID_X520_COMMON_NAME, 0, common.data(), static_cast<unsigned>(common.size())));
  w.Do(gnutls_x509_crt_set_key(w.certificate, w.key));
  std::array<unsigned char, 64> id{};
  std::size_t size = id.size();
  w.Do(gnutls_x509_crt_get_key_id(w.certificate, 0, id.data(), &size));
  w.Do(gnutls_x509_crt_set_subject_key_id(w.certificate, id.data(), std::min<std::size_t>(size, 20)));
}

Result<Issued> Finish(Work& w, gnutls_x509_crt_t issuer, gnutls_x509_privkey_t issuer_key) {
  w.Do(gnutls_x509_crt_sign2(w.certificate, issuer, issuer_key, GNUTLS_DIG_SHA256, 0));
  gnutls_datum_t certificate{}, key{};
  w.Do(gnutls_x509_crt_export2(w.certificate, GNUTLS_X509_FMT_PEM, &certificate));
  w.Do(gnutls_x509_privkey_export2(w.key, GNUTLS_X509_FMT_PEM, &key));
  const auto view = [](const gnutls_datum_t& d) { return std::string_view(reinterpret_cast<const char*>(d.data), d.size); };
  Issued made{std::string(view(certificate)), secret::Secret(view(key))};
  if (key.data != nullptr) gnutls_memset(key.data, 0, key.size);
  gnutls_free(certificate.data);
  gnutls_free(key.data);
  RETURN_IF_ERROR(w.Check(Reason::kInternal, "the certificate cannot be made"));
  return made;
}

void AddName(Work& w, const std::string& name) {
  std::array<unsigned char, 16> address{};
  if (::inet_pton(AF_INET, name.c_str(), address.data()) == 1) {
    w.Do(gnutls_x509_crt_set_subject_alt_name(w.certificate, GNUTLS_SAN_IPADDRESS, address.data(), 4, GNUTLS_FSAN_APPEND));
  } else if (::inet_pton(AF_INET6, name.c_str(), address.data()) == 1) {
    w.Do(gnutls_x509_crt_set_subject_alt_name(w.certificate, GNUTLS_SAN_IPADDRESS, address.data(), 16, GNUTLS_FSAN_APPEND));
  } else {
    w.Do(gnutls_x509_crt_set_subject_alt_name(w.certificate, GNUTLS_SAN_DNSNAME, name.data(), static_cast<unsigned>(name.size()),
                                              GNUTLS_FSAN_APPEND));
  }
}

}  // namespace

Result<Issued> MakeAuthority(const std::string& name, time::WallTime now, time::Duration lifetime) {
  Work w;
  Begin(w, name, now, lifetime);
  w.Do(gnutls_x509_crt_set_basic_constraints(w.certificate, 1, 0));
  w.Do(gnutls_x509_crt_set_key_usage(w.certificate, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
  return Finish(w, w.certificate, w.key);
}

Result<Issued> Issue(const Issued& authority, const std::vector<std::string>& names, Purpose purpose, time::WallTime now,
                     time::Duration lifetime) {
  if (names.empty()) return Error(Reason::kUsage, "a certificate needs a name");
  // The pair fits, and both can be read.
  RETURN_IF_ERROR(Certificate::Parse(authority.certificate_pem, authority.key_pem));
  Work ca;
  const auto datum = [](std::string_view text) {
    return gnutls_datum_t{reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())), static_cast<unsigned>(text.size())};
  };
  const gnutls_datum_t certificate = datum(authority.certificate_pem), key = datum(authority.key_pem.Reveal());
  ca.Do(gnutls_x509_crt_import(ca.certificate, &certificate, GNUTLS_X509_FMT_PEM));
  ca.Do(gnutls_x509_privkey_import2(ca.key, &key, GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN));
  RETURN_IF_ERROR(ca.Check(Reason::kConfig, "the authority cannot be read"));
  Work w;
  Begin(w, names.front(), now, lifetime);
  w.Do(gnutls_x509_crt_set_basic_constraints(w.certificate, 0, -1));
  w.Do(gnutls_x509_crt_set_key_usage(w.certificate, GNUTLS_KEY_DIGITAL_SIGNATURE));
  w.Do(gnutls_x509_crt_set_key_purpose_oid(w.certificate,
                                           purpose == Purpose::kServer ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT, 0));
  for (const std::string& name : names) AddName(w, name);
  std::array<unsigned char, 64> id{};
  std::size_t size = id.size();
  if (gnutls_x509_crt_get_subject_key_id(ca.certificate, id.data(), &size, nullptr) == 0)
    w.Do(gnutls_x509_crt_set_authority_key_id(w.certificate, id.data(), size));
  return Finish(w, ca.certificate, ca.key);
}

}  // namespace berth::httpd
