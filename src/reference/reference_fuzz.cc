// What is accepted is what the grammar of kubelet-images 1.1, written as a POSIX expression, accepts; every printed
// form of a reference is read back as the same reference; the two readers agree.
// An image id is a whole digest, or its digits.
// What it costs is linear in the text, and bounded for any text: nothing longer than a reference can be is looked at for long.
#include <regex.h>

#include <algorithm>
#include <string>

#include "reference/reference.h"
#include "result/result.h"
#include "result/testing/heap.h"

namespace {

using namespace berth;
using reference::Reference;

#define PATH "[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"
#define LABEL "([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
#define HOST "(" LABEL "([.]" LABEL ")*|[[][0-9A-Fa-f:]+[]])(:[0-9]+)?"
#define ALGORITHM "[A-Za-z][A-Za-z0-9]*([-_+.][A-Za-z][A-Za-z0-9]*)*"
constexpr char kGrammar[] = "^(" HOST "/)?" PATH "(/" PATH ")*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@" ALGORITHM ":[0-9a-fA-F]{32,})?$";

bool MatchesGrammar(const std::string& text) {
  static const regex_t* const kExpression = [] {
    static regex_t expression;
    BERTH_CHECK(regcomp(&expression, kGrammar, REG_EXTENDED | REG_NOSUB) == 0);
    return &expression;
  }();
  return regexec(kExpression, text.c_str(), 0, nullptr, 0) == 0;
}

void CheckRaw(std::string_view text) {
  const Result<Reference> raw = Reference::ParseRaw(text);
  const bool comparable = text.size() <= 512 && text.find('\0') == std::string_view::npos;
  if (!raw) {
    BERTH_CHECK(raw.error().reason() == Reason::kInvalidReference);
    BERTH_CHECK(!reference::TrimTagAndDigest(text));
    // The expression knows no lengths and only the first stage of a digest: the other refusals are later ones.
    const std::string& why = raw.error().message();
    if (comparable && (why == "invalid reference format" || why == "repository name must be lowercase")) {
      const std::size_t end = text.find('@'), slash = text.substr(0, end).rfind('/');
      const std::size_t colon = text.find(':', slash == std::string_view::npos ? 0 : slash);
      const bool long_tag = colon < end && std::min(end, text.size()) - colon - 1 > reference::kMaxTag;
      BERTH_CHECK(long_tag || !MatchesGrammar(std::string(text)));
    }
    return;
  }
  if (comparable) BERTH_CHECK(MatchesGrammar(std::string(text)));
  BERTH_CHECK(raw->ToString() == text && raw->spelling() == text);
  BERTH_CHECK(raw->path().size() <= reference::kMaxPath && (!raw->tag() || reference::IsTag(*raw->tag())));
  BERTH_CHECK(*reference::TrimTagAndDigest(text) == raw->Repository());
}

// An id is what a digest reads, whole or without its algorithm.
void CheckId(std::string_view text) {
  const std::string_view digits = reference::IdDigits(text);
  BERTH_CHECK(text.ends_with(digits) && digits.find_first_not_of("0123456789abcdef") == std::string_view::npos);
  const auto id = reference::ParseImageId(text);
  const auto whole = digest::Digest::Parse(text);
  BERTH_CHECK(reference::IsImageId(text) == id.has_value());
  BERTH_CHECK(id ? id->Hex() == digits && (text == digits || text == id->ToString()) : !whole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  {
    const result::testing::HeapWatch heap;
    (void)Reference::Parse(text);
    BERTH_CHECK(heap.times() <= 64 && heap.bytes() <= 32 * size + 16384);
  }
  CheckRaw(text);
  CheckId(text);
  const Result<Reference> got = Reference::Parse(text);
  if (!got) {
    BERTH_CHECK(got.error().reason() == Reason::kInvalidReference);
    BERTH_CHECK(got.error().Text().find('\n') == std::string::npos && got.error().Text().size() < 4096);
    return 0;
  }
  BERTH_CHECK((size != 64 || !reference::IsImageId(text)) && (got->tag() || got->digest()));
  for (const std::string& form : {got->ToString(), got->Familiar(), got->CriSpelling()}) {
    const Result<Reference> again = Reference::Parse(form);
    BERTH_CHECK(again.has_value() && *again == *got);
    BERTH_CHECK(again->ToString() == got->ToString() && again->Familiar() == got->Familiar());
  }
  const Result<Reference> canonical = Reference::Parse(got->Canonical());
  BERTH_CHECK(canonical && canonical->Repository() == got->Repository() && canonical->Canonical() == got->Canonical());
  const digest::Digest digest;
  const Reference changed = got->WithTag("t").WithDigest(digest);
  const Result<Reference> respelled = Reference::Parse(changed.spelling());
  BERTH_CHECK(respelled && *respelled == changed && changed.digest() == digest && changed.tag() == "t");
  return 0;
}
