#include "apps/berth/trace.h"

#include <array>
#include <cstdint>
#include <cstdio>

namespace berth::cli {
namespace {

using grpc::experimental::InterceptionHookPoints;

std::string_view StatusName(grpc::StatusCode code) {
  static constexpr std::array<std::string_view, 17> kNames{
      "OK",           "CANCELLED", "UNKNOWN",       "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",   "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
      "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && static_cast<std::size_t>(code) < kNames.size() ? kNames[static_cast<std::size_t>(code)] : "?";
}

class CallTracer final : public grpc::experimental::Interceptor {
 public:
  CallTracer(World& world, const char* method) : world_(world), method_(method), begun_(world.clock.SteadyNow()) {
    if (method_.starts_with('/')) method_.erase(0, 1);
  }
  void Intercept(grpc::experimental::InterceptorBatchMethods* batch) override {
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) world_.Trace(6, "call " + method_);
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_MESSAGE) && batch->GetRecvMessage() != nullptr) ++messages_;
    if (batch->QueryInterceptionHookPoint(InterceptionHookPoints::POST_RECV_STATUS)) {
      std::string line = "call " + method_ + " took " + TraceTime(world_.clock.SteadyNow() - begun_);
      if (world_.verbosity >= 6)
        line += ": " + std::string(StatusName(batch->GetRecvStatus()->error_code())) + ", messages received: " + std::to_string(messages_);
      world_.Trace(4, line);
    }
    batch->Proceed();
  }

 private:
  World& world_;
  std::string method_;
  const time::SteadyTime begun_;
  std::uint64_t messages_ = 0;
};

class Factory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit Factory(World& world) : world_(world) {}
  grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* info) override {
    return new CallTracer(world_, info->method());  // gRPC's own
  }

 private:
  World& world_;
};

}  // namespace

std::string TraceTime(time::Duration duration) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1fms", std::chrono::duration<double, std::milli>(duration).count());
  return text.data();
}

std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> CallTracers(World& world) {
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> all;
  all.push_back(std::make_unique<Factory>(world));
  return all;
}

}  // namespace berth::cli
