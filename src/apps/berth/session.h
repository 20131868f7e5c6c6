// apps/berth/session.h: one run of a command: where the daemon is, how to ask it, how to answer the person.
//
// The connection is made on the first call: connect() ourselves, so that a missing socket, a forbidden one and a dead one
// are told apart; then gRPC over that descriptor (no resolver, no proxies, no reconnecting). A socket that is served by
// neither root nor the caller is refused: names and passwords would go to a stranger. One thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "apps/berth/failure.h"
#include "apps/berth/world.h"
#include "berth/v1/berth.grpc.pb.h"
#include "berth/v1/explain.grpc.pb.h"
#include "berth/v1/node.grpc.pb.h"
#include "host/fd.h"

namespace berth::cli {

namespace v1 = berth::v1;

inline constexpr std::string_view kDefaultSocket = "/run/berth/berth.sock";
inline constexpr int kTimeoutStatus = 124;  // --timeout, as timeout(1) has it

enum class Output : std::uint8_t { kTable, kWide, kJson, kJsonl, kName, kYaml };

struct Globals {
  std::string socket;              // --socket
  std::string colour = "auto";     // --color
  std::string timeout;             // --timeout, of the whole command
  Output output = Output::kTable;  // -o
  bool no_headers = false, no_trunc = false, quiet = false;
};

struct Endpoint {
  std::string path;
  std::string origin;  // "--socket", "BERTH_SOCKET", …
};
// --socket, BERTH_SOCKET, IMAGE_SERVICE_ENDPOINT, the default; "unix:///x", "unix:/x" and "/x" are spellings of one path.
Result<Endpoint> FindEndpoint(const World& world, std::string_view flag);
// kSocket with what is wrong and what to do about it.
Result<host::Fd> ConnectTo(const Endpoint& endpoint);

// What a call's status means. The daemon's Failure message wins; without one (no daemon, cut connection, a stranger at
// the socket) the gRPC code tells.
Failure FromStatus(const grpc::Status& status, const grpc::ClientContext& context);

class Session {
 public:
  Session(World& world, Globals globals);

  World& world() const { return world_; }
  const Globals& globals() const { return globals_; }
  bool json() const { return globals_.output == Output::kJson || globals_.output == Output::kJsonl; }
  // Digests on a terminal are cut to 12 digits; on a pipe nothing ever is.
  bool whole() const { return globals_.no_trunc || !world_.out.terminal(); }
  Colour colour(const Stream& stream) const;

  void Out(std::string_view text) const { world_.out.Write(text); }
  void Talk(std::string_view text) const { if (!globals_.quiet) world_.err.Write(text); }
  void Warn(std::string_view text) const;
  // -o json: indented; -o jsonl: one line.
  void OutJson(std::string_view json) const;
  // Says it on stderr (as JSON when the output is) and returns its exit status.
  int Fail(const Failure& failure) const;

  // Connected stub. Fails with kSocket, or kUsage for an endpoint that is none.
  Result<v1::Berth::Stub*> Stub();
  template <class StubType>
  Result<StubType*> StubOf();
  // The deadline of --timeout on a call; Cancelled calls and passed deadlines are told from the daemon's own here.
  void Prepare(grpc::ClientContext& context) const;
  Failure Judge(const grpc::Status& status, const grpc::ClientContext& context) const;
  Failure Judge(const Error& error) const;  // kCanceled by a signal: with that signal's exit status

  // One call with one answer, of either service; the failure if it failed. Stops when a signal comes.
  template <class StubType, class Request, class Response>
  std::optional<Failure> Call(grpc::Status (StubType::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
                              Response& response) {
    const auto stub = StubOf<StubType>();
    if (!stub) return FromError(stub.error());
    grpc::ClientContext context;
    Prepare(context);
    const std::stop_callback cancel(world_.stop, [&] { context.TryCancel(); });
    const grpc::Status status = ((*stub)->*method)(&context, request, &response);
    if (status.ok()) return std::nullopt;
    return Judge(status, context);
  }
  // A call of either service that answers with a stream; `each` returns false when it has seen enough, which is no failure.
  template <class StubType, class Request, class Event, class Each>
  std::optional<Failure> Read(std::unique_ptr<grpc::ClientReader<Event>> (StubType::*method)(grpc::ClientContext*, const Request&),
                              const Request& request, Each each) {
    const auto stub = StubOf<StubType>();
    if (!stub) return FromError(stub.error());
    grpc::ClientContext context;
    Prepare(context);
    const std::stop_callback cancel(world_.stop, [&] { context.TryCancel(); });
    const auto reader = ((*stub)->*method)(&context, request);
    bool enough = false;
    for (Event event; !enough && reader->Read(&event);) enough = !each(event);
    if (enough) context.TryCancel();
    const grpc::Status status = reader->Finish();
    if (status.ok() || enough) return std::nullopt;
    return Judge(status, context);
  }

 private:
  Result<> Connect();
  World& world_;
  const Globals globals_;
  std::optional<time::WallTime> deadline_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Berth::Stub> stub_;
  std::unique_ptr<v1::Node::Stub> node_stub_;
  std::unique_ptr<v1::Explain::Stub> explain_stub_;
};

template <>
inline Result<v1::Berth::Stub*> Session::StubOf<v1::Berth::Stub>() {
  return Stub();
}
template <>
inline Result<v1::Node::Stub*> Session::StubOf<v1::Node::Stub>() {
  RETURN_IF_ERROR(Connect());
  if (node_stub_ == nullptr) node_stub_ = v1::Node::NewStub(channel_);
  return node_stub_.get();
}
template <>
inline Result<v1::Explain::Stub*> Session::StubOf<v1::Explain::Stub>() {
  RETURN_IF_ERROR(Connect());
  if (explain_stub_ == nullptr) explain_stub_ = v1::Explain::NewStub(channel_);
  return explain_stub_.get();
}

}  // namespace berth::cli
