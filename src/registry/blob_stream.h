// registry/blob_stream.h: one blob, whatever happens to connections, tokens and hosts on the way. Internal.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "oci/oci.h"
#include "registry/client.h"
#include "registry/route.h"
#include "registry/session.h"

namespace berth::registry {

// What `Content-Range: bytes a-b/total` says; nothing when it is malformed or of another unit. Pure.
struct ContentRange {
  std::uint64_t first = 0, last = 0;
  std::optional<std::uint64_t> total;  // nothing: "*"
};
std::optional<ContentRange> ParseContentRange(std::string_view text);

class ResumingBlob final : public BlobStream {
 public:
  ResumingBlob(std::shared_ptr<Session> session, const task::Context& ctx, const oci::Descriptor& descriptor, std::uint64_t offset,
               bool restarted, Standby* standby);
  ~ResumingBlob() override;

  // Gets the headers from the first host that has the blob.
  Result<> Open();
  Result<std::size_t> Read(bytes::MutableView room) override;
  const std::string& host() const override { return host_name_; }
  std::uint64_t bytes_received() const override { return received_; }
  std::uint64_t resumed_from() const override { return resumed_from_; }
  bool restarted() const override { return restarted_; }

 private:
  Result<> Accept(const http::Response& response, const Ask& ask);
  void Broke(Error error);
  Result<std::size_t> AtEnd();
  Error Fail(Error error);

  const std::shared_ptr<Session> session_;
  const task::Context ctx_;
  const digest::Digest digest_;
  const std::uint64_t size_;
  const bool restarted_;
  Route route_;

  std::uint64_t position_;           // of the next byte to return
  std::uint64_t received_ = 0, resumed_from_ = 0;
  std::optional<Error> failed_;      // every later Read fails the same way
  std::set<const Host*> no_ranges_;  // are asked for all of it

  // The answer under way.
  Host* host_ = nullptr;
  std::string host_name_;
  std::unique_ptr<http::Response> response_;
  Record record_;
  std::uint64_t skip_ = 0;           // bytes of it that the caller has already
  std::uint64_t progress_ = 0;       // bytes of it that were new
  std::uint64_t taken_ = 0;          // bytes of it in all
  std::uint64_t part_ = 0;           // bytes that it has, when it ends before the blob
};

}  // namespace berth::registry
