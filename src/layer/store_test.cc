// Layers from blob to mount, with the real worker in its jail. Needs root; the mounts need a kernel with EROFS.
#include "layer/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "host/process.h"
#include "codec/testing/window_frame.h"
#include "layer/descriptor.h"
#include "layer/testing/layer_lab.h"
#include "layer/testing/rows.h"
#include "layer/unpacker.h"
#include "result/testing/dirs.h"
#include "tar/testing/tar_builder.h"
#include "time/testing/manual_clock.h"

namespace berth::layer {
namespace {

using codec::testing::WindowFrame;
using tar::testing::Builder;
using testing::Compression;
using testing::Differences;
using testing::Lab;
using testing::LayerBlob;
using testing::List;
using testing::Listing;
using testing::MakeBlob;
using testing::ReadFile;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kWorker = std::string(berth::result::testing::kBinaryDir) + "/src/apps/berth-unpack/berth-unpack";

std::string Noise(std::size_t size, std::uint32_t seed = 1) {
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return out;
}

// Everything that a layer can hold and that GNU tar and umoci understand as we do.
std::string Everything() {
  Builder b;
  const std::string capability("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  b.Dir("./").Mode(0751).Mtime(1'600'000'000);
  b.Dir("bin").Mode(0755).Mtime(1'600'000'001).File("bin/ping", Noise(5000)).Mode(04755).Mtime(1'600'000'002).Xattr("security.capability", capability);
  b.File("bin/empty").Mtime(1).HardLink("bin/pong", "bin/ping").Mode(04755).Mtime(1'600'000'002).Symlink("bin/sh", "ping").Mtime(7);
  b.Dir("data").Mode(01777).Uid(1000).Gid(65534).Mtime(9).Record("mtime", "9.123456789").Xattr("user.folder", "yes");
  b.File("data/large", Noise(3'000'000, 2)).Mtime(5).File("data/page", Noise(4096, 3)).Mtime(5).File("data/odd\xff\xfe\n", "x").Mtime(5);
  b.File("data/" + std::string(255, 'n'), "long").Mtime(5).Record("mtime", "5.5");
  for (int i = 0; i < 300; ++i) b.File("data/small" + std::to_string(i), Noise(static_cast<std::size_t>(i * 37), 7)).Mtime(i).Uid(i);
  b.Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "1052672"}, {"GNU.sparse.name", "data/sparse"}});
  b.File("x", tar::testing::Padded("3\n0\n512\n524288\n4096\n1052160\n512\n") + Noise(512) + Noise(4096) + Noise(512)).Mtime(4);
  b.Fifo("pipe").Mode(06644).Mtime(3).CharDevice("null", 1, 3).Mode(0666).Mtime(2).Symlink("dangling", "/no/where").Mtime(6);
  b.Symlink("lib", "usr/lib").Mtime(8).Dir("usr").Mtime(8).Dir("usr/lib").Mode(0700).Mtime(8);
  b.File("usr/lib/big-ids").Uid(2147483648).Gid(4294967294).Mtime(1).File("twice", "old").Mtime(8).File("twice", "new").Mtime(8);
  b.Dir("usr").Mode(0711).Mtime(12);
  b.Dir("bin").Mode(0755).Mtime(1'600'000'001).Dir("data").Mode(01777).Uid(1000).Gid(65534).Record("mtime", "9.123456789").Xattr("user.folder", "yes");
  return b.Finish();
}

host::Captured RunProgram(std::vector<std::string> argv, const std::string& input = {}) {
  host::ProcessSpec spec{.program = argv[0], .argv = std::move(argv), .env = {"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/tmp"}, .fds = {}};
  spec.search_path = true;
  auto captured = host::RunCaptured(task::Context(), spec, bytes::AsView(input));
  EXPECT_TRUE(captured) << captured.error().Text();
  return captured ? *std::move(captured) : host::Captured{};
}

class Store : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

TEST_F(Store, AMountedLayerIsWhatGnuTarExtracts) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Everything());
  const auto info = lab.Add(blob);
  ASSERT_TRUE(info) << info.error().Text();
  EXPECT_EQ(info->report.diff_id, blob.diff_id);
  const auto mounted = lab.Mount(blob.digest);
  if (!mounted) GTEST_SKIP() << mounted.error().Text();
  const std::string folder = *lab.NewFolder();
  const auto tar = RunProgram({"tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-", "-C", folder}, Everything());
  ASSERT_TRUE(tar.status.success()) << tar.stderr_tail;
  EXPECT_THAT(Differences(List(*mounted), List(folder)), IsEmpty());
}

TEST_F(Store, AMountedLayerIsWhatUmociUnpacks) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Everything(), Compression::kGzip);
  ASSERT_TRUE(lab.Add(blob));
  const auto mounted = lab.Mount(blob.digest);
  if (!mounted) GTEST_SKIP() << mounted.error().Text();
  const std::string layout = *lab.NewFolder(), root = layout + "/root";
  std::filesystem::create_directories(layout + "/blobs/sha256");
  const auto put = [&](const std::string& bytes) {
    const digest::Digest digest = digest::Digest::Of(bytes::AsView(bytes));
    std::ofstream(layout + "/blobs/sha256/" + digest.Hex(), std::ios::binary) << bytes;
    return "\"digest\":\"" + digest.ToString() + "\",\"size\":" + std::to_string(bytes.size());
  };
  const std::string layer = put(blob.bytes);
  const std::string config = put("{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" + blob.diff_id.ToString() + "\"]}}");
  const std::string manifest = put(
      "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\"," + config +
      "},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\"," + layer + "}]}");
  std::ofstream(layout + "/oci-layout") << "{\"imageLayoutVersion\":\"1.0.0\"}";
  std::ofstream(layout + "/index.json") << "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"," + manifest +
                                               ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"t\"}}]}";
  const auto umoci = RunProgram({"umoci", "raw", "unpack", "--image", layout + ":t", root});
  ASSERT_TRUE(umoci.status.success()) << umoci.stderr_tail;
  EXPECT_THAT(Differences(List(*mounted), List(root)), IsEmpty());
}

TEST_F(Store, FsckErofsFindsNothing) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Everything());
  ASSERT_TRUE(lab.Add(blob));
  const auto source = lab.store().Sources(blob.digest);
  ASSERT_TRUE(source);
  const auto fsck = RunProgram({"fsck.erofs", "--device=" + source->data.at(0), source->meta});
  EXPECT_TRUE(fsck.status.success()) << fsck.out << fsck.stderr_tail;
}

