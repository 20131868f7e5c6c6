#include "httpd/client_authority.h"

#include <algorithm>
#include <array>

#include "httpd/certificate_parts.h"

namespace berth::httpd {
namespace {

constexpr unsigned int kMostRoots = 64, kLongestChain = 16;

}  // namespace

ClientAuthority::Parts::~Parts() {
  if (roots != nullptr) gnutls_x509_trust_list_deinit(roots, 1);
}

bool ClientAuthority::Parts::Admits(gnutls_session_t session) const {
  unsigned int count = 0;
  const gnutls_datum_t* shown = gnutls_certificate_get_peers(session, &count);
  if (shown == nullptr || count == 0 || count > kLongestChain) return false;
  std::array<gnutls_x509_crt_t, kLongestChain> chain{};
  unsigned int made = 0;
  bool good = true;
  while (good && made < count) {
    good = gnutls_x509_crt_init(&chain[made]) == 0;
    if (!good) break;
    good = gnutls_x509_crt_import(chain[made], &shown[made], GNUTLS_X509_FMT_DER) == 0;
    ++made;
  }
  if (good) {
    gnutls_typed_vdata_st purpose{GNUTLS_DT_KEY_PURPOSE_OID,
                                  reinterpret_cast<unsigned char*>(const_cast<char*>(GNUTLS_KP_TLS_WWW_CLIENT)), 0};
    unsigned int status = GNUTLS_CERT_INVALID;
    std::lock_guard lock(mutex);
    good = gnutls_x509_trust_list_verify_crt2(roots, chain.data(), count, &purpose, 1, 0, &status, nullptr) == 0 && status == 0;
  }
  if (good && !names.empty()) {
    std::array<char, 256> name{};
    std::size_t size = name.size();
    good = gnutls_x509_crt_get_dn_by_oid(chain[0], GNUTLS_OID_X520_COMMON_NAME, 0, 0, name.data(), &size) == 0 &&
           std::ranges::find(names, std::string_view(name.data(), size)) != names.end();
  }
  for (unsigned int i = 0; i < made; ++i) gnutls_x509_crt_deinit(chain[i]);
  return good;
}

Result<ClientAuthority> ClientAuthority::Parse(std::string_view pem, std::vector<std::string> names) {
  auto parts = std::make_shared<Parts>();
  parts->names = std::move(names);
  const gnutls_datum_t text{reinterpret_cast<unsigned char*>(const_cast<char*>(pem.data())), static_cast<unsigned int>(pem.size())};
  gnutls_x509_crt_t* list = nullptr;
  unsigned int count = 0;
  int error = gnutls_x509_crt_list_import2(&list, &count, &text, GNUTLS_X509_FMT_PEM, 0);
  if (error >= 0 && (count == 0 || count > kMostRoots)) error = GNUTLS_E_CERTIFICATE_ERROR;
  if (error >= 0) error = gnutls_x509_trust_list_init(&parts->roots, 0);
  // The list owns what it took.
  if (error >= 0 && gnutls_x509_trust_list_add_cas(parts->roots, list, count, 0) == static_cast<int>(count)) {
    gnutls_free(list);
    return ClientAuthority(std::move(parts));
  }
  gnutls_free(list);
  return Error(Reason::kConfig, "the authorities of clients cannot be read: " + std::string(gnutls_strerror(error)))
      .Next("give a PEM file of 1 to 64 CA certificates");
}

}  // namespace berth::httpd
