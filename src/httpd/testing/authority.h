// httpd/testing/authority.h: an authority for one test, and what it vouches for, in memory. Aborts instead of failing.
#pragma once

#include <string>
#include <vector>

#include "digest/signature.h"
#include "digest/x509.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::httpd::testing {

struct Issued {
  std::string certificate_pem;
  secret::Secret key_pem;
};

// Valid from an hour before `now` on.
inline digest::Validity Around(time::WallTime now, time::Duration lifetime) {
  const auto seconds = [](time::WallTime t) { return std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count(); };
  return {seconds(now - std::chrono::hours(1)), seconds(now + lifetime)};
}
inline Issued MakeAuthority(const std::string& name, time::WallTime now, time::Duration lifetime) {
  secret::Secret key(digest::MakeEcKey());
  std::string certificate = *digest::MakeAuthority(key.Reveal(), name, Around(now, lifetime));
  return {std::move(certificate), std::move(key)};
}
inline Issued Issue(const Issued& by, const std::vector<std::string>& names, digest::Purpose purpose, time::WallTime now,
                    time::Duration lifetime) {
  secret::Secret key(digest::MakeEcKey());
  std::string certificate = *digest::Issue(by.certificate_pem, by.key_pem.Reveal(), key.Reveal(), digest::LeafNames::Of(names),
                                           Around(now, lifetime), purpose);
  return {std::move(certificate), std::move(key)};
}

}  // namespace berth::httpd::testing
