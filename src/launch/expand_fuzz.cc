// Variables in the words of a Pod: escaping is undone exactly, and what has no reference stays as it is.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "launch/command.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  std::string escaped;
  for (const char c : text) escaped += c == '$' ? "$$" : std::string(1, c);
  const auto none = [](std::string_view) -> std::optional<std::string> { std::abort(); };
  if (berth::launch::ExpandVariables(escaped, none) != text) std::abort();
  std::size_t references = 0;
  const auto count = [&](std::string_view name) -> std::optional<std::string> {
    if (name.find(')') != std::string_view::npos) std::abort();
    ++references;
    return "";
  };
  const std::string out = berth::launch::ExpandVariables(text, count);
  if (out.size() > text.size() || (references == 0 && text.find("$$") == std::string::npos && out != text))
    std::abort();
  return 0;
}
