#include "bytes/base64url.h"

#include <algorithm>

#include "bytes/encoding.h"

namespace berth::bytes {

std::string ToBase64Url(View data) {
  std::string out = ToBase64(data);
  while (out.ends_with('=')) out.pop_back();
  std::replace(out.begin(), out.end(), '+', '-');
  std::replace(out.begin(), out.end(), '/', '_');
  return out;
}

}  // namespace berth::bytes
