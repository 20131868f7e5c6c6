#include "cri/service.h"

#include <mutex>
#include <optional>

#include "api/short_calls.h"
#include "cri/images.h"
#include "cri/translate.h"
#include "json/document.h"
#include "runtime/v1/api.grpc.pb.h"

namespace berth::cri {
namespace {

constexpr auto kMeasureEvery = std::chrono::seconds(1);
constexpr std::size_t kDocumentBytes = 64u << 20;  // far above any limit under which one was stored

Error NoImage() { return Error(Reason::kUsage, "the request names no image").Next("set image.image"); }

// A name and what is said about it fit in the answer's error: names were parsed, so they are short and clean.
Error About(Error error, const reference::Reference& image) {
  if (error.Text().find(image.spelling()) != std::string::npos) return error;
  return std::move(error).Context(image.spelling());
}

template <class Message>
Result<Message> Read(const grpc::ByteBuffer& wire) {
  Message message;
  grpc::ByteBuffer copy(wire);  // reading empties it
  if (!grpc::SerializationTraits<Message>::Deserialize(&copy, &message).ok()) return Error(Reason::kUsage, "the request is no message of runtime.v1");
  return message;
}

class Runtime final : public v1::RuntimeService::CallbackService {
  using Context = grpc::CallbackServerContext;

  grpc::ServerUnaryReactor* Version(Context* call, const v1::VersionRequest*, v1::VersionResponse* answer) override {
    answer->set_version("0.1.0");
    answer->set_runtime_name("berth");
    answer->set_runtime_version(BERTH_VERSION);
    answer->set_runtime_api_version("v1");
    return Done(call);
  }
  grpc::ServerUnaryReactor* Status(Context* call, const v1::StatusRequest*, v1::StatusResponse* answer) override {
    for (const char* type : {"RuntimeReady", "NetworkReady"}) {
      auto* condition = answer->mutable_status()->add_conditions();
      condition->set_type(type);
      condition->set_reason("ImageServiceOnly");
      condition->set_message("berth serves images here; containers are the runtime's (containerRuntimeEndpoint)");
    }
    return Done(call);
  }
  static grpc::ServerUnaryReactor* Done(Context* call) {
    auto* reactor = call->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

// The two lists are answered in wire form.
using Rpc = v1::ImageService;
using Base = Rpc::WithRawCallbackMethod_ListImages<Rpc::WithRawCallbackMethod_StreamImages<Rpc::WithCallbackMethod_ImageStatus<
    Rpc::WithCallbackMethod_PullImage<Rpc::WithCallbackMethod_RemoveImage<Rpc::WithCallbackMethod_ImageFsInfo<Rpc::Service>>>>>>;

}  // namespace

class Service::Impl final : public Base {
 public:
  Impl(Parts parts, ServiceOptions options, const time::Clock& clock)
      : parts_(parts), options_(std::move(options)), clock_(clock), images_(parts.catalog, parts.content, options_.host),
        streams_(Mapped(options_.streams), clock), short_calls_(stop_.get_token(), options_.workers, options_.queue, clock) {}

  Result<> Warm() {
    ASSIGN_OR_RETURN([[maybe_unused]] const auto view, images_.Get());
    return {};
  }
  void Drain() {
    stop_.request_stop();
    streams_.Drain();
  }
  std::size_t waiting() const { return streams_.size(); }
  grpc::Service& runtime() { return runtime_; }

 private:
  using Context = grpc::CallbackServerContext;
  using ViewPtr = std::shared_ptr<const View>;

  api::StreamOptions Mapped(api::StreamOptions options) {
    options.to_status = [stop = stop_.get_token()](Context& call, const Error& error) {
      if (stop.stop_requested()) return api::ToStatus(call, error);  // it is us who are not available
      // gRPC cancels a call whose deadline has passed: the cause is that, and no registry's fault.
      if (error.cancelled() && call.deadline() <= std::chrono::system_clock::now())
        return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "E-TIMEOUT the deadline of the call has passed; what was fetched stays for the next pull");
      return ToStatus(call, error);
    };
    return options;
  }

  // With the view: on this very thread while it is true, else on the pool, which makes it anew.
  template <class Work>
  grpc::ServerUnaryReactor* WithView(Context* call, Work work) {
    if (const ViewPtr view = images_.Ready(); view && !stop_.stop_requested())
      return api::ShortCalls::Finish(call, work(*view));
    return short_calls_.Do(call, [this, work = std::move(work)](const task::Context&) -> Result<> {
      ASSIGN_OR_RETURN(const ViewPtr view, images_.Get());
      return work(*view);
    });
  }

  // --- lists

  // Of a list with a filter: nothing or one image, as one part. Without one: all parts.
  static Result<std::vector<grpc::Slice>> Chosen(const View& view, const v1::ImageFilter& filter) {
    const std::string& wanted = filter.image().image();
    if (wanted.empty()) return view.parts();
    ASSIGN_OR_RETURN(const auto* entry, view.Find(wanted, kDigitsToLook));
    if (entry == nullptr) return std::vector<grpc::Slice>();
    v1::StreamImagesResponse one;
    *one.add_images() = entry->image;
    return std::vector<grpc::Slice>{grpc::Slice(one.SerializeAsString())};
  }

