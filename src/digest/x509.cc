#include "digest/x509.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>

namespace berth::digest {
namespace {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* p) const { Free(p); }
};
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Deleter<X509_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;

// The errors' own texts may quote what they read.
Error Refuse(const char* why) {
  ERR_clear_error();
  return Error(Reason::kUsage, why);
}

Bio Reader(std::string_view pem) { return Bio(BIO_new_mem_buf(pem.data(), static_cast<int>(std::min<std::size_t>(pem.size(), 1u << 20)))); }
int NoPhrase(char*, int, int, void*) { return -1; }  // OpenSSL would ask the terminal

Key ReadKey(std::string_view pem) { return Key(PEM_read_bio_PrivateKey(Reader(pem).get(), nullptr, NoPhrase, nullptr)); }
Cert ReadCert(std::string_view pem) { return Cert(PEM_read_bio_X509(Reader(pem).get(), nullptr, NoPhrase, nullptr)); }

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

bool Extend(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  const Extension made(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return made && X509_add_ext(cert, made.get(), -1) == 1;
}

// A certificate of `key` with all but extensions and signature; null when OpenSSL refuses.
Cert Begin(EVP_PKEY* key, const std::string& common_name, const X509_NAME* issuer, Validity validity) {
  Cert cert(X509_new());
  const std::unique_ptr<BIGNUM, Deleter<BN_free>> serial(BN_new());
  if (!cert || !serial || BN_rand(serial.get(), 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) != 1) return nullptr;
  X509_NAME* subject = X509_get_subject_name(cert.get());
  const bool good = X509_set_version(cert.get(), 2) == 1 &&
                    BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(cert.get())) != nullptr &&
                    X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
                                               reinterpret_cast<const unsigned char*>(common_name.data()),
                                               static_cast<int>(common_name.size()), -1, 0) == 1 &&
                    X509_set_issuer_name(cert.get(), issuer == nullptr ? subject : issuer) == 1 &&
                    ASN1_TIME_set(X509_getm_notBefore(cert.get()), validity.not_before) != nullptr &&
                    ASN1_TIME_set(X509_getm_notAfter(cert.get()), validity.not_after) != nullptr &&
                    X509_set_pubkey(cert.get(), key) == 1;
  return good ? std::move(cert) : nullptr;
}

Result<std::string> Finish(Cert cert, EVP_PKEY* key) {
  const Bio out(BIO_new(BIO_s_mem()));
  if (X509_sign(cert.get(), key, EVP_sha256()) <= 0 || PEM_write_bio_X509(out.get(), cert.get()) != 1) return Refuse("the certificate cannot be signed");
  return Text(out.get());
}

std::int64_t Seconds(const ASN1_TIME* t) {
  const std::unique_ptr<ASN1_TIME, Deleter<ASN1_TIME_free>> epoch(ASN1_TIME_set(nullptr, 0));
  int days = 0, seconds = 0;
  if (ASN1_TIME_diff(&days, &seconds, epoch.get(), t) != 1) return 0;
  return std::int64_t{days} * 86'400 + seconds;
}

}  // namespace

std::string GenerateToken() {
  unsigned char bits[32];
  BERTH_CHECK(RAND_priv_bytes(bits, sizeof bits) == 1);
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char b : bits) (out += kDigits[b >> 4]) += kDigits[b & 15];
  OPENSSL_cleanse(bits, sizeof bits);
  return out;
}

Result<std::string> MakeAuthority(std::string_view key_pem, const std::string& common_name, Validity validity) {
  const Key key = ReadKey(key_pem);
  if (!key) return Refuse("the authority's key is no private key in PEM form");
  Cert cert = Begin(key.get(), common_name, nullptr, validity);
  if (!cert || !Extend(cert.get(), cert.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !Extend(cert.get(), cert.get(), NID_key_usage, "critical,digitalSignature,keyCertSign,cRLSign") ||
      !Extend(cert.get(), cert.get(), NID_subject_key_identifier, "hash"))
    return Refuse("the authority's certificate cannot be made of this name and these times");
  return Finish(std::move(cert), key.get());
}

LeafNames LeafNames::Of(std::span<const std::string> names) {
  LeafNames out;
  if (!names.empty()) out.common_name = names.front().substr(0, 64);
  for (const std::string& name : names) {
    in6_addr room;
    const bool address = ::inet_pton(AF_INET, name.c_str(), &room) == 1 || ::inet_pton(AF_INET6, name.c_str(), &room) == 1;
    (address ? out.ips : out.dns).push_back(name);
  }
  return out;
}

Result<std::string> Issue(std::string_view authority_pem, std::string_view authority_key_pem, std::string_view key_pem,
                          const LeafNames& names, Validity validity, Purpose purpose) {
  const Cert authority = ReadCert(authority_pem);
  const Key authority_key = ReadKey(authority_key_pem), key = ReadKey(key_pem);
  if (!authority || !authority_key || !key) return Refuse("the authority or a key is not in PEM form");
  if (X509_check_private_key(authority.get(), authority_key.get()) != 1) return Refuse("the authority's key is not that of its certificate");
  Cert cert = Begin(key.get(), names.common_name, X509_get_subject_name(authority.get()), validity);
  std::string others;
  for (const auto& [prefix, list] : {std::pair("DNS:", &names.dns), {"IP:", &names.ips}})
    for (const std::string& name : *list) {
      // The notation of extensions has its own meaning of these.
      if (name.find_first_of(",;:\n") != name.npos && !(prefix == std::string_view("IP:") && name.find_first_not_of("0123456789abcdefABCDEF:.") == name.npos))
        return Refuse("a name for the certificate is neither a host name nor an address");
      others += (others.empty() ? "" : ",") + std::string(prefix) + name;
    }
  if (!cert || others.empty() || !Extend(cert.get(), authority.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !Extend(cert.get(), authority.get(), NID_key_usage, "critical,digitalSignature") ||
      !Extend(cert.get(), authority.get(), NID_ext_key_usage, purpose == Purpose::kServer ? "serverAuth" : "clientAuth") ||
      !Extend(cert.get(), authority.get(), NID_subject_alt_name, others) ||
      !Extend(cert.get(), authority.get(), NID_authority_key_identifier, "keyid"))
    return Refuse("a name for the certificate is neither a host name nor an address");
  return Finish(std::move(cert), authority_key.get());
}

Result<CertificateFacts> ReadCertificate(std::string_view pem) {
  const Cert cert = ReadCert(pem);
  if (!cert) return Refuse("this is no certificate in PEM form");
  CertificateFacts out{{Seconds(X509_get0_notBefore(cert.get())), Seconds(X509_get0_notAfter(cert.get()))}, {}};
  const std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(cert.get(), NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS && name->type != GEN_IPADD) continue;
    const Bio text(BIO_new(BIO_s_mem()));
    if (GENERAL_NAME_print(text.get(), const_cast<GENERAL_NAME*>(name)) != 1) continue;
    const std::string printed = Text(text.get());  // "DNS:localhost", "IP Address:127.0.0.1"
    out.names.push_back(printed.substr(printed.find(':') + 1));
  }
  std::ranges::sort(out.names);
  return out;
}

bool SignedBy(std::string_view pem, std::string_view authority_pem) {
  const Cert cert = ReadCert(pem), authority = ReadCert(authority_pem);
  const bool good = cert && authority && X509_check_issued(authority.get(), cert.get()) == X509_V_OK &&
                    X509_verify(cert.get(), X509_get0_pubkey(authority.get())) == 1;
  ERR_clear_error();
  return good;
}

}  // namespace berth::digest