// Both forms, all rows of the matrix: the same tree, and a canary beside it that nothing touches (U1).
TEST_F(Store, BothFormsOfEveryRowAreTheSame) {
  Lab lab(kWorker);
  const std::string beside = lab.path() + "/canary";
  std::filesystem::create_directories(beside + "/dir");
  std::ofstream(beside + "/secret") << "canary";
  const Listing canary = List(beside);
  std::vector<std::pair<std::string, std::string>> rows{{"Everything", Everything()}};
  for (const testing::Row& row : testing::AcceptedRows()) rows.emplace_back(row.name, row.archive);
  std::size_t compared = 0;
  for (const auto& [name, archive] : rows) {
    const LayerBlob blob = MakeBlob(archive, Compression::kPlain);
    const auto erofs = lab.Add(blob);
    ASSERT_TRUE(erofs) << name << ": " << erofs.error().Text();
    const auto mounted = lab.Mount(blob.digest);
    if (!mounted) GTEST_SKIP() << mounted.error().Text();
    const Listing expected = List(*mounted);
    EXPECT_TRUE(lab.store().Verify(task::Context(), blob.digest, Depth::kData)) << name;
    ASSERT_TRUE(lab.store().Remove(task::Context(), blob.digest));  // fine while mounted
    const auto tree = lab.Add(blob, Form::kTree);
    ASSERT_TRUE(tree) << name << ": " << tree.error().Text();
    EXPECT_THAT(Differences(List(*lab.Mount(blob.digest)), expected), IsEmpty()) << name;
    const auto whole = lab.store().Verify(task::Context(), blob.digest, Depth::kData);
    EXPECT_TRUE(whole) << name << ": " << whole.error().Text();
    EXPECT_EQ(tree->report.nodes, erofs->report.nodes) << name;
    EXPECT_EQ(tree->report.ignored, erofs->report.ignored) << name;
    ASSERT_TRUE(lab.store().Remove(task::Context(), blob.digest));
    ++compared;
  }
  EXPECT_EQ(compared, rows.size());
  EXPECT_THAT(Differences(List(beside), canary), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/layers"));
}

TEST_F(Store, TheSameBlobGivesTheSameBytes) {
  const LayerBlob blob = MakeBlob(Everything());
  Lab a(kWorker), b(kWorker);
  ASSERT_TRUE(a.Add(blob));
  ASSERT_TRUE(b.Add(blob, Form::kErofs, 777));
  for (const char* kind : {".data", ".meta"}) {
    const std::string name = "/layers/" + blob.digest.Hex() + kind;
    EXPECT_EQ(ReadFile(a.path() + name), ReadFile(b.path() + name)) << kind;
  }
}

// P18: neither the process's surroundings nor what else is unpacked change a byte.
TEST_F(Store, TheSameBytesWhateverIsAround) {
  const LayerBlob blob = MakeBlob(Everything());
  const auto bytes = [&](Lab& lab) {
    EXPECT_TRUE(lab.Add(blob));
    return ReadFile(lab.path() + "/layers/" + blob.digest.Hex() + ".data") + ReadFile(lab.path() + "/layers/" + blob.digest.Hex() + ".meta");
  };
  const auto tree = [&](Lab& lab) {
    EXPECT_TRUE(lab.Add(blob, Form::kTree));
    return List(lab.path() + "/layers/" + blob.digest.Hex() + ".tree");
  };
  Lab plain(kWorker), plain_tree(kWorker);
  const std::string want = bytes(plain);
  const Listing want_tree = tree(plain_tree);
  {
    const auto folder = std::filesystem::current_path();
    const mode_t mask = ::umask(0777);
    ::setenv("LC_ALL", "tr_TR.UTF-8", 1);
    ::setenv("TZ", "Pacific/Kiritimati", 1);
    std::filesystem::current_path("/");
    Lab odd(kWorker), odd_tree(kWorker);
    EXPECT_EQ(bytes(odd), want);
    EXPECT_THAT(Differences(tree(odd_tree), want_tree), IsEmpty());
    std::filesystem::current_path(folder);
    ::umask(mask);
    ::unsetenv("LC_ALL");
    ::unsetenv("TZ");
  }
  std::vector<std::unique_ptr<Lab>> labs;
  for (int i = 0; i < 4; ++i) labs.push_back(std::make_unique<Lab>(kWorker));
  std::vector<std::jthread> threads;
  for (auto& lab : labs) threads.emplace_back([&bytes, &want, &lab] { EXPECT_EQ(bytes(*lab), want); });
}

TEST_F(Store, PublishesOnceAndForgetsNothing) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Builder().File("f", "x").Finish(), Compression::kZstd);
  auto found = lab.store().Find(blob.digest);
  ASSERT_TRUE(found);
  EXPECT_FALSE(*found);
  {
    auto staging = lab.store().Stage(task::Context(), blob.digest, Form::kErofs);
    ASSERT_TRUE(staging);
    ASSERT_TRUE((*staging)->Write(bytes::AsView(blob.bytes)));
    ASSERT_TRUE((*staging)->Finish(blob.diff_id));
    EXPECT_FALSE((*lab.store().Find(blob.digest)).has_value());
  }  // dropped
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/layers"));
  const auto first = lab.Add(blob), second = lab.Add(blob);
  ASSERT_TRUE(first);
  ASSERT_TRUE(second) << second.error().Text();
  EXPECT_EQ(first->report, second->report);
  EXPECT_EQ(first->report.format, codec::Format::kZstd);
  EXPECT_EQ(first->report.compressed_bytes, blob.bytes.size());
  found = lab.store().Find(blob.digest);
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->report, first->report);
  EXPECT_EQ((*lab.store().List()).size(), 1u);
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
  EXPECT_TRUE(*lab.store().Remove(task::Context(), blob.digest));
  EXPECT_FALSE(*lab.store().Remove(task::Context(), blob.digest));
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/layers"));
}

TEST_F(Store, OtherDigestAlgorithms) {
  Lab lab(kWorker);
  LayerBlob blob = MakeBlob(Builder().File("f", "x").Finish());
  blob.digest = digest::Digest::Of(bytes::AsView(blob.bytes), digest::Algorithm::kSha512);
  auto staging = lab.store().Stage(task::Context(), blob.digest, Form::kErofs, digest::Algorithm::kSha512);
  ASSERT_TRUE(staging);
  ASSERT_TRUE((*staging)->Write(bytes::AsView(blob.bytes)));
  const std::string archive = Builder().File("f", "x").Finish();
  ASSERT_TRUE((*staging)->Finish(digest::Digest::Of(bytes::AsView(archive), digest::Algorithm::kSha512)));
  ASSERT_TRUE((*staging)->Commit());
  EXPECT_TRUE(std::filesystem::exists(lab.path() + "/layers/sha512-" + blob.digest.Hex() + ".meta"));
  EXPECT_EQ((*lab.store().List()).size(), 1u);
}

