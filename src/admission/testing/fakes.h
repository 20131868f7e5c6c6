// admission/testing/fakes.h: objects and a registry made of maps, for tests.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "admission/admission.h"
#include "yaml/document.h"

namespace berth::admission::testing {

inline json::Tree Yaml(std::string_view text) {
  auto documents = yaml::Parse(text, "test", Reason::kUsage);
  EXPECT_TRUE(documents) << documents.error().Text() << "\n" << text;
  return json::Tree((*documents)[0].root());
}

inline std::string DigestOf(char c) { return "sha256:" + std::string(64, c); }

class FakeFacts final : public Facts {
 public:
  kube::Answer<kube::ServiceAccount> FindAccount(const task::Context&, std::string_view ns, std::string_view name) override {
    ++account_reads;
    if (broken) return kube::Status::Internal(Error(Reason::kIo, "the disk is gone"));
    const auto found = accounts.find(std::string(ns) + "/" + std::string(name));
    if (found == accounts.end() || account_reads <= misses) return kube::Status::NotFound("serviceaccount", name);
    return found->second;
  }
  kube::Answer<kube::Secret> FindSecret(const task::Context&, std::string_view, std::string_view name) override {
    return kube::Status::NotFound("secrets", name);
  }
  kube::Answer<kube::StringMap> NamespaceLabels(const task::Context&, std::string_view ns) override {
    if (broken) return kube::Status::Internal(Error(Reason::kIo, "the disk is gone"));
    return labels[std::string(ns)];
  }
  std::map<std::string, kube::ServiceAccount> accounts;
  std::map<std::string, kube::StringMap> labels;
  int account_reads = 0, misses = 0;
  bool broken = false;
};

// Answers by "repository:tag"; others are not found.
class FakeRegistry final : public Resolver {
 public:
  Result<digest::Digest> Resolve(const task::Context& ctx, const Lookup& lookup) override {
    std::function<Result<digest::Digest>(const task::Context&)> answer;
    {
      std::lock_guard lock(mutex_);
      asked.push_back(lookup.image.ToString() + " " + lookup.ns + (lookup.pull_secrets.empty() ? "" : " " + lookup.pull_secrets.front()));
      if (const auto it = special.find(lookup.image.ToString()); it != special.end()) answer = it->second;
    }
    if (answer) return answer(ctx);
    if (down) return Error(Reason::kRefused, "connection refused").Next("start it");
    const auto it = tags.find(lookup.image.ToString());
    if (it == tags.end()) return Error(Reason::kNotFound, "no such tag");
    return *digest::Digest::Parse(it->second);
  }
  std::map<std::string, std::string> tags;
  std::map<std::string, std::function<Result<digest::Digest>(const task::Context&)>> special;
  std::atomic<bool> down = false;
  std::vector<std::string> asked;

 private:
  std::mutex mutex_;
};

}  // namespace berth::admission::testing
