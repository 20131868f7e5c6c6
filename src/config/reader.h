// config/reader.h: a YAML file as flat, dotted keys with their places, and its rules for images. Private to config/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "result/result.h"
#include "verify/rules.h"

namespace berth::config {

struct Entry {
  std::string key;                  // "pull.layers"
  std::vector<std::string> values;  // one for a scalar, any number for a list
  bool list = false;
  int line = 0;                     // 1-based
};

struct Entries {
  std::vector<Entry> plain;          // in the order of the file, without those of `verification`
  verify::Rules verification;        // off when there is no such section
};

// Of the ImageDaemonConfiguration document. kConfig "name:line: …". At most 1 MiB, 16 levels. Key files that the rules name are read.
Result<Entries> ReadYaml(std::string_view text, std::string_view name);

}  // namespace berth::config
