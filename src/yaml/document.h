// yaml/document.h: YAML text (so JSON, too) as JSON documents, with the lines they came from.
//
//   ASSIGN_OR_RETURN(auto documents, yaml::Parse(text, "pod.yaml", Reason::kUsage));
//   for (const yaml::Document& d : documents) Use(d.root(), d.LineOf("spec.containers[0].image"));
//
// Plain scalars mean what they mean to kubectl (sigs.k8s.io/yaml, which is YAML 1.1; the vectors in yaml_test.cc were made with
// kubectl): yes/no/on/off/y/n are booleans, 010 is 8, 1_000 is 1000, dates and 12:30:45 are strings, quoted text is always a
// string. Keys that are numbers or booleans become strings. Anchors, aliases and merge keys (<<) work; !!binary is decoded.
// Refused: duplicate keys (kubectl takes the last), keys that are null, lists or maps, infinities and NaN, anything but UTF-8,
// control characters, an alias inside what it names, and whatever is beyond `Limits` (kLimitExceeded); an alias counts
// as everything it stands for, and a merge as every map that it looks into, so that nothing expands without bound.
//
// Errors carry the caller's Reason (kLimitExceeded for limits) and begin with "name:line: "; they never show a value, it may be
// a secret. Documents without content (nothing between two "---") are left out. Text that is one JSON document is read as
// JSON. Values: parsed once, immutable, safe to read from many threads. No yaml-cpp type shows here.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "json/document.h"
#include "result/result.h"

namespace berth::yaml {

struct Limits {
  std::size_t bytes = 3u << 20;       // of the text; what an API server takes in one request
  std::size_t depth = 32;
  std::size_t values = 100'000;       // of all documents together, keys and expanded aliases included
  std::size_t documents = 1000;
};

class Document {
 public:
  json::Value root() const { return json_.root(); }
  int line() const { return line_; }  // where its content begins, 1-based
  // 1-based line of "spec.containers[0].image", "data[.dockerconfigjson]" or the same with "$." in front: of its key, or of
  // its item in a list. What is not there has the line of the nearest part of the path that is.
  int LineOf(std::string_view path) const;
  // "name:12: " for the start of a message.
  std::string At(std::string_view path) const { return name_ + ":" + std::to_string(LineOf(path)) + ": "; }

  struct Place;  // private to document.cc

  Document(json::Document json, std::string name, int line, std::shared_ptr<const Place> places)
      : json_(std::move(json)), name_(std::move(name)), line_(line), places_(std::move(places)) {}

 private:
  json::Document json_;
  std::string name_;
  int line_;
  std::shared_ptr<const Place> places_;
};

// `name` is what errors call the text: a file name, "-".
Result<std::vector<Document>> Parse(std::string_view text, std::string_view name, Reason reason, const Limits& limits = {});

}  // namespace berth::yaml
