// node/testing/lab.h: what the node's tests share: Pods from YAML, a scripted image service, a sink that remembers.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "json/tree.h"
#include "kube/defaults.h"
#include "kube/parse.h"
#include "node/pod_worker.h"
#include "yaml/document.h"

namespace berth::node::testing {

inline kube::Object ObjectFrom(std::string_view yaml, const std::string& uid = "") {
  const auto documents = yaml::Parse(yaml, "test", Reason::kUsage);
  EXPECT_TRUE(documents) << documents.error().Text();
  json::Tree tree((*documents)[0].root());
  kube::DefaultObject(tree);
  if (!uid.empty()) tree["metadata"]["uid"] = json::Tree(uid);
  const auto document = json::Document::Parse(tree.Dump(), Reason::kUsage);
  auto parsed = kube::ParseObject(document->root());
  EXPECT_TRUE(parsed) << parsed.error().Text();
  return std::move(parsed->object);
}
inline kube::Pod PodFrom(std::string_view yaml, const std::string& uid = "uid-1") { return kube::ReadPod(ObjectFrom(yaml, uid)); }

// Answers from two tables; a pull of an image in `held` waits until Release() or its context ends it.
class ScriptedImages final : public policy::ImageService {
 public:
  std::map<std::string, std::string> present;       // image -> id
  std::map<std::string, Error> failures;            // by image, for pulls
  std::set<std::string> held;
  std::vector<std::string> pulls;
  std::size_t peak = 0;
  bool was_cancelled = false;

  Result<std::string> ImageRef(const task::Context&, const std::string& image) override {
    std::lock_guard hold(mutex_);
    const auto found = present.find(image);
    return found == present.end() ? "" : found->second;
  }
  Result<std::string> KnownId(const std::string& image) override { return ImageRef({}, image); }
  Result<std::string> Pull(const task::Context& ctx, const std::string& image, const credentials::Credential* credential,
                           const BeforeVisible&) override {
    std::unique_lock lock(mutex_);
    pulls.push_back(image + (credential == nullptr ? "" : " as " + credential->username));
    peak = std::max(peak, ++running_);
    changed_.notify_all();
    if (held.contains(image)) changed_.wait(lock, ctx.stop(), [&] { return !held.contains(image); });
    --running_;
    if (ctx.stopped()) {
      was_cancelled = true;
      return Error(Reason::kCanceled, "canceled");
    }
    if (const auto failure = failures.find(image); failure != failures.end()) return failure->second;
    present[image] = "sha256:" + image;
    return present[image];
  }
  Result<std::uint64_t> Size(const task::Context&, const std::string&) override { return 1000; }
  void Release(const std::string& image) {
    { std::lock_guard hold(mutex_); held.erase(image); }
    changed_.notify_all();
  }
  void AwaitPulls(std::size_t n) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return pulls.size() >= n; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::size_t running_ = 0;
};

class NoCredentials final : public PodCredentials {
 public:
  std::vector<std::string> missing;
  Found For(const task::Context&, const kube::Pod&, Tell) override {
    class None final : public policy::CredentialSource {
      Result<std::vector<policy::PullCredential>> Find(const task::Context&, const std::string&) override {
        return std::vector<policy::PullCredential>();
      }
    };
    return {missing, std::make_unique<None>()};
  }
};

class MemorySink final : public StatusSink {
 public:
  std::vector<kube::PodStatus> statuses;
  int removed = 0;
  Result<> Publish(const kube::Pod&, const kube::PodStatus& status) override { statuses.push_back(status); return {}; }
  Result<> Remove(const kube::Pod&) override { ++removed; return {}; }
};

}  // namespace berth::node::testing
