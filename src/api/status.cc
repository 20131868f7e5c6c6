#include "api/status.h"

namespace berth::api {
namespace {

constexpr std::size_t kTextBytes = 1024;

std::string Cut(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  if (text.size() <= kTextBytes) return text;
  std::size_t end = kTextBytes - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not within a character
  return text.substr(0, end) + "...";
}

}  // namespace

void Fill(const Error& error, v1::Failure* out) {
  out->set_code(std::string(error.info().code));
  out->set_message(Cut(error.Text()));
  out->set_next_step(Cut(error.next_step()));
  out->set_exit_status(error.info().exit_status);
}

grpc::Status ToStatus(grpc::CallbackServerContext& call, const Error& error) {
  const result::ReasonInfo& info = error.info();
  v1::Failure failure;
  Fill(error, &failure);
  call.AddTrailingMetadata(kFailureTrailer, failure.SerializeAsString());
  return grpc::Status(static_cast<grpc::StatusCode>(info.grpc), Cut(std::string(info.code) + " " + error.Text()));
}

}  // namespace berth::api
