// What is accepted is exactly the canonical form, and its three spellings agree; nothing else is.
#include <utility>

#include "digest/digest.h"
#include "result/result.h"

namespace {

// The rule again, written differently from the parser.
bool IsCanonical(std::string_view s) {
  constexpr std::pair<std::string_view, std::size_t> kForms[] = {{"sha256:", 64}, {"sha384:", 96}, {"sha512:", 128}};
  for (const auto& [prefix, digits] : kForms) {
    if (s.starts_with(prefix) && s.size() == 7 + digits &&
        s.find_first_not_of("0123456789abcdef", 7) == std::string_view::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const Result<digest::Digest> got = digest::Digest::Parse(text);
  BERTH_CHECK(got.has_value() == IsCanonical(text));
  if (got) {
    BERTH_CHECK(got->ToString() == text && text.ends_with(got->Hex()) && got->Hex().starts_with(got->Short()));
    BERTH_CHECK(digest::Digest::FromRaw(got->algorithm(), got->raw()) == *got);
  } else {
    BERTH_CHECK(got.error().reason() == Reason::kInvalidDigest && got.error().Text().size() < 64);
  }
  return 0;
}
