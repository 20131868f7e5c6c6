#include "apps/berth/completion.h"

#include <algorithm>

namespace berth::cli {
namespace {

using Arguments = CommandSpec::Arguments;

std::string Join(const std::vector<std::string>& words, std::string_view separator = " ") {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : std::string(separator)) + word;
  return out;
}

// In single quotes of any of the three shells; ours are plain sentences.
std::string Quote(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::vector<std::string> Names(const CommandSpec& command) {
  std::vector<std::string> names{command.name};
  names.insert(names.end(), command.aliases.begin(), command.aliases.end());
  return names;
}

std::string Bash(const std::vector<CommandSpec>& commands) {
  std::string all, every, cases, values;
  for (const auto& command : commands) {
    all += (all.empty() ? "" : " ") + command.name;
    every += (every.empty() ? "" : "|") + Join(Names(command), "|");
    std::string flags;
    for (const auto& flag : command.flags) {
      flags += (flags.empty() ? "" : " ") + flag.name;
      if (!flag.takes_value) continue;
      const std::string action = "COMPREPLY=($(compgen " + (flag.values.empty() ? "-f" : "-W '" + Join(flag.values) + "'") + " -- \"$cur\"))" +
                                 (std::ranges::any_of(flag.values, [](const std::string& value) { return value.ends_with('='); })
                                      ? "; [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null" : "");
      for (const auto& name : Names(command))
        for (const auto& spelling : {flag.name, flag.short_name})
          if (!spelling.empty()) values += "    " + name + "," + spelling + ") " + action + "; return ;;\n";
    }
    std::string action;
    switch (command.arguments) {
      case Arguments::kNone: action = ":"; break;
      case Arguments::kImages: action = "_berth_images \"$cur\""; break;
      case Arguments::kDirectories: action = "COMPREPLY=($(compgen -d -- \"$cur\"))"; break;
      case Arguments::kImageThenDirectory: action = "_berth_images \"$cur\"; COMPREPLY+=($(compgen -d -- \"$cur\"))"; break;
      case Arguments::kWords: action = "COMPREPLY=($(compgen -W '" + Join(command.words) + "' -- \"$cur\"))"; break;
    }
    cases += "    " + Join(Names(command), "|") + ") flags='" + flags + "'; [[ $cur == -* ]] || { " + action + "; return; } ;;\n";
  }
  return "# bash completion of berth; made by 'berth completion bash'\n"
         "_berth_images() {\n"
         "  local names\n"
         "  names=$(berth images -o name 2>/dev/null)\n"
         "  COMPREPLY=($(compgen -W \"$names\" -- \"$1\"))\n"
         "  declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions \"$1\"\n"
         "}\n"
         "_berth() {\n"
         "  local cur prev command='' word flags=''\n"
         "  if declare -F _get_comp_words_by_ref >/dev/null; then _get_comp_words_by_ref -n : cur prev\n"
         "  else cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}; fi\n"
         "  COMPREPLY=()\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    case $word in " + every + ") command=$word; break ;; esac\n"
         "  done\n"
         "  if [[ -z $command ]]; then\n"
         "    COMPREPLY=($(compgen -W '" + all + "' -- \"$cur\")); return\n"
         "  fi\n"
         "  case $command,$prev in\n" + values +
         "  esac\n"
         "  case $command in\n" + cases +
         "  esac\n"
         "  COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
         "}\n"
         "complete -o default -F _berth berth\n";
}

std::string Zsh(const std::vector<CommandSpec>& commands) {
  std::string names, cases;
  const auto described = [](std::string_view text) {  // brackets and colons are _arguments' own
    std::string out;
    for (const char c : text) {
      if (c == '[' || c == ']' || c == ':') out += '\\';
      out += c;
    }
    return out;
  };
  for (const auto& command : commands) {
    names += "    " + Quote(command.name + ":" + command.help) + "\n";
    cases += "    " + Join(Names(command), "|") + ") _arguments -s";
    for (const auto& flag : command.flags)
      for (const auto& spelling : {flag.name, flag.short_name}) {
        if (spelling.empty()) continue;
        std::string spec = spelling + "[" + described(flag.help) + "]";
        if (flag.takes_value) spec += ":value:" + (flag.values.empty() ? "_files" : "(" + Join(flag.values) + ")");
        cases += " \\\n      " + Quote(spec);
      }
    switch (command.arguments) {
      case Arguments::kNone: break;
      case Arguments::kImages: cases += " \\\n      '*:image:_berth_images'"; break;
      case Arguments::kDirectories: cases += " \\\n      '*:directory:_files -/'"; break;
      case Arguments::kImageThenDirectory: cases += " \\\n      '1:image:_berth_images' '2:directory:_files -/'"; break;
      case Arguments::kWords: cases += " \\\n      '1:word:(" + Join(command.words) + ")'"; break;
    }
    cases += " ;;\n";
  }
  return "#compdef berth\n# made by 'berth completion zsh'\n"
         "_berth_images() {\n  local -a names\n  names=(${(f)\"$(berth images -o name 2>/dev/null)\"})\n  compadd -a names\n}\n"
         "_berth() {\n  local -a commands\n  commands=(\n" + names + "  )\n"
         "  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
         "  local command=${words[2]}\n  shift words; (( CURRENT-- ))\n"
         "  case $command in\n" + cases + "  esac\n}\n"
         "compdef _berth berth\n";
}

std::string Fish(const std::vector<CommandSpec>& commands) {
  std::string out = "# fish completion of berth; made by 'berth completion fish'\ncomplete -c berth -f\n";
  for (const auto& command : commands) {
    out += "complete -c berth -n __fish_use_subcommand -a " + command.name + " -d " + Quote(command.help) + "\n";
    const std::string when = "complete -c berth -n '__fish_seen_subcommand_from " + Join(Names(command)) + "'";
    for (const auto& flag : command.flags) {
      out += when + " -l " + flag.name.substr(2);
      if (!flag.short_name.empty()) out += " -s " + flag.short_name.substr(1);
      if (flag.takes_value) out += flag.values.empty() ? " -r -F" : " -x -a " + Quote(Join(flag.values));
      out += " -d " + Quote(flag.help) + "\n";
    }
    switch (command.arguments) {
      case Arguments::kNone: break;
      case Arguments::kImages: out += when + " -a '(berth images -o name 2>/dev/null)'\n"; break;
      case Arguments::kDirectories: out += when + " -a '(__fish_complete_directories)'\n"; break;
      case Arguments::kImageThenDirectory:
        out += when + " -a '(berth images -o name 2>/dev/null) (__fish_complete_directories)'\n";
        break;
      case Arguments::kWords: out += when + " -a " + Quote(Join(command.words)) + "\n"; break;
    }
  }
  return out;
}

}  // namespace

std::string Completion(std::string_view shell, const std::vector<CommandSpec>& commands) {
  return shell == "bash" ? Bash(commands) : shell == "zsh" ? Zsh(commands) : Fish(commands);
}

}  // namespace berth::cli
