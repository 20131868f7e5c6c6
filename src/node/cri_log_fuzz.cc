// What containers write, as far as the log reader looks at it: parts are views into the line, in order, and nothing is invented.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "node/log_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto parsed = berth::node::ParseCriLine(line);
  if (!parsed) return 0;
  const auto inside = [&](std::string_view part) {
    return part.empty() || (part.data() >= line.data() && part.data() + part.size() <= line.data() + line.size());
  };
  if (!inside(parsed->time) || !inside(parsed->stream) || !inside(parsed->text)) std::abort();
  if (parsed->stream != "stdout" && parsed->stream != "stderr") std::abort();
  if (parsed->time.size() + parsed->stream.size() + parsed->text.size() + 3 > line.size()) std::abort();
  return 0;
}
