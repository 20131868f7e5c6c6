#include "api/status.h"

#include "bytes/text.h"

namespace berth::api {
namespace {

constexpr std::size_t kTextBytes = 1024;

std::string Line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return bytes::Ellipsized(std::move(text), kTextBytes);
}

}  // namespace

void Fill(const Error& error, v1::Failure* out) {
  out->set_code(std::string(error.info().code));
  out->set_message(Line(error.Text()));
  out->set_next_step(Line(error.next_step()));
  out->set_exit_status(error.info().exit_status);
}

grpc::Status ToStatus(grpc::CallbackServerContext& call, const Error& error) {
  const result::ReasonInfo& info = error.info();
  v1::Failure failure;
  Fill(error, &failure);
  call.AddTrailingMetadata(kFailureTrailer, failure.SerializeAsString());
  return grpc::Status(static_cast<grpc::StatusCode>(info.grpc), Line(std::string(info.code) + " " + error.Text()));
}

}  // namespace berth::api
