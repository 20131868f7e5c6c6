// launch/testing/machine.h: a root file system of busybox, and real containers from it, for tests.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/machine.h"
#include "host/testing/scratch.h"
#include "launch/bundle.h"
#include "launch/gc.h"
#include "launch/runtime.h"
#include "result/testing/dirs.h"

namespace berth::launch::testing {

inline std::string ShimPath() { return berth::result::testing::kBinaryDir + std::string("/src/apps/berth-shim/berth-shim"); }

// nullptr when everything a container needs is here, else why not (a skip names the package).
inline const char* WhyNoContainers(const std::string& runtime) {
  if (::geteuid() != 0) return "containers need root";
  if (::access("/usr/bin/busybox", X_OK) != 0) return "needs the package busybox-static";
  if (runtime == "crun" && ::access("/usr/bin/crun", X_OK) != 0) return "needs the package crun";
  if (runtime == "runc" && ::access("/usr/sbin/runc", X_OK) != 0) return "needs the package runc";
  return nullptr;
}

inline void MakeRootfs(const std::string& root) {
  namespace fs = std::filesystem;
  for (const char* dir : {"bin", "etc", "proc", "sys", "dev", "tmp", "t", "usr"})
    fs::create_directories(root + "/" + dir);
  fs::copy_file("/usr/bin/busybox", root + "/bin/busybox");
  for (const char* name : {"sh", "cat", "echo", "id", "sleep", "tail", "unshare", "hostname", "ls", "true",
                           "ip", "mount", "ps", "stat", "kill", "wc", "readlink", "touch"})
    fs::create_symlink("busybox", root + "/bin/" + name);
  fs::permissions(root + "/tmp", fs::perms(01777));
}

// A FIFO that both sides open without waiting for each other.
class Gate {
 public:
  explicit Gate(const std::string& path) {
    BERTH_CHECK(::mkfifo(path.c_str(), 0666) == 0 && ::chmod(path.c_str(), 0666) == 0);
    fd_ = host::Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    BERTH_CHECK(fd_.valid());
  }
  char Await() {
    char c = 0;
    BERTH_CHECK(host::ReadExact(fd_.get(), std::as_writable_bytes(std::span(&c, 1))).has_value());
    return c;
  }
  void Open() { BERTH_CHECK(host::WriteAll(fd_.get(), bytes::AsView("g\n")).has_value()); }

 private:
  host::Fd fd_;
};

// One Pod with one container "app" on this machine; everything of it goes with the object.
class TestContainer {
 public:
  explicit TestContainer(const std::string& runtime_name) {
    namespace fs = std::filesystem;
    fs::create_directories(folder());
    fs::create_directories(scratch.path("share"));
    MakeRootfs(scratch.path("rootfs"));
    machine = *ReadMachine();
    const auto probe = ProbeRuntime(
        machine, {.runtime = runtime_name, .shim = ShimPath(), .state_root = scratch.path("state")});
    BERTH_CHECK(probe.setup.has_value());
    runtime = *Runtime::Open(*probe.setup);
    pod.metadata = {.name = "p", .ns = "default", .uid = "uid-" + host::RandomName()};
    container.name = "app";
    mounts = {{"/t", scratch.path("share"), {"rbind", "rprivate", "rw"}}};
  }
  ~TestContainer() {
    (void)runtime->Delete(task::Context(), id, folder());
    (void)RemovePodCgroups(task::Context(), pods_root(), pod.metadata.uid);
  }
  std::string pods_root() const { return scratch.path("pods"); }
  std::string folder() const { return folder_path; }
  std::string log() const { return host::ReadSmallFile(scratch.path("app.log"), 1 << 20).value_or(""); }
  // The log without times.
  std::string Lines() const {
    std::string out;
    for (std::string_view rest = text_ = log(); !rest.empty();) {
      const auto end = std::min(rest.find('\n'), rest.size());
      const auto line = rest.substr(0, end);
      out += std::string(line.substr(std::min(line.size(), line.find(' ') + 1))) + "\n";
      rest.remove_prefix(std::min(rest.size(), end + 1));
    }
    return out;
  }
  Result<> Create(std::vector<std::string> argv) {
    container.command = std::move(argv);
    pod.spec.containers = {container};
    const auto root = *host::Dir::Open(scratch.path("rootfs"));
    ASSIGN_OR_RETURN(const auto command, MakeCommand(image, container, {}, "web"));
    ASSIGN_OR_RETURN(const auto user, ResolveUser(root, pod, container, image));
    ASSIGN_OR_RETURN(const auto bundle,
                     MakeBundle({.pod = pod,
                                 .container = container,
                                 .command = command,
                                 .user = user,
                                 .machine = machine,
                                 .rootfs = scratch.path("rootfs"),
                                 .cgroups_path = CgroupPath(pods_root(), pod.metadata.uid, "app"),
                                 .hostname = "web",
                                 .namespaces = namespaces,
                                 .mounts = mounts,
                                 .devices = {}}));
    ASSIGN_OR_RETURN(const auto dir, host::Dir::Open(folder()));
    RETURN_IF_ERROR(dir.WriteDurably("config.json", bytes::AsView(bundle.config_json), 0600));
    return runtime->Create(task::Context(),
                           {.id = id, .folder = folder(), .log_path = scratch.path("app.log")});
  }
  Result<> Start(std::vector<std::string> argv) {
    RETURN_IF_ERROR(Create(std::move(argv)));
    return runtime->Start(task::Context(), id);
  }
  Result<Exit> Await() {
    ASSIGN_OR_RETURN(const auto watch, ExitWatch::Open(folder()));
    return watch.Await(task::Context());
  }
  // Start, wait; "error: …" or the log.
  std::string Output(std::string script) {
    if (auto started = Start({"/bin/sh", "-c", std::move(script)}); !started)
      return "error: " + started.error().Text();
    auto exit = Await();
    return exit ? Lines() + "=" + std::to_string(exit->code) : "error: " + exit.error().Text();
  }

  host::testing::Scratch scratch;
  std::string folder_path = scratch.path("c");
  Machine machine;
  std::optional<Runtime> runtime;
  kube::Pod pod;
  kube::Container container;
  oci::ImageConfig image;
  Namespaces namespaces;
  std::vector<BundleMount> mounts;
  std::string id = NewContainerId();

 private:
  mutable std::string text_;
};

}  // namespace berth::launch::testing
