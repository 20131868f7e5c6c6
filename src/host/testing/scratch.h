// host/testing/scratch.h: a folder of its own for a test, gone afterwards.
#pragma once

#include <stdlib.h>

#include <string>

#include "host/dir.h"

namespace berth::host::testing {

class Scratch {
 public:
  Scratch() {
    const char* base = ::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/berth-test-XXXXXX";
    BERTH_CHECK(::mkdtemp(path_.data()) != nullptr);
    dir_ = *Dir::Open(path_);
  }
  ~Scratch() {
    const auto slash = path_.rfind('/');
    if (auto parent = Dir::Open(path_.substr(0, slash))) (void)parent->RemoveTree(path_.substr(slash + 1));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const Dir& dir() const { return dir_; }
  const std::string& path() const { return path_; }
  std::string path(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
  Dir dir_;
};

// Descriptors that this process has open.
inline std::size_t OpenDescriptors() { return Dir::Open("/proc/self/fd")->List()->size(); }

}  // namespace berth::host::testing
