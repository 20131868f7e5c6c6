// apps/berth/testing/fake_berthd.h: the berth.v1 service with answers given by the test, on a Unix socket of its own.
//
// A method that was given no answer fails as unimplemented. Requests are kept.
#pragma once

#include <grpcpp/grpcpp.h>
#include <stdlib.h>
#include <unistd.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "berth/v1/berth.grpc.pb.h"

namespace berth::cli::testing {

namespace v1 = berth::v1;

// As berthd fails: a status, and the Failure in the trailer.
inline grpc::Status Failed(grpc::ServerContext& context, const std::string& code, const std::string& message,
                           const std::string& next, int exit_status) {
  v1::Failure failure;
  failure.set_code(code);
  failure.set_message(message);
  failure.set_next_step(next);
  failure.set_exit_status(exit_status);
  context.AddTrailingMetadata("berth-failure-bin", failure.SerializeAsString());
  return {grpc::StatusCode::UNKNOWN, message};
}

class FakeBerthd final : public v1::Berth::Service {
 public:
  template <class Request, class Response>
  using Unary = std::function<grpc::Status(grpc::ServerContext&, const Request&, Response&)>;
  template <class Request, class Event>
  using Streaming = std::function<grpc::Status(grpc::ServerContext&, const Request&, grpc::ServerWriter<Event>&)>;

  Streaming<v1::PullRequest, v1::PullEvent> pull;
  Streaming<v1::CheckStoreRequest, v1::CheckStoreEvent> check;
  Unary<v1::ListImagesRequest, v1::ListImagesResponse> list;
  Unary<v1::InspectImageRequest, v1::InspectImageResponse> inspect;
  Unary<v1::RemoveImageRequest, v1::RemoveImageResponse> remove;
  Unary<v1::MountRequest, v1::MountResponse> mount;
  Unary<v1::UnmountRequest, v1::UnmountResponse> unmount;
  Unary<v1::ListMountsRequest, v1::ListMountsResponse> mounts;
  Unary<v1::DiskUsageRequest, v1::DiskUsageResponse> usage;
  Unary<v1::ReclaimRequest, v1::ReclaimResponse> reclaim;
  Unary<v1::CollectImagesRequest, v1::CollectImagesResponse> collect;
  Unary<v1::PinImageRequest, v1::PinImageResponse> pin;
  Unary<v1::UnpinImageRequest, v1::PinImageResponse> unpin;
  Unary<v1::StatusRequest, v1::StatusResponse> status;

  // In a new folder under /tmp, or at `path`.
  explicit FakeBerthd(std::string path = "") : socket_(std::move(path)) {
    if (socket_.empty()) {
      char folder[] = "/tmp/berth-cli-XXXXXX";
      folder_ = mkdtemp(folder);
      socket_ = folder_ + "/berth.sock";
    }
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket_, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeBerthd() override {
    Stop();
    unlink(socket_.c_str());
    if (!folder_.empty()) rmdir(folder_.c_str());
  }
  // Cuts every connection.
  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }
  const std::string& socket() const { return socket_; }
  std::vector<v1::PullRequest> pulls() const { std::lock_guard lock(mutex_); return pulls_; }
  // Until that many pulls have been asked for.
  void AwaitPulls(std::size_t n) const {
    std::unique_lock lock(mutex_);
    asked_.wait(lock, [&] { return pulls_.size() >= n; });
  }

 private:
  template <class Handler, class Request, class Response>
  static grpc::Status Answer(const Handler& handler, grpc::ServerContext* context, const Request* request, Response* response) {
    return handler ? handler(*context, *request, *response) : grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "");
  }
  using Context = grpc::ServerContext;
  grpc::Status Pull(Context* c, const v1::PullRequest* q, grpc::ServerWriter<v1::PullEvent>* w) override {
    { std::lock_guard lock(mutex_); pulls_.push_back(*q); }
    asked_.notify_all();
    return Answer(pull, c, q, w);
  }
  grpc::Status CheckStore(Context* c, const v1::CheckStoreRequest* q, grpc::ServerWriter<v1::CheckStoreEvent>* w) override {
    return Answer(check, c, q, w);
  }
  grpc::Status ListImages(Context* c, const v1::ListImagesRequest* q, v1::ListImagesResponse* r) override {
    return Answer(list, c, q, r);
  }
  grpc::Status InspectImage(Context* c, const v1::InspectImageRequest* q, v1::InspectImageResponse* r) override {
    return Answer(inspect, c, q, r);
  }
  grpc::Status RemoveImage(Context* c, const v1::RemoveImageRequest* q, v1::RemoveImageResponse* r) override {
    return Answer(remove, c, q, r);
  }
  grpc::Status Mount(Context* c, const v1::MountRequest* q, v1::MountResponse* r) override {
    return Answer(mount, c, q, r);
  }
  grpc::Status Unmount(Context* c, const v1::UnmountRequest* q, v1::UnmountResponse* r) override {
    return Answer(unmount, c, q, r);
  }
  grpc::Status ListMounts(Context* c, const v1::ListMountsRequest* q, v1::ListMountsResponse* r) override {
    return Answer(mounts, c, q, r);
  }
  grpc::Status DiskUsage(Context* c, const v1::DiskUsageRequest* q, v1::DiskUsageResponse* r) override {
    return Answer(usage, c, q, r);
  }
  grpc::Status Reclaim(Context* c, const v1::ReclaimRequest* q, v1::ReclaimResponse* r) override {
    return Answer(reclaim, c, q, r);
  }
  grpc::Status CollectImages(Context* c, const v1::CollectImagesRequest* q, v1::CollectImagesResponse* r) override {
    return Answer(collect, c, q, r);
  }
  grpc::Status PinImage(Context* c, const v1::PinImageRequest* q, v1::PinImageResponse* r) override {
    return Answer(pin, c, q, r);
  }
  grpc::Status UnpinImage(Context* c, const v1::UnpinImageRequest* q, v1::PinImageResponse* r) override {
    return Answer(unpin, c, q, r);
  }
  grpc::Status Status(Context* c, const v1::StatusRequest* q, v1::StatusResponse* r) override {
    return Answer(status, c, q, r);
  }

  std::string folder_, socket_;
  mutable std::mutex mutex_;
  mutable std::condition_variable asked_;
  std::vector<v1::PullRequest> pulls_;  // guarded by mutex_
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace berth::cli::testing
