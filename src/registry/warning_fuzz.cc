// Lines of Warning, one per line of the input. Texts keep the promises of registry/warning.h; written again in quotes they are
// read again as the same.
#include <algorithm>
#include <string>
#include <string_view>

#include "registry/warning.h"
#include "result/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::registry;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    lines.push_back(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), lines.back().size() + 1));
  }
  const auto texts = ParseWarnings(lines);
  std::size_t bytes = 0;
  std::string again;
  for (const std::string& one : texts) {
    BERTH_CHECK(!one.empty());
    bytes += one.size();
    again += again.empty() ? "299 - \"" : ", 299 - \"";
    for (const char c : one) again += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    again += '"';
  }
  BERTH_CHECK(bytes <= kWarningBytes);
  BERTH_CHECK(ParseWarnings({again}) == texts);
  return 0;
}
