#include "secret/secret.h"

#include <string.h>

#include <utility>

namespace berth::secret {

void Secret::Wipe(std::string& s) {
  s.resize(s.capacity());
  explicit_bzero(s.data(), s.size());
  s.clear();
}

Secret Secret::Take(std::string& bytes) {
  Secret out{std::string_view(bytes)};
  Wipe(bytes);
  return out;
}

Secret::Secret(Secret&& other) noexcept : bytes_(std::move(other.bytes_)) { Wipe(other.bytes_); }

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    Wipe(bytes_);
    bytes_ = std::move(other.bytes_);
    Wipe(other.bytes_);
  }
  return *this;
}

bool operator==(const Secret& a, const Secret& b) {
  if (a.bytes_.size() != b.bytes_.size()) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < a.bytes_.size(); ++i)
    difference = static_cast<unsigned char>(difference | (a.bytes_[i] ^ b.bytes_[i]));
  return difference == 0;
}

}  // namespace berth::secret
