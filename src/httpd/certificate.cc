#include "httpd/certificate.h"

#include <algorithm>
#include <array>

#include "httpd/certificate_parts.h"

namespace berth::httpd {
namespace {

constexpr unsigned int kLongestChain = 16;

gnutls_datum_t Datum(std::string_view text) {
  return {reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())), static_cast<unsigned int>(text.size())};
}

}  // namespace

Certificate::Parts::~Parts() {
  for (unsigned int i = 0; i < length; ++i) gnutls_x509_crt_deinit(chain[i]);
  gnutls_free(chain);
  if (key != nullptr) gnutls_x509_privkey_deinit(key);
}

int Certificate::Parts::Lend(gnutls_pcert_st** pcerts, unsigned int* count, gnutls_privkey_t* lent_key) const {
  auto* lent = static_cast<gnutls_pcert_st*>(gnutls_calloc(length, sizeof(gnutls_pcert_st)));
  if (lent == nullptr) return GNUTLS_E_MEMORY_ERROR;
  unsigned int made = 0;
  gnutls_privkey_t copy = nullptr;
  int error = 0;
  while (made < length && (error = gnutls_pcert_import_x509(&lent[made], chain[made], 0)) == 0) ++made;
  if (error == 0) error = gnutls_privkey_init(&copy);
  if (error == 0) error = gnutls_privkey_import_x509(copy, key, GNUTLS_PRIVKEY_IMPORT_COPY);
  if (error != 0) {
    for (unsigned int i = 0; i < made; ++i) gnutls_pcert_deinit(&lent[i]);
    gnutls_free(lent);
    if (copy != nullptr) gnutls_privkey_deinit(copy);
    return error;
  }
  *pcerts = lent;
  *count = length;
  *lent_key = copy;
  return 0;
}

Result<Certificate> Certificate::Parse(std::string_view chain_pem, const secret::Secret& key_pem) {
  const auto fail = [](std::string_view what, int error) {
    return Error(Reason::kConfig, std::string(what) + ": " + gnutls_strerror(error)).Next("give PEM files: the leaf first, and its own key");
  };
  auto parts = std::make_shared<Parts>();
  const gnutls_datum_t chain = Datum(chain_pem), key = Datum(key_pem.Reveal());
  if (const int error = gnutls_x509_crt_list_import2(&parts->chain, &parts->length, &chain, GNUTLS_X509_FMT_PEM, 0); error < 0)
    return fail("the certificate cannot be read", error);
  if (parts->length == 0 || parts->length > kLongestChain) return fail("the certificate chain is empty or too long", GNUTLS_E_CERTIFICATE_ERROR);
  if (const int error = gnutls_x509_privkey_init(&parts->key); error < 0) return fail("the private key cannot be held", error);
  if (const int error = gnutls_x509_privkey_import2(parts->key, &key, GNUTLS_X509_FMT_PEM, nullptr, GNUTLS_PKCS_PLAIN); error < 0)
    return fail("the private key cannot be read", error);
  std::array<unsigned char, 64> of_leaf{}, of_key{};
  std::size_t leaf_size = of_leaf.size(), key_size = of_key.size();
  if (gnutls_x509_crt_get_key_id(parts->chain[0], 0, of_leaf.data(), &leaf_size) < 0 ||
      gnutls_x509_privkey_get_key_id(parts->key, 0, of_key.data(), &key_size) < 0 || leaf_size != key_size || of_leaf != of_key)
    return fail("the private key is not the certificate's", GNUTLS_E_CERTIFICATE_KEY_MISMATCH);
  return Certificate(std::move(parts));
}

time::WallTime Certificate::not_after() const {
  return time::FromUnix(gnutls_x509_crt_get_expiration_time(parts_->chain[0]));
}

}  // namespace berth::httpd
