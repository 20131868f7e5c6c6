// Archives in the hands of the real, jailed worker, as EROFS and as a tree of real files in memory (reliability-security 4.4, tar_apply_real): a
// layer or an error of a layer; what is accepted verifies, is what this process makes of it, can be removed and leaves nothing; no canary
// beside the store changes, whatever the names and links of the archive lead to.
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "codec/testing/pieces.h"
#include "layer/store.h"
#include "layer/unpacker.h"
#include "result/testing/dirs.h"
#include "tar/testing/tar_builder.h"

namespace {

using namespace berth;
using namespace berth::layer;
namespace fs = std::filesystem;

void Require(bool truth, const std::string& what) {
  if (truth) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

UnpackOptions Options() {
  UnpackOptions options;
  options.build = {.char_devices = true, .block_devices = true, .entries = 500, .unpacked_bytes = 4u << 20, .depth = 20, .hard_links = 10};
  return options;
}

class Place {
 public:
  Place() {
    std::signal(SIGPIPE, SIG_IGN);
    std::error_code none;
    const bool memory = fs::is_directory("/dev/shm", none) && ::access("/dev/shm", W_OK) == 0;
    std::string pattern = (memory ? "/dev/shm" : fs::temp_directory_path().string()) + "/berth-unpack-XXXXXX";
    Require(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
    path_ = pattern;
    for (const char* folder : {"store", "canary", "store/canary"}) fs::create_directory(path_ / folder);
    for (const char* file : kCanaries) std::ofstream(path_ / file) << file;
    store = *LayerStore::Open((path_ / "store").string(),
                              {.worker = std::string(result::testing::kBinaryDir) + "/src/apps/berth-unpack/berth-unpack", .unpack = Options()});
    canary_ = Canary();
  }
  ~Place() {
    store.reset();
    std::error_code none;
    fs::remove_all(path_, none);
  }
  void Check() const {
    Require(Canary() == canary_, "something outside the layer changed");
    for (const char* folder : {"store/layers", "store/tmp"}) Require(fs::is_empty(path_ / folder), std::string("left in ") + folder);
  }
  std::unique_ptr<LayerStore> store;

 private:
  static constexpr std::array kCanaries{"canary/a", "store/canary/a", "a", "store/a"};
  // Names, contents, modes, owners and times.
  std::string Canary() const {
    std::string all;
    for (const fs::path& folder : {path_, path_ / "canary", path_ / "store", path_ / "store/canary"}) {
      std::size_t names = 0;
      for (const auto& entry : fs::directory_iterator(folder)) names += !entry.path().empty();
      all += std::to_string(names) + ";";
    }
    for (const char* file : kCanaries) {
      std::ifstream in(path_ / file);
      struct stat s{};
      Require(::lstat((path_ / file).c_str(), &s) == 0, "a canary is gone");
      all += std::string(std::istreambuf_iterator<char>(in), {}) + " " + std::to_string(s.st_mode) + " " + std::to_string(s.st_uid) + " " +
             std::to_string(s.st_nlink) + " " + std::to_string(s.st_mtim.tv_nsec) + " " + std::to_string(s.st_ctim.tv_nsec) + ";";
    }
    return all;
  }
  fs::path path_;
  std::string canary_;
};

Result<UnpackReport> Here(const std::string& blob, const digest::Digest& digest) {
  const int data = ::memfd_create("data", MFD_CLOEXEC), meta = ::memfd_create("meta", MFD_CLOEXEC);
  codec::testing::Pieces source(blob, 512);
  UnpackOptions options = Options();
  options.blob = digest;
  auto report = UnpackStream(source, data, meta, options);
  ::close(data), ::close(meta);
  return report;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Place place;
  if (size == 0 || size > 16384) return 0;
  const Form form = data[0] % 2 ? Form::kTree : Form::kErofs;
  const std::string blob = tar::testing::WithChecksums({reinterpret_cast<const char*>(data + 1), size - 1});
  const digest::Digest digest = digest::Digest::Of(bytes::AsView(blob));
  const auto here = Here(blob, digest);
  const auto there = [&]() -> Result<LayerInfo> {
    ASSIGN_OR_RETURN(const auto staging, place.store->Stage({}, digest, form));
    RETURN_IF_ERROR(staging->Write(bytes::AsView(blob)));
    RETURN_IF_ERROR(staging->Finish(std::nullopt));
    return staging->Commit();
  }();
  if (there) {
    Require(here && there->report.diff_id == here->diff_id && there->report.entries == here->entries &&
                (form == Form::kTree || there->report.ignored == here->ignored),
            "the worker makes another layer");
    const auto whole = place.store->Verify({}, digest, Depth::kData);
    Require(whole.has_value(), whole ? "" : whole.error().Text());
    Require(*place.store->Remove({}, digest), "removal");
  } else {
    const Reason reason = there.error().reason();
    Require(reason == Reason::kInvalidLayer || reason == Reason::kPolicy || reason == Reason::kLimitExceeded ||
                (form == Form::kTree && reason == Reason::kUnsupported),
            there.error().Text());
    Require(!here || form == Form::kTree, "the worker refuses what it should take: " + there.error().Text());
  }
  place.Check();
  return 0;
}