TEST_F(Store, V10_EveryByteOfTheStreamCounts) {
  Lab lab(kWorker);
  const std::string archive = Builder().File("f", "x").Finish();
  for (const Compression how : {Compression::kPlain, Compression::kGzip, Compression::kZstd}) {
    LayerBlob blob = MakeBlob(archive + std::string(700'000, '\0') + "garbage behind the end", how);
    const auto info = lab.Add(blob);
    ASSERT_TRUE(info) << info.error().Text();
    EXPECT_EQ(info->report.uncompressed_bytes, archive.size() + 700'000 + 22);
    EXPECT_EQ(info->report.entries, 1u);
    ASSERT_TRUE(lab.store().Remove(task::Context(), blob.digest));
    blob.diff_id = digest::Digest::Of(bytes::AsView(archive));
    const auto wrong = lab.Add(blob);
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().reason(), Reason::kDigestMismatch);
    EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/layers"));
  }
}

TEST_F(Store, V18_TwoMembersAreOneStream) {
  Lab lab(kWorker);
  const std::string archive = Builder().File("f", Noise(100'000)).Finish();
  LayerBlob blob = MakeBlob(archive);
  blob.bytes = codec::testing::Gzip(archive.substr(0, 60'000)) + codec::testing::Gzip(archive.substr(60'000));
  const auto info = lab.Add(blob);
  ASSERT_TRUE(info) << info.error().Text();
  EXPECT_EQ(info->report.diff_id, blob.diff_id);
}

// The smallest memory that these limits give: about 120 MiB of address space, code and stacks included.
TEST_F(Store, V15_AHundredThousandEntriesWithinMemory) {
  UnpackOptions options;
  options.build.entries = 100'501;
  options.codec.zstd_window_bytes = 1u << 10;
  Lab lab(kWorker, options);
  Builder b;
  for (int i = 0; i < 100'000; ++i) b.File("d" + std::to_string(i % 500) + "/some-file-name-" + std::to_string(i));
  const auto info = lab.Add(MakeBlob(b.Finish()));
  ASSERT_TRUE(info) << info.error().Text();
  EXPECT_EQ(info->report.nodes, 100'501u);
}

// A-106: refused at the limit, in the memory of a small layer.
TEST_F(Store, ABombStaysWithinItsLimits) {
  UnpackOptions options;
  options.codec = {.output_bytes = 256u << 20, .zstd_window_bytes = 1u << 10};
  options.build.entries = 100;
  Lab lab(kWorker, options);
  const std::string zeros = codec::testing::Gzip(Builder().File("zeros", std::string(64u << 20, '\0')).Finish(0));
  LayerBlob blob = MakeBlob("");
  blob.bytes.clear();
  for (int i = 0; i < 8; ++i) blob.bytes += zeros;
  const auto info = lab.Add(blob);
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(info.error().Text(), HasSubstr("output_bytes"));
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
}

// Of what one layer's metadata may be, however much of it one name makes.
TEST(MetaImage, IsLimitedByItsNames) {
  erofs::Tree tree;
  tree.nodes.emplace_back().mode = S_IFDIR | 0755;
  for (int i = 0; i < 40'000; ++i) {
    erofs::Node& n = tree.nodes.emplace_back();
    n.name = std::to_string(i);
    n.mode = S_IFLNK | 0777;
    n.link = std::string(i < 30'000 ? 4000 : 100, 'a');
  }
  EXPECT_TRUE(MakeImage(tree, erofs::ChildrenByName(tree), {}, {}));
  for (erofs::Node& n : tree.nodes)
    if (S_ISLNK(n.mode)) n.link.resize(4000, 'a');
  const auto refused = MakeImage(tree, erofs::ChildrenByName(tree), {}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kLimitExceeded);
  EXPECT_THAT(refused.error().Text(), HasSubstr("larger than the limit of 144"));
}

// E-06, A-100: an archive whose names alone pass the memory limit.
TEST_F(Store, RunningOutOfMemoryIsALimit) {
#ifdef BERTH_SANITIZED
  GTEST_SKIP() << "a sanitized worker has no limit of address space";
#endif
  UnpackOptions options;
  options.build.entries = 70'000;
  options.codec.zstd_window_bytes = 1u << 20;
  Lab lab(kWorker, options);
  Builder b;
  for (int i = 0; i < 30'000; ++i) b.Symlink("l" + std::to_string(i), std::string(4000, 't'));
  const auto info = lab.Add(MakeBlob(b.Finish()));
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().reason(), Reason::kLimitExceeded) << info.error().Text();
  EXPECT_THAT(info.error().Text(), HasSubstr("memory"));
}

LayerBlob Framed(const std::string& archive, std::string bytes) {
  return {bytes, digest::Digest::Of(bytes::AsView(bytes)), digest::Digest::Of(bytes::AsView(archive))};
}

// 5.12: 128 MiB for one worker, and 256 MiB for all. Here half of that for all.
class Windows : public Store {
 protected:
  Windows() : lab_(kWorker), store_(*LayerStore::Open(lab_.path(), {.worker = kWorker, .unpack = {}, .zstd_budget_bytes = 128u << 20})) {}
  std::unique_ptr<Staging> Stage(const LayerBlob& blob) { return *store_->Stage(task::Context(), blob.digest, Form::kErofs); }
  Result<LayerInfo> Unpack(const LayerBlob& blob, std::size_t piece) {
    const auto staging = Stage(blob);
    for (std::string_view rest = blob.bytes; !rest.empty(); rest.remove_prefix(std::min(piece, rest.size())))
      RETURN_IF_ERROR(staging->Write(bytes::AsView(rest.substr(0, piece))));
    return staging->Finish(blob.diff_id);
  }

  Lab lab_;
  std::unique_ptr<LayerStore> store_;
  const std::string archive_ = Builder().File("f", "x").Finish(), other_ = Builder().File("g", "y").Finish();
  // An archive in two frames.
  LayerBlob TwoFrames(const std::string& archive, int first, int second) {
    return Framed(archive, WindowFrame(first, archive.substr(0, 512)) + WindowFrame(second, archive.substr(512)));
  }
};

TEST_F(Windows, ComeOutOfOneBudget) {
  const LayerBlob large = Framed(archive_, WindowFrame(27, archive_)), second = Framed(other_, WindowFrame(27, other_));
  auto first = Stage(large);
  ASSERT_TRUE(first->Write(bytes::AsView(large.bytes)));
  std::atomic<bool> finished = false;
  std::jthread waits([&] {
    auto staging = Stage(second);
    EXPECT_TRUE(staging->Write(bytes::AsView(second.bytes)));
    EXPECT_TRUE(finished) << "two windows of 128 MiB at once";
    EXPECT_TRUE(staging->Finish(second.diff_id));
  });
  auto plain = Stage(MakeBlob(archive_));
  ASSERT_TRUE(plain->Write(bytes::AsView(MakeBlob(archive_).bytes)));
  EXPECT_TRUE(plain->Finish(large.diff_id)) << "gzip needs none";
  finished = true;
  EXPECT_TRUE(first->Finish(large.diff_id));
  waits.join();
  first.reset(), plain.reset();
  EXPECT_TRUE(std::filesystem::is_empty(lab_.path() + "/tmp"));
}

// What the first frame did not announce.
TEST_F(Windows, GrowWithLaterFrames) {
  for (const std::size_t piece : {std::size_t{1}, std::size_t{100}, std::string::npos}) {
    const auto info = Unpack(TwoFrames(archive_, 12, 27), piece);
    EXPECT_TRUE(info) << info.error().Text();
  }
}

// Each begins small and then wants nearly all: one after the other gets it.
TEST_F(Windows, ThatGrowDoNotLockEachOtherUp) {
  std::vector<std::jthread> layers;
  for (int i = 0; i < 4; ++i)
    layers.emplace_back([this, archive = i % 2 == 0 ? archive_ : other_] {
      for (int round = 0; round < 3; ++round) {
        const auto info = Unpack(TwoFrames(archive, 20, 27), 300);
        EXPECT_TRUE(info) << info.error().Text();
      }
    });
  layers.clear();
  EXPECT_TRUE(std::filesystem::is_empty(lab_.path() + "/tmp"));
}

struct TooWide {
  const char* name;
  std::uint64_t window, budget;
  const char* says;
};
class WideWindows : public Store, public ::testing::WithParamInterface<TooWide> {};

TEST_P(WideWindows, SayWhatHelps) {
  Lab lab(kWorker);
  StoreOptions options{.worker = kWorker, .zstd_budget_bytes = GetParam().budget};
  options.unpack.codec.zstd_window_bytes = GetParam().window;
  const auto store = *LayerStore::Open(lab.path(), options);
  const std::string archive = Builder().File("f", "x").Finish();
  const std::string second = WindowFrame(12, archive.substr(0, 512)) + WindowFrame(25, archive.substr(512));
  for (const std::string& frames : {WindowFrame(25, archive), second}) {
    const LayerBlob blob = Framed(archive, frames);
    const auto staging = *store->Stage(task::Context(), blob.digest, Form::kErofs);
    const auto refused = staging->Write(bytes::AsView(blob.bytes));
    ASSERT_EQ(refused.has_value(), GetParam().says == nullptr);
    if (refused) {
      EXPECT_TRUE(staging->Finish(blob.diff_id));
      continue;
    }
    EXPECT_EQ(refused.error().reason(), Reason::kLimitExceeded);
    EXPECT_THAT(refused.error().Text(), HasSubstr(GetParam().says));
    EXPECT_THAT(refused.error().next_step(), HasSubstr("raise limits.zstd_"));
  }
}

INSTANTIATE_TEST_SUITE_P(Limits, WideWindows, ::testing::Values(
    TooWide{"TheWindow", 16u << 20, 256u << 20, "a zstd frame needs a window of 33554432 bytes, allowed are 16777216 (limit zstd_window_bytes)"},
    TooWide{"TheBudget", 128u << 20, 16u << 20, "a zstd frame needs a window of 33554432 bytes, allowed are 16777216 (limit zstd_budget_bytes)"},
    TooWide{"NoPowerOfTwo", 33'000'000, 256u << 20, "allowed are 33000000 (limit zstd_window_bytes)"},
    TooWide{"JustEnough", 40'000'000, 256u << 20, nullptr}), [](const auto& i) { return i.param.name; });

struct BadBlob {
  const char* name;
  std::string bytes;
  Reason reason;
};

class Verdicts : public ::testing::TestWithParam<BadBlob> {};

TEST_P(Verdicts, ReachTheDaemon) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Lab lab(kWorker);
  for (const std::size_t piece : {std::size_t{1} << 20, std::size_t{1000}}) {
    LayerBlob blob = MakeBlob("");
    blob.bytes = GetParam().bytes;
    const auto info = lab.Add(blob, Form::kErofs, piece);
    ASSERT_FALSE(info);
    EXPECT_EQ(info.error().reason(), GetParam().reason) << info.error().Text();
    EXPECT_LE(info.error().Text().size(), 1024u);
    EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/layers"));
    EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
  }
  const auto good = lab.Add(MakeBlob(Builder().File("f").Finish()));  // U7
  EXPECT_TRUE(good) << good.error().Text();
}

std::vector<BadBlob> BadBlobs() {
  const std::string archive = Builder().File("f", Noise(300'000)).Finish();
  const std::string gzip = codec::testing::Gzip(archive);
  std::string crc = gzip, body = gzip;
  crc[crc.size() - 8] = static_cast<char>(crc[crc.size() - 8] ^ 1);
  body[body.size() / 2] = static_cast<char>(body[body.size() / 2] ^ 0x55);
  return {
      {"A01_Climbs", codec::testing::Gzip(Builder().File("../../x").Finish()), Reason::kInvalidLayer},
      {"A51_BlockDevice", Builder().BlockDevice("b", 8, 0).Finish(), Reason::kPolicy},
      {"A12_NamesInErrorsAreEscaped", Builder().File("../\x1b[31m\n\xff" + std::string(3000, 'n')).Finish(), Reason::kInvalidLayer},
      {"A91_CutInAFile", archive.substr(0, 100'000), Reason::kInvalidLayer},
      {"A103_GarbageBehindGzip", gzip + "garbage", Reason::kInvalidLayer},
      {"A104_CutGzip", gzip.substr(0, gzip.size() - 20), Reason::kInvalidLayer},
      {"A104_WrongCrc", crc, Reason::kInvalidLayer},
      {"A104_Damaged", body, Reason::kInvalidLayer},
      {"A109_GzipInGzip", codec::testing::Gzip(gzip), Reason::kInvalidLayer},
      {"A109_Html", "<!DOCTYPE html><html><body>" + std::string(2000, ' ') + "</body></html>", Reason::kInvalidLayer},
      {"A109_Zip", "PK\x03\x04" + std::string(2000, 'z'), Reason::kInvalidLayer},
      {"A111_Xz", std::string("\xfd" "7zXZ\0", 6) + std::string(2000, 'x'), Reason::kUnsupported},
      {"LateVerdictAfterMuchInput", Builder().File("f", Noise(9'000'000)).File("../x").File("g", Noise(9'000'000)).Finish(), Reason::kInvalidLayer},
  };
}
INSTANTIATE_TEST_SUITE_P(Rows, Verdicts, ::testing::ValuesIn(BadBlobs()), [](const auto& row) { return std::string(row.param.name); });

// A program in the worker's place that does something else.
struct OddWorker {
  const char* name;
  const char* program;
  const char* says;
};
class OddWorkers : public ::testing::TestWithParam<OddWorker> {};

TEST_P(OddWorkers, FailTheLayer) {
  Lab lab(GetParam().program);
  const auto info = lab.Add(MakeBlob(Builder().File("f", Noise(3'000'000)).Finish(), Compression::kPlain));
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().reason(), Reason::kInternal);
  EXPECT_THAT(info.error().Text(), HasSubstr(GetParam().says));
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
}
INSTANTIATE_TEST_SUITE_P(Programs, OddWorkers,
                         ::testing::Values(OddWorker{"SaysNothing", "/bin/true", "without an answer (exit status 0)"},
                                           OddWorker{"Fails", "/bin/false", "without an answer (exit status 1)"},
                                           OddWorker{"SpeaksGarbage", "/bin/echo", "no proper answer"},
                                           OddWorker{"NeverStops", "/usr/bin/yes", "too long"}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_F(Store, FoldersThatAreGoneTellTheWayOut) {
  for (const Form form : {Form::kErofs, Form::kTree}) {
    for (const char* folder : {"tmp", "layers"}) {
      Lab lab(kWorker);
      std::filesystem::remove_all(lab.path() + "/" + folder);
      const auto info = lab.Add(MakeBlob(Builder().File("f", "x").Finish(), Compression::kPlain), form);
      ASSERT_FALSE(info) << folder;
      EXPECT_EQ(info.error().reason(), Reason::kMissing) << info.error().Text();
      EXPECT_EQ(info.error().next_step(), "restart berthd: it makes its folders anew") << folder << ": " << info.error().Text();
    }
  }
}

TEST(Worker, ThatCannotWriteItsAnswerIsNoDefect) {
  Lab lab("/bin/false");
  const std::string script = lab.path() + "/worker.sh";
  std::ofstream(script) << "#!/bin/sh\nexit 2\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  Lab scripted(script);
  const auto info = scripted.Add(MakeBlob(Builder().File("f", "x").Finish(), Compression::kPlain));
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().reason(), Reason::kIo) << info.error().Text();
}

// What a worker says is believed as far as it is its business: also that the machine has no more files or memory for it.
struct Blame {
  const char* name;
  const char* code;
  Reason believed;
  std::string next = "";
};
class Blames : public ::testing::TestWithParam<Blame> {};

TEST_P(Blames, AreBelievedAsFarAsTheyAreAWorkersBusiness) {
  Lab lab("/bin/false");
  const std::string script = lab.path() + "/worker.sh";
  std::ofstream(script) << "#!/bin/sh\nprintf '{\"error\":{\"code\":\"" << GetParam().code << "\",\"text\":\"because\"}}'\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  Lab scripted(script);
  const auto info = scripted.Add(MakeBlob(Builder().File("f", "x").Finish(), Compression::kPlain));
  ASSERT_FALSE(info);
  EXPECT_EQ(info.error().reason(), GetParam().believed) << info.error().Text();
  EXPECT_EQ(info.error().next_step(), GetParam().next);
}
INSTANTIATE_TEST_SUITE_P(Codes, Blames,
                         ::testing::Values(Blame{"Layer", "E-BAD-LAYER", Reason::kInvalidLayer}, Blame{"Io", "E-IO", Reason::kIo},
                                           Blame{"FullDisk", "E-ENOSPC", Reason::kNoSpace, "free space: berth df, berth rm"},
                                           Blame{"NoMoreFiles", "E-UNAVAILABLE", Reason::kUnavailable},
                                           Blame{"NoCapability", "E-AUTH-403", Reason::kUnsupported, "give berthd the right that is named; berth doctor shows what it may do"},
                                           Blame{"Access", "E-AUTH-401", Reason::kInternal}, Blame{"Made_up", "E-NONE", Reason::kInternal}),
                         [](const auto& row) { return std::string(row.param.name); });

// One that was taken over and sleeps: it holds neither its slot nor the pulls that wait for its layer.
TEST_F(Store, AWorkerThatMakesNoProgressFailsItsLayer) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Builder().File("f", Noise(8'000'000)).Finish(), Compression::kPlain);
  time::testing::ManualClock clock;
  for (const bool at_the_end : {false, true}) {
    auto staging = lab.store().Stage(task::Context({}, clock), blob.digest, Form::kErofs);
    ASSERT_TRUE(staging);
    ASSERT_EQ(kill((*staging)->worker_pid(), SIGSTOP), 0);
    Result<> result;
    std::jthread feeder([&] {
      result = (*staging)->Write(bytes::AsView(blob.bytes).first(at_the_end ? 1000 : blob.bytes.size()));
      if (at_the_end && result) result = Error((*staging)->Finish({}).error());
    });
    clock.AwaitSleeps(at_the_end ? 2 : 1);
    clock.Advance(std::chrono::minutes(31));
    feeder.join();
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().reason(), Reason::kInternal);
    EXPECT_THAT(result.error().Text(), HasSubstr("no progress for 30 minutes"));
  }
}

// E-03.
TEST_F(Store, AKilledWorkerFailsItsLayerAndMayBeTriedAgain) {
  Lab lab(kWorker);
  const std::string archive = Builder().File("f", Noise(8'000'000)).Finish();
  for (const int signal : {SIGKILL, SIGABRT}) {  // SIGSEGV belongs to the sanitizers' handler
    const LayerBlob blob = MakeBlob(archive, Compression::kPlain);
    auto unpack = lab.store().Stage(task::Context(), blob.digest, Form::kErofs);
    ASSERT_TRUE(unpack);
    ASSERT_TRUE((*unpack)->Write(bytes::AsView(blob.bytes).first(3'000'000)));
    ASSERT_EQ(kill((*unpack)->worker_pid(), signal), 0);
    auto rest = (*unpack)->Write(bytes::AsView(blob.bytes).subspan(3'000'000));
    const auto error = rest ? (*unpack)->Finish({}).error() : rest.error();
    EXPECT_EQ(error.reason(), Reason::kInternal);
    EXPECT_EQ(error.transient(), signal == SIGKILL);
    EXPECT_THAT(error.Text(), HasSubstr(signal == SIGKILL ? "killed" : "crashed (killed by signal 6)"));
  }
  EXPECT_TRUE(lab.Add(MakeBlob(archive)));
}

TEST_F(Store, TheWorkerIsJailed) {
  Lab lab(kWorker);
  const std::string archive = Builder().File("f", Noise(8'000'000)).Finish();
  auto staging = lab.store().Stage(task::Context(), MakeBlob(archive).digest, Form::kErofs);
  ASSERT_TRUE(staging);
  // More than the channel holds: when this returns, the worker reads, and it reads only in its jail.
  ASSERT_TRUE((*staging)->Write(bytes::AsView(archive).first(4'000'000)));
  const std::string proc = "/proc/" + std::to_string((*staging)->worker_pid());
  const std::string status = ReadFile(proc + "/status");
  EXPECT_THAT(status, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(status, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(status, HasSubstr("Uid:\t65534"));
  std::size_t descriptors = 0;
  for (const auto& entry : std::filesystem::directory_iterator(proc + "/fd")) descriptors += entry.exists() || true;
#ifdef BERTH_SANITIZED
  --descriptors;  // stderr, for reports
#endif
  EXPECT_EQ(descriptors, 5u);  // answer, the two pipes of the input, data, meta
}

TEST_F(Store, AJailThatIsTriedSaysWhatItIs) {  // P27
  const Lab lab(kWorker);
  const auto folder = host::Dir::Open(lab.path());
  ASSERT_TRUE(folder);
  for (const Form form : {Form::kErofs, Form::kTree}) {
    UnpackOptions options;
    options.form = form;
    const auto jail = TryJail({}, kWorker, folder->fd(), options);
    ASSERT_TRUE(jail) << jail.error().Text();
    for (const char* part : {"seccomp", "no_new_privs", "capabilities", "descriptors", "root", "net_ns"})
      EXPECT_NE(jail->substr(0, jail->find(';')).find(part), std::string::npos) << part << " in " << *jail;
  }
  EXPECT_FALSE(TryJail({}, "/nowhere/berth-unpack", folder->fd(), {}));
}

// Without CAP_SYS_ADMIN a tree has no jail, and a stream has.
TEST_F(Store, AJailThatCannotBeSaysWhatLacks) {
  const Lab lab(kWorker);
  const auto folder = host::Dir::Open(lab.path());
  ASSERT_TRUE(folder);
  EXPECT_EXIT(
      {
        const bool dropped = prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN) == 0;  // of the program that is started
        UnpackOptions options;
        const auto stream = TryJail({}, kWorker, folder->fd(), options);
        options.form = Form::kTree;
        const auto tree = TryJail({}, kWorker, folder->fd(), options);
        if (dropped && stream && !tree && tree.error().reason() == Reason::kUnsupported)
          std::fprintf(stderr, "%s; %s\n", tree.error().Text().c_str(), std::string(tree.error().next_step()).c_str());
        _exit(0);
      },
      ::testing::ExitedWithCode(0), "without CAP_SYS_ADMIN.*; give berthd");
}

TEST_F(Store, CancelledWhileTheWorkerWaits) {
  Lab lab(kWorker);
  std::stop_source stop;
  auto staging = lab.store().Stage(task::Context(stop.get_token()), digest::Digest(), Form::kErofs);
  ASSERT_TRUE(staging);
  const std::string some(1000, '\0');
  ASSERT_TRUE((*staging)->Write(bytes::AsView(some)));
  const pid_t pid = (*staging)->worker_pid();
  stop.request_stop();
  const auto written = (*staging)->Write(bytes::AsView(some));
  ASSERT_FALSE(written);
  EXPECT_TRUE(written.error().cancelled());
  staging->reset();
  EXPECT_EQ(kill(pid, 0), -1);  // reaped
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
}

TEST_F(Store, DamageIsFound) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Everything());
  const auto info = lab.Add(blob);
  ASSERT_TRUE(info);
  const task::Context ctx;
  ASSERT_TRUE(lab.store().Verify(ctx, blob.digest, Depth::kData));
  const std::string base = lab.path() + "/layers/" + blob.digest.Hex();
  const auto flip = [&](const std::string& file, std::uint64_t at) {
    std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
    f.seekg(static_cast<std::streamoff>(at));
    const char old = static_cast<char>(f.get());
    f.seekp(static_cast<std::streamoff>(at));
    f.put(static_cast<char>(old ^ 0x10));
  };
  struct Damage { std::string file; std::uint64_t at; Depth found; };
  const std::uint64_t meta_bytes = std::filesystem::file_size(base + ".meta");
  const std::vector<Damage> damages{
      {base + ".data", 0, Depth::kData},
      {base + ".data", info->report.data_bytes - 1, Depth::kData},
      {base + ".data", 1u << 20, Depth::kData},
      {base + ".meta", 1024 + 9, Depth::kDescriptor},
      {base + ".meta", 4095, Depth::kDescriptor},
      {base + ".meta", 4096, Depth::kMetadata},
      {base + ".meta", info->report.image_bytes - 1, Depth::kMetadata},
      {base + ".meta", info->report.image_bytes + 5, Depth::kDescriptor},
      {base + ".meta", meta_bytes - 100, Depth::kDescriptor},
      {base + ".meta", meta_bytes - 1, Depth::kDescriptor},
  };
  for (const Damage& d : damages) {
    flip(d.file, d.at);
    for (const Depth depth : {Depth::kDescriptor, Depth::kMetadata, Depth::kData}) {
      const auto good = lab.store().Verify(ctx, blob.digest, depth);
      EXPECT_EQ(good.has_value(), depth < d.found) << d.file << " at " << d.at;
      if (!good) {
        EXPECT_EQ(good.error().reason(), Reason::kCorrupt);
      }
    }
    flip(d.file, d.at);
  }
  std::filesystem::resize_file(base + ".data", info->report.data_bytes - 4096);
  std::vector<std::string> damaged;
  EXPECT_TRUE((*lab.store().List(&damaged)).empty());
  EXPECT_THAT(damaged, ::testing::ElementsAre(blob.digest.Hex() + ".meta"));
  // Pull heals.
  EXPECT_TRUE(lab.Add(blob));
  EXPECT_TRUE(lab.store().Verify(ctx, blob.digest, Depth::kData));
}

struct TreeDamage {
  const char* what;
  const char* says;
  void (*harm)(const std::string& d);  // that directory of the tree
};
class DamagedTree : public Store, public ::testing::WithParamInterface<TreeDamage> {};

void Poke(const std::string& file, std::streamoff at) {
  struct stat before;
  BERTH_CHECK(stat(file.c_str(), &before) == 0);
  std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(at);
  f.put('#');
  f.close();
  const timespec times[]{before.st_atim, before.st_mtim};
  BERTH_CHECK(utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
}
void Remove(const std::string& path) { BERTH_CHECK(std::filesystem::remove(path)); }
// Changes the names in a directory and leaves its time as it was.
template <class Change>
void KeepTime(const std::string& dir, Change change) {
  struct stat before;
  BERTH_CHECK(stat(dir.c_str(), &before) == 0);
  change();
  const timespec times[]{before.st_atim, before.st_mtim};
  BERTH_CHECK(utimensat(AT_FDCWD, dir.c_str(), times, 0) == 0);
}

TEST_P(DamagedTree, IsFound) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Builder()
                                      .Dir("d").Mtime(1'000'000)
                                      .File("d/file", std::string(3'000'000, 'f'))
                                      .File("d/empty", "")
                                      .HardLink("d/hard", "d/file")
                                      .Symlink("d/link", "file")
                                      .Dir("d/opq").File("d/opq/.wh..wh..opq", "")
                                      .File("d/.wh.gone", "")
                                      .Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"},
                                            {"GNU.sparse.realsize", "1052672"}, {"GNU.sparse.name", "d/sparse"}})
                                      .File("x", tar::testing::Padded("2\n0\n512\n524288\n4096\n") + Noise(512) + Noise(4096))
                                      .Finish());
  ASSERT_TRUE(lab.Add(blob, Form::kTree));
  const auto whole = lab.store().Verify(task::Context(), blob.digest, Depth::kData);
  ASSERT_TRUE(whole) << whole.error().Text();
  GetParam().harm(lab.path() + "/layers/" + blob.digest.Hex() + ".tree/d");
  EXPECT_TRUE(lab.store().Verify(task::Context(), blob.digest, Depth::kMetadata)) << "not that deep";
  const auto damaged = lab.store().Verify(task::Context(), blob.digest, Depth::kData);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().reason(), Reason::kCorrupt);
  EXPECT_THAT(damaged.error().Text(), ::testing::AllOf(HasSubstr(blob.digest.ToString()), HasSubstr(GetParam().says)));
  EXPECT_FALSE(damaged.error().next_step().empty());
}
INSTANTIATE_TEST_SUITE_P(
    Rows, DamagedTree,
    ::testing::Values(
        TreeDamage{"Contents", "\"/d/file\" has other contents", [](const std::string& d) { Poke(d + "/file", 2'999'999); }},
        TreeDamage{"Hole", "\"/d/sparse\" has other contents", [](const std::string& d) { Poke(d + "/sparse", 200'000); }},
        TreeDamage{"Size", "\"/d/empty\" has another size", [](const std::string& d) { std::ofstream(d + "/empty") << "x"; }},
        TreeDamage{"Mode", "\"/d/file\" has another mode", [](const std::string& d) { chmod((d + "/hard").c_str(), 04755); }},
        TreeDamage{"Owner", "\"/d/link\" has another owner", [](const std::string& d) { (void)!lchown((d + "/link").c_str(), 1, 0); }},
        TreeDamage{"Time", "\"/d\" has another time", [](const std::string& d) { Remove(d + "/empty"), std::ofstream(d + "/empty"); }},
        TreeDamage{"Missing", "\"/d/empty\" is missing", [](const std::string& d) { KeepTime(d, [&] { Remove(d + "/empty"); }); }},
        TreeDamage{"DirMissing", "\"/d/opq\" is missing", [](const std::string& d) { KeepTime(d, [&] { Remove(d + "/opq"); }); }},
        TreeDamage{"Added", "\"/d/a\" is no part of the layer", [](const std::string& d) { KeepTime(d, [&] { std::ofstream(d + "/a"); }); }},
        TreeDamage{"AddedLast", "\"/d/z\" is no part of the layer", [](const std::string& d) { KeepTime(d, [&] { std::ofstream(d + "/z"); }); }},
        TreeDamage{"Type", "\"/d/empty\" is of another type",
                   [](const std::string& d) { KeepTime(d, [&] { Remove(d + "/empty"), mkfifo((d + "/empty").c_str(), 0644); }); }},
        TreeDamage{"Target", "\"/d/link\" leads elsewhere",
                   [](const std::string& d) {
                     struct stat before;
                     BERTH_CHECK(lstat((d + "/link").c_str(), &before) == 0);
                     KeepTime(d, [&] { Remove(d + "/link"), std::filesystem::create_symlink("elsewhere", d + "/link"); });
                     const timespec times[]{before.st_atim, before.st_mtim};
                     BERTH_CHECK(utimensat(AT_FDCWD, (d + "/link").c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
                   }},
        TreeDamage{"HardLink", "\"/d/file\" has another number of names",
                   [](const std::string& d) { KeepTime(d, [&] { Remove(d + "/hard"), std::filesystem::copy(d + "/file", d + "/hard"); }); }},
        TreeDamage{"Opaque", "\"/d/opq\" has other extended attributes",
                   [](const std::string& d) { removexattr((d + "/opq").c_str(), "trusted.overlay.opaque"); }},
        TreeDamage{"Xattr", "\"/d/empty\" has other extended attributes",
                   [](const std::string& d) { setxattr((d + "/empty").c_str(), "user.x", "y", 1, 0); }}),
    [](const auto& row) { return std::string(row.param.what); });

// Older versions wrote no checksums of a tree's files.
TEST_F(Store, ATreeWithoutChecksumsIsWholeAsFarAsItsMetadataTell) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Builder().Dir("d").File("d/file", "contents").Finish());
  ASSERT_TRUE(lab.Add(blob, Form::kTree));
  const std::string base = lab.path() + "/layers/" + blob.digest.Hex(), file = base + ".tree/d/file";
  std::string meta = ReadFile(base + ".meta");
  auto descriptor = DecodeDescriptor(bytes::AsView(meta));
  ASSERT_TRUE(descriptor) << descriptor.error().Text();
  ASSERT_EQ(std::exchange(descriptor->crcs, {}).size(), 1u);
  meta.resize(descriptor->image_bytes);
  std::ofstream(base + ".meta", std::ios::binary) << meta << EncodeDescriptor(*descriptor);
  const auto whole = lab.store().Verify(task::Context(), blob.digest, Depth::kData);
  EXPECT_TRUE(whole) << whole.error().Text();
  ASSERT_EQ(chmod(file.c_str(), 0700), 0);
  const auto damaged = lab.store().Verify(task::Context(), blob.digest, Depth::kData);
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().Text(), HasSubstr("has another mode"));
}

TEST_F(Store, RecoveryLeavesOnlyWholeLayers) {
  Lab lab(kWorker);
  const LayerBlob blob = MakeBlob(Builder().File("f", "x").Finish()), other = MakeBlob(Builder().File("g", "y").Finish());
  ASSERT_TRUE(lab.Add(blob));
  ASSERT_TRUE(lab.Add(other));
  std::filesystem::remove(lab.path() + "/layers/" + other.digest.Hex() + ".meta");  // a crash between the two renames
  std::ofstream(lab.path() + "/tmp/left.data") << "x";
  std::filesystem::create_directories(lab.path() + "/tmp/left.tree/a/b");
  std::ofstream(lab.path() + "/layers/" + other.digest.Hex() + "@0123456789abcdef.meta") << "x";
  std::ofstream(lab.path() + "/layers/not ours") << "x";
  const auto removed = lab.store().RecoverTmp();
  ASSERT_TRUE(removed) << removed.error().Text();
  EXPECT_EQ(*removed, 4u);
  EXPECT_TRUE(std::filesystem::exists(lab.path() + "/layers/not ours"));
  EXPECT_TRUE((*lab.store().Find(blob.digest)).has_value());
  EXPECT_EQ(*lab.store().RecoverTmp(), 0u);
  // And with a left-over .data a new unpack still works.
  ASSERT_TRUE(lab.Add(other));
  EXPECT_TRUE(lab.store().Verify(task::Context(), other.digest, Depth::kData));
}

// Of a version that laid out contents in another way: the same names, elsewhere in .data.
TEST_F(Store, AVariantThatPointsElsewhereInTheContentsGoesWhenItsLayerIsMadeAnew) {
  Lab lab(kWorker);
  const auto top = [](bool other_way) {
    Builder b;
    if (other_way) b.File("etc/b", std::string(10'000, 'b'));
    b.File("etc/a", std::string(5000, 'a'));
    if (!other_way) b.File("etc/b", std::string(10'000, 'b'));
    return MakeBlob(b.Finish());
  };
  const LayerBlob base = MakeBlob(Builder().Dir("etc").Mode(0700).Finish()), now = top(false), then = top(true);
  for (const auto* blob : {&base, &now, &then}) ASSERT_TRUE(lab.Add(*blob));
  const auto file = [&](const LayerBlob& blob, const std::string& variant) {
    return lab.path() + "/layers/" + blob.digest.Hex() + "@" + variant + ".meta";
  };
  const auto variant_of = [&](const LayerBlob& blob) {
    return (*lab.store().FitToImage(task::Context(), std::vector<digest::Digest>{base.digest, blob.digest}))[1];
  };
  const std::string good = variant_of(now), stale = "0123456789abcdef";
  ASSERT_NE(good, "");
  std::string old = ReadFile(file(then, variant_of(then)));
  auto descriptor = *DecodeDescriptor(bytes::AsView(old));
  auto report = *VariantReport::FromJson(descriptor.json);
  ASSERT_EQ(report.devices, std::vector{then.digest});
  report.blob = report.devices[0] = now.digest;
  descriptor.json = report.ToJson();
  old.resize(descriptor.image_bytes);
  std::ofstream(file(now, stale), std::ios::binary) << old << EncodeDescriptor(descriptor);
  ASSERT_TRUE(lab.store().VerifyVariant(now.digest, stale, Depth::kData));
  ASSERT_TRUE(*lab.store().RemoveDamaged(task::Context(), now.digest, Form::kErofs));
  ASSERT_TRUE(lab.Add(now));
  EXPECT_TRUE(std::filesystem::exists(file(now, good)));
  EXPECT_FALSE(std::filesystem::exists(file(now, stale)));
}

// A-30, A-33, A-42, A-48 and attributes of implied directories, as a container sees them.
TEST_F(Store, LayersFitTheirImage) {
  Lab lab(kWorker);
  const std::vector<LayerBlob> image{
      MakeBlob(Builder().Dir("./").Mode(0751).Dir("usr").Dir("usr/bin").Mode(0711).Uid(5).Mtime(77).File("usr/bin/old", "old").Symlink("bin", "usr/bin")
                   .File("etc/low", Noise(10'000)).Symlink("s", "/canary").Finish()),
      MakeBlob(Builder().File("bin/new", "new").File("bin/.wh.old").HardLink("copy", "/etc/low").Mode(0600).HardLink("copy2", "copy").Mode(0600).File("s/pwned", "x").Finish()),
      MakeBlob(Builder().HardLink("again", "copy2").File("usr/bin/third", "3").File("own", "own").Finish()),
  };
  for (const LayerBlob& blob : image) ASSERT_TRUE(lab.Add(blob));
  const auto root = lab.MountImage(image);
  if (!root && root.error().reason() == Reason::kUnsupported) GTEST_SKIP() << root.error().Text();
  ASSERT_TRUE(root) << root.error().Text();
  EXPECT_EQ(ReadFile(*root + "/usr/bin/new"), "new");
  EXPECT_FALSE(std::filesystem::exists(*root + "/usr/bin/old"));
  EXPECT_TRUE(std::filesystem::is_symlink(*root + "/bin"));
  EXPECT_EQ(ReadFile(*root + "/copy"), Noise(10'000));
  EXPECT_EQ(ReadFile(*root + "/again"), Noise(10'000));
  EXPECT_EQ(ReadFile(*root + "/own"), "own");
  EXPECT_EQ(ReadFile(*root + "/canary/pwned"), "x");
  const Listing listing = List(*root);
  EXPECT_THAT(listing.at(""), HasSubstr("040751"));
  EXPECT_THAT(listing.at("usr/bin"), HasSubstr("040711 5:0 77."));
  EXPECT_THAT(listing.at("copy"), HasSubstr("100600"));
  EXPECT_THAT(listing.at("etc/low"), HasSubstr("100600 0:0 0.000000000 inode of copy"));
  EXPECT_THAT(listing.at("copy2"), HasSubstr("100644 0:0 0.000000000 inode of again links 2"));  // as its last link has it
  // A further pull of the chain leaves the variants as they are: a mount of the same file is the same. But a damaged one is replaced.
  const std::vector<digest::Digest> chain{image[0].digest, image[1].digest, image[2].digest};
  const auto names = lab.store().FitToImage(task::Context(), chain);
  ASSERT_TRUE(names && !(*names)[1].empty());
  const std::string file = lab.path() + "/layers/" + image[1].digest.Hex() + "@" + (*names)[1] + ".meta", before = ReadFile(file);
  const auto inode = [&] {
    struct stat info{};
    EXPECT_EQ(::stat(file.c_str(), &info), 0);
    return info.st_ino;
  };
  const auto made = inode();
  EXPECT_EQ(lab.store().FitToImage(task::Context(), chain).value(), *names);
  EXPECT_EQ(inode(), made);
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
  std::string damaged = before;
  damaged[damaged.size() / 2] ^= 1;
  for (const std::string& now : {damaged, before.substr(0, before.size() - 1), before + "x", std::string()}) {
    std::ofstream(file, std::ios::binary) << now;
    EXPECT_EQ(lab.store().FitToImage(task::Context(), chain).value(), *names);
    EXPECT_EQ(ReadFile(file), before);
  }

  const auto infos = lab.store().List();
  ASSERT_TRUE(infos);
  std::size_t variants = 0;
  for (const LayerInfo& info : *infos) {
    variants += info.variants.size();
    EXPECT_TRUE(lab.store().Verify(task::Context(), info.report.blob, Depth::kData));
    for (const std::string& variant : info.variants) EXPECT_TRUE(*lab.store().RemoveVariant(info.report.blob, variant));
  }
  EXPECT_EQ(variants, 2u);

  std::vector<digest::Digest> alone{image[1].digest};
  const auto refused = lab.store().FitToImage(task::Context(), alone);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), Reason::kInvalidLayer) << refused.error().Text();
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
}

struct OnABase { const char* name; std::string archive; std::optional<Reason> refused; };
class TreesOnABase : public Store, public ::testing::WithParamInterface<OnABase> {};

// What a folder shared by all images cannot show is refused, never shown in another way.
TEST_P(TreesOnABase, AreAsTheyAreOrRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  Lab lab(kWorker);
  const std::vector<LayerBlob> image{
      MakeBlob(Builder().Dir("usr/bin").Mtime(7).Symlink("bin", "usr/bin").File("file", "x").Dir("tmp").Mode(01777).Dir("own").Uid(5).Finish()),
      MakeBlob(GetParam().archive)};
  std::vector<digest::Digest> digests;
  for (const LayerBlob& blob : image) {
    const auto added = lab.Add(blob, Form::kTree);
    ASSERT_TRUE(added) << added.error().Text();
    digests.push_back(blob.digest);
  }
  const auto variants = lab.store().FitToImage(task::Context(), digests);
  EXPECT_TRUE(std::filesystem::is_empty(lab.path() + "/tmp"));
  if (GetParam().refused) {
    ASSERT_FALSE(variants);
    EXPECT_EQ(variants.error().reason(), GetParam().refused) << variants.error().Text();
  } else {
    ASSERT_TRUE(variants) << variants.error().Text();
    EXPECT_EQ(*variants, std::vector<std::string>(2));
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, TreesOnABase,
                         ::testing::Values(OnABase{"A33_LinkBelow", Builder().File("bin/new", "n").Finish(), Reason::kUnsupported},
                                           OnABase{"A48_LinkToAFileBelow", Builder().HardLink("h", "file").Finish(), Reason::kUnsupported},
                                           OnABase{"A47_LinkToNothing", Builder().HardLink("h", "gone").Finish(), Reason::kInvalidLayer},
                                           OnABase{"OtherMode", Builder().File("tmp/x", "x").Finish(), Reason::kUnsupported},
                                           OnABase{"OtherOwner", Builder().File("own/x", "x").Finish(), Reason::kUnsupported},
                                           OnABase{"OnlyOtherTimes", Builder().File("usr/bin/x", "x").Finish(), std::nullopt},
                                           OnABase{"Nothing", Builder().Dir("d").File("d/x", "x").Finish(), std::nullopt}),
                         [](const auto& row) { return std::string(row.param.name); });

TEST_F(Store, LayersWithoutFixupsStartNoWorker) {
  Lab lab(kWorker);
  std::vector<digest::Digest> digests;
  for (int i = 0; i < 3; ++i) {
    const LayerBlob blob = MakeBlob(Builder().Dir("d").File("d/f" + std::to_string(i)).Finish());
    ASSERT_TRUE(lab.Add(blob));
    digests.push_back(blob.digest);
  }
  auto other = LayerStore::Open(lab.path(), {.worker = "/nowhere/berth-unpack"});
  ASSERT_TRUE(other);
  const auto variants = (*other)->FitToImage(task::Context(), digests);
  ASSERT_TRUE(variants) << variants.error().Text();
  EXPECT_EQ(*variants, std::vector<std::string>(3));
  digests.push_back(digest::Digest());
  const auto missing = (*other)->FitToImage(task::Context(), digests);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason(), Reason::kMissing);
}

}  // namespace
}  // namespace berth::layer
