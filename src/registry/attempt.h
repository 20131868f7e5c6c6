// registry/attempt.h: the record of one request, from which `explain` tells the story of a pull.
//
// Every request of a Repository, token requests included, ends as one Attempt, in the order in which they ended.
// An Attempt holds our own words, hosts, digests, tags and numbers: no secret, no query, no text of the other side but
// `warnings`.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "result/reason.h"

namespace berth::registry {

struct Attempt {
  std::string host;        // origin: "https://reg.test:5712"
  bool mirror = false;
  std::string method;      // "HEAD", "GET", "POST"
  std::string what;        // "manifest v1", "manifest sha256:7eb7…", "blob sha256:7eb7…", "token", "hosts"
  std::string credential;  // Credential::Describe(); "anonymous"; "" when the request carried none by design
  int status = 0;          // 0: no answer
  std::optional<result::Reason> reason;  // unset: it was a success
  std::string registry_code;  // the registry's own error code when it is one of the specification's list
                              // ("MANIFEST_UNKNOWN"), "other" for any other, "" when there was none
  std::uint64_t bytes = 0;    // of the body, as received
  std::chrono::milliseconds took{0};
  std::vector<std::string> warnings;  // texts of `Warning: 299` headers (registry/warning.h): the other side's words, show them Quoted()
  std::string limit;          // of ours that ended it: "connect timeout 3 s"
  std::string next;           // what we did then: "authenticate", "next host", "wait 2.0 s", "resume at 1048576", ""
};

// Called on the thread that made the request, possibly on several at once; must not block for long.
using AttemptSink = std::function<void(const Attempt&)>;

}  // namespace berth::registry
