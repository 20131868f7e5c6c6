// http/address.h: addresses that a name from outside must not lead us to.
//
// A redirect target or a token realm is text of a stranger; the check is on the address that is connected to, not on
// the text (C-43, C-51), and again when a kept connection is used. Behind a proxy only IP literals can be checked.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::http {

class AddressPolicy {
 public:
  AddressPolicy() = default;  // everything allowed
  // Refuses this host (0/8, 127/8, ::, ::1), link-local with the metadata services (169.254/16, fe80::/10,
  // fd00:ec2::254, 100.100.100.200, 192.0.0.192), multicast and broadcast. IPv4 inside IPv6 (mapped, NAT64, 6to4) counts as IPv4.
  static AddressPolicy NoLocal();

  // "169.254.0.0/16", "fd00::/8", or one address. kConfig when it is neither.
  Result<> Deny(std::string_view cidr);
  // Takes away the ranges that hold `address`: who already talks to loopback may be sent to loopback.
  void Except(std::string_view address);

  void Add(const AddressPolicy& other) { denied_.insert(denied_.end(), other.denied_.begin(), other.denied_.end()); }

  bool empty() const { return denied_.empty(); }
  // `address` as text without brackets; text that is no address is refused unless the policy is empty.
  bool Allows(std::string_view address) const;

 private:
  struct Range { std::string bytes; unsigned bits; };
  bool Holds(const Range& range, std::string_view bytes) const;
  std::vector<Range> denied_;
};

}  // namespace berth::http
