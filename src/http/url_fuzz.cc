// A URL that passes stays the same when it is printed and read again, holds nothing that could break a request line, and its
// printable form holds no query; a Location leads to such a URL or nowhere; dates and proxies do not crash.

#include "http/proxy.h"
#include "http/retry.h"
#include "http/url.h"
#include "result/result.h"

namespace {

void CheckUrl(const berth::http::Url& url) {
  const std::string wire = url.ToWire();
  for (const char c : wire) BERTH_CHECK(c > 0x20 && c < 0x7f && c != '\\');
  BERTH_CHECK(wire.starts_with("http://") || wire.starts_with("https://"));
  BERTH_CHECK(url.path.starts_with('/') && url.port != 0 && !url.host.empty());
  BERTH_CHECK(url.Authority().find('@') == std::string::npos);
  BERTH_CHECK(url.Redacted().find('?') == std::string::npos);
  if (wire.size() > berth::http::kMaxUrlBytes) return;  // escapes may make it longer than what may be read
  const auto again = berth::http::Url::Parse(wire);
  BERTH_CHECK(again.has_value() && *again == url);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::http;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto url = Url::Parse(text)) CheckUrl(*url);
  static const Url kBase = *Url::Parse("https://registry.example/v2/a/blobs/x?q=1");
  const auto to = kBase.Resolve(text);
  if (to) CheckUrl(*to);
  else BERTH_CHECK(to.error().reason() == berth::Reason::kProtocolError);
  const berth::time::WallTime now{std::chrono::hours(24 * 365 * 56)};
  if (const auto wait = ParseRetryAfter(text, now)) BERTH_CHECK(wait->count() >= 0 && *wait <= kRetryAfterCap);
  if (const auto rules = ProxyRules::Make(text, "", text)) (void)rules->For(kBase);
  const auto exceptions = ProxyRules::Make("proxy:1", "", text);
  BERTH_CHECK(exceptions.has_value());
  (void)exceptions->For(kBase);
  return 0;
}
