// bench/pull_limit.cc: the least that a verified pull can cost: download, hash, inflate, hash; nothing is written.
//
//   pull_limit HOST:PORT REPOSITORY TAG        (plain HTTP; for lab/bench.py)
//
// The same parts as the product (http, codec, digest), each layer on two threads as in the unpack worker, layers in
// parallel up to the number of cores; no process border, no parser, no disk. Exits 1 when a digest differs.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "codec/decoder.h"
#include "digest/digest.h"
#include "http/client.h"
#include "oci/oci.h"

namespace {

using namespace berth;

constexpr std::size_t kBuffer = 512u << 10;

Result<std::unique_ptr<http::Response>> Get(http::Client& client, const std::string& url, std::string_view accept) {
  http::Request request;
  ASSIGN_OR_RETURN(request.url, http::Url::Parse(url));
  request.allow_plain_http = true;
  request.headers.Add("Accept", accept);
  ASSIGN_OR_RETURN(auto response, client.Send({}, request));
  if (response->status() != 200) return Error(Reason::kUnexpectedStatus, "status " + std::to_string(response->status()));
  return response;
}

// Hashes what passes through.
class HashingSource final : public bytes::Source {
 public:
  explicit HashingSource(bytes::Source& from) : from_(from) {}
  Result<std::size_t> Read(bytes::MutableView room) override {
    ASSIGN_OR_RETURN(const std::size_t got, from_.Read(room));
    hasher_.Update(room.first(got));
    return got;
  }
  digest::Digest Finish() { return hasher_.Finish(); }

 private:
  bytes::Source& from_;
  digest::Hasher hasher_;
};

struct Buffer {
  std::unique_ptr<std::byte[]> bytes = std::make_unique<std::byte[]>(kBuffer);
  std::size_t size = 0;
};

Result<> PullLayer(http::Client& client, const std::string& base, const oci::Descriptor& layer, const digest::Digest& diff_id) {
  ASSIGN_OR_RETURN(auto response, Get(client, base + "/blobs/" + layer.digest.ToString(), "*/*"));
  HashingSource source(*response);
  ASSIGN_OR_RETURN(auto decoder, codec::Decoder::Open(source));
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Buffer> free(6), full;
  bool ended = false;
  digest::Hasher hasher;
  std::jthread hashing([&] {
    for (;;) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return ended || !full.empty(); });
      if (full.empty()) return;
      Buffer buffer = std::move(full.front());
      full.pop_front();
      lock.unlock();
      hasher.Update({buffer.bytes.get(), buffer.size});
      lock.lock();
      free.push_back(std::move(buffer));
      changed.notify_all();
    }
  });
  Result<> read = [&]() -> Result<> {
    for (;;) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return !free.empty(); });
      Buffer buffer = std::move(free.front());
      free.pop_front();
      lock.unlock();
      buffer.size = 0;
      while (buffer.size < kBuffer) {
        ASSIGN_OR_RETURN(const std::size_t got, decoder->Read({buffer.bytes.get() + buffer.size, kBuffer - buffer.size}));
        if (got == 0) break;
        buffer.size += got;
      }
      const bool last = buffer.size < kBuffer;
      lock.lock();
      full.push_back(std::move(buffer));
      changed.notify_all();
      if (last) return {};
    }
  }();
  {
    std::lock_guard lock(mutex);
    ended = true;
  }
  changed.notify_all();
  hashing.join();
  RETURN_IF_ERROR(read);
  if (source.Finish() != layer.digest || hasher.Finish() != diff_id) return Error(Reason::kDigestMismatch, "a digest differs");
  return {};
}

Result<> Pull(const std::string& host, const std::string& repository, const std::string& tag) {
  http::Client client;
  const std::string base = "http://" + host + "/v2/" + repository;
  ASSIGN_OR_RETURN(auto response, Get(client, base + "/manifests/" + tag, oci::ManifestAccept()));
  ASSIGN_OR_RETURN(const std::string text, http::ReadAll(*response, 4u << 20, "manifest"));
  response.reset();
  ASSIGN_OR_RETURN(const auto manifest, oci::Manifest::Parse(text, ""));
  ASSIGN_OR_RETURN(response, Get(client, base + "/blobs/" + manifest.config().digest.ToString(), "*/*"));
  ASSIGN_OR_RETURN(const std::string config_text, http::ReadAll(*response, 4u << 20, "config"));
  response.reset();
  ASSIGN_OR_RETURN(const auto config, oci::ImageConfig::Parse(config_text));
  const auto& layers = manifest.layers();
  std::vector<std::size_t> order(layers.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, std::greater<>(), [&](std::size_t i) { return layers[i].size; });
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  Result<> result;
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < std::max(2u, std::thread::hardware_concurrency()); ++t)
    threads.emplace_back([&] {
      for (std::size_t k = next++; k < order.size(); k = next++) {
        auto done = PullLayer(client, base, layers[order[k]], config.diff_ids[order[k]]);
        std::lock_guard lock(mutex);
        if (!done) result = done;
      }
    });
  threads.clear();
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  if (const auto done = Pull(argv[1], argv[2], argv[3]); !done) {
    std::fprintf(stderr, "pull_limit: %s\n", done.error().Text().c_str());
    return 1;
  }
  return 0;
}
