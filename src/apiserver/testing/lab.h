// apiserver/testing/lab.h: what the API's tests share: an API over a store of its own, called without sockets, and a client that reads
// streams.
#pragma once

#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "apiserver/api.h"
#include "httpd/channel.h"
#include "httpd/target.h"
#include "objects/store.h"

namespace berth::apiserver::testing {

inline constexpr std::string_view kToken = "secret-token";

class Lab {
 public:
  explicit Lab(const time::Clock& clock, objects::Options options = {.node_name = "node-7"},
               ApiOptions served = {.version = "v1.36.0+berth.test", .address = "127.0.0.1:1"}) {
    const std::string base = std::filesystem::temp_directory_path();
    std::string path = base + "/berth-apiserver-XXXXXX";
    folder = ::mkdtemp(path.data());
    store = *objects::Store::Open(folder + "/objects.db", clock, [this] { return random_ += 0x9e3779b97f4a7c15; }, std::move(options));
    api = std::make_unique<Api>(
        Backend{*store, [this](json::Tree o, const objects::WriteOptions& w) { return store->Create(o, w); },
                [this](json::Tree o, const objects::WriteOptions& w) { return store->Update(o, w); },
                [this](const objects::Key& k, const objects::Store::Edit& e, const objects::WriteOptions& w) {
                  return store->Change(k, e, w);
                },
                [this](const kube::Object&, node::LogQuery query) -> Result<Backend::Log> {
                  if (std::string_view(query.container) == "none")
                    return Error(Reason::kUsage, "container none is not valid for pod web");
                  asked = std::move(query);
                  return Backend::Log([this](const task::Context&, const node::LogSink& sink) { return sink(log); });
                }},
        secret::Secret(kToken), std::move(served), clock);
  }
  ~Lab() {
    api.reset();
    store.reset();
    std::filesystem::remove_all(folder);
  }

  httpd::Response Call(const std::string& method, std::string_view target, std::string body = "", httpd::Fields fields = {}) {
    httpd::Request request{.method = method, .body = std::move(body)};
    auto parsed = httpd::ParseTarget(target);
    if (!parsed) return httpd::Response::Text(400, "no target");
    request.path = parsed->path;
    request.query = parsed->query;
    request.fields = std::move(fields);
    request.fields.emplace_back("Authorization", "Bearer " + std::string(kToken));
    return api->Handle({}, request);
  }

  std::string folder, log = "hello\n";
  node::LogQuery asked;
  std::unique_ptr<objects::Store> store;
  std::unique_ptr<Api> api;

 private:
  std::uint64_t random_ = 0;
};

// The server's side of a stream.
class Client {
 public:
  explicit Client(httpd::StreamBody body) : body_(std::move(body)) {}
  Client(Client&& o) noexcept : body_(std::move(o.body_)), text_(std::move(o.text_)) {}
  // The next line; what is there at the end of the stream, then "".
  std::string Line() {
    for (;;) {
      if (const auto end = text_.find('\n'); end != text_.npos) {
        std::string line = text_.substr(0, end);
        text_.erase(0, end + 1);
        return line;
      }
      if (!Take()) return std::exchange(text_, {});
    }
  }
  std::string All() {
    while (Take()) {}
    return std::exchange(text_, {});
  }
  void Leave() { body_->Hangup(); }

 private:
  bool Take() {
    char room[4096];
    std::size_t taken = 0;
    for (;;) {
      using Next = httpd::internal::Channel::Next;
      const auto next = body_->Take(room, sizeof room, taken, [] {}, [this] {
        std::lock_guard lock(mutex_);
        news_ = true;
        came_.notify_all();
      });
      if (next == Next::kBytes) return text_.append(room, taken), true;
      if (next != Next::kWait) return false;
      std::unique_lock lock(mutex_);
      came_.wait(lock, [&] { return news_; });
      news_ = false;
    }
  }
  httpd::StreamBody body_;
  std::mutex mutex_;
  std::condition_variable came_;
  bool news_ = false;
  std::string text_;
};

}  // namespace berth::apiserver::testing
