#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "http/testing/fault_server.h"

namespace berth::http::testing {
namespace {

template <class T, void (*Free)(T*)>
struct Deleter { void operator()(T* p) const { Free(p); } };
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY, EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Deleter<X509, X509_free>>;

void Must(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("test CA: ") + what);
}

Key NewKey(bool weak) {
  Key key(weak ? EVP_RSA_gen(1024) : EVP_EC_gen("P-256"));
  Must(key != nullptr, "key");
  return key;
}

void Extend(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX ctx;
  X509V3_set_ctx(&ctx, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value.c_str());
  Must(extension != nullptr, "extension");
  X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
}

Cert NewCert(EVP_PKEY* key, std::string_view common_name, long serial, long from, long until) {
  Cert cert(X509_new());
  X509_set_version(cert.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), serial);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), from);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), until);
  X509_set_pubkey(cert.get(), key);
  X509_NAME* name = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>(common_name.data()),
                             static_cast<int>(common_name.size()), -1, 0);
  return cert;
}

template <class Writer>
void WriteFile(const std::string& path, const Writer& write) {
  std::FILE* out = std::fopen(path.c_str(), "we");
  Must(out != nullptr, "file");
  const bool good = write(out) == 1;
  Must(std::fclose(out) == 0 && good, "write");
}

bool IsAddress(const std::string& name) {
  return name.find(':') != std::string::npos || name.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace

struct Ca::Impl {
  Key key;
  Cert cert;
};

Ca::Ca() : impl_(std::make_unique<Impl>()) {
  std::string pattern = (std::filesystem::temp_directory_path() / "berth-ca-XXXXXX").string();
  Must(mkdtemp(pattern.data()) != nullptr, "folder");
  folder_ = pattern;
  ca_file_ = folder_ + "/ca.crt";
  impl_->key = NewKey(false);
  impl_->cert = NewCert(impl_->key.get(), "berth test CA", 1, -3600, 86400);
  X509* cert = impl_->cert.get();
  X509_set_issuer_name(cert, X509_get_subject_name(cert));
  Extend(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
  Extend(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
  Extend(cert, cert, NID_subject_key_identifier, "hash");
  Must(X509_sign(cert, impl_->key.get(), EVP_sha256()) > 0, "sign");
  WriteFile(ca_file_, [&](std::FILE* f) { return PEM_write_X509(f, cert); });
}

Ca::~Ca() {
  std::error_code ec;
  std::filesystem::remove_all(folder_, ec);
}

Ca::Leaf Ca::Issue(const std::vector<std::string>& names, Fault fault) {
  const std::string base = folder_ + "/leaf" + std::to_string(++serial_);
  const Key key = NewKey(fault == Fault::kWeakKey);
  const long from = fault == Fault::kNotYetValid ? 86400 : fault == Fault::kExpired ? -86400 : -3600;
  const Cert cert = NewCert(key.get(), names.at(0), serial_, from, fault == Fault::kExpired ? -3600 : 2 * 86400);
  const bool self = fault == Fault::kSelfSigned;
  X509* issuer = self ? cert.get() : impl_->cert.get();
  X509_set_issuer_name(cert.get(), X509_get_subject_name(issuer));
  std::string alternatives;
  for (const std::string& name : names)
    alternatives += (alternatives.empty() ? "" : ",") + std::string(IsAddress(name) ? "IP:" : "DNS:") + name;
  Extend(cert.get(), issuer, NID_subject_alt_name, alternatives);
  Extend(cert.get(), issuer, NID_ext_key_usage, "serverAuth,clientAuth");
  Must(X509_sign(cert.get(), self ? key.get() : impl_->key.get(), EVP_sha256()) > 0, "sign");
  const Leaf leaf{base + ".crt", base + ".key"};
  WriteFile(leaf.cert_file, [&](std::FILE* f) { return PEM_write_X509(f, cert.get()); });
  WriteFile(leaf.key_file, [&](std::FILE* f) { return PEM_write_PrivateKey(f, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
  return leaf;
}

Ca::Leaf Ca::IssueClient(std::string_view common_name) { return Issue({std::string(common_name)}); }

}  // namespace berth::http::testing
