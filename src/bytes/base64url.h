// bytes/base64url.h: RFC 4648 section 5 without padding: what JSON Web Tokens are made of.
#pragma once

#include <string>

#include "bytes/bytes.h"

namespace berth::bytes {

std::string ToBase64Url(View data);

}  // namespace berth::bytes
