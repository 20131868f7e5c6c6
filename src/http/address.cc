#include "http/address.h"

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "http/url.h"

namespace berth::http {
namespace {

using std::string_literals::operator""s;

// The IPv4 address that an IPv6 address carries (mapped, NAT64, 6to4), or the bytes as they are.
std::string Unwrapped(std::string bytes) {
  if (bytes.size() != 16) return bytes;
  for (const std::string& prefix : {std::string(10, '\0') + "\xff\xff", "\0\x64\xff\x9b"s + std::string(8, '\0')})
    if (bytes.starts_with(prefix)) return bytes.substr(12);
  if (bytes.starts_with("\x20\x02"s)) return bytes.substr(2, 4);
  return bytes;
}

}  // namespace

AddressPolicy AddressPolicy::NoLocal() {
  AddressPolicy policy;
  for (const std::string_view range :
       {"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255", "100.100.100.200", "192.0.0.192",
        "::", "::1", "fe80::/10", "ff00::/8", "fd00:ec2::254"})
    BERTH_CHECK(policy.Deny(range).has_value());
  return policy;
}

Result<> AddressPolicy::Deny(std::string_view cidr) {
  const std::size_t slash = cidr.find('/');
  Range range{AddressBytes(cidr.substr(0, slash)), 0};
  const auto size = static_cast<unsigned>(range.bytes.size() * 8);
  range.bits = size;
  bool good = size != 0;
  if (slash != std::string_view::npos) {
    const std::string_view text = cidr.substr(slash + 1);
    const auto r = std::from_chars(text.data(), text.data() + text.size(), range.bits);
    good = good && r.ec == std::errc() && r.ptr == text.data() + text.size() && range.bits <= size;
  }
  if (!good) return Error(Reason::kConfig, Quoted(cidr) + " is neither an address nor a range of addresses");
  denied_.push_back(std::move(range));
  return {};
}

bool AddressPolicy::Holds(const Range& range, std::string_view bytes) const {
  if (bytes.size() != range.bytes.size()) return false;
  for (unsigned bit = 0; bit < range.bits; bit += 8) {
    const unsigned left = std::min(8u, range.bits - bit);
    const unsigned mask = (0xff00u >> left) & 0xffu;
    if ((static_cast<unsigned char>(bytes[bit / 8]) ^ static_cast<unsigned char>(range.bytes[bit / 8])) & mask) return false;
  }
  return true;
}

void AddressPolicy::Except(std::string_view address) {
  const std::string bytes = Unwrapped(AddressBytes(address));
  std::erase_if(denied_, [&](const Range& r) { return Holds(r, bytes); });
}

bool AddressPolicy::Allows(std::string_view address) const {
  if (denied_.empty()) return true;
  const std::string bytes = Unwrapped(AddressBytes(address));
  return !bytes.empty() && std::none_of(denied_.begin(), denied_.end(), [&](const Range& r) { return Holds(r, bytes); });
}

}  // namespace berth::http
