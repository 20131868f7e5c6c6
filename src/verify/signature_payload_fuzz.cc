// Simple-signing payloads and in-toto statements: what is read says one digest, and says it again.
#include <cstdint>
#include <cstdlib>

#include "verify/payload.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool escaped = text.find('\\') != text.npos;  // then a digest may be spelled in many ways
  const auto said = [&](const digest::Digest& digest) { return escaped || text.find(digest.Hex()) != text.npos; };
  if (const auto payload = verify::ParseSimpleSigning(text)) {
    if (payload->reference.size() > 4096 || !said(payload->digest)) std::abort();
    if (text.size() > verify::kPayloadBytes) std::abort();
  }
  if (const auto statement = verify::ParseStatement(text)) {
    if (statement->subjects.empty() || statement->subjects.size() > 64) std::abort();
    for (const auto& subject : statement->subjects)
      for (const auto& digest : subject.digests)
        if (!said(digest)) std::abort();
  }
  if (const auto subject = verify::SubjectOf(text); subject && *subject && !said(**subject)) std::abort();
  return 0;
}
