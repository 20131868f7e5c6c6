// cri/testing/rig.h: a CRI endpoint without a process: store, puller, registry, gRPC server and a client, for tests.
//
//   Rig rig;
//   rig.node.registry.PutImage("app", "1", {Tar("a", "x")});
//   EXPECT_TRUE(rig.Pull("app:1").ok());  rig.Status(rig.node.Name("app:1"))
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/server.h"
#include "api/service.h"
#include "cri/service.h"
#include "node/mounts.h"
#include "pull/testing/node.h"
#include "reclaim/image_gc.h"
#include "reclaim/reclaimer.h"
#include "reclaim/stored_images.h"
#include "rootfs/mounter.h"
#include "runtime/v1/api.grpc.pb.h"

namespace berth::cri::testing {

namespace v1 = ::runtime::v1;

class Rig {
 public:
  explicit Rig(ServiceOptions options = {}, api::ServerOptions listen = {}, const verify::Verifier* verifier = nullptr,
               pull::Observer* observer = nullptr)
      : node({.observer = observer}, {}, verifier) {
    Start(std::move(options), std::move(listen));
  }
  ~Rig() { Stop(); }

  void Start(ServiceOptions options = {}, api::ServerOptions listen = {}) {
    auto& s = node.stores;
    options.root = s.folder.path();
    options.host = *oci::Platform::Parse("linux/amd64");
    mounter_ = *rootfs::Mounter::Open(s.folder.path(), *s.layers);
    mounts.emplace(*s.catalog, *mounter_);
    const reclaim::Reclaimer::Stores stores{*s.content, *s.layers, *s.catalog, *s.leases};
    reclaimer_ = std::make_unique<reclaim::Reclaimer>(stores, s.clock);
    stored_.emplace(*reclaimer_, stores, reclaim::Ages{});
    const auto mounted = [&s](const task::Context&) { return reclaim::MountedImages(*s.catalog); };
    gc_.emplace(reclaim::GcPolicy{}, reclaim::ImageGc::Parts{*stored_, mounted, [&s] { return s.root.FreeSpace(); },
                                                             [](std::string_view, const std::string&) {}, {}, s.clock});
    api::ServiceOptions other;
    other.host = options.host;
    const api::Service::Parts parts{*node.puller, *reclaimer_, *mounts, *s.content, *s.layers, *s.catalog, *s.leases, s.root, *gc_};
    berth_ = std::make_unique<api::Service>(parts, std::move(other), time::SystemClock());
    service = std::make_unique<Service>(Service::Parts{*node.puller, *reclaimer_, *s.content, *s.catalog, *mounts}, std::move(options),
                                        time::SystemClock());
    listen.socket = socket();
    listen.more = {&service->images(), &service->runtime()};
    listen.health.push_back("runtime.v1.ImageService");
    server = *api::Server::Start(*berth_, std::move(listen));
    channel = Connect();
    images = v1::ImageService::NewStub(channel);
  }
  void Stop() {
    if (service) service->Drain();
    if (berth_) berth_->Drain();
    server.reset();
    service.reset();
    berth_.reset();
  }
  std::string socket() const { return node.stores.folder.path() + "/berth.sock"; }
  std::shared_ptr<grpc::Channel> Connect() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(16 << 20);
    return grpc::CreateCustomChannel("unix:" + socket(), grpc::InsecureChannelCredentials(), arguments);
  }

  v1::PullImageRequest Ask(const std::string& name) const {
    v1::PullImageRequest request;
    request.mutable_image()->set_image(node.Name(name));
    return request;
  }
  grpc::Status Pull(const v1::PullImageRequest& request) {
    grpc::ClientContext context;
    pulled.Clear();
    return images->PullImage(&context, request, &pulled);
  }
  grpc::Status Pull(const std::string& name) { return Pull(Ask(name)); }
  grpc::Status Status(const std::string& image, v1::ImageStatusResponse* answer, bool verbose = false) {
    v1::ImageStatusRequest request;
    request.mutable_image()->set_image(image);
    request.set_verbose(verbose);
    grpc::ClientContext context;
    return images->ImageStatus(&context, request, answer);
  }
  std::optional<v1::Image> Image(const std::string& name) {
    v1::ImageStatusResponse answer;
    if (!Status(name, &answer).ok() || !answer.has_image()) return std::nullopt;
    return answer.image();
  }
  grpc::Status Remove(const std::string& image) {
    v1::RemoveImageRequest request;
    request.mutable_image()->set_image(image);
    v1::RemoveImageResponse answer;
    grpc::ClientContext context;
    return images->RemoveImage(&context, request, &answer);
  }
  grpc::Status List(const std::string& filter, v1::ListImagesResponse* answer) {
    v1::ListImagesRequest request;
    if (!filter.empty()) request.mutable_filter()->mutable_image()->set_image(filter);
    grpc::ClientContext context;
    return images->ListImages(&context, request, answer);
  }
  std::vector<std::string> Tags(const std::string& filter = "") {
    v1::ListImagesResponse answer;
    if (!List(filter, &answer).ok()) return {"an error"};
    std::vector<std::string> tags;
    for (const auto& image : answer.images()) tags.insert(tags.end(), image.repo_tags().begin(), image.repo_tags().end());
    return tags;
  }

  pull::testing::Node node;
  std::optional<node::Mounts> mounts;
  std::unique_ptr<Service> service;
  std::unique_ptr<api::Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::ImageService::Stub> images;
  v1::PullImageResponse pulled;

 private:
  std::unique_ptr<rootfs::Mounter> mounter_;
  std::unique_ptr<reclaim::Reclaimer> reclaimer_;
  std::optional<reclaim::StoredImages> stored_;
  std::optional<reclaim::ImageGc> gc_;
  std::unique_ptr<api::Service> berth_;
};

}  // namespace berth::cri::testing
