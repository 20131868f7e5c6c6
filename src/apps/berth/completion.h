// apps/berth/completion.h: shell completion, generated from the parsed grammar itself: it cannot fall behind.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace berth::cli {

struct FlagSpec {
  std::string name, short_name, help;      // "--platform", "-p" or ""
  bool takes_value = false;
  std::vector<std::string> values;         // the words it takes, when they are few
};
struct CommandSpec {
  std::string name, help;
  std::vector<std::string> aliases;
  std::vector<FlagSpec> flags;             // its own and the global ones
  enum class Arguments { kNone, kImages, kDirectories, kImageThenDirectory, kWords } arguments = Arguments::kNone;
  std::vector<std::string> words;          // kWords
};

// `shell`: "bash", "zsh" or "fish". Images that are here are completed by asking `berth images -o name`.
std::string Completion(std::string_view shell, const std::vector<CommandSpec>& commands);

}  // namespace berth::cli
