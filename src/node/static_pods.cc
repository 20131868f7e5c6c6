#include "node/static_pods.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>

#include "bytes/text.h"
#include "digest/digest.h"
#include "host/dir.h"
#include "host/poll.h"
#include "json/tree.h"
#include "kube/parse.h"
#include "kube/validate.h"
#include "log/log.h"
#include "yaml/document.h"

namespace berth::node {

Result<kube::Object> ReadStaticPod(std::string_view text, const std::string& file, const StaticPodOptions& options) {
  ASSIGN_OR_RETURN(const auto documents, yaml::Parse(text, file, Reason::kUsage));
  if (documents.size() != 1) return Error(Reason::kUsage, file + ": one Pod per file is wanted, not " + std::to_string(documents.size()));
  json::Tree tree(documents.front().root());
  if (tree.Text("kind") != "Pod" || tree.Text("apiVersion") != "v1") return Error(Reason::kUsage, file + ": a Pod of apiVersion v1 is wanted");
  kube::DefaultObject(tree, options.defaults);
  json::Tree& metadata = tree["metadata"];
  metadata["name"] = json::Tree(std::string(metadata.Text("name")) + "-" + bytes::Lower(options.node));
  if (metadata.Text("namespace").empty()) metadata["namespace"] = json::Tree("default");
  std::string key = options.node;
  key += '\0';
  key += file;
  key += '\0';
  key += text;
  const std::string hex = digest::Digest::Of(bytes::AsView(key)).Hex();
  metadata["uid"] = json::Tree(hex.substr(0, 32));
  json::Tree& annotations = metadata["annotations"];
  annotations[kConfigHashAnnotation] = json::Tree(hex.substr(0, 32));
  annotations[kConfigSourceAnnotation] = json::Tree("file");
  tree["spec"]["nodeName"] = json::Tree(options.node);
  // The kubelet puts up with every taint for them.
  json::Tree& toleration = tree["spec"]["tolerations"].Append(json::Tree::Object());
  toleration["operator"] = json::Tree("Exists");
  toleration["effect"] = json::Tree("NoExecute");
  ASSIGN_OR_RETURN(const auto document, json::Document::Parse(tree.Dump(), Reason::kUsage));
  ASSIGN_OR_RETURN(auto parsed, kube::ParseObject(document.root()));
  const auto errors = kube::Validate(document.root(), kube::PodPlace::kStatic);
  if (!errors.empty()) {
    std::string all;
    for (const auto& e : errors) all += (all.empty() ? "" : "; ") + e.Text();
    return Error(Reason::kUsage, file + ": " + all);
  }
  return std::move(parsed.object);
}

std::vector<kube::Object> StaticPods::Scan() {
  std::vector<kube::Object> pods;
  const auto folder = host::Dir::Open(options_.folder);
  if (!folder) return pods;
  const auto names = folder->List();
  if (!names) return pods;
  std::map<std::string, std::string> complaints;
  std::vector<std::string> sorted(names->begin(), names->end());
  std::ranges::sort(sorted);
  for (const auto& name : sorted) {
    if (name.starts_with('.') || pods.size() >= options_.files) continue;
    const std::string path = options_.folder + "/" + name;
    const auto text = host::ReadSmallFile(path, options_.file_bytes);
    auto pod = text ? ReadStaticPod(*text, path, options_) : Result<kube::Object>(text.error());
    if (pod) {
      pods.push_back(*std::move(pod));
      continue;
    }
    complaints[name] = pod.error().Text();
    if (const auto told = complaints_.find(name); told == complaints_.end() || told->second != complaints[name])
      log::Warning("a static Pod cannot be used", {{"file", path}, {"error", pod.error()}});
  }
  complaints_ = std::move(complaints);
  return pods;
}

void StaticPods::Run(const task::Context& ctx, const std::function<void(std::vector<kube::Object>)>& changed) {
  while (!ctx.stopped()) {
    const host::Fd notify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    const bool watched = notify.valid() && ::inotify_add_watch(notify.get(), options_.folder.c_str(),
                                                               IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                                                                   IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR) >= 0;
    changed(Scan());
    if (!watched) {
      if (!ctx.Sleep(options_.look_again)) return;
      continue;
    }
    for (bool there = true; there;) {
      if (!host::AwaitReadable(ctx, notify.get())) return;
      alignas(inotify_event) char events[4096];
      for (ssize_t n; (n = ::read(notify.get(), events, sizeof events)) > 0;)
        for (ssize_t at = 0; at < n;) {
          const auto* event = reinterpret_cast<const inotify_event*>(events + at);
          there = there && (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) == 0;
          at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
        }
      changed(Scan());
    }
  }
}

}  // namespace berth::node
