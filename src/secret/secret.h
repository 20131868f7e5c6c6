// secret/secret.h: bytes that must never be printed.
//
// A Secret owns its bytes, wipes them when it goes, has no operator<<, no formatter and no conversion to a string:
// printing one does not compile. Reveal() is the only way out and is called at the last moment, by the code that
// puts it on the wire. Copies are explicit (Clone). Comparison takes the same time whatever differs.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace berth::secret {

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string_view bytes) : bytes_(bytes) {}
  // Takes the characters of `bytes` and wipes it.
  static Secret Take(std::string& bytes);

  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { Wipe(bytes_); }

  Secret Clone() const { return Secret(bytes_); }
  bool empty() const { return bytes_.empty(); }
  std::size_t size() const { return bytes_.size(); }
  std::string_view Reveal() const { return bytes_; }

  friend bool operator==(const Secret& a, const Secret& b);

  // Overwrites the whole capacity of `s` and clears it.
  static void Wipe(std::string& s);

 private:
  std::string bytes_;
};

}  // namespace berth::secret