  grpc::ServerUnaryReactor* ListImages(Context* call, const grpc::ByteBuffer* message, grpc::ByteBuffer* answer) override {
    return WithView(call, [this, message, answer](const View& view) -> Result<> {
      ASSIGN_OR_RETURN(const auto request, Read<v1::ListImagesRequest>(*message));
      ASSIGN_OR_RETURN(auto parts, Chosen(view, request.filter()));
      if (view.bytes() > options_.message_bytes && parts.size() > 1)
        return Error(Reason::kLimitExceeded, "the list is longer than one message of " + std::to_string(options_.message_bytes) + " bytes may be")
            .Next("use StreamImages");
      if (parts.empty()) parts.emplace_back("", 0);
      *answer = grpc::ByteBuffer(parts.data(), parts.size());
      return {};
    });
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* StreamImages(Context* call, const grpc::ByteBuffer* message) override {
    return streams_.Start<grpc::ByteBuffer>(call, [this, request = Read<v1::StreamImagesRequest>(*message)](auto& stream) -> Result<> {
      if (!request) return request.error();
      ASSIGN_OR_RETURN(const ViewPtr view, images_.Get());
      ASSIGN_OR_RETURN(const auto parts, Chosen(*view, request->filter()));
      for (const auto& part : parts) RETURN_IF_ERROR(stream.Send(grpc::ByteBuffer(&part, 1)));
      return {};
    });
  }

  // --- one image

  grpc::ServerUnaryReactor* ImageStatus(Context* call, const v1::ImageStatusRequest* message, v1::ImageStatusResponse* answer) override {
    const auto find = [message, answer](const View& view) -> Result<const View::Entry*> {
      if (message->image().image().empty()) return NoImage();
      ASSIGN_OR_RETURN(const auto* entry, view.Find(message->image().image(), kDigitsToLook));
      if (entry != nullptr) *answer->mutable_image() = entry->image;
      return entry;
    };
    if (!message->verbose() && !parts_.puller.gate().on())
      return WithView(call, [find](const View& view) -> Result<> {
        ASSIGN_OR_RETURN([[maybe_unused]] const auto* entry, find(view));
        return {};
      });
    return short_calls_.Do(call, [this, message, find, answer](const task::Context&) -> Result<> {
      ASSIGN_OR_RETURN(const ViewPtr view, images_.Get());
      ASSIGN_OR_RETURN(const auto* entry, find(*view));
      if (entry == nullptr) return {};
      ASSIGN_OR_RETURN(const bool usable, MayBeUsed(message->image().image(), entry->manifests));
      if (!usable) answer->clear_image();
      if (!usable || !message->verbose()) return {};
      ASSIGN_OR_RETURN((*answer->mutable_info())["info"], Info(entry->manifests.front()));
      return {};
    });
  }

  // What verification refuses is as if it were not here: the kubelet's pull then learns why (node/image_service.h).
  Result<bool> MayBeUsed(const std::string& text, const std::vector<digest::Digest>& manifests) {
    const pull::Gate& gate = parts_.puller.gate();
    const auto verdict = [&]() -> Result<> {
      if (const auto name = reference::Reference::Parse(text); name && !reference::IsImageId(text)) {
        ASSIGN_OR_RETURN(const auto record, parts_.catalog.FindName(name->Canonical()));
        if (record) return gate.CheckPresent(*name, record->target);
      }
      std::vector<catalog::ImageRecord> images;
      for (const auto& manifest : manifests) {
        ASSIGN_OR_RETURN(auto image, parts_.catalog.FindImage(manifest));
        if (image) images.push_back(*std::move(image));
      }
      return gate.DropRefused(images);
    }();
    if (verdict) return true;
    if (verdict.error().reason() == Reason::kSignature) return false;
    return verdict.error();
  }

  Result<std::string> Info(const digest::Digest& manifest) {
    ASSIGN_OR_RETURN(const auto record, parts_.catalog.FindImage(manifest));
    if (!record) return std::string("{}");  // removed a moment ago
    ASSIGN_OR_RETURN(const std::string config, parts_.content.ReadDocument(record->config, kDocumentBytes));
    std::vector<digest::Digest> diff_ids;
    for (const auto& layer : record->layers) diff_ids.push_back(layer.diff_id);
    const auto chain = oci::ChainIds(diff_ids);
    json::Writer w;
    w.BeginObject();
    w.Key("chainID").String(chain.empty() ? "" : chain.back().ToString());
    w.Key("imageSpec").Raw(config);  // was parsed, strictly, before it was stored
    w.Key("manifest").String(record->manifest.ToString());
    w.Key("platform").String(record->platform);
    w.Key("unpackedBytes").Uint(record->unpacked_bytes);
    w.EndObject();
    return std::move(w).Take();
  }

  grpc::ServerUnaryReactor* RemoveImage(Context* call, const v1::RemoveImageRequest* message, v1::RemoveImageResponse*) override {
    return short_calls_.Do(call, [this, message](const task::Context& ctx) -> Result<> {
      if (message->image().image().empty()) return NoImage();
      ASSIGN_OR_RETURN(const ViewPtr view, images_.Get());
      ASSIGN_OR_RETURN(const auto* entry, view->Find(message->image().image(), kDigitsToRemove));
      if (entry == nullptr) return {};
      for (const auto& manifest : entry->manifests) {
        // Also a pinned one: a pin is advice to collectors, and this is somebody's word (runtime-registry 1.3).
        const auto removed = parts_.mounts.Remove([&] { return parts_.reclaimer.RemoveImage(ctx, manifest, {.pinned = true}); });
        if (!removed && removed.error().reason() != Reason::kNotFound) return removed.error();  // somebody else was faster
      }
      return {};
    });
  }

  // --- pulls

  grpc::ServerUnaryReactor* PullImage(Context* call, const v1::PullImageRequest* message, v1::PullImageResponse* answer) override {
    // Here and now: the secrets leave the message. std::function wants something it could copy; the order cannot be.
    auto order = std::make_shared<Result<PullOrder>>(TakePull(const_cast<v1::PullImageRequest&>(*message), options_.handlers));
    return streams_.StartOne(call, [this, order, answer](api::Call& waiting) -> Result<> {
      if (!*order) return order->error();
      const reference::Reference name = (*order)->request.reference;
      auto id = Pull(waiting.ctx(), **order);
      if (!id) return About(std::move(id).error(), name);
      answer->set_image_ref(*std::move(id));
      return {};
    });
  }

  Result<std::string> Pull(const task::Context& ctx, PullOrder& order) {
    pull::Request& request = order.request;
    const reference::Reference name = request.reference;
    if (order.node_credentials && options_.node_credentials) {
      ASSIGN_OR_RETURN(request.credentials, options_.node_credentials(ctx, request.reference));
    }
    auto pull = parts_.puller.Start(ctx, std::move(request));
    ASSIGN_OR_RETURN(const pull::Pulled pulled, pull.Wait(ctx));
    // The rules may be others by now, and a container will be started from it.
    RETURN_IF_ERROR(parts_.puller.gate().CheckPresent(name, pulled.target));
    // What was pulled, whatever the name means by now. For one platform there is one image.
    if (pulled.images.empty()) return Error(Reason::kNoMatch, "there is no image for " + options_.host.ToString() + " under this name");
    return pulled.images.front().config.ToString();
  }

  // --- disk

  grpc::ServerUnaryReactor* ImageFsInfo(Context* call, const v1::ImageFsInfoRequest*, v1::ImageFsInfoResponse* answer) override {
    return short_calls_.Do(call, [this, answer](const task::Context&) -> Result<> {
      std::lock_guard lock(usage_mutex_);
      const time::SteadyTime now = clock_.SteadyNow();
      if (!measured_ || now - *measured_ >= kMeasureEvery) {
        RETURN_IF_ERROR(Measure());
        measured_ = now;
      }
      *answer->add_image_filesystems() = usage_;
      return {};
    });
  }

  Result<> Measure() {
    const auto at = clock_.WallNow().time_since_epoch();
    ASSIGN_OR_RETURN(const auto use, parts_.catalog.Measure());
    ASSIGN_OR_RETURN(const auto partials, parts_.content.Partials());
    std::uint64_t bytes = use.layer_bytes + use.compressed_bytes + use.document_bytes;
    for (const auto& partial : partials) bytes += partial.bytes;
    usage_.set_timestamp(std::chrono::duration_cast<std::chrono::nanoseconds>(at).count());
    usage_.mutable_fs_id()->set_mountpoint(options_.root);
    usage_.mutable_used_bytes()->set_value(bytes);
    // An EROFS layer is two files.
    const std::uint64_t files = options_.form == layer::Form::kErofs ? 2 * use.layers : use.entries + use.layers;
    usage_.mutable_inodes_used()->set_value(files + use.blobs + partials.size());
    return {};
  }

  std::stop_source stop_;  // of all calls
  const Parts parts_;
  const ServiceOptions options_;
  const time::Clock& clock_;
  Images images_;
  Runtime runtime_;
  std::mutex usage_mutex_;
  std::optional<time::SteadyTime> measured_;  // guarded by usage_mutex_
  v1::FilesystemUsage usage_;                 // guarded by usage_mutex_
  api::Streams streams_;
  api::ShortCalls short_calls_;
};

Service::Service(Parts parts, ServiceOptions options, const time::Clock& clock)
    : impl_(std::make_unique<Impl>(parts, std::move(options), clock)) {}
Service::~Service() = default;
Result<> Service::Warm() { return impl_->Warm(); }
void Service::Drain() { impl_->Drain(); }
std::size_t Service::waiting() const { return impl_->waiting(); }
grpc::Service& Service::images() { return *impl_; }
grpc::Service& Service::runtime() { return impl_->runtime(); }

}  // namespace berth::cri
