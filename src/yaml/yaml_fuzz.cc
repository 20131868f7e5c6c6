// Any text is refused with its name in front, or read; what was read prints as YAML that reads back as the same.
#include <cstdint>
#include <cstdlib>

#include "yaml/document.h"
#include "yaml/writer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  const yaml::Limits limits{.bytes = 64u << 10, .depth = 16, .values = 5000, .documents = 50};
  const auto documents = yaml::Parse({reinterpret_cast<const char*>(data), size}, "fuzz", Reason::kConfig, limits);
  if (!documents) {
    const Error& e = documents.error();
    if ((e.reason() != Reason::kConfig && e.reason() != Reason::kLimitExceeded) || !e.Text().starts_with("fuzz:")) std::abort();
    return 0;
  }
  for (const yaml::Document& d : *documents) {
    if (d.line() < 1 || d.LineOf("a.b[0].c") < 1) std::abort();
    const std::string printed = yaml::Print(d.root());
    const auto again = yaml::Parse(printed, "again", Reason::kConfig, {.bytes = 8u << 20, .depth = 17, .values = 20'000, .documents = 1});
    if (!again) std::abort();
    // A document that is null is left out.
    if (again->size() != (d.root().IsNull() ? 0u : 1u)) std::abort();
    if (!again->empty() && yaml::Print((*again)[0].root()) != printed) std::abort();
    bool reals = false;  // 1e5 comes back as 100000, rightly, and what has no room in 64 bits as the nearest that a double can be
    const std::string dump = d.root().Dump();
    for (std::size_t i = 0, digits = 0; i + 1 < dump.size(); ++i) {
      digits = dump[i] >= '0' && dump[i] <= '9' ? digits + 1 : 0;
      reals |= dump[i] == '.' || dump[i] == 'e' || dump[i] == 'E' || (dump[i] == '-' && dump[i + 1] == '0') || digits >= 19;
    }
    if (!reals && !again->empty() && (*again)[0].root().Dump() != dump) std::abort();
  }
  return 0;
}
