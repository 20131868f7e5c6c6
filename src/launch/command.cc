#include "launch/command.h"

#include <algorithm>

namespace berth::launch {
namespace {

// Kubernetes' relaxed rule (1.34 on): printable ASCII without '='.
bool IsVariableName(std::string_view name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != '='; });
}

Result<std::optional<std::string>> KeyOfSecret(const PodFacts& facts, const kube::KeySelector& key,
                                               const ConfigSource& objects) {
  auto secret = objects.FindSecret(key.name);
  if (!secret) {
    if (key.optional && secret.error().reason() == Reason::kNotFound) return std::optional<std::string>();
    return Error(std::move(secret).error());
  }
  if (const auto found = (*secret)->data.find(key.key); found != (*secret)->data.end())
    return std::optional(std::string(found->second.Reveal()));
  if (key.optional) return std::optional<std::string>();
  return Error(Reason::kNotFound,
               "couldn't find key " + key.key + " in Secret " + facts.pod.metadata.ns + "/" + key.name)
      .Next("add the key to the Secret, or mark the reference optional");
}

Result<std::optional<std::string>> KeyOfConfigMap(const PodFacts& facts, const kube::KeySelector& key,
                                                  const ConfigSource& objects) {
  auto map = objects.FindConfigMap(key.name);
  if (!map) {
    if (key.optional && map.error().reason() == Reason::kNotFound) return std::optional<std::string>();
    return Error(std::move(map).error());
  }
  if (const auto found = (*map)->data.find(key.key); found != (*map)->data.end())
    return std::optional(found->second);
  if (key.optional) return std::optional<std::string>();
  return Error(Reason::kNotFound,
               "couldn't find key " + key.key + " in ConfigMap " + facts.pod.metadata.ns + "/" + key.name)
      .Next("add the key to the ConfigMap, or mark the reference optional");
}

Result<> AddAll(const kube::EnvFrom& from, const ConfigSource& objects, Environment& out) {
  const auto add = [&](const std::string& key, std::string_view value) {
    const std::string name = from.prefix + key;
    if (IsVariableName(name))
      out.values[name] = value;
    else
      out.skipped.push_back(name);
  };
  if (!from.config_map.empty()) {
    auto map = objects.FindConfigMap(from.config_map);
    if (!map && from.optional && map.error().reason() == Reason::kNotFound) return {};
    if (!map) return Error(std::move(map).error());
    for (const auto& [key, value] : (*map)->data) add(key, value);
  }
  if (!from.secret.empty()) {
    auto secret = objects.FindSecret(from.secret);
    if (!secret && from.optional && secret.error().reason() == Reason::kNotFound) return {};
    if (!secret) return Error(std::move(secret).error());
    for (const auto& [key, value] : (*secret)->data) add(key, value.Reveal());
  }
  return {};
}

VariableLookup LookupIn(const kube::StringMap& values) {
  return [&values](std::string_view name) -> std::optional<std::string> {
    const auto found = values.find(std::string(name));
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
}

// Variables in the order of their first appearance.
class Variables {
 public:
  void Set(std::string_view name, std::string_view value) {
    for (std::string& line : lines_)
      if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == '=') {
        line = std::string(name) + "=" + std::string(value);
        return;
      }
    lines_.push_back(std::string(name) + "=" + std::string(value));
  }
  std::vector<std::string> Take() { return std::move(lines_); }

 private:
  std::vector<std::string> lines_;
};

}  // namespace

std::string ExpandVariables(std::string_view text, const VariableLookup& lookup) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
    } else if (text[i + 1] == '$') {
      out += '$';
      ++i;
    } else if (const auto close = text[i + 1] == '(' ? text.find(')', i + 2) : std::string_view::npos;
               close != std::string_view::npos) {
      const auto name = text.substr(i + 2, close - i - 2);
      if (const auto value = lookup(name))
        out += *value;
      else
        out.append(text.substr(i, close - i + 1));
      i = close;
    } else {
      out += '$';
    }
  }
  return out;
}

Result<Environment> MakeEnvironment(const PodFacts& facts, const kube::Container& container,
                                    const ConfigSource& objects) {
  Environment out;
  for (const auto& from : container.env_from) RETURN_IF_ERROR(AddAll(from, objects, out));
  std::sort(out.skipped.begin(), out.skipped.end());
  for (const kube::EnvVar& var : container.env) {
    std::optional<std::string> value;
    if (!var.value.empty()) {
      value = ExpandVariables(var.value, LookupIn(out.values));
    } else if (var.field) {
      ASSIGN_OR_RETURN(value, FieldValue(facts, *var.field));
    } else if (var.resource_field) {
      ASSIGN_OR_RETURN(value, ResourceValue(facts, *var.resource_field, container.name));
    } else if (var.secret_key) {
      ASSIGN_OR_RETURN(value, KeyOfSecret(facts, *var.secret_key, objects));
      if (!value) continue;
    } else if (var.config_map_key) {
      ASSIGN_OR_RETURN(value, KeyOfConfigMap(facts, *var.config_map_key, objects));
      if (!value) continue;
    }
    out.values[var.name] = value.value_or("");
  }
  return out;
}

Result<Command> MakeCommand(const oci::ImageConfig& image, const kube::Container& container,
                            const kube::StringMap& environment, std::string_view hostname) {
  Command out;
  const auto add = [&](const std::vector<std::string>& words, bool expand) {
    for (const auto& word : words)
      out.argv.push_back(expand ? ExpandVariables(word, LookupIn(environment)) : word);
  };
  if (!container.command.empty()) {
    add(container.command, true);
    add(container.args, true);
  } else {
    add(image.entrypoint, false);
    add(container.args.empty() ? image.cmd : container.args, !container.args.empty());
  }
  if (out.argv.empty() || out.argv[0].empty())
    return Error(Reason::kConfig, "no command specified")
        .Next("the image has neither entrypoint nor cmd: set `command` in the container");

  Variables env;
  env.Set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  if (container.tty) env.Set("TERM", "xterm");
  env.Set("HOSTNAME", hostname);
  for (const auto& line : image.env)
    if (const auto equals = line.find('='); equals != std::string::npos && equals > 0)
      env.Set(std::string_view(line).substr(0, equals), std::string_view(line).substr(equals + 1));
  for (const auto& [name, value] : environment) env.Set(name, value);
  out.env = env.Take();
  // A NUL would cut the text where execve reads it.
  for (const auto* list : {&out.argv, &out.env})
    for (const auto& text : *list)
      if (text.find('\0') != std::string::npos)
        return Error(Reason::kConfig, list == &out.argv ? "an argument has a NUL byte in it"
                                                        : "a variable's value has a NUL byte in it");

  out.working_dir = !container.working_dir.empty() ? container.working_dir
                    : !image.working_dir.empty()   ? image.working_dir
                                                   : "/";
  if (out.working_dir.front() != '/') {
    if (!container.working_dir.empty())
      return Error(Reason::kConfig, "workingDir " + Quoted(out.working_dir) + " is not an absolute path");
    out.working_dir.insert(0, "/");
  }
  return out;
}

}  // namespace berth::launch
