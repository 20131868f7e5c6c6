// http/trust.h: the certificates behind a TlsOptions, read from disk (private to http/).
//
// System roots as Go programs find them: SSL_CERT_FILE or the first known bundle, and SSL_CERT_DIR or /etc/ssl/certs. Parsing the
// whole bundle costs every handshake milliseconds, so where the directory is hashed (c_rehash) and holds at least as many
// certificates as the bundle, OpenSSL looks them up there one by one and the bundle is left out.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "http/client.h"

namespace berth::http {

struct Trust {
  std::string stamp;          // equal stamps: same files in the same state
  std::string pem;            // certificates one after the other, each once; none for connections without TLS
  std::string hashed_folder;  // "" = none
};

class TrustCache {
 public:
  explicit TrustCache(ProxyRules::GetEnv get_env) : get_env_(std::move(get_env)) {}
  // kConfig names the file that is missing or holds no certificate. Safe for concurrent use.
  Result<std::shared_ptr<const Trust>> Get(const TlsOptions& options);

 private:
  std::string Env(std::string_view name) const { return get_env_ ? get_env_(name).value_or("") : ""; }

  const ProxyRules::GetEnv get_env_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Trust>> recent_;  // guarded by mutex_; the newest last
};

}  // namespace berth::http
