// httpd/issuer.h: an authority of our own, for servers that only one client has to trust (a webhook and its API server).
//
// Keys are ECDSA P-256, serial numbers random, certificates valid from an hour before `now` (clocks differ). Not for the public web.
#pragma once

#include <string>
#include <vector>

#include "result/result.h"
#include "secret/secret.h"
#include "time/clock.h"

namespace berth::httpd {

struct Issued {
  std::string certificate_pem;
  secret::Secret key_pem;
};

// A self-signed CA that may sign leaves only.
Result<Issued> MakeAuthority(const std::string& name, time::WallTime now, time::Duration lifetime);
enum class Purpose : unsigned char { kServer, kClient };
// For DNS names and numeric addresses; the first DNS name is the common name. kConfig: the authority cannot be read or its key is another's.
Result<Issued> Issue(const Issued& authority, const std::vector<std::string>& names, Purpose purpose, time::WallTime now,
                     time::Duration lifetime);

}  // namespace berth::httpd
