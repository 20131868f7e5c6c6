// config/reader.h: a YAML file as flat, dotted keys with their places. Private to config/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"

namespace berth::config {

struct Entry {
  std::string key;                  // "pull.layers"
  std::vector<std::string> values;  // one for a scalar, any number for a list
  bool list = false;
  int line = 0;                     // 1-based
};

// Entries of the ImageDaemonConfiguration document, in the order of the file. kConfig "name:line: …". At most 1 MiB, 16 levels.
Result<std::vector<Entry>> ReadYaml(std::string_view text, std::string_view name);

}  // namespace berth::config
