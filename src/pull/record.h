// pull/record.h: what a pull did, as the journal keeps it and `explain` tells it.
//
// Collects every attempt of the registry client; at most 200 of them (the first 150 and the last 50), so that a pull
// that fails for hours leaves a bounded record. JSON without secrets, queries or remote text, but for `warnings`. Safe for concurrent use.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "registry/attempt.h"
#include "result/result.h"

namespace berth::pull {

enum class Policy : std::uint8_t;
struct Pulled;

// Who asked for a pull, as far as he said; whoever fills it in keeps it short. Data for people, trusted by nobody.
struct Asker {
  std::string client;  // "CRI"; "": nothing is told
  std::string pod_namespace, pod, pod_uid;
  std::map<std::string, std::string> annotations;
};

class Record {
 public:
  void Add(const registry::Attempt& attempt);
  // `error`: why it failed; nullptr: it did not.
  std::string ToJson(Policy policy, const Asker& asker, const Pulled& pulled, const Error* error) const;

 private:
  static constexpr std::size_t kFirst = 150, kLast = 50;
  mutable std::mutex mutex_;
  std::vector<registry::Attempt> first_, last_;  // guarded by mutex_
  std::size_t dropped_ = 0;                      // guarded by mutex_
};

}  // namespace berth::pull
